"""
The server of the benchmarks: a separate process that writes prebuilt bytes.

The harness starts it. To start it manually, run `python -m benchmarks.server`, which
prints its port and serves until its standard input ends. It measures nothing, and it
does not implement OpenRouter: it ignores headers and bodies, and the first part of the
path selects the response. Any client can be directed to a scenario by its base URL,
`http://127.0.0.1:PORT/SCENARIO/api/v1`:

    completion                a completion of 1 KiB
    text-CHUNKS-BATCH-PAUSE   a stream, BATCH events per write, a write every PAUSE us
    fold-CHUNKS               reasoning, text and tools, as fast as the client reads
    giant-BYTES-READ-PAUSE    one event of BYTES, READ bytes per write, every PAUSE us
    hold                      one chunk at once, the rest after GET /release
"""

import asyncio
import functools
import os
import sys
import time
from collections.abc import Sequence

from attrs import define, frozen

from benchmarks import inputs

BATCH = 20
BACKLOG = 8192

# Below this many microseconds timers are not exact enough, so the server spins.
SPIN_BELOW_US = 1000

EVENT_STREAM = b"text/event-stream"
JSON = b"application/json"
NO_BODY = b"HTTP/1.1 204 No Content\r\n\r\n"


@frozen
class Plan:
    """
    The writes that respond to one request.

    Attributes:
        writes: Bytes of each write, including HTTP framing.
        pause_us: Microseconds between two writes; 0 for no pause.
        held: Bytes that are written after a request for `/release`.
    """

    writes: Sequence[bytes]
    pause_us: int = 0
    held: bytes = b""


def head(content_type: bytes) -> bytes:
    """Return the status and headers, as OpenRouter's edge sends them."""
    return (
        b"HTTP/1.1 200 OK\r\n"
        b"Date: Sun, 01 Nov 2026 12:00:00 GMT\r\n"
        b"Content-Type: " + content_type + b"\r\n"
        b"Transfer-Encoding: chunked\r\n"
        b"Connection: keep-alive\r\n"
        b"CF-RAY: 9f3a1c2b4d5e6f70-FRA\r\n"
        b"Cache-Control: no-cache\r\n"
        b"Access-Control-Allow-Origin: *\r\n"
        b"X-Generation-Id: " + inputs.GENERATION.encode() + b"\r\n"
        b"Server: cloudflare\r\n\r\n"
    )


def framed(data: bytes) -> bytes:
    """Return `data` as one chunk of the chunked transfer encoding."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def written(pieces: Sequence[bytes], content_type: bytes) -> list[bytes]:
    """Return one write per piece: headers are in the first, the end is in the last."""
    writes = [framed(piece) for piece in pieces]
    writes[0] = head(content_type) + writes[0]
    writes[-1] += framed(b"")
    return writes


@functools.cache
def plan(scenario: str) -> Plan:
    """
    Return the plan of a scenario, the first part of a path.

    Raises:
        ValueError: If the scenario is unknown.
    """
    kind, *numbers = scenario.split("-")
    match kind, [int(number) for number in numbers]:
        case "completion", []:
            return Plan(written([inputs.completion()], JSON))
        case "text", [chunks, batch, pause_us]:
            return Plan(_stream(inputs.text_stream(chunks), batch), pause_us)
        case "fold", [chunks]:
            return Plan(_stream(inputs.fold_stream(chunks), BATCH))
        case "giant", [size, read, pause_us]:
            body = inputs.giant_stream(size)
            pieces = [body[at : at + read] for at in range(0, len(body), read)]
            return Plan(written(pieces, EVENT_STREAM), pause_us)
        case "hold", []:
            first, *rest = [*inputs.text_stream(4), inputs.DONE]
            opening = head(EVENT_STREAM) + framed(inputs.COMMENT + first)
            return Plan([opening], held=framed(b"".join(rest)) + framed(b""))
        case _:
            raise ValueError(f"Unknown scenario {scenario!r}")


def _stream(events: list[bytes], batch: int) -> list[bytes]:
    pieces = [b"".join(events[at : at + batch]) for at in range(0, len(events), batch)]
    pieces[0] = inputs.COMMENT * 2 + pieces[0]
    pieces[-1] += inputs.DONE
    return written(pieces, EVENT_STREAM)


@define(eq=False)
class Connection(asyncio.Protocol):
    """The connection of one client: reads one request at a time and writes its plan."""

    held: "dict[Connection, bytes]"
    _transport: asyncio.Transport | None = None
    _received: bytes = b""
    _writes: Sequence[bytes] = ()
    _next: int = 0
    _pause_us: int = 0
    _full: bool = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio
        """Discard the remaining writes."""
        self._transport = None
        self.held.pop(self, None)

    def pause_writing(self) -> None:
        """Stop writing, because the client does not read."""
        self._full = True

    def resume_writing(self) -> None:
        """Continue writing, because the client reads again."""
        self._full = False
        self._write()

    def data_received(self, data: bytes) -> None:
        """Respond when the headers and body of a request are complete."""
        self._received += data
        line_end = self._received.find(b"\r\n\r\n")
        if line_end < 0:
            return
        before = self._received[:line_end].lower()
        _, found, after = before.partition(b"content-length:")
        length = int(after.split(b"\r\n")[0]) if found else 0
        if len(self._received) < line_end + 4 + length:
            return
        path = self._received.split(b" ", 2)[1].decode()
        self._received = b""
        self._respond(path)

    def _respond(self, path: str) -> None:
        assert self._transport is not None
        scenario = path.split("/")[1]
        if scenario == "release":
            self._transport.write(NO_BODY)
            for connection, rest in list(self.held.items()):
                connection.release(rest)
            return
        found = plan(scenario)
        self._writes, self._next, self._pause_us = found.writes, 0, found.pause_us
        if found.held:
            self.held[self] = found.held
        self._write()

    def release(self, rest: bytes) -> None:
        """Write the bytes that were held back."""
        del self.held[self]
        if self._transport is not None:
            self._transport.write(rest)

    def _write(self) -> None:
        """Write what is due now, and schedule the rest."""
        while (
            self._transport is not None
            and not self._full
            and self._next < len(self._writes)
        ):
            self._transport.write(self._writes[self._next])
            self._next += 1
            if self._pause_us:
                self._write_later()
                return

    def _write_later(self) -> None:
        if self._next == len(self._writes):
            return
        loop = asyncio.get_running_loop()
        if self._pause_us >= SPIN_BELOW_US:
            # Counted from now, not from when it was due, so that two events are never
            # sent together.
            loop.call_later(self._pause_us / 1e6, self._write)
            return
        until = time.perf_counter() + self._pause_us / 1e6
        while time.perf_counter() < until:
            pass
        loop.call_soon(self._write)


async def main() -> None:
    """Serve on a free port of the loopback interface until the standard input ends."""
    if hasattr(os, "sched_setaffinity") and len(sys.argv) > 1:
        os.sched_setaffinity(0, {int(sys.argv[1])})
    loop = asyncio.get_running_loop()
    held: dict[Connection, bytes] = {}
    server = await loop.create_server(
        lambda: Connection(held), "127.0.0.1", 0, backlog=BACKLOG
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    ended = asyncio.Event()
    loop.add_reader(sys.stdin, ended.set)
    await ended.wait()


if __name__ == "__main__":
    asyncio.run(main())
