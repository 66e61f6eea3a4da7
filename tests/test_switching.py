"""Environment and profile: what the person may change, who decided the rest, what of a choice counts."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.choice import keep_choice, read_choice
from agent.config import Loaded, Source, load
from agent.errors import AgentError, Code
from agent.model import Environment, Profile
from agent.options import Options, choice_folder, load_settings, places_of
from agent.places import Places
from agent.switching import Choice, chosen, counting, locks, offered, what_counts

PRODUCTION = Choice(environment=Environment.PRODUCTION)
SIMULATED = Choice(environment=Environment.SIMULATED)
CONSUMER = Choice(profile=Profile.CONSUMER)


def loaded(*layers: tuple[Source, dict[str, Any]]) -> Loaded:
    return load(layers)


def refused(wanted: Choice, settings: Loaded) -> tuple[Code, dict[str, object]]:
    with pytest.raises(AgentError) as error:
        chosen(Choice(), wanted, settings)
    return error.value.code, error.value.facts


# ---------------------------------------------------------------- what is locked


@pytest.mark.parametrize(
    ("source", "managed"),
    [
        (Source.MACHINE_POLICY, True),  # a policy makes it a managed install
        (Source.USER_POLICY, False),
        (Source.COMMAND_LINE, False),
        (Source.MACHINE, False),
    ],
)
def test_what_is_set_above_the_person_is_locked_and_its_source_is_said(source: Source, managed: bool):
    settings = loaded((source, {"environment": "test"}))

    assert refused(PRODUCTION, settings) == (
        Code.SETTING_LOCKED,
        {"setting": "environment", "source": source.value},
    )
    assert locks(settings) == {"environment": source, **({"profile": source} if managed else {})}


@pytest.mark.parametrize("source", [Source.USER, Source.CHOICE])
def test_what_the_person_set_themself_may_be_changed(source: Source):
    settings = loaded((source, {"environment": "test", "profile": "repository"}))

    assert locks(settings) == {}
    assert chosen(Choice(), PRODUCTION, settings) == Choice(environment=Environment.PRODUCTION)


@pytest.mark.parametrize(
    ("layer", "source"),
    [
        ((Source.MACHINE_POLICY, {"wss": {"enabled": False}}), Source.MACHINE_POLICY),
        ((Source.MACHINE, {"managed": True}), Source.MACHINE),
    ],
)
def test_a_managed_install_locks_both_also_where_it_sets_neither(layer: tuple[Source, dict[str, Any]], source: Source):
    settings = loaded(layer, (Source.USER, {"environment": "production"}))

    assert locks(settings) == {"environment": source, "profile": source}
    assert refused(CONSUMER, settings) == (Code.SETTING_LOCKED, {"setting": "profile", "source": source.value})


def test_the_command_line_locks_the_environment_and_leaves_the_profile(home: Path):
    settings = load_settings(Options(simulate=True))

    assert refused(PRODUCTION, settings)[1] == {"setting": "environment", "source": "command line"}
    assert chosen(Choice(), CONSUMER, settings) == Choice(profile=Profile.CONSUMER)


def test_a_forbidden_simulator_is_refused_and_not_offered():
    settings = loaded((Source.MACHINE, {"simulate": "forbid"}))

    assert refused(SIMULATED, settings)[0] is Code.SIMULATOR_FORBIDDEN
    assert offered(settings, what_counts(settings, Choice())) == [
        ("environment", "production"),
        ("profile", "consumer"),
    ]


def test_what_may_be_changed_to_is_all_that_is_neither_now_nor_locked():
    settings = loaded((Source.MACHINE, {"profile": "consumer"}))

    now = what_counts(settings, Choice())

    assert offered(settings, now) == [("environment", "simulated"), ("environment", "production")]
    assert (now.locked, now.sources) == (["profile"], {"profile": "machine configuration"})


# ---------------------------------------------------------------- a choice that was made before


def test_a_choice_is_stronger_than_the_users_file_and_weaker_than_the_machines():
    user = (Source.USER, {"environment": "test", "profile": "repository"})
    choice = (Source.CHOICE, {"environment": "production", "profile": "consumer"})
    machine = (Source.MACHINE, {"profile": "repository"})

    settings = loaded(machine, choice, user)

    assert (settings.settings.environment, settings.settings.profile) == (Environment.PRODUCTION, Profile.REPOSITORY)
    assert settings.sources == {"environment": Source.CHOICE, "profile": Source.MACHINE}


def test_a_choice_never_counts_on_a_managed_install():
    settings = loaded((Source.MACHINE, {"managed": True}), (Source.CHOICE, {"environment": "production"}))

    assert settings.settings.environment is Environment.TEST


def test_a_choice_that_was_locked_since_is_ignored_and_said():
    choice = Choice(environment=Environment.PRODUCTION, profile=Profile.CONSUMER)
    settings = loaded((Source.MACHINE, {"environment": "test"}))

    assert counting(choice, settings) == Choice(profile=Profile.CONSUMER)
    assert what_counts(settings, choice).ignored == {"environment": "production"}


def test_a_simulator_that_was_forbidden_since_is_no_choice_any_more():
    choice = Choice(environment=Environment.SIMULATED, profile=Profile.CONSUMER)
    settings = loaded((Source.MACHINE, {"simulate": "forbid"}))

    assert counting(choice, settings) == Choice(profile=Profile.CONSUMER)
    assert what_counts(settings, choice).ignored == {"environment": "simulated"}


def test_what_is_configured_while_an_agent_runs_is_said_to_count_from_its_next_start_on():
    running = loaded((Source.USER, {"environment": "test"}))

    assert what_counts(running, Choice(), Environment.PRODUCTION).next_start == {"environment": "production"}
    assert what_counts(running, Choice(), Environment.TEST).next_start == {}


def test_a_choice_that_still_runs_is_not_said_to_be_without_effect():
    """The simulator was forbidden under a simulated agent: it runs on until it stops."""
    running = load([(Source.MACHINE, {"simulate": "forbid"}), (Source.USER, {"environment": "simulated"})])

    now = what_counts(running, SIMULATED, Environment.TEST)

    assert (now.environment, now.ignored, now.next_start) == (
        Environment.SIMULATED,
        {},
        {"environment": "test"},
    )


def test_no_agent_starts_again_in_a_simulator_that_was_forbidden_since():
    settings = loaded((Source.MACHINE, {"simulate": "forbid"}))

    with pytest.raises(AgentError) as error:
        chosen(Choice(), CONSUMER, settings, Environment.SIMULATED)
    assert error.value.code is Code.SIMULATOR_FORBIDDEN
    assert chosen(Choice(), CONSUMER, settings, Environment.TEST) == CONSUMER


def test_an_agent_that_runs_reads_its_settings_for_the_environment_that_it_runs_in(home: Path):
    """The simulator's own rows belong to nobody else, and a row's structure is not forgotten for them."""
    config = home / "config.toml"
    row = '[[software]]\nname="A"\nversion="1"\norigins=["https://a.example"]\nstructure="499700000017001"\nauthorisation={}\n'
    config.write_text(f'environment = "simulated"\n{row}', encoding="utf-8")
    options = Options(config_file=config)

    simulated, test = load_settings(options), load_settings(options, environment=Environment.TEST)

    assert (simulated.settings.environment, test.settings.environment) == (Environment.SIMULATED, Environment.TEST)
    assert (simulated.settings.software[0].structure, test.settings.software[0].structure) == (None, "499700000017001")
    assert (bool(simulated.settings.cpx.activities), bool(test.settings.cpx.activities)) == (True, False)


@given(
    choice=st.builds(
        Choice,
        environment=st.none() | st.sampled_from(Environment),
        profile=st.none() | st.sampled_from(Profile),
    ),
    layers=st.lists(
        st.tuples(
            st.sampled_from([one for one in Source if one is not Source.CHOICE]),
            st.fixed_dictionaries(
                {},
                optional={
                    "environment": st.sampled_from([one.value for one in Environment]),
                    "profile": st.sampled_from([one.value for one in Profile]),
                    "managed": st.booleans(),
                    "simulate": st.sampled_from(["allow", "forbid"]),
                },
            ),
        ),
        max_size=4,
    ),
)
def test_whatever_is_configured_a_choice_changes_nothing_that_is_locked(
    choice: Choice, layers: list[tuple[Source, dict[str, Any]]]
):
    without = load(layers)
    counts = counting(choice, without)
    settings = load([*layers, (Source.CHOICE, counts.model_dump(exclude_none=True))])

    for name in ("environment", "profile"):
        wanted = getattr(counts, name)
        assert getattr(settings.settings, name) == (wanted or getattr(without.settings, name))
        assert wanted is None or name not in locks(without)
    assert locks(settings) == locks(without)


# ---------------------------------------------------------------- where it is kept


def test_what_was_kept_counts_from_the_next_start_on(home: Path):
    options = Options(config_file=home / "config.toml")
    (home / "config.toml").write_text('environment = "test"\n', encoding="utf-8")
    folder = Places.real().create().data
    keep_choice(folder, Choice(environment=Environment.PRODUCTION))

    settings = load_settings(options)

    assert choice_folder(options) == folder
    assert (settings.settings.environment, settings.sources["environment"]) == (
        Environment.PRODUCTION,
        Source.CHOICE,
    )
    assert (folder / "choice.json").stat().st_mode & 0o777 == 0o600


def test_the_simulator_started_as_such_keeps_a_choice_of_its_own(home: Path):
    keep_choice(Places.real().create().data, Choice(environment=Environment.PRODUCTION, profile=Profile.CONSUMER))

    settings = load_settings(Options(simulate=True)).settings

    assert (settings.environment, settings.profile) == (Environment.SIMULATED, Profile.REPOSITORY)
    assert choice_folder(Options(simulate=True)) == Places.simulated().data


def test_a_simulator_that_was_chosen_has_its_own_places_and_settings(home: Path):
    keep_choice(Places.real().create().data, Choice(environment=Environment.SIMULATED))

    settings = load_settings(Options()).settings

    assert places_of(settings) == Places.simulated()
    assert settings.cpx.activities  # those of the simulator's professional


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"environment":"paris"}', b'{"ports":[1]}', b"\xff"])
def test_a_damaged_choice_is_set_aside_and_the_configuration_counts(home: Path, content: bytes):
    folder = Places.real().create().data
    (folder / "choice.json").write_bytes(content)

    assert read_choice(folder) == Choice()
    assert load_settings(Options()).settings.environment is Environment.TEST
    assert [file.read_bytes() for file in folder.glob("choice.json.lost-*")] == [content]


def test_a_choice_that_cannot_be_read_or_kept_is_said(home: Path):
    folder = Places.real().create().data
    (folder / "choice.json").mkdir()

    for use in (lambda: read_choice(folder), lambda: keep_choice(folder, Choice(profile=Profile.CONSUMER))):
        with pytest.raises(AgentError) as error:
            use()
        assert error.value.code is Code.CONFIG_INVALID


@given(
    kept=st.binary(max_size=200)
    | st.builds(lambda value: json.dumps(value).encode(), st.dictionaries(st.text(), st.text()))
)
def test_any_file_is_a_choice_or_none(kept: bytes, tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("choice")
    (folder / "choice.json").write_bytes(kept)

    assert isinstance(read_choice(folder), Choice)
