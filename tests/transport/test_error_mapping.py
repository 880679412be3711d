"""aiohttp's exceptions, and the errors they become."""

import asyncio
import errno
import pickle
import socket
import traceback
from typing import Any

import aiohttp
import pytest
from aiohttp.abc import AbstractResolver
from support import HELLO, MakeClient

from openrouter_async import (
    APIConnectionError,
    AsyncOpenRouter,
    ClosedError,
    MalformedResponseError,
    Retries,
    UserMessage,
)
from openrouter_async.testing import LocalOpenRouter


@pytest.mark.parametrize(
    "received",
    [
        b"The diagnosis is private.\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nThe diagnosis is private\r\n\r\n",
        b"HTTP/1.1 diagnosis private\r\n\r\n",
    ],
)
async def test_error_about_invalid_http_quotes_nothing_of_the_response(
    received: bytes,
) -> None:
    async def respond(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(received)
        writer.close()

    server = await asyncio.start_server(respond, "127.0.0.1")
    port = server.sockets[0].getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    async with server, AsyncOpenRouter("any", base_url=url) as client:
        with pytest.raises(MalformedResponseError) as caught:
            await client.chat.send(messages=[UserMessage("hi")])

    error = caught.value
    assert "is not valid HTTP: " in error.message
    shown = "".join(traceback.format_exception(error)) + f"{error} {error.cause}"
    assert "diagnosis" not in shown.replace(received.decode(), "")
    assert "private" not in shown


ONCE = Retries(max_attempts=1)
TWICE = Retries(max_attempts=2, base=0.001)


class StrangeError(BaseException):
    """An error that is not even an Exception."""


class FailingConnector(aiohttp.TCPConnector):
    """A connector that raises instead of granting a connection."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()  # pyright: ignore[reportUnknownMemberType]
        self.error = error

    async def connect(self, *_: Any, **__: Any) -> Any:
        raise self.error


class FailingResolver(AbstractResolver):
    """A resolver that raises what aiohttp does not expect."""

    async def resolve(self, *_: Any, **__: Any) -> Any:
        raise LookupError("no answer section")

    async def close(self) -> None:
        """Nothing is open."""


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (RuntimeError("SOCKS: host unreachable"), "RuntimeError: SOCKS: host unreach"),
        (LookupError(), ": LookupError."),
        (StrangeError("odd"), "StrangeError: odd"),
        (ExceptionGroup("two", [OSError("a"), OSError("b")]), "ExceptionGroup: two"),
        (AssertionError("state"), "AssertionError: state"),
        (ValueError("bad label"), ": bad label."),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
@pytest.mark.parametrize("stream", [False, True])
async def test_any_error_of_a_lent_connector_is_a_connection_error(
    error: BaseException, shown: str, make_client: MakeClient, *, stream: bool
) -> None:
    async with aiohttp.ClientSession(connector=FailingConnector(error)) as session:
        client = make_client(session=session, retries=TWICE)
        with pytest.raises(APIConnectionError) as caught:
            await client.chat.send(HELLO, stream=stream)

    found = caught.value
    assert type(found) is APIConnectionError
    assert found.__cause__ is error
    assert shown in found.message
    assert [a.billing for a in found.attempts] == ["not_accepted"] * 2
    assert found.retryable
    assert pickle.loads(pickle.dumps(found)).cause == found.cause
    assert client.stats.in_use == 0


async def test_any_error_of_a_lent_resolver_is_a_connection_error(
    make_client: MakeClient,
) -> None:
    connector = aiohttp.TCPConnector(resolver=FailingResolver())
    async with aiohttp.ClientSession(connector=connector) as session:
        client = make_client(
            session=session, base_url="https://api.invalid/v1", retries=ONCE
        )
        with pytest.raises(APIConnectionError, match="no answer section") as caught:
            await client.chat.send(HELLO)

    cause = caught.value.__cause__
    assert isinstance(cause, LookupError)
    # The frames of a foreign error are kept: they show where it comes from.
    assert "in resolve" in "".join(traceback.format_exception(cause))


@pytest.mark.parametrize("kind", [asyncio.CancelledError, GeneratorExit])
async def test_cancellation_in_a_lent_connector_is_not_an_error(
    kind: type[BaseException], make_client: MakeClient
) -> None:
    async with aiohttp.ClientSession(connector=FailingConnector(kind())) as session:
        client = make_client(session=session, retries=ONCE)
        with pytest.raises(kind):
            await client.chat.send(HELLO)

    assert client.stats.in_use == 0


async def test_error_of_the_library_in_a_lent_connector_is_raised_as_it_is(
    make_client: MakeClient,
) -> None:
    connector = FailingConnector(ClosedError("closed meanwhile"))
    async with aiohttp.ClientSession(connector=connector) as session:
        with pytest.raises(ClosedError, match="closed meanwhile"):
            await make_client(session=session, retries=ONCE).chat.send(HELLO)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_name_of_a_proxy_that_does_not_resolve_is_named(
    scheme: str, make_client: MakeClient
) -> None:
    client = make_client(
        base_url=f"{scheme}://llm.invalid/v1",
        proxy="http://me:s3cret@squid.invalid:3128",
        allow_http=True,
        retries=ONCE,
    )
    with pytest.raises(APIConnectionError) as caught:
        await client.chat.send(HELLO)

    assert caught.value.message.startswith(
        "Cannot resolve the name of the proxy squid.invalid:3128 for llm.invalid:"
    )
    assert "s3cret" not in f"{caught.value} {caught.value.cause}"
    assert [a.billing for a in caught.value.attempts] == ["not_accepted"]


async def test_proxy_that_does_not_listen_is_named(make_client: MakeClient) -> None:
    port = free_port()
    client = make_client(
        base_url="https://llm.invalid/v1",
        proxy=f"http://127.0.0.1:{port}",
        retries=ONCE,
    )
    with pytest.raises(APIConnectionError) as caught:
        await client.chat.send(HELLO)

    expected = f"Cannot connect to the proxy 127.0.0.1:{port} for llm.invalid:443: "
    assert caught.value.message.startswith(expected)


@pytest.mark.parametrize("response", [b"", b"not TLS, but text"])
async def test_server_behind_a_proxy_is_named(
    response: bytes, make_client: MakeClient
) -> None:
    async def respond(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if response:
            writer.write(b"HTTP/1.1 200 Fine\r\n\r\n")
            await reader.read(5)
            writer.write(response)
            await reader.read()
        writer.close()

    listener = await asyncio.start_server(respond, "127.0.0.1")
    port = listener.sockets[0].getsockname()[1]
    client = make_client(
        base_url="https://llm.invalid/v1",
        proxy=f"http://127.0.0.1:{port}",
        retries=ONCE,
    )
    async with listener:
        with pytest.raises(APIConnectionError, match=r"llm\.invalid:443") as caught:
            await client.chat.send(HELLO)

    by_proxy = f"Cannot connect to llm.invalid:443 through the proxy 127.0.0.1:{port}:"
    by_server = "The TLS handshake with llm.invalid:443 failed:"
    assert caught.value.message.startswith(by_server if response else by_proxy)


@pytest.mark.parametrize(
    "number", [errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL, errno.ENOBUFS]
)
@pytest.mark.parametrize("stream", [False, True])
async def test_exhausted_machine_gets_a_hint(
    number: int, make_client: MakeClient, server: LocalOpenRouter, *, stream: bool
) -> None:
    attempts = 0

    def make(address: Any) -> socket.socket:
        nonlocal attempts
        attempts += 1
        if attempts <= 2:
            raise OSError(number, "no room")
        made = socket.socket(address[0], address[1], address[2])
        made.settimeout(0)
        return made

    connector = aiohttp.TCPConnector(socket_factory=make)
    async with aiohttp.ClientSession(connector=connector) as session:
        client = make_client(session=session, retries=TWICE)
        with pytest.raises(APIConnectionError) as caught:
            await client.chat.send(HELLO, stream=stream)
        response = await client.chat.send(HELLO)

    hint = str(caught.value.hint)
    assert "ulimit -n" in hint
    assert "max_connections=" in hint
    assert caught.value.retryable
    assert response.text


async def test_refused_connection_names_what_to_check(make_client: MakeClient) -> None:
    client = make_client(base_url=f"http://127.0.0.1:{free_port()}", retries=ONCE)
    with pytest.raises(APIConnectionError) as caught:
        await client.chat.send(HELLO)

    hint = "Check base_url, the network and the proxy (HTTPS_PROXY, proxy=)."
    assert caught.value.hint == hint


async def test_hint_is_kept_when_the_retry_budget_is_used_up(
    make_client: MakeClient,
) -> None:
    connector = FailingConnector(OSError(errno.EMFILE, "no room"))
    async with aiohttp.ClientSession(connector=connector) as session:
        client = make_client(session=session, retries=TWICE)
        errors = await asyncio.gather(
            *(client.chat.send(HELLO) for _ in range(20)), return_exceptions=True
        )

    hints = {
        str(error.hint) for error in errors if isinstance(error, APIConnectionError)
    }
    assert len(hints) == 2
    assert all("ulimit -n" in hint for hint in hints)
    assert any("retry budget" in hint for hint in hints)


class BrokenConnector(aiohttp.TCPConnector):
    """A connector whose connections raise what aiohttp does not expect."""

    async def connect(self, *args: Any, **options: Any) -> Any:
        connection: Any = await super().connect(*args, **options)

        async def read() -> Any:
            raise StrangeError("odd")

        connection.protocol.read = read
        return connection


async def test_unexpected_error_after_connecting_is_raised_as_it_is(
    make_client: MakeClient,
) -> None:
    """The request may have been accepted, and only the connector's owner knows more."""
    async with aiohttp.ClientSession(connector=BrokenConnector()) as session:
        client = make_client(session=session, retries=ONCE)
        with pytest.raises(StrangeError, match="odd"):
            await client.chat.send(HELLO)

    assert client.stats.in_use == 0
