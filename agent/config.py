"""Every setting of the agent: one frozen model, its defaults, who may set it, and where values come from. ★

Precedence, strongest first: machine policy, user policy, command line, machine configuration, the person's
choice of environment and profile (`switching.py`), user file, default. A setting of scope `machine` is never
read from the user's level when the install is managed (any value under the machine policy, or `managed = true`
in the machine configuration).
"""

import re
import sys
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv6Address
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

import platformdirs
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from agent.errors import AgentError, Code
from agent.model import CardKind, Environment, Profile, Right, is_local_site, is_site

_LOCAL_PROGRAMS = "native"  # they have no origin; protocol/origins.py gives them this name
ALL_RIGHTS: list[Right] = [right for right in Right if right is not Right.ADMIN]
# Every right but that to batches, which are not built: a consent must not cover what nobody could yet be told.
CONSENT_RIGHTS = [Right.VITALE, Right.CPX, Right.RETRIEVE, Right.VERIFY, Right.TRACE]


class Section(BaseModel):
    """A table of the configuration. Unknown settings are refused by name."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, defer_build=True)


def machine(default: Any = ..., **about: Any) -> Any:
    """A setting that only an administrator may set on a managed install."""
    return Field(default=default, json_schema_extra={"scope": "machine"}, **about)


def Machine(default_factory: Any, **about: Any) -> Any:  # noqa: N802  (reads like a field, as pydantic's own Field)
    return Field(default_factory=default_factory, json_schema_extra={"scope": "machine"}, **about)


def _checked(origin: str) -> str:
    if not is_site(origin):
        raise ValueError(
            "not an https origin as browsers write it: https://name or https://name:port, in lower case, "
            "without a path, and without :443, which browsers leave out"
        )
    return origin


def _checked_of_software(origin: str) -> str:
    return origin if is_local_site(origin) or origin == _LOCAL_PROGRAMS else _checked(origin)


Site = Annotated[str, AfterValidator(_checked)]
# also a demonstration's page on this machine, and the local programs that have no origin
SoftwareOrigin = Annotated[str, AfterValidator(_checked_of_software)]


def _absolute(path: Path) -> Path:
    if not path.is_absolute():
        raise ValueError("not an absolute path")
    return path


AbsolutePath = Annotated[Path, AfterValidator(_absolute)]  # wherever the agent was started


class AllowedOrigin(Section):
    """A site that may talk to the agent. Exact, https only."""

    origin: Site
    rights: list[Right] = Field(default_factory=lambda: list(ALL_RIGHTS))
    framed_by: list[Site] = Field(
        default_factory=list,
        description="pages that show this site in a frame: Chrome and Edge ask for them, the agent lets none in",
    )


class Origins(Section):
    unknown: Literal["refuse", "ask"] | None = machine(
        None,
        description="what an origin of no list gets; None: the person is asked, on a managed install it is refused",
    )
    allowed: list[AllowedOrigin] = Machine(list, description="sites that may talk to the agent")
    consent_rights: list[Right] = Machine(
        lambda: list(CONSENT_RIGHTS), description="what the person's consent gives, also to sites allowed before"
    )


class LocalProxy(Section):
    """A program of another account that passes the browser's connections on to us, as some antivirus programs do."""

    account: str = Field(min_length=1, description="its account: a user name, on Windows DOMAIN\\name")
    program: Path | None = Field(default=None, description="its executable, where the system lets us see it")


class Door(Section):
    connections: int = machine(128, ge=1, le=1024, description="open conversations at once")
    connections_per_origin: int = machine(64, ge=1, le=1024, description="of one origin")
    pending: int = machine(4, ge=1, le=64, description="conversations that wait for the person's consent at once")
    pending_per_origin: int = machine(2, ge=1, le=64, description="of one origin, so that other sites find room")
    consent_every_s: float = machine(60, ge=0, le=3600, description="between two windows that ask for a site, seconds")
    silent: int = machine(256, ge=8, le=4096, description="connections that said nothing complete yet, at once")
    silent_per_process: int = machine(64, ge=4, le=4096, description="of one program")
    handshake_s: float = machine(10, gt=0, le=120, description="to complete a handshake once its first byte came")
    same_user: bool = machine(True, description="refuse programs of another account of this machine")
    local_proxies: list[LocalProxy] = Machine(list, description="programs of other accounts that are accepted")


