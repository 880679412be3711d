"""A stream that is open: its bytes become events, until it ends or is left."""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

import aiohttp

from ..errors import ClosedError, OpenRouterError
from ..protocol.call import Outcome
from ..protocol.response_parsing import usage_of
from ..protocol.stream_state import StreamState
from ..sse import ServerSentEvent, SSEDecoder
from ..types import Exchange, Usage
from .aiohttp_compat import take_rest
from .error_mapping import CAUGHT, broken_body
from .pool import Pool
from .watchdog import Watchdog

logger = logging.getLogger("openrouter_async")

Report = Callable[[Outcome, OpenRouterError | None, Callable[[], Usage | None]], None]
"""Told how a call ended, and where to ask what it used up."""

# Long enough for the end of the body to arrive behind [DONE], so that the connection
# can be used again; short enough that nobody notices.
_GRACE_SECONDS: Final = 0.1


class EventStream:
    """
    The events of one open reply, the clocks beside them, and the way to leave.

    It holds a slot until it ends. `end` runs once, whoever comes first: the reader
    at the end, a clock, `close` from another task, or the client's own end.
    """

    __slots__ = (
        "_content",
        "_decoder",
        "_http",
        "_loop",
        "_pool",
        "_report",
        "_response",
        "_state",
        "_watch",
        "ended",
        "unread",
    )

    def __init__(
        self,
        response: aiohttp.ClientResponse,
        watch: Watchdog,
        http: Exchange,
        limit_bytes: int,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._response = response
        self._content = response.content
        self._decoder = SSEDecoder(limit_bytes=limit_bytes)
        self._watch = watch
        self._loop = loop
        self._pool: Pool | None = None
        self._report: Report | None = None
        self._http = http
        self._state: StreamState | None = None
        # Events that were received with the first one, the next one last.
        self.unread: list[ServerSentEvent] = []
        self.ended = False

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop that it was opened on."""
        return self._loop

    @property
    def failure(self) -> OpenRouterError | None:
        """Why it was ended from outside; None if it was not."""
        return self._watch.failure

    def begin(self, pool: Pool, report: Report, state: StreamState) -> None:
        """Hand over: from here on the reader, not the opener, ends it."""
        self._pool = pool
        self._report = report
        self._state = state
        self._watch.on_fail = self._failed

    async def read(self, start: bytes = b"") -> list[ServerSentEvent] | None:
        """
        Return the next events, 1 or more; None at the end of the body.

        Raises:
            OpenRouterError: A clock ran out, the stream was closed, the connection
                broke, or an event is larger than allowed.
        """
        watch = self._watch
        content = self._content
        feed = self._decoder.feed
        time = self._loop.time
        data = start
        watch.wait(time())
        while True:
            if data:
                events = feed(data)
                if events:
                    watch.last_data = watch.last_byte
                    watch.waiting_since = None
                    return events
            if watch.failure is not None:
                raise watch.failure
            try:
                data = await content.readany()
            except CAUGHT as error:
                if watch.failure is not None:
                    raise watch.failure from None
                data = take_rest(content)
                if not data:
                    raise broken_body(error, self._http) from error
            watch.last_byte = time()
            if not data:
                if watch.failure is not None:
                    raise watch.failure
                return None

    def first_token(self) -> None:
        """Stop the timeout of the first token, and note when it was received."""
        watch = self._watch
        watch.token_seen = True
        self._http.timings.first_token = watch.last_byte - watch.granted

    async def finish(self) -> None:
        """End it well: wait a moment for the end of the body, then let go."""
        content = self._content
        try:
            if not content.at_eof() and not self.ended:
                async with asyncio.timeout(_GRACE_SECONDS):
                    while await content.readany():
                        pass
        except (TimeoutError, *CAUGHT):
            logger.debug("The body went on behind [DONE]; the connection is shut.")
        finally:
            self.end("ok", None)

    def end(self, outcome: Outcome, error: OpenRouterError | None) -> None:
        """Let go of connection and slot and report, once."""
        if self.ended:
            return
        self.ended = True
        watch = self._watch
        if watch.transport is not None:
            watch.transport.abort()
        watch.stop()
        self._response.close()
        pool, report = self._pool, self._report
        # `begin` came first.
        assert pool is not None
        assert report is not None
        self._pool = self._report = None
        pool.slots.release()
        report(outcome, error, self.usage)

    def close(self, error: OpenRouterError) -> None:
        """End it from outside, at once; a reader that waits gets this error."""
        if not self.ended:
            self._watch.fail(error)
            self.end("closed", None)

    def usage(self) -> Usage | None:
        """Return what the stream said so far that it used up."""
        assert self._state is not None
        return usage_of(self._state.response)

    def _failed(self) -> None:
        failure = self._watch.failure
        if isinstance(failure, ClosedError):
            self.end("closed", None)
        elif self._state is not None and self._state.finished:
            self.end("ok", None)
        else:
            self.end("error", failure)
