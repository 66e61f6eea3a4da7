"""`insi-agent trust`: the authorities that INSi's servers are believed by, for every user of this machine. ★ (files)

`import` writes below the machine's configuration: the certificates in `anchors/`, and in `conf.d/` one file that
lists them, first by its name: another file of the administrator's that has its own list replaces that list. Then
nothing is written, and the person is told which file it is.
"""

import argparse
import json
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.config import machine_folder
from agent.errors import AgentError, Code
from agent.model import AuthMode, Environment
from agent.places import write_public

if TYPE_CHECKING:
    from agent.config import Loaded
    from agent.insi.anchors import Anchor

_OURS = "00-anchors.toml"
_MAX_BYTES = 1 << 20
_ENVIRONMENTS = {one.value: one for one in (Environment.TEST, Environment.PRODUCTION)}
_ENDPOINTS = {**{mode.value: (mode.value,) for mode in AuthMode}, "both": tuple(mode.value for mode in AuthMode)}
_HEAD = """# Written by "insi-agent trust import". To trust one no longer, take its line out.
# A file of this folder whose name comes later, and that has its own list, replaces the list here.
"""

Lists = dict[str, dict[str, list[str]]]  # environment → endpoint → files


def add_words(trust: argparse.ArgumentParser) -> None:
    """`import` and `list`, as words after `trust`."""
    words = trust.add_subparsers(required=True, metavar="MOT")
    says = "faire confiance à une autorité pour les serveurs d'INSi, sur tout ce poste (en administrateur)"
    imported = words.add_parser("import", help=says, description=says)
    imported.set_defaults(command=_import)
    imported.add_argument("files", nargs="+", type=Path, metavar="FICHIER", help="certificats PEM ou DER")
    imported.add_argument("--environment", required=True, choices=_ENVIRONMENTS)
    imported.add_argument("--endpoint", required=True, choices=_ENDPOINTS, help="le serveur de quel mode")
    imported.add_argument(
        "--fingerprint",
        action="append",
        default=[],
        metavar="SHA256",
        help="l'empreinte lue ailleurs d'une autorité que l'agent ne connaît pas, en entier ; répétable",
    )
    imported.add_argument("--folder", type=Path, metavar="DOSSIER", help=f"au lieu de {machine_folder().parent}")
    says = "les autorités en vigueur : noms, dates, empreintes, et où elles servent"
    listed = words.add_parser("list", help=says, description=says)
    listed.set_defaults(command=_list)
    listed.add_argument("--json", action="store_true")
    listed.add_argument("--config", type=Path, metavar="FICHIER", help="à la place du fichier de l'utilisateur")


# ---------------------------------------------------------------- import


def _import(parsed: argparse.Namespace) -> int:
    """All of them, or none. Raises trust.refused, config.invalid."""
    root: Path = (parsed.folder or machine_folder().parent).absolute()
    anchors = _judged(parsed.files, _ENVIRONMENTS[parsed.environment], parsed.fingerprint)
    endpoints = _ENDPOINTS[parsed.endpoint]
    _refuse_rivals(root, parsed.environment, endpoints)
    ours = root / "conf.d" / _OURS
    files = {root / "anchors" / f"{anchor.fingerprint.lower()}.pem": anchor for anchor in anchors}
    lists = _kept(ours) if ours.exists() else {}
    for endpoint in endpoints:
        listed = lists.setdefault(parsed.environment, {}).setdefault(endpoint, [])
        listed.extend(str(file) for file in files if str(file) not in listed)
    wanted = {**{file: anchor.pem for file, anchor in files.items()}, ours: _written(lists)}
    for file, content in wanted.items():  # what is listed exists before its list
        _write(file, content)
    for anchor in anchors:
        print(f"{anchor.subject}, jusqu'au {anchor.not_after:%Y-%m-%d}, {_known(anchor)}")
        print(f"  SHA-256 {anchor.fingerprint}")
    print(f"Servent à INSi {parsed.environment} ({', '.join(endpoints)}), selon {ours}.")
    rows = [one for endpoint in endpoints for one in _listed(map(Path, lists[parsed.environment][endpoint]))]
    for said in dict.fromkeys(f"{found.subject if found else file} : {why}" for file, found, why in rows if why):
        print(f"Attention : {said}")
    print("Un agent en marche s'en sert quand il relit ses réglages, ou au prochain démarrage.")
    return 0