class Limits(Section):
    """How much one origin may ask.

    An INSi call is one person looked for, whatever attempts INSi's rules make of it: that is what a page can
    foresee, and each call has a bounded number of attempts. It counts when the first attempt begins; a replay, and
    whatever is refused before, count nothing. What was counted is forgotten when the agent stops.
    """

    insi_per_minute: int = machine(30, ge=1, description="INSi calls: persons looked for, whatever the attempts")
    insi_per_day: int = machine(1000, ge=1, description="the same in any 24 hours")
    pin_windows_per_minute: int = machine(
        6, ge=1, description="windows that ask for a code; as many may ask for an activity"
    )


class Wss(Section):
    """wss beside ws, which only Safari needs."""

    enabled: bool = machine(False)
    ports: list[Annotated[int, Field(ge=0, le=65535)]] = machine(
        [19857, 19858, 19859, 19860], min_length=1, description="tried in order"
    )


class Software(Section):
    """One authorised software, chosen by the origin alone (S027). INSi's indicators count its name and version."""

    name: str = Field(min_length=1)
    version: str = Field(min_length=1)
    origins: list[SoftwareOrigin] = Field(description="exact origins of this software")
    authorisation: dict[Environment, str] = Field(
        repr=False, description="CNDA authorisation number per environment (IDAM)"
    )
    publisher_id: str | None = Field(default=None, min_length=1, description="the editor's number at CNDA (NIE)")
    structure: str | None = Field(
        default=None, min_length=1, description="OU of the organisation certificate that its calls use; None: the only"
    )


class CardRow(Section):
    """A row to put before the table of known cards (readers/kinds.py), for a card that it does not know."""

    atr: str = Field(pattern=r"^([0-9A-F.]{2}){2,33}$", description="ATR in hexadecimal, a dot for any digit")
    kind: CardKind

    @field_validator("atr", mode="before")
    @classmethod
    def _as_printed(cls, atr: Any) -> Any:
        """`pcsc_scan` and others print blanks, or small letters."""
        return "".join(atr.split()).upper() if isinstance(atr, str) else atr


class ReaderPreferences(Section):
    prefer: list[str] = Field(default_factory=list, description="reader name patterns (fnmatch) to try first")
    exclude: list[str] = Field(default_factory=list, description="reader name patterns (fnmatch) never to use")
    cards: list[CardRow] = Machine(list, description="ATRs to add to the known ones")


class Apilec(Section):
    """The licensed Vitale reading library, the customer's own copy. Untested on the real one."""

    library: Path | None = machine(None, description="absolute path of the library")
    configuration: Path | None = machine(None, description="folder of api_lec.ini")
    wait_s: int = machine(10, ge=1, le=60, description="how long the library may wait for a card, seconds")
    codes: dict[Annotated[str, Field(pattern=r"^[0-9]{1,5}$")], Code] = Machine(
        dict, description="return code → code of our catalogue; the library's own table is not public"
    )


class Vitale(Section):
    backend: Literal["pcsc", "apilec"] = machine("pcsc", description="how the carte Vitale is read")
    apilec: Apilec = Field(default_factory=Apilec)
    assertion: Literal["off", "required"] = machine(
        "off", description="second assertion in WS_INS1 (CNDA 1.01, 1.02); needs a provider, none is shipped"
    )
    max_age_s: int = Field(default=1200, ge=60, le=1200, description="life of a reading, seconds (CNDA 1.02)")
    send_birth_name: bool = machine(
        False, description="send NomNaissance in WS_INS1: the card's name is of unknown nature"
    )
    lunar_dates: Literal["send", "refuse"] = machine(
        "send", description="birth dates of the card that are no day of the calendar, in WS_INS1 [guess]"
    )
    rank_format: Literal["1", "01"] = machine("1", description="written form of RangNaissance [guess: not public]")


