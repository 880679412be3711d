"""Proxies: the one that a call goes through, and secrets in errors about it."""

# The password of a proxy must not be in private attributes either.
# pyright: reportPrivateUsage=false

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import trustme
from attrs import Factory, define
from support import HELLO
from yarl import URL

from openrouter_async import (
    APIConnectionError,
    AsyncOpenRouter,
    ConfigurationError,
    Retries,
)
from openrouter_async.testing import LocalOpenRouter
from openrouter_async.transport.pool import NetworkOptions
from openrouter_async.transport.proxies import Proxies, Proxy

ONCE = Retries(max_attempts=1)
NAME = "openrouter.test"
"""A name that cannot be resolved (RFC 2606); `ForwardProxy` maps it to loopback."""


@define
class ForwardProxy:
    """
    A small proxy that forwards plain requests and opens tunnels for CONNECT.

    Attributes:
        url: The URL of the proxy.
        heads: The head of each request that it received.
        refuse: The status with which it rejects every request; "" to accept them.
    """

    url: str = ""
    heads: list[str] = Factory(list[str])
    refuse: str = ""

    async def serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Serve one connection."""
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
        address = target if method == "CONNECT" else target.split("/")[2]
        host, _, port = address.rpartition(":")
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
async def proxy() -> AsyncIterator[ForwardProxy]:
    """Run a proxy, and close it after the clients."""
    proxy = ForwardProxy()
    listener = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    yield proxy
    listener.close()
    await listener.wait_closed()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    if others:
        await asyncio.wait(others, timeout=1)


def by_name(server: LocalOpenRouter) -> str:
    """Return the server's base URL with a name that only the proxy can resolve."""
    return server.url.replace("127.0.0.1", NAME)


async def ask(client: AsyncOpenRouter) -> str:
    """Make one call and close the client, which ends the tasks of the proxy."""
    try:
        return (await client.chat.send(HELLO, retries=ONCE)).text
    finally:
        await client.aclose()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        if others:
            await asyncio.wait(others, timeout=1)


async def test_explicit_proxy_gets_all_calls_with_its_credentials(
    server: LocalOpenRouter,
    make_client: Callable[..., AsyncOpenRouter],
    proxy: ForwardProxy,
) -> None:
    text = await ask(make_client(proxy=proxy.url.replace("//", "//me:secret@", 1)))

    credentials = base64.b64encode(b"me:secret").decode()
    assert text
    assert len(server.requests) == 1
    assert proxy.heads[0].startswith("POST http://127.0.0.1")
    assert f"Proxy-Authorization: Basic {credentials}" in proxy.heads[0]


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
async def test_proxy_of_the_environment_is_used_with_or_without_a_scheme(
    server: LocalOpenRouter,
    make_client: Callable[..., AsyncOpenRouter],
    proxy: ForwardProxy,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    monkeypatch.setenv(name, proxy.url.removeprefix("http://"))

    text = await ask(make_client(base_url=by_name(server), allow_http=True))

    assert text
    assert len(proxy.heads) == len(server.requests) == 1


async def test_env_proxies_and_no_proxy_turn_the_environment_off(
    server: LocalOpenRouter,
    make_client: Callable[..., AsyncOpenRouter],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without the proxy, the name of the host cannot be resolved."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    options = {"base_url": by_name(server), "allow_http": True}
    with pytest.raises(APIConnectionError, match="proxy"):
        await ask(make_client(**options))
    with pytest.raises(APIConnectionError, match=f"name of {NAME}"):
        await ask(make_client(**options, env_proxies=False))
    port = server.url.split(":")[2].split("/")[0]
    for left_out, what in (
        (f"example.com,{NAME}", "name of"),
        (f"{NAME}:{port}", "name of"),
        (f"{NAME}:1", "proxy"),
    ):
        monkeypatch.setenv("NO_PROXY", left_out)
        with pytest.raises(APIConnectionError, match=what):
            await ask(make_client(**options))


async def test_proxy_of_the_environment_is_not_used_for_loopback(
    server: LocalOpenRouter,
    make_client: Callable[..., AsyncOpenRouter],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")

    assert await ask(make_client())
    assert len(server.requests) == 1


async def test_explicit_proxy_takes_precedence_over_the_environment(
    make_client: Callable[..., AsyncOpenRouter],
    proxy: ForwardProxy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    assert await ask(make_client(proxy=proxy.url))
    assert len(proxy.heads) == 1


async def test_tls_is_tunnelled_and_the_proxy_sees_neither_path_nor_key(
    make_client: Callable[..., AsyncOpenRouter], proxy: ForwardProxy
) -> None:
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
    host = secure.requests[0].headers["Host"]
    assert proxy.heads[0].startswith(f"CONNECT {host} ")
    assert "k-1" not in proxy.heads[0]
    assert secure.requests[0].headers["Authorization"] == "Bearer k-1"


async def test_rejection_by_the_proxy_is_reported_without_its_password(
    make_client: Callable[..., AsyncOpenRouter], proxy: ForwardProxy
) -> None:
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


async def test_unreachable_proxy_is_reported_without_its_password(
    make_client: Callable[..., AsyncOpenRouter],
) -> None:
    with pytest.raises(APIConnectionError, match="proxy") as caught:
        await ask(make_client(proxy="http://me:s3cret@127.0.0.1:1"))

    assert caught.value.retryable
    assert "s3cret" not in f"{caught.value} {caught.value.cause}"
    assert "s3cret" not in repr(caught.value.__cause__)


async def test_netrc_is_never_read(
    server: LocalOpenRouter,
    make_client: Callable[..., AsyncOpenRouter],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password wrong\n")
    monkeypatch.setenv("NETRC", str(netrc))

    await make_client().chat.send(HELLO)

    seen = server.requests[0]
    assert seen.headers["Authorization"] == f"Bearer {server.api_key}"


def test_environment_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
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


async def test_socks_proxy_is_rejected(
    server: LocalOpenRouter,
    make_client: Callable[..., AsyncOpenRouter],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A direct connection instead would be worse than an error."""
    with pytest.raises(ConfigurationError, match="http://"):
        make_client(proxy="socks5://me:s3cret@host:1")
    monkeypatch.setenv("ALL_PROXY", "socks5://me:s3cret@host:1")

    with pytest.raises(ConfigurationError, match="env_proxies") as caught:
        await ask(make_client(base_url=by_name(server), allow_http=True))

    assert "s3cret" not in str(caught.value)


def test_no_proxy_names_ipv6_hosts_without_brackets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url = URL("http://[fd00::1]:80/")
    monkeypatch.setenv("HTTP_PROXY", "http://one:1")
    assert Proxies(None, environment=True).choose(url) is not None
    monkeypatch.setenv("NO_PROXY", "fd00::1")

    assert Proxies(None, environment=True).choose(url) is None


def test_repr_of_network_options_hides_the_password() -> None:
    network = NetworkOptions(
        max_connections=1,
        session=None,
        proxy="http://me:s3cret@host:1",
        ssl=True,
        env_proxies=False,
    )

    assert "s3cret" not in repr(network)
