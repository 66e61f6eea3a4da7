"""Answers as INSi, its gateway and the CNDA reply files wrote them from 2021 to 2026.

The files beside this one are ours, in the shapes and with the oddities that were seen; their people are invented, or
the fictitious ones of the official tests.
"""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from agent.errors import AgentError, Code
from agent.insi import rules
from agent.insi.answers import Answer, read_answer
from agent.insi.ports import HttpReply

FOLDER = Path(__file__).with_name("answers")
NIR, NIA = "1.2.250.1.213.1.4.8", "1.2.250.1.213.1.4.9"
LATER = (
    "Le service est temporairement inaccessible. Veuillez renouveler votre demande ultérieurement. Si le problème "
    "persiste, contactez l'éditeur du progiciel ou votre responsable informatique."
)
REFUSED = (
    "L'accès par ce progiciel au service n'est pas autorisé. Contactez l'éditeur du progiciel ou votre responsable "
    "informatique."
)

# matricule, key, OID; birth name, given names, sex, birth date, birth place; history; warnings and reasons
FOUND: dict[str, tuple[tuple[str | None, ...], tuple[str | None, ...], list[tuple[str | None, ...]], list[str]]] = {
    "2021_both_given_names": (
        ("2800599352011", "82", NIR),
        ("D'INVENTEE-NEUVE", "LOU ANNE-MARIE", "F", "1980-05-09", "99352"),
        [],
        [],
    ),
    "2022_dates_first": (
        ("1090763220834", "89", NIR),
        ("ECETINSI", "PIERRE-ALAIN MURIEL FLORIANT", "M", "2009-07-14", "63220"),
        [("2090763220834", "39", NIR, "2019-03-01", "2019-02-28"), ("2090663220123", "55", NIR, "2010-01-01", None)],
        [],
    ),
    "2022_wrong_keys": (
        ("1810363220456", "60", NIR),
        ("HERMANN", "GATIEN", "M", "1981-03-24", "63220"),
        [("1810363220456", "60", NIR, None, None), ("2810363220456", "10", NIR, None, None)],
        ["key.mismatch", "history.repeatsActive"],
    ),
    "2022_corsican_waiting_number": (
        ("184122A004089", None, NIA),
        ("EXEMPLE", "ORSU", "M", "1984-00-00", "2A004"),
        [],
        ["nia.verifyAgain"],
    ),
    "2023_empty_header": (
        ("2800599352011", "82", NIR),
        ("D'INVENTEE-NEUVE", "LOU ANNE-MARIE", "F", "1980-05-09", "99352"),
        [("2800599352012", "81", NIA, "2019-03-01", "2019-02-28")],
        [],
    ),
    "2024_history_without_dates": (
        ("184122B004090", "83", NIR),
        ("EXEMPLE", "DUMÈ", "M", "1984-12-01", "2B004"),
        [("184122B004090", "83", NIR, None, None), ("284122B004090", "33", NIR, None, None)],
        ["history.repeatsActive"],
    ),
    "2026_found": (
        ("2509999352001", "59", NIR),
        ("", "LUNE", None, "1950-00-00", "COG99"),
        [],
        ["birthPlaceCode.shape", "birthName.empty", "sex.empty"],
    ),
}
WITHOUT_IDENTITY = {
    "2021_nobody": ("01", "Aucune identite trouvee"),
    "2023_several": ("02", "Plusieurs identites trouvees"),
    "2024_nobody": ("01", "Aucune identite trouvee"),
}
FAULTS = {
    "2022_fault_of_insi": (
        Code.INSI_FAULT_UNAVAILABLE,
        ("insi_102", "siram_40", "fatal", LATER),
        "L'appel au service de recherche avec les traits d'identité renvoie une erreur technique.",
    ),
    "2022_fault_of_the_gateway": (
        Code.INSI_FAULT_ACCESS,
        ("desir_550", "siram_100", "erreur", REFUSED),
        "Numéro d'autorisation du logiciel inconnu.",
    ),
    "2023_fault_of_insi": (
        Code.INSI_FAULT_UNAVAILABLE,
        ("insi_111", "siram_40", "fatale", "Indisponibilité des téléservices"),
        "Indisponibilité des téléservices",
    ),
    "2025_fault_of_the_gateway": (
        Code.INSI_FAULT_UNAVAILABLE,
        ("desir_1020", "siram_40", "fatale", LATER),
        "Le service appelé est temporairement indisponible",
    ),
    "2026_fault_of_the_gateway": (
        Code.INSI_FAULT_INPUT,
        ("insi_19", "siram_10", "erreur", "Le champ nom de naissance est obligatoire"),
        "Le champ nom de naissance est obligatoire",
    ),
}


