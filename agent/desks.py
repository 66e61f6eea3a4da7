"""The two desks, real and simulated: the only place that builds the edges, each inside the function that needs it.

What only looks at one edge (the doctor, the commands) builds it here too, so that it is as strict as the agent.
"""

import getpass
import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar
from uuid import uuid4

from agent.config import Proxy, Settings, machine_folder
from agent.errors import AgentError, Code
from agent.insi.addresses import ADDRESSES
from agent.model import AuthMode, CardKind, Environment
from agent.options import SIMULATED_AUTHORISATION
from agent.places import instance_id
from agent.workflows.desk import Desk

if TYPE_CHECKING:
    from agent.app import Agent
    from agent.insi.contract import Contract
    from agent.insi.http import Endpoint, HttpTeleservice
    from agent.insi.ports import HttpReply, Sender
    from agent.journal.shipping import Carrier
    from agent.readers.desk import VitaleSource
    from agent.readers.ports import Readers
    from agent.secrets import Secrets
    from agent.signing.certificate_files import CertificateFiles
    from agent.signing.organisation import OrganisationCertificate
    from agent.signing.ports import TokenProcess

log = logging.getLogger(__name__)
T = TypeVar("T")


def real_desk(agent: "Agent") -> Desk:
    """PC/SC, PKCS#11, the configured INSi, the user's keyring or the machine's secret."""
    from agent.readers.pcsc import PcscReaders
    from agent.secrets import secrets_of
    from agent.signing.worker import TokenWorker

    secrets = secrets_of(agent.places.data, simulated=False, settings=lambda: agent.settings)
    environment = agent.settings.environment

    return _desk(
        agent,
        readers=PcscReaders(card_kinds(lambda: agent.settings)),
        tokens=TokenWorker(
            agent.settings.cpx.module,
            check=library_check(agent.settings),
            opensc_signs=agent.settings.cpx.opensc_signs,
        ),
        secrets=secrets,
        certificates=organisation_files(lambda: agent.settings, secrets),
        endpoint=lambda mode: insi_endpoint(agent.settings, environment, mode),
    )


def simulated_desk(agent: "Agent") -> Desk:
    """Transcript cards, a token with a real key, a loopback INSi: nothing of the real state is touched."""
    from agent.insi.fake_insi import SimulatedInsi
    from agent.readers.transcript import SimulatedReaders, load_transcript
    from agent.secrets import FileSecrets
    from agent.signing.certificate_files import CertificateFiles
    from agent.simulator.pki import open_pki
    from agent.simulator.tokens import SimulatedTokens

    folder = agent.places.data
    pki = open_pki(folder)
    insi = SimulatedInsi(
        pki.server_certificate_pem,
        pki.server_key_pem,
        pki.ca_pem,
        authorisations=[SIMULATED_AUTHORISATION],
    )
    insi.start()
    agent.on_stop(insi.stop)
    agent.simulated_insi = insi
    urls = {mode: insi.url(mode) for mode in AuthMode}

    def endpoint(mode: AuthMode) -> "Endpoint":
        from agent.insi.http import Endpoint

        return Endpoint(urls[mode], pki.ca_pem)

    card = load_transcript(agent.options.card) if agent.options.card else None
    readers = SimulatedReaders.default(card_kinds(lambda: agent.settings), card)
    return _desk(
        agent,
        readers=readers,
        tokens=SimulatedTokens(folder, readers),
        secrets=FileSecrets(folder),
        certificates=CertificateFiles(lambda: [pki.organisation_p12], lambda _file: pki.organisation_passphrase),
        endpoint=endpoint,
    )


def _desk(
    agent: "Agent",
    *,
    readers: "Readers",
    tokens: "TokenProcess",
    secrets: "Secrets",
    certificates: "CertificateFiles",
    endpoint: Callable[[AuthMode], "Endpoint"],
) -> Desk:
    """The parts that the real desk and the simulated one share."""
    from agent.journal.chain import signed_at
    from agent.journal.store import Journal
    from agent.secrets import journal_keys_changed, load_identity, load_journal_keys

    load = _Once(lambda: load_identity(secrets, agent.places.data))
    settings, proxy_password = agent.settings, ProxyPassword(lambda: agent.settings, secrets)
    return Desk(
        settings=lambda: agent.settings,
        environment=settings.environment,
        instance_id=instance_id(agent.places.data),
        readers=readers,
        vitale=_vitale_source(agent, readers),
        tokens=lambda: tokens,
        teleservice=_Teleservice(agent, endpoint, certificates.of, proxy_password),
        read_proxy_password=proxy_password.read,
        certificates=certificates,
        contract=_ReadContract(lambda: agent.settings, settings.environment),
        load_identity=load,
        journal=Journal(
            agent.places.journal,
            sign=lambda data: load().sign_bytes(data),
            verify=lambda data, signature: load().verify_dated(data, signature, signed_at),
            keys=_Once(
                lambda: load_journal_keys(secrets, agent.places.data),
                state=lambda: journal_keys_changed(agent.places.data),
            ),
            max_reply_bytes=settings.insi.max_reply_bytes,
            noted=agent.places.noted_head,
            appended=agent.appended,
        ),
        person=agent.person,
        now=lambda: datetime.now(UTC),
        new_id=lambda: str(uuid4()),
        verifies=settings.environment is Environment.SIMULATED,
        account=_account(),
        changed=agent.session_changed,
        show=agent.show_state,
    )


