r"""
A server that does exactly as it is told, byte by byte, on real loopback sockets.

It knows no HTTP beyond reading a request. What a server of HTTP cannot be made to do
(a reset in the middle of an upload, a garbled status line, half a TLS hand-shake) is
a list of steps here:

    async with ScriptServer() as server:
        server.script(read, send(b"HTTP/1.1 200 OK\r\nContent-Le"), reset)
        ...                               # a client of server.url is cut off there

Each connection takes the next script. What comes after a script that did not close
the connection, and every connection without one, is served well.
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
    """One event of a stream."""
    text = value if isinstance(value, str) else json.dumps(value)
    return f"data: {text}\n\n".encode()


def chunk(content: str = "", finish: str | None = None, **more: Any) -> bytes:
    """One event that carries a chunk."""
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
    """Write a response; its Content-Length may be a lie, None leaves a header out."""
    lines = [f"HTTP/1.1 {status}", f"X-Generation-Id: {ID}", *headers]
    if media is not None:
        lines.append(f"Content-Type: {media}")
    if length is not None:
        lines.append(f"Content-Length: {len(body) if length == 'as it is' else length}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def sse(body: bytes = STREAM, *headers: str, chunked: bool = True) -> bytes:
    """Write a stream, in chunks of HTTP or up to the end of the connection."""
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
    """One chunk of a chunked body; b"" is none."""
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


LAST: Final = b"0\r\n\r\n"


@define(eq=False)
class Peer:
    """One connection, on the server's side."""

    server: "ScriptServer"
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    rest: bytes = b""
    head: bytes = b""
    body: bytes = b""


Step: TypeAlias = Callable[[Peer], Awaitable[None]]


async def read(at: Peer) -> None:
    """Read one request whole."""
    await read_head(at)
    length = 0
    for line in at.head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    at.body = await at.reader.readexactly(length)
    at.server.bodies.append(at.body)


async def read_head(at: Peer) -> None:
    """Read the head of a request and leave its body where it is."""
    at.head = await at.reader.readuntil(b"\r\n\r\n")
    at.server.heard(at.head)


def send(data: bytes) -> Step:
    """Send bytes."""

    async def step(at: Peer) -> None:
        at.writer.write(data)
        await at.writer.drain()

    return step


def drip(data: bytes, size: int = 1, every: float = 0.0) -> Step:
    """Send bytes a few at a time, each in a segment of its own, with pauses."""

    async def step(at: Peer) -> None:
        for start in range(0, len(data), size):
            at.writer.write(data[start : start + size])
            await at.writer.drain()
            await asyncio.sleep(every)

    return step


def flood(data: bytes, most: int, start: bytes = b"") -> Step:
    """Send the same bytes over and over, `most` in all or until the client leaves."""

    async def step(at: Peer) -> None:
        at.writer.write(start)
        for _ in range(most // len(data)):
            at.writer.write(data)
            at.server.flooded += len(data)
            await at.writer.drain()

    return step


def wait(seconds: float) -> Step:
    """Do nothing for a while."""

    async def step(_at: Peer) -> None:
        await asyncio.sleep(seconds)

    return step


def deaf(seconds: float) -> Step:
    """Read nothing for a while, so that the client's buffers fill up."""

    async def step(at: Peer) -> None:
        at.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.sleep(seconds)
        at.writer.transport.resume_reading()  # type: ignore[attr-defined]

    return step


async def silence(at: Peer) -> None:
    """Read on and say nothing until the client leaves."""
    while await at.reader.read(65536):
        pass


async def close(at: Peer) -> None:
    """Close in good order."""
    at.writer.close()


async def half_close(at: Peer) -> None:
    """Say that nothing more will come, and read on."""
    at.writer.write_eof()


async def reset(at: Peer) -> None:
    """Cut the connection with a TCP reset, TLS or not."""
    sock: socket.socket = at.writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
    at.writer.transport.abort()


async def cut(at: Peer) -> None:
    """Close the socket without a word of TLS."""
    at.writer.transport.abort()


async def serve(at: Peer) -> None:
    """Answer every request well, as long as the client stays."""
    while True:
        await read(at)
        await send(sse() if b'"stream":true' in at.body else http())(at)


def free_port() -> int:
    """Return a port on which nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@define(eq=False)
class ScriptServer:
    """
    The server; it counts what arrives.

    Attributes:
        requests: The heads of the requests, oldest first.
        bodies: Their bodies, as far as they were read.
        connections: How many were accepted so far.
        most: The most that were open at a time.
        open: How many are open.
        left: How often the client ended a connection that was to go on.
        flooded: Bytes sent by `flood`.
    """

    ssl: tls.SSLContext | None = None
    scheme: str | None = None
    host: str = "127.0.0.1"
    port: int = 0
    answer: Step = serve
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
        """The base URL of its API."""
        scheme = self.scheme or ("https" if self.ssl else "http")
        return f"{scheme}://{self.host}:{self.port}/api/v1"

    @property
    def open(self) -> int:
        """How many connections are open."""
        return len(self._tasks)

    def script(self, *steps: Step) -> Self:
        """Say what the next connection that has no script yet goes through."""
        self._scripts.append(steps)
        return self

    def forget(self) -> None:
        """Drop the scripts that nobody came for: from here on all is well."""
        self._scripts.clear()

    def heard(self, head: bytes) -> None:
        """Write down a request."""
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
        steps = self._scripts.popleft() if self._scripts else (self.answer,)
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