def content(name: str) -> bytes:
    return (FOLDER / f"{name}.xml").read_bytes()


def what_is_read(body: bytes, status: int = 200) -> Answer | tuple[Code, dict[str, Any]]:
    try:
        return read_answer(HttpReply(status, body, 1))
    except AgentError as error:
        return error.code, error.facts


def test_each_edition_is_read_below() -> None:
    assert {file.stem for file in FOLDER.iterdir()} == {*FOUND, *WITHOUT_IDENTITY, *FAULTS}


@pytest.mark.parametrize("name", FOUND)
def test_an_identity_of_any_edition_is_read_to_the_letter(name: str) -> None:
    answer = read_answer(HttpReply(200, content(name), 1))
    number, traits, history, noticed = FOUND[name]
    identity = answer.identity

    assert (answer.code, answer.label) == ("00", "OK")
    assert identity is not None
    assert (identity.ins.matricule, identity.ins.key, identity.ins.oid) == number
    assert traits == (
        identity.birth_name,
        identity.given_names_list,
        identity.sex,
        identity.birth_date,
        identity.birth_place_code,
    )
    assert [(past.matricule, past.key, past.oid, past.from_, past.to) for past in identity.history] == history
    judged = rules.judge(answer.outcome, identity)
    assert [*judged.warnings, *judged.reasons] == noticed
    assert judged.integrable is (judged.reasons == [])


@pytest.mark.parametrize("name", WITHOUT_IDENTITY)
def test_nobody_and_several_are_read_in_any_edition(name: str) -> None:
    answer = read_answer(HttpReply(200, content(name), 1))

    assert (answer.code, answer.label) == WITHOUT_IDENTITY[name]
    assert answer.identity is None


@pytest.mark.parametrize("status", [500, 200])
@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_of_any_edition_is_read_verbatim(name: str, status: int) -> None:
    code, said, detail = FAULTS[name]

    insi = dict(zip(("code", "subcode", "severity", "reason"), said, strict=True)) | {"detail": detail}
    assert what_is_read(content(name), status) == (code, {"insi": insi})


# ---------------------------------------------------------------- the same, written otherwise

FILLINGS = ["", "\n\t ", "<!-- 2109999352001 -->", "<?pi x?>", " <!----> <?x?>\r\n"]
ENCODINGS = ["UTF-8", "UTF-8 with a mark", "UTF-16", "ISO-8859-1"]


def rewritten(draw: st.DrawFn, element: Any) -> str:
    """The same element: other prefixes, other order of attributes and members, blanks, comments, CDATA."""
    named = etree.QName(element)
    prefix = draw(st.sampled_from(["", "ns2", "S", "soap", "siram"]))
    tag = f"{prefix}:{named.localname}" if prefix else named.localname
    attributes = [f' xmlns{":" if prefix else ""}{prefix}="{named.namespace}"', ' xmlns:unused="urn:unused"']
    for name, value in element.items():
        attributes.append(f' {name.replace("{http://www.w3.org/XML/1998/namespace}", "xml:")}="{value}"')
    opened = f"<{tag}{''.join(draw(st.permutations(attributes)))}>"
    members = [child for child in element if isinstance(child.tag, str)]
    if not members:
        return f"{opened}{other_text(draw, element.text or '')}</{tag}>"
    filling = st.sampled_from(FILLINGS)
    inside = "".join(draw(filling) + rewritten(draw, member) for member in shuffled(draw, members))
    return f"{opened}{inside}{draw(filling)}</{tag}>"