def _judged(files: list[Path], environment: Environment, given: list[str]) -> "list[Anchor]":
    """What is in these files, each once. Raises trust.refused (facts reason, fingerprint), config.invalid."""
    from agent.insi.anchors import fingerprint, objection

    try:
        typed = {fingerprint(text) for text in given}
    except ValueError:
        raise _invalid("--fingerprint", "l'empreinte SHA-256 entière : 64 chiffres hexadécimaux") from None
    found = {anchor.fingerprint: anchor for file in files for anchor in _read(file)}
    for anchor in found.values():
        if why := objection(anchor, environment=environment, typed=typed, now=datetime.now(UTC)):
            raise AgentError(
                Code.TRUST_REFUSED, anchor.subject, reason=f"{anchor.subject} : {why}", fingerprint=anchor.fingerprint
            )
    if typed - set(found):
        reason = "l'empreinte donnée n'est celle d'aucun de ces certificats"
        raise AgentError(Code.TRUST_REFUSED, "a fingerprint of none", reason=reason, fingerprint=list(found))
    return list(found.values())


def _read(file: Path) -> "list[Anchor]":
    from agent.insi.anchors import read_anchors

    try:
        with file.open("rb") as stream:
            return read_anchors(stream.read(_MAX_BYTES))
    except OSError as error:
        raise _invalid(str(file), f"illisible ({type(error).__name__})") from None
    except ValueError:
        raise AgentError(Code.TRUST_REFUSED, file.name, reason=f"{file} : ni PEM ni DER") from None


def _refuse_rivals(root: Path, environment: str, endpoints: tuple[str, ...]) -> None:
    """Raises config.invalid naming a file whose own list would replace ours."""
    for folder in ("conf.d", "policy.d"):
        for file in sorted((root / folder).glob("*.toml")):
            if (folder, file.name) == ("conf.d", _OURS):
                continue
            own = _table(_toml(file), "insi", "anchors", environment)
            for endpoint in endpoints:
                if endpoint in own:
                    raise AgentError(
                        Code.CONFIG_INVALID,
                        "another file has its own list",
                        setting=f"insi.anchors.{environment}.{endpoint}",
                        source=str(file),
                        reason="cette liste remplacerait la nôtre ; y ajouter le fichier à la main, ou l'en retirer",
                    )


def _kept(ours: Path) -> Lists:
    """What our file says. Raises config.invalid where it says more, which would be lost."""
    settings = _toml(ours)
    lists: Lists = {}
    for environment in _ENVIRONMENTS:
        for endpoint in _ENDPOINTS["both"]:
            files = _table(settings, "insi", "anchors", environment).get(endpoint)
            if isinstance(files, list) and all(isinstance(file, str) for file in files):
                lists.setdefault(environment, {})[endpoint] = files
    if settings not in ({}, {"insi": {"anchors": lists}}):
        raise _invalid(str(ours), "il dit autre chose que ces listes ; mettre le reste dans un autre fichier")
    return lists


def _table(settings: Mapping[str, Any], *names: str) -> Mapping[str, Any]:
    for name in names:
        below = settings.get(name)
        settings = below if isinstance(below, dict) else {}
    return settings


def _toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise _invalid(str(file), f"illisible ({type(error).__name__})") from None


def _written(lists: Lists) -> bytes:
    """A string of JSON is one of TOML."""
    text = _HEAD
    for environment, rows in lists.items():
        text += f"\n[insi.anchors.{environment}]\n"
        for endpoint, files in rows.items():
            lines = "".join(f"    {json.dumps(file)},\n" for file in files)
            text += f"{endpoint} = [\n{lines}]\n"
    return text.encode()


