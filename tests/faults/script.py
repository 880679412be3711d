r"""
A server that runs a script of steps, byte by byte, on real loopback sockets.

It parses requests, but writes only the bytes of its script. So it can do what an HTTP
server cannot, such as a reset during an upload, an invalid status line, or half a TLS
handshake. A script is a sequence of steps:

    async with ScriptServer() as server:
        server.script(read, send(b"HTTP/1.1 200 OK\r\nContent-Le"), reset)
        ...                               # the response of `server.url` breaks off there

Each connection takes the next script. After a script that does not close the connection,
and on connections without a script, every request gets a valid response.
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
    """Return one server-sent event with a JSON value, or with a text as it is."""
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
    return head + (http_chunk(body) + LAST_CHUNK if chunked else body)


def http_chunk(data: bytes) -> bytes:
    """Return one chunk of a chunked body; b"" for no data, which would end the body."""
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


LAST_CHUNK: Final = b"0\r\n\r\n"


@define(eq=False)
class Peer:
    """
    The server's side of one connection.

    Attributes:
        server: The server.
        reader: Reads what the client sends.
        writer: Writes to the client.
        head: The head of the latest request.
        body: The body of the latest request that was read completely.
    """

    server: "ScriptServer"
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    head: bytes = b""
    body: bytes = b""


Step: TypeAlias = Callable[[Peer], Awaitable[None]]


async def read(peer: Peer) -> None:
    """Read one whole request."""
    await read_head(peer)
    length = 0
    for line in peer.head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    peer.body = await peer.reader.readexactly(length)
    peer.server.bodies.append(peer.body)


async def read_head(peer: Peer) -> None:
    """Read the head of a request and not its body."""
    peer.head = await peer.reader.readuntil(b"\r\n\r\n")
    peer.server.record(peer.head)


def send(data: bytes) -> Step:
    """Return a step that sends bytes."""

    async def step(peer: Peer) -> None:
        peer.writer.write(data)
        await peer.writer.drain()

    return step


def drip(data: bytes, size: int = 1, every: float = 0.0) -> Step:
    """Return a step that sends pieces of `size` bytes, with `every` seconds between."""

    async def step(peer: Peer) -> None:
        for start in range(0, len(data), size):
            peer.writer.write(data[start : start + size])
            await peer.writer.drain()
            await asyncio.sleep(every)

    return step


def flood(data: bytes, most: int, start: bytes = b"") -> Step:
    """Return a step that repeats bytes up to `most`, or until the client disconnects."""

    async def step(peer: Peer) -> None:
        peer.writer.write(start)
        for _ in range(most // len(data)):
            peer.writer.write(data)
            peer.server.flooded += len(data)
            await peer.writer.drain()

    return step


def wait(seconds: float) -> Step:
    """Return a step that waits."""

    async def step(_at: Peer) -> None:
        await asyncio.sleep(seconds)

    return step


def stop_reading(seconds: float) -> Step:
    """Return a step that does not read, so that the client's buffers fill."""

    async def step(peer: Peer) -> None:
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.sleep(seconds)
        peer.writer.transport.resume_reading()  # type: ignore[attr-defined]

    return step


async def silence(peer: Peer) -> None:
    """Read and send nothing until the client disconnects."""
    while await peer.reader.read(65536):
        pass


async def close(peer: Peer) -> None:
    """Close the connection in the usual way."""
    peer.writer.close()


async def half_close(peer: Peer) -> None:
    """Close the sending side only."""
    peer.writer.write_eof()


async def reset(peer: Peer) -> None:
    """Reset the connection (RST), with or without TLS."""
    sock: socket.socket = peer.writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
    peer.writer.transport.abort()


async def abort(peer: Peer) -> None:
    """Close the socket without TLS's close_notify."""
    peer.writer.transport.abort()


async def serve(peer: Peer) -> None:
    """Send a valid response to every request until the client disconnects."""
    while True:
        await read(peer)
        await send(sse() if b'"stream":true' in peer.body else http())(peer)


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
        ssl: The context of a TLS server; None: no TLS.
        scheme: The scheme of `url`, if it differs from what the server speaks.
        host: The address to listen on.
        port: The port to listen on; 0: any free port.
        default: The step for connections without a script.
        requests: The heads of the requests, oldest first.
        bodies: The bodies that were read, oldest first.
        connections: Number of connections accepted so far.
        most: Maximum number of connections open at the same time.
        disconnects: Number of connections that the client ended during a script.
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
    disconnects: int = field(default=0, init=False)
    flooded: int = field(default=0, init=False)
    _request_received: asyncio.Event = field(factory=asyncio.Event, init=False)
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

    def clear_scripts(self) -> None:
        """Drop the scripts that no connection has taken."""
        self._scripts.clear()

    def record(self, head: bytes) -> None:
        """Record a request."""
        self.requests.append(head)
        self._request_received.set()

    async def wait_for_request(self) -> None:
        """Wait for the first request."""
        await self._request_received.wait()

    async def wait_until_closed(self, seconds: float = 1.0) -> None:
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
        peer = Peer(self, reader, writer)
        try:
            for step in steps:
                await step(peer)
            if not writer.is_closing():
                await serve(peer)
        except (OSError, EOFError, tls.SSLError):
            self.disconnects += 1
        except asyncio.CancelledError:
            writer.transport.abort()
        finally:
            writer.close()
            with suppress(OSError, tls.SSLError):
                await writer.wait_closed()
