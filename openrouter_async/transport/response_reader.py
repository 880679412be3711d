"""The reply to one attempt, from its headers on: read whole, or opened as a stream."""

import asyncio
import logging
import time
from typing import Final, Generic, TypeVar

import aiohttp

from ..errors import (
    APITimeoutError,
    MalformedResponseError,
    OpenRouterError,
    StreamInterruptedError,
)
from ..protocol.call import Call
from ..protocol.error_parsing import error_from_response
from ..protocol.headers import Secret, redact
from ..protocol.response_parsing import (
    is_empty,
    is_event_stream,
    media_type,
    partial_of,
)
from ..protocol.stream_state import StreamState
from ..types import ChatResponse, Exchange
from .answer import Answer
from .error_mapping import CAUGHT
from .event_stream import EventStream
from .pool import Pool
from .watchdog import Stage, Watchdog

T = TypeVar("T")

logger = logging.getLogger("openrouter_async")

_OK: Final = range(200, 300)


class ResponseReader(Generic[T]):
    """What came back; what its bodies cost in time and room is bounded."""

    __slots__ = ("_call", "_http", "_parts", "_pool", "_response", "_watch")

    def __init__(
        self,
        response: aiohttp.ClientResponse,
        call: Call[T],
        http: Exchange,
        pool: Pool,
        watch: Watchdog,
    ) -> None:
        self._response = response
        self._call = call
        self._http = http
        self._pool = pool
        self._watch = watch
        self._parts: list[bytes] = []

    async def read(self, key: Secret) -> Answer[T]:
        """
        Return what it says, or the stream with its first event.

        Args:
            key: The header that was sent; a server might echo it.

        Raises:
            OpenRouterError: It is an error, or nothing that can be understood.
            ClientError, OSError, EOFError: The connection broke.
        """
        call = self._call
        http = self._http
        if self._response.status not in _OK:
            body = redact(await self._read_error(call.size_limits.error_bytes), key)
            raise error_from_response(body, http, wall_time=time.time())
        if call.stream:
            return await self._open(key)
        value = self._parse(await self._read_body(b""), key)
        if (
            call.retries.ambiguous
            and len(http.attempts) < call.retries.max_attempts
            and isinstance(value, ChatResponse)
            and is_empty(value)
        ):
            http.attempts[-1].billing = "insured"
            raise MalformedResponseError(
                "The completion is empty.", http=http, retryable=True
            )
        return Answer(http, value)

    def partial(self, key: Secret) -> ChatResponse | None:
        """Return what had come of a plain body that broke off, if it was a stream."""
        if not self._parts:
            return None
        return partial_of(redact(b"".join(self._parts), key), self._http)

    def _parse(self, body: bytes, key: Secret) -> T:
        try:
            return self._call.parse(body, self._http, time.time())
        except OpenRouterError:
            told = body
            # Rebound, so that no traceback with locals shows it.
            body = redact(body, key)
            if told == body:
                raise
            del told
        return self._call.parse(body, self._http, time.time())

    async def _read_error(self, limit: int) -> bytes:
        """Read an error's body; if it breaks off or stalls, what had come of it."""
        content = self._response.content
        watch = self._watch
        parts: list[bytes] = []
        size = 0
        try:
            while size < limit and (data := await content.readany()):
                parts.append(data)
                size += len(data)
                if content.at_eof():
                    break
                self._took()
        except CAUGHT:
            # The status alone tells what happened; the rest of the words is lost.
            logger.debug("The body of an error broke off.")
        except asyncio.CancelledError:
            failure = watch.failure
            if (
                not isinstance(failure, APITimeoutError)
                or failure.phase == "total"
                or not watch.caught()
            ):
                raise
            # As above: the status still decides whether it is sent again.
            logger.debug("The body of an error stalled.")
        return b"".join(parts)[:limit]

    async def _read_body(self, start: bytes) -> bytes:
        """Read a whole body; white space in front of it is no first token."""
        limit = self._call.size_limits.body_bytes
        content = self._response.content
        parts = self._parts
        size = 0
        data = start or await content.readany()
        while data:
            if not size:
                data = data.lstrip()
                if not data:
                    self._took()
                    data = await content.readany()
                    continue
                self._first_byte()
                if content.at_eof() and len(data) <= limit:
                    # All of it is here, as most often.
                    return data
            size += len(data)
            if size > limit:
                raise MalformedResponseError(
                    f"The reply is larger than Limits.body_bytes ({limit})."
                )
            parts.append(data)
            self._took()
            data = await content.readany()
        return b"".join(parts)

    def _took(self) -> None:
        self._watch.took(self._pool.loop.time())

    def _first_byte(self) -> None:
        watch = self._watch
        watch.token_seen = True
        now = self._pool.loop.time()
        self._http.timings.first_token = now - watch.granted

    async def _open(self, key: Secret) -> Answer[T]:
        """Return a stream once its first event is in and is no error."""
        http = self._http
        watch = self._watch
        watch.enter(Stage.STREAM, self._pool.loop.time())
        content = self._response.content
        start = b""
        stream = media_type(http) == "text/event-stream"
        if not stream and media_type(http) not in ("application/json", "text/html"):
            while not start and (data := await content.readany()):
                watch.last_byte = self._pool.loop.time()
                start = data.lstrip()
            stream = is_event_stream(http, start)
        limit = self._call.size_limits.event_bytes
        feed = EventStream(self._response, watch, http, limit, self._pool.loop)
        state = StreamState(
            http, wall_time=time.time, on_first_token=feed.first_token, key=key
        )
        if stream:
            events = await feed.read(start)
            if events is None:
                raise StreamInterruptedError("The stream ended before its first event.")
            events.reverse()
            state.first = state.feed(events.pop())
            feed.unread = events
        else:
            watch.stage = Stage.REPLY
            value = self._parse(await self._read_body(start), key)
            # The caller may take as long as it likes with what is all here.
            watch.stage = Stage.REST
            assert isinstance(value, ChatResponse)
            state.feed_whole(value)
        return Answer(http=http, feed=feed, state=state)
