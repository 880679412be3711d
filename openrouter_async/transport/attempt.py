"""AttemptRunner: one attempt of a call, from the limiter to the end of its response."""

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Generic, TypeVar

from ..config import Clock
from ..errors import OpenRouterError
from ..protocol.base_url import BaseURL
from ..protocol.call import Call
from ..protocol.error_parsing import with_exchange
from ..protocol.headers import Secret, mask
from ..protocol.retry import RetryBudget
from ..types import Attempt, Exchange
from .aiohttp_compat import end_with_connection
from .direct_request import Response
from .error_mapping import CAUGHT, broken_body, forget_frames, is_stale, translate
from .limiter import AttemptLimiter
from .pool import Pool
from .response_reader import ResponseReader
from .watchdog import Stage, Watchdog

T = TypeVar("T")
R = TypeVar("R")

logger = logging.getLogger("openrouter_async")


class StaleConnectionError(Exception):
    """A pooled connection was dead before the request reached the server."""


class AttemptRunner(Generic[T, R]):
    """
    Makes the attempts of one call, one at a time.

    An attempt passes the limiter, waits for a connection slot, sends the request and
    reads the response. However it ends, the slot is released and the connection is
    back in the pool or closed; only an open stream keeps both.
    """

    __slots__ = (
        "_authorize",
        "_budget",
        "_call",
        "_clock",
        "_http",
        "_limiter",
        "_pool",
        "_read",
        "_started",
        "_watchdog",
    )

    def __init__(
        self,
        call: Call[T],
        pool: Pool,
        http: Exchange,
        clock: Clock,
        watchdog: Watchdog,
        budget: RetryBudget,
        authorize: Callable[[object, BaseURL], Secret],
        limiter: AttemptLimiter | None,
        read: Callable[[ResponseReader[T]], Awaitable[R]],
    ) -> None:
        """
        Prepare the attempts of a call.

        Args:
            call: The call.
            pool: The session and the slots of the event loop.
            http: The exchange of the call, filled in by each attempt.
            clock: The source of time.
            watchdog: The timeouts of the call.
            budget: Counts the call when its first slot is granted.
            authorize: Returns the Authorization header for a key.
            limiter: Admits each attempt; None admits them at once.
            read: Reads a response whose headers have arrived.
        """
        self._call = call
        self._pool = pool
        self._http = http
        self._clock = clock
        self._watchdog = watchdog
        self._budget = budget
        self._authorize = authorize
        self._limiter = limiter
        self._read = read
        # Set when the first slot is granted.
        self._started = False

    def run(self, waited: float) -> Coroutine[Any, Any, R]:
        """
        Make one attempt.

        Args:
            waited: Seconds waited before it, for the record.

        Raises:
            OpenRouterError: If the attempt failed; with the exchange.
            StaleConnectionError: If a pooled connection was dead. The server has not
                received the request.
        """
        if self._limiter is None:
            return self._attempt(waited, 0.0)
        return self._admitted(waited, self._limiter)

    async def _admitted(self, waited: float, limiter: AttemptLimiter) -> R:
        """Make one attempt when the limiter admits it, and report its outcome."""
        asked_at = self._clock.now()
        self._watchdog.stage = Stage.LIMITER
        await limiter.acquire()
        self._watchdog.stage = Stage.IDLE
        try:
            result = await self._attempt(waited, self._clock.now() - asked_at)
        except BaseException as error:
            limiter.release(error)
            raise
        limiter.release(None)
        return result

    async def _attempt(self, waited: float, queued: float) -> R:
        """Make one attempt in a slot; `queued`: seconds that it waited before."""
        # Before the slot is taken: the function may ask another server.
        key = self._call.api_key
        if callable(key):
            found = mask(key())
            key = found if isinstance(found, str) else mask(await found)
        secret = self._authorize(key, self._call.base_url)
        pool, watchdog, http = self._pool, self._watchdog, self._http
        asked_at = granted = self._clock.now()
        if not pool.slots.try_acquire():
            await pool.wait_for_slot(watchdog)
            granted = self._clock.now()
        keeps_slot = False
        try:
            self._start(granted, granted - asked_at + queued)
            http.attempts.append(Attempt(waited=waited))
            result = await self._exchange(secret, granted)
        except asyncio.CancelledError:
            if watchdog.transport is not None:
                watchdog.transport.abort()
            raise
        else:
            http.attempts[-1].billing = "billed"
            keeps_slot = self._call.stream
            return result
        finally:
            if not keeps_slot:
                pool.slots.release()
                watchdog.end_attempt()

    def _start(self, granted: float, queued: float) -> None:
        """Start the timeouts. The time in queues is left out of all of them."""
        watchdog, http = self._watchdog, self._http
        http.timings.queued = (http.timings.queued or 0.0) + queued
        if self._started:
            watchdog.postpone_deadline(queued)
        else:
            self._started = True
            self._budget.record_call(granted)
            total = self._call.timeouts.total
            watchdog.deadline = None if total is None else granted + total
        http.status = None
        watchdog.start_attempt(granted)

    async def _exchange(self, key: Secret, granted: float) -> R:
        """Send the request and read the response."""
        watchdog = self._watchdog
        response = await self._send(key)
        timings = self._http.timings
        timings.headers = self._clock.now() - granted
        timings.connect = (watchdog.connected_at or granted) - granted
        self._record(response)
        content = response.content
        if content.is_eof():
            # A short body arrives with its headers; the connection is already back in
            # the pool, and may belong to another call.
            watchdog.transport = None
        else:
            content.on_eof(watchdog.release_connection)
            end_with_connection(content, watchdog.protocol)
        reader = ResponseReader(
            response, self._call, self._http, self._pool, watchdog, key
        )
        completed = False
        try:
            result = await self._read(reader)
        except asyncio.CancelledError:
            if watchdog.caught() and watchdog.failure is not None:
                watchdog.failure.partial = reader.partial()
                raise with_exchange(watchdog.failure, self._http) from None
            raise
        except CAUGHT as error:
            broken = broken_body(error, self._http)
            broken.partial = reader.partial()
            raise broken from error
        except OpenRouterError as error:
            raise with_exchange(error, self._http) from error.__cause__
        else:
            completed = True
            return result
        finally:
            if not completed:
                if watchdog.transport is not None:
                    watchdog.transport.abort()
                response.close()

    async def _send(self, key: Secret) -> Response:
        """Send the request; return the response once its headers have arrived."""
        watchdog = self._watchdog
        # The caller may send a request while it handles an exception of its own.
        handled = sys.exception()
        try:
            return await self._pool.send(self._call, key, watchdog)
        except (*CAUGHT, ValueError) as error:
            forget_frames(error, handled)
            raise self._translate(error) from error
        except asyncio.CancelledError:
            failure = watchdog.failure
            if watchdog.caught() and failure is not None:
                if watchdog.connected_at is None:
                    self._http.attempts[-1].billing = "not_accepted"
                raise with_exchange(failure, self._http) from None
            raise
        except (OpenRouterError, KeyboardInterrupt, SystemExit, GeneratorExit):
            raise
        except BaseException as error:
            # The connector or resolver of a session that belongs to the caller may
            # raise anything. Its traceback is kept: nothing was written yet, so that
            # no frame holds the key.
            if watchdog.connected_at is not None:
                raise
            raise self._translate(error) from error

    def _translate(self, error: BaseException) -> Exception:
        """Return the exception for an error before the headers of the response."""
        connected_at = self._watchdog.connected_at
        if connected_at is not None:
            seconds = self._clock.now() - connected_at
            if is_stale(error, reused=self._watchdog.reused, seconds=seconds):
                attempt = self._http.attempts[-1]
                attempt.billing = "not_accepted"
                attempt.error = "The pooled connection was dead."
                stale = StaleConnectionError()
                stale.__cause__ = error
                return stale
        return translate(
            error,
            self._call.base_url.address,
            self._http,
            connected=connected_at is not None,
            proxy=self._pool.proxy_address(self._call.url),
        )

    def _record(self, response: Response) -> None:
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
            self._call.base_url.address,
            http.status,
            len(http.attempts),
            http.generation_id,
        )
