"""What the local server can bear: so many at once, so many a minute, so fast."""

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
    Return a latency that varies as a model's does: mostly near, sometimes far.

    Args:
        median: Seconds; half of the replies take less.
        sigma: How much it varies; 0.3 has one in twenty take 1.6 times as long.
    """
    center = math.log(median)
    return lambda chance: chance.lognormvariate(center, sigma)


@define(eq=False)
class Capacity:
    """
    A limit that no client is told before it is refused, for chat requests alone.

    All but the counters may be changed while the server runs.

    Attributes:
        limit: More than so many at once are refused; None: any number.
        per_minute: More than so many a minute are refused; None: any number. A bucket
            that holds `burst` refills evenly.
        burst: How many may come at once on top of the even rate.
        latency: Seconds before each reply, or a function that draws them.
        retry_after: Seconds that a refusal asks to wait; None: it does not say.
        status: Of a refusal.
        admitted: How many were let in.
        refused: How many were not.
        in_flight: How many are in now.
        peak: The most at one time.
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
    _filled: float = field(default=0.0, init=False)
    _inside: set[int] = field(factory=set[int], init=False)

    def refuse(self, seen: SeenRequest, now: float) -> Reply | None:
        """
        Let a request in, or refuse it.

        Args:
            seen: The request; `leave` ends its stay.
            now: Seconds.
        """
        if not self._has_room(now):
            self.refused += 1
            more: dict[str, Any] = {}
            if self.retry_after is not None:
                more["retry_after"] = self.retry_after
            return error_reply(self.status, "Rate limit exceeded", **more)
        self.admitted += 1
        self._inside.add(id(seen))
        self.in_flight += 1
        self.peak = max(self.peak, self.in_flight)
        return None

    def leave(self, seen: SeenRequest) -> None:
        """End a request's stay, if it was let in."""
        if id(seen) in self._inside:
            self._inside.remove(id(seen))
            self.in_flight -= 1

    def delay(self, chance: random.Random) -> float:
        """Return the seconds before a reply."""
        return self.latency(chance) if callable(self.latency) else self.latency

    def _has_room(self, now: float) -> bool:
        if self.limit is not None and self.in_flight >= self.limit:
            return False
        if self.per_minute is None:
            return True
        gained = (now - self._filled) * self.per_minute / 60.0
        self._tokens = min(float(self.burst), self._tokens + gained)
        self._filled = now
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True
