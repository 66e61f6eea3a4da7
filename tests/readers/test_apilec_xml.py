"""The licensed library's answer, as second hand describes it: invented people, every spelling that was seen."""

import re
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import AgentError, Code
from agent.model import CardKind, NameKind, NirOf, VitaleHolder
from agent.readers.apilec_xml import parse_content, year_first
from agent.readers.vitale import VitaleContent

TODAY = date(2026, 3, 1)
IDENT = """<nomUsuel>MARTIN</nomUsuel><nomPatronymique>DURAND</nomPatronymique><prenomUsuel>HÉLÈNE</prenomUsuel>
<naissance><date>31121984</date><dateEnCarte>841231</dateEnCarte></naissance><rangDeNaissance>1</rangDeNaissance>
<nir>284127645108993</nir><nirCertifie>284127645108993</nirCertifie><dateCertification>01012020</dateCertification>
<adresse><ligne1>1 RUE DES ESSAIS</ligne1></adresse>"""
AMO = "<nir>2841276451089</nir><qualBenef>0</qualBenef><codeRegime>01</codeRegime>"
PROLOGUE = '<?xml version="1.0" encoding="ISO-8859-1"?>\n'


def person(ident: str = IDENT, amo: str = AMO) -> str:
    return f"<T_AsnBeneficiaire><ident>{ident}</ident><amo>{amo}</amo></T_AsnBeneficiaire>"


def answer(*people: str) -> str:
    return f"{PROLOGUE}<donnees><listeBenef>{''.join(people)}</listeBenef></donnees>"


def read(text: str, encoding: str = "iso-8859-1") -> VitaleContent:
    return parse_content(text.encode(encoding), TODAY)


def one(ident: str = IDENT, amo: str = AMO) -> VitaleHolder:
    return read(answer(person(ident, amo))).holders[0]


def refusal(xml: bytes) -> Code:
    with pytest.raises(AgentError) as refused:
        parse_content(xml, TODAY)
    assert "DURAND" not in str(refused.value)
    return refused.value.code


def test_a_holder_comes_with_birth_name_rank_and_both_numbers() -> None:
    content = read(answer(person()))

    assert content.card.kind is CardKind.UNKNOWN  # the library reads several kinds and does not tell which
    assert (content.card.environment, content.card.serial) == ("unknown", None)
    assert content.holders[0].model_dump(by_alias=False) == {
        "index": 0,
        "name": "DURAND",
        "name_kind": NameKind.BIRTH,
        "given_names": "HÉLÈNE",
        "birth_date": "1984-12-31",
        "birth_date_raw": "31121984",
        "nir": "2841276451089",
        "nir_key": "93",
        "nir_of": NirOf.INSURED,
        "certified_nir": "2841276451089",
        "rank": 1,
        "rank_assumed": False,
        "warnings": [],
    }


def test_holders_keep_the_order_of_the_answer() -> None:
    names = ["UN", "DEUX", "TROIS"]

    content = read(answer(*(person(f"<nomUsuel>{name}</nomUsuel>") for name in names)))

    assert [(holder.index, holder.name) for holder in content.holders] == [(0, "UN"), (1, "DEUX"), (2, "TROIS")]


@pytest.mark.parametrize(
    "spelling",
    [
        answer(person()),
        answer(person()).lower(),
        answer(person()).replace("<ident>", "<T_AsnIdent>").replace("</ident>", "</T_AsnIdent>"),
        answer(person()).replace("T_AsnBeneficiaire", "Beneficiaire"),
        answer(person()).replace("<listeBenef>", "").replace("</listeBenef>", ""),
        answer(person()).replace("<donnees>", '<donnees xmlns="urn:invente">'),
        answer(person()).replace("T_Asn", "v:").replace("<donnees>", '<donnees xmlns:v="urn:invente">'),
        answer(person()).replace("<ident>", "<!-- --><?essai ?><ident>"),
        answer(person()).removeprefix(PROLOGUE),
        "\n" + answer(person()) + "\n",
    ],
)
def test_names_are_read_in_any_spelling_that_was_seen(spelling: str) -> None:
    holder = read(spelling).holders[0]

    assert holder.name.upper() == "DURAND"
    assert (holder.birth_date, holder.nir, holder.rank_assumed) == ("1984-12-31", "2841276451089", False)