class BillingId(Section):
    """identifiantFacturation of one professional, in one structure or everywhere."""

    professional: str = Field(description="CN of the card, with its prefix digit")
    structure: str | None = Field(default=None, description="structure identifier of the activity; None: all")
    value: str = Field(min_length=1, description="geographic FINESS, SIRET or AM number")


class Cpx(Section):
    module: Path | None = machine(None, description="PKCS#11 module, absolute path; None: the known places")
    opensc_signs: bool = machine(
        False, description="try OpenSC for signatures: one built with OpenSSL 1.1 [guess], or a card with relaxed rules"
    )
    pin_min_digits: int = machine(4, ge=1, le=16)
    pin_max_digits: int = machine(4, ge=1, le=16)
    keep: Annotated[str, Field(pattern=r"^(call|card|minutes:\d{1,3})$")] = machine(
        "card", description="how long the logged-in session stays: call, card or minutes:N"
    )
    reset_card: bool = machine(
        True, description="reset the card when our session ends: a logout leaves the code verified on it"
    )
    lock_with_screen: bool = machine(True, description="a locked screen ends the session")
    idle_minutes: int = machine(30, ge=1, le=240, description="an unused session ends")
    max_minutes: int = machine(240, ge=1, le=480, description="any session ends")
    billing_ids: list[BillingId] = Machine(list)
    activities: dict[str, str] = Machine(
        dict, description="activity of a professional (CN → id) when a call names none"
    )
    activity_question: Literal["page", "window"] = machine(
        "page", description="who chooses among several activities: the page (activity.needed) or a native window"
    )
    specialities: dict[str, str] = Machine(
        dict, description="speciality of a professional (CN → code of table R01), where the card has none"
    )
    speciality_attribute: str = machine(
        "codeSpecialiteAMO", min_length=1, description="wire name of the speciality [guess: not proven]"
    )
    billing_attribute: str = machine("identifiantFacturation", min_length=1, description="wire name of the billing id")
    sector_attribute: str = machine("secteurActivite", min_length=1, description="wire name of the sector")
    issuer_format: Literal["card", "rfc4514", "dotnet"] = machine(
        "card", description="how the assertion's Issuer writes the holder's name [guess: INSi's rule is not public]"
    )
    speciality_professions: list[str] = Machine(
        lambda: ["10"], description="professions (table G15) whose speciality is sent: physicians"
    )
    assertion_max_age_s: int = machine(60, ge=1, le=60)
    call_timeout_s: float = machine(60, gt=0, description="one call to the card's module, seconds")


class Organisation(Section):
    """The certificates of the structures that call from here: INSI-MANU for a person's calls, INSI-AUTO for others."""

    certificates: list[AbsolutePath] = Machine(list, description=".p12 files; their passphrases are in the keyring")
    issuers: list[str] = Machine(
        lambda: ["AC IGC-SANTE ELEMENTAIRE ORGANISATIONS", "TEST AC IGC-SANTE ELEMENTAIRE ORGANISATIONS"],
        description="common names of the CAs that issue them; another one is a warning",
    )


_SCRIPT_ADDRESS = re.compile(r"https?://[^/@\s]+(/\S*)?$")


