"""The order of attempts of a search by traits. No I/O of its own.

Source: ANS/GIE webinar of 30-01-2024 (one given name per call; the birth place never in a first
attempt: S101, S102), CNDA tests 2.06 and 2.07. The step after 02 is not public: a choice [guess].
"""

from collections.abc import Iterable
from typing import Literal

from agent.errors import AgentError, Code
from agent.insi import names
from agent.insi.operations import TraitsQuery
from agent.model import Traits

AfterSeveral = Literal["join", "next"]


class Ladder:
    """The attempts of one search, lowest first, and where we stand. A fault does not climb it."""

    def __init__(self, steps: tuple[TraitsQuery, ...], after_several: AfterSeveral) -> None:
        self.steps = steps
        self._after_several = after_several
        self._at = -1

    def next(self, code_of_last: str | None = None) -> TraitsQuery | None:
        """The next attempt after CodeCR `code_of_last` (None: the first one); None when the search is over.

        01 climbs one step. 02 goes straight to all the given names together, then to the birth
        place; with after_several="next" it climbs one step. Any other code ends the search.
        """
        if code_of_last is None and self._at == -1:
            self._at = 0
        elif code_of_last == "02" and self._after_several == "join":
            everyone = sum(step.birth_place_code is None for step in self.steps) - 1
            self._at = max(self._at + 1, everyone)
        elif code_of_last in ("01", "02"):
            self._at += 1
        else:
            self._at = len(self.steps)
        return self.steps[self._at] if self._at < len(self.steps) else None

    def resume(self, given: Iterable[str]) -> "Ladder":
        """Stand on the step whose members are `given`: those of an earlier trace's last attempt.

        Then `next(code)` with that attempt's code. Raises continues.refused when there is no such step.
        """
        wanted = tuple(given)
        for index, step in enumerate(self.steps):
            if step.given == wanted:
                self._at = index
                return self
        raise AgentError(Code.CONTINUES_REFUSED, "no such step in this search")


def steps(
    traits: Traits, after_several: AfterSeveral = "join", *, lunar_dates: Literal["send", "refuse"] = "send"
) -> Ladder:
    """Each given name alone in order, then all joined, then those with the birth place if it is given.

    Raises traits.refused for a name that INSi's alphabet cannot write, and for a birth date whose month or day is
    00 where `lunar_dates` refuses it; sent, it stays the string that it is.
    """
    birth_name, given_names = names.birth_name(traits.birth_name), names.given_names(traits.given_names)
    if lunar_dates == "refuse" and "00" in traits.birth_date.split("-")[1:]:
        raise AgentError(Code.TRAITS_REFUSED, "birthDate: lunar", member="birthDate", rule="lunar")

    def attempt(indexes: list[int], place: str | None = None) -> TraitsQuery:
        members = ["birthName", *(f"givenNames[{index}]" for index in indexes), "sex", "birthDate"]
        return TraitsQuery(
            birth_name=birth_name,
            given_name=" ".join(given_names[index] for index in indexes),
            sex=traits.sex,
            birth_date=traits.birth_date,
            birth_place_code=place,
            given=(*members, "birthPlaceCode") if place else tuple(members),
        )

    everyone = list(range(len(given_names)))
    attempts = [attempt([index]) for index in everyone]
    if len(everyone) > 1:
        attempts.append(attempt(everyone))
    if traits.birth_place_code:
        attempts.append(attempt(everyone, traits.birth_place_code))
    return Ladder(tuple(attempts), after_several)
