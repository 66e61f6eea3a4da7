"""A new key for the journal's personal parts: nothing that was sealed is lost, whatever happens meanwhile."""

import sqlite3
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from threading import Barrier

import pytest

from agent.cli import main
from agent.desks import _Once
from agent.errors import AgentError, Code
from agent.identity import Identity
from agent.journal.apart import opened
from agent.journal.parts import personal_of
from agent.journal.sealing import Keys
from agent.journal.store import Journal
from agent.journal_keys import needed_in
from agent.machine_secret import Generation
from agent.model import Environment
from agent.places import Places, claim
from agent.sealed_secrets import SealedSecrets
from agent.secrets import (
    MAX_JOURNAL_KEYS,
    FileSecrets,
    Secrets,
    journal_keys_changed,
    load_identity,
    load_journal_keys,
    renew_lost,
    rotate_journal_key,
)
from tests.journey.test_simulated import CATARINA, TOUSSAINT
from tests.parts.agent import Simulation
from tests.parts.killed_steps import killed_at_each_step

from .making import KEY, MAX_REPLY, NOW, ORIGIN, intent, whole

ROOT = Path(__file__).parents[2]
MACHINE = [Generation(bytes(range(32)))]
KEPT: dict[str, Callable[[Path], Secrets]] = {
    "files": FileSecrets,
    "sealed": lambda folder: SealedSecrets(folder, machine=lambda: MACHINE),
}


def running(folder: Path) -> Journal:
    """A journal as the running agent has it: its keys are read once, and again when they were rotated."""
    return Journal(
        folder / "journal",
        sign=KEY.sign_bytes,
        verify=KEY.verify_bytes,
        keys=_Once(lambda: load_journal_keys(FileSecrets(folder), folder), state=lambda: journal_keys_changed(folder)),
        max_reply_bytes=MAX_REPLY,
    )


def rotated(folder: Path, in_use: set[str] | None = None) -> tuple[Keys, int]:
    return rotate_journal_key(FileSecrets(folder), folder, in_use=in_use)


def sealed_with(folder: Path) -> list[str]:
    """The key of each personal part of the journal, every one of which opens now."""
    keys = load_journal_keys(FileSecrets(folder), folder)
    with opened(folder / "journal") as copy:
        entries = list(copy.entries())
    for entry in entries:
        assert personal_of(entry, lambda: keys, KEY.verify_bytes)
    return [str(entry.personal_key) for entry in entries]


def refusal(act: Callable[[], object]) -> AgentError:
    with pytest.raises(AgentError) as refused:
        act()
    return refused.value


# ---------------------------------------------------------------- what a rotation leaves


def test_the_new_key_seals_and_the_ones_before_open_what_they_sealed(tmp_path: Path) -> None:
    first = load_journal_keys(FileSecrets(tmp_path), tmp_path).id
    own = running(tmp_path)
    whole(own, "before")

    new, left = rotated(tmp_path)
    whole(own, "after")

    assert ([new.id, first], 0) == (new.ids, left)
    assert [first] * 3 + [new.id] * 3 == sealed_with(tmp_path)
    for trace_id in ("before", "after"):
        found = own.trace(trace_id, ORIGIN, Environment.SIMULATED)
        assert found and found.params and found.result
    assert own.verify().fault is None


def test_a_page_s_reference_is_found_again_after_a_rotation(tmp_path: Path) -> None:
    own = running(tmp_path)
    own.intend(intent("before", client_ref="visite-7"))

    rotated(tmp_path)

    found = own.by_client_ref(ORIGIN, "visite-7", NOW, Environment.SIMULATED)
    assert found and "before" == found.trace_id


def test_a_running_agent_asks_for_its_keys_once_and_again_after_a_rotation(tmp_path: Path) -> None:
    asked: list[str] = []

    def load() -> Keys:
        keys = load_journal_keys(FileSecrets(tmp_path), tmp_path)
        asked.append(keys.id)
        return keys

    load()
    keys = _Once(load, state=lambda: journal_keys_changed(tmp_path))
    assert 1 == len({keys().id for _ in range(5)})
    new, _ = rotated(tmp_path)
    assert {new.id} == {keys().id for _ in range(5)}

    assert 3 == len(asked)


def test_a_running_agent_whose_keyring_has_closed_goes_on_with_the_key_it_has(tmp_path: Path) -> None:
    own = running(tmp_path)
    whole(own, "before")
    rotated(tmp_path)
    kept = FileSecrets(tmp_path).get("journal-key") or b""
    FileSecrets(tmp_path).forget("journal-key")

    whole(own, "after")

    FileSecrets(tmp_path).set("journal-key", kept)
    assert 1 == len(set(sealed_with(tmp_path)))


