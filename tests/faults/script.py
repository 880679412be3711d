r"""
A server that runs a script of steps, byte by byte, on real loopback sockets.

It knows no HTTP apart from reading requests. Things that an HTTP server cannot be made to
do (a reset during an upload, an invalid status line, half a TLS handshake) are steps:

    async with ScriptServer() as server:
        server.script(read, send(b"HTTP/1.1 200 OK\r\nContent-Le"), reset)
        ...                               # the response of `server.url` breaks off there

Each connection takes the next script. After a script that does not close the connection,
and on connections without a script, every request gets a good response.
"""

import asyncio
import json
import socket
import ssl as tls
import struct
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Final, Self, TypeAlias

from attrs import define, field

ID: Final = "gen-1700000000-abcdefghij0123456789"
COMPLETION: Final[Mapping[str, Any]] = {
    "id": ID,
    "object": "chat.completion",
    "created": 1700000000,
    "model": "m",
    "provider": "p",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "hello"},
            "finish_reason": "stop",
        }
    ],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}
HELLO: Final = json.dumps(COMPLETION).encode()
_LINGER_ZERO: Final = struct.pack("ii", 1, 0)


def event(value: object) -> bytes:
    """Return an event of a stream."""
    text = value if isinstance(value, str) else json.dumps(value)
    return f"data: {text}\n\n".encode()


def chunk(content: str = "", finish: str | None = None, **more: Any) -> bytes:
    """Return an event with a chunk."""
    choice = {"index": 0, "delta": {"content": content}, "finish_reason": finish}
    return event({"id": ID, "model": "m", "choices": [choice], **more})


DONE: Final = event("[DONE]")
STREAM: Final = chunk("hel") + chunk("lo") + chunk(finish="stop") + DONE


