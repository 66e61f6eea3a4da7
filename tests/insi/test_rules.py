"""What may be integrated, what deserves a look, and how the page's traits compare."""

import pytest

from agent.errors import AgentError, Code
from agent.insi.compare import compare
from agent.insi.rules import Judgement, check_given, judge, kind_of
from agent.model import GivenIns, Ins, InsIdentity, InsKind, LocalTraits, Outcome, PastIns

NIR = "1.2.250.1.213.1.4.8"


def identity(**changes: object) -> InsIdentity:
    known = {
        "ins": Ins(matricule="1810163220751", key="40", oid=NIR, kind=InsKind.NIR),
        "birth_name": "D'ADRDEUX-NEUF",
        "given_names_list": "LAURENT MARIE-ANGE",
        "sex": "M",
        "birth_date": "1981-01-01",
        "birth_place_code": "63220",
    }
    return InsIdentity.model_validate({**known, **changes})


def test_a_whole_identity_may_be_integrated() -> None:
    assert judge(Outcome.FOUND, identity()) == Judgement(True, [], [])


@pytest.mark.parametrize(
    ("member", "reason"),
    [("birth_name", "birthName.empty"), ("given_names_list", "givenNames.empty"), ("sex", "sex.empty")],
)
@pytest.mark.parametrize("empty", [None, "", " "])
def test_an_empty_trait_forbids_integration(member: str, reason: str, empty: str | None) -> None:
    """S066: name, given names and sex."""
    assert judge(Outcome.FOUND, identity(**{member: empty})) == Judgement(False, [reason], [])


def test_an_empty_birth_place_forbids_nothing() -> None:
    assert judge(Outcome.FOUND, identity(birth_place_code=None)).integrable


def test_a_wrong_key_is_a_warning_and_never_a_refusal() -> None:
    """CNDA 2.08-2, older edition: 60 for 76."""
    wrong = Ins(matricule="1810363220456", key="60", oid=NIR, kind=InsKind.NIR)

    assert judge(Outcome.FOUND, identity(ins=wrong)) == Judgement(True, [], ["key.mismatch"])


def test_no_key_is_no_wrong_key() -> None:
    bare = Ins(matricule="1810363220456", key=None, oid=NIR, kind=InsKind.NIR)

    assert judge(Outcome.FOUND, identity(ins=bare)).warnings == []


def test_a_wrong_key_in_the_history_is_seen_too() -> None:
    past = PastIns(matricule="2810363220456", key="10", oid=NIR)

    assert judge(Outcome.FOUND, identity(history=[past])).warnings == ["key.mismatch"]


def test_a_waiting_number_is_to_be_verified_again() -> None:
    """CNDA 2.05: told by the OID alone."""
    nia = Ins(matricule="1090763220888", key="35", oid="1.2.250.1.213.1.4.9", kind=InsKind.NIA)

    assert judge(Outcome.FOUND, identity(ins=nia)) == Judgement(True, [], ["nia.verifyAgain"])


@pytest.mark.parametrize(("number", "key"), [("184122A004089", "57"), ("184122a004089", "57"), ("180032B020401", "23")])
def test_a_corsican_number_has_its_key(number: str, key: str) -> None:
    right = Ins(matricule=number, key=key, oid=NIR, kind=InsKind.NIR)
    wrong = Ins(matricule=number, key="97", oid=NIR, kind=InsKind.NIR)

    assert judge(Outcome.FOUND, identity(ins=right)).warnings == []
    assert judge(Outcome.FOUND, identity(ins=wrong)).warnings == ["key.mismatch"]


@pytest.mark.parametrize("place", ["2A004", "2B020", "99352", "97411", "01154", None, ""])
def test_a_birth_place_of_the_national_code_is_nothing_to_say(place: str | None) -> None:
    assert judge(Outcome.FOUND, identity(birth_place_code=place)).warnings == []


@pytest.mark.parametrize("place", ["2a004", "2C004", "6322", "632200", "COG99", " 63220"])
def test_a_birth_place_of_another_shape_is_said_and_never_refused(place: str) -> None:
    """S065; the schema has no shape for it."""
    assert judge(Outcome.FOUND, identity(birth_place_code=place)) == Judgement(True, [], ["birthPlaceCode.shape"])


