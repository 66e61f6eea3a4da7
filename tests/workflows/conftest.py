"""A desk for each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.workflows.making import Bench


@pytest.fixture
def bench(tmp_path: Path, simulator_pki: Path) -> Iterator[Bench]:
    """A family's Vitale and a doctor's CPS in the readers, nothing asked yet."""
    made = Bench(tmp_path, simulator_pki)
    yield made
    made.close()
