"""The simulated INSi's WS_INS3, WS_INS4 and WS_INS5, in our placeholder contract. No I/O of its own.

Their contract is not public: everything here is invented, after contract/placeholder.wsdl, in a namespace of ours,
and each answer says so in its label. Functional rules (OK or KO; a batch deposited, fetched later): seeds of ANS
and the GIE SESAM-Vitale.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from agent.insi import fake_people
from agent.insi.fake_answers import document, element, simulated
from agent.insi.fake_style import Style

NAMESPACE = "urn:insi-agent:placeholder:1"
_NS = f"{{{NAMESPACE}}}"
_LABEL = "Contrat fictif du simulateur"
_MATRICULE = re.compile(r"[0-9]{6}[A-Z0-9][0-9]{6}")

CheckTraits = Callable[[str, str, str, str], None]  # birth name, given names, sex, birth date


@dataclass(frozen=True)
class BatchRules:
    """What a batch may be: nobody outside knows INSi's own."""

    max_items: int = 500
    pending: int = 1  # fetches that come too early


USUAL_BATCHES = BatchRules()


@dataclass
class _Batch:
    """One that was deposited."""

    verdicts: Sequence[tuple[str, bool]] = field(repr=False)  # the client's reference of each person, verified
    too_early: int  # fetches to come that are


class Placeholder:
    """The three operations. Keeps the batches as long as it lives."""

    def __init__(self, rules: BatchRules, check_traits: CheckTraits) -> None:
        self.rules = rules
        self._check_traits = check_traits
        self._batches: dict[str, _Batch] = {}  # by INSi's name
        self._references: set[str] = set()  # of batches, the clients'
        self._operations = {
            f"{NAMESPACE}:verifierIns": ("IndividuVerifie", self._verify),
            f"{NAMESPACE}:deposerLot": ("Lot", self._deposit),
            f"{NAMESPACE}:recupererLot": ("LotDemande", self._fetch),
        }

    @property
    def actions(self) -> dict[str, str]:
        """wsa:Action → the body's element."""
        return {action: _NS + name for action, (name, _) in self._operations.items()}

    def answer(self, action: str, request: Any, style: Style) -> bytes:
        """The answer to this body. Raises Said."""
        return document(self._operations[action][1](request, style), style, header=style.header == "empty")

    def _verify(self, request: Any, style: Style) -> str:
        known = self._known(request, style)
        return f'<ResultatVerification xmlns="{NAMESPACE}">{_report("OK" if known else "KO")}</ResultatVerification>'

    def _deposit(self, request: Any, style: Style) -> str:
        reference, number = _text(request, "Reference"), _text(request, "Nombre")
        people = request.findall(f"{_NS}IndividuVerifie")
        references = [_text(person, "Reference") for person in people]
        if not reference or number != str(len(people)) or not people or not all(references):
            raise simulated("siram_10", "sim_field", "référence ou nombre du lot absents ou faux")
        if len(people) > self.rules.max_items:
            raise simulated("siram_10", "sim_batch_size", f"plus de {self.rules.max_items} personnes dans le lot")
        if reference in self._references or len(set(references)) != len(people):
            raise simulated("siram_10", "sim_batch_reference", "référence de lot ou de personne déjà utilisée")
        verdicts = [(mine or "", self._known(person, style)) for mine, person in zip(references, people, strict=True)]
        self._references.add(reference)
        name = f"LOT-FICTIF-{len(self._references):06}"
        self._batches[name] = _Batch(verdicts, self.rules.pending)
        return f'<LotDepose xmlns="{NAMESPACE}">{_report("OK")}{element("IdLot", name)}</LotDepose>'

    def _fetch(self, request: Any, _style: Style) -> str:
        name = _text(request, "IdLot") or ""
        batch = self._batches.get(name)
        if batch is None:
            raise simulated("siram_10", "sim_batch_unknown", "lot inconnu")
        ready, results = batch.too_early == 0, ""
        if ready:  # backwards: nobody promised the order of the deposit
            results = "".join(
                f"<Resultat>{element('Reference', reference)}{_verdict('OK' if known else 'KO')}</Resultat>"
                for reference, known in reversed(batch.verdicts)
            )
        else:
            batch.too_early -= 1
        report = _report("PRET" if ready else "EN_COURS")
        return f'<ResultatLot xmlns="{NAMESPACE}">{report}{element("IdLot", name)}{results}</ResultatLot>'

    def _known(self, person: Any, style: Style) -> bool:
        """Whether this INS is the active one of somebody with all these traits. Raises Said."""
        matricule = _text(person, "INSFourni/IdIndividu/NumIdentifiant")
        oid = _text(person, "INSFourni/OID")
        traits = [
            _text(person, f"TraitsIdentiteIndividu/{name}")
            for name in ("NomNaissance", "ListePrenom", "Sexe", "DateNaissance")
        ]
        if not matricule or not oid or not all(traits) or not _MATRICULE.fullmatch(matricule):
            raise simulated("siram_10", "sim_field", "un champ obligatoire manque, ou le matricule est mal formé")
        self._check_traits(*(trait or "" for trait in traits))
        found = fake_people.by_ins(matricule, oid, production=style.production)
        if found is None or [found.birth_name, found.given_names, found.sex, found.birth_date] != traits:
            return False
        return _text(person, "TraitsIdentiteIndividu/LieuNaissance") in (None, found.birth_place)


def _report(code: str) -> str:
    return f"<CR>{_verdict(code)}</CR>"


def _verdict(code: str) -> str:
    return element("CodeCR", code) + element("LibelleCR", f"{_LABEL} : {code}")


def _text(parent: Any, path: str) -> str | None:
    text: str | None = parent.findtext("/".join(_NS + step for step in path.split("/")))
    return text
