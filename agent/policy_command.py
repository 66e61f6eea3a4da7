"""`insi-agent policy`: the browser policies for the configured sites, shown or written to a folder. ★ (files)"""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agent.browsers import BROWSERS, TARGETS, export, parse
from agent.errors import AgentError, Code
from agent.places import write_public

_OURS = "insi-agent"  # files of this name may be replaced, others only where their content was kept


def add_words(command: argparse.ArgumentParser) -> None:
    command.add_argument("action", choices=["export"])
    command.add_argument("--for", dest="target", required=True, choices=TARGETS)
    command.add_argument("--output", type=Path, metavar="DOSSIER", help="y écrire les fichiers ; sinon, les montrer")
    command.add_argument("--merge", type=Path, metavar="FICHIER", help="le fichier JSON en place, dont garder le reste")
    command.add_argument("--start", type=_number, default=1, metavar="N", help="premier numéro des listes du registre")
    command.add_argument("--config", type=Path, metavar="FICHIER")


def run(parsed: argparse.Namespace) -> int:
    """Raises config.invalid: no site, a file to keep that is none, or one in the way that is not ours."""
    from agent.options import Options, load_settings

    pages = load_settings(Options(config_file=parsed.config)).settings.page_origins
    existing = _existing(parsed.merge, parsed.target) if parsed.merge else None
    files = export(parsed.target, pages, existing=existing, start=parsed.start)
    if parsed.output:
        for file in _save(files, parsed.output, kept=parsed.merge):
            print(file)
    else:
        for name, content in files.items():
            text = content.decode("utf-16" if name.endswith(".reg") else "utf-8")
            print(f"--- {name}", *text.splitlines(), "", sep="\n")
    return 0


def _number(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def _existing(file: Path, target: str) -> Mapping[str, Any]:
    browser = next((browser for browser in BROWSERS if browser.name == target), None)
    if browser is None:
        raise _refused("--merge", f"--for {target} n'écrit pas de fichier JSON")
    try:
        policies = parse(file.read_bytes(), browser.engine)
    except OSError as error:
        raise _refused(str(file), f"illisible ({type(error).__name__})") from None
    if policies is None:
        raise _refused(str(file), f"ce n'est pas un fichier de règles de {browser.title}")
    return policies


def _save(files: Mapping[str, bytes], folder: Path, *, kept: Path | None) -> list[Path]:
    """Write every file, or none: another's is replaced only by one that keeps what it says."""
    wanted = {folder / name: content for name, content in files.items()}
    for file in wanted:
        ours = file.name.startswith(_OURS)
        if file.exists() and not ours and not (kept and kept.exists() and file.samefile(kept)):
            raise _refused(str(file), "ce fichier existe déjà ; « --merge » avec ce fichier garde ce qu'il contient")
    try:
        for file, content in wanted.items():
            write_public(file, content)
    except OSError as error:
        raise _refused(str(folder), f"écriture impossible ({type(error).__name__})") from None
    return list(wanted)


def _refused(setting: str, reason: str) -> AgentError:
    return AgentError(Code.CONFIG_INVALID, "browser policies", setting=setting, reason=reason)
