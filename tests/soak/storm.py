"""What happens to a desk in the field, at random: a sequence that its seed repeats. No I/O of its own."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from random import Random


class Kind(StrEnum):
    """What may happen."""

    INSERT = "insert"  # a card into a free reader
    PULL = "pull"
    SWAP = "swap"  # two cards change readers within 50 ms
    PULL_SIGNING = "pull while signing"  # the professional's card leaves at its next signature, and comes back
    RESET = "reset"  # by another program, as the following three
    UNPOWER = "unpower"
    LOCK = "exclusive lock"
    HOLD = "held transaction"
    KILL_SERVICE = "kill card service"  # SIGKILL, and a restart; the cards stay where they are
    KILL_WORKER = "kill worker"
    HANG_WORKER = "hang worker"  # SIGSTOP, and perhaps SIGCONT


@dataclass(frozen=True)
class Event:
    """One thing that happens."""

    kind: Kind
    moves: tuple[tuple[str, str | None], ...] = ()  # each card and the reader that it is in afterwards
    reader: str = ""  # where another program comes in
    seconds: float = 0  # how long it lasts
    pause_s: float = 0  # until the next one


_WEIGHTS = {
    Kind.INSERT: 60,
    Kind.PULL: 12,
    Kind.SWAP: 10,
    Kind.PULL_SIGNING: 6,
    Kind.RESET: 10,
    Kind.UNPOWER: 8,
    Kind.LOCK: 8,
    Kind.HOLD: 8,
    Kind.KILL_SERVICE: 3,
    Kind.KILL_WORKER: 4,
    Kind.HANG_WORKER: 2,
}


def storm(
    random: Random, count: int, places: Mapping[str, str | None], readers: Sequence[str], *, signer: str, hang_s: float
) -> Iterator[Event]:
    """`count` events on a desk whose cards begin in `places`.

    `signer` is the card that signs; a worker that hangs for `hang_s` is given up by the agent.
    """
    where = dict(places)
    for _ in range(count):
        inside = sorted(card for card, reader in where.items() if reader)
        outside = sorted(set(where) - set(inside))
        taken = [where[card] or "" for card in inside] or readers
        possible = {
            **_WEIGHTS,
            Kind.INSERT: _WEIGHTS[Kind.INSERT] if outside else 0,
            Kind.PULL: _WEIGHTS[Kind.PULL] if inside else 0,
            Kind.SWAP: _WEIGHTS[Kind.SWAP] if len(inside) > 1 else 0,
            Kind.PULL_SIGNING: _WEIGHTS[Kind.PULL_SIGNING] if signer in inside else 0,
        }
        (kind,) = random.choices(list(possible), list(possible.values()))
        moves: dict[str, str | None] = {}
        reader, seconds = "", 0.0
        match kind:
            case Kind.INSERT:
                free = [one for one in readers if one not in where.values()]
                moves = {random.choice(outside): random.choice(free)}
            case Kind.PULL:
                moves = {random.choice(inside): None}
            case Kind.SWAP:
                one, other = random.sample(inside, 2)
                moves = {one: where[other], other: where[one]}
            case Kind.PULL_SIGNING:
                moves = {signer: where[signer]}
            case Kind.KILL_SERVICE:
                moves = {card: where[card] for card in inside}
                seconds = random.choice((0, 0.5, 1.5))
            case Kind.RESET | Kind.UNPOWER:
                reader = random.choice(taken)
            case Kind.LOCK | Kind.HOLD:
                reader, seconds = random.choice(taken), random.uniform(0.05, 1.5)
            case Kind.HANG_WORKER:
                seconds = random.choice((0.3, 1, hang_s))
        where.update(moves)
        yield Event(kind, tuple(moves.items()), reader, seconds, random.choice((0, 0, 0.1, 0.3)))
