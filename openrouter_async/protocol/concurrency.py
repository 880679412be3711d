"""
How many calls may be in flight: found out by asking. Pure: `now` is passed in.

OpenRouter tells no limit before it refuses, so the number of calls in flight is what
is steered, by CUBIC on wall-clock time (at 20 s a call, one more per round trip would
take half an hour for a hundred):

- Slow start: one more for each success, until the first refusal.
- A refusal of a call that was sent after the last cut (one cut per flight): with W
  calls in flight when it was sent, limit = 0.7 W, and W_max = W; or 0.85 W if that is
  below the last W_max, which lets others have their share sooner.
- After a cut, on each success, t seconds later, with tau = the mean latency between 1 s
  and 5 s: limit = 0.4 (t / tau - K)^3 + W_max, where K = cbrt((W_max - limit) / 0.4);
  so it is back at W_max after K tau, stays about there, and then looks for more. At
  most one more for each success, so that responses that arrive together do not send
  several times as many calls before the first refusal.
- Never above twice the peak in flight of the previous round. A round ends with the
  first response to a call that was sent in it, so the limit may double once per
  latency, however long that is.
- Only while at least four fifths of the limit are used, in this round or the previous
  one; time with fewer calls in flight does not count as t.
- More than 3 % refusals in a minute: K is doubled for the next minute.
- 502, 504, resets and time-outs mean a bad provider, not load: limit = 0.9 limit only
  when they are more than a tenth of the last 100 outcomes.

Source: RFC 9438 (CUBIC), sections 4.2, 4.6, 4.7 and 5.8; its use on wall-clock time is
botocore's adaptive retry mode.
"""

from collections import deque
from typing import Final, Protocol

BETA: Final = 0.7
GROWTH: Final = 0.4
START: Final = 8
MOST: Final = 512
LONGEST_PAUSE: Final = 120.0

_USED: Final = 0.8
_FAILURE_CUT: Final = 0.9
_FAILURES: Final = 0.1
_OUTCOMES: Final = 100
_FEWEST_OUTCOMES: Final = 20
_REFUSALS: Final = 0.03
_MINUTE: Final = 60.0
_SMOOTHING: Final = 0.1
_SHORTEST_TAU: Final = 1.0
_LONGEST_TAU: Final = 5.0
_JITTER: Final = 0.1


class Controller(Protocol):
    """Says how many calls may be in flight, and is told how each one went."""

    @property
    def limit(self) -> int:
        """How many calls may be in flight; 1 or more."""
        ...

    @property
    def tau(self) -> float:
        """The seconds over which it acts."""
        ...

    def sent(self, now: float, flight: int) -> None:
        """Note that a call was sent; `flight`: how many are now in flight."""

    def succeeded(self, now: float, sent: float, in_flight: int) -> None:
        """Note a response to a call sent at `sent`; `in_flight` includes that call."""

    def failed(self, now: float) -> None:
        """Note a failure that says nothing of load."""

    def refused(self, now: float, sent: float, flight: int) -> None:
        """Note a refusal; `sent` and `flight` are those of its sending."""

    def paused(self, until: float) -> None:
        """Learn that nothing is sent before then."""


