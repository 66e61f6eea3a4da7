"""On a managed install nobody but an administrator replaces what the settings name: certificates and descriptions."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from agent.config import Loaded, Settings
from agent.desks import configured_contract, insi_endpoint, organisation_files
from agent.doctor import _contract, _insi, _probe
from agent.errors import AgentError, Code
from agent.model import AuthMode, Environment
from agent.simulator.pki import issue_organisation, make_ca, p12
from agent.trust_command import trusted
from tests.insi.official import package

SYSTEMS = Path("/usr/share/ca-certificates/mozilla/ISRG_Root_X1.crt")  # an administrator's, as is every folder above it
TEST = Environment.TEST
WHY = ("others may write to", "belongs to user")  # the second one for who is not root


class Keyring:
    """One passphrase for every file."""

    def get(self, _name: str) -> bytes | None:
        return b"phrase"

    def set(self, _name: str, _value: bytes) -> None:
        raise AssertionError


def settings(*, managed: bool = True, **sections: Any) -> Settings:
    return Settings.model_validate({"managed": managed, **sections})


def with_anchors(file: Path, *, managed: bool = True) -> Settings:
    return settings(managed=managed, insi={"anchors": {"test": {"cpx": [file]}}})


def refusal(act: Callable[[], object]) -> AgentError:
    with pytest.raises(AgentError) as refused:
        act()
    return refused.value


@pytest.fixture
def anchors(tmp_path: Path) -> Path:
    """That anybody may write to."""
    file = tmp_path / "ca.pem"
    file.write_bytes(make_ca().pem)
    file.chmod(0o666)
    return file


def test_anchors_that_others_may_replace_are_believed_only_where_nothing_is_managed(anchors: Path) -> None:
    refused = refusal(lambda: insi_endpoint(with_anchors(anchors), TEST, AuthMode.CPX))

    assert (refused.code, refused.facts["setting"]) == (Code.CONFIG_INVALID, "insi.anchors")
    assert any(why in refused.detail for why in WHY)
    assert str(anchors) not in str(refused.facts)  # a page is told no path of this machine
    assert insi_endpoint(with_anchors(anchors, managed=False), TEST, AuthMode.CPX).anchors_pem
    assert insi_endpoint(with_anchors(SYSTEMS), TEST, AuthMode.CPX).anchors_pem


def test_doctor_and_list_say_of_such_anchors_what_a_call_would(anchors: Path) -> None:
    given = with_anchors(anchors)

    (row,) = trusted(Loaded(given, {}), datetime.now(UTC))

    assert "peut remplacer" in row["problem"]
    assert any(why in _insi(given).says for why in WHY)


def test_anchors_that_are_not_there_say_so_and_not_where_they_should_be() -> None:
    given = with_anchors(Path("/etc/absent.pem"))

    assert refusal(lambda: insi_endpoint(given, TEST, AuthMode.CPX)).code is Code.INSI_NOT_CONFIGURED


def test_a_certificate_that_others_may_replace_does_not_open(tmp_path: Path) -> None:
    file = tmp_path / "structure.p12"
    file.write_bytes(p12(issue_organisation(make_ca()), b"phrase"))
    file.chmod(0o646)

    def opened(*, managed: bool) -> object:
        given = settings(managed=managed, organisation={"certificates": [file]})
        (one,) = organisation_files(lambda: given, Keyring()).open()
        return one.found.facts["setting"] if isinstance(one.found, AgentError) else one.found.common_name

    assert opened(managed=True) == "organisation.certificates"
    assert opened(managed=False) == "INSI-MANU"


@pytest.mark.parametrize(("setting", "below"), [("contract", "."), ("contract", "*.xsd"), ("bindings", "*.toml")])
def test_a_contract_of_which_others_may_replace_a_part_is_not_used(tmp_path: Path, setting: str, below: str) -> None:
    folder = package(tmp_path)
    if setting == "bindings":
        folder = folder / "bindings"
    part = sorted(folder.rglob(below))[0] if below != "." else folder
    part.chmod(0o777)

    refused = refusal(lambda: configured_contract(settings(insi={setting: folder})))

    assert (refused.code, refused.facts["setting"]) == (Code.CONFIG_INVALID, f"insi.{setting}")
    assert any(why in refused.detail for why in WHY)
    assert configured_contract(settings(managed=False, insi={setting: folder}))
    found = _probe("contrat", _contract, settings(insi={setting: folder}))
    assert (found.well, Code.CONFIG_INVALID.value in found.says) == (False, True)
