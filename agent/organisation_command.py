"""`insi-agent organisation`: the structures' certificates: which there are, and their passphrases among the secrets."""

import argparse
import getpass
import json
import sys
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.config import Settings
from agent.errors import CATALOGUE, AgentError, Code
from agent.signing.structures import Opened, Purpose, check_dates, choose, doubts, in_words

if TYPE_CHECKING:
    from agent.signing.organisation import OrganisationCertificate

_MARKS = {"test": "test", "production": "production", "unknown": "test ou production, son certificat ne le dit pas"}
_DOUBTS = {
    "certificate.issuerUnknown": "autorité inattendue (organisation.issuers)",
    "certificate.structureMissing": "aucune structure dans son OU : INSi ne saura pas pour qui il est interrogé",
}


def add_words(organisation: argparse.ArgumentParser) -> None:
    """`enrol` and `list`, as words after `organisation`."""
    words = organisation.add_subparsers(required=True, metavar="MOT")
    says = "demander la phrase secrète d'un certificat et la garder parmi les secrets"
    enrol = words.add_parser("enrol", help=says, description=says)
    enrol.set_defaults(command=_enrol)
    enrol.add_argument("file", nargs="?", type=Path, metavar="FICHIER", help="l'un de organisation.certificates")
    says = "chaque certificat configuré : pour quelle structure, jusqu'à quand, pour quels logiciels"
    shown = words.add_parser("list", help=says, description=says)
    shown.set_defaults(command=_list)
    shown.add_argument("--json", action="store_true")
    for word in (enrol, shown):
        word.add_argument("--config", type=Path, metavar="FICHIER", help="à la place du fichier de l'utilisateur")


def _enrol(parsed: argparse.Namespace) -> int:
    """Try the passphrase on the file, then keep it.

    Raises config.invalid for a file that is not configured, or that others may replace; certificate.*, keyring.absent.
    """
    from agent.desks import check_place
    from agent.places import Places
    from agent.secrets import secrets_of
    from agent.signing.certificate_files import secret_name
    from agent.signing.organisation import open_p12

    settings = _settings(parsed)
    file = _meant(settings, parsed.file)
    check_place(settings, "organisation.certificates", file)
    typed = getpass.getpass("Phrase secrète : ") if sys.stdin.isatty() else sys.stdin.readline().rstrip("\r\n")
    passphrase = typed.encode()
    opened = open_p12(file, passphrase)
    secrets_of(Places.real().data, simulated=False, settings=lambda: settings).set(secret_name(file), passphrase)
    print(in_words(opened))
    return 0


def _meant(settings: Settings, named: Path | None) -> Path:
    """The configured file that is meant: the one named, else the only one."""
    from agent.signing.certificate_files import secret_name

    files = settings.organisation.certificates
    if not files:
        raise AgentError(Code.CERTIFICATE_MISSING, "none is configured")
    meant = [file for file in files if named is None or secret_name(file) == secret_name(named)]
    if not meant or (named is None and len(files) > 1):
        listed = ", ".join(map(str, files))
        raise AgentError(
            Code.CONFIG_INVALID,
            "not one of the configured files",
            setting="organisation.certificates",
            reason=f"nommer l'un de ces fichiers : {listed}",
        )
    return meant[0]


def _list(parsed: argparse.Namespace) -> int:
    """What is configured, also what does not open; 1 if something is wrong. Raises config.invalid."""
    from agent.desks import organisation_files
    from agent.places import Places
    from agent.secrets import secrets_of

    settings, now = _settings(parsed), datetime.now(UTC)
    secrets = secrets_of(Places.real().data, simulated=False, settings=lambda: settings)
    opened = organisation_files(lambda: settings, secrets).open()
    users = _users(settings, opened, now)
    rows = [_row(one, settings, users, now) for one in opened]
    if parsed.json:
        print(json.dumps(rows, ensure_ascii=False, indent=2))
    elif not rows:
        print("Aucun certificat de structure n'est configuré.")
    else:
        for one, row in zip(opened, rows, strict=True):
            _print(one, row)
    return 1 if any(row.get("problem") for row in rows) else 0


def _users(settings: Settings, opened: Sequence[Opened], now: datetime) -> dict[str, set[str]]:
    """Fingerprint → the software whose calls it authenticates in the configured environment."""
    found: dict[str, set[str]] = {}
    for row in settings.software:
        for purpose in Purpose if row.authorisation.get(settings.environment) else ():
            with suppress(AgentError):
                chosen = choose(
                    opened, structure=row.structure, purpose=purpose, environment=settings.environment, now=now
                )
                found.setdefault(chosen.fingerprint, set()).add(row.name)
    return found


def _row(one: Opened, settings: Settings, users: dict[str, set[str]], now: datetime) -> dict[str, Any]:
    found = one.found
    if isinstance(found, AgentError):
        return {"file": str(one.file), "problem": found.code.value}
    return {
        "file": str(one.file),
        "commonName": found.common_name,
        "structure": found.structure,
        "organisation": found.organisation,
        "issuer": found.issuer,
        "environment": found.environment,
        "notBefore": f"{found.not_before:%Y-%m-%d}",
        "notAfter": f"{found.not_after:%Y-%m-%d}",
        "daysLeft": (found.not_after - now).days,
        "fingerprint": found.fingerprint,
        "warnings": doubts(found, issuers=settings.organisation.issuers),
        "software": sorted(users.get(found.fingerprint, ())),
        "problem": _problem(found, now),
    }


def _problem(certificate: "OrganisationCertificate", now: datetime) -> str | None:
    try:
        check_dates(certificate, now)
    except AgentError as error:
        return error.code.value
    return None


def _print(one: Opened, row: dict[str, Any]) -> None:
    print(one.file)
    if isinstance(one.found, AgentError):
        print(f"  {one.found.row.title.fr} {one.found.row.action.fr} [{one.found}]")
        return
    problem = row["problem"]
    state = f"{CATALOGUE[Code(problem)].title.fr} [{problem}]" if problem else f"encore {row['daysLeft']} jours"
    print(f"  {in_words(one.found)} ({state})")
    print(f"  {one.found.organisation}, {_MARKS[one.found.environment]}, émis par {one.found.issuer}")
    for warning in row["warnings"]:
        if warning in _DOUBTS:
            print(f"  Attention : {_DOUBTS[warning]}")
    print(f"  Logiciels : {', '.join(row['software']) or 'aucun dans cet environnement'}")


def _settings(parsed: argparse.Namespace) -> Settings:
    from agent.options import Options, load_settings

    return load_settings(Options(config_file=parsed.config)).settings
