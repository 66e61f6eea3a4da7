"""What the command line decides, and the settings that come of it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from agent import __version__
from agent.choice import read_choice
from agent.config import BillingId, Loaded, Settings, Software, Source, load, system_layers
from agent.errors import AgentError, Code
from agent.model import Environment
from agent.places import Places
from agent.switching import Choice, counting

SIMULATED_AUTHORISATION = "SIMULATEUR-0001"


@dataclass(frozen=True)
class Options:
    """What the command line decides."""

    simulate: bool = False
    port: int | None = None
    config_file: Path | None = None
    chosen_in: Path | None = None  # folder of the person's choice of environment and profile; None: the user's own
    card: Path | None = None  # a recorded carte Vitale for the simulator's reader
    demo_origins: tuple[str, ...] = ()  # the demonstration page's, then its developer's; simulated only, never stored
    answers_itself: bool = False  # while simulated, a simulated person answers questions without a window

    def __post_init__(self) -> None:
        """Raises config.invalid for a demonstration's page outside simulation."""
        if self.demo_origins and not self.simulate:
            raise AgentError(Code.CONFIG_INVALID, "a demonstration's page belongs to the simulator")


def load_settings(options: Options, choice: Choice | None = None, *, environment: Environment | None = None) -> Loaded:
    """Every layer of this machine, what counts of the person's choice, and the simulator's own on top.

    `choice`: instead of the one that was kept. `environment`: the one that an agent runs in, whatever is configured.
    Raises config.invalid.
    """
    layers = system_layers(options.config_file)
    loaded = _loaded(options, layers, environment)
    counts = counting(read_choice(choice_folder(options)) if choice is None else choice, loaded)
    if counts == Choice():
        return loaded
    return _loaded(options, [*layers, (Source.CHOICE, counts.model_dump(exclude_none=True))], environment)


def choice_folder(options: Options) -> Path:
    """Where the person's choice is kept: the simulator started as such has its own."""
    return options.chosen_in or (Places.simulated() if options.simulate else Places.real()).data


def places_of(settings: Settings) -> Places:
    """Where an agent of these settings keeps its files."""
    if settings.environment is Environment.SIMULATED:
        return Places.simulated()
    return Places.real(settings.journal.directory)


def _loaded(
    options: Options, layers: Iterable[tuple[Source, Mapping[str, Any]]], environment: Environment | None
) -> Loaded:
    loaded = load(layers)
    if environment is not None:
        loaded = replace(loaded, settings=loaded.settings.model_copy(update={"environment": environment}))
    if not options.simulate and loaded.settings.environment is not Environment.SIMULATED:
        return loaded
    from agent.simulator.pki import Person

    doctor = Person().national_id
    demo = []
    if options.demo_origins:
        demo.append(
            Software(
                name="Accueil de démonstration",
                version=__version__,
                origins=list(options.demo_origins),
                authorisation={Environment.SIMULATED: SIMULATED_AUTHORISATION},
            )
        )
    known = {
        "billing_ids": [BillingId(professional=doctor, value="990000017")],
        "activities": {doctor: "01"},
    }
    configured = {source.split(".")[1] for source in loaded.sources if source.startswith("cpx.")}
    added = {name: value for name, value in known.items() if name not in configured}
    configured_rows = [  # the demonstration's pages have their own row, the simulator's certificate its own structure
        row.model_copy(
            update={"origins": [one for one in row.origins if one not in options.demo_origins], "structure": None}
        )
        for row in loaded.settings.software
    ]
    simulated: dict[str, Any] = {
        "environment": Environment.SIMULATED,
        "cpx": loaded.settings.cpx.model_copy(update=added).model_dump(),
        "software": [*demo, *configured_rows],
    }
    settings = Settings.model_validate({**loaded.settings.model_dump(), **simulated})
    by = {"environment": Source.COMMAND_LINE} if options.simulate else {}
    return Loaded(settings, {**loaded.sources, **by})
