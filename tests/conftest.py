"""Fixtures for every test. Each real part (pcscd, SoftHSM2, Xvfb, a browser…) is one file of `tests/parts`."""

pytest_plugins: list[str] = []
