"""`insi-agent software`: which software calls INSi from here, from which origins. Authorisation numbers stay unsaid."""

import argparse
import json
from pathlib import Path
from typing import Any

from agent.config import Software


def add_words(software: argparse.ArgumentParser) -> None:
    """The options of `insi-agent software`."""
    software.add_argument("--json", action="store_true")
    software.add_argument("--config", type=Path, metavar="FICHIER", help="à la place du fichier de l'utilisateur")


def show(parsed: argparse.Namespace) -> int:
    """Raises config.invalid."""
    from agent.options import Options, load_settings

    rows = [_row(row) for row in load_settings(Options(config_file=parsed.config)).settings.software]
    if parsed.json:
        print(json.dumps(rows, ensure_ascii=False, indent=2))
        return 0
    if not rows:
        print("Aucun logiciel n'est configuré : aucun site ne peut interroger INSi.")
    for row in rows:
        publisher = f", éditeur {row['publisherId']}" if row["publisherId"] else ""
        print(f"{row['name']} {row['version']}{publisher}")
        print(f"  Sites : {', '.join(row['origins']) or 'aucun'}")
        print(f"  Numéro d'autorisation : {', '.join(row['authorisedIn']) or 'aucun'}")
        print(f"  Structure : {row['structure'] or 'la seule dont il y a un certificat'}")
    return 0


def _row(row: Software) -> dict[str, Any]:
    return {
        "name": row.name,
        "version": row.version,
        "publisherId": row.publisher_id,
        "origins": row.origins,
        "authorisedIn": [environment.value for environment, number in row.authorisation.items() if number],
        "structure": row.structure,
    }
