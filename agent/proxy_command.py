"""`insi-agent proxy`: which ways lead to INSi, and the password of the proxy's account among the secrets."""

import argparse
import getpass
import sys
from pathlib import Path

from agent.config import Proxy, Settings
from agent.errors import AgentError, Code
from agent.insi.addresses import ADDRESSES
from agent.model import AuthMode, Environment


def add_words(proxy: argparse.ArgumentParser) -> None:
    """`enrol` and `show`, as words after `proxy`."""
    words = proxy.add_subparsers(required=True, metavar="MOT")
    for name, run, says in (
        ("enrol", _enrol, "demander le mot de passe de proxy.user et le garder parmi les secrets"),
        ("show", _show, "ce qui est réglé, et les chemins vers INSi ; un script est interrogé"),
    ):
        word = words.add_parser(name, help=says, description=says)
        word.set_defaults(command=run)
        word.add_argument("--config", type=Path, metavar="FICHIER", help="à la place du fichier de l'utilisateur")


def in_words(proxy: Proxy) -> str:
    """What is set, for a person; the account is not named, it may be somebody's."""
    way = {
        "none": "aucun, INSi est joint directement",
        "explicit": f"{proxy.address}",
        "script": f"selon le script {proxy.script}",
        "system": "celui que Windows indique",
    }[proxy.use]
    return way + (", avec un compte (Basic)" if proxy.user and proxy.use != "none" else "")


def _enrol(parsed: argparse.Namespace) -> int:
    """Raises config.invalid without an account, keyring.absent."""
    from agent.insi.proxy import PASSWORD
    from agent.places import Places
    from agent.secrets import secrets_of

    settings = _settings(parsed)
    user = settings.proxy.user
    if user is None:
        reason = "nommer d'abord le compte du proxy"
        raise AgentError(Code.CONFIG_INVALID, "no account", setting="proxy.user", reason=reason)
    asked = f"Mot de passe de {user} sur le proxy : "
    typed = getpass.getpass(asked) if sys.stdin.isatty() else sys.stdin.readline().rstrip("\r\n")
    if not typed:
        raise AgentError(Code.CONFIG_INVALID, "no password", setting="proxy.user", reason="rien n'a été saisi")
    secrets_of(Places.real().data, simulated=False, settings=lambda: settings).set(PASSWORD, typed.encode())
    print("Mot de passe enregistré ; l'agent s'en sert dès sa prochaine connexion.")
    print("Si proxy.user change, enregistrer aussi son mot de passe : il n'y en a qu'un.")
    return 0


def _show(parsed: argparse.Namespace) -> int:
    """Raises config.invalid, proxy.script."""
    from agent.insi.proxy import Routes

    settings = _settings(parsed)
    print(f"Proxy : {in_words(settings.proxy)}")
    ways = Routes(settings.proxy.model_copy(update={"user": None}), lambda: None)  # the ways, not the account
    for mode in AuthMode:
        if url := _address(settings, mode):
            routes = [route.address or "directement" for route in ways.to(url)]
            print(f"{url} : {', sinon '.join(routes)}")
    return 0


def _address(settings: Settings, mode: AuthMode) -> str | None:
    """Where this mode is served in the configured environment."""
    if settings.environment is Environment.SIMULATED:
        return None
    own = getattr(settings.insi.endpoints.get(settings.environment), mode.value, None)
    return own or ADDRESSES.get((settings.environment, mode))


def _settings(parsed: argparse.Namespace) -> Settings:
    from agent.options import Options, load_settings

    return load_settings(Options(config_file=parsed.config)).settings
