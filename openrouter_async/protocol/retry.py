"""Retries: which errors, what a failed attempt may have cost, how long to wait."""

from collections import deque
from typing import Final

from ..config import Retries
from ..errors import (
    APIError,
    ClosedError,
    ConfigurationError,
    OpenRouterError,
)
from ..types import Billing

# Overload and failures of the server: the request was not completed, nor charged.
_RETRYABLE: Final = frozenset({429, 500, 502, 503, 521, 522, 523, 529})
# In OpenRouter's own envelope, these are not charged. Without it they come from the
# edge in front of OpenRouter and are as ambiguous as a timeout: the model may still
# be running, and will be billed.
_RETRYABLE_WITH_ENVELOPE: Final = frozenset({408, 504, 520, 524})
_NOT_ACCEPTED: Final = range(300, 500)

# 2.0**1024 overflows; `cap` is the smaller one long before.
_MAX_EXPONENT: Final = 1000
# 2 ** 16 times any base is beyond any cap.
_MAX_DOUBLINGS: Final = 16
_BUDGET_WINDOW: Final = 10.0
_BUDGET_MINIMUM: Final = 10
# `try_retry` forgets old calls too; without retries, so many of them are kept.
_EXPIRED_EVERY: Final = 64


def is_retryable(
    status: int,
    *,
    envelope: bool,
    availability: bool | None = None,
    in_flight: bool = False,
    daily_cap: bool = False,
) -> bool:
    """
    Return True if an error is retried by default.

    Args:
        status: The status that the exception's class is chosen by.
        envelope: If True, the body is OpenRouter's own, not that of its edge.
        availability: `error.availability.retryable`; overrides the status.
        in_flight: If True, the error is a 402 because other requests in flight
            reserve the credits.
        daily_cap: If True, the error is a 429 of the free tier's daily cap, which
            lasts longer than any wait between attempts.
    """
    if daily_cap:
        return False
    if availability is not None:
        return availability
    if status == 402:
        return in_flight
    return status in _RETRYABLE or (envelope and status in _RETRYABLE_WITH_ENVELOPE)


def billing(status: int, *, envelope: bool) -> Billing:
    """Return what an attempt that ended in an error status may have cost."""
    if status in _RETRYABLE_WITH_ENVELOPE and not envelope:
        return "maybe"
    if status in _NOT_ACCEPTED and status not in _RETRYABLE_WITH_ENVELOPE:
        return "not_accepted"
    return "insured"


def backoff(
    error: OpenRouterError,
    retries: Retries,
    *,
    attempts: int,
    remaining: float | None,
    random: float,
) -> float | None:
    """
    Return the seconds to wait before a retry, or None to raise the error.

    Args:
        error: The error of the last attempt, with the billing of that attempt.
        retries: The options of the call.
        attempts: Number of attempts so far, 1 or more.
        remaining: Seconds until the call's deadline; None if it has none.
        random: A random number, 0 <= random < 1.
    """
    if attempts >= retries.max_attempts:
        return None
    billed = error.attempts[-1].billing if error.attempts else "maybe"
    ambiguous = (
        retries.ambiguous
        and billed == "maybe"
        and not isinstance(error, ClosedError | ConfigurationError)
    )
    if not (error.retryable or ambiguous):
        return None
    retry_after = error.retry_after if isinstance(error, APIError) else None
    if retry_after is not None and retry_after > retries.max_wait:
        return None
    # Retry-After is a minimum, and full jitter is added to it. Without jitter, all
    # clients that received the same value would return at the same moment.
    longest = min(retries.cap, retries.base * 2.0 ** min(attempts, _MAX_EXPONENT))
    wait = (retry_after or 0.0) + random * longest
    return None if remaining is not None and wait >= remaining else wait


def overload_delay(retries: Retries, refusals: int, random: float) -> float:
    """
    Return the seconds until a retry that uses up no attempt, of a refused call.

    Args:
        retries: The options of the call.
        refusals: Number of refusals so far, 1 or more. There is no limit for it.
        random: A random number, 0 <= random < 1.
    """
    longest = retries.base * 2.0 ** min(refusals, _MAX_DOUBLINGS)
    return random * min(retries.cap, longest)


class RetryBudget:
    """
    Limit on the retries of one base URL and key, as a share of its calls.

    In any 10 seconds, it allows 10 retries and a share of the number of calls. This
    keeps retries from adding to the load of a server that is failing because of load.
    Retries at a time that the server set (Retry-After) are not counted.

    Threads may share it. Its counts may then be off by a few.

    Source: Finagle's RetryBudget.
    """

    def __init__(self) -> None:
        self._calls: deque[float] = deque()
        self._retries: deque[float] = deque()

    def record_call(self, now: float) -> None:
        """Count the first attempt of a call."""
        calls = self._calls
        calls.append(now)
        if len(calls) % _EXPIRED_EVERY == 0:
            self._expire(now)

    def try_retry(self, now: float, share: float) -> bool:
        """Count a retry and return True, or return False if the budget is used up."""
        self._expire(now)
        if len(self._retries) + 1 > _BUDGET_MINIMUM + share * len(self._calls):
            return False
        self._retries.append(now)
        return True

    def _expire(self, now: float) -> None:
        for times in (self._calls, self._retries):
            try:
                while times and times[0] <= now - _BUDGET_WINDOW:
                    times.popleft()
            except IndexError:
                # Another thread has removed the last one meanwhile.
                pass