def test_latin_1_is_read_declared_or_not_and_another_encoding_when_it_is_declared() -> None:
    undeclared = answer(person()).removeprefix(PROLOGUE)
    declared = f'<?xml version="1.0" encoding="UTF-8"?>{undeclared}'

    given_names = [
        read(answer(person())).holders[0].given_names,
        read(undeclared).holders[0].given_names,
        read(f'<?xml version="1.0"?>{undeclared}').holders[0].given_names,
        read(declared, "utf-8").holders[0].given_names,
    ]

    assert given_names == ["HÉLÈNE"] * 4


def test_without_birth_name_the_used_name_is_given_as_such() -> None:
    holder = one(IDENT.replace("<nomPatronymique>DURAND</nomPatronymique>", "<nomPatronymique> </nomPatronymique>"))

    assert (holder.name, holder.name_kind) == ("MARTIN", NameKind.USED)


def test_a_rank_that_is_not_given_is_assumed_and_said_so() -> None:
    ranks = {
        text: (holder.rank, holder.rank_assumed)
        for text in ("2", "02", "", "0", "12", "deux")
        for holder in [one(IDENT.replace("<rangDeNaissance>1<", f"<rangDeNaissance>{text}<"))]
    }

    assert ranks == {
        "2": (2, False),
        "02": (2, False),
        "": (1, True),
        "0": (1, True),
        "12": (1, True),
        "deux": (1, True),
    }


def test_a_card_without_certified_number_gives_none() -> None:
    for absent in ("<nirCertifie/>", "<nirCertifie>  </nirCertifie>", "<nirCertifie>000000000000000</nirCertifie>", ""):
        assert one(IDENT.replace("<nirCertifie>284127645108993</nirCertifie>", absent)).certified_nir is None


def test_the_key_is_the_one_given_and_computed_only_where_there_is_none() -> None:
    """GIE text: Corsica counts as 19 and 18. A wrong key is reported, never corrected."""
    keys = {
        nir: (holder.nir, holder.nir_key, holder.warnings[:1])
        for nir in ("2841276451089 00", "184122A004089", "255082B033042", "28412764", "")
        for holder in [one("<nomUsuel>DURAND</nomUsuel>", f"<nir>{nir}</nir>")]
    }

    assert keys == {
        "2841276451089 00": ("2841276451089", "00", ["nir.key"]),
        "184122A004089": ("184122A004089", "57", ["birthDate.unreadable"]),
        "255082B033042": ("255082B033042", "83", ["birthDate.unreadable"]),
        "28412764": ("28412764", "", ["nir.length"]),
        "": ("", "", ["nir.length"]),
    }


def test_a_number_beside_the_insured_persons_is_of_nobody_known() -> None:
    holder = one(amo="<qualBenef>6</qualBenef>")

    assert (holder.nir, holder.nir_of) == ("2841276451089", NirOf.UNKNOWN)


@pytest.mark.parametrize(
    ("written", "raw", "dashed", "said"),
    [
        ("<naissance><date>31121984</date></naissance>", "31121984", "1984-12-31", []),
        ("<naissance><dateEnCarte>841231</dateEnCarte></naissance>", "841231", "1984-12-31", []),
        ("<naissance><date/><dateEnCarte>841231</dateEnCarte></naissance>", "841231", "1984-12-31", []),
        ("<naissance>31121984</naissance>", "31121984", "1984-12-31", []),
        ("<dateNaissance>31121984</dateNaissance>", "31121984", "1984-12-31", []),
        ("<naissance/><dateNaissance><date>31121984</date></dateNaissance>", "31121984", "1984-12-31", []),
        ("<naissance><date>00001954</date></naissance>", "00001954", "1954-00-00", ["birthDate.lunar"]),
        ("<naissance><dateEnCarte>540000</dateEnCarte></naissance>", "540000", "1954-00-00", ["birthDate.lunar"]),
        (
            "<naissance><dateEnCarte>150201</dateEnCarte></naissance>",
            "150201",
            None,
            ["birthDate.unreadable"],
        ),  # 1915 or 2015
        ("<naissance><date>01131984</date></naissance>", "01131984", None, ["birthDate.lunar"]),
        ("", "", None, ["birthDate.unreadable"]),
    ],
)
def test_a_birth_date_is_kept_as_written_beside_its_usual_form(
    written: str, raw: str, dashed: str | None, said: list[str]
) -> None:
    holder = one("<nomUsuel>DURAND</nomUsuel>" + written)

    assert (holder.birth_date_raw, holder.birth_date, holder.warnings) == (raw, dashed, said)


