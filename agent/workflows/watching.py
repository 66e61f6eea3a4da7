"""cards.watch: what changed between two looks at the readers, as notifications. No I/O of its own."""

from agent.model import ReaderSeen


def changes(before: list[ReaderSeen] | None, after: list[ReaderSeen] | None) -> list[tuple[str, ReaderSeen]]:
    """The notifications that lead from one look to the next: cards leave, readers leave, readers come, cards come.

    A stopped card service shows as readers that leave. A card swapped between two looks leaves and comes.
    """
    old = {seen.reader: seen for seen in before or []}
    new = {seen.reader: seen for seen in after or []}
    left = [name for name in old if name not in new]
    stayed = [name for name in old if name in new]
    swapped = [name for name in stayed if old[name].card != new[name].card]
    return [
        *(("card.removed", old[name]) for name in [*left, *swapped] if old[name].card),
        *(("reader.removed", ReaderSeen(reader=name)) for name in left),
        *(("reader.added", seen) for name, seen in new.items() if name not in old),
        *(("card.inserted", new[name]) for name in swapped if new[name].card),
    ]