class Proxy(Section):
    """How the network is left, for INSi and its revocation lists. Nothing comes from the environment's variables."""

    use: Literal["none", "explicit", "script", "system"] = machine(
        "none", description="no proxy, the one of `address`, what a PAC script says, or what Windows is told"
    )
    address: str | None = machine(
        None,
        pattern=r"^http://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?$",
        description="http://name:port; without a port, 80",
    )
    user: str | None = machine(
        None, min_length=1, description="for Basic; its password is in the keyring, to enrol again for another user"
    )
    script: str | None = machine(None, min_length=1, description="PAC: an absolute path, or an http(s) address")
    script_timeout_s: float = machine(
        5, gt=0, le=60, description="for the script's process to start, fetch and answer; for Windows to answer"
    )

    @field_validator("address")
    @classmethod
    def _can_be_called(cls, address: str | None) -> str | None:
        if address is not None and not _is_place(address):
            raise ValueError("its port or its IPv6 address is none")
        return address

    @model_validator(mode="after")
    def _has_what_it_needs(self) -> Self:
        if self.use == "explicit" and self.address is None:
            raise ValueError("use = explicit needs proxy.address")
        if self.use == "script" and self.script is None:
            raise ValueError("use = script needs proxy.script")
        if self.user and (self.use == "system" or (self.use == "script" and (self.script or "").startswith("http:"))):
            # Basic goes to the proxy unasked, and here anybody on the network may name it
            raise ValueError("proxy.user needs a proxy of the administrator's: proxy.address, a file, an https script")
        if self.use == "system" and sys.platform != "win32":
            raise ValueError("use = system is Windows' own")
        if self.script and not _SCRIPT_ADDRESS.match(self.script) and not Path(self.script).is_absolute():
            raise ValueError("proxy.script is neither an absolute path nor an http(s) address without an account")
        if self.user and ":" in self.user:
            raise ValueError("proxy.user holds a colon, which Basic cannot say")
        return self


def _is_place(address: str) -> bool:
    """Whether this address, of the form above, has a port and a host that can be."""
    try:
        parts = urlsplit(address)
        return parts.port != 0 and (":" not in (parts.hostname or "") or bool(IPv6Address(parts.hostname or "")))
    except ValueError:
        return False


class Endpoints(Section):
    """Where INSi is, for one environment. None: the public address."""

    cpx: str | None = Field(default=None, pattern=r"^https://")
    organisation: str | None = Field(default=None, pattern=r"^https://")


class Anchors(Section):
    """PEM or DER files of the CAs trusted for one environment's endpoints, one list each."""

    cpx: list[AbsolutePath] = Field(default_factory=list)
    organisation: list[AbsolutePath] = Field(default_factory=list)


NameRule = Literal["san", "sanOrCn"]


class ServerNames(Section):
    """Where a server's certificate may name it: in its subjectAltName, or without one in its CN. Never unchecked."""

    cpx: NameRule = "san"
    organisation: NameRule = "san"


class Insi(Section):
    contract: AbsolutePath | None = machine(
        None, description="folder of the editor's official package; None: our own contract"
    )
    bindings: AbsolutePath | None = machine(
        None, description="folder of *.toml: how operations without public contract are called"
    )
    endpoints: dict[Environment, Endpoints] = Machine(dict)
    anchors: dict[Environment, Anchors] = Machine(dict)
    server_names: dict[Environment, ServerNames] = Machine(dict)
    revocation: Literal["off", "soft", "hard"] = machine(
        "soft",
        description="server certificates against their CA's list: not looked at, refused if listed, or if unknown",
    )
    revocation_timeout_s: float = machine(5, gt=0, le=60)
    connect_timeout_s: float = machine(20, gt=0, description="[guess: no official figure]")
    total_timeout_s: float = machine(30, gt=0, description="[guess: no official figure]")
    max_reply_bytes: int = machine(1 << 20, ge=1 << 16)
    retries: int = machine(1, ge=0, le=3, description="repeats of an attempt after unavailability")
    retry_pause_s: float = machine(
        1.0, ge=0, description="before the first repeat; twice as long before each further one"
    )
    pause_s: float = machine(0.0, ge=0, le=60, description="between two attempts of one operation")
    unknown_person_faults: dict[Environment, Literal["error", "notFound"]] = Machine(
        dict, description="what insi_102 and desir_1020 mean: the qualification service hid nobody found behind them"
    )
    check_answers: bool = machine(True, description="warn of answers that differ from the contract's schema")
    lunar_dates: Literal["send", "refuse"] = machine(
        "send", description="birth dates with month or day 00, in WS_INS2 [guess: not public]"
    )
    send_key: bool = machine(False, description="send the key of matricules that have one, in WS_INS1 [guess]")
    bam_version: str = machine("01_02", min_length=1, description="ContexteBAM/@Version")
    lps_version: str = machine("01_00", min_length=1, description="ContexteLPS/@Version")
    provisional: Literal["allow", "forbid"] = machine("allow", description="retrieval for PROV identities (S105)")
    after_several: Literal["join", "next"] = machine(
        "join", description="attempt after 02: all given names together, or the next one [guess: not public]"
    )
    lps_name: str = machine(
        "urn:lps:{name}:{version}",
        pattern=r"^([^{}]|\{name\}|\{version\})+$",
        description="form of ContexteLPS/LPS/Nom [guess]",
    )

    @field_validator("unknown_person_faults")
    @classmethod
    def _not_in_production(cls, meaning: dict[Environment, str]) -> dict[Environment, str]:
        if meaning.get(Environment.PRODUCTION) == "notFound":
            raise ValueError("production answers 01: a fault there is never a person not found")
        return meaning


