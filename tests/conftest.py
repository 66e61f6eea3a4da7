"""Fixtures for every test. Each real part (pcscd, SoftHSM2, Xvfb, a browser…) is one file of `tests/parts`."""

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
