"""Which PKCS#11 module is loaded."""

from pathlib import Path

import pytest

from agent.errors import AgentError, Code
from agent.signing.modules import find_module


def test_the_configured_module_wins(tmp_path: Path) -> None:
    module = tmp_path / "libcps3_pkcs11_lux.so"
    module.touch()

    assert find_module(module) == module


def test_a_missing_module_says_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(AgentError) as refused:
        find_module(tmp_path / "none.so")

    assert (Code.MODULE_MISSING, [str(tmp_path / "none.so")]) == (refused.value.code, refused.value.facts["tried"])


def test_a_bare_name_is_never_searched_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A library path that others may write to must not decide what gets the code."""
    (tmp_path / "module.so").touch()
    monkeypatch.chdir(tmp_path)

    with pytest.raises(AgentError) as refused:
        find_module(Path("module.so"))

    assert refused.value.code is Code.MODULE_MISSING


@pytest.mark.parametrize("name", ["cps_pkcs11_w32.dll", "libcps_pkcs11_osx.dylib"])
def test_a_module_of_the_cps2_era_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()

    with pytest.raises(AgentError) as refused:
        find_module(tmp_path / name)

    assert refused.value.code is Code.MODULE_CANNOT_SIGN