def test_a_century_is_given_only_where_one_alone_is_possible() -> None:
    assert year_first("270101", TODAY) == "19270101"
    assert year_first("260101", TODAY) == ""
    assert year_first("270101", date(2027, 1, 1)) == ""


def test_the_fingerprint_is_that_of_the_holders() -> None:
    """What else is in the answer, as the moment of the reading, may change."""
    read_now = read(answer(person()))
    read_later = read(answer(person()).replace("<donnees>", "<donnees><dateLecture>01032026</dateLecture>"))
    another = read(answer(person(amo=AMO.replace("2841276451089", "2770763220829"))))
    swapped = read(answer(person(), person("<nomUsuel>AUTRE</nomUsuel>")))
    back = read(answer(person("<nomUsuel>AUTRE</nomUsuel>"), person()))

    assert read_now.fingerprint == read_later.fingerprint
    assert len({content.fingerprint for content in (read_now, another, swapped, back)}) == 4


def test_a_card_of_nobody_is_empty() -> None:
    assert refusal(b"<donnees><listeBenef/></donnees>") is Code.VITALE_EMPTY


@pytest.mark.parametrize(
    "xml",
    [
        b"",
        b"pas du XML",
        answer(person()).encode("iso-8859-1")[:-20],
        b"<donnees/>",
        answer("<T_AsnBeneficiaire/>").encode(),
        answer(person("<prenomUsuel>LOU</prenomUsuel>")).encode(),
        b"<?xml version='1.0' encoding='inconnu'?><donnees/>",
        b"<!DOCTYPE d [<!ENTITY e SYSTEM 'file:///etc/passwd'>]><d><beneficiaire><nomUsuel>&e;</nomUsuel></beneficiaire></d>",
        b"<!DOCTYPE d><listeBenef/>",
    ],
)
def test_what_is_no_answer_is_unreadable_and_quoted_nowhere(xml: bytes) -> None:
    assert refusal(xml) is Code.APILEC_UNREADABLE


def survives(xml: bytes) -> None:
    """A value or a code, never another exception."""
    try:
        content = parse_content(xml, TODAY)
    except AgentError as error:
        assert error.code in (Code.APILEC_UNREADABLE, Code.VITALE_EMPTY)
    else:
        assert content.holders
        assert all(1 <= holder.rank <= 9 for holder in content.holders)


@given(st.binary(max_size=400))
def test_any_bytes_are_a_value_or_a_code(xml: bytes) -> None:
    survives(xml)


GOOD = answer(person(), person()).encode("iso-8859-1")


@given(st.data())
def test_any_damage_is_a_value_or_a_code(data: st.DataObject) -> None:
    xml = GOOD
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(xml)))
        end = data.draw(st.integers(start, min(len(xml), start + 60)))
        xml = (
            xml[:start] + data.draw(st.binary(max_size=8) | st.sampled_from([b"<", b">", b"</", b"&amp;"])) + xml[end:]
        )
    survives(xml)


TEXTS = st.text(st.characters(codec="iso-8859-1", exclude_categories=["Cc"], exclude_characters="<&"), max_size=20)


@given(st.dictionaries(st.sampled_from(["nomUsuel", "naissance", "rangDeNaissance", "nir", "nirCertifie"]), TEXTS))
def test_any_content_of_the_fields_is_a_value_or_a_code(fields: dict[str, str]) -> None:
    ident = "".join(f"<{name}>{text}</{name}>" for name, text in fields.items())
    survives(answer(person(ident, ident)).encode("iso-8859-1"))


@given(st.text(max_size=10) | st.from_regex(r"[0-9]{6}([0-9]{2})?", fullmatch=True))
def test_a_birth_date_has_its_form_or_is_none(raw: str) -> None:
    ordered = year_first(raw, TODAY)

    assert re.fullmatch(r"((18|19|20)[0-9]{6})?", ordered)
    assert sorted(ordered) == sorted(raw) or ordered in ("", f"19{raw}")