class Ship(Section):
    """A second place for the journal's entries, sealed as they are."""

    to: Literal["none", "folder", "syslog"] = machine("none")
    folder: AbsolutePath | None = machine(None, description="may be on a network; each installation has its own in it")
    syslog: str | None = machine(
        None, description="tls://host:6514, tcp://host:601, or on this machine unix:/dev/log", max_length=300
    )
    anchors: list[AbsolutePath] = Machine(list, description="authorities of a syslog server by tls, PEM or DER")
    max_message_bytes: int = machine(
        8192, ge=2048, le=1 << 20, description="of one syslog message; larger personal parts are left out [guess]"
    )

    @model_validator(mode="after")
    def _has_what_it_needs(self) -> Self:
        if self.to == "folder" and self.folder is None:
            raise ValueError("to = folder needs journal.ship.folder")
        if self.syslog is not None and not _is_receiver(self.syslog):
            raise ValueError("journal.ship.syslog is none of tls://host:port, tcp://host:port, unix:/path")
        if self.to == "syslog" and self.syslog is None:
            raise ValueError("to = syslog needs journal.ship.syslog")
        local = (self.syslog or "").startswith("unix:")
        if self.to == "syslog" and (self.syslog or "").startswith("tls:") and not self.anchors:
            raise ValueError("a server by tls needs journal.ship.anchors")
        if local and sys.platform == "win32":
            raise ValueError("Windows has no syslog of its own")
        if local and self.max_message_bytes > _LOCAL_MESSAGE_BYTES:
            raise ValueError(f"a local socket takes max_message_bytes of {_LOCAL_MESSAGE_BYTES} at most")
        return self


_LOCAL_MESSAGE_BYTES = 1 << 16  # one datagram; Linux sends 200 kB unless it is told otherwise (net.core.wmem_default)
_RECEIVER = re.compile(r"(tls|tcp)://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}")


def _is_receiver(address: str) -> bool:
    if address.startswith("unix:"):
        return Path(address.removeprefix("unix:")).is_absolute() and "\0" not in address
    return bool(_RECEIVER.fullmatch(address)) and _is_place(address)


class JournalSettings(Section):
    directory: Path | None = machine(None, description="local folder; None: the user's local data")
    personal_days: int | None = machine(
        1095, ge=1, description="then what an entry holds of people is erased; None: never [choice: not public]"
    )
    entry_days: int | None = machine(
        3650, ge=1, description="then the entry itself leaves; None: never [choice: not public]"
    )
    ship: Ship = Field(default_factory=Ship)


class Log(Section):
    system: bool = machine(True, description="start, stop and faults also to the system's log")


