"""Fixtures of the web tests."""

from tests.parts.chromium import chromium, chromiums, tab
from tests.parts.desktop import desktop

__all__ = ["chromium", "chromiums", "desktop", "tab"]
