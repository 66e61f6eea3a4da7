"""The chain, without a file: any fault is found, and named where it is."""

import hashlib
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.journal.chain import (
    GENESIS,
    Entry,
    Erased,
    Fault,
    FaultKind,
    Head,
    Kind,
    Start,
    Verdict,
    canonical,
    erased_by,
    fault_among,
    head_bytes,
    intact,
    is_ours,
    link_of,
    of_version_1,
    sha256,
    signed_at,
    signed_bytes,
    tie_of,
    verify,
)
from agent.journal.sealing import SCHEME
from agent.model import rfc3339

from .making import KEY, KEYS

AT = "2025-03-04T05:06:07.089Z"


def linked(entry: Entry, key=KEY) -> Entry:
    """The entry with the link and the signature it should have."""
    link = link_of(entry)
    return replace(entry, link=link, signature=key.sign_bytes(signed_bytes(entry.seq, link, entry.at)))


def chain(length: int) -> list[Entry]:
    entries: list[Entry] = []
    for seq in range(1, length + 1):
        personal = f"salt and part {seq}".encode()
        append(entries, {"n": seq}, personal=personal)
    return entries


def append(entries: list[Entry], clear: object, kind=Kind.INTENT, personal: bytes | None = None, at=AT) -> None:
    seq, previous = (entries[-1].seq + 1, entries[-1].link) if entries else (1, GENESIS)
    digest, scheme = (sha256(personal), "none") if personal else (None, None)
    entries.append(
        linked(
            Entry(
                seq, at, kind, f"trace-{seq}", 1, "https://a.example", None, canonical(clear), sha256(canonical(clear)),
                personal, digest, scheme, None, None, previous, "", b"",
            )
        )
    )  # fmt: skip


def erase(entries: list[Entry], through: int) -> None:
    """By rule, as the journal does it."""
    for index, entry in enumerate(entries):
        if entry.seq <= through and entry.personal:
            entries[index] = gone(entry)
    append(entries, {"through": through, "personalDays": 10}, Kind.ERASURE)


def gone(entry: Entry, erased_at: str | None = AT) -> Entry:
    """Its personal part is erased, by whomever."""
    return replace(entry, personal=None, erased_at=erased_at) if entry.personal_sha256 else entry


def leave(entries: list[Entry], through: int, left: int, more: dict[str, object] | None = None) -> None:
    """By rule, as the journal does it; `left` in all."""
    last = next(entry for entry in entries if entry.seq == through)
    clear = {"through": through, "link": last.link, "entries": left, "from": AT, "until": AT, "headLost": None}
    append(entries, clear | (more or {}), Kind.CHECKPOINT)
    entries[:] = [entry for entry in entries if entry.seq > through]


def head_of(entry: Entry) -> Head:
    return Head(entry.seq, entry.link, entry.at, KEY.sign_bytes(head_bytes(entry.seq, entry.link, entry.at)))


def judged(entries: list[Entry], head: Head | None) -> Verdict:
    return verify(entries, head, KEY.verify_bytes)


def test_a_whole_chain_holds():
    entries = chain(5)

    assert Verdict(5) == judged(entries, head_of(entries[-1]))
    assert Verdict(0) == judged([], None)


def test_a_link_is_the_digest_of_these_words_and_no_others():
    """A frozen vector: any change here makes every journal in the field unverifiable."""
    entry = replace(chain(1)[0], client_ref="é-1")

    text = (
        '[1,"2025-03-04T05:06:07.089Z","intent","trace-1",1,"https://a.example","\\u00e9-1",'
        f'"{entry.clear_sha256}","{entry.personal_sha256}","{GENESIS}"]'
    )
    assert hashlib.sha256(text.encode()).hexdigest() == link_of(entry)


