"""One call under way: its attempts, and the waits between them."""

import asyncio
import inspect
import logging
import sys
import time
from typing import Final, Generic, TypeVar

import aiohttp
from multidict import CIMultiDict

from ..codec import encode
from ..envelope import error_from_body, error_from_reply
from ..errors import (
    APIError,
    MalformedResponseError,
    OpenRouterError,
    StreamInterruptedError,
)
from ..fold import Fold
from ..retry import RetryBudget, next_wait
from ..sse import ServerSentEvent
from ..types import (
    Attempt,
    ChatResponse,
    ChatStreamingResponseChunk,
    Clock,
    Exchange,
)
from ..wire import (
    DONE,
    Call,
    Secret,
    attach,
    bearer,
    chunk_of,
    find_error,
    folded,
    hide,
    is_empty,
    is_event_stream,
    media_type,
    read_event,
)
from .answer import Answer
from .broken import end_with_connection
from .faults import CAUGHT, broken_body, forget_frames, is_stale, translate
from .feed import Feed
from .gate import Gate
from .pool import Pool, Sending
from .watch import Stage, Watch

T = TypeVar("T")

logger = logging.getLogger("openrouter_async")

_OK: Final = range(200, 300)


class _StaleConnectionError(Exception):
    """A pooled connection was dead before the request reached anybody."""


