"""RetryLoop: the attempts of one call, and the waits between them."""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar

from ..config import Clock
from ..errors import APIConnectionError, APIError, APITimeoutError, OpenRouterError
from ..protocol.base_url import BaseURL
from ..protocol.call import Call
from ..protocol.error_parsing import with_exchange
from ..protocol.headers import Secret
from ..protocol.overload import is_server_overload, named_wait
from ..protocol.retry import RetryBudget, backoff
from .admission import Admission
from .aiohttp_compat import UnsolicitedDataError
from .attempt import AttemptRunner, StaleConnectionError
from .call_events import CallReport
from .error_mapping import translate
from .limiter import AttemptLimiter
from .pool import Pool
from .response_reader import ResponseReader
from .watchdog import Watchdog

T = TypeVar("T")
R = TypeVar("R")

logger = logging.getLogger("openrouter_async")

# Enough for the class and the beginning of the message, in the record of an attempt.
_MAX_ERROR_LENGTH: Final = 200


class RetryLoop(Generic[T, R]):
    """
    The attempts of one call, and the waits between them.

    After a failed attempt, the first rule that applies decides:

    1. A pooled connection was dead: retry at once, but only once per call. This is not
       counted as an attempt, because the server has not received the request.
    2. The limiter absorbs the failure, because it means overload: retry after the
       limiter's delay. This is not counted either.
    3. `backoff` allows a retry, and so does the retry budget of the base URL and key:
       retry after the backoff or the server's `Retry-After`.
    4. Otherwise raise the error.
    """

    __slots__ = (
        "_admission",
        "_budget",
        "_call",
        "_clock",
        "_http",
        "_pool",
        "_report",
        "_resent",
        "_runner",
        "_uncounted",
        "_watchdog",
    )

    def __init__(
        self,
        call: Call[T],
        pool: Pool,
        report: CallReport,
        clock: Clock,
        budget: RetryBudget,
        authorize: Callable[[object, BaseURL], Secret],
        limiter: AttemptLimiter | None,
        admission: Admission | None,
        read: Callable[[ResponseReader[T]], Awaitable[R]],
    ) -> None:
        """
        Prepare a call; the current task has to run it.

        Args:
            call: The call.
            pool: The session and the slots of the event loop.
            report: The report of the call. Its exchange is filled in by each attempt.
            clock: The source of time and random numbers.
            budget: The retry budget of the call's base URL and key.
            authorize: Returns the Authorization header for a key.
            limiter: Admits each attempt of a row; None for any other call.
            admission: The limits of a chat call; None if the limiter has them, or if
                none apply.
            read: Reads a response whose headers have arrived.
        """
        self._call = call
        self._pool = pool
        self._report = report
        http = self._http = report.http
        self._clock = clock
        self._budget = budget
        self._admission = admission
        watchdog = self._watchdog = Watchdog(pool.timer, call.timeouts)
        watchdog.limits = admission
        self._runner = AttemptRunner(
            call,
            pool,
            http,
            clock,
            self._watchdog,
            budget,
            authorize,
            limiter,
            admission,
            read,
        )
        self._resent = False
        # Attempts that do not count against `max_attempts`.
        self._uncounted = 0

    async def run(self) -> R:
        """
        Make attempts until one succeeds or its error is not retried.

        Raises:
            OpenRouterError: The error of the last attempt, with the exchange and all
                attempts.
        """
        watchdog = self._watchdog
        waited = 0.0
        is_open_stream = False
        try:
            while True:
                try:
                    result = await self._runner.run(waited)
                except StaleConnectionError as stale:
                    if self._may_resend():
                        waited = 0.0
                        continue
                    failure = self._error_of(stale)
                except OpenRouterError as error:
                    failure = error
                else:
                    is_open_stream = self._call.stream
                    return result
                waited = self._wait_after(failure)
                # The timeout that ended the attempt does not end the wait.
                watchdog.failure = None
                if waited:
                    await self._clock.sleep(waited)
        except asyncio.CancelledError:
            if watchdog.caught() and watchdog.failure is not None:
                raise with_exchange(watchdog.failure, self._http) from None
            raise
        finally:
            if not is_open_stream:
                watchdog.stop()

    def _may_resend(self) -> bool:
        """Return True if the request is sent again after a dead pooled connection."""
        if self._resent or self._call.retries.max_attempts == 1:
            return False
        self._resent = True
        self._uncounted += 1
        self._log_failure("a dead pooled connection")
        # A server or proxy that restarts closes all its idle connections, and one of
        # them must not be taken for the last try.
        self._pool.close_idle(self._call.url)
        logger.info("A pooled connection was dead; sending again.")
        return True

    def _error_of(self, stale: StaleConnectionError) -> OpenRouterError:
        cause = stale.__cause__
        error = translate(
            cause or stale,
            self._call.base_url.address,
            self._http,
            # Bytes that arrived before the request: the request was not sent.
            connected=not isinstance(cause, UnsolicitedDataError),
        )
        error.__cause__ = cause
        return error

    def _wait_after(self, error: OpenRouterError) -> float:
        """Return the seconds until the next attempt, or raise the error."""
        if error is self._runner.unsent:
            raise error
        attempts = self._http.attempts
        # An error before the next attempt began, such as a timeout in the queue, does
        # not belong to the last attempt.
        if attempts and attempts[-1].error is None:
            attempts[-1].error = f"{type(error).__name__}: {error.message}"[
                :_MAX_ERROR_LENGTH
            ]
            if attempts[-1].status is None:
                self._log_failure(type(error).__name__)
        wait = self._limiter_delay(error)
        if wait is not None:
            self._uncounted += 1
        else:
            wait = self._backoff(error, len(attempts) - self._uncounted)
        if wait is None or wait == math.inf:
            raise error
        self._report.retried(error)
        logger.info(
            "%s; attempt %d of %d in %.2f s.",
            type(error).__name__,
            len(attempts) - self._uncounted + 1,
            self._call.retries.max_attempts,
            wait,
        )
        return wait

    def _limiter_delay(self, error: OpenRouterError) -> float | None:
        """Return the limiter's delay; None if there is none or the failure counts."""
        limiter = self._runner.limiter
        if limiter is None:
            if self._admission is not None and is_server_overload(error):
                # The first one that this call meets. The next attempt passes a limiter.
                opened = self._runner.open_limiter()
                opened.refused(error, self._watchdog.granted, len(self._http.attempts))
            return None
        delay = limiter.retry_delay(error, self._clock.random())
        if limiter.is_row and delay is not None:
            self._watchdog.postpone_deadline(delay)
        return delay

    def _backoff(self, error: OpenRouterError, attempts: int) -> float | None:
        """Return the seconds until a retry; None, with a hint on the error, if none."""
        if attempts < 1:
            return None
        retries, deadline = self._call.retries, self._watchdog.deadline
        now = self._clock.now()
        # The limiter waits for the end of the cooldown, with a jitter of its own.
        is_cooling = (
            self._admission is not None
            and is_server_overload(error)
            and named_wait(error) is not None
        )
        wait = backoff(
            error,
            retries,
            attempts=attempts,
            remaining=None if deadline is None else deadline - now,
            random=0.0 if is_cooling else self._clock.random(),
        )
        if wait is None:
            if (
                attempts < retries.max_attempts
                and not retries.ambiguous
                and _may_be_accepted(error)
            ):
                error.hint = (
                    "It was not retried, because the request may have been accepted; "
                    "Retries(ambiguous=True) retries it."
                )
            return None
        # A server that names the time of a retry knows what it asks for.
        is_named = isinstance(error, APIError) and error.retry_after is not None
        if not is_named and not self._budget.try_retry(now, retries.budget):
            reason = "It was not retried, because the retry budget is used up."
            error.hint = f"{error.hint} {reason}" if error.hint else reason
            return None
        return 0.0 if is_cooling else wait

    def _log_failure(self, reason: str) -> None:
        logger.debug(
            "%s %s: no response, attempt %d: %s.",
            self._call.method,
            self._call.base_url.address,
            len(self._http.attempts),
            reason,
        )


def _may_be_accepted(error: OpenRouterError) -> bool:
    """Return True for a connection that broke after the request was sent."""
    return (
        isinstance(error, APIConnectionError)
        and not isinstance(error, APITimeoutError)
        and error.hint is None
        and error.attempts[-1].billing == "maybe"
    )