def test_what_is_signed_are_these_words_and_those_of_a_head_are_others():
    """A frozen vector. In version 1 both had one first word, so that any row could be made a head."""
    entry = chain(1)[0]
    said = f'[1,"{entry.link}","2025-03-04T05:06:07.089Z"]'.encode()
    entries = [b"insi-agent journal entry " + said, b"insi-agent journal head " + said]
    heads = [b"insi-agent journal newest " + said]
    signed = [replace(entry, signature=KEY.sign_bytes(data)) for data in (*entries, *heads)]
    as_head = [Head(1, entry.link, AT, one.signature) for one in signed]

    assert (entries[0], heads[0]) == (signed_bytes(1, entry.link, AT), head_bytes(1, entry.link, AT))
    assert [True, True, False] == [intact(one, KEY.verify_bytes) for one in signed]
    assert [False, False, True] == [is_ours(one, KEY.verify_bytes) for one in as_head]
    assert [False, True, True] == [is_ours(one, of_version_1(KEY.verify_bytes)) for one in as_head]
    assert {AT} == {rfc3339(signed_at(data)) for data in (*entries, *heads)}


def test_a_personal_part_is_tied_to_these_words_and_no_others():
    """A frozen vector: any change here makes every personal part in the field unreadable."""
    entry = replace(chain(1)[0], client_ref="é-1")

    assert (
        b'insi-agent journal part [1,"2025-03-04T05:06:07.089Z","intent","trace-1",1,"https://a.example","\\u00e9-1"]'
        == tie_of(entry)
    )


def test_a_head_that_is_one_entry_late_is_fine_because_entries_are_signed_too():
    """The agent may stop between the entry and the head."""
    entries = chain(3)

    assert Verdict(3) == judged(entries, head_of(entries[1]))


def test_erasing_personal_parts_leaves_the_chain_whole_where_an_erasure_tells_of_it():
    entries = chain(5)
    erase(entries, through=3)

    assert Verdict(6) == judged(entries, head_of(entries[-1]))
    assert Erased(3) == erased_by(entries[-1], KEY.verify_bytes)
    assert all(erased_by(entry, KEY.verify_bytes) is None for entry in entries[:-1])


def test_a_part_erased_behind_no_erasure_is_found_at_the_first_such_entry():
    entries = chain(4)
    erase(entries, through=2)
    append(entries, {}, personal=b"young")
    entries[2], entries[3] = gone(entries[2]), gone(entries[3])

    assert Verdict(6, Fault(FaultKind.ERASED, 3)) == judged(entries, head_of(entries[-1]))


def test_an_erasure_that_nobody_signed_or_that_tells_of_what_follows_it_allows_nothing():
    entries = chain(3)
    entries[0] = gone(entries[0])
    forged = [*entries]
    append(forged, {"through": 2, "personalDays": 10}, Kind.ERASURE)
    forged[-1] = replace(forged[-1], signature=b"anything")
    append(forged, {}, personal=b"young")
    assert erased_by(forged[3], KEY.verify_bytes) is None
    append(entries, {"through": 9, "personalDays": 10}, Kind.ERASURE)
    append(entries, {"through": "2"}, Kind.ERASURE)

    assert Fault(FaultKind.FORGED, 4) == judged(forged, head_of(forged[-1])).fault
    assert Fault(FaultKind.ERASED, 1) == judged(entries, head_of(entries[-1])).fault


def test_a_fault_that_an_erasure_found_is_told_for_ever():
    entries = chain(3)
    found = {"seq": 2, "kind": "partChanged"}
    erase(entries, through=2)
    append(entries, {"through": 2, "personalDays": 10, "found": found}, Kind.ERASURE)
    erase(entries, through=3)

    assert Verdict(6, Fault(FaultKind.PART_CHANGED, 2)) == judged(entries, head_of(entries[-1]))


@pytest.mark.parametrize(
    "found", [7, {}, {"seq": "2", "kind": "erased"}, {"seq": 2, "kind": "other"}, {"seq": 2, "kind": []}]
)
def test_an_erasure_whose_words_are_no_fault_tells_of_none(found):
    entries = chain(2)
    append(entries, {"through": 1, "found": found}, Kind.ERASURE)

    assert Erased(1) == erased_by(entries[-1], KEY.verify_bytes)


# ---------------------------------------------------------------- entries that left


def test_a_chain_may_start_behind_a_checkpoint():
    entries = chain(5)
    leave(entries, through=3, left=3)

    assert Verdict(3, left=3) == judged(entries, head_of(entries[-1]))
    leave(entries, through=5, left=5)
    assert Verdict(2, left=5) == judged(entries, head_of(entries[-1]))


