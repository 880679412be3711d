"""A direct request has the same bytes as the same request of aiohttp's session."""

import socket
from collections.abc import Mapping
from typing import Any, Final

import aiohttp
import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from calls import VirtualTime
from leaks import no_leaks
from multidict import CIMultiDict
from script import ScriptServer
from support import send_by_session

from openrouter_async import (
    AsyncOpenRouter,
    Exchange,
    Retries,
    SizeLimits,
    Timeouts,
    UserMessage,
)
from openrouter_async.protocol.base_url import parse_base_url
from openrouter_async.protocol.call import Call
from openrouter_async.protocol.headers import Secret
from openrouter_async.transport.pool import NetworkOptions, Pool
from openrouter_async.transport.watchdog import Watchdog

KEYS: Final = ("Bearer sk-or-v1-0123456789abcdef", "Bearer a b~!\"#$%&'()*+,-./:;<=>?@")
HEADERS: Final[Mapping[str, Mapping[str, str]]] = {
    "none": {},
    "usual": {
        "Accept": "application/json",
        "Accept-Encoding": "gzip, deflate",
        "Content-Type": "application/json",
        "User-Agent": "openrouter_async/1",
    },
    "in lower case": {
        "accept": "text/event-stream",
        "accept-encoding": "identity",
        "content-type": "application/json; charset=utf-8",
        "user-agent": "mine",
    },
    "without content type": {"X-Own": "a\tb", "Accept": "*/*"},
    "without agent": {"Content-Type": "application/json", "HTTP-Referer": "https://a"},
    "with cookies": {"Cookie": "a=b; c=d", "Content-Encoding": "identity"},
}
URLS: Final = (
    "http://127.0.0.1:{port}/api/v1/chat/completions",
    "http://127.0.0.1:{port}/?a=1&a=%20%2f&b=%C3%BC+;",
    "http://127.0.0.1:{port}",
    "http://LOCALHOST:{port}/%7Ea/b%2Fc;d=e?",
    "http://api.test/v1",
    "http://api.test:80/v1",
    "http://api.test.:{port}/v1",
    "http://xn--bcher-kva.test:{port}/v1",
)


class LoopbackResolver(AbstractResolver):
    """Resolves every host to one port of this machine."""

    def __init__(self, port: int) -> None:
        self.port = port

    async def resolve(
        self,
        host: str,
        port: int = 0,  # noqa: ARG002 - part of the interface
        family: Any = socket.AF_INET,  # noqa: ARG002 - part of the interface
    ) -> list[ResolveResult]:
        """Return the address."""
        return [
            ResolveResult(
                hostname=host,
                host="127.0.0.1",
                port=self.port,
                family=socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
        ]

    async def close(self) -> None:
        """Do nothing: the resolver has no resources."""


def make_call(url: str, headers: Mapping[str, str], body: bytes) -> Call[Any]:
    """Return a call with exactly these headers."""
    return Call(
        method="POST",
        url=url,
        headers=CIMultiDict(headers),
        body=body,
        api_key=None,
        base_url=parse_base_url(url.partition("?")[0], allow_http=True),
        timeouts=Timeouts(),
        retries=Retries(),
        size_limits=SizeLimits(),
        parse=_ignore,
    )


def _ignore(_body: bytes, _http: Exchange, _time: float) -> None:
    """Parse nothing: the tests examine requests."""


async def received(
    server: ScriptServer, call: Call[Any], key: str, **options: Any
) -> tuple[bytes, bytes]:
    """Send the request of a call twice, and return its head and its body."""
    resolver = LoopbackResolver(server.port)
    connector = aiohttp.TCPConnector(resolver=resolver, **options)
    async with aiohttp.ClientSession(connector=connector) as session:
        network = NetworkOptions(1, session, None, ssl=True, env_proxies=False)
        pool = Pool(network, VirtualTime().clock)
        for _ in range(2):
            watchdog = Watchdog(pool.timer, call.timeouts)
            response = await pool.send(call, Secret(key), watchdog)
            assert (response.status, response.content.is_eof()) == (200, True)
            watchdog.stop()
        await pool.aclose("closed")
    (head, again), (body, same) = server.requests[-2:], server.bodies[-2:]
    assert (again, same) == (head, body)
    return head, body


async def assert_same_bytes(
    server: ScriptServer,
    call: Call[Any],
    monkeypatch: pytest.MonkeyPatch,
    key: str = KEYS[0],
    **options: Any,
) -> bytes:
    """Check that both ways to send a request send the same, and return its head."""
    direct = await received(server, call, key, **options)
    with monkeypatch.context() as patch:
        send_by_session(patch)
        by_session = await received(server, call, key, **options)

    assert direct == by_session
    assert direct[1] == call.body
    return direct[0]


@pytest.mark.parametrize("headers", HEADERS.values(), ids=HEADERS)
async def test_headers_are_those_of_the_session(
    headers: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with no_leaks(), ScriptServer() as server:
        for key in KEYS:
            for body in (b'{"model": "m"}', b"", b"x" * 65536):
                url = f"{server.url}/chat/completions"
                call = make_call(url, headers, body)
                head = await assert_same_bytes(server, call, monkeypatch, key)

                assert f"\r\nAuthorization: {key}\r\n".encode() in head
                assert b"\r\nContent-Length: %d\r\n" % len(body) in head


@pytest.mark.parametrize("url", URLS)
async def test_request_line_and_host_are_those_of_the_session(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with no_leaks(), ScriptServer() as server:
        call = make_call(url.format(port=server.port), HEADERS["usual"], b"{}")
        await assert_same_bytes(server, call, monkeypatch)


async def test_host_of_an_ipv6_address_is_that_of_the_session(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with no_leaks(), ScriptServer(host="::1") as server:
        url = f"http://[::1]:{server.port}/v1"
        call = make_call(url, HEADERS["usual"], b"{}")
        head = await assert_same_bytes(server, call, monkeypatch)

    assert f"\r\nHost: [::1]:{server.port}\r\n".encode() in head


async def test_connector_that_keeps_no_connections_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with no_leaks(), ScriptServer() as server:
        call = make_call(server.url, HEADERS["usual"], b"{}")
        head = await assert_same_bytes(server, call, monkeypatch, force_close=True)

    assert b"\r\nConnection: close\r\n" in head


async def test_calls_of_a_client_send_the_same_bytes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    heads: list[list[bytes]] = []
    async with no_leaks(), ScriptServer() as server:
        for by_session in (False, True):
            with monkeypatch.context() as patch:
                if by_session:
                    send_by_session(patch)
                async with AsyncOpenRouter(
                    "sk-or-v1-0000",
                    base_url=server.url,
                    app_title="mine",
                    headers={"X-A": "1"},
                ) as client:
                    send: Any = client.chat.send
                    for more in (
                        {},
                        {"extra_headers": {"user-agent": "b", "X-A": "2"}},
                    ):
                        await send(model="m", messages=[UserMessage("hi")], **more)
                        async with send(
                            model="m", messages=[UserMessage("hi")], stream=True, **more
                        ) as stream:
                            await stream.collect()
            heads.append(server.requests[-4:])

    assert heads[0] == heads[1]
    assert len(set(heads[0])) == 4