def _write(file: Path, content: bytes) -> None:
    try:
        if not file.exists() or file.read_bytes() != content:
            write_public(file, content)
    except OSError as error:
        why = "le faire en administrateur" if isinstance(error, PermissionError) else type(error).__name__
        raise _invalid(str(file), f"écriture impossible : {why}") from None


def _invalid(setting: str, reason: str) -> AgentError:
    return AgentError(Code.CONFIG_INVALID, "trust", setting=setting, reason=reason)


# ---------------------------------------------------------------- list


def _list(parsed: argparse.Namespace) -> int:
    """What is in force for this user; 1 if something is wrong with one of them. Raises config.invalid."""
    from agent.options import Options, load_settings

    rows = list(trusted(load_settings(Options(config_file=parsed.config)), datetime.now(UTC)))
    if parsed.json:
        print(json.dumps(rows, ensure_ascii=False, indent=2))
    elif not rows:
        print("Aucune autorité : INSi ne peut pas être appelé. Voir « insi-agent trust import ».")
    for row in [] if parsed.json else rows:
        print(f"{row['environment']}, {row['endpoint']} : {row['file']} ({row['source']})")
        if "subject" in row:
            known = f"connue : {row['known']}" if row["known"] else "inconnue de l'agent"
            print(f"  {row['subject']}, du {row['notBefore']} au {row['notAfter']}, {known}")
            print(f"  SHA-256 {row['fingerprint']}")
        if row["problem"]:
            print(f"  Attention : {row['problem']}")
    return 1 if any(row["problem"] for row in rows) else 0


def trusted(loaded: "Loaded", now: datetime) -> Iterator[dict[str, Any]]:
    """One row for each certificate of each list that is in force, or for a file that cannot be read."""
    from agent.config import Source
    from agent.insi.anchors import objection

    for environment, lists in loaded.settings.insi.anchors.items():
        for endpoint in _ENDPOINTS["both"]:
            source = loaded.sources.get(f"insi.anchors.{environment}.{endpoint}", Source.DEFAULT)
            for file, anchor, why in _listed(getattr(lists, endpoint)):
                row = {"environment": environment.value, "endpoint": endpoint, "file": str(file), "source": source}
                if anchor is None:
                    yield {**row, "problem": why}
                    continue
                # that it is listed is the administrator's word for its fingerprint
                own = objection(anchor, environment=environment, typed=[anchor.fingerprint], now=now)
                own = own or _exposed(loaded, file)
                yield {
                    **row,
                    "subject": anchor.subject,
                    "notBefore": f"{anchor.not_before:%Y-%m-%d}",
                    "notAfter": f"{anchor.not_after:%Y-%m-%d}",
                    "fingerprint": anchor.fingerprint,
                    "known": anchor.known_as,
                    "problem": own or why,
                }


def _exposed(loaded: "Loaded", file: Path) -> str | None:
    """What the agent objects to the place of this file."""
    from agent.desks import check_place

    try:
        check_place(loaded.settings, "insi.anchors", file)
    except AgentError as error:
        return str(error.facts["reason"])
    return None


def _listed(files: Iterable[Path]) -> "Iterator[tuple[Path, Anchor | None, str | None]]":
    """Each certificate of one list, and what it lacks there; None for a file that cannot be read, and why."""
    from agent.insi.anchors import missing_issuer, read_anchors, unissued

    read: list[tuple[Path, Anchor | str]] = []
    for file in files:
        try:
            read += [(file, anchor) for anchor in read_anchors(file.read_bytes())]
        except (OSError, ValueError) as error:
            read.append((file, f"illisible ({type(error).__name__})"))
    lacking = unissued([found for _, found in read if not isinstance(found, str)])
    for file, found in read:
        if isinstance(found, str):
            yield file, None, found
        else:
            yield file, found, missing_issuer(found) if found in lacking else None


def _known(anchor: "Anchor") -> str:
    return f"connue : {anchor.known_as}" if anchor.known_as else "selon l'empreinte donnée"
