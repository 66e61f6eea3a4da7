"""Fixtures for every test. Each real part (pcscd, SoftHSM2, Xvfb, a browser…) is one file of `tests/parts`."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

pytest_plugins = [
    "tests.parts.pcscd",
    "tests.parts.softhsm",
    "tests.parts.desktop",
    "tests.parts.chromium",
    "tests.parts.agent",
]

# No timed test: a noisy machine must not fail a property.
settings.register_profile("patient", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own, for this process and those it starts."""
    for name in [name for name in os.environ if name.startswith("XDG_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path