class Dispatch(Generic[T]):
    """One call under way."""

    __slots__ = (
        "_budget",
        "_call",
        "_clock",
        "_gate",
        "_http",
        "_place",
        "_pool",
        "_queued",
        "_started",
        "_watch",
    )

    def __init__(
        self,
        call: Call[T],
        pool: Pool,
        http: Exchange,
        clock: Clock,
        budget: RetryBudget,
        gate: Gate | None = None,
    ) -> None:
        self._call = call
        self._pool = pool
        self._http = http
        self._clock = clock
        self._budget = budget
        self._gate = gate
        self._watch = Watch(pool.loop, call.timeouts)
        self._place = call.origin.place
        self._started: float | None = None
        self._queued = 0.0

    async def run(self) -> Answer[T]:
        """
        Send it until there is an answer, or an error that is not sent again.

        Raises:
            OpenRouterError: With the exchange and all attempts on it.
        """
        watch = self._watch
        self._pool.active.add(watch)
        kept = False
        try:
            answer = await self._attempts()
        except asyncio.CancelledError:
            if watch.caught() and watch.failure is not None:
                raise attach(watch.failure, self._http) from None
            raise
        else:
            kept = answer.feed is not None
            return answer
        finally:
            if not kept:
                watch.stop()
                self._pool.active.discard(watch)

    async def _attempts(self) -> Answer[T]:
        retries = self._call.retries
        waited = 0.0
        may_resend = retries.max_attempts > 1
        spare = 0
        while True:
            try:
                if self._gate is None:
                    return await self._attempt(waited)
                return await self._admitted(waited, self._gate)
            except _StaleConnectionError as stale:
                if may_resend:
                    may_resend = False
                    spare += 1
                    waited = 0.0
                    self._log_silence("a dead pooled connection")
                    logger.info("A pooled connection was dead; sending again.")
                    continue
                cause = stale.__cause__
                error: OpenRouterError = translate(
                    cause or stale, self._place, self._http, connected=True
                )
                error.__cause__ = cause
            except OpenRouterError as caught:
                error = caught
            attempts = self._http.attempts
            # An error on the way to the next attempt is none of the last one.
            if attempts and attempts[-1].error is None:
                self._note_error(attempts[-1], error)
            wait = self._spared(error)
            if wait is not None:
                spare += 1
            else:
                wait = self._next_wait(error, len(attempts) - spare)
            if wait is None:
                raise error
            logger.info(
                "%s; attempt %d of %d in %.2f s.",
                type(error).__name__,
                len(attempts) - spare + 1,
                retries.max_attempts,
                wait,
            )
            # What ended the attempt does not end the wait.
            self._watch.failure = None
            await self._clock.sleep(wait)
            waited = wait

    async def _admitted(self, waited: float, gate: Gate) -> Answer[T]:
        """Make one attempt when the gate lets it, and tell the gate how it went."""
        asked = self._pool.loop.time()
        await gate.enter()
        held = self._pool.loop.time() - asked
        try:
            answer = await self._attempt(waited, held)
        except BaseException as error:
            gate.leave(error)
            raise
        gate.leave(None)
        return answer

    def _spared(self, error: OpenRouterError) -> float | None:
        """Return the wait after a failure that the gate does not count, else None."""
        if self._gate is None:
            return None
        return self._gate.spare(error, self._clock.random())

    def _next_wait(self, error: OpenRouterError, made: int) -> float | None:
        remaining = None
        total = self._call.timeouts.total
        now = self._clock.now()
        if total is not None and self._started is not None:
            remaining = total - (now - self._started - self._queued)
        if made < 1:
            return None
        wait = next_wait(
            error,
            self._call.retries,
            made=made,
            remaining=remaining,
            chance=self._clock.random(),
        )
        if wait is None:
            return None
        named = isinstance(error, APIError) and error.retry_after is not None
        if not named and not self._budget.repeat(now, self._call.retries.budget):
            error.hint = "Not sent again: the retry budget is used up."
            return None
        return wait

    async def _attempt(self, waited: float, held: float = 0.0) -> Answer[T]:
        """Make one attempt; `held`: the seconds that it stood at the gate."""
        key = await self._key()
        watch = self._watch
        http = self._http
        asked = self._pool.loop.time()
        granted = await self._pool.acquire(watch)
        kept = False
        try:
            self._grant(granted, granted - asked + held)
            http.attempts.append(Attempt(waited=waited))
            answer = await self._send(key, granted)
        except asyncio.CancelledError:
            if watch.transport is not None:
                watch.transport.abort()
            raise
        else:
            http.attempts[-1].billing = "billed"
            kept = answer.feed is not None
            return answer
        finally:
            if not kept:
                self._pool.release()
                watch.rest()

    def _grant(self, granted: float, queued: float) -> None:
        """Start the clocks; queueing is left out of them."""
        watch = self._watch
        http = self._http
        http.timings.queued = (http.timings.queued or 0.0) + queued
        total = self._call.timeouts.total
        if self._started is None:
            self._started = self._clock.now()
            self._budget.first(self._started)
            watch.deadline = None if total is None else granted + total
        else:
            self._queued += queued
            if watch.deadline is not None:
                watch.deadline += queued
        http.status = None
        watch.begin(granted)

    async def _key(self) -> Secret:
        key = self._call.api_key
        if callable(key):
            found = hide(key())
            key = hide(await found) if inspect.isawaitable(found) else found
        return bearer(key, self._call.origin)

    async def _send(self, key: Secret, granted: float) -> Answer[T]:
        """Make one attempt, in a slot."""
        watch = self._watch
        sending = Sending(watch)
        response = await self._ask(key, sending)
        timings = self._http.timings
        timings.headers = self._pool.loop.time() - granted
        if sending.connected_at is not None:
            timings.connect = sending.connected_at - granted
        self._note(response)
        if response.content.is_eof():
            # A short body comes with its headers; the pool has the connection back.
            watch.let_go()
        else:
            response.content.on_eof(watch.let_go)
            end_with_connection(response.content, sending.protocol)
        whole = False
        try:
            answer = await self._read(response, key, granted)
        except asyncio.CancelledError:
            if watch.caught() and watch.failure is not None:
                raise attach(watch.failure, self._http) from None
            raise
        except CAUGHT as error:
            raise broken_body(error, self._http) from error
        except OpenRouterError as error:
            raise attach(error, self._http) from error.__cause__
        else:
            whole = True
            return answer
        finally:
            if not whole:
                if watch.transport is not None:
                    watch.transport.abort()
                response.close()

    async def _ask(self, key: Secret, sending: Sending) -> aiohttp.ClientResponse:
        """Send the request; return the reply once its headers are in."""
        call = self._call
        headers = CIMultiDict(call.headers)
        headers["Authorization"] = key
        watch = self._watch
        handled = sys.exception()
        try:
            return await self._pool.request(
                call.method,
                call.url,
                headers,
                call.body,
                sending,
            )
        except (*CAUGHT, ValueError) as error:
            forget_frames(error, handled)
            raise self._no_answer(error, sending) from error
        except asyncio.CancelledError:
            if watch.caught() and watch.failure is not None:
                raise self._stopped(watch.failure, sending) from None
            raise

    def _no_answer(self, error: Exception, sending: Sending) -> Exception:
        connected = sending.connected_at
        if connected is not None:
            seconds = self._pool.loop.time() - connected
            if is_stale(error, reused=sending.reused, seconds=seconds):
                self._http.attempts[-1].billing = "not_accepted"
                self._http.attempts[-1].error = "The pooled connection was dead."
                stale = _StaleConnectionError()
                stale.__cause__ = error
                return stale
        return translate(
            error, self._place, self._http, connected=connected is not None
        )

    def _stopped(self, failure: OpenRouterError, sending: Sending) -> OpenRouterError:
        if sending.connected_at is None:
            self._http.attempts[-1].billing = "not_accepted"
        return attach(failure, self._http)

    def _note(self, response: aiohttp.ClientResponse) -> None:
        http = self._http
        http.status = response.status
        http.headers = response.headers
        http.generation_id = response.headers.get("X-Generation-Id")
        attempt = http.attempts[-1]
        attempt.status = http.status
        attempt.generation_id = http.generation_id
        logger.debug(
            "%s %s: %d, attempt %d, generation %s.",
            self._call.method,
            self._place,
            http.status,
            len(http.attempts),
            http.generation_id,
        )

    def _note_error(self, attempt: Attempt, error: OpenRouterError) -> None:
        attempt.error = f"{type(error).__name__}: {error.message}"[:200]
        if attempt.status is None:
            self._log_silence(type(error).__name__)

    def _log_silence(self, why: str) -> None:
        logger.debug(
            "%s %s: no answer, attempt %d: %s.",
            self._call.method,
            self._place,
            len(self._http.attempts),
            why,
        )

    async def _read(
        self, response: aiohttp.ClientResponse, key: Secret, granted: float
    ) -> Answer[T]:
        call = self._call
        http = self._http
        if response.status not in _OK:
            body = await self._read_error(response, call.limits.error_bytes)
            body = _without(body, key)
            raise error_from_reply(body, http, wall=time.time())
        if call.stream:
            return await self._open(response)
        body = await self._read_body(response, b"", granted)
        value = call.parse(body, http, time.time())
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
        return Answer(http=http, value=value)

    async def _read_error(self, response: aiohttp.ClientResponse, limit: int) -> bytes:
        parts: list[bytes] = []
        size = 0
        try:
            while size < limit and (data := await response.content.readany()):
                parts.append(data)
                size += len(data)
        except CAUGHT:
            # The status alone tells what happened; the rest of the words is lost.
            logger.debug("The body of an error broke off.")
        return b"".join(parts)[:limit]

    async def _read_body(
        self, response: aiohttp.ClientResponse, start: bytes, granted: float
    ) -> bytes:
        """Read a whole body; white space in front of it keeps nothing alive."""
        watch = self._watch
        limit = self._call.limits.body_bytes
        content = response.content
        parts: list[bytes] = []
        size = 0
        data = start or await content.readany()
        while data:
            if not size:
                data = data.lstrip()
                if not data:
                    data = await content.readany()
                    continue
                watch.token_seen = True
                now = self._pool.loop.time()
                self._http.timings.first_token = now - granted
            size += len(data)
            if size > limit:
                raise MalformedResponseError(
                    f"The reply is larger than Limits.body_bytes ({limit})."
                )
            parts.append(data)
            data = await content.readany()
        return b"".join(parts)

    async def _open(self, response: aiohttp.ClientResponse) -> Answer[T]:
        """Return a stream once its first event is in and is no error."""
        http = self._http
        watch = self._watch
        watch.enter(Stage.STREAM, self._pool.loop.time())
        start = b""
        stream = media_type(http) == "text/event-stream"
        if not stream and media_type(http) not in ("application/json", "text/html"):
            while not start and (data := await response.content.readany()):
                start = data.lstrip()
            stream = is_event_stream(http, start)
        feed = Feed(
            response, watch, http, self._call.limits.event_bytes, self._pool.loop
        )
        if not stream:
            return await self._open_whole(response, start, feed)
        events = await feed.read(start)
        if events is None:
            raise StreamInterruptedError("The stream ended before its first event.")
        first = events[0]
        if first.data != DONE:
            self._judge(read_event(first, http))
        return Answer(http=http, feed=feed, events=events)

    def _judge(self, chunk: ChatStreamingResponseChunk) -> None:
        """Raise if the first event is an error: nothing was delivered yet."""
        http = self._http
        http.generation_id = http.generation_id or chunk.id
        error = find_error(chunk.raw)
        if error is None:
            return
        fold = Fold()
        fold.add(chunk)
        raise error_from_body(
            chunk.raw,
            http,
            wall=time.time(),
            error=error,
            partial=folded(fold, http),
        )

    async def _open_whole(
        self, response: aiohttp.ClientResponse, start: bytes, feed: Feed
    ) -> Answer[T]:
        """A completion in place of a stream becomes a stream of one chunk."""
        watch = self._watch
        watch.stage = Stage.REPLY
        body = await self._read_body(response, start, watch.granted)
        value = self._call.parse(body, self._http, time.time())
        if not isinstance(value, ChatResponse):
            raise MalformedResponseError("The reply is no stream and no completion.")
        events = [
            ServerSentEvent(data=encode(chunk_of(value).raw).decode()),
            ServerSentEvent(data=DONE),
        ]
        return Answer(http=self._http, feed=feed, events=events)


def _without(body: bytes, key: Secret) -> bytes:
    """Return what a server said without the key, should it have echoed it."""
    return body.replace(key.removeprefix("Bearer ").encode(), b"***")
