"""`insi-agent simulator`: the simulated INSi alone, for an editor's own client, until it is told to stop."""

import argparse
import json
import ssl
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.errors import AgentError, Code
from agent.places import Places
from agent.signals import hearing

if TYPE_CHECKING:
    from agent.insi.fake_style import Style
    from agent.simulator.pki import Issued, SimulatorPki

_NOTICE = (
    "Simulateur d'INSi : personnes, clés et certificats sont fictifs. Ce qui réussit ici ne prouve rien pour le CNDA."
)
_TLS = {
    "1.2": (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2),
    "1.3": (ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_3),
    "any": (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3),
}


def add_words(command: argparse.ArgumentParser) -> None:
    command.add_argument("--port-cpx", type=int, default=0, metavar="N", help="0, si omis : n'importe lequel")
    command.add_argument("--port-organisation", type=int, default=0, metavar="N", help="de même")
    command.add_argument("--folder", type=Path, metavar="DOSSIER", help="pour les clés ; sinon celui du simulateur")
    command.add_argument(
        "--style",
        action="append",
        default=[],
        metavar="MOT=VALEUR",
        help="comment il répond, répétable ; un mot inconnu en donne la liste",
    )
    command.add_argument(
        "--authorisation", action="append", default=[], metavar="NUMÉRO", help="l'accepter aussi, répétable"
    )
    command.add_argument("--certificate", choices=["san", "cn"], default="san", help="cn : sans subjectAltName")
    command.add_argument("--tls", choices=list(_TLS), default="any", help="versions de TLS parlées")
    command.add_argument(
        "--revocation",
        choices=["none", "good", "revoked"],
        default="none",
        help="une liste de révocation est servie, sans ou avec le certificat du serveur",
    )
    command.add_argument(
        "--assertion-max-age", type=_number(1), default=3600, metavar="S", help="âge admis d'une assertion, en secondes"
    )
    command.add_argument(
        "--contract",
        choices=["public", "placeholder"],
        default="public",
        help="placeholder : WS_INS3 à WS_INS5 aussi, selon notre contrat fictif",
    )
    command.add_argument("--batch-size", type=_number(1), metavar="N", help="personnes par lot, au plus")
    command.add_argument("--batch-pending", type=_number(0), metavar="N", help="récupérations trop précoces d'un lot")
    command.add_argument("--json", action="store_true", help="dire les adresses et les fichiers sur une ligne JSON")
    command.add_argument("--config", type=Path, metavar="FICHIER", help="à la place du fichier de l'utilisateur")


def run(parsed: argparse.Namespace) -> int:
    """Raises simulator.forbidden, config.invalid (a word of --style, a folder, a port)."""
    from agent.options import Options, load_settings

    if load_settings(Options(config_file=parsed.config)).settings.simulate == "forbid":
        raise AgentError(Code.SIMULATOR_FORBIDDEN)
    told = threading.Event()
    with ExitStack() as parts:
        about = _start(parsed, _style(parsed.style), parts)
        parts.enter_context(hearing(dict.fromkeys(("SIGINT", "SIGTERM"), lambda _: told.set())))
        print(json.dumps(about, ensure_ascii=False) if parsed.json else _told(about), flush=True)
        told.wait()
    return 0


