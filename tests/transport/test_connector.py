"""Sockets, proxies, compression, redirects, and what the log tells of them."""

# A few rules can be seen only from inside.
# pyright: reportPrivateUsage=false

import asyncio
import base64
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import trustme
from aiohttp.client_proto import ResponseHandler
from attrs import Factory, define
from support import HELLO
from yarl import URL

from openrouter_async import (
    APIConnectionError,
    APIError,
    AsyncOpenRouter,
    ConfigurationError,
    MalformedResponseError,
    Retries,
    UserMessage,
)
from openrouter_async.testing import LocalOpenRouter, error_reply
from openrouter_async.transport.aiohttp_compat import (
    _retrieve_exception_of_closed,
    end_with_connection,
)
from openrouter_async.transport.connector import _make_socket
from openrouter_async.transport.pool import NetworkOptions
from openrouter_async.transport.proxies import Proxies, Proxy

ONCE = Retries(max_attempts=1)
NAME = "openrouter.test"
"""No such host, by RFC 2606; the proxy below knows better."""


@define
class SmallProxy:
    """
    A small proxy: it forwards plain requests, and tunnels behind CONNECT.

    Attributes:
        url: Where it listens.
        heads: The head of each request that it was sent.
        refuse: The status line that it answers instead; "" for none.
    """

    url: str = ""
    heads: list[str] = Factory(list[str])
    refuse: str = ""

    async def serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Take one connection."""
        try:
            await self._serve(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.transport.abort()

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.heads.append(head.decode())
        if self.refuse:
            writer.write(
                f"HTTP/1.1 {self.refuse}\r\nContent-Length: 0\r\n\r\n".encode()
            )
            await writer.drain()
            return
        method, target, _ = head.decode().split(" ", 2)
        place = target if method == "CONNECT" else target.split("/")[2]
        host, _, port = place.rpartition(":")
        host = "127.0.0.1" if host == NAME else host
        upstream, sink = await asyncio.open_connection(host, int(port))
        try:
            if method == "CONNECT":
                writer.write(b"HTTP/1.1 200 Fine\r\n\r\n")
            else:
                sink.write(head)
            back = asyncio.create_task(_copy(upstream, writer))
            await _copy(reader, sink)
            back.cancel()
            await asyncio.wait([back])
        finally:
            sink.transport.abort()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.transport.abort()


@pytest.fixture
async def proxy() -> AsyncIterator[SmallProxy]:
    """A proxy on a free port; it is closed after the clients."""
    proxy = SmallProxy()
    listener = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    yield proxy
    listener.close()
    await listener.wait_closed()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    if others:
        await asyncio.wait(others, timeout=1)


def by_name(server: LocalOpenRouter) -> str:
    """The server's base URL, by a name that only the proxy knows."""
    return server.url.replace("127.0.0.1", NAME)


async def ask(client: AsyncOpenRouter) -> str:
    """Make one call, and close: the proxy's own tasks end with the connection."""
    try:
        return (await client.chat.send(HELLO, retries=ONCE)).text
    finally:
        await client.aclose()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        if others:
            await asyncio.wait(others, timeout=1)


