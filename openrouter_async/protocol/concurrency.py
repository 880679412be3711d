"""
The concurrency limit: how it adapts to the capacity of the server.

OpenRouter reports no limit before it refuses a request, so the limit is found by
probing: the number of calls in flight grows until calls are refused. CUBIC, a
congestion control of TCP, decides how fast. It grows by the time since the last
refusal, not by round trips: at 20 s per call, one more call per round trip would take
half an hour to add a hundred. `tau` is the unit of that time: the mean latency, but at
least 1 s and at most 5 s.

1. Slow start (RFC 9438, 4.10): each response raises the limit by 1 until the first
   refusal.
2. Decrease (4.6): a refusal reduces the limit to 0.7 W, where W calls were in flight
   when the refused call was sent, and w_max becomes W. Calls that were sent before the
   decrease do not cause another one.
3. Fast convergence (4.7): if W is below the last w_max, other clients need capacity,
   and w_max becomes 0.85 W.
4. Increase (4.2): t seconds after the decrease, a response raises the limit to
   0.4 (t / tau - K)^3 + w_max, where K = cbrt((w_max - limit) / 0.4). It is back at
   w_max after K tau, stays close to it for a while, and then probes for more. One
   response raises it by 1 at most, so that responses that arrive together do not cause
   a burst of calls before the first refusal.
5. The limit stays within twice the peak in flight of the previous round. A round ends
   with the first response to a call that was sent in it, so the limit can double once
   per latency.
6. Application-limited (5.8): the limit grows only if at least 80 % of it were in use in
   this round or the previous one, and time in which fewer were in use does not count
   as t.
7. If more than 3 % of the calls in a minute were refused, K is doubled during the next
   minute.
8. 502, 504, resets and timeouts point to a faulty provider rather than to load. They
   reduce the limit, to 90 %, only if they are more than 10 % of the last 100 outcomes.

Rules 5, 7 and 8 are not in the RFC. Rule 5 limits a burst after a time without
refusals, as botocore's adaptive retry mode does, which also uses CUBIC by wall-clock
time.

The module is pure: the time is passed as `now`.

Source: RFC 9438 (CUBIC for Fast and Long-Distance Networks).
"""

from collections import deque
from typing import Final, Protocol

START_LIMIT: Final = 8
# An upper bound, in case that the server never refuses a call.
MAX_LIMIT: Final = 512

# beta_cubic and C of RFC 9438, 4.1.1, with the values recommended in 4.6 and 5.
_BETA: Final = 0.7
_C: Final = 0.4

_MIN_USE: Final = 0.8
_FAILURE_BETA: Final = 0.9
_MAX_FAILURE_SHARE: Final = 0.1
# Outcomes in which failures are counted, and the fewest that say anything.
_OUTCOMES: Final = 100
_MIN_OUTCOMES: Final = 20
_MAX_REFUSAL_SHARE: Final = 0.03
_MINUTE: Final = 60.0
# Weight of the newest latency in the mean.
_SMOOTHING: Final = 0.1
_MIN_TAU: Final = 1.0
_MAX_TAU: Final = 5.0


class Controller(Protocol):
    """Decides how many calls may be in flight, from the outcomes of earlier calls."""

    @property
    def limit(self) -> int:
        """Maximum number of calls in flight, 1 or more."""
        ...

    @property
    def tau(self) -> float:
        """Unit of time of the controller, in seconds."""
        ...

    def sent(self, now: float, in_flight: int) -> None:
        """Record that a call was sent; `in_flight` includes it."""

    def succeeded(self, now: float, sent_at: float, in_flight: int) -> None:
        """Record a response to a call sent at `sent_at`; `in_flight` includes it."""

    def failed(self, now: float) -> None:
        """Record a failure that does not indicate load."""

    def refused(self, now: float, sent_at: float, in_flight: int) -> None:
        """Record a refusal of a call sent at `sent_at`, as one of `in_flight` then."""

    def paused(self, until: float) -> None:
        """Record that no call will be sent before `until`."""