def test_a_chain_that_starts_later_than_its_checkpoint_says_lacks_what_follows_that():
    entries = chain(6)
    leave(entries, through=3, left=3)

    assert Verdict(0, Fault(FaultKind.MISSING, 4)) == judged(entries[1:], head_of(entries[-1]))


@pytest.mark.parametrize("change", [{"link": "0" * 64}, {"through": 2}, {"through": 4}, {"through": "3"}])
def test_a_checkpoint_of_another_place_justifies_nothing(change):
    entries = chain(5)
    leave(entries, through=3, left=3, more=change)

    assert FaultKind.MISSING == judged(entries, head_of(entries[-1])).fault.kind


def test_a_checkpoint_that_nobody_signed_justifies_nothing():
    entries = chain(5)
    leave(entries, through=3, left=3)
    entries[-1] = replace(entries[-1], signature=b"anything")
    append(entries, {})

    assert Verdict(2, Fault(FaultKind.FORGED, 6)) == judged(entries, head_of(entries[-1]))
    assert Verdict(2, Fault(FaultKind.MISSING, 1)) == replace(judged(entries[:2], head_of(entries[1])), entries=2)


def test_a_tail_that_was_cut_off_with_its_checkpoint_is_said_to_be_cut():
    entries = chain(5)
    leave(entries, through=3, left=3)

    assert Verdict(2, Fault(FaultKind.SHORTENED, 6)) == judged(entries[:2], head_of(entries[-1]))


def test_entries_that_left_and_come_back_are_as_good_as_before():
    entries, before = chain(5), chain(5)
    leave(entries, through=3, left=3)

    assert Verdict(6) == judged([*before[:3], *entries], head_of(entries[-1]))


def test_a_head_that_was_lost_among_what_left_is_told_by_the_checkpoint():
    entries = chain(5)
    leave(entries, through=3, left=3, more={"headLost": 2})

    assert Verdict(3, Fault(FaultKind.HEAD_LOST, 2), left=3) == judged(entries, head_of(entries[-1]))


def test_what_leaves_is_looked_at_for_the_last_time():
    entries = chain(6)
    erase(entries, through=2)
    start = Start(entries[0].seq, entries[0].link)

    def fault(leaving: list[Entry], found: Fault | None = None) -> Fault | None:
        return fault_among(leaving, start, Erased(2, found), KEY.verify_bytes)

    assert fault(entries[1:]) is None
    assert Fault(FaultKind.MISSING, 2) == fault(entries[2:])
    assert Fault(FaultKind.FORGED, 2) == fault([replace(entries[1], signature=b"anything"), entries[2]])
    assert Fault(FaultKind.CHANGED, 3) == fault([entries[1], replace(entries[2], origin="other")])
    assert Fault(FaultKind.ERASED, 3) == fault([entries[1], gone(entries[2])])
    assert Fault(FaultKind.ERASED, 2) == fault([entries[1]], Fault(FaultKind.ERASED, 2))


# ---------------------------------------------------------------- the clock


def test_a_clock_that_was_set_back_is_a_remark_and_no_fault():
    entries = chain(1)
    for at in ("2025-03-05T00:00:00.000Z", "2025-03-04T23:59:30.000Z", "2025-03-04T23:00:00.000Z", "no time", AT):
        append(entries, {}, at=at)

    assert Verdict(6, clock_back=(4, 6)) == judged(entries, head_of(entries[-1]))


def test_ten_remarks_are_enough():
    entries = chain(1)
    for number in range(30):
        append(entries, {}, at=f"2025-03-{4 + number % 2:02d}T05:06:07.089Z")

    assert tuple(range(4, 24, 2)) == judged(entries, head_of(entries[-1])).clock_back


# ---------------------------------------------------------------- tampering


@pytest.mark.parametrize("name", [field.name for field in fields(Entry)])
def test_no_member_that_tells_something_can_be_changed(name):
    entries = chain(4)
    head = head_of(entries[-1])
    value = getattr(entries[2], name)
    changed = {int: 77, bytes: b"other"}.get(type(value), "other")
    entries[2] = replace(entries[2], **{name: changed})

    verdict = judged(entries, head)

    # Which key sealed a part is a hint, which changes nothing: its tag decides.
    assert (None if name == "personal_key" else 3) == (verdict.fault and verdict.fault.seq)


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"signature": b""}, FaultKind.FORGED),
        ({"personal_scheme": "aes-256-gcm"}, FaultKind.PART_CHANGED),
        ({"personal_scheme": None}, FaultKind.PART_CHANGED),
        ({"erased_at": AT}, FaultKind.PART_CHANGED),
    ],
)
def test_what_stands_beside_a_part_and_each_signature_count(change, kind):
    entries = chain(4)
    head = head_of(entries[-1])
    entries[1] = replace(entries[1], **change)

    assert Verdict(1, Fault(kind, 2)) == judged(entries, head)