class TestProxies:
    """Which calls go through which proxy, and what is told of it."""

    async def test_a_proxy_is_used(
        self,
        server: LocalOpenRouter,
        make_client: Callable[..., AsyncOpenRouter],
        proxy: SmallProxy,
    ) -> None:
        """`proxy=` carries all calls, with the user and password of its URL."""
        text = await ask(make_client(proxy=proxy.url.replace("//", "//me:secret@", 1)))

        credentials = base64.b64encode(b"me:secret").decode()
        assert text
        assert len(server.requests) == 1
        assert proxy.heads[0].startswith("POST http://127.0.0.1")
        assert f"Proxy-Authorization: Basic {credentials}" in proxy.heads[0]

    @pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
    async def test_the_environments_proxy_is_used(
        self,
        server: LocalOpenRouter,
        make_client: Callable[..., AsyncOpenRouter],
        proxy: SmallProxy,
        monkeypatch: pytest.MonkeyPatch,
        name: str,
    ) -> None:
        """As with curl, with or without its scheme."""
        monkeypatch.setenv(name, proxy.url.removeprefix("http://"))

        text = await ask(make_client(base_url=by_name(server), allow_http=True))

        assert text
        assert len(proxy.heads) == len(server.requests) == 1

    async def test_the_environments_proxy_can_be_left_out(
        self,
        server: LocalOpenRouter,
        make_client: Callable[..., AsyncOpenRouter],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """`env_proxies=False` and NO_PROXY go straight there, where nobody is."""
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
        place = {"base_url": by_name(server), "allow_http": True}
        with pytest.raises(APIConnectionError, match="proxy"):
            await ask(make_client(**place))
        with pytest.raises(APIConnectionError, match=f"name of {NAME}"):
            await ask(make_client(**place, env_proxies=False))
        port = server.url.split(":")[2].split("/")[0]
        for left_out, what in (
            (f"example.com,{NAME}", "name of"),
            (f"{NAME}:{port}", "name of"),
            (f"{NAME}:1", "proxy"),
        ):
            monkeypatch.setenv("NO_PROXY", left_out)
            with pytest.raises(APIConnectionError, match=what):
                await ask(make_client(**place))

    async def test_the_environments_proxy_is_not_asked_for_this_machine(
        self,
        server: LocalOpenRouter,
        make_client: Callable[..., AsyncOpenRouter],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """What the local server serves needs no NO_PROXY."""
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")

        assert await ask(make_client())
        assert len(server.requests) == 1

    async def test_a_given_proxy_wins(
        self,
        make_client: Callable[..., AsyncOpenRouter],
        proxy: SmallProxy,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """`proxy=` is in place of the environment's, NO_PROXY included."""
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")

        assert await ask(make_client(proxy=proxy.url))
        assert len(proxy.heads) == 1

    async def test_tls_is_tunnelled(
        self, make_client: Callable[..., AsyncOpenRouter], proxy: SmallProxy
    ) -> None:
        """Over TLS the proxy sees a place, and neither path nor key."""
        authority = trustme.CA()
        server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(server_side)  # pyright: ignore[reportUnknownMemberType]
        client_side = ssl.create_default_context()
        authority.configure_trust(client_side)  # pyright: ignore[reportUnknownMemberType]
        with LocalOpenRouter(ssl=server_side) as secure:
            client = make_client(
                base_url=secure.url, proxy=proxy.url, ssl=client_side, api_key="k-1"
            )
            text = await ask(client)

        assert text
        place = secure.requests[0].headers["Host"]
        assert proxy.heads[0].startswith(f"CONNECT {place} ")
        assert "k-1" not in proxy.heads[0]
        assert secure.requests[0].headers["Authorization"] == "Bearer k-1"

    async def test_a_refusal_of_the_proxys_is_told_without_its_password(
        self, make_client: Callable[..., AsyncOpenRouter], proxy: SmallProxy
    ) -> None:
        """What the proxy answered is told; its password is not, in any text."""
        proxy.refuse = "407 Proxy Authentication Required"
        client = make_client(
            base_url="https://127.0.0.1:1/api",
            proxy=proxy.url.replace("//", "//me:s3cret@", 1),
        )

        with pytest.raises(APIConnectionError, match="407") as caught:
            await ask(client)

        told = f"{caught.value} {caught.value.cause} {caught.value.__reduce__()}"
        encoded = base64.b64encode(b"me:s3cret").decode()
        for text in (told, repr(caught.value.__cause__)):
            assert "s3cret" not in text
            assert encoded not in text
        assert f"Basic {encoded}" in proxy.heads[0]
        assert "s3cret" not in repr(client._transport._pools._network)

    async def test_a_proxy_that_is_not_there_is_told_without_its_password(
        self, make_client: Callable[..., AsyncOpenRouter]
    ) -> None:
        """The same where nobody listens."""
        with pytest.raises(APIConnectionError, match="proxy") as caught:
            await ask(make_client(proxy="http://me:s3cret@127.0.0.1:1"))

        assert caught.value.retryable
        assert "s3cret" not in f"{caught.value} {caught.value.cause}"
        assert "s3cret" not in repr(caught.value.__cause__)

    async def test_netrc_is_never_read(
        self,
        server: LocalOpenRouter,
        make_client: Callable[..., AsyncOpenRouter],
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
    ) -> None:
        """An entry for the host changes nothing."""
        netrc = tmp_path / "netrc"
        netrc.write_text("machine 127.0.0.1 login me password wrong\n")
        monkeypatch.setenv("NETRC", str(netrc))

        await make_client().chat.send(HELLO)

        seen = server.requests[0]
        assert seen.headers["Authorization"] == f"Bearer {server.api_key}"

    def test_the_environment_is_read_once(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What changes later does not change a session."""
        monkeypatch.setenv("HTTPS_PROXY", "http://one:1")
        proxies = Proxies(None, environment=True)
        url = URL("https://openrouter.ai/api/v1")
        first = proxies.choose(url)
        monkeypatch.setenv("HTTPS_PROXY", "http://two:2")
        monkeypatch.setenv("NO_PROXY", "*")

        assert first == proxies.choose(url) == Proxy(URL("http://one:1"))
        assert proxies.choose(URL("http://openrouter.ai")) is None
        assert Proxies(None, environment=True).choose(url) is None
        assert Proxies(None, environment=False).choose(url) is None

    async def test_a_proxy_of_another_kind_is_refused(
        self,
        server: LocalOpenRouter,
        make_client: Callable[..., AsyncOpenRouter],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """SOCKS is not spoken; to go past it silently would be worse than an error."""
        with pytest.raises(ConfigurationError, match="http://"):
            make_client(proxy="socks5://me:s3cret@host:1")
        monkeypatch.setenv("ALL_PROXY", "socks5://me:s3cret@host:1")

        with pytest.raises(ConfigurationError, match="env_proxies") as caught:
            await ask(make_client(base_url=by_name(server), allow_http=True))

        assert "s3cret" not in str(caught.value)

    def test_an_ipv6_host_can_be_left_out(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """NO_PROXY names it without brackets."""
        url = URL("http://[fd00::1]:80/")
        monkeypatch.setenv("HTTP_PROXY", "http://one:1")
        assert Proxies(None, environment=True).choose(url) is not None
        monkeypatch.setenv("NO_PROXY", "fd00::1")

        assert Proxies(None, environment=True).choose(url) is None

    def test_the_network_does_not_show_its_password(self) -> None:
        """A repr may end in a log."""
        network = NetworkOptions(
            max_connections=1,
            session=None,
            proxy="http://me:s3cret@host:1",
            ssl=True,
            env_proxies=False,
        )

        assert "s3cret" not in repr(network)


async def test_connections_are_kept_alive_by_tcp(client: AsyncOpenRouter) -> None:
    """Probes begin after 60 s of silence, every 30 s, five of them."""
    async with client.chat.send(HELLO, stream=True) as stream:
        transport = stream._event_stream._watchdog.transport
        if transport is None:  # All of it is here already.
            (pool,) = client._transport._pools._pools.values()
            connector = pool._session.connector
            assert connector is not None
            ((found,),) = connector._conns.values()
            transport = found[0].transport
        assert transport is not None
        sock = transport.get_extra_info("socket")
        options = [
            sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE),
            *(
                sock.getsockopt(socket.IPPROTO_TCP, getattr(socket, name))
                for name in ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT")
                if hasattr(socket, name)
            ),
            sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY),
        ]

    assert options == [1, 60, 30, 5, 1]


async def test_a_system_without_an_option_is_no_obstacle(
    client: AsyncOpenRouter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where TCP takes no such figure, the system's own holds."""
    system = socket.socket()
    usual = system.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT)
    system.close()
    monkeypatch.delattr(socket, "TCP_KEEPCNT")
    made = _make_socket((socket.AF_INET, socket.SOCK_STREAM, 0, "", ("", 0)))
    monkeypatch.undo()
    options = [
        made.getsockopt(socket.IPPROTO_TCP, getattr(socket, name))
        for name in ("TCP_KEEPIDLE", "TCP_KEEPCNT")
    ]
    made.close()

    assert options == [60, usual]


async def test_a_body_whose_connection_is_gone_ends() -> None:
    """It may be lost before anybody could ask to be told of it."""
    loop = asyncio.get_running_loop()
    protocol = ResponseHandler(loop)
    protocol.connection_lost(None)
    _retrieve_exception_of_closed(protocol)
    body = aiohttp.StreamReader(protocol, 2**16, loop=loop)
    end_with_connection(body, protocol)

    with pytest.raises(aiohttp.ClientPayloadError, match="closed inside"):
        await body.read()


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_a_plain_reply_may_be_compressed(
    server: LocalOpenRouter, client: AsyncOpenRouter, encoding: Any
) -> None:
    """Plain calls accept gzip and deflate; a stream asks for neither."""
    server.reply("hello" * 100, encoding=encoding)

    reply = await client.chat.send(HELLO)
    async with client.chat.send(HELLO, stream=True) as stream:
        await stream.collect()

    assert reply.text == "hello" * 100
    assert [seen.headers["Accept-Encoding"] for seen in server.requests] == [
        "gzip, deflate",
        "identity",
    ]
    assert [seen.headers["Accept"] for seen in server.requests] == [
        "application/json",
        "text/event-stream",
    ]


async def test_a_broken_compression_is_malformed(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """A body that can not be decompressed is told as that, and not asked for again."""
    server.reply(body=b"no gzip", headers={"Content-Encoding": "gzip"})

    with pytest.raises(MalformedResponseError, match="decompressed"):
        await client.chat.send(HELLO)

    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(
    server: LocalOpenRouter, client: AsyncOpenRouter, status: int
) -> None:
    """The key goes nowhere that was not named."""
    server.reply(status=status, headers={"Location": "/api/v1/models"}, body=b"")

    with pytest.raises(APIError, match="redirect") as caught:
        await client.chat.send(HELLO)

    assert caught.value.status_code == status
    assert type(caught.value) is APIError
    assert len(server.requests) == 1


async def test_very_many_places_are_told_apart(
    server: LocalOpenRouter, client: AsyncOpenRouter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only some URLs are remembered; each request goes to its own."""
    monkeypatch.setattr("openrouter_async.transport.pool._MAX_URLS", 1)
    for number in ("1", "2", "2", "1"):
        await client.chat.send(HELLO, extra_query={"n": number})

    assert [seen.query["n"] for seen in server.requests] == ["1", "2", "2", "1"]


async def test_cookies_are_not_kept(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """What the server sets is not sent back."""
    server.reply("a", headers={"Set-Cookie": "a=1"}, times=2)

    await client.chat.send(HELLO)
    await client.chat.send(HELLO)

    assert "Cookie" not in server.requests[1].headers


async def test_an_answer_that_is_no_http_is_malformed(
    make_client: Callable[..., AsyncOpenRouter],
) -> None:
    """A port where something else answers is told as that."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")
        await writer.drain()
        writer.close()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    client = make_client(base_url=f"http://127.0.0.1:{port}")
    with pytest.raises(MalformedResponseError, match="HTTP"):
        await ask(client)
    listener.close()
    await listener.wait_closed()


class TestLog:
    """Logger `openrouter_async`."""

    async def test_a_line_per_attempt_and_per_retry(
        self,
        server: LocalOpenRouter,
        client: AsyncOpenRouter,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """DEBUG tells each attempt, INFO each repeat; no secret, no body, no query."""
        caplog.set_level(logging.DEBUG, logger="openrouter_async")
        server.reply(error_reply(502, "oh dear", headers={"Connection": "close"})).then(
            stop="close"
        ).then("hello")

        await client.chat.send(
            model="m",
            messages=[UserMessage("a private matter")],
            extra_query={"token": "in-the-query"},
            extra_headers={"X-Mine": "in-a-header"},
            retries=Retries(ambiguous=True),
        )

        ours = [r for r in caplog.records if r.name == "openrouter_async"]
        debug = [r.getMessage() for r in ours if r.levelno == logging.DEBUG]
        info = [r.getMessage() for r in ours if r.levelno == logging.INFO]
        assert len(ours) == len(debug) + len(info)
        assert len(debug) == 3
        assert "502" in debug[0]
        assert "no response" in debug[1]
        assert "200" in debug[2]
        assert len(info) == 2
        assert "BadGatewayError" in info[0]
        assert "attempt 2 of 3 in 0.50 s" in info[0]
        told = "\n".join(debug + info)
        for secret in (
            server.api_key,
            "private",
            "in-the-query",
            "in-a-header",
            "dear",
        ):
            assert secret not in told

    async def test_a_replaced_connection_is_told(
        self,
        server: LocalOpenRouter,
        client: AsyncOpenRouter,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """A repeat that cost nothing is a repeat as well."""
        caplog.set_level(logging.DEBUG, logger="openrouter_async")
        await client.chat.send(HELLO)
        server.reply(stop="close").then("hello")

        await client.chat.send(HELLO)

        levels = [r.levelname for r in caplog.records if r.name == "openrouter_async"]
        assert levels == ["DEBUG", "DEBUG", "INFO", "DEBUG"]
        assert "dead" in caplog.text
