"""How the name of a site is shown."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.tray.dialogs.site_name import SiteName, site_name


@pytest.mark.parametrize(
    "origin", ["https://dossier.exemple.fr", "https://dossier.exemple.fr:8443", "https://axn-b.exemple", "https://a"]
)
def test_an_ordinary_name_is_shown_as_it_is(origin: str):
    assert SiteName(origin, "", misleading=False) == site_name(origin)


@pytest.mark.parametrize(
    ("origin", "letters"),
    [
        ("https://xn--sant-epa.exemple.fr:8443", "https://santé.exemple.fr:8443"),
        ("https://www.xn--hpital-saint-cur-nvb73o.exemple", "https://www.hôpital-saint-cœur.exemple"),
    ],
)
def test_french_accents_are_shown_with_what_they_stand_for(origin: str, letters: str):
    assert SiteName(origin, letters, misleading=False) == site_name(origin)


@pytest.mark.parametrize(
    ("origin", "letters"),
    [
        ("https://xn--80ak6aa92e.com", "https://аррӏе.com"),  # Cyrillic from end to end
        ("https://xn--dssier-wqf.exemple.fr", "https://dоssier.exemple.fr"),  # one Cyrillic letter among Latin ones
        ("https://xn--dosser-s9a.exemple.fr", "https://dossıer.exemple.fr"),  # Latin, with no dot on its i
        ("https://xn--fiq228c.example", "https://中文.example"),
    ],
)
def test_letters_that_may_imitate_others_are_said(origin: str, letters: str):
    assert SiteName(origin, letters, misleading=True) == site_name(origin)


@pytest.mark.parametrize(
    "origin",
    [
        "https://xn--.example",
        "https://xn--a.example",
        "https://xn--zzzzzzzzzz99999.example",
        "https://xn--strae-oqa.example",  # ß: allowed today, folded by the codec, so not shown as something else
        "https://xn--abc-.example",  # decodes to plain letters: another label means the same
    ],
)
def test_a_name_that_does_not_lead_back_to_itself_is_not_decoded(origin: str):
    assert SiteName(origin, "", misleading=True) == site_name(origin)


@given(st.from_regex(r"\Ahttps://(xn--)?[a-z0-9-]{1,30}(\.(xn--)?[a-z0-9-]{1,30}){0,3}(:[0-9]{1,5})?\Z"))
def test_any_name_is_shown_exactly_and_its_letters_lead_back_to_it(origin: str):
    shown = site_name(origin)

    assert origin == shown.exact
    if shown.letters:
        host = shown.letters.removeprefix("https://").partition(":")[0]
        assert host.encode("idna").decode() == origin.removeprefix("https://").partition(":")[0]
        assert shown.letters.isprintable()
