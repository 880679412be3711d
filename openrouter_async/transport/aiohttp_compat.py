"""
Every use of aiohttp's private state, and the workarounds for its behaviour.

Each was checked on aiohttp 3.14.5, and has to be checked again on a new version.
"""

import asyncio
import inspect
from contextvars import ContextVar
from functools import cached_property
from typing import Any, Final

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from yarl import URL

from .watchdog import Watchdog

current_watchdog: ContextVar[Watchdog] = ContextVar("openrouter_async_watchdog")
"""The watchdog of the call whose request the current task sends."""

# An attribute that is set on aiohttp's protocol of a connection. aiohttp has no public
# way to tell a new connection from one of its pool.
_USED: Final = "_openrouter_async_used"


class UnsolicitedDataError(aiohttp.ServerDisconnectedError):
    """Bytes were received on a pooled connection before the request was sent."""


class WatchedRequest(aiohttp.ClientRequest):
    """
    aiohttp's request, which passes its connection to the watchdog of the call.

    aiohttp calls `send` with the connection that the request was given. A subclass of
    the request, passed as `request_class=`, also works with a connector that belongs
    to the caller; a subclass of the connector would not.
    """

    async def send(self, conn: Any) -> aiohttp.ClientResponse:
        """Send the request on this connection."""
        watch(conn, current_watchdog.get())
        return await super().send(conn)


