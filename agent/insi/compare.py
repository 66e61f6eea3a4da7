"""The page's own traits beside INSi's. No I/O of its own.

No similarity threshold is public, so there is none: equality, and equality after normalisation
(hyphen and apostrophe as a space, capitals without accents; given names by the word rule [EXI ID 10]).
"""

from agent.insi import names
from agent.model import Comparison, InsIdentity, LocalTraits


def compare(local: LocalTraits, identity: InsIdentity) -> dict[str, Comparison]:
    """One comparison per trait that the page gave, by its wire name. Sex, date and place are strict.

    `given_names` are the same after normalisation when they begin INSi's list on whole words.
    """
    given_names = None if local.given_names is None else " ".join(local.given_names)
    pairs = {
        "birthName": (local.birth_name, identity.birth_name),
        "givenNames": (given_names, identity.given_names_list),
        "sex": (local.sex, identity.sex),
        "birthDate": (local.birth_date, identity.birth_date),
        "birthPlaceCode": (local.birth_place_code, identity.birth_place_code),
    }
    return {
        member: Comparison(
            local=ours, insi=theirs, same=ours == theirs, same_after_normalisation=_close(member, ours, theirs)
        )
        for member, (ours, theirs) in pairs.items()
        if ours is not None
    }


def _close(member: str, ours: str, theirs: str | None) -> bool:
    if theirs is None:
        return False
    if member == "birthName":
        return names.comparable(ours) == names.comparable(theirs)
    if member == "givenNames":
        return names.starts_list(ours, theirs)
    return ours == theirs