def test_an_end_before_its_beginning_and_a_change_of_sex_are_passed_on_without_a_word() -> None:
    """Live answers have the first every time; the second is the person's."""
    past = PastIns(matricule="2810163220751", key="87", oid=NIR, from_="2019-03-01", to="2019-02-28")

    assert judge(Outcome.FOUND, identity(history=[past, past])) == Judgement(True, [], [])


def test_a_history_that_repeats_the_active_number_is_said() -> None:
    same = PastIns(matricule="1810163220751", key="40", oid=NIR)
    as_nia = PastIns(matricule="1810163220751", key="40", oid="1.2.250.1.213.1.4.9")

    assert judge(Outcome.FOUND, identity(history=[same])).warnings == ["history.repeatsActive"]
    assert judge(Outcome.FOUND, identity(history=[as_nia])).warnings == []  # matricule and OID together


@pytest.mark.parametrize(
    ("oid", "kind"),
    [
        ("1.2.250.1.213.1.4.8", InsKind.NIR),
        ("1.2.250.1.213.1.4.9", InsKind.NIA),
        ("1.2.250.1.213.1.4.10", InsKind.NIR_TEST),
        ("1.2.250.1.213.1.4.11", InsKind.NIR_DEMO),
        ("1.2.250.1.213.1.4.12", InsKind.UNKNOWN),
        ("1.2.250.1.213.1.4.13", InsKind.UNKNOWN),
        ("1.2.250.1.213.1.4.80", InsKind.UNKNOWN),
    ],
)
def test_the_oid_alone_tells_what_a_number_is(oid: str, kind: InsKind) -> None:
    assert kind_of(oid) is kind


def test_an_oid_of_no_table_is_said() -> None:
    odd = Ins(matricule="1810163220751", key="40", oid="1.2.250.1.213.1.4.12", kind=InsKind.UNKNOWN)

    assert judge(Outcome.FOUND, identity(ins=odd)) == Judgement(True, [], ["oid.unknown"])


NO_INS = [f"1.2.250.1.213.1.4.{last}" for last in ("13", "14", "1", "1.2", "1.10.3", "2")]


@pytest.mark.parametrize("oid", ["urn:oid:1.2.250.1.213.1.4.8", "1.2.250.1.213.1.4.8&ISO^NH", "1.2.250..8", "INS", "1"])
def test_what_is_no_oid_makes_no_ins(oid: str) -> None:
    """Nobody can tell from it what the number is."""
    odd = Ins(matricule="1810163220751", key="40", oid=oid, kind=kind_of(oid))

    assert judge(Outcome.FOUND, identity(ins=odd)) == Judgement(False, ["oid.notIns"], ["oid.unknown"])


@pytest.mark.parametrize("oid", NO_INS)
def test_a_number_that_is_no_ins_is_not_integrated_as_one(oid: str) -> None:
    """The social security number, and the INS of before 2017."""
    other = Ins(matricule="1810163220751", key="40", oid=oid, kind=InsKind.UNKNOWN)

    assert judge(Outcome.FOUND, identity(ins=other)) == Judgement(False, ["oid.notIns"], ["oid.unknown"])


@pytest.mark.parametrize("oid", NO_INS)
def test_a_number_that_is_no_ins_is_not_verified_as_one(oid: str) -> None:
    with pytest.raises(AgentError) as refused:
        check_given(GivenIns(matricule="1810163220751", key="40", oid=oid))

    assert refused.value.code is Code.INS_REFUSED
    assert refused.value.facts == {"oid": oid}
    assert oid not in str(refused.value)  # any digits may stand in it


@pytest.mark.parametrize(
    ("key", "oid", "warnings"),
    [
        ("40", NIR, []),
        (None, NIR, []),
        ("41", NIR, ["key.mismatch"]),
        ("40", "1.2.250.1.213.1.4.9", ["nia.verifyAgain"]),
        ("40", "1.2.250.1.213.1.4.12", ["oid.unknown"]),
        ("40", "1.2.250.1.213.1.4.10", []),
    ],
)
def test_an_ins_to_be_verified_is_looked_at_and_sent_all_the_same(
    key: str | None, oid: str, warnings: list[str]
) -> None:
    assert check_given(GivenIns(matricule="1810163220751", key=key, oid=oid)) == warnings


def test_a_verification_is_what_insi_says_it_is() -> None:
    assert judge(Outcome.VERIFIED, None) == Judgement(True, [], [])
    assert judge(Outcome.NOT_VERIFIED, None) == Judgement(False, ["ins.notVerified"], [])


