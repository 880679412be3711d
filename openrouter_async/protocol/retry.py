"""Is another attempt worth it, and after how many seconds. Pure decisions."""

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

_ALWAYS: Final = frozenset({429, 500, 502, 503, 521, 522, 523, 529})
# From OpenRouter itself these are not charged. From the edge in front of it they are
# silence with a number on: the model may still be running, and will be billed.
_WITH_ENVELOPE: Final = frozenset({408, 504, 520, 524})
_NOT_ACCEPTED: Final = range(300, 500)

# 2.0**1024 overflows; by then `cap` has long been the smaller one.
_DOUBLINGS: Final = 1000
_BUDGET_WINDOW: Final = 10.0
_BUDGET_RESERVE: Final = 10


def is_retryable(
    status: int,
    *,
    envelope: bool,
    availability: bool | None = None,
    in_flight: bool = False,
    daily_cap: bool = False,
) -> bool:
    """
    Return whether an error of this status is sent again by default.

    Args:
        status: What chose the exception's class.
        envelope: The body was OpenRouter's own, not that of the edge before it.
        availability: `error.availability.retryable`; it overrides the status.
        in_flight: A 402 because too much money is in flight right now.
        daily_cap: A 429 of the free tier's daily cap, which no wait of ours outlasts.
    """
    if daily_cap:
        return False
    if availability is not None:
        return availability
    if status == 402:
        return in_flight
    return status in _ALWAYS or (envelope and status in _WITH_ENVELOPE)


def billing(status: int, *, envelope: bool) -> Billing:
    """Return what an attempt that ended in this error status may have cost."""
    if status in _WITH_ENVELOPE and not envelope:
        return "maybe"
    if status in _NOT_ACCEPTED and status not in _WITH_ENVELOPE:
        return "not_accepted"
    return "insured"


def backoff(
    error: OpenRouterError,
    retries: Retries,
    *,
    made: int,
    remaining: float | None,
    chance: float,
) -> float | None:
    """
    Return the seconds to wait before the next attempt; None: raise the error.

    Args:
        error: How the last attempt ended; its last `Attempt` tells the billing.
        retries: The call's rules.
        made: Attempts so far, 1 or more.
        remaining: Seconds until the call's deadline; None if it has none.
        chance: A random number from 0 up to, not including, 1.
    """
    if made >= retries.max_attempts:
        return None
    billing = error.attempts[-1].billing if error.attempts else "maybe"
    ambiguous = (
        retries.ambiguous
        and billing == "maybe"
        and not isinstance(error, ClosedError | ConfigurationError)
    )
    if not (error.retryable or ambiguous):
        return None
    wish = error.retry_after if isinstance(error, APIError) else None
    if wish is not None and wish > retries.max_wait:
        return None
    # The server's wish is a minimum: jitter goes on top, or all who were told the
    # same would come back together.
    jitter = min(retries.cap, retries.base * 2.0 ** min(made, _DOUBLINGS))
    wait = (wish or 0.0) + chance * jitter
    return None if remaining is not None and wait >= remaining else wait


class RetryBudget:
    """
    Keeps repeats to a share of first attempts, so that a sick upstream can recover.

    In any 10 seconds: 10 repeats, and `share` more for each first attempt. Waits
    that the server named are not charged: it knows what it asked for.

    Source: Finagle's RetryBudget.
    """

    def __init__(self) -> None:
        self._firsts: deque[float] = deque()
        self._repeats: deque[float] = deque()

    def record_call(self, now: float) -> None:
        """Count a first attempt."""
        self._firsts.append(now)
        self._forget(now)

    def try_retry(self, now: float, share: float) -> bool:
        """Count a repeat and return True, or return False if there is no room."""
        self._forget(now)
        if len(self._repeats) + 1 > _BUDGET_RESERVE + share * len(self._firsts):
            return False
        self._repeats.append(now)
        return True

    def _forget(self, now: float) -> None:
        for times in (self._firsts, self._repeats):
            while times and times[0] <= now - _BUDGET_WINDOW:
                times.popleft()
