"""insi.verify: whether an INS and its traits are those of INSi, by WS_INS3.

For any software (S003, S116). How WS_INS3 is called is not public: the contract's binding says it.
"""

from dataclasses import dataclass, replace

from agent.config import Settings
from agent.insi import names, rules
from agent.insi.answers import Answer
from agent.insi.operations import Operation, Query, VerifyQuery
from agent.model import Asked, Environment, GivenIns, TracedResult, Traits
from agent.protocol.messages import VerifyParams
from agent.workflows import operation
from agent.workflows.attempts import Plan
from agent.workflows.desk import Asker, Desk


async def verify(desk: Desk, asker: Asker, params: VerifyParams) -> TracedResult:
    """Ask once. Sent as given but for the names, which are in INSi's alphabet; a wrong key is a warning.

    Raises ins.refused, traits.refused before any card or code, and the codes of `operation.run`.
    """
    return await operation.run(desk, asker, params, Operation.VERIFY, lambda: _verification(params))


def may_be_known(settings: Settings, environment: Environment) -> bool:
    """Whether a contract may know WS_INS3 here: the simulator's placeholder, or an official package. Reads none."""
    insi = settings.insi
    return environment is Environment.SIMULATED or insi.contract is not None or insi.bindings is not None


@dataclass(frozen=True)
class _Verification(Plan):
    """One attempt: there is nothing to vary."""

    query: VerifyQuery
    noticed: list[str]  # about the INS as it was given: INSi returns none
    given: Asked

    @property
    def asked(self) -> Asked:
        return self.given

    def next(self, last: Answer | None) -> Query | None:
        return self.query if last is None else None

    def judge(self, answer: Answer) -> rules.Judgement:
        judgement = rules.judge(answer.outcome, answer.identity)
        return replace(judgement, warnings=[*self.noticed, *judgement.warnings])


def _verification(params: VerifyParams) -> _Verification:
    ins, traits = params.ins, params.traits
    noticed = rules.check_given(ins)
    birth_name, given_names = names.birth_name(traits.birth_name), names.given_names(traits.given_names)
    query = VerifyQuery(
        matricule=ins.matricule,
        key=ins.key,
        oid=ins.oid,
        birth_name=birth_name,
        given_name=given_names[0],
        given_names=" ".join(given_names),
        sex=traits.sex,
        birth_date=traits.birth_date,
        birth_place_code=traits.birth_place_code,
        given=_given(ins, traits),
    )
    return _Verification(query, noticed, Asked(ins=ins, traits=traits))


def _given(ins: GivenIns, traits: Traits) -> tuple[str, ...]:
    """The wire names and indexes of what is sent."""
    return (
        "matricule",
        *(["key"] if ins.key else []),
        "oid",
        "birthName",
        *(f"givenNames[{index}]" for index in range(len(traits.given_names))),
        "sex",
        "birthDate",
        *(["birthPlaceCode"] if traits.birth_place_code else []),
    )
