"""The journal's keys for who works beside the agent: what opens its parts, and `insi-agent journal rotate-key`."""

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING

from agent.errors import AgentError, Code
from agent.journal.apart import opened
from agent.journal.chain import Authentic, signed_at, tie_of
from agent.journal.files import FILE
from agent.journal.sealing import Keys, is_sealed
from agent.journal_told import Opener
from agent.places import Places, claim

if TYPE_CHECKING:
    from agent.secrets import Secrets


def opener_of(secrets: "Secrets", folder: Path) -> Opener:
    """What opens the personal parts of this installation, `folder` being its data's; `missing` says why nothing does.

    No key is made where there is none: that is for the agent.
    """
    from agent.secrets import identity_was_used, load_identity, load_journal_keys

    def keys() -> Keys:
        return load_journal_keys(secrets, folder)

    if not identity_was_used(folder):
        return Opener(None, keys, AgentError(Code.KEYRING_ABSENT, "no agent has had a key here"))
    try:
        identity = load_identity(secrets, folder)
    except AgentError as error:
        return Opener(None, keys, error)
    return Opener(lambda data, signature: identity.verify_dated(data, signature, signed_at), keys, None)


def rotate_key(parsed: argparse.Namespace) -> int:
    """With or without a running agent, which goes on with the new key at its next entry.

    Raises keyring.absent, identity.damaged, config.invalid.
    """
    from agent.options import Options, load_settings
    from agent.secrets import load_identity, load_journal_keys, rotate_journal_key, secrets_of

    settings = load_settings(Options(simulate=parsed.simulated, config_file=parsed.config)).settings
    usual = Places.simulated() if parsed.simulated else Places.real()
    usual.create()
    configured = usual.journal if parsed.simulated else settings.journal.directory or usual.journal
    secrets = secrets_of(usual.data, simulated=parsed.simulated, settings=lambda: settings)
    identity = cache(lambda: load_identity(secrets, usual.data))
    needed, why = None, "l'agent est en marche"
    with _stopped(usual.data) as stopped:
        if stopped:
            needed, why = needed_in(
                configured,
                usual.journal,
                noted=usual.noted_head,
                keys=load_journal_keys(secrets, usual.data),
                authentic=lambda data, signature: identity().verify_dated(data, signature, signed_at),
            )
        keys, left = rotate_journal_key(secrets, usual.data, in_use=needed)
    print(f"Nouvelle clé du journal : {keys.id}")
    if older := keys.ids[1:]:
        print(f"Ouvrent encore ce qu'elles ont scellé : {', '.join(older)}")
    if left:
        print(f"Parties, car aucune écriture n'en dépend plus : {left}")
    elif older and why:
        print(f"Aucune n'est partie : {why}.")
    return 0


@contextmanager
def _stopped(data: Path) -> Iterator[bool]:
    """Whether no agent runs; then none starts in here. One that runs may have an older key in hand."""
    release: Callable[[], None] | None = None
    try:
        release = claim(data)
    except AgentError as error:
        if error.code is not Code.AGENT_RUNNING:
            raise
    try:
        yield release is not None
    finally:
        if release:
            release()


def needed_in(
    journal: Path, before: Path, *, noted: Path, keys: Keys, authentic: Authentic
) -> tuple[set[str] | None, str]:
    """The keys that open the personal parts here, and in the folder where a journal was before another was configured.

    None, and why, unless this is proved: without a journal (a disk that is not mounted), with one that is not whole, or
    with a part that none of these keys opens. Because what a forgotten key has sealed stays closed for ever, and
    anybody may write into a journal which key that was.
    """
    needed: set[str] = set()
    try:
        for folder in {journal, before}:
            if any(folder.parent.glob(f"{escape(folder.name)}.lost-*")):  # by `identity renew --lost`
                return None, "un journal mis de côté peut en dépendre"
            if not (folder / FILE).exists():
                if folder == journal:
                    return None, _NOT_WHOLE
                continue
            with opened(folder, noted) as copy:
                if copy.verify(authentic).fault:
                    return None, _NOT_WHOLE
                for entry in copy.entries():
                    if entry.personal and is_sealed(entry.personal):
                        try:
                            needed.add(keys.opened(entry.personal, entry.personal_key, tie_of(entry))[0])
                        except ValueError:
                            return None, f"aucune clé connue n'ouvre l'écriture {entry.seq} du journal"
    except AgentError:
        return None, _NOT_WHOLE
    return needed, ""


_NOT_WHOLE = "le journal n'est pas là, ou n'est pas entier"
