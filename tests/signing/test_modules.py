"""Which PKCS#11 module is loaded, and what is known of it."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from agent.errors import AgentError, Code
from agent.signing.modules import CRYPTOLIB, OPENSC, find_module, installed, known_cryptolibs
from agent.signing.worker import TokenWorker
from tests.signing.conftest import Fake


class Check:
    """A judge of libraries who refuses some by name, and remembers whom it saw."""

    def __init__(self, **refused: Code) -> None:
        self._refused, self.seen = refused, list[str]()

    def __call__(self, path: Path) -> Path:
        self.seen.append(path.name)
        if path.name in self._refused:
            raise AgentError(self._refused[path.name])
        return path


@pytest.fixture
def places(tmp_path: Path) -> Callable[..., list[Path]]:
    """Paths in one folder; those that are told to exist do."""

    def made(*names: str) -> list[Path]:
        files = [tmp_path / name.strip("-") for name in names]
        for file, name in zip(files, names, strict=True):
            if not name.startswith("-"):
                file.touch()
        return files

    return made


Places = Callable[..., list[Path]]


def test_the_configured_module_wins(places: Places) -> None:
    (chosen,) = places("chosen")

    assert find_module(chosen, check=Check(), cryptolibs=places("known")) == chosen


def test_a_configured_module_that_is_not_safe_is_refused_not_replaced(places: Places) -> None:
    with pytest.raises(AgentError) as refused:
        find_module(places("chosen")[0], check=Check(chosen=Code.MODULE_UNSAFE), cryptolibs=places("known"))

    assert refused.value.code is Code.MODULE_UNSAFE


def test_the_first_known_place_that_exists_is_taken(places: Places) -> None:
    known = places("-none", "first", "second")

    assert find_module(None, check=Check(), cryptolibs=known) == known[1]


def test_a_module_of_another_bitness_is_passed_over_for_one_that_fits(places: Places) -> None:
    known = places("first", "second")

    assert find_module(None, check=Check(first=Code.MODULE_BITNESS), cryptolibs=known) == known[1]


def test_opensc_is_the_last_resort(places: Places) -> None:
    assert find_module(None, check=Check(), cryptolibs=places("-none"), openscs=places("opensc"))
    assert find_module(None, check=Check(), cryptolibs=places("known"), openscs=places("opensc")).name == "known"


def test_a_cryptolib_that_is_refused_is_said_and_opensc_does_not_stand_in(places: Places) -> None:
    check = Check(first=Code.MODULE_UNSAFE, second=Code.MODULE_BITNESS)

    with pytest.raises(AgentError) as refused:
        find_module(None, check=check, cryptolibs=places("first", "second"), openscs=places("opensc"))

    assert refused.value.code is Code.MODULE_UNSAFE
    assert check.seen == ["first", "second"]


def test_a_missing_module_says_where_it_was_looked_for(places: Places) -> None:
    known, others = places("-a", "-b"), places("-c")

    with pytest.raises(AgentError) as refused:
        find_module(None, check=Check(), cryptolibs=known, openscs=others)

    assert refused.value.code is Code.MODULE_MISSING
    assert refused.value.facts["tried"] == [str(path) for path in known + others]


@pytest.mark.parametrize("name", ["cps_pkcs11_w32.dll", "libcps_pkcs11_osx.dylib"])
def test_a_module_of_the_cps2_era_is_too_old(places: Places, name: str) -> None:
    with pytest.raises(AgentError) as refused:
        find_module(places(name)[0], check=Check())

    assert refused.value.code is Code.MODULE_TOO_OLD


def test_every_known_place_is_absolute_and_what_is_installed_is_among_them() -> None:
    known = known_cryptolibs()

    assert known and all(path.is_absolute() for path in known)
    assert set(installed()) <= {path.resolve() for path in known}


def test_opensc_of_this_machine_is_known_by_its_name_and_reads_only(opensc: Path) -> None:
    """Also where it is configured: nobody types a code for nothing. The settings may say that it signs all the same."""
    found, configured = TokenWorker(check=lambda _path: opensc), TokenWorker(opensc, opensc_signs=True)
    try:
        modules = found.module(), configured.module()
    finally:
        found.close()
        configured.close()

    assert [module.name for module in modules] == [OPENSC, OPENSC]
    assert [module.signs_cps3 for module in modules] == [False, True]
    assert modules[0].path == str(opensc.resolve())


def test_the_cryptolib_is_known_by_its_description(fake: Callable[..., AbstractContextManager[Fake]]) -> None:
    """cps3pkcs11ver.h: "CPS3 PKCS#11 LINUX"; the package 5.2 holds library 3.1."""
    with fake("name=CPS3_PKCS#11_LINUX", "version=3.1") as made:
        module = made.tokens.module()

        assert (module.name, module.version, module.signs_cps3) == (CRYPTOLIB, "3.1", True)
        assert not made.calls("C_GetSlotList"), "a card was looked for"


def test_the_worker_refuses_by_itself_what_others_could_replace(fake_module: Path, tmp_path: Path) -> None:
    module = tmp_path / "module.so"
    module.write_bytes(fake_module.read_bytes())
    module.chmod(0o777)
    tokens = TokenWorker(module)

    with pytest.raises(AgentError) as refused:
        tokens.module()

    assert refused.value.code is Code.MODULE_UNSAFE
    assert tokens.pid is None, "nothing was started"