def test_a_sealed_part_is_not_said_to_be_in_clear_nor_erased_where_there_never_was_one():
    entries = chain(1)
    append(entries, {}, personal=KEYS.seal(b"part", b""))
    append(entries, {})

    assert Fault(FaultKind.PART_CHANGED, 2) == judged(entries, head_of(entries[-1])).fault
    entries[1] = replace(entries[1], personal_scheme=SCHEME)
    assert Verdict(3) == judged(entries, head_of(entries[-1]))
    entries[2] = replace(entries[2], erased_at=AT)
    assert Fault(FaultKind.PART_CHANGED, 3) == judged(entries, head_of(entries[-1])).fault


def test_each_signature_is_looked_at_once_and_the_chain_is_read_once():
    entries, looked, read = chain(20), [], []

    def authentic(data: bytes, signature: bytes) -> bool:
        looked.append(signature)
        return KEY.verify_bytes(data, signature)

    verify((read.append(entry) or entry for entry in entries), head_of(entries[-1]), authentic)

    assert [entry.signature for entry in entries] == looked[1:]  # the first was the head's
    assert entries == read


def test_a_part_that_is_gone_without_being_erased_is_found():
    entries = chain(3)
    entries[1] = replace(entries[1], personal=None)

    assert Fault(FaultKind.PART_CHANGED, 2) == judged(entries, head_of(entries[-1])).fault


def test_a_missing_entry_is_named():
    entries = chain(5)

    assert Verdict(2, Fault(FaultKind.MISSING, 3)) == judged(entries[:2] + entries[3:], head_of(entries[-1]))


def test_the_first_entry_missing_is_named():
    entries = chain(3)

    assert Verdict(0, Fault(FaultKind.MISSING, 1)) == judged(entries[1:], head_of(entries[-1]))


def test_two_entries_that_changed_places_are_named():
    entries = chain(6)
    third, fifth = entries[2], entries[4]
    entries[2], entries[4] = replace(fifth, seq=3), replace(third, seq=5)

    assert Verdict(2, Fault(FaultKind.REORDERED, 3)) == judged(entries, head_of(entries[-1]))


def test_entries_read_in_another_order_are_named():
    entries = chain(4)
    again = [entries[0], entries[1], entries[1], entries[2], entries[3]]

    assert Fault(FaultKind.REORDERED, 2) == judged(again, head_of(entries[-1])).fault


def test_a_tail_that_was_cut_is_missed():
    entries = chain(5)

    assert Verdict(3, Fault(FaultKind.SHORTENED, 4)) == judged(entries[:3], head_of(entries[-1]))
    assert Verdict(0, Fault(FaultKind.SHORTENED, 1)) == judged([], head_of(entries[-1]))


def test_one_entry_rewritten_with_its_digests_and_link_is_named():
    entries = chain(5)
    head = head_of(entries[-1])
    clear = canonical({"n": "something else"})
    forged = replace(entries[2], clear=clear, clear_sha256=sha256(clear))
    entries[2] = replace(forged, link=link_of(forged))

    assert Verdict(2, Fault(FaultKind.FORGED, 3)) == judged(entries, head)


def test_a_whole_rest_recomputed_without_the_key_is_named_at_its_first_entry():
    """Two rows swapped and every later digest recomputed: only the signatures tell."""
    entries = chain(6)
    head = head_of(entries[-1])
    second, third = entries[1], entries[2]
    entries[1], entries[2] = replace(third, seq=2), replace(second, seq=3)
    for index in range(1, 6):
        moved = replace(entries[index], previous=entries[index - 1].link)
        entries[index] = replace(moved, link=link_of(moved))

    assert Verdict(1, Fault(FaultKind.FORGED, 2)) == judged(entries, head)
    assert Verdict(1, Fault(FaultKind.FORGED, 2)) == judged(entries, None)


