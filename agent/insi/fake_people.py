"""The people of the simulated INSi. No I/O of its own.

All are fictitious: the identities that CNDA and the qualification service publish for tests, with their
keys as returned (two are officially wrong), and our own, invented for the shapes that they lack. The
people of qualification who are known to nobody (HOUILLES, the given name OLA) have no row here.
"""

from dataclasses import dataclass

from agent.insi import names

NIR_OID = "1.2.250.1.213.1.4.8"
NIA_OID = "1.2.250.1.213.1.4.9"


@dataclass(frozen=True)
class Past:
    """A former number."""

    matricule: str
    key: str
    oid: str = NIR_OID
    start: str | None = None
    end: str | None = None
    number_type: str | None = None  # TypeMatricule


@dataclass(frozen=True)
class Person:
    """Someone that the simulated INSi knows. Everything is a string: dates may hold 00."""

    birth_name: str
    given_names: str  # the list, as returned
    sex: str
    birth_date: str
    birth_place: str
    matricule: str
    key: str | None
    oid: str = NIR_OID
    history: tuple[Past, ...] = ()
    test: str = ""  # CNDA test that uses this person
    insured: str | None = None  # whose number the carte Vitale gives; None: their own
    rank: int = 1
    left_empty: str | None = None  # the element of TIQ that comes back empty
    only: str | None = None  # "vitale": found by card alone; "injected": given by `inject` alone
    production: bool = True  # False: unknown to a service that plays production


_ECETINSI = Past("2090763220834", "39", start="2019-03-01", end="2019-02-28")  # the end comes first: as seen

