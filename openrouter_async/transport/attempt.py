"""AttemptRunner: one attempt of a call, from the limiter to the end of its response."""

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Generic, TypeVar

from ..config import Clock
from ..errors import APITimeoutError, OpenRouterError
from ..protocol.base_url import BaseURL
from ..protocol.call import Call
from ..protocol.error_parsing import with_exchange
from ..protocol.headers import Secret, mask
from ..protocol.retry import RetryBudget
from ..types import Attempt, Exchange
from .admission import Admission
from .aiohttp_compat import end_with_connection
from .call_limiter import CallLimiter
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


class HeldBackError(Exception):
    """A cooldown began while an attempt waited for its slot or key."""


class AttemptRunner(Generic[T, R]):
    """
    Makes the attempts of one call, one at a time.

    An attempt passes the limiter, waits for a connection slot, sends the request and
    reads the response. However it ends, the slot is released and the connection is
    back in the pool or closed; only an open stream keeps both.

    Attributes:
        limiter: Admits each attempt. None: nothing has held the call back so far.
        unsent: The error of an attempt that was not sent, because a cooldown lasts
            longer than the call may wait; None if there is none.
    """

    __slots__ = (
        "_admission",
        "_authorize",
        "_budget",
        "_call",
        "_clock",
        "_http",
        "_may_be_held",
        "_pool",
        "_read",
        "_started",
        "_watchdog",
        "limiter",
        "unsent",
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
        admission: Admission | None,
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
            limiter: Admits each attempt of a row; None for any other call.
            admission: The limits of a chat call; None for any other call.
            read: Reads a response whose headers have arrived.
        """
        self._call = call
        self._pool = pool
        self._http = http
        self._clock = clock
        self._watchdog = watchdog
        self._budget = budget
        self._authorize = authorize
        self._admission = admission
        self._read = read
        self.limiter = limiter
        self.unsent: OpenRouterError | None = None
        # Set when an attempt has waited, or has a limiter.
        self._may_be_held = False
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
        admission = self._admission
        if admission is None or (admission.is_open and self.limiter is None):
            return self._attempt(waited)
        return self._admitted(waited, self.limiter or self.open_limiter())

    def open_limiter(self) -> CallLimiter:
        """Create the limiter of a chat call that did not need one so far."""
        assert self._admission is not None
        limiter = CallLimiter(self._admission, self._call, self._watchdog)
        self.limiter = limiter
        return limiter

    async def _admitted(self, waited: float, limiter: AttemptLimiter) -> R:
        """Make one attempt when the limiter admits it, and report its outcome."""
        self._may_be_held = True
        if self._call.stream:
            self._watchdog.permit = limiter
        while True:
            if not limiter.try_acquire():
                waited += await self._acquire(limiter)
            try:
                result = await self._attempt(waited)
            except HeldBackError:
                limiter.cancel()
                continue
            except BaseException as error:
                limiter.ended(error)
                limiter.release()
                raise
            limiter.ended(None)
            if not self._call.stream:
                limiter.release()
            return result

    async def _acquire(self, limiter: AttemptLimiter) -> float:
        """Wait until the limiter admits an attempt; return the seconds in cooldowns."""
        watchdog, timings = self._watchdog, self._http.timings
        watchdog.stage = Stage.LIMITER
        try:
            await limiter.acquire()
        except OpenRouterError as error:
            self.unsent = with_exchange(error, self._http)
            raise
        finally:
            watchdog.stage = Stage.IDLE
            permit, cooled = limiter.waits()
            timings.permit = (timings.permit or 0.0) + permit
            timings.cooldown = (timings.cooldown or 0.0) + cooled
            if limiter.is_row:
                watchdog.postpone_deadline(permit + cooled)
        return cooled

    async def _attempt(self, waited: float) -> R:
        """Make one attempt in a slot; `waited` is for the record."""
        # Before the slot is taken: the function may ask another server.
        key = self._call.api_key
        if callable(key):
            key = await _resolve(key)
            self._may_be_held = True
        secret = self._authorize(key, self._call.base_url)
        pool, watchdog, http = self._pool, self._watchdog, self._http
        asked_at = granted = self._clock.now()
        if not pool.slots.try_acquire():
            await self._wait_for_slot()
            self._may_be_held = True
            granted = self._clock.now()
        if self._may_be_held and not self._may_send():
            return await self._hold_back(waited, granted - asked_at)
        keeps_slot = False
        try:
            self._start(granted, granted - asked_at)
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

    def _may_send(self) -> bool:
        """Return False if a cooldown has begun while the attempt waited."""
        if self.limiter is not None:
            return self.limiter.may_send()
        return self._admission is None or self._admission.is_open

    async def _hold_back(self, waited: float, queued: float) -> R:
        """Make an attempt that has a slot later, when the cooldown is over."""
        self._pool.slots.release()
        self._count_queue(queued)
        if self.limiter is not None:
            raise HeldBackError
        return await self._admitted(waited, self.open_limiter())

    async def _wait_for_slot(self) -> None:
        """
        Wait for a connection slot.

        Raises:
            APITimeoutError: If the timeout `pool` expired.
            ClosedError: If the client was closed.
            APIError: If `pool` expired, and a cooldown has begun meanwhile.
        """
        limiter, admission = self.limiter, self._admission
        try:
            await self._pool.wait_for_slot(
                self._watchdog,
                None if limiter is None else limiter.waiting_since,
                is_row=limiter is not None and limiter.is_row,
            )
        except APITimeoutError:
            if admission is None or not admission.scope.cooldowns:
                raise
            refusal = (self.limiter or self.open_limiter()).refusal()
            if refusal is None:
                raise
            self.unsent = with_exchange(refusal, self._http)
            raise refusal from None

    def _count_queue(self, queued: float) -> None:
        """Record the wait for a slot, which is left out of all other timeouts."""
        timings = self._http.timings
        timings.queued = (timings.queued or 0.0) + queued
        self._watchdog.postpone_deadline(queued)

    def _start(self, granted: float, queued: float) -> None:
        """Start the timeouts of an attempt that waited so long for its slot."""
        watchdog, http = self._watchdog, self._http
        if queued or self._started:
            self._count_queue(queued)
        else:
            http.timings.queued = 0.0
        if not self._started:
            self._started = True
            self._budget.record_call(granted)
            total = self._call.timeouts.total
            if watchdog.deadline is None and total is not None:
                # It has not waited in a cooldown, which counts towards `total`.
                watchdog.deadline = granted + total
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
            end_with_connection(content, watchdog)
        reader = ResponseReader(
            response,
            self._call,
            self._http,
            self._pool,
            watchdog,
            key,
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
            self._note_unsent()
            failure = watchdog.failure
            if watchdog.caught() and failure is not None:
                raise with_exchange(failure, self._http) from None
            raise
        except (OpenRouterError, KeyboardInterrupt, SystemExit, GeneratorExit):
            self._note_unsent()
            raise
        except BaseException as error:
            # The connector or resolver of a session that belongs to the caller may
            # raise anything. Its traceback is kept: nothing was written yet, so that
            # no frame holds the key.
            if watchdog.connected_at is not None:
                raise
            raise self._translate(error) from error

    def _note_unsent(self) -> None:
        """Record that an attempt without a connection has not been billed."""
        if self._watchdog.connected_at is None:
            self._http.attempts[-1].billing = "not_accepted"

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
        if logger.isEnabledFor(logging.DEBUG):
            logger.debug(
                "%s %s: %d, attempt %d, generation %s.",
                self._call.method,
                self._call.base_url.address,
                http.status,
                len(http.attempts),
                http.generation_id,
            )


async def _resolve(key: Callable[[], str | Awaitable[str]]) -> str:
    """Return the key that a function of the caller returns."""
    found = mask(key())
    return found if isinstance(found, str) else mask(await found)