class FixedController:
    """A limit that somebody set."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.tau = _SHORTEST_TAU

    def sent(self, now: float, flight: int) -> None:
        """Take no notice."""

    def succeeded(self, now: float, sent: float, in_flight: int) -> None:
        """Take no notice."""

    def failed(self, now: float) -> None:
        """Take no notice."""

    def refused(self, now: float, sent: float, flight: int) -> None:
        """Take no notice."""

    def paused(self, until: float) -> None:
        """Take no notice."""


class CubicController:
    """
    A limit that looks for the server's.

    Attributes:
        w_max: What was in flight when it was last refused; 0.0 before that.
        latency: Mean seconds of an answer; None before the first.
    """

    def __init__(self, start: float = START, most: int = MOST) -> None:
        self._limit = min(float(start), float(most))
        self._most = most
        self._threshold = float("inf")
        self.w_max = 0.0
        self._k = 0.0
        self._last_cut = float("-inf")
        # When t was 0, until when it has been counted, and the end of the last pause;
        # the first two are not before that end.
        self._epoch = 0.0
        self._seen = 0.0
        self._resumed = float("-inf")
        self.latency: float | None = None
        self._rounds = _Rounds()
        self._share = _Share()
        self._failures: deque[bool] = deque(maxlen=_OUTCOMES)

    @property
    def limit(self) -> int:
        """How many calls may be in flight; 1 or more."""
        return int(self._limit)

    @property
    def tau(self) -> float:
        """The mean latency, between 1 and 5 seconds."""
        return min(_LONGEST_TAU, max(_SHORTEST_TAU, self.latency or 0.0))

    def sent(self, now: float, flight: int) -> None:
        """Note that a call was sent; `flight`: how many are now in flight."""
        self._observe(now, flight - 1, flight)

    def succeeded(self, now: float, sent: float, in_flight: int) -> None:
        """Note a response, and grow if the limit was used."""
        took = now - sent
        if self.latency is None:
            self.latency = took
        self.latency += _SMOOTHING * (took - self.latency)
        self._failures.append(False)
        self._share.add(now, refused=False)
        self._observe(now, in_flight, in_flight)
        self._rounds.responded(now, sent, in_flight)
        if not self._rounds.is_used:
            return
        wanted = self._limit + 1.0
        if self._limit >= self._threshold:
            t = max(0.0, now - self._epoch) / self.tau
            k = self._k * (2.0 if self._share.is_high(now) else 1.0)
            wanted = min(wanted, GROWTH * (t - k) ** 3 + self.w_max)
        room = max(self._limit, 2.0 * self._rounds.peak)
        self._limit = min(max(self._limit, wanted), room, float(self._most))

    def _observe(self, now: float, before: int, in_flight: int) -> None:
        """Note how many calls were in flight until now, and how many are from now."""
        # Whole calls on both sides: of a limit of 1.9, no more than 1 can be in flight.
        used = _USED * self.limit
        if before < used:
            # RFC 9438, 5.8: time when the application was the limit is no time.
            self._epoch += max(0.0, now - self._seen)
        self._seen = max(now, self._seen)
        self._rounds.observe(in_flight, is_used=in_flight >= used)

    def failed(self, now: float) -> None:
        """Note a failure that says nothing of load; cut only if they are many."""
        self._failures.append(True)
        seen = len(self._failures)
        if seen < _FEWEST_OUTCOMES or sum(self._failures) <= _FAILURES * seen:
            return
        if now - self._last_cut < self.tau:
            return
        self.w_max = max(self.w_max, self._limit)
        self._cut(now, _FAILURE_CUT * self._limit)
        self._failures.clear()

    def refused(self, now: float, sent: float, flight: int) -> None:
        """Note a refusal, and cut, once for all that were sent together."""
        self._share.add(now, refused=True)
        if sent <= self._last_cut:
            return
        seen = float(flight)
        # RFC 9438, 4.7, fast convergence.
        self.w_max = seen if seen >= self.w_max else seen * (1.0 + BETA) / 2.0
        self._cut(now, BETA * seen)

    def _cut(self, now: float, limit: float) -> None:
        self._limit = self._threshold = max(1.0, min(limit, self._limit))
        self._last_cut = now
        self._epoch = max(now, self._resumed)
        self._seen = max(now, self._seen)
        self._k = (max(0.0, self.w_max - self._limit) / GROWTH) ** (1.0 / 3.0)

    def paused(self, until: float) -> None:
        """Learn that nothing is sent before then; that time is no time of growth."""
        self._resumed = max(self._resumed, until)
        self._epoch = max(self._epoch, self._resumed)
        # `Pause` then spreads the calls over one tau. The calls that are missing in
        # flight meanwhile are not missing because the application has too few.
        self._seen = max(self._seen, self._resumed + self.tau)


class Cooldown:
    """
    The gate of all calls of one place: shut for as long as the server asked.

    After it, calls pass one by one, as many a second as there is room in one tau, so
    that those who waited do not come all at once.

    Attributes:
        until: When it opens.
    """

    def __init__(self) -> None:
        self.until = float("-inf")
        self._next = float("-inf")

    def shut(self, now: float, seconds: float, chance: float) -> None:
        """
        Let nothing pass for that long, and up to a tenth longer.

        Args:
            now: The time.
            seconds: What the server asked for; beyond 120 it is asked again.
            chance: From 0 up to, not including, 1.
        """
        until = now + min(seconds, LONGEST_PAUSE) * (1.0 + _JITTER * chance)
        if until > self.until:
            self.until = self._next = until

    def opens(self, now: float, tau: float) -> float:
        """Return when the next call may pass; not after `now`: at once."""
        if now < self.until:
            return self.until
        return self._next if now < self.until + tau else now

    def passed(self, now: float, limit: int, tau: float) -> None:
        """Note that a call has passed."""
        if now < self.until + tau:
            self._next = max(now, self._next) + tau / limit


class _Rounds:
    """
    The peak in flight and the use of the limit, by rounds.

    A round ends with the first response to a call that was sent in it. So it covers one
    latency, also before the first response, when no latency is known.

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

    def responded(self, now: float, sent: float, in_flight: int) -> None:
        """End the round if the call was sent in it."""
        if sent >= self._start:
            self._start = now
            self.peak, self._peak = self._peak, in_flight
            self._was_used, self._is_used = self._is_used, False

    @property
    def is_used(self) -> bool:
        """If True, the limit was used in this round or in the previous one."""
        return self._is_used or self._was_used


class _Share:
    """The share of refusals, minute by minute."""

    def __init__(self) -> None:
        self._start = float("-inf")
        self._refused = self._all = 0
        self._high = False

    def add(self, now: float, *, refused: bool) -> None:
        self._turn(now)
        self._all += 1
        self._refused += refused

    def is_high(self, now: float) -> bool:
        """Tell whether the last whole minute had too many."""
        self._turn(now)
        return self._high

    def _turn(self, now: float) -> None:
        if now >= self._start + _MINUTE:
            self._high = self._refused > _REFUSALS * max(1, self._all)
            self._refused = self._all = 0
            self._start = now