def _start(parsed: argparse.Namespace, style: "Style", parts: ExitStack) -> dict[str, Any]:
    """Open the doors; what a client's developer must know of them."""
    from agent.insi.fake_batch import BatchRules
    from agent.insi.fake_insi import HEADER, SimulatedInsi
    from agent.model import AuthMode
    from agent.options import SIMULATED_AUTHORISATION
    from agent.simulator.pki import open_pki

    folder = (parsed.folder or Places.simulated().create().state / "insi").absolute()
    try:
        pki = open_pki(folder)
    except OSError as error:
        raise AgentError(Code.CONFIG_INVALID, f"errno {error.errno}", setting=str(folder)) from None
    limits = {"max_items": parsed.batch_size, "pending": parsed.batch_pending}
    batches = BatchRules(**{name: value for name, value in limits.items() if value is not None})
    authorisations = [SIMULATED_AUTHORISATION, *parsed.authorisation]
    server, crl = _server(pki, parsed, parts)
    insi = SimulatedInsi(
        server.chain_pem,
        server.key_pem,
        pki.ca_pem,
        authorisations=authorisations,
        style=style,
        assertion_max_age=timedelta(seconds=parsed.assertion_max_age),
        batches=batches if parsed.contract == "placeholder" else None,
        tls=_TLS[parsed.tls],
        ports={AuthMode.CPX: parsed.port_cpx, AuthMode.ORGANISATION: parsed.port_organisation},
        host="localhost",
    )
    try:
        insi.start()
    except (OSError, OverflowError) as error:
        ports = "--port-cpx, --port-organisation"
        reason = "port déjà pris, ou refusé par le système"
        raise AgentError(Code.CONFIG_INVALID, type(error).__name__, setting=ports, reason=reason) from None
    parts.callback(insi.stop)
    return {
        "notice": _NOTICE,
        **{mode.value: insi.url(mode) for mode in AuthMode},
        **_files(pki),
        "authorisations": authorisations,
        "style": {name: value for name, value in asdict(style).items() if value != getattr(type(style), name)},
        "contract": parsed.contract,
        "header": HEADER,
        **({"crl": crl} if crl else {}),
    }


def _server(pki: "SimulatorPki", parsed: argparse.Namespace, parts: ExitStack) -> tuple["Issued", str | None]:
    """The server's certificate of this run, and where its revocation list is served."""
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    from agent.simulator.crl_server import CrlServer
    from agent.simulator.pki import issue_server, make_crl

    key = load_pem_private_key(pki.server_key_pem, None)
    assert isinstance(key, rsa.RSAPrivateKey), "the simulator's own"
    names: dict[str, Any] = {} if parsed.certificate == "san" else {"names": (), "addresses": ()}
    if parsed.revocation == "none":
        return issue_server(pki.organisations, common_name="localhost", key=key, **names), None
    lists = CrlServer()
    parts.callback(lists.stop)
    url = lists.url("organisations")
    server = issue_server(pki.organisations, common_name="localhost", key=key, crl=url, **names)
    lists.publish("organisations", make_crl(pki.organisations, [server] if parsed.revocation == "revoked" else []))
    return server, url


def _files(pki: "SimulatorPki") -> dict[str, Any]:
    from agent.simulator.pki import ANCHORS, CARD_P12, CLIENTS

    home = pki.organisation_p12.parent
    return {
        "anchors": str(home / ANCHORS),
        "passphrase": str(home / "organisation.passphrase"),
        "clients": [
            {"file": str(home / one.file), "commonName": one.common_name, "structure": one.structure_id}
            for one in CLIENTS
        ],
        "cards": {role: str(home / file) for role, file in CARD_P12.items()},
    }


def _style(pairs: list[str]) -> "Style":
    from agent.insi.fake_style import Style, WordError, restyled

    try:
        return restyled(Style(), ";".join(pairs))
    except WordError as error:
        raise AgentError(Code.CONFIG_INVALID, "an unknown word", setting="--style", reason=f"\n{error}") from None


def _told(about: Mapping[str, Any]) -> str:
    lines = [
        about["notice"],
        f"Carte CPx : {about['cpx']}",
        f"Structure, avec certificat client : {about['organisation']}",
        f"Autorités à reconnaître : {about['anchors']}",
        *(f"{one['commonName']}, structure {one['structure']} : {one['file']}" for one in about["clients"]),
        *(f"Carte, paire « {role} » : {file}" for role, file in about["cards"].items()),
        f"Phrase secrète des .p12 : {about['passphrase']}",
        f"Numéros d'autorisation : {', '.join(about['authorisations'])}",
        f"Par appel, l'en-tête {about['header']} prend les mots de --style.",
    ]
    if about["contract"] == "placeholder":
        lines.append("WS_INS3 à WS_INS5 : contrat fictif, inventé par nous ; le vrai n'est pas public.")
    if "crl" in about:
        lines.append(f"Liste de révocation : {about['crl']}")
    return "\n".join([*lines, "Ctrl-C pour arrêter."])


def _number(least: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = least - 1
        if number < least:
            raise argparse.ArgumentTypeError(f"un nombre entier est attendu, {least} au moins")
        return number

    return read