def other_text(draw: st.DrawFn, text: str) -> str:
    at = draw(st.integers(0, len(text)))
    cut = draw(st.sampled_from(["<!-- x -->", "<?x y?>", "]]><![CDATA[", ""]))
    if "CDATA" in cut:
        return f"<![CDATA[{text[:at]}{cut}{text[at:]}]]>"
    return text[:at] + cut + text[at:]


def shuffled(draw: st.DrawFn, members: list[Any]) -> list[Any]:
    """In another order; the lines of a history keep theirs, which says something, as do the codes of a fault."""
    if any(etree.QName(member).localname in ("Value", "Envelope") for member in members):
        return members
    order = draw(st.permutations(members))
    history = iter([member for member in members if etree.QName(member).localname == "INSHISTO"])
    return [next(history) if etree.QName(member).localname == "INSHISTO" else member for member in order]


@st.composite
def written_otherwise(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """An answer, and the same answer as another edition may write it."""
    original = content(draw(st.sampled_from([*FOUND, *WITHOUT_IDENTITY, *FAULTS])))
    text = rewritten(draw, etree.fromstring(original.lstrip()))
    encoding, _, mark = draw(st.sampled_from(ENCODINGS)).partition(" ")
    declared = encoding != "UTF-8" or draw(st.booleans())
    declaration = f'<?xml version="1.0" encoding="{encoding}"?>' if declared else ""
    blanks = draw(st.sampled_from(["", "\n\n", "\r\n "]))
    written = (blanks + declaration + text).encode("utf-8-sig" if mark else encoding)
    return original, written


@given(written_otherwise())
def test_the_same_answer_written_otherwise_is_read_the_same(both: tuple[bytes, bytes]) -> None:
    original, other = both

    assert what_is_read(other) == what_is_read(original)


# ---------------------------------------------------------------- damaged

CUTS = ["", "<", "</", "\x00", "]]>", "&", "&x;", "xmlns=''", "INDIVIDU", '<?xml version="1.0" encoding="x"?>']


@given(
    st.sampled_from([*FOUND, *WITHOUT_IDENTITY, *FAULTS]),
    st.integers(0, 3000),
    st.integers(0, 200),
    st.one_of(st.binary(max_size=20), st.sampled_from([cut.encode() for cut in CUTS])),
    st.sampled_from([200, 500]),
)
def test_any_damage_gives_an_answer_or_a_code(name: str, at: int, cut: int, put: bytes, status: int) -> None:
    whole = content(name)

    read = what_is_read(whole[:at] + put + whole[at + cut :], status)

    assert isinstance(read, Answer) or read[0].startswith("insi.")


@st.composite
def upset(draw: st.DrawFn) -> bytes:
    """A well-formed answer whose elements were dropped, doubled, moved, renamed or emptied."""
    root = etree.fromstring(content(draw(st.sampled_from([*FOUND, *FAULTS]))).lstrip())
    for _ in range(draw(st.integers(1, 4))):
        elements = [element for element in root.iter("*") if element.getparent() is not None]
        if not elements:
            break
        one, other = draw(st.sampled_from(elements)), draw(st.sampled_from(elements))
        match draw(st.sampled_from(["drop", "double", "move", "rename", "empty"])):
            case "drop":
                one.getparent().remove(one)
            case "double":
                one.addnext(etree.fromstring(etree.tostring(one, with_tail=False)))
            case "move" if one is not other and one not in other.iterancestors():
                other.append(one)
            case "rename":
                one.tag = other.tag
            case _:
                one.clear()
    return bytes(etree.tostring(root))


@given(upset(), st.sampled_from([200, 500]))
def test_an_upset_answer_gives_an_answer_or_a_code_and_nobody_is_invented(body: bytes, status: int) -> None:
    read = what_is_read(body, status)

    if not isinstance(read, Answer):
        assert read[0].startswith("insi.")
    elif read.identity is not None:
        assert f">{read.identity.ins.matricule}<".encode() in body
        assert f">{read.identity.ins.oid}<".encode() in body
        assert b">00<" in body