def test_a_missing_head_is_said():
    assert Verdict(3, Fault(FaultKind.HEAD_MISSING, 3)) == judged(chain(3), None)


def test_a_head_that_we_did_not_sign_is_said():
    entries = chain(3)
    head = replace(head_of(entries[1]), seq=3, link=entries[2].link)

    assert Verdict(3, Fault(FaultKind.HEAD_FORGED, 3)) == judged(entries, head)


def test_an_entry_that_says_the_head_was_lost_stays_a_fault():
    entries = chain(2)
    lost = linked(replace(entries[1], kind=Kind.HEAD_LOST))

    assert Verdict(2, Fault(FaultKind.HEAD_LOST, 2)) == judged([entries[0], lost], head_of(lost))


def retained_chain() -> list[Entry]:
    """Six entries that stay, of which the first two have no personal part any more; three left."""
    entries = chain(6)
    erase(entries, through=5)
    leave(entries, through=3, left=3)
    append(entries, {"n": 9}, personal=b"salt and part 9")
    return entries


@pytest.mark.parametrize("make", [lambda: chain(6), retained_chain], ids=["chain", "retained chain"])
@given(st.data())
def test_whatever_is_done_to_a_chain_without_the_key_is_found(make, data):
    """Any mix of changes, removals, copies, erasures and recomputed links that leaves other entries than before."""
    entries = make()
    head, before = head_of(entries[-1]), list(entries)
    actions = ["clear", "origin", "drop", "copy", "relink", "erase", "unerase", "part", "told", "back", "kind"]
    beside = ["signature", "scheme", "date"]
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(entries) - 1))
        entry, action = entries[place], data.draw(st.sampled_from(actions + beside))
        if action == "drop" and len(entries) > 1:
            del entries[place]
        elif action == "copy":
            entries.insert(place, data.draw(st.sampled_from(before)))
        elif action in ("clear", "told"):
            through = {"through": entries[0].seq - 1, "link": entries[0].previous, "entries": 1}
            told = st.sampled_from([through, {"through": entry.seq - 1}, {"through": 3}])
            clear = data.draw(st.binary(max_size=8)) if action == "clear" else canonical(data.draw(told))
            entries[place] = replace(entry, clear=clear, clear_sha256=sha256(clear))
        elif action == "origin":
            entries[place] = replace(entry, origin=data.draw(st.text("abc", max_size=8)))
        elif action == "kind":
            entries[place] = replace(entry, kind=data.draw(st.sampled_from(Kind)))
        elif action == "erase":
            entries[place] = gone(entry)
        elif action == "signature":
            entries[place] = replace(entry, signature=data.draw(st.binary(max_size=64)))
        elif action == "scheme" and entry.personal:
            entries[place] = replace(entry, personal_scheme=data.draw(st.none() | st.text(max_size=4)))
        elif action == "date" and not entry.erased_at:
            entries[place] = replace(entry, erased_at=AT)
        elif action == "unerase":
            entries[place] = replace(entry, erased_at=None)
        elif action == "part":
            entries[place] = replace(entry, personal=data.draw(st.none() | st.binary(max_size=8)))
        elif action == "back":
            link = data.draw(st.sampled_from([GENESIS, *(one.link for one in before)]))
            entries[place] = replace(entry, previous=link)
        elif action == "relink":
            for index in range(place, len(entries)):
                former = entries[index - 1] if index else None
                seq, link = (former.seq + 1, former.link) if former else (before[0].seq, before[0].previous)
                moved = replace(entries[index], seq=seq, previous=link)
                entries[index] = replace(moved, link=link_of(moved))

    assert (entries == before) == (judged(entries, head).fault is None)


@given(st.binary(), st.sampled_from(Kind))
def test_whatever_an_entry_says_a_verdict_comes_of_it(clear, kind):
    entries = chain(2)
    said = replace(entries[1], clear=clear, clear_sha256=sha256(clear), kind=kind, personal=None, personal_sha256=None)
    entries[1] = linked(said)

    assert judged(entries, head_of(entries[1])).fault in (None, Fault(FaultKind.HEAD_LOST, 2))
