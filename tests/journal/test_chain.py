"""The chain, without a file: any fault is found, and named where it is."""

import hashlib
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.journal.chain import (
    GENESIS,
    Entry,
    Fault,
    FaultKind,
    Head,
    Kind,
    Verdict,
    canonical,
    link_of,
    sha256,
    signed_bytes,
    tie_of,
    verify,
)

from .making import KEY

AT = "2025-03-04T05:06:07.089Z"


def linked(entry: Entry, key=KEY) -> Entry:
    """The entry with the link and the signature it should have."""
    link = link_of(entry)
    return replace(entry, link=link, signature=key.sign_bytes(signed_bytes(entry.seq, link, entry.at)))


def chain(length: int) -> list[Entry]:
    entries: list[Entry] = []
    for seq in range(1, length + 1):
        clear, personal = canonical({"n": seq}), f"salt and part {seq}".encode()
        previous = entries[-1].link if entries else GENESIS
        entries.append(
            linked(
                Entry(
                    seq, AT, Kind.INTENT, f"trace-{seq}", 1, "https://a.example", None, clear, sha256(clear),
                    personal, sha256(personal), "none", None, None, previous, "", b"",
                )
            )
        )  # fmt: skip
    return entries


def head_of(entry: Entry) -> Head:
    return Head(entry.seq, entry.link, entry.at, entry.signature)


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


def test_erasing_a_personal_part_leaves_the_chain_whole():
    entries = chain(3)
    entries[1] = replace(entries[1], personal=None, erased_at=AT)

    assert Verdict(3) == judged(entries, head_of(entries[-1]))


@pytest.mark.parametrize("name", [field.name for field in fields(Entry)])
def test_no_member_that_tells_something_can_be_changed(name):
    entries = chain(4)
    head = head_of(entries[-1])
    value = getattr(entries[2], name)
    changed = {int: 77, bytes: b"other"}.get(type(value), "other")
    entries[2] = replace(entries[2], **{name: changed})

    verdict = judged(entries, head)

    # How a part is protected and when it was erased is not linked: a lie there makes the part unreadable, no more.
    unlinked = name in {"personal_scheme", "personal_key", "erased_at"}
    # Only the last entry's signature is read in a chain that holds: it covers all before it.
    assert (verdict.fault is None) == (unlinked or name == "signature")
    if verdict.fault:
        assert verdict.fault.seq == 3


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

    assert Verdict(3, Fault(FaultKind.FORGED, 3)) == judged(entries, head)


def test_a_whole_rest_recomputed_without_the_key_is_named_at_its_first_entry():
    """Two rows swapped and every later digest recomputed: only the signatures tell."""
    entries = chain(6)
    head = head_of(entries[-1])
    second, third = entries[1], entries[2]
    entries[1], entries[2] = replace(third, seq=2), replace(second, seq=3)
    for index in range(1, 6):
        moved = replace(entries[index], previous=entries[index - 1].link)
        entries[index] = replace(moved, link=link_of(moved))

    assert Verdict(6, Fault(FaultKind.FORGED, 2)) == judged(entries, head)
    assert Verdict(6, Fault(FaultKind.FORGED, 2)) == judged(entries, None)


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


@given(st.data())
def test_whatever_is_done_to_a_chain_without_the_key_is_found(data):
    """Any mix of changes, removals, copies and recomputed links that leaves other entries than before."""
    entries = chain(6)
    head, before = head_of(entries[-1]), list(entries)
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(entries) - 1))
        action = data.draw(st.sampled_from(["clear", "origin", "drop", "copy", "relink"]))
        if action == "drop" and len(entries) > 1:
            del entries[place]
        elif action == "copy":
            entries.insert(place, data.draw(st.sampled_from(before)))
        elif action == "clear":
            clear = data.draw(st.binary(max_size=8))
            entries[place] = replace(entries[place], clear=clear, clear_sha256=sha256(clear))
        elif action == "origin":
            entries[place] = replace(entries[place], origin=data.draw(st.text("abc", max_size=8)))
        else:
            for index in range(place, len(entries)):
                moved = replace(entries[index], seq=index + 1, previous=entries[index - 1].link if index else GENESIS)
                entries[index] = replace(moved, link=link_of(moved))

    assert (entries == before) == (judged(entries, head).fault is None)