class Settings(Section):
    """Every setting."""

    managed: bool = machine(False)
    environment: Environment = machine(Environment.TEST)
    profile: Profile = machine(Profile.REPOSITORY)
    simulate: Literal["allow", "forbid"] = machine("allow", description="whether --simulate may run here")
    disabled: bool = machine(False, description="answer 503 to everybody")
    ports: list[Annotated[int, Field(ge=0, le=65535)]] = machine(
        [19847, 19848, 19849, 19850], min_length=1, description="tried in order"
    )
    language: Literal["fr", "en"] = Field(default="fr")
    origins: Origins = Field(default_factory=Origins)
    software: list[Software] = Machine(list)
    readers: ReaderPreferences = Field(default_factory=ReaderPreferences)
    vitale: Vitale = Field(default_factory=Vitale)
    cpx: Cpx = Field(default_factory=Cpx)
    organisation: Organisation = Field(default_factory=Organisation)
    insi: Insi = Field(default_factory=Insi)
    proxy: Proxy = Field(default_factory=Proxy)
    journal: JournalSettings = Field(default_factory=JournalSettings)
    log: Log = Field(default_factory=Log)
    secrets: Literal["keyring", "machine"] = machine(
        "keyring", description="where keys and passphrases are kept: the user's keyring, or under the machine's secret"
    )
    door: Door = Field(default_factory=Door)
    limits: Limits = Field(default_factory=Limits)
    wss: Wss = Field(default_factory=Wss)

    @field_validator("software")
    @classmethod
    def _one_row_each(cls, rows: list[Software]) -> list[Software]:
        """The origin alone selects the row: it is in one."""
        seen: dict[str, int] = {}
        for number, row in enumerate(rows):
            for origin in row.origins:
                if seen.setdefault(origin, number) != number:
                    raise ValueError(f"one origin is in two rows, {seen[origin]} and {number}")
        return rows

    @property
    def asks_for_unknown_origins(self) -> bool:
        """Whether the person is asked for a site of no list."""
        return self.origins.unknown == "ask" or (self.origins.unknown is None and not self.managed)

    @property
    def page_origins(self) -> list[str]:
        """Pages that browsers must let reach the agent: the allowed sites, and those that show them in a frame."""
        return [page for site in self.origins.allowed for page in (site.origin, *site.framed_by)]

    def software_of(self, origin: str) -> Software | None:
        """The software row of this origin: the origin alone selects it."""
        return next((row for row in self.software if origin in row.origins), None)


class Source(StrEnum):
    """Where a value came from, strongest first."""

    MACHINE_POLICY = "machine policy"
    USER_POLICY = "user policy"
    COMMAND_LINE = "command line"
    MACHINE = "machine configuration"
    CHOICE = "the person's choice"  # of environment and profile, at run time
    USER = "user file"
    DEFAULT = "default"


@dataclass(frozen=True)
class Loaded:
    """The settings, and where each leaf that is not a default came from."""

    settings: Settings
    sources: Mapping[str, Source]


def load(layers: Iterable[tuple[Source, Mapping[str, Any]]]) -> Loaded:
    """Merge layers (any order) into settings.

    Raises config.invalid naming the setting and the layer, never quoting the value.
    """
    by_source: dict[Source, dict[str, Any]] = {source: {} for source in Source}
    for source, layer in layers:
        by_source[source] = _merge(by_source[source], layer)
    managed = bool(by_source[Source.MACHINE_POLICY]) or bool(by_source[Source.MACHINE].get("managed"))
    merged: dict[str, Any] = {}
    sources: dict[str, Source] = {}
    for source in reversed(Source):
        layer = by_source[source]
        if managed and source in (Source.USER, Source.CHOICE, Source.USER_POLICY, Source.COMMAND_LINE):
            layer = _without_machine_scope(layer, Settings)
        merged = _merge(merged, layer)
        for path in _leaves(layer):
            for old in [known for known in sources if known.startswith(path + ".") or path.startswith(known + ".")]:
                del sources[old]
            sources[path] = source
    try:
        settings = Settings.model_validate({**merged, "managed": managed})
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        setting = ".".join(str(part) for part in first["loc"])
        source = _source_of(setting.removesuffix(".[key]"), sources)
        detail = f"{setting} ({source}): {first['msg']}"
        raise AgentError(Code.CONFIG_INVALID, detail, setting=setting, source=source.value) from None
    return Loaded(settings, sources)


