"""What each operation may be asked, invented: to see what a binding makes of it before a person is asked for a code.

No I/O of its own. Once with all that a query may hold, once with the least.
"""

from dataclasses import replace

from agent.insi.operations import DepositQuery, FetchQuery, Operation, Query, TraitsQuery, VerifyQuery, VitaleQuery

NAME = "essai-0"  # of a batch, or of one of its persons: its form is known once there are some

_PERSON = VerifyQuery(
    matricule="2501099999999",
    key="27",
    oid="1.2.250.1.213.1.4.8",
    birth_name="ESSAI",
    given_name="ANNA",
    given_names="ANNA LOU",
    sex="F",
    birth_date="1950-10-01",
    birth_place_code="99999",
    given=(),
)
_LEAST = replace(_PERSON, key=None, birth_place_code=None)
_CARD = VitaleQuery("2501099999999", "1950-10-01", 1)

TRIALS: dict[Operation, tuple[Query, Query]] = {
    Operation.WITH_VITALE: (
        replace(_CARD, birth_name="ESSAI", certified_nir="2501099999999", key_of_insured="27"),
        _CARD,
    ),
    Operation.BY_TRAITS: (
        TraitsQuery("ESSAI", "ANNA LOU", "F", "1950-10-01", "99999", ()),
        TraitsQuery("ESSAI", "ANNA", "F", "1950-10-01", None, ()),
    ),
    Operation.VERIFY: (_PERSON, _LEAST),
    Operation.DEPOSIT: (
        DepositQuery(NAME, ((NAME, _PERSON), (NAME, _PERSON))),
        DepositQuery(NAME, ((NAME, _LEAST),)),
    ),
    Operation.FETCH: (FetchQuery(NAME), FetchQuery(NAME)),
}
