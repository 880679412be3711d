"""One call under way: its attempts, and the waits between them."""

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import aiohttp
from multidict import CIMultiDict

from ..config import Clock
from ..errors import APIError, OpenRouterError
from ..protocol.base_url import BaseURL
from ..protocol.call import Call
from ..protocol.error_parsing import with_exchange
from ..protocol.headers import Secret, mask
from ..protocol.retry import RetryBudget, backoff
from ..types import Attempt, Exchange
from .aiohttp_compat import end_with_connection
from .error_mapping import (
    CAUGHT,
    broken_body,
    forget_frames,
    is_stale,
    translate,
)
from .limiter import AttemptLimiter
from .pool import PoisonedError, Pool, current
from .response_reader import ResponseReader
from .watchdog import Stage, Watchdog

T = TypeVar("T")
R = TypeVar("R")

logger = logging.getLogger("openrouter_async")


class _StaleConnectionError(Exception):
    """A pooled connection was dead before the request reached anybody."""


class RetryLoop(Generic[T, R]):
    """One call under way."""

    __slots__ = (
        "_authorize",
        "_budget",
        "_call",
        "_clock",
        "_gate",
        "_http",
        "_place",
        "_pool",
        "_queued",
        "_read",
        "_resent",
        "_spare",
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
        authorize: Callable[[object, BaseURL], Secret],
        gate: AttemptLimiter | None,
        read: Callable[[ResponseReader[T]], Awaitable[R]],
    ) -> None:
        self._call = call
        self._pool = pool
        self._http = http
        self._clock = clock
        self._budget = budget
        self._authorize = authorize
        self._gate = gate
        self._read = read
        self._watch = Watchdog(pool.ticker, call.timeouts)
        self._place = call.base_url.address
        self._started: float | None = None
        self._queued = 0.0
        self._resent = False
        # Attempts that do not count.
        self._spare = 0

    async def run(self) -> R:
        """
        Send it until there is an answer, or an error that is not sent again.

        Raises:
            OpenRouterError: With the exchange and all attempts on it.
        """
        watch = self._watch
        gate = self._gate
        waited = 0.0
        kept = False
        try:
            while True:
                failure: OpenRouterError | None
                try:
                    if gate is None:
                        answer = await self._attempt(waited)
                    else:
                        answer = await self._admitted(waited, gate)
                except _StaleConnectionError as stale:
                    failure = self._resend(stale)
                except OpenRouterError as error:
                    failure = error
                else:
                    kept = self._call.stream
                    return answer
                if failure is None:
                    waited = 0.0
                    continue
                waited = self._wait_after(failure)
                # What ended the attempt does not end the wait.
                watch.failure = None
                await self._clock.sleep(waited)
        except asyncio.CancelledError:
            if watch.caught() and watch.failure is not None:
                raise with_exchange(watch.failure, self._http) from None
            raise
        finally:
            if not kept:
                watch.stop()

    # Again or not.

    def _resend(self, stale: _StaleConnectionError) -> OpenRouterError | None:
        """Return None if it is sent again, once and for nothing; else the error."""
        if self._call.retries.max_attempts > 1 and not self._resent:
            self._resent = True
            self._spare += 1
            self._log_silence("a dead pooled connection")
            logger.info("A pooled connection was dead; sending again.")
            return None
        cause = stale.__cause__
        sent = not isinstance(cause, PoisonedError)
        error = translate(cause or stale, self._place, self._http, connected=sent)
        error.__cause__ = cause
        return error

    def _wait_after(self, error: OpenRouterError) -> float:
        """Return the seconds until the next attempt, or raise the error."""
        attempts = self._http.attempts
        # An error on the way to the next attempt is none of the last one.
        if attempts and attempts[-1].error is None:
            self._note_error(attempts[-1], error)
        wait = self._spared(error)
        if wait is not None:
            self._spare += 1
            self._leave_out(wait)
        else:
            wait = self._next_wait(error, len(attempts) - self._spare)
        if wait is None:
            raise error
        logger.info(
            "%s; attempt %d of %d in %.2f s.",
            type(error).__name__,
            len(attempts) - self._spare + 1,
            self._call.retries.max_attempts,
            wait,
        )
        return wait

    def _spared(self, error: OpenRouterError) -> float | None:
        """Return the wait after a failure that the gate does not count, else None."""
        if self._gate is None:
            return None
        return self._gate.retry_delay(error, self._clock.random())

    def _next_wait(self, error: OpenRouterError, made: int) -> float | None:
        remaining = None
        total = self._call.timeouts.total
        now = self._clock.now()
        if total is not None and self._started is not None:
            remaining = total - (now - self._started - self._queued)
        if made < 1:
            return None
        wait = backoff(
            error,
            self._call.retries,
            attempts=made,
            remaining=remaining,
            random=self._clock.random(),
        )
        if wait is None:
            return None
        named = isinstance(error, APIError) and error.retry_after is not None
        if not named and not self._budget.try_retry(now, self._call.retries.budget):
            error.hint = "Not sent again: the retry budget is used up."
            return None
        return wait

    # One attempt.

    async def _admitted(self, waited: float, gate: AttemptLimiter) -> R:
        """Make one attempt when the gate lets it, and tell the gate how it went."""
        asked = self._pool.loop.time()
        self._watch.stage = Stage.LIMITER
        await gate.acquire()
        self._watch.stage = Stage.IDLE
        held = self._pool.loop.time() - asked
        try:
            answer = await self._attempt(waited, held)
        except BaseException as error:
            gate.release(error)
            raise
        gate.release(None)
        return answer

    async def _attempt(self, waited: float, held: float = 0.0) -> R:
        """Make one attempt; `held`: the seconds that it stood at the gate."""
        key = self._call.api_key
        if callable(key):
            found = mask(key())
            key = found if isinstance(found, str) else mask(await found)
        secret = self._authorize(key, self._call.base_url)
        pool, watch, http = self._pool, self._watch, self._http
        asked = granted = pool.loop.time()
        if not pool.slots.try_acquire():
            await pool.queue(watch)
            granted = pool.loop.time()
        kept = False
        try:
            self._grant(granted, granted - asked + held)
            http.attempts.append(Attempt(waited=waited))
            answer = await self._exchange(secret, granted)
        except asyncio.CancelledError:
            if watch.transport is not None:
                watch.transport.abort()
            raise
        else:
            http.attempts[-1].billing = "billed"
            kept = self._call.stream
            return answer
        finally:
            if not kept:
                pool.slots.release()
                watch.rest()

    def _grant(self, granted: float, queued: float) -> None:
        """Start the clocks; queueing is left out of them."""
        watch = self._watch
        http = self._http
        http.timings.queued = (http.timings.queued or 0.0) + queued
        total = self._call.timeouts.total
        if self._started is None:
            self._started = self._clock.now()
            self._budget.record_call(self._started)
            watch.deadline = None if total is None else granted + total
        else:
            self._leave_out(queued)
        http.status = None
        watch.begin(granted)

    def _leave_out(self, seconds: float) -> None:
        """Let the clock of the whole call stand for so long: it was not its fault."""
        self._queued += seconds
        if self._watch.deadline is not None:
            self._watch.deadline += seconds

    async def _exchange(self, key: Secret, granted: float) -> R:
        """Send the request and read the reply, in a slot."""
        watch = self._watch
        response = await self._ask(key)
        timings = self._http.timings
        timings.headers = self._pool.loop.time() - granted
        timings.connect = (watch.connected_at or granted) - granted
        self._note(response)
        content = response.content
        if content.is_eof():
            # A short body comes with its headers; the pool has the connection back.
            watch.transport = None
        else:
            content.on_eof(watch.let_go)
            end_with_connection(content, watch.protocol)
        whole = False
        reader = ResponseReader(
            response, self._call, self._http, self._pool, watch, key
        )
        try:
            answer = await self._read(reader)
        except asyncio.CancelledError:
            if watch.caught() and watch.failure is not None:
                watch.failure.partial = reader.partial()
                raise with_exchange(watch.failure, self._http) from None
            raise
        except CAUGHT as error:
            broken = broken_body(error, self._http)
            broken.partial = reader.partial()
            raise broken from error
        except OpenRouterError as error:
            raise with_exchange(error, self._http) from error.__cause__
        else:
            whole = True
            return answer
        finally:
            if not whole:
                if watch.transport is not None:
                    watch.transport.abort()
                response.close()

    async def _ask(self, key: Secret) -> aiohttp.ClientResponse:
        """Send the request; return the reply once its headers are in."""
        call = self._call
        watch = self._watch
        headers = CIMultiDict(call.headers)
        headers["Authorization"] = key
        handled = sys.exception()
        token = current.set(watch)
        try:
            return await self._pool.request(call.method, call.url, headers, call.body)
        except (*CAUGHT, ValueError) as error:
            forget_frames(error, handled)
            raise self._no_answer(error) from error
        except asyncio.CancelledError:
            if watch.caught() and watch.failure is not None:
                raise self._stopped(watch.failure) from None
            raise
        finally:
            current.reset(token)

    def _no_answer(self, error: Exception) -> Exception:
        connected = self._watch.connected_at
        if connected is not None:
            seconds = self._pool.loop.time() - connected
            if is_stale(error, reused=self._watch.reused, seconds=seconds):
                self._http.attempts[-1].billing = "not_accepted"
                self._http.attempts[-1].error = "The pooled connection was dead."
                stale = _StaleConnectionError()
                stale.__cause__ = error
                return stale
        return translate(
            error, self._place, self._http, connected=connected is not None
        )

    def _stopped(self, failure: OpenRouterError) -> OpenRouterError:
        if self._watch.connected_at is None:
            self._http.attempts[-1].billing = "not_accepted"
        return with_exchange(failure, self._http)

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