PEOPLE: tuple[Person, ...] = (
    Person("ADRDEUX", "LAURENT", "M", "1981-01-01", "63220", "1810163220751", "40"),
    Person(
        "D'ARTAGNAN DE L'HERAULT",
        "PIERRE-ALAIN GUNTHER",
        "M",
        "2001-06-17",
        "63220",
        "1010663220754",
        "60",
        test="2.03-1",
    ),
    Person("ADRTROIS", "TOUSSAINT", "M", "1960-01-01", "2B020", "160012B020777", "13", test="2.03-2"),
    Person("ADRTROIS", "DOMINIQUE", "F", "1997-02-26", "2A020", "297022A020778", "78"),
    Person(
        "ECETINSI",
        "PIERRE-ALAIN MURIEL FLORIANT",
        "M",
        "2009-07-14",
        "63220",
        "1090763220834",
        "89",
        history=(_ECETINSI,),
        test="2.04-1",
    ),
    Person(
        "ECETINSI",
        "PIERRE-ALAIN MURIEL FLORIANT",
        "M",
        "2009-07-14",
        "63220",
        "1090763220834",
        "89",
        history=(Past("2090763220834", "39", number_type="NIR"), Past("2090663220123", "55", number_type="NIR")),
        test="2.04-2",
        only="injected",
    ),
    Person(
        "ECETINSI",
        "PIERRE-ALAIN MURIEL FLORIANT",
        "M",
        "2009-07-14",
        "63220",
        "1090763220834",
        "89",
        oid=NIA_OID,  # the same number as above, as CNDA gives it
        test="1.10",
        only="vitale",
    ),
    Person("PROVISOIRE", "MATRICULE", "M", "2009-07-01", "63220", "1090763220888", "35", oid=NIA_OID, test="2.05"),
    Person("DE VINCI", "LEONARDO PIERO", "M", "2014-02-01", "63220", "1140263220833", "56", test="2.06"),
    # Invented: without a second one, 2.06-1 could not answer 02.
    Person("DE VINCI", "LEONARDO GIACOMO", "M", "2014-02-01", "99127", "1140299127001", "87"),
    Person("TCHITCHI", "CATARINA BELLA", "F", "1936-06-21", "63220", "2360663220836", "56", test="2.07-1"),
    Person(
        "CORSE",
        "ANTHONY",
        "M",
        "1980-03-02",
        "2B020",
        "180032B020401",
        "23",
        history=(Past("180032B020401", "23"),),
        test="2.08-1",
    ),
    Person(
        "HERMAN",
        "GATIEN",
        "M",
        "1981-03-24",
        "63220",
        "1810363220456",
        "76",
        history=(Past("1810363220456", "76"), Past("2810363220456", "10")),  # 10 is wrong, officially
        test="2.08-2",
    ),
    Person(
        "HERMANN",  # the older edition of the same test
        "GATIEN",
        "M",
        "1981-03-24",
        "63220",
        "1810363220456",
        "60",  # wrong, officially
        history=(Past("1810363220456", "60"), Past("2810363220456", "10")),
        test="2.08-2-ancien",
        only="traits",
    ),
    Person("NESSI", "NATHALIE", "F", "1977-07-14", "63220", "2770763220829", "10", test="3.05-3"),
    Person("ADRUN", "ZOE", "F", "1975-12-31", "63220", "2751263220749", "74", production=False),
    # That she is the insured person of his card is our invention.
    Person(
        "NESSI",
        "MICHELANGELO ANTHONY",
        "M",
        "2010-08-07",
        "63220",
        "1100863220830",
        "60",
        insured="2770763220829",
    ),
    # Invented, for the shapes that the official ones lack.
    Person("INVENTEE", "LUNE", "F", "1950-00-00", "99352", "2509999352001", "59"),
    Person("INVENTEE", "VIDENOM", "F", "1980-05-05", "99352", "2800599352002", "91", left_empty="NomNaissance"),
    Person("INVENTEE", "VIDEPRENOM", "F", "1980-05-06", "99352", "2800599352003", "90", left_empty="ListePrenom"),
    Person("INVENTEE", "VIDESEXE", "F", "1980-05-07", "99352", "2800599352004", "89", left_empty="Sexe"),
    Person("INVENTEE", "SANSCLE", "F", "1980-05-08", "99352", "2800599352005", None),
    Person("INVENTEE", "ANCIENNE", "F", "1940-05-05", "99352", "2400599352006", "10", oid="1.2.250.1.213.1.4.12"),
    Person(
        "INVENTEE",
        "CHANGEANTE",
        "F",
        "1970-05-05",
        "99352",
        "2700599352009",
        "89",
        history=tuple(Past(f"270059935210{digit}", f"{95 - digit}") for digit in range(10)),  # as many as INSi gives
    ),
    # Invented: the holders of the simulator's cartes Vitale. A child is found by its parent's number.
    Person("DURAND", "HELENE MARIE", "F", "1984-12-31", "76451", "2841276451089", "93"),
    Person("DURAND", "LEO PAUL", "M", "2015-02-01", "76451", "1150276451001", "57", insured="2841276451089"),
    Person("DURAND", "ZOE", "F", "2015-02-01", "76451", "2150276451002", "06", insured="2841276451089", rank=2),
    Person("ADRUN", "NOE", "M", "2012-03-04", "63220", "1120363220901", "05", insured="2751263220749"),
    Person("EXEMPLE", "ORSU", "M", "1984-12-01", "2A004", "184122A004089", "57"),
    Person("BENALI", "AMINA", "F", "1954-00-00", "99352", "2540099999001", "15"),
)


def by_traits(
    birth_name: str, given_name: str, sex: str, birth_date: str, birth_place: str | None, *, production: bool = False
) -> list[Person]:
    """Everyone who has these traits; `given_name` begins their list of given names, on whole words."""
    return [
        person
        for person in PEOPLE
        if person.only in (None, "traits")
        and (person.production or not production)
        and person.birth_name == birth_name
        and person.sex == sex
        and person.birth_date == birth_date
        and birth_place in (None, person.birth_place)
        and names.starts_list(given_name, person.given_names)
    ]


def by_card(
    nir: str | None, certified_nir: str | None, birth_date: str, rank: int, *, production: bool = False
) -> list[Person]:
    """Whoever a carte Vitale designates: by their own number if it gives one, else by the insured person's."""
    found = [
        person
        for person in PEOPLE
        if person.only in (None, "vitale")
        and (person.production or not production)
        and person.birth_date == birth_date
        and person.rank == rank
        and (person.matricule == certified_nir if certified_nir else (person.insured or person.matricule) == nir)
    ]
    return [person for person in found if person.only == "vitale"] or found


TESTS = {person.test: person for person in PEOPLE if person.test}  # CNDA test → its person


def by_ins(matricule: str, oid: str, *, production: bool = False) -> Person | None:
    """Whose INS this is. The same number may be known with both OIDs."""
    known = (person for person in PEOPLE if person.only != "injected" and (person.production or not production))
    return next((person for person in known if (person.matricule, person.oid) == (matricule, oid)), None)