def http(
    body: bytes = HELLO,
    status: str = "200 OK",
    *headers: str,
    media: str | None = "application/json",
    length: int | str | None = "as it is",
) -> bytes:
    """Return a response; None omits a header, and Content-Length may be wrong."""
    lines = [f"HTTP/1.1 {status}", f"X-Generation-Id: {ID}", *headers]
    if media is not None:
        lines.append(f"Content-Type: {media}")
    if length is not None:
        lines.append(f"Content-Length: {len(body) if length == 'as it is' else length}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def sse(body: bytes = STREAM, *headers: str, chunked: bool = True) -> bytes:
    """Return a stream, with chunked encoding or until the end of the connection."""
    head = http(
        b"",
        "200 OK",
        *headers,
        *(["Transfer-Encoding: chunked"] if chunked else ["Connection: close"]),
        media="text/event-stream",
        length=None,
    )
    return head + (piece(body) + LAST if chunked else body)


def piece(data: bytes) -> bytes:
    """Return a chunk of a chunked body; b"" for no data."""
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


LAST: Final = b"0\r\n\r\n"


@define(eq=False)
class Peer:
    """The server's side of one connection."""

    server: "ScriptServer"
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    rest: bytes = b""
    head: bytes = b""
    body: bytes = b""


Step: TypeAlias = Callable[[Peer], Awaitable[None]]


async def read(at: Peer) -> None:
    """Read one whole request."""
    await read_head(at)
    length = 0
    for line in at.head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    at.body = await at.reader.readexactly(length)
    at.server.bodies.append(at.body)


async def read_head(at: Peer) -> None:
    """Read the head of a request and not its body."""
    at.head = await at.reader.readuntil(b"\r\n\r\n")
    at.server.record(at.head)


def send(data: bytes) -> Step:
    """Return a step that sends bytes."""

    async def step(at: Peer) -> None:
        at.writer.write(data)
        await at.writer.drain()

    return step


def drip(data: bytes, size: int = 1, every: float = 0.0) -> Step:
    """Return a step that sends bytes in segments of a few, with pauses."""

    async def step(at: Peer) -> None:
        for start in range(0, len(data), size):
            at.writer.write(data[start : start + size])
            await at.writer.drain()
            await asyncio.sleep(every)

    return step


def flood(data: bytes, most: int, start: bytes = b"") -> Step:
    """Return a step that repeats bytes up to `most`, or until the client disconnects."""

    async def step(at: Peer) -> None:
        at.writer.write(start)
        for _ in range(most // len(data)):
            at.writer.write(data)
            at.server.flooded += len(data)
            await at.writer.drain()

    return step


def wait(seconds: float) -> Step:
    """Return a step that waits."""

    async def step(_at: Peer) -> None:
        await asyncio.sleep(seconds)

    return step


def deaf(seconds: float) -> Step:
    """Return a step that does not read, so that the client's buffers fill."""

    async def step(at: Peer) -> None:
        at.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.sleep(seconds)
        at.writer.transport.resume_reading()  # type: ignore[attr-defined]

    return step


async def silence(at: Peer) -> None:
    """Read and send nothing until the client disconnects."""
    while await at.reader.read(65536):
        pass


async def close(at: Peer) -> None:
    """Close the connection in the usual way."""
    at.writer.close()


async def half_close(at: Peer) -> None:
    """Close the sending side only."""
    at.writer.write_eof()


async def reset(at: Peer) -> None:
    """Reset the connection (RST), with or without TLS."""
    sock: socket.socket = at.writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
    at.writer.transport.abort()


async def cut(at: Peer) -> None:
    """Close the socket without TLS's close_notify."""
    at.writer.transport.abort()


async def serve(at: Peer) -> None:
    """Send a good response to every request until the client disconnects."""
    while True:
        await read(at)
        await send(sse() if b'"stream":true' in at.body else http())(at)


def free_port() -> int:
    """Return a port that is closed."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@define(eq=False)
class ScriptServer:
    """
    A server that runs scripts and records the requests.

    Attributes:
        requests: The heads of the requests, oldest first.
        bodies: The bodies that were read.
        connections: Number of connections accepted so far.
        most: Maximum number of connections open at the same time.
        left: Number of connections that the client ended during a script.
        flooded: Bytes sent by `flood`.
    """

    ssl: tls.SSLContext | None = None
    scheme: str | None = None
    host: str = "127.0.0.1"
    port: int = 0
    default: Step = serve
    requests: list[bytes] = field(factory=list[bytes], init=False)
    bodies: list[bytes] = field(factory=list[bytes], init=False)
    connections: int = field(default=0, init=False)
    most: int = field(default=0, init=False)
    left: int = field(default=0, init=False)
    flooded: int = field(default=0, init=False)
    _asked: asyncio.Event = field(factory=asyncio.Event, init=False)
    _scripts: deque[tuple[Step, ...]] = field(
        factory=deque[tuple[Step, ...]], init=False
    )
    _tasks: set[asyncio.Task[None]] = field(factory=set[asyncio.Task[None]], init=False)
    _listener: asyncio.Server | None = field(default=None, init=False)

    @property
    def url(self) -> str:
        """The base URL of the API."""
        scheme = self.scheme or ("https" if self.ssl else "http")
        return f"{scheme}://{self.host}:{self.port}/api/v1"

    @property
    def open(self) -> int:
        """Number of open connections."""
        return len(self._tasks)

    def script(self, *steps: Step) -> Self:
        """Add a script for the next connection that has none."""
        self._scripts.append(steps)
        return self

    def forget(self) -> None:
        """Drop the scripts that no connection has taken."""
        self._scripts.clear()

    def record(self, head: bytes) -> None:
        """Record a request."""
        self.requests.append(head)
        self._asked.set()

    async def until_asked(self) -> None:
        """Wait for the first request."""
        await self._asked.wait()

    async def until_left(self, seconds: float = 1.0) -> None:
        """Wait until the client has closed all its connections."""
        async with asyncio.timeout(seconds):
            while self._tasks:
                await asyncio.wait(self._tasks)

    async def __aenter__(self) -> Self:
        self._listener = await asyncio.start_server(
            self._accept,
            self.host,
            self.port,
            ssl=self.ssl,
            limit=2**22,
            backlog=4096,
        )
        self.port = self._listener.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._listener is not None:
            self._listener.close()
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _accept(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.connections += 1
        steps = self._scripts.popleft() if self._scripts else (self.default,)
        task = asyncio.ensure_future(self._run(reader, writer, steps))
        self._tasks.add(task)
        self.most = max(self.most, len(self._tasks))
        task.add_done_callback(self._tasks.discard)

    async def _run(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        steps: tuple[Step, ...],
    ) -> None:
        at = Peer(self, reader, writer)
        try:
            for step in steps:
                await step(at)
            if not writer.is_closing():
                await serve(at)
        except (OSError, EOFError, tls.SSLError):
            self.left += 1
        except asyncio.CancelledError:
            writer.transport.abort()
        finally:
            writer.close()
            with suppress(OSError, tls.SSLError):
                await writer.wait_closed()