def organisation_files(settings: Callable[[], Settings], secrets: "Secrets") -> "CertificateFiles":
    """The organisations' certificates that are configured, their passphrases among the secrets."""
    from agent.signing.certificate_files import CertificateFiles, secret_name

    return CertificateFiles(
        lambda: settings().organisation.certificates,
        lambda file: secrets.get(secret_name(file)),
        check=lambda file: check_place(settings(), "organisation.certificates", file),
    )


def card_kinds(settings: Callable[[], Settings]) -> Callable[[bytes], CardKind]:
    """Which card an ATR is, by the rows of the settings first."""
    from agent.readers.kinds import ATR_TABLE, AtrRow, kind_of

    def kind(atr: bytes) -> CardKind:
        own = (AtrRow(row.atr, row.kind, "configured", "readers.cards") for row in settings().readers.cards)
        return kind_of(atr, (*own, *ATR_TABLE))

    return kind


def library_check(settings: Settings) -> Callable[[Path], Path]:
    """Which native library may be loaded: on a managed install, an administrator's alone."""
    from agent.native import ROOT, check_library

    return partial(check_library, owners=ROOT if settings.managed else None)


def check_place(settings: Settings, setting: str, path: Path) -> None:
    """On a managed install, what a setting names is an administrator's alone, as the setting is.

    What is not there says so itself when it is opened. Raises config.invalid (facts setting, reason).
    """
    from agent.native import ROOT, replaceable

    try:
        why = replaceable(path, owners=ROOT, protected=[machine_folder().parent]) if settings.managed else None
    except (OSError, RuntimeError):
        return
    if why:
        reason = "un autre compte que l'administrateur peut remplacer un fichier désigné"
        raise AgentError(Code.CONFIG_INVALID, f"{path}: {why}", setting=setting, reason=reason)


def configured_contract(settings: Settings) -> "Contract":
    """INSi's contract by the settings. Raises contract.unreadable, config.invalid as `check_place`."""
    from agent.insi.contract import open_contract

    insi = settings.insi
    contract = open_contract(insi.contract, insi.bindings)  # which refuses a folder without end
    for setting, folder, below in (("insi.contract", insi.contract, "**/*"), ("insi.bindings", insi.bindings, "*")):
        for place in (folder, *folder.glob(below)) if folder and settings.managed else ():
            check_place(settings, setting, place)
    return contract


def _vitale_source(agent: "Agent", readers: "Readers") -> "VitaleSource":
    """How the carte Vitale is read here; another choice counts from the next start on."""
    from agent.readers.desk import PcscVitale

    wanted = agent.settings.vitale
    if wanted.backend == "apilec" and not agent.simulated:
        from agent.readers.apilec import ApilecVitale

        source = ApilecVitale(
            **dict(wanted.apilec), today=lambda: datetime.now(UTC).date(), check=library_check(agent.settings)
        )
        agent.on_stop(source.close)
        return source
    return PcscVitale(readers, lambda: (agent.settings.readers.prefer, agent.settings.readers.exclude))


class _Once(Generic[T]):
    """A value made at first use, by whichever thread comes first; a failure is not kept.

    Made again once `state` is another one; where that fails, the value of before stays.
    """

    def __init__(self, make: Callable[[], T], state: Callable[[], object] = lambda: None) -> None:
        self._make, self._state, self._lock = make, state, threading.Lock()
        self._made: T | None = None
        self._made_in: object = None

    def __call__(self) -> T:
        with self._lock:
            state = self._state()
            if self._made is None:
                self._made, self._made_in = self._make(), state
            elif state != self._made_in:
                self._made_in = state
                try:
                    self._made = self._make()
                except AgentError as error:
                    log.warning("a key stays as it was read before: %s", error)
            return self._made


class _ReadContract:
    """INSi's contract, read at its first use and again once the settings were: the network lane's.

    The simulator speaks ours, whatever package is configured.
    """

    def __init__(self, settings: Callable[[], Settings], environment: Environment) -> None:
        self._settings, self._simulated = settings, environment is Environment.SIMULATED
        self._read: tuple[Settings, Contract] | None = None

    def __call__(self) -> "Contract":
        from agent.insi.contract import open_contract

        settings = self._settings()
        if self._read is None or self._read[0] is not settings:
            self._read = (settings, open_contract(None, None) if self._simulated else configured_contract(settings))
        return self._read[1]