class ConnectRequest(aiohttp.ClientRequest):
    """aiohttp's request, used to get any number of connections for a URL."""

    # aiohttp builds the key of its pool each time.
    @cached_property
    def connection_key(self) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The key of the URL in the pool of a connector."""
        return super().connection_key


def watch(connection: Any, watchdog: Watchdog) -> None:
    """
    Pass the connection that a request was given to the watchdog of its call.

    Raises:
        UnsolicitedDataError: If bytes were received on it in the pool.
    """
    protocol = connection.protocol
    reused = getattr(protocol, _USED, False)
    watchdog.connected(watchdog.now(), connection, reused=reused)
    if not reused:
        setattr(protocol, _USED, True)
        _retrieve_exception_of_closed(protocol)
    elif protocol.should_close:
        # aiohttp reads from pooled connections, but does not check this flag when it
        # reuses one. It would parse the bytes as the response of this request.
        # https://github.com/aio-libs/aiohttp/issues/13656
        raise UnsolicitedDataError


def find_missing(connector: Any, protocol: Any = ResponseHandler) -> str | None:
    """
    Return the name of something that direct requests need, and aiohttp lacks.

    It is beyond aiohttp's documented interface, but the same in 3.12 to 3.14.

    Args:
        connector: The connector, which may belong to the caller.
        protocol: aiohttp's class for the protocol of a connection.
    """
    for owner, names in (
        (Connection, ("protocol", "transport", "release", "close")),
        (protocol, ("read", "should_close", "closed")),
        (aiohttp.StreamReader, ("on_eof", "is_eof", "exception", "set_exception")),
        (aiohttp.ClientRequest, ("connection_key",)),
    ):
        for name in names:
            if not hasattr(owner, name):
                return f"{owner.__name__}.{name}"
    connect = getattr(connector, "connect", None)
    if not _accepts(connect, None, [], None):
        return "connect(request, traces, timeout) of the connector"
    set_params = getattr(protocol, "set_response_params", None)
    if not _accepts(set_params, None, read_until_eof=True, auto_decompress=False):
        return "set_response_params(read_until_eof=, auto_decompress=)"
    return None


def _accepts(function: Any, *args: object, **kwargs: object) -> bool:
    try:
        inspect.signature(function).bind(*args, **kwargs)
    except (TypeError, ValueError):
        return False
    return True


def _retrieve_exception_of_closed(protocol: Any) -> None:
    # aiohttp creates the future `closed` on first access, and `end_with_connection`
    # accesses it. If nobody retrieves its exception, asyncio logs "Future exception was
    # never retrieved" when the connection breaks.
    # https://github.com/aio-libs/aiohttp/pull/11107
    closed: asyncio.Future[None] | None = protocol.closed
    if closed is not None:
        closed.add_done_callback(_retrieve_exception)


def _retrieve_exception(future: "asyncio.Future[None]") -> None:
    if not future.cancelled():
        future.exception()


def end_with_connection(content: aiohttp.StreamReader, watchdog: Watchdog) -> None:
    """
    Let the end of a connection end the body that is read from it, and the reverse.

    At the end of the body, the watchdog forgets the connection: the pool has it back.

    If the size of a chunk is not a number, aiohttp's parser raises. aiohttp then closes
    the connection and sets the exception on its queue of responses, but not on the
    body: a task that reads the body would wait without an end.
    """
    closed: asyncio.Future[None] | None = watchdog.protocol.closed
    if closed is None:
        # The connection was lost before `closed` was accessed for the first time.
        _break(content)
        return
    link = _Link(content, closed, watchdog)
    closed.add_done_callback(link.break_body)
    content.on_eof(link.remove)


class _Link:
    """The link from a connection to a body, in half the memory of two closures."""

    __slots__ = ("_closed", "_content", "_watchdog")

    def __init__(
        self,
        content: aiohttp.StreamReader,
        closed: "asyncio.Future[None]",
        watchdog: Watchdog,
    ) -> None:
        self._content = content
        self._closed = closed
        self._watchdog = watchdog

    def break_body(self, _: object) -> None:
        """End the body: its connection is closed."""
        _break(self._content)

    def remove(self) -> None:
        """Remove the link: the whole body was received."""
        self._closed.remove_done_callback(self.break_body)
        self._watchdog.transport = None


def _break(content: aiohttp.StreamReader) -> None:
    if not content.is_eof() and content.exception() is None:
        content.set_exception(
            aiohttp.ClientPayloadError("The connection was closed inside the body.")
        )


def waiting_class(
    cls: type[Any], protocol: type[Any] = ResponseHandler
) -> type[Any] | None:
    """
    Return aiohttp's class for bodies if the functions below know it; None otherwise.

    Args:
        cls: aiohttp's class for bodies.
        protocol: aiohttp's class for the protocol of a connection.
    """
    needed = [
        "_buffer",
        "_buffer_offset",
        "_cursor",
        "_eof",
        "_exception",
        "_http_chunk_splits",
        "_loop",
        "_protocol",
        "_read_nowait",
        "_size",
        "_waiter",
    ]
    is_known = all(hasattr(cls, name) for name in needed)
    return cls if is_known and hasattr(protocol, "_reading_paused") else None


_WAITING: Final = waiting_class(aiohttp.StreamReader)


def wait_for_data(content: Any) -> "asyncio.Future[None] | None":
    """
    Return a future for the next bytes, the end or the failure of a body.

    `StreamReader.readany` awaits the same future inside two coroutines of its own,
    through which each read of a stream would wake its reader. If the wait is cancelled,
    `stop_waiting` has to be called.

    Args:
        content: A body. The caller is its only reader.

    Returns:
        None if `readany` has to be used: it need not wait, or raises, or the body is
        not one of aiohttp's.
    """
    if (
        content.__class__ is not _WAITING
        or content._buffer  # noqa: SLF001 - no public way
        or content._eof  # noqa: SLF001 - no public way
        or content._exception is not None  # noqa: SLF001 - no public way
        or content._waiter is not None  # noqa: SLF001 - no public way
        or not content._protocol.connected  # noqa: SLF001 - no public way
    ):
        return None
    waiter: asyncio.Future[None] = content._loop.create_future()  # noqa: SLF001 - private
    content._waiter = waiter  # noqa: SLF001 - no public way
    return waiter


def stop_waiting(content: Any) -> None:
    """Forget the future of `wait_for_data`, because the wait was cancelled."""
    content._waiter = None  # noqa: SLF001 - no public way


def take_received(content: Any) -> bytes:
    """
    Return the bytes that have arrived since `wait_for_data`; b"" if none have.

    `StreamReader` resumes the connection and calls its parser after each read, also if
    they were not paused, which takes longer than the read itself.
    """
    buffer = content._buffer  # noqa: SLF001 - no public way
    if (
        content._buffer_offset  # noqa: SLF001 - no public way
        or content._protocol._reading_paused  # noqa: SLF001 - no public way
    ):
        rest: bytes = content._read_nowait(-1)  # noqa: SLF001 - no public way
        return rest
    if len(buffer) == 1:
        data: bytes = buffer.popleft()
    else:
        data = b"".join(buffer)
        buffer.clear()
    content._size = 0  # noqa: SLF001 - no public way
    cursor = content._cursor = content._cursor + len(data)  # noqa: SLF001 - no public way
    splits = content._http_chunk_splits  # noqa: SLF001 - no public way
    while splits and splits[0] < cursor:
        splits.popleft()
    return data


def take_whole(content: Any) -> bytes:
    """Return a body that has arrived up to its end; b"" if more has to be awaited."""
    if (
        content.__class__ is not _WAITING
        or not content._eof  # noqa: SLF001 - no public way
        or content._exception is not None  # noqa: SLF001 - no public way
    ):
        return b""
    return take_received(content)


def take_buffered(content: aiohttp.StreamReader) -> bytes:
    """
    Return the bytes that arrived before a connection broke.

    `StreamReader.readany` raises the exception first, and the buffer would be lost.
    """
    buffered: bytes = b""
    if content._buffer:  # noqa: SLF001 - no public way  # pyright: ignore[reportPrivateUsage]
        buffered = content._read_nowait(-1)  # noqa: SLF001 - no public way  # pyright: ignore[reportPrivateUsage]
    return buffered


def loop_of(connector: aiohttp.BaseConnector) -> asyncio.AbstractEventLoop:
    """Return the event loop of a connector, which has no public attribute for it."""
    return connector._loop  # noqa: SLF001 - no public way  # pyright: ignore[reportPrivateUsage]


def count_idle(connector: Any) -> int:
    """
    Return the number of idle connections in a connector's pool.

    Args:
        connector: The connector; None for that of a closed session.
    """
    if connector is None:
        return 0
    # A copy: the connector of another thread's loop may change meanwhile.
    pooled = list(connector._conns.values())  # noqa: SLF001 - no public way
    return sum(map(len, pooled))


def close_idle(connector: Any, url: URL) -> None:
    """
    Close the idle connections to the server of a URL.

    Args:
        connector: The connector; None for that of a closed session.
        url: The URL.
    """
    if connector is None:
        return
    server = (url.raw_host, url.port)
    pool = connector._conns  # noqa: SLF001 - no public way
    for key in [key for key in pool if (key.host, key.port) == server]:
        for protocol, _ in pool.pop(key):
            protocol.close()


def close_now(session: aiohttp.ClientSession) -> None:
    """
    Close a session and its connections without waiting for them.

    `ClientSession.close` waits. `BaseConnector.close` creates a task that waits, which
    nobody would own.
    """
    connector: Any = session.connector
    if connector is not None and session.connector_owner:
        connector._close(abort_ssl=True)  # noqa: SLF001 - no public way
    session.detach()
