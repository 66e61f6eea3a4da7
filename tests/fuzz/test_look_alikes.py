"""Origins that resemble an allowed one, made by changing it: none enters, and what waits is an origin to the letter."""

from http import HTTPStatus
from urllib.parse import urlsplit

from hypothesis import assume, given
from hypothesis import strategies as st

from agent.model import Right
from agent.protocol.messages import SUBPROTOCOL
from agent.protocol.origins import Caller, Doorkeeper, Refusal, Request

SITE, PORT = "https://dossier.example:8443", 19847
RIGHTS = frozenset({Right.VITALE})
CLOSED = Doorkeeper({SITE: RIGHTS}, "a-long-secret")
ASKING = Doorkeeper({SITE: RIGHTS}, "a-long-secret", asks=True)
# what URLs, people and fonts take one for another
PIECES = (
    "", ".", ":", "/", "@", "%", "\\", "?", "#", "-", "0", "e", "E", "е", "ｅ", "ß", "\u200b", "\u0301", " ", "\t",
    "\n", "\x00", "xn--", "www.", "http", "443", "*",
)  # fmt: skip


@st.composite
def look_alikes(draw: st.DrawFn) -> str:
    """The allowed origin with some places cut or replaced, in another case, or as part of something longer."""
    text = SITE
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(text)))
        end = min(len(text), at + draw(st.integers(0, 3)))
        text = text[:at] + draw(st.sampled_from(PIECES)) + text[end:]
    around = draw(st.sampled_from(("{}", "{}.evil.example", "https://evil.example/{}", "{0}, {0}", "https://a@{}")))
    whole = around.format(text)
    return draw(st.sampled_from((whole, whole.upper(), whole.title())))


def asked(door: Doorkeeper, origin: str) -> Caller | Refusal:
    return door.conversation(Request("/", [f"127.0.0.1:{PORT}"], [origin], [], [SUBPROTOCOL]), PORT)


@given(look_alikes())
def test_no_look_alike_enters(origin: str) -> None:
    assume(origin != SITE)

    assert asked(CLOSED, origin) == Refusal(HTTPStatus.FORBIDDEN)
    assert CLOSED.discovery(Request("/", [f"127.0.0.1:{PORT}"], [origin], [], []), PORT) is None


@given(look_alikes())
def test_who_may_wait_is_an_origin_as_a_browser_writes_it_and_has_no_right(origin: str) -> None:
    found = asked(ASKING, origin)

    if isinstance(found, Refusal):
        assert found.status == HTTPStatus.FORBIDDEN
    elif found.pending:
        parts = urlsplit(origin)
        port = f":{parts.port}" if parts.port is not None else ""
        assert f"https://{parts.hostname}{port}" == origin == found.origin
        assert found.rights == frozenset()
    else:
        assert found == Caller(SITE, RIGHTS) and origin == SITE
