"""What Windows says of its proxy, read; WinHTTP itself was never called here."""

import pytest

from agent.errors import AgentError, Code
from agent.insi.proxy import parse_answer
from agent.insi.winhttp import UserProxy, answer, ask

HOST = "insi.example"


class WinHttp:
    """What it resolves for WPAD or a script, and how often it was asked; None: it fails."""

    def __init__(self, found: str | None = None) -> None:
        self.found, self.asked = found, 0

    def __call__(self, _settings: UserProxy) -> str | None:
        self.asked += 1
        return self.found


def ways(settings: UserProxy, winhttp: WinHttp, host: str = HOST) -> list[str | None]:
    return parse_answer(answer(settings, winhttp, "https", host))


def test_what_the_script_of_the_system_gives_comes_before_the_proxy_that_is_entered() -> None:
    winhttp = WinHttp("a.example:3128;b.example:3128")

    found = ways(UserProxy(detects=True, proxy="c.example:1"), winhttp)

    assert found == ["http://a.example:3128", "http://b.example:3128"]


def test_a_script_that_gives_no_proxy_means_none_and_one_that_fails_leaves_the_one_entered() -> None:
    settings = UserProxy(script="http://wpad.example/wpad.dat", proxy="c.example:1")

    assert ways(settings, WinHttp("")) == [None]
    assert ways(settings, WinHttp(None)) == ["http://c.example:1"]


def test_the_proxy_entered_is_the_one_for_https_and_no_script_is_asked() -> None:
    winhttp = WinHttp("never.example:1")

    assert ways(UserProxy(proxy="http=a:1;https=http://b:2;ftp=c:3"), winhttp) == ["http://b:2"]
    assert ways(UserProxy(proxy="http=a:1"), winhttp) == [None]
    assert ways(UserProxy(), winhttp) == [None]
    assert winhttp.asked == 0


@pytest.mark.parametrize(
    ("bypass", "host", "direct"),
    [
        ("*.example;10.*", HOST, True),
        ("https://INSI.example", HOST, True),
        ("<local>", "insi", True),
        ("<local> other.example", HOST, False),
        ("", HOST, False),
    ],
)
def test_hosts_that_windows_leaves_out_are_reached_directly(bypass: str, host: str, direct: bool) -> None:
    found = ways(UserProxy(proxy="p:1", bypass=bypass), WinHttp(), host)

    assert found == [None if direct else "http://p:1"]


def test_elsewhere_there_is_no_such_proxy() -> None:
    with pytest.raises(AgentError) as refused:
        ask("https", HOST, timeout_s=5)

    assert (refused.value.code, refused.value.facts["setting"]) == (Code.CONFIG_INVALID, "proxy.use")
