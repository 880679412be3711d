"""ResponseReader: the response to one attempt, from its headers on."""

import asyncio
import logging
import time
from collections.abc import Callable
from functools import partial
from typing import Final, Generic, TypeVar

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
    is_decisive,
    is_empty,
    is_event_stream,
    partial_of,
)
from ..protocol.stream_state import StreamState
from ..types import ChatResponse, Exchange
from .aiohttp_compat import take_whole
from .decoded_body import Body, open_body, take_buffered
from .direct_request import Response
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

    __slots__ = (
        "_call",
        "_content",
        "_http",
        "_key",
        "_parts",
        "_pool",
        "_response",
        "_start",
        "_watchdog",
    )

    def __init__(
        self,
        response: Response,
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
        self._content: Body = response.content
        self._call = call
        self._http = http
        self._pool = pool
        self._watchdog = watchdog
        self._key = key
        # The bytes that were read to find out what the body is. They are not a local
        # variable, because tracebacks may show those.
        self._start = b""
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
        self._content = open_body(self._response)
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
        on_end: Callable[[StreamState], Callable[[BaseException | None], object]],
    ) -> tuple[EventStream, StreamState]:
        """
        Return the stream, after its first event was received and is not an error.

        Args:
            on_end: Returns, for the state of the stream, the function to call once
                when it ends, with the exception that ended it.

        Raises:
            APIError: If the response or the first event is an error.
            MalformedResponseError: If the body cannot be parsed or is too large.
            StreamInterruptedError: If the body ends before its first event.
            ClientError, OSError, EOFError: If the connection broke.
        """
        if self._response.status not in _OK:
            raise await self._read_error()
        self._content = open_body(self._response)
        watchdog = self._watchdog
        watchdog.enter(Stage.STREAM, self._pool.now())
        is_stream = await self._read_start()
        state = StreamState(
            self._http,
            wall_time=time.time,
            on_first_token=partial(_note_first_token, watchdog, self._http),
            key=self._key,
        )
        stream = EventStream(
            self._response,
            self._content,
            self._http,
            self._pool,
            watchdog,
            limit_bytes=self._call.size_limits.event_bytes,
            on_end=on_end(state),
        )
        if is_stream:
            await self._read_first(stream, state)
        else:
            # A completion in place of a stream.
            watchdog.stage = Stage.RESPONSE
            response = self._parse(await self._read_body(self._take_start()))
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

    async def _read_start(self) -> bool:
        """Read until it is known if the body is a stream, and return if it is."""
        content = self._content
        while not is_decisive(self._start):
            try:
                data = await content.readany()
            except CAUGHT:
                data = take_buffered(content)
                if not data:
                    raise
            if not data:
                break
            self._watchdog.last_byte = self._pool.now()
            self._start = (self._start + data).lstrip()
        return is_event_stream(self._http, self._start)

    def _take_start(self) -> bytes:
        start, self._start = self._start, b""
        return start

    async def _read_first(self, stream: EventStream, state: StreamState) -> None:
        """
        Read until the first chunk or the end; what came with it stays in the buffer.

        Heartbeats before it are skipped.
        """
        while state.first is None and not state.done:
            if not await stream.read(self._take_start()):
                raise StreamInterruptedError("The stream ended before its first event.")
            events = stream.buffer.events
            while state.first is None and events and not state.done:
                # The event is not bound to a name: tracebacks may show local variables.
                state.first = state.feed(events.pop())

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
        parts: list[bytes] = []
        size = 0
        try:
            content = self._content = open_body(self._response)
            while size < limit and (data := await content.readany()):
                parts.append(data)
                size += len(data)
                if content.at_eof():
                    break
                self._watchdog.received(self._pool.now())
        except CAUGHT:
            logger.debug("The body of an error response broke off.")
        except MalformedResponseError as error:
            logger.debug("%s", error.message)
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
        content, watchdog = self._content, self._watchdog
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
        content = self._content
        watchdog = self._watchdog
        now = self._pool.now
        parts = self._parts
        size = 0
        data = start or take_whole(content) or await content.readany()
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
