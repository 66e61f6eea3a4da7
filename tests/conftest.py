"""Fixtures for every test. Each real part (pcscd, SoftHSM2, Xvfb, a browser…) is one file of `tests/parts`."""

pytest_plugins = [
    "tests.parts.pcscd",
    "tests.parts.softhsm",
    "tests.parts.desktop",
    "tests.parts.chromium",
    "tests.parts.agent",
]