class _Teleservice:
    """INSi over HTTPS, opened at its first use and again once the settings were read again: the network lane's.

    Also when a call was under way meanwhile: nothing goes over a session that older settings opened.
    """

    def __init__(
        self,
        agent: "Agent",
        endpoint: Callable[[AuthMode], "Endpoint"],
        organisation_of: Callable[[str], "OrganisationCertificate"],
        proxy_password: Callable[[], str | None],
    ) -> None:
        self._agent, self._endpoint = agent, endpoint
        self._organisation_of, self._proxy_password = organisation_of, proxy_password
        self._open: tuple[Settings, HttpTeleservice] | None = None

    def check(self, mode: AuthMode) -> None:
        self._endpoint(mode)

    def post(self, sender: "Sender", action: str, envelope: bytes) -> "HttpReply":
        settings = self._agent.settings
        if self._open is None or self._open[0] is not settings:
            self.close()
            self._open = (settings, self._connect(settings))
        return self._open[1].post(sender, action, envelope)

    def close(self) -> None:
        if self._open is not None:
            self._open[1].close()
            self._open = None

    def _connect(self, settings: Settings) -> "HttpTeleservice":
        from agent.insi.http import HttpTeleservice, Limits
        from agent.insi.proxy import Routes

        insi, simulated = settings.insi, self._agent.simulated
        return HttpTeleservice(
            self._endpoint_of,
            limits=Limits(
                connect_s=insi.connect_timeout_s,
                total_s=insi.total_timeout_s,
                max_reply_bytes=insi.max_reply_bytes,
                revocation="off" if simulated else insi.revocation,  # the simulator's CA publishes no list
                revocation_s=insi.revocation_timeout_s,
            ),
            routes=Routes(Proxy() if simulated else settings.proxy, self._proxy_password).to,
            private_folder=self._agent.places.state,
        )

    def _endpoint_of(self, sender: "Sender") -> "Endpoint":
        from agent.insi.http import ClientMaterial

        endpoint = self._endpoint(sender.mode)
        if sender.certificate is None:
            return endpoint
        own = self._organisation_of(sender.certificate)
        return replace(endpoint, client=ClientMaterial(own.chain_pem, own.key))


class ProxyPassword:
    """Of the account on the proxy. `read` before each operation; who connects is given what that found.

    Because a keyring may ask the person, for whom the network lane must not wait.
    """

    def __init__(self, settings: Callable[[], Settings], secrets: "Secrets") -> None:
        self._settings, self._secrets = settings, secrets
        self._found: str | AgentError | None = None

    def read(self) -> None:
        """Blocks: the secrets lane's. Nothing is read where there is no account."""
        from agent.insi.proxy import PASSWORD

        proxy = self._settings().proxy
        try:
            kept = self._secrets.get(PASSWORD) if proxy.user and proxy.use != "none" else None
            self._found = None if kept is None else kept.decode()
        except AgentError as error:
            self._found = error

    def __call__(self) -> str | None:
        """None: none was enrolled. Raises keyring.absent: to whom a way without proxy does, it is all the same."""
        if isinstance(self._found, AgentError):
            raise self._found
        return self._found


def _account() -> str | None:
    """The account of the operating system, for the trace; None for a user without a name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return None


def insi_endpoint(settings: Settings, environment: Environment, mode: AuthMode) -> "Endpoint":
    """Where a mode is served in an environment, and whom we believe there.

    Raises insi.notConfigured, config.invalid as `check_place`.
    """
    from agent.insi.http import Endpoint

    insi = settings.insi
    url = getattr(insi.endpoints.get(environment), mode.value, None) or ADDRESSES.get((environment, mode))
    files: list[Path] = getattr(insi.anchors.get(environment), mode.value, [])
    if url is None or not files:
        raise AgentError(Code.INSI_NOT_CONFIGURED, "no address or no anchors", mode=mode.value)
    for file in files:
        check_place(settings, "insi.anchors", file)
    return Endpoint(url, _anchors(files), names=getattr(insi.server_names.get(environment), mode.value, "san"))


def ship_carrier(settings: Settings, instance_id: str) -> "Carrier":
    """What takes the journal's entries to their second copy, which is wanted."""
    from agent.journal.carriers import FolderCarrier, SyslogCarrier

    ship = settings.journal.ship
    if ship.folder is not None and ship.to == "folder":
        return FolderCarrier(ship.folder, instance_id)

    def anchors() -> bytes:
        for file in ship.anchors:
            check_place(settings, "journal.ship.anchors", file)
        return _as_pem(ship.anchors)

    return SyslogCarrier(
        ship.syslog or "",
        anchors=anchors,
        instance_id=instance_id,
        simulated=settings.environment is Environment.SIMULATED,
        max_message_bytes=ship.max_message_bytes,
    )


def _anchors(files: Sequence[Path]) -> bytes:
    """The CA certificates of these PEM or DER files, as PEM. Raises insi.notConfigured."""
    try:
        return _as_pem(files)
    except (OSError, ValueError) as error:
        raise AgentError(Code.INSI_NOT_CONFIGURED, f"anchors: {type(error).__name__}") from None


def _as_pem(files: Sequence[Path]) -> bytes:
    """Raises OSError; ValueError for a file that holds none."""
    from agent.insi.anchors import read_anchors

    return b"".join(anchor.pem for file in files for anchor in read_anchors(file.read_bytes()))
