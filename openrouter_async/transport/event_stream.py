"""EventStream: the open body of a streamed response, read as server-sent events."""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from ..errors import APITimeoutError, OpenRouterError
from ..protocol.event_buffer import EventBuffer
from ..types import Exchange
from .aiohttp_compat import stop_waiting, take_received, wait_for_data
from .decoded_body import Body, take_buffered
from .direct_request import Response
from .error_mapping import CAUGHT, broken_body
from .pool import Pool
from .watchdog import Watchdog

logger = logging.getLogger("openrouter_async")

# Long enough for the end of the body to arrive after [DONE], so that the connection
# can be reused; short enough that nobody notices.
_GRACE_SECONDS: Final = 0.1


class EventStream:
    """
    The open body of a streamed response: it reads bytes into a buffer of events.

    It handles bytes and timeouts and does not interpret events, except that heartbeats
    do not count for the timeouts. The stream holds a connection slot until it ends. It
    ends once, by whichever comes first: the reader at the end of the body, a timeout,
    `close` from another task, or the end of the client.

    Attributes:
        buffer: The events that were received. The reader takes all of them before it
            calls `read` again.
        ended: True once the stream has ended.
    """

    __slots__ = (
        "_content",
        "_http",
        "_on_end",
        "_pool",
        "_response",
        "_watchdog",
        "buffer",
        "ended",
    )

    def __init__(
        self,
        response: Response,
        content: Body,
        http: Exchange,
        pool: Pool,
        watchdog: Watchdog,
        *,
        limit_bytes: int,
        on_end: Callable[[BaseException | None], object],
    ) -> None:
        """
        Wrap a response whose headers have arrived.

        Args:
            response: The response.
            content: Its body, decompressed.
            http: The exchange of the call, for errors.
            pool: Holds the slot that is released at the end.
            watchdog: The timeouts of the call.
            limit_bytes: The maximum size of one event.
            on_end: Called once, at the end, with the exception that ended the stream;
                None if it was read to its end.
        """
        self._response = response
        self._content = content
        self.buffer = EventBuffer(limit_bytes)
        self._http = http
        self._pool = pool
        self._watchdog = watchdog
        self._on_end = on_end
        self.ended = False

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop that the stream was opened on."""
        return self._pool.loop

    @property
    def failure(self) -> OpenRouterError | None:
        """The error that ended the stream from outside; None if there was none."""
        return self._watchdog.failure

    def mark_open(self) -> None:
        """Let timeouts end the stream from now on, not the task that opens it."""
        self._watchdog.on_fail = self._fail

    async def read(  # noqa: C901 - another coroutine would cost time at each read
        self, start: bytes = b""
    ) -> bool:
        """
        Wait until the next events are in the buffer.

        Args:
            start: Bytes of the body that were read before.

        Returns:
            True if there is an event; False at the end of the body.

        Raises:
            APITimeoutError: If a timeout expired.
            ClosedError: If the stream or the client was closed.
            APIConnectionError: If the connection broke.
            MalformedResponseError: If an event is larger than `limit_bytes`.
        """
        watchdog = self._watchdog
        content = self._content
        now = self._pool.now
        data = start
        # Not a method of `Watchdog`: in production, each event has a read of its own.
        watchdog.waiting_since = began = now()
        watchdog.busy += began - watchdog.last_byte
        while True:
            if data:
                is_relevant = self.buffer.feed(data)
                # A traceback may show local variables, and a server may have echoed
                # the key.
                data = b""
                if is_relevant:
                    watchdog.last_data = watchdog.last_byte
                    watchdog.waiting_since = None
                    return True
            # Checked after the data: what had arrived in time is delivered first.
            if watchdog.failure is not None:
                data = self._arrived_before(watchdog.failure)
                continue
            try:
                waiter = wait_for_data(content)
                if waiter is not None:
                    try:
                        await waiter
                    except asyncio.CancelledError:
                        stop_waiting(content)
                        raise
                    data = take_received(content)
                data = data or await content.readany()
            except CAUGHT as error:
                # A timeout aborts the connection, which then breaks.
                if watchdog.failure is not None:
                    raise watchdog.failure from None
                data = take_buffered(content)
                if not data:
                    raise broken_body(error, self._http) from error
            watchdog.last_byte = now()
            if not data:
                if watchdog.failure is not None:
                    raise watchdog.failure
                # The body has ended as HTTP says that it does: what it holds was not
                # cut off by the connection.
                return self.buffer.end()

    def _arrived_before(self, failure: OpenRouterError) -> bytes:
        """Return bytes that arrived before a timeout; raise the error without any."""
        is_timeout = isinstance(failure, APITimeoutError)
        data = take_buffered(self._content) if is_timeout else b""
        if not data:
            raise failure
        return data

    async def finish(self) -> None:
        """
        End the stream after its last event.

        One read waits for the end of the body, so that the connection returns to the
        pool. If the body has not ended then, the connection is closed.
        """
        content = self._content
        try:
            if not content.at_eof() and not self.ended:
                async with asyncio.timeout(_GRACE_SECONDS):
                    while await content.readany():
                        pass
        except (TimeoutError, *CAUGHT):
            logger.debug("The body did not end after [DONE]; closing the connection.")
        finally:
            self.end(None)

    def end(self, error: BaseException | None) -> None:
        """
        Release the connection and the slot, and call `on_end`; once.

        Args:
            error: The exception that ends the stream; None if it was read to its end.
        """
        if self.ended:
            return
        self.ended = True
        watchdog = self._watchdog
        if watchdog.transport is not None:
            # Over TLS, aiohttp's `close` would linger for the peer's answer.
            watchdog.transport.abort()
        watchdog.stop()
        self._response.close()
        self._pool.slots.release()
        if watchdog.permit is not None:
            watchdog.permit.release()
        self._on_end(error)

    def close(self, error: OpenRouterError) -> None:
        """End the stream at once; a task that waits in `read` gets this error."""
        if not self.ended:
            self._watchdog.fail(error)
            self.end(error)

    def _fail(self) -> None:
        self.end(self._watchdog.failure)
