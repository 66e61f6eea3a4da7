"""Who may hold a reader: real processes with the names of the field, and no name of anybody else."""

from collections.abc import Callable
from pathlib import Path

import pytest

from agent.config import Settings
from agent.doctor import _rivals
from agent.readers.rivals import GALSS, galss_is_here, likely_holders


def test_nobody_is_named_where_none_of_the_table_runs(start: Callable[[str], None]) -> None:
    start("agenda-personnel")
    start("tricount")

    assert [] == likely_holders()


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("Pyxvital.exe", "Pyxvital"),
        ("VitalZenService.exe", "VitalZen"),  # longer than what the kernel keeps of a name
        ("JuxtaLink", "JuxtaLink"),
        ("SRVSVCNAM.exe", "SrvSvCnam"),
        ("cpgesw64.exe", "CPS Gestion"),
        ("ClmLive.exe", "ClmLive"),
        ("jfse-daemon", "jFSE"),
        ("WedaConnect.exe", "Weda"),
        ("dmpconnect-js2.exe", "DmpConnect"),
        ("galsvlux", GALSS),
    ],
)
def test_a_program_of_the_field_is_named_as_people_know_it(start: Callable[[str], None], file: str, name: str) -> None:
    start(file)

    assert [name] == likely_holders()


def test_several_programs_are_each_named_once(start: Callable[[str], None]) -> None:
    for file in ("VitalZenUpdater.exe", "VitalZenService.exe", "Pyxnet.exe", "pyxvital.exe", "tricount"):
        start(file)

    assert ["Pyxvital", "VitalZen"] == likely_holders()


def test_galss_is_found_by_what_it_installs_or_by_its_process(start: Callable[[str], None], tmp_path: Path) -> None:
    installed = tmp_path / "galss.ini"
    assert not galss_is_here([str(installed)])

    installed.touch()
    assert galss_is_here([str(installed)])

    installed.unlink()
    start("galsvw64.exe")
    assert galss_is_here([str(installed)])


def test_the_doctor_names_them_and_says_that_galss_serves_for_nothing_here(start: Callable[[str], None]) -> None:
    assert "aucun de ceux que l'agent connaît" == _rivals(Settings())

    start("Pyxvital.exe")
    start("galsvw32.exe")

    assert (
        "Pyxvital : peuvent aussi tenir un lecteur ; un composant GALSS est présent, l'agent ne s'en sert pas : "
        "il lui faut un lecteur PC/SC"
    ) == _rivals(Settings())
