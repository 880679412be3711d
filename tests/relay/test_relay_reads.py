"""The bytes of a relay do not depend on how its upstream's bytes arrive."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
from relay_support import read, stream
from support import MakeClient

from openrouter_async.relay import (
    AISDKFormat,
    OpenAIFormat,
    PlainTextFormat,
    Relay,
    RelayFormat,
    SSEFormat,
)
from openrouter_async.relay.relay_formats import SSE_HEADERS
from openrouter_async.tools import ToolEvent

BODY = (
    ': wait\r\n\r\ndata: {"choices":[{"index":0,"delta":{"reasoning":"h\u00e9"}}]}\n\n'
    'data: {"choices":[{"index":0,"delta":{"content":"\u20ac"}}]}\r\n\r\n'
    'data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"c",'
    '"function":{"name":"f","arguments":"{\\"a\\":"}}]}}]}\r\r'
    'data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,'
    '"function":{"arguments":"1}"}}]},"finish_reason":"tool_calls"}]}\n\n'
    "data: [DONE]\n\n"
).encode()
HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
    b"Content-Length: %d\r\n\r\n" % len(BODY)
)


class EventFormats:
    """The formats that are made of events, one after the other in each write."""

    headers = SSE_HEADERS

    def __init__(self) -> None:
        self._formats = (SSEFormat(), AISDKFormat(), PlainTextFormat())

    def begin(self) -> bytes:
        return b"".join(each.begin() for each in self._formats)

    def event(self, event: ToolEvent) -> bytes:
        return b"".join(each.event(event) for each in self._formats)

    def end(self, response: object, usage: object) -> bytes:
        return repr((response, usage)).encode()

    def error(self, error: object) -> bytes:
        return repr(error).encode()


class SplittingServer:
    """
    A server that sends each response in two pieces, which arrive in two reads.

    Attributes:
        cut: The number of bytes of the first piece.
    """

    def __init__(self) -> None:
        self.cut = 0

    async def respond(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            while True:
                await reader.readuntil(b"\r\n\r\n")
                await reader.readuntil(b"}")
                writer.write(HEAD + BODY[: self.cut])
                # Client and server share a loop: meanwhile, the client reads.
                for _ in range(4):
                    await asyncio.sleep(0)
                writer.write(BODY[self.cut :])
        except asyncio.IncompleteReadError:
            writer.close()


@pytest.fixture
async def splitting() -> AsyncIterator[tuple[SplittingServer, str]]:
    """Run the server, and return it with its URL."""
    behaviour = SplittingServer()
    listener = await asyncio.start_server(behaviour.respond, "127.0.0.1")
    port = listener.sockets[0].getsockname()[1]
    yield behaviour, f"http://127.0.0.1:{port}"
    listener.close()


@pytest.mark.parametrize(
    "make_format", [EventFormats, OpenAIFormat], ids=["events", "chunks"]
)
async def test_bytes_do_not_depend_on_where_a_read_ends(
    splitting: tuple[SplittingServer, str],
    make_client: MakeClient,
    make_format: Callable[[], RelayFormat],
    request: pytest.FixtureRequest,
) -> None:
    """With `--long` for each position, otherwise for each fifth."""
    server, url = splitting
    client = make_client(base_url=url)
    step = 1 if request.config.getoption("--long") else 5
    written: set[bytes] = set()
    for server.cut in range(0, len(BODY) + 1, step):
        written.add(await read(Relay(stream(client), make_format())))

    (data,) = written
    assert "\u20ac".encode() in data