def test_a_key_that_no_entry_names_leaves_and_the_present_one_never_does(tmp_path: Path) -> None:
    first = load_journal_keys(FileSecrets(tmp_path), tmp_path)
    second, third = rotated(tmp_path)[0], rotated(tmp_path)[0]

    fourth, left = rotated(tmp_path, in_use={second.id})

    assert ([fourth.id, third.id, second.id], 1) == (fourth.ids, left)
    fifth, left = rotated(tmp_path, in_use=set())
    assert ([fifth.id, fourth.id], 2) == (fifth.ids, left)
    assert first.id not in fifth.ids
    assert fifth.ids == load_journal_keys(FileSecrets(tmp_path), tmp_path).ids  # whatever was noted before


def test_an_emptied_keyring_is_noticed_also_once_the_first_key_has_left(tmp_path: Path) -> None:
    rotated(tmp_path)
    rotated(tmp_path, in_use=set())
    FileSecrets(tmp_path).set("journal-key", bytes(32))

    assert Code.IDENTITY_DAMAGED == refusal(lambda: load_journal_keys(FileSecrets(tmp_path), tmp_path)).code


def test_one_key_too_many_is_refused_and_nothing_changes(tmp_path: Path) -> None:
    for _ in range(MAX_JOURNAL_KEYS - 1):
        rotated(tmp_path)
    kept = FileSecrets(tmp_path).get("journal-key")

    refused = refusal(lambda: rotated(tmp_path))

    assert Code.CONFIG_INVALID == refused.code
    assert f"{MAX_JOURNAL_KEYS} clés" in str(refused.facts["reason"])
    assert kept == FileSecrets(tmp_path).get("journal-key")
    assert len(str(kept and kept.hex())) == 2 * 32 * MAX_JOURNAL_KEYS < 2560
    assert 2 == len(rotated(tmp_path, in_use=set())[0].ids)


@pytest.mark.parametrize("damage", [b"half", b""])
def test_damaged_keys_are_not_rotated(tmp_path: Path, damage: bytes) -> None:
    load_journal_keys(FileSecrets(tmp_path), tmp_path)
    FileSecrets(tmp_path).set("journal-key", damage)

    assert Code.IDENTITY_DAMAGED == refusal(lambda: rotated(tmp_path)).code
    assert damage == FileSecrets(tmp_path).get("journal-key")


# ---------------------------------------------------------------- at the same time


def test_rotations_at_once_each_add_a_key(tmp_path: Path) -> None:
    first = load_journal_keys(FileSecrets(tmp_path), tmp_path).id
    together = Barrier(4)

    def act(_number: int) -> None:
        together.wait()
        rotated(tmp_path)

    with ThreadPoolExecutor(4) as four:
        list(four.map(act, range(4)))

    ids = load_journal_keys(FileSecrets(tmp_path), tmp_path).ids
    assert (5, first) == (len(set(ids)), ids[-1])


# A child that writes operations, one for each line it is given, until there are none.
WRITE = """
import sys
from pathlib import Path
from tests.journal.making import whole
from tests.journal.test_key_rotation import running
own = running(Path(sys.argv[1]))
for number, line in enumerate(sys.stdin):
    for more in range(4):
        whole(own, f"{number}-{more}")
    print(number, flush=True)
"""


