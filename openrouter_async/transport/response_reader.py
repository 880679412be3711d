"""ResponseReader: the response to one attempt, from its headers on."""

import asyncio
import logging
import time
from collections.abc import Callable
from functools import partial
from typing import Final, Generic, TypeVar

import aiohttp

from ..errors import (
    APIError,
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
from .error_mapping import CAUGHT
from .event_stream import EventStream
from .pool import Pool
from .watchdog import Stage, Watchdog

T = TypeVar("T")

logger = logging.getLogger("openrouter_async")

_OK: Final = range(200, 300)


class ResponseReader(Generic[T]):
    """
    Reads the response to one attempt: the body of an error, a plain body or a stream.

    Sizes are limited by the call's `SizeLimits`, times by the watchdog.
    """

    __slots__ = ("_call", "_http", "_key", "_parts", "_pool", "_response", "_watchdog")

    def __init__(
        self,
        response: aiohttp.ClientResponse,
        call: Call[T],
        http: Exchange,
        pool: Pool,
        watchdog: Watchdog,
        key: Secret,
    ) -> None:
        """
        Wrap a response whose headers have arrived.

        Args:
            response: The response.
            call: The call that it belongs to.
            http: The exchange of the call.
            pool: Holds the slot that an open stream releases at its end.
            watchdog: The timeouts of the call.
            key: The Authorization header that was sent; a server may echo it.
        """
        self._response = response
        self._call = call
        self._http = http
        self._pool = pool
        self._watchdog = watchdog
        self._key = key
        # The body so far, if it arrives in several reads.
        self._parts: list[bytes] = []

    async def read(self) -> T:
        """
        Read a plain response and return its value.

        Raises:
            APIError: If the response is an error, whatever its status.
            MalformedResponseError: If the body cannot be parsed or is too large.
            ClientError, OSError, EOFError: If the connection broke.
        """
        if self._response.status not in _OK:
            raise await self._read_error()
        if self._call.sink is not None:
            await self._read_into(self._call.sink)
            return self._parse(b"")
        value = self._parse(await self._read_body(b""))
        call, http = self._call, self._http
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
        return value

    async def open(
        self: "ResponseReader[ChatResponse]",
        on_end: Callable[[StreamState, BaseException | None], object],
    ) -> tuple[EventStream, StreamState]:
        """
        Return the stream, after its first event was received and is not an error.

        Args:
            on_end: Called once when the stream ends, with its state and the exception
                that ended it.

        Raises:
            APIError: If the response or the first event is an error.
            MalformedResponseError: If the body cannot be parsed or is too large.
            StreamInterruptedError: If the body ends before its first event.
            ClientError, OSError, EOFError: If the connection broke.
        """
        if self._response.status not in _OK:
            raise await self._read_error()
        watchdog = self._watchdog
        watchdog.enter(Stage.STREAM, self._pool.now())
        start, is_stream = await self._read_start()
        state = StreamState(
            self._http,
            wall_time=time.time,
            on_first_token=partial(_note_first_token, watchdog, self._http),
            key=self._key,
        )
        stream = EventStream(
            self._response,
            self._http,
            self._pool,
            watchdog,
            limit_bytes=self._call.size_limits.event_bytes,
            on_end=partial(on_end, state),
        )
        if is_stream:
            events = await stream.read(start)
            if events is None:
                raise StreamInterruptedError("The stream ended before its first event.")
            events.reverse()
            # The event is not bound to a name: tracebacks may show local variables.
            state.first = state.feed(events.pop())
            stream.unread = events
        else:
            # A completion in place of a stream.
            watchdog.stage = Stage.RESPONSE
            response = self._parse(await self._read_body(start))
            # Everything was received: no timeout runs while the caller reads it.
            watchdog.stage = Stage.IDLE
            state.feed_whole(response)
        stream.mark_open()
        return stream, state

    def partial(self) -> ChatResponse | None:
        """Return what arrived of a plain body that broke off, if it was a stream."""
        if not self._parts:
            return None
        return partial_of(redact(b"".join(self._parts), self._key), self._http)

    async def _read_start(self) -> tuple[bytes, bool]:
        """Return the bytes read to find out if the body is a stream, and if it is."""
        http = self._http
        media = media_type(http)
        if media in ("text/event-stream", "application/json", "text/html"):
            return b"", media == "text/event-stream"
        content = self._response.content
        start = b""
        while not start and (data := await content.readany()):
            self._watchdog.last_byte = self._pool.now()
            start = data.lstrip()
        return start, is_event_stream(http, start)

    def _parse(self, body: bytes) -> T:
        try:
            return self._call.parse(body, self._http, time.time())
        except OpenRouterError:
            original = body
            # Parsed again, so that neither the error nor the local variables of its
            # traceback hold a key that the server echoed.
            body = redact(body, self._key)
            if original == body:
                raise
            del original
        return self._call.parse(body, self._http, time.time())

    async def _read_error(self) -> APIError:
        limit = self._call.size_limits.error_bytes
        body = redact(await self._read_error_body(limit), self._key)
        return error_from_response(body, self._http, wall_time=time.time())

    async def _read_error_body(self, limit: int) -> bytes:
        """
        Return the body of an error, or the part that arrived.

        If it breaks off or stalls, the status alone still tells what happened and
        decides whether the request is retried.
        """
        content = self._response.content
        parts: list[bytes] = []
        size = 0
        try:
            while size < limit and (data := await content.readany()):
                parts.append(data)
                size += len(data)
                if content.at_eof():
                    break
                self._watchdog.received(self._pool.now())
        except CAUGHT:
            logger.debug("The body of an error response broke off.")
        except asyncio.CancelledError:
            failure = self._watchdog.failure
            if (
                not isinstance(failure, APITimeoutError)
                or failure.phase == "total"
                or not self._watchdog.caught()
            ):
                raise
            logger.debug("The body of an error response stalled.")
        return b"".join(parts)[:limit]

    async def _read_into(self, sink: Callable[[bytes], object]) -> None:
        """Pass a whole body to a function, in pieces; its size is not limited."""
        content, watchdog = self._response.content, self._watchdog
        now = self._pool.now
        while data := await content.readany():
            if not watchdog.token_seen:
                watchdog.last_byte = now()
                _note_first_token(watchdog, self._http)
            sink(data)
            watchdog.received(now())

    async def _read_body(self, start: bytes) -> bytes:
        """
        Return a whole body.

        White space in front of it does not end the wait for the first token: some
        servers send it to keep the connection alive.
        """
        limit = self._call.size_limits.body_bytes
        content = self._response.content
        watchdog = self._watchdog
        now = self._pool.now
        parts = self._parts
        size = 0
        data = start or await content.readany()
        while data:
            if not size:
                data = data.lstrip()
                if not data:
                    watchdog.received(now())
                    data = await content.readany()
                    continue
                watchdog.last_byte = now()
                _note_first_token(watchdog, self._http)
                if content.at_eof() and len(data) <= limit:
                    # The usual case: one read has all of it.
                    return data
            size += len(data)
            if size > limit:
                raise MalformedResponseError(
                    f"The response is larger than SizeLimits.body_bytes ({limit})."
                )
            parts.append(data)
            watchdog.received(now())
            data = await content.readany()
        return b"".join(parts)


def _note_first_token(watchdog: Watchdog, http: Exchange) -> None:
    # A function, not a method: an open stream must not keep the reader, which has
    # the body of the request.
    watchdog.token_seen = True
    http.timings.first_token = watchdog.last_byte - watchdog.granted
