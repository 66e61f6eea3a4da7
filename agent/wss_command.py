"""`insi-agent wss`: make, show, renew and remove the local certificate for wss, and say what to trust for it."""

import argparse
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from agent.errors import AgentError, Code
from agent.local_trust import Store, besides, distrust, instead, serves, stores_of, trust
from agent.places import Places

if TYPE_CHECKING:
    from agent.config import Wss
    from agent.local_tls import Authority, LocalPair, LocalTls

_MORE = "Pour que l'agent s'en serve : « enabled = true » sous « [wss] » dans la configuration, puis le relancer."
_NO_MORE = "Relancer l'agent, qui s'en sert jusque-là."
_AGAIN = "Relancer l'agent pour qu'il s'en serve."


def add_words(wss: argparse.ArgumentParser) -> None:
    """`enable`, `show`, `renew` and `remove`, as words after `wss`."""
    words = wss.add_subparsers(metavar="MOT", required=True)
    for name, act, says in (
        ("enable", _enable, "faire le certificat s'il n'y en a pas de valable, dire à quoi faire confiance"),
        ("show", _show, "empreinte, fin de validité, usage"),
        ("renew", _renew, "le remplacer, dire à quoi ne plus faire confiance et à quoi faire confiance"),
        ("remove", _remove, "l'effacer, dire à quoi ne plus faire confiance"),
    ):
        word = words.add_parser(name, help=says, description=says)
        word.set_defaults(command=_run, act=act)
        word.add_argument("--simulated", action="store_true", help="celui du simulateur")
        word.add_argument("--config", type=Path, metavar="FICHIER", help="à la place du fichier de l'utilisateur")
        if act is not _show:
            word.add_argument(
                "--for",
                dest="store",
                type=Store,
                choices=list(Store),
                help="les lignes de ce magasin seules, sans phrases ; sinon ceux de ce système",
            )


def fingerprint(authority: "Authority") -> str:
    """SHA-256 as browsers show it."""
    pairs = zip(authority.sha256[::2], authority.sha256[1::2], strict=True)
    return ":".join(first + second for first, second in pairs)


def _run(parsed: argparse.Namespace) -> int:
    from agent.local_tls import LocalTls
    from agent.options import Options, load_settings
    from agent.secrets import secrets_of

    settings = load_settings(Options(simulate=parsed.simulated, config_file=parsed.config)).settings
    folder = (Places.simulated() if parsed.simulated else Places.real()).data
    tls = LocalTls(folder, secrets_of(folder, simulated=parsed.simulated, settings=lambda: settings))
    act: Callable[[LocalTls, Wss, Store | None], None] = parsed.act
    act(tls, settings.wss, None if act is _show else parsed.store)
    return 0


def _enable(tls: "LocalTls", wss: "Wss", only: Store | None) -> None:
    try:
        pair, _ = tls.load(datetime.now(UTC))
    except AgentError as error:
        if error.code is not Code.WSS_CERTIFICATE:
            raise
        _renew(tls, wss, only)
    else:
        tls.publish(pair.authority)  # whoever made it may have been killed before
        _to_trust(tls, wss, pair, only)


def _show(tls: "LocalTls", wss: "Wss", _only: Store | None) -> None:
    from agent.local_tls import served_on

    pair = tls.pair(datetime.now(UTC))
    print(f"Autorité « {pair.authority.name} », limitée à localhost.")
    print(f"SHA-256 {fingerprint(pair.authority)}")
    print(f"Valable jusqu'au {pair.not_after:%Y-%m-%d}.")
    port = served_on(pair, wss.ports)
    print(
        f"L'agent s'en sert, port {port}." if port else f"L'agent ne s'en sert pas. {_AGAIN if wss.enabled else _MORE}"
    )


def _renew(tls: "LocalTls", wss: "Wss", only: Store | None) -> None:
    replaced = tls.known()[:1]  # those before were said when they were replaced, and are again by `remove`
    pair = tls.renew(datetime.now(UTC))
    if replaced:
        _no_longer_to_trust(replaced, only)
    _to_trust(tls, wss, pair, only)


def _remove(tls: "LocalTls", wss: "Wss", only: Store | None) -> None:
    old = tls.known()
    if old:  # said before it is forgotten: where that fails, or the output is closed, `remove` begins again
        _no_longer_to_trust(old, only)
        sys.stdout.flush()
    tls.forget()
    if old and wss.enabled and only is None:
        print(_NO_MORE)
    elif not old:
        print("Il n'y avait pas de certificat pour wss.", file=sys.stderr if only else sys.stdout)


def _to_trust(tls: "LocalTls", wss: "Wss", pair: "LocalPair", only: Store | None) -> None:
    if only:
        print(trust(only, pair.authority, tls.authority_file))
        return
    print(f"Faire confiance à « {pair.authority.name} », qui ne vaut que pour localhost et dont la clé n'existe plus.")
    print(f"SHA-256 {fingerprint(pair.authority)}, jusqu'au {pair.not_after:%Y-%m-%d}.")
    for store in stores_of(sys.platform):
        _say(serves(store), trust(store, pair.authority, tls.authority_file), instead(store, tls.authority_file))
    print(_AGAIN if wss.enabled else _MORE)


def _no_longer_to_trust(old: Sequence["Authority"], only: Store | None) -> None:
    if only:
        print(*(distrust(only, one) for one in old), sep="\n")
        return
    print("Ne plus faire confiance à", *(f"« {one.name} »" for one in old))
    if len(old) > 1:
        print("(celles qui ont déjà été retirées : leurs lignes échouent, sans conséquence)")
    for store in stores_of(sys.platform):
        _say(serves(store), *(distrust(store, one) for one in old), besides(store))


def _say(heading: str, *lines: str) -> None:
    print(heading, *(line for line in lines if line), sep="\n    ")