def test_keys_rotated_while_another_process_writes_open_every_entry_it_has_written(tmp_path: Path) -> None:
    """The writer never stops; rotations come as it writes."""
    load_journal_keys(FileSecrets(tmp_path), tmp_path)
    with subprocess.Popen(
        [sys.executable, "-c", WRITE, str(tmp_path)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdin and writer.stdout
        for _ in range(6):
            writer.stdin.write("on\n")
            writer.stdin.flush()
            newest = rotated(tmp_path)[0]
            writer.stdout.readline()
        writer.stdin.write("on\n")
        writer.stdin.close()
        writer.stdout.read()

    assert 0 == writer.returncode
    used = sealed_with(tmp_path)
    assert 7 * 4 * 3 == len(used)
    assert newest.id == used[-1]
    assert 3 <= len(set(used))  # it took up new keys as it wrote
    assert running(tmp_path).verify().fault is None


ROTATE = """
import cryptography.hazmat.primitives.ciphers.aead, cryptography.hazmat.primitives.kdf.hkdf
from agent.machine_secret import Generation
from agent.sealed_secrets import SealedSecrets
from agent.secrets import FileSecrets, rotate_journal_key
"""


@pytest.mark.parametrize("kept", KEPT)
def test_kill_9_at_any_step_of_a_rotation_leaves_the_old_keys_or_the_new_ones(tmp_path: Path, kept: str) -> None:
    """Also of one in which the oldest key leaves, which is the one that is noted."""
    secrets = KEPT[kept](tmp_path)
    rotate_journal_key(secrets, tmp_path, in_use=None)
    before = load_journal_keys(secrets, tmp_path).ids
    made = {
        "files": "FileSecrets(Path(folder))",
        "sealed": "SealedSecrets(Path(folder), machine=lambda: [Generation(bytes(range(32)))])",
    }[kept]
    act = f"rotate_journal_key({made}, Path(folder), in_use=set())"

    for _step in killed_at_each_step(ROTATE, act, tmp_path, at_least=10):
        found = load_journal_keys(secrets, tmp_path).ids
        assert found == before or (2 == len(found) and before[0] == found[1] and found[0] not in before)
        before = found


# ---------------------------------------------------------------- the command


@pytest.fixture
def places(home: Path) -> Places:
    """The simulator's, with a journal of one operation."""
    assert home
    places = Places.simulated().create()
    load_journal_keys(FileSecrets(places.data), places.data)
    write(places, "trace-1")
    return places


def write(places: Places, trace_id: str) -> None:
    secrets = FileSecrets(places.data)
    identity, keys = load_identity(secrets, places.data), load_journal_keys(secrets, places.data)
    own = Journal(
        places.journal,
        sign=identity.sign_bytes,
        verify=identity.verify_bytes,
        keys=lambda: keys,
        max_reply_bytes=MAX_REPLY,
        noted=places.noted_head,
    )
    whole(own, trace_id)
    own.close()


def kept_in(places: Places) -> list[str]:
    return load_journal_keys(FileSecrets(places.data), places.data).ids


def test_the_command_puts_a_key_before_the_others_and_names_them_all(
    places: Places, capsys: pytest.CaptureFixture[str]
) -> None:
    (first,) = kept_in(places)

    assert 0 == main(["journal", "rotate-key", "--simulated"])

    new, second = kept_in(places)
    assert first == second
    lines = capsys.readouterr().out.splitlines()
    assert [f"Nouvelle clé du journal : {new}", f"Ouvrent encore ce qu'elles ont scellé : {first}"] == lines


def test_the_command_lets_go_of_a_key_that_no_entry_needs(places: Places, capsys: pytest.CaptureFixture[str]) -> None:
    (first,) = kept_in(places)
    for _ in range(2):
        assert 0 == main(["journal", "rotate-key", "--simulated"])
    unused = kept_in(places)[1]
    capsys.readouterr()

    assert 0 == main(["journal", "rotate-key", "--simulated"])

    assert unused not in kept_in(places)
    assert first == kept_in(places)[-1]
    assert "Parties, car aucune écriture n'en dépend plus : 1" in capsys.readouterr().out


def no_journal(places: Places) -> None:
    places.journal.rename(places.journal.with_name("elsewhere"))


def damaged(places: Places) -> None:
    (places.journal / "journal.sqlite").write_bytes(b"no journal")


def cut_off(places: Places) -> None:
    """Its last entries, as a head that is still there shows."""
    do(places, "DELETE FROM entry WHERE seq > 1")


def cut_off_and_linked_again(places: Places) -> None:
    """With heads that say so: only a signature, or what is remembered elsewhere, tells that the rest is gone."""
    cut_off(places)
    for slot in (0, 1):
        (places.journal / f"head-{slot}.json").unlink()


def put_back(places: Places) -> None:
    """To the state it had before it had any entry of the key that is in use."""
    for file in places.journal.iterdir():
        file.unlink()


@pytest.mark.parametrize("change", [no_journal, damaged, cut_off, cut_off_and_linked_again, put_back])
def test_no_key_is_forgotten_where_the_journal_cannot_say_which_it_needs(
    places: Places, capsys: pytest.CaptureFixture[str], change: Callable[[Places], None]
) -> None:
    for _ in range(2):
        assert 0 == main(["journal", "rotate-key", "--simulated"])
    before = kept_in(places)
    change(places)

    assert 0 == main(["journal", "rotate-key", "--simulated"])

    assert before == kept_in(places)[1:]
    assert "Aucune n'est partie : le journal n'est pas là, ou n'est pas entier." in capsys.readouterr().out


def do(places: Places, statement: str, *values: object) -> None:
    database = sqlite3.connect(places.journal / "journal.sqlite")
    database.execute(statement, values)
    database.commit()
    database.close()


def test_no_key_is_forgotten_whatever_anybody_writes_into_the_journal_of_which_it_was(
    places: Places, capsys: pytest.CaptureFixture[str]
) -> None:
    (first,) = kept_in(places)
    do(places, "UPDATE entry SET personal_key = '0123456789abcdef'")

    for _ in range(3):
        assert 0 == main(["journal", "rotate-key", "--simulated"])

    assert first == kept_in(places)[-1]
    assert "Parties, car aucune écriture n'en dépend plus : 1" in capsys.readouterr().out  # the one before, unused
    assert 0 == main(["journal", "show", "trace-1", "--simulated"])
    assert f"sous la clé {first}" in capsys.readouterr().out


def test_no_key_is_forgotten_as_long_as_a_part_opens_with_none(
    places: Places, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its key is lost here; it may come back, and which other one it then needs nobody knows."""
    secrets = FileSecrets(places.data)
    secrets.set("journal-key", bytes(32))
    (places.data / "journal-key.public").unlink()
    write(places, "trace-2")
    for _ in range(2):
        assert 0 == main(["journal", "rotate-key", "--simulated"])

    assert 3 == len(kept_in(places))
    assert "Aucune n'est partie : aucune clé connue n'ouvre l'écriture 1 du journal." in capsys.readouterr().out


def test_no_key_is_forgotten_while_an_agent_runs_which_may_have_it_in_hand(
    places: Places, capsys: pytest.CaptureFixture[str]
) -> None:
    release = claim(places.data)
    try:
        for _ in range(3):
            assert 0 == main(["journal", "rotate-key", "--simulated"])
    finally:
        release()

    assert 4 == len(kept_in(places))
    assert "Aucune n'est partie : l'agent est en marche." in capsys.readouterr().out
    claim(places.data)()  # free again


def test_a_key_that_a_journal_of_before_needs_stays_also_once_another_folder_is_configured(
    places: Places, tmp_path: Path
) -> None:
    (first,) = kept_in(places)
    identity = load_identity(FileSecrets(places.data), places.data)
    keys = Keys([bytes(32), FileSecrets(places.data).get("journal-key") or b""])
    other = tmp_path / "configured"
    own = Journal(
        other,
        sign=identity.sign_bytes,
        verify=identity.verify_bytes,
        keys=lambda: keys,
        max_reply_bytes=MAX_REPLY,
    )
    whole(own, "there")
    own.close()

    def needed(journal: Path, before: Path, by: Identity = identity) -> tuple[set[str] | None, str]:
        return needed_in(journal, before, noted=places.noted_head, keys=keys, authentic=by.verify_bytes)

    unknown = (None, "le journal n'est pas là, ou n'est pas entier")
    assert ({first, keys.id}, "") == needed(other, places.journal)
    assert unknown == needed(tmp_path / "not mounted", places.journal)
    assert ({keys.id}, "") == needed(other, tmp_path / "never was")
    assert unknown == needed(other, places.journal, by=KEY)  # links alone prove nothing


def test_a_running_agent_seals_its_next_operation_with_the_new_key_and_gives_back_the_ones_before(
    agent: Simulation,
) -> None:
    """The whole agent, and a page over a real socket."""
    site, data = agent.site(), agent.places.data
    before = site.call("insi.retrieveByTraits", traits=TOUSSAINT)["trace"]["id"]
    first = load_journal_keys(FileSecrets(data), data).id

    new, _ = rotate_journal_key(FileSecrets(data), data, in_use=None)
    after = site.call("insi.retrieveByTraits", traits=CATARINA)["trace"]["id"]

    with opened(agent.places.journal) as copy:
        keys = {entry.trace_id: entry.personal_key for entry in copy.entries()}
    assert (first, new.id) == (keys[before], keys[after])
    for trace_id in (before, after):
        assert "found" == site.call("trace.get", traceId=trace_id)["result"]["outcome"]


# ---------------------------------------------------------------- keys that are lost


def test_who_loses_the_key_keeps_the_chain_and_what_is_clear_and_goes_on_with_another(tmp_path: Path) -> None:
    secrets = FileSecrets(tmp_path)
    own = running(tmp_path)
    whole(own, "before")
    own.close()
    secrets.forget("journal-key")

    own = running(tmp_path)
    assert Code.IDENTITY_DAMAGED == refusal(lambda: own.intend(intent("refused"))).code
    assert own.verify().fault is None
    (listed,) = own.traces(ORIGIN, Environment.SIMULATED).traces
    assert ("before", "WS_INS2", "00", None) == (listed.trace_id, listed.operation, listed.code, listed.client_ref)
    assert Code.IDENTITY_DAMAGED == refusal(lambda: own.image("before", ORIGIN)).code

    renew_lost(secrets, tmp_path, at=datetime.now(UTC))
    whole(own, "after")

    after = own.trace("after", ORIGIN, Environment.SIMULATED)
    assert after and after.result
    refused = refusal(lambda: own.image("before", ORIGIN))
    assert (Code.JOURNAL_UNAVAILABLE, "entry 2: sealed with a key that is not known here") == (
        refused.code,
        refused.detail,
    )
    verdict = own.verify()
    assert (6, None) == (verdict.entries, verdict.fault)
