"""`insi-agent enrol --machine`: the machine's secret, under which accounts without a keyring seal theirs."""

import argparse
import stat

from agent.errors import AgentError, Code


def add_words(command: argparse.ArgumentParser) -> None:
    command.add_argument("--machine", action="store_true", required=True, help="le secret de cette machine")
    command.add_argument("--group", metavar="GROUPE", help="les comptes qui peuvent le lire ; sinon insi-agent")
    what = command.add_mutually_exclusive_group()
    what.add_argument("--rotate", action="store_true", help="une nouvelle génération ; les autres s'ouvrent encore")
    what.add_argument("--show", action="store_true", help="ses générations, son groupe et ses droits, jamais le secret")


def run(parsed: argparse.Namespace) -> int:
    """Raises config.invalid {setting, reason}, keyring.absent {reason}."""
    from agent.machine_secret import enrol, secret_file, told

    if parsed.show and parsed.group:
        raise AgentError(Code.CONFIG_INVALID, "nothing is written", setting="--group", reason="--show ne change rien")
    file = secret_file()
    found = told(file) if parsed.show else enrol(file, group=parsed.group, rotate=parsed.rotate)
    newest, *older = found.generations
    print(f"Secret de la machine : {file}")
    print(f"Génération {newest}" + (f" ; plus anciennes : {', '.join(older)}" if older else ""))
    if found.group is not None:
        print(f"Groupe {found.group}, droits {stat.filemode(stat.S_IFREG | found.mode)}")
    if parsed.rotate:
        print("Si une plus ancienne a été lue, ce qu'elle scellait est connu : dans chaque compte de l'agent, lancer")
        print("« insi-agent identity rotate » et « insi-agent journal rotate-key », et changer les mots de passe.")
    if not parsed.show:
        print('Les agents s\'en servent où la configuration dit « secrets = "machine" ».')
    return 0