@pytest.mark.parametrize(
    ("on_card", "reasons"),
    [
        ("LAURENT", []),
        ("Laurent Marie", []),
        ("MARIE", ["rank.assumed"]),
        ("", ["rank.assumed"]),
        (None, ["rank.assumed"]),
    ],
)
def test_with_an_assumed_rank_the_card_s_given_names_must_begin_the_list(
    on_card: str | None, reasons: list[str]
) -> None:
    """A twin's number must not be integrated for the other."""
    judged = judge(Outcome.FOUND, identity(), rank_assumed=True, card_given_names=on_card)

    assert judged == Judgement(not reasons, reasons, [])


def test_a_rank_that_is_known_asks_nothing_of_the_given_names() -> None:
    assert judge(Outcome.FOUND, identity(), rank_assumed=False, card_given_names="MARIE").integrable


def test_nobody_found_with_an_assumed_rank_carries_the_warning() -> None:
    assert judge(Outcome.NOT_FOUND, None, rank_assumed=True) == Judgement(False, [], ["rank.assumed"])
    assert judge(Outcome.NOT_FOUND, None) == Judgement(False, [], [])
    assert judge(Outcome.SEVERAL, None, rank_assumed=True) == Judgement(False, [], [])


def test_only_the_traits_that_the_page_gave_are_compared() -> None:
    compared = compare(LocalTraits(birth_name="d’Adrdeux Neuf", sex="M", birth_date="1981-01-02"), identity())

    assert list(compared) == ["birthName", "sex", "birthDate"]
    name = compared["birthName"]
    assert (name.local, name.insi, name.same, name.same_after_normalisation) == (
        "d’Adrdeux Neuf",
        "D'ADRDEUX-NEUF",
        False,
        True,
    )
    assert compared["sex"].same
    assert compared["sex"].same_after_normalisation
    assert not compared["birthDate"].same_after_normalisation


@pytest.mark.parametrize(
    ("given_names", "same", "close"),
    [
        (["LAURENT", "MARIE-ANGE"], True, True),
        (["Laurent"], False, True),
        (["Laurent", "Marie Ange"], False, True),
        (["Marie-Ange"], False, False),
        ([], False, False),
    ],
)
def test_given_names_compare_by_the_word_rule(given_names: list[str], same: bool, close: bool) -> None:
    compared = compare(LocalTraits(given_names=given_names), identity())["givenNames"]

    assert (compared.same, compared.same_after_normalisation) == (same, close)


@pytest.mark.parametrize(
    ("ours", "insi", "close"),
    [
        ("GARCIA HAMMADI", "GARCIA-HAMMADI", True),  # as records of before were written
        ("L’Hérault", "L'HERAULT", True),
        ("GARCIA", "GARCIA-HAMMADI", False),  # alike is not the same
        ("DUPOND", "DUPONT", False),
    ],
)
def test_a_birth_name_compares_as_a_whole(ours: str, insi: str, close: bool) -> None:
    compared = compare(LocalTraits(birth_name=ours), identity(birth_name=insi))["birthName"]

    assert (compared.same, compared.same_after_normalisation) == (False, close)


@pytest.mark.parametrize(
    ("member", "ours", "insi"), [("birth_date", "1950-01-01", "1950-00-00"), ("birth_place_code", "20004", "2A004")]
)
def test_a_date_and_a_place_are_strictly_the_same_or_not(member: str, ours: str, insi: str) -> None:
    other = compare(LocalTraits.model_validate({member: ours}), identity(**{member: insi}))
    same = compare(LocalTraits.model_validate({member: insi}), identity(**{member: insi}))

    assert [one.same_after_normalisation for one in other.values()] == [False]
    assert [one.same_after_normalisation for one in same.values()] == [True]


def test_an_undetermined_sex_equals_none_of_insi() -> None:
    compared = compare(LocalTraits(sex="I"), identity())["sex"]

    assert (compared.same, compared.same_after_normalisation) == (False, False)


def test_a_trait_that_insi_left_out_is_not_the_same() -> None:
    compared = compare(LocalTraits(birth_name="ADRDEUX"), identity(birth_name=None))["birthName"]

    assert (compared.insi, compared.same, compared.same_after_normalisation) == (None, False, False)
