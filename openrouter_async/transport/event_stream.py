"""A stream that is open: its bytes become events, until it ends or is left."""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

import aiohttp
from attrs import evolve

from ..errors import ClosedError, OpenRouterError
from ..protocol.accumulator.accumulator import Accumulator, has_token
from ..protocol.call import Outcome
from ..protocol.headers import Secret, redact
from ..protocol.response_parsing import usage_of
from ..sse import ServerSentEvent, SSEDecoder
from ..types import ChatStreamingResponseChunk, Exchange, Usage
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
        "_loop",
        "_pool",
        "_report",
        "_response",
        "_watch",
        "ended",
        "fold",
        "http",
        "key",
    )

    def __init__(
        self,
        response: aiohttp.ClientResponse,
        watch: Watchdog,
        http: Exchange,
        limit_bytes: int,
        loop: asyncio.AbstractEventLoop,
        key: Secret,
    ) -> None:
        self._response = response
        self._content = response.content
        self._decoder = SSEDecoder(limit_bytes=limit_bytes)
        self._watch = watch
        self._loop = loop
        self._pool: Pool | None = None
        self._report: Report | None = None
        self.fold = Accumulator()
        self.http = http
        self.key = key
        self.ended = False

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop that it was opened on."""
        return self._loop

    @property
    def failure(self) -> OpenRouterError | None:
        """Why it was ended from outside; None if it was not."""
        return self._watch.failure

    def begin(self, pool: Pool, report: Report) -> None:
        """Hand over: from here on the reader, not the opener, ends it."""
        self._pool = pool
        self._report = report
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
                    raise broken_body(error, self.http) from error
            watch.last_byte = time()
            if not data:
                if watch.failure is not None:
                    raise watch.failure
                return None

    def redact(self, event: ServerSentEvent) -> ServerSentEvent:
        """Return an event without the key, should the server have echoed it."""
        return evolve(event, data=redact(event.data, self.key))

    def saw(self, chunk: ChatStreamingResponseChunk) -> None:
        """Stop the clock of the first token, if this chunk brings it."""
        watch = self._watch
        if not watch.token_seen and has_token(chunk):
            watch.token_seen = True
            self.http.timings.first_token = watch.last_byte - watch.granted

    @property
    def token_seen(self) -> bool:
        """Whether the first token has come."""
        return self._watch.token_seen

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
            # What broke behind the end took nothing away.
            self.http.attempts[-1].billing = "billed"
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
        return usage_of(self.fold.response())

    def _failed(self) -> None:
        failure = self._watch.failure
        if isinstance(failure, ClosedError):
            self.end("closed", None)
        elif self.fold.finished:
            self.end("ok", None)
        else:
            self.end("error", failure)
