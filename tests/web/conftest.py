"""Fixtures of the web tests."""

from tests.parts.chromium import chromium, chromiums, tab

__all__ = ["chromium", "chromiums", "tab"]
