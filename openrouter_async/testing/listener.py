"""The local server's sockets: who is connected, and closing them all at once."""

import asyncio
import ssl as tls
from collections.abc import Generator
from contextlib import contextmanager
from typing import cast

from aiohttp import web
from attrs import define, field

from .counters import Condition, ServerCounters


class Listener:
    """
    Runs an application on a socket, counts its connections, and closes them.

    `close` is for what `open` has opened.

    Attributes:
        is_closing: Whether it is the server that goes away, not its clients.
        port: Where it listens; None before and after.
    """

    _listener: asyncio.Server

    def __init__(self, app: web.Application, tally: ServerCounters) -> None:
        self.is_closing = False
        self.port: int | None = None
        self._tally = tally
        # Cancelled handlers are how a silent server learns that a client went away.
        self._runner = web.AppRunner(app, handler_cancellation=True, access_log=None)
        self._numbers: dict[asyncio.BaseTransport, int] = {}
        self._handlers: set[asyncio.Task[object]] = set()

    async def open(self, host: str, port: int, ssl: tls.SSLContext | None) -> None:
        """Listen; leaves nothing behind if the port is taken."""
        await self._runner.setup()
        # It is there as soon as the runner is set up.
        serve = cast("web.Server", self._runner.server)
        loop = asyncio.get_running_loop()
        try:
            self._listener = await loop.create_server(
                lambda: _Tap(serve(), self), host, port, ssl=ssl, backlog=4096
            )
        except OSError:
            await self._runner.cleanup()
            raise
        self.port = self._listener.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Cut every connection, and wait until their handlers are gone."""
        self.is_closing = True
        self.port = None
        self._listener.close()
        for transport in list(self._numbers):
            # Closing politely would wait for clients that do not read.
            transport.abort()  # type: ignore[attr-defined]
        await self._tally.until(Condition(connections=0), 5)
        if self._handlers:
            await asyncio.wait(self._handlers)
        await self._runner.cleanup()

    def number(self, transport: asyncio.BaseTransport | None) -> int:
        """Tell which connection this is, counted from 1; 0 for one that is gone."""
        return self._numbers.get(transport, 0) if transport is not None else 0

    @contextmanager
    def flight(self) -> Generator[None]:
        """Count a request that is being answered by the current task."""
        tally = self._tally
        task = cast("asyncio.Task[object]", asyncio.current_task())
        self._handlers.add(task)
        tally.in_flight += 1
        tally.in_flight_peak = max(tally.in_flight_peak, tally.in_flight)
        try:
            yield
        finally:
            tally.in_flight -= 1
            self._handlers.discard(task)
            tally.changed()

    def made(self, transport: asyncio.BaseTransport) -> None:
        """Count a connection in."""
        self._tally.connections_made += 1
        self._tally.connections_open += 1
        self._numbers[transport] = self._tally.connections_made

    def lost(self, transport: asyncio.BaseTransport) -> None:
        """Count it out."""
        self._numbers.pop(transport, None)
        self._tally.connections_open -= 1
        self._tally.changed()


@define(eq=False)
class _Tap(asyncio.Protocol):
    """Passes a connection's events on to aiohttp's handler, and counts it."""

    _handler: web.RequestHandler
    _connections: Listener
    _transport: asyncio.BaseTransport = field(init=False)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._connections.made(transport)
        self._handler.connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._handler.connection_lost(exc)
        self._connections.lost(self._transport)

    def data_received(self, data: bytes) -> None:
        self._handler.data_received(data)

    def eof_received(self) -> None:
        self._handler.eof_received()

    def pause_writing(self) -> None:
        self._handler.pause_writing()

    def resume_writing(self) -> None:
        self._handler.resume_writing()
