"""The local server's sockets: accepting, counting and closing connections."""

import asyncio
import ssl as tls
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import cast

from aiohttp import web
from attrs import define, field

from .counters import Condition, ServerCounters


class Listener:
    """
    Runs an application on a socket, and counts its connections and requests.

    `close()` must follow a successful `open()`.

    Attributes:
        is_closing: If True, connections are closed by the server, not by its clients.
        port: Port that it listens on; None before `open()` and after `close()`.
    """

    _server: asyncio.Server

    def __init__(self, app: web.Application, counters: ServerCounters) -> None:
        self.is_closing = False
        self.port: int | None = None
        self._counters = counters
        # Without handler_cancellation, a handler that writes nothing would not notice
        # that its client has disconnected.
        self._runner = web.AppRunner(app, handler_cancellation=True, access_log=None)
        self._numbers: dict[asyncio.BaseTransport, int] = {}
        self._handlers: set[asyncio.Task[object]] = set()

    async def open(self, host: str, port: int, ssl: tls.SSLContext | None) -> None:
        """
        Listen on a host and a port; port 0 takes a free one.

        Raises:
            OSError: If the address cannot be used; nothing is left open.
        """
        await self._runner.setup()
        # `server` is None only before setup().
        make_handler = cast("web.Server", self._runner.server)
        loop = asyncio.get_running_loop()
        try:
            # A backlog above the default of 100: tests open thousands of connections
            # at once.
            self._server = await loop.create_server(
                lambda: _CountingProtocol(make_handler(), self),
                host,
                port,
                ssl=ssl,
                backlog=4096,
            )
        except OSError:
            await self._runner.cleanup()
            raise
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Abort every connection, and wait until their handlers have ended."""
        self.is_closing = True
        self.port = None
        await self._stop_accepting()
        self._server.close()
        for transport in list(self._numbers):
            # close() would wait until the client has read what was written.
            transport.abort()  # type: ignore[attr-defined]
        await self._counters.until(Condition(connections=0), 5)
        if self._handlers:
            await asyncio.wait(self._handlers)
        await self._runner.cleanup()

    async def _stop_accepting(self) -> None:
        """
        Accept no more connections, and wait until those accepted have transports.

        asyncio creates a transport in a task of its own. If its server has been closed
        before, this fails, and the connection is never closed.
        """
        loop = asyncio.get_running_loop()
        for listening in self._server.sockets:
            # Event loops for Windows have no readers.
            with suppress(NotImplementedError):
                loop.remove_reader(listening.fileno())
        # Transports are created in one iteration, and their protocols called in the
        # next.
        for _ in range(2):
            await asyncio.sleep(0)

    def connection_number(self, transport: asyncio.BaseTransport | None) -> int:
        """Return the number of a connection, from 1; 0 if it is closed."""
        return self._numbers.get(transport, 0) if transport is not None else 0

    @contextmanager
    def track_request(self) -> Generator[None]:
        """Count a request as in flight while the current task handles it."""
        counters = self._counters
        task = cast("asyncio.Task[object]", asyncio.current_task())
        self._handlers.add(task)
        counters.in_flight += 1
        counters.in_flight_peak = max(counters.in_flight_peak, counters.in_flight)
        try:
            yield
        finally:
            counters.in_flight -= 1
            self._handlers.discard(task)
            counters.notify()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count and number a new connection."""
        self._counters.connections_made += 1
        self._counters.connections_open += 1
        self._numbers[transport] = self._counters.connections_made

    def connection_lost(self, transport: asyncio.BaseTransport) -> None:
        """Count a connection as closed."""
        self._numbers.pop(transport, None)
        self._counters.connections_open -= 1
        self._counters.notify()


@define(eq=False)
class _CountingProtocol(asyncio.Protocol):
    """Forwards a connection's events to aiohttp's handler and counts the connection."""

    _handler: web.RequestHandler
    _listener: Listener
    _transport: asyncio.BaseTransport = field(init=False)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._listener.connection_made(transport)
        self._handler.connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._handler.connection_lost(exc)
        self._listener.connection_lost(self._transport)

    def data_received(self, data: bytes) -> None:
        self._handler.data_received(data)

    def eof_received(self) -> None:
        self._handler.eof_received()

    def pause_writing(self) -> None:
        self._handler.pause_writing()

    def resume_writing(self) -> None:
        self._handler.resume_writing()
