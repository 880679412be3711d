"""Simulated limits of the local server: concurrency, rate and latency."""

import math
import random
from collections.abc import Callable
from typing import Any

from attrs import define, field

from .error_replies import error_reply
from .reply import Reply
from .seen_requests import SeenRequest


def lognormal(median: float, sigma: float = 0.3) -> Callable[[random.Random], float]:
    """
    Return a random latency for `Capacity`, distributed as those of real models are.

    Args:
        median: Seconds; half of the values are lower.
        sigma: Standard deviation of the logarithm. With 0.3, one value in twenty is
            above 1.6 times the median.
    """
    mu = math.log(median)
    return lambda generator: generator.lognormvariate(mu, sigma)


@define(eq=False)
class Capacity:
    """
    Limits for chat requests that clients only notice when they exceed them.

    Requests to other endpoints are not limited. The first six attributes may be
    changed while the server runs.

    Attributes:
        limit: Highest number of requests in flight; more are rejected. None: no limit.
        per_minute: Requests per minute, as a token bucket that refills evenly and
            holds `burst` tokens; more are rejected. None: no limit.
        burst: Size of the token bucket: the number of requests, 1 or more, that may
            come at once after a pause.
        latency: Seconds to wait before each response, or a function that draws them,
            such as `lognormal()`. Added to `Reply.delay`.
        retry_after: Seconds to send as `Retry-After` with a rejection; None: no such
            header.
        status: HTTP status of a rejection.
        admitted: Number of requests admitted.
        refused: Number of requests rejected.
        in_flight: Number of admitted requests whose response is not complete.
        peak: Highest value of `in_flight`.
    """

    limit: int | None = None
    per_minute: float | None = None
    burst: int = 1
    latency: float | Callable[[random.Random], float] = 0.0
    retry_after: float | None = None
    status: int = 429
    admitted: int = field(default=0, init=False)
    refused: int = field(default=0, init=False)
    in_flight: int = field(default=0, init=False)
    peak: int = field(default=0, init=False)
    _tokens: float = field(default=math.inf, init=False)
    _refilled_at: float = field(default=0.0, init=False)
    _admitted_ids: set[int] = field(factory=set[int], init=False)

    def admit(self, seen: SeenRequest, now: float) -> Reply | None:
        """
        Admit a request, or return the error reply that rejects it.

        Args:
            seen: The request; if it is admitted, `release` has to be called at its end.
            now: Monotonic time in seconds.
        """
        if not self._has_capacity(now):
            self.refused += 1
            more: dict[str, Any] = {}
            if self.retry_after is not None:
                more["retry_after"] = self.retry_after
            return error_reply(self.status, "Rate limit exceeded", **more)
        self.admitted += 1
        self._admitted_ids.add(id(seen))
        self.in_flight += 1
        self.peak = max(self.peak, self.in_flight)
        return None

    def release(self, seen: SeenRequest) -> None:
        """End a request; one that was not admitted is ignored."""
        if id(seen) in self._admitted_ids:
            self._admitted_ids.remove(id(seen))
            self.in_flight -= 1

    def draw_latency(self, generator: random.Random) -> float:
        """Return the latency of the next response, in seconds."""
        return self.latency(generator) if callable(self.latency) else self.latency

    def _has_capacity(self, now: float) -> bool:
        if self.limit is not None and self.in_flight >= self.limit:
            return False
        if self.per_minute is None:
            return True
        gained = (now - self._refilled_at) * self.per_minute / 60.0
        self._tokens = min(float(self.burst), self._tokens + gained)
        self._refilled_at = now
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True
