"""The Vitale assertion: a second assertion in WS_INS1, made by a component that is not ours. No I/O of its own.

Second hand, and contradictory: public accounts of CNDA's cases say that it "must be generated" (1.01) and ages
after 20 minutes (1.02); the GIE's TLSi sample makes one from the card's serial, with proprietary signatures;
the only public form of WS_INS1 calls it optional. This is the slot for a component built on the official
library. None is shipped, and nothing here promises that those cases pass.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from lxml import etree

from agent.errors import AgentError, Code

LIFE = timedelta(minutes=20)
_ASSERTION = "{urn:oasis:names:tc:SAML:2.0:assertion}Assertion"


@dataclass(frozen=True, repr=False)
class VitaleAssertion:
    """A bearer secret: it does not print.

    Whom it names (NameID) is its provider's care, and never compared here: the form of a serial there is not public.
    """

    xml: bytes
    issued_at: datetime

    def element(self, now: datetime) -> etree._Element:
        """The element to embed, a copy of its own.

        Raises vitale.stale once it is 20 minutes old, vitale.assertionUnavailable for what is no SAML assertion.
        """
        if not timedelta(0) <= now - self.issued_at < LIFE:
            raise AgentError(Code.VITALE_STALE, "the Vitale assertion is too old, or dated ahead")
        try:
            element = etree.fromstring(self.xml, etree.XMLParser(resolve_entities=False, no_network=True))
        except (etree.XMLSyntaxError, ValueError):
            element = None
        if element is None or element.tag != _ASSERTION:
            raise AgentError(Code.VITALE_ASSERTION_UNAVAILABLE, "the provider gave no SAML assertion")
        return element


class VitaleAssertions(Protocol):
    """Whoever makes Vitale assertions. Blocks: call it on the PC/SC lane."""

    def provide(self, *, serial: str | None, emitter: str) -> VitaleAssertion:
        """An assertion for the carte Vitale in the reader, signed if its maker signs. May be one made before.

        `serial`: of the card just read again, where its reading gives one. `emitter`: who asks, as in INSi's
        contexts. Raises what the card raises, vitale.assertionUnavailable.
        """
        ...