class FixedController:
    """A limit that does not change."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.tau = _MIN_TAU

    def sent(self, now: float, in_flight: int) -> None:
        """Do nothing."""

    def succeeded(self, now: float, sent_at: float, in_flight: int) -> None:
        """Do nothing."""

    def failed(self, now: float) -> None:
        """Do nothing."""

    def refused(self, now: float, sent_at: float, in_flight: int) -> None:
        """Do nothing."""

    def paused(self, until: float) -> None:
        """Do nothing."""


class CubicController:
    """
    A limit that adapts to the capacity of the server.

    Attributes:
        w_max: Calls in flight at the last refusal, after fast convergence; 0.0 before
            the first refusal.
        latency: Mean seconds of a response; None before the first.
    """

    def __init__(self, start: float = START_LIMIT, max_limit: int = MAX_LIMIT) -> None:
        # A fraction: growth by less than 1 per response adds up.
        self._limit = min(float(start), float(max_limit))
        self._max_limit = max_limit
        # ssthresh of RFC 9438: below it, slow start.
        self._slow_start_threshold = float("inf")
        self.w_max = 0.0
        self._k = 0.0
        self._last_decrease = float("-inf")
        # The start of t, the time up to which t was counted, and the end of the last
        # pause. The first two are not before the third.
        self._epoch = 0.0
        self._counted_until = 0.0
        self._pause_end = float("-inf")
        self.latency: float | None = None
        self._rounds = _Rounds()
        self._refusals = _RefusalShare()
        # The last outcomes; True is a failure.
        self._failures: deque[bool] = deque(maxlen=_OUTCOMES)

    @property
    def limit(self) -> int:
        """Maximum number of calls in flight, 1 or more."""
        return int(self._limit)

    @property
    def tau(self) -> float:
        """The mean latency in seconds, at least 1 and at most 5."""
        return min(_MAX_TAU, max(_MIN_TAU, self.latency or 0.0))

    def sent(self, now: float, in_flight: int) -> None:
        """Record that a call was sent; `in_flight` includes it."""
        self._observe(now, in_flight - 1, in_flight)

    def succeeded(self, now: float, sent_at: float, in_flight: int) -> None:
        """Record a response, and raise the limit if it was in use."""
        latency = now - sent_at
        if self.latency is None:
            self.latency = latency
        self.latency += _SMOOTHING * (latency - self.latency)
        self._failures.append(False)
        self._refusals.add(now, refused=False)
        self._observe(now, in_flight, in_flight)
        self._rounds.responded(now, sent_at, in_flight)
        if not self._rounds.is_used:
            return
        target = self._limit + 1.0
        if self._limit >= self._slow_start_threshold:
            # RFC 9438, 4.2, figure 1. Before t = K the curve is concave (4.4): it
            # approaches w_max ever more slowly. After that it is convex (4.5).
            t = max(0.0, now - self._epoch) / self.tau
            k = self._k * (2.0 if self._refusals.is_high(now) else 1.0)
            target = min(target, _C * (t - k) ** 3 + self.w_max)
        # Rule 5. The limit itself is not reduced by it.
        ceiling = max(self._limit, 2.0 * self._rounds.peak)
        self._limit = min(max(self._limit, target), ceiling, float(self._max_limit))

    def failed(self, now: float) -> None:
        """Record a failure, and reduce the limit if there are many."""
        self._failures.append(True)
        count = len(self._failures)
        if count < _MIN_OUTCOMES or sum(self._failures) <= _MAX_FAILURE_SHARE * count:
            return
        # Calls of the same round fail together.
        if now - self._last_decrease < self.tau:
            return
        self.w_max = max(self.w_max, self._limit)
        self._decrease(now, _FAILURE_BETA * self._limit)
        self._failures.clear()

    def refused(self, now: float, sent_at: float, in_flight: int) -> None:
        """Record a refusal; reduce the limit once for all calls sent together."""
        self._refusals.add(now, refused=True)
        # RFC 9438, 4.6: one reduction per congestion event. A call that was sent
        # before the last reduction belongs to the same event.
        if sent_at <= self._last_decrease:
            return
        # RFC 9438, 4.6, uses the flight size, because the limit may not be in use.
        w = float(in_flight)
        # RFC 9438, 4.7: below the last w_max, free capacity for other clients.
        self.w_max = w if w >= self.w_max else w * (1.0 + _BETA) / 2.0
        self._decrease(now, _BETA * w)

    def paused(self, until: float) -> None:
        """Record that no call will be sent before `until`."""
        self._pause_end = max(self._pause_end, until)
        # The pause is not part of t.
        self._epoch = max(self._epoch, self._pause_end)
        # For a while after the pause, `Cooldown` spaces the calls. Fewer are in flight
        # then, but not because the application has too few rows.
        self._counted_until = max(self._counted_until, self._pause_end + self.tau)

    def _decrease(self, now: float, limit: float) -> None:
        self._limit = self._slow_start_threshold = max(1.0, min(limit, self._limit))
        self._last_decrease = now
        self._epoch = max(now, self._pause_end)
        self._counted_until = max(now, self._counted_until)
        # RFC 9438, 4.2, figure 2.
        self._k = (max(0.0, self.w_max - self._limit) / _C) ** (1.0 / 3.0)

    def _observe(self, now: float, before: int, in_flight: int) -> None:
        """Record the number of calls in flight up to now, and from now on."""
        # Of the whole limit: of a limit of 1.9, no more than 1 call can be in flight.
        used = _MIN_USE * self.limit
        if before < used:
            # RFC 9438, 5.8: t does not include times when the application, not the
            # limit, determined how many calls were in flight.
            self._epoch += max(0.0, now - self._counted_until)
        self._counted_until = max(now, self._counted_until)
        self._rounds.observe(in_flight, is_used=in_flight >= used)


class _Rounds:
    """
    The peak in flight and the use of the limit, by rounds.

    A round ends with the first response to a call that was sent in it. It therefore
    lasts one latency, even before the first response, when no latency is known.

    Attributes:
        peak: The highest number in flight in the previous round.
    """

    def __init__(self) -> None:
        self._start = float("-inf")
        self.peak = self._peak = 0
        self._was_used = self._is_used = False

    def observe(self, in_flight: int, *, is_used: bool) -> None:
        self._peak = max(self._peak, in_flight)
        self._is_used = self._is_used or is_used

    def responded(self, now: float, sent_at: float, in_flight: int) -> None:
        """End the round if the call was sent in it."""
        if sent_at >= self._start:
            self._start = now
            self.peak, self._peak = self._peak, in_flight
            self._was_used, self._is_used = self._is_used, False

    @property
    def is_used(self) -> bool:
        """If True, the limit was in use in this round or in the previous one."""
        return self._is_used or self._was_used


class _RefusalShare:
    """The share of calls that were refused, minute by minute."""

    def __init__(self) -> None:
        self._start = float("-inf")
        self._refused = self._total = 0
        self._was_high = False

    def add(self, now: float, *, refused: bool) -> None:
        self._roll(now)
        self._total += 1
        self._refused += refused

    def is_high(self, now: float) -> bool:
        """Return True if the share was too high in the previous minute."""
        self._roll(now)
        return self._was_high

    def _roll(self, now: float) -> None:
        """Start a new minute if the current one is over."""
        if now >= self._start + _MINUTE:
            self._was_high = self._refused > _MAX_REFUSAL_SHARE * max(1, self._total)
            self._refused = self._total = 0
            self._start = now