def _source_of(setting: str, sources: Mapping[str, Source]) -> Source:
    """Where the setting, or the first one above or below it, came from."""
    near = (
        s for known, s in sources.items() if f"{setting}.".startswith(f"{known}.") or known.startswith(f"{setting}.")
    )
    return next(near, Source.DEFAULT)


def system_layers(config_file: Path | None = None) -> list[tuple[Source, dict[str, Any]]]:
    """Read every layer of this machine; `config_file` replaces the user's file. Raises config.invalid."""
    layers = [
        (Source.MACHINE_POLICY, _folder(policy_folder())),
        (Source.MACHINE, _folder(machine_folder())),
    ]
    if sys.platform == "win32":
        layers.append((Source.MACHINE_POLICY, _registry("HKEY_LOCAL_MACHINE")))
        layers.append((Source.USER_POLICY, _registry("HKEY_CURRENT_USER")))
    if config_file is not None:
        layers.append((Source.USER, _file(config_file)))
    elif (user := user_file()).exists():
        layers.append((Source.USER, _file(user)))
    return layers


def policy_folder() -> Path:
    return Path("/etc/insi-agent/policy.d")


def machine_folder() -> Path:
    if sys.platform == "win32":
        return Path(platformdirs.site_config_path("insi-agent", appauthor=False)) / "conf.d"
    return Path("/etc/insi-agent/conf.d")


def user_file() -> Path:
    return Path(platformdirs.user_config_path("insi-agent", appauthor=False)) / "config.toml"


def _folder(folder: Path) -> dict[str, Any]:
    """All *.toml of a folder, in the order of their names; later ones win."""
    merged: dict[str, Any] = {}
    if folder.is_dir():
        for file in sorted(folder.glob("*.toml")):
            merged = _merge(merged, _file(file))
    return merged


def _file(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise AgentError(Code.CONFIG_INVALID, f"{file.name}: {type(error).__name__}", setting=str(file)) from None


def _registry(hive: str) -> dict[str, Any]:
    found = read_registry(hive, r"SOFTWARE\Policies\InsiAgent")
    return found if isinstance(found, dict) else {}


def read_registry(hive: str, path: str) -> Any:
    """A key: subkeys are tables, numbered values lists; {} where there is none. Untested on real Windows."""
    if sys.platform != "win32":
        return {}
    import winreg

    try:
        key = winreg.OpenKey(getattr(winreg, hive), path)
    except FileNotFoundError:
        return {}
    with key:
        subkeys, values, _ = winreg.QueryInfoKey(key)
        table: dict[str, Any] = {}
        for index in range(values):
            name, value, _kind = winreg.EnumValue(key, index)
            table[name] = value
        for index in range(subkeys):
            name = winreg.EnumKey(key, index)
            table[name] = read_registry(hive, f"{path}\\{name}")
    if table and all(name.isdigit() for name in table):
        return [table[name] for name in sorted(table, key=int)]
    return table


def _merge(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Tables merge, everything else (lists too) is replaced."""
    merged = dict(under)
    for name, value in over.items():
        below = merged.get(name)
        merged[name] = _merge(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return merged


def _without_machine_scope(layer: Mapping[str, Any], section: type[Section]) -> dict[str, Any]:
    """The layer without what only an administrator may set."""
    kept: dict[str, Any] = {}
    for name, value in layer.items():
        field = section.model_fields.get(name)
        if field is None:
            kept[name] = value  # refused by name later
        elif isinstance(field.json_schema_extra, dict) and field.json_schema_extra.get("scope") == "machine":
            continue
        elif (
            isinstance(field.annotation, type) and issubclass(field.annotation, Section) and isinstance(value, Mapping)
        ):
            kept[name] = _without_machine_scope(value, field.annotation)
        else:
            kept[name] = value
    return kept


def _leaves(layer: Mapping[str, Any], prefix: str = "") -> Iterable[str]:
    for name, value in layer.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"
