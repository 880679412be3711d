"""
The cooldown: no call starts while a server asks to wait.

1. A refusal that names a wait starts a cooldown. Calls in flight go on.
2. When it ends, one call starts, the probe. The others wait for its outcome.
3. If the probe is refused, the next cooldown begins. If it is cancelled, another call
   takes its place. Otherwise, or 1 s after it was sent (a slow model is not a refusal),
   the server is open again.
4. Those that waited start at a growing rate: 50 in the first 0.3 s, 1,000 in the first
   second. If all of them started at once, they would be refused again.

The module is pure: the time is passed as `now`.
"""

import json
import math
from enum import Enum, auto
from typing import Any, Final

from ..errors import APIError
from .encode import encode

# Seconds. Some servers ask for hours; a call every two minutes shows if that is true.
MAX_COOLDOWN: Final = 120.0
# The share of the wait that is added at random, so that several clients do not return
# at the same time.
_JITTER: Final = 0.1
# Seconds after which a probe without an outcome counts as accepted.
_PROBE_SECONDS: Final = 1.0
# After the probe, 50 (t / 0.3) ^ 3 calls start in the first t seconds, and after 0.3 s
# 1,000 t ^ 2.5 in all: slow enough at first to be refused a few times only, fast enough
# to work off the backlog of a busy client in about a second.
_FIRST_CALLS: Final = 50
_FIRST_SECONDS: Final = 0.3
_FIRST_EXPONENT: Final = 3.0
_CALLS: Final = 1000
_EXPONENT: Final = 2.5
# Seconds of the next cooldown if the refusal of a probe names no wait: at most the
# longest backoff of a single call.
_MAX_REPEATED: Final = 8.0


class _Phase(Enum):
    OPEN = auto()
    COOLING = auto()
    PROBE_DUE = auto()
    """The cooldown is over, and no call has started since."""
    PROBING = auto()
    REOPENING = auto()


class Cooldown:
    """
    The wait that a server asks for, and the careful return after it.

    Attributes:
        until: End of the cooldown.
        refusal: The error that caused it; None before the first cooldown.
    """

    __slots__ = (
        "_chance",
        "_is_sent",
        "_phase",
        "_probe",
        "_seconds",
        "_since",
        "_started",
        "refusal",
        "until",
    )

    def __init__(self) -> None:
        self.until = float("-inf")
        self.refusal: APIError | None = None
        self._phase = _Phase.OPEN
        self._seconds = 0.0
        self._chance = 0.0
        # The call that is the probe; the time when it was chosen or sent.
        self._probe: object = None
        self._is_sent = False
        # Start of the current phase.
        self._since = 0.0
        # Calls that have started since the server is open again.
        self._started = 0

    def start(
        self,
        now: float,
        seconds: float,
        chance: float,
        refusal: APIError,
        longest: float = MAX_COOLDOWN,
    ) -> None:
        """
        Start a cooldown, or extend the current one.

        Args:
            now: The time.
            seconds: The length that the server asked for.
            chance: A random number, 0.0 <= chance < 1.0. The cooldown is up to 10 %
                longer, but at most 120 s.
            refusal: The error that asked for it.
            longest: Seconds that the refused call may wait. If it is longer than the
                server asked for, the random part does not exceed it.
        """
        if self.is_cooling(now):
            chance = self._chance
        length = seconds * (1.0 + _JITTER * chance)
        length = min(length, max(seconds, longest), MAX_COOLDOWN)
        until = now + length
        if self._phase is _Phase.COOLING and until <= self.until:
            return
        self._phase = _Phase.COOLING
        self._chance = chance
        self._seconds = seconds
        self._probe = None
        self.until = until
        self.refusal = refusal

    def end(self, now: float) -> None:
        """End the cooldown now, if it is not over."""
        if self._phase is _Phase.COOLING:
            self.until = min(now, self.until)

    def is_cooling(self, now: float) -> bool:
        """Return True until the cooldown ends."""
        self._advance(now)
        return self._phase is _Phase.COOLING

    def is_probe_due(self, now: float) -> bool:
        """Return True if the next call is the probe."""
        self._advance(now)
        return self._phase is _Phase.PROBE_DUE

    def is_open(self, now: float, waiting: int) -> bool:
        """
        Return True if calls may start without limit.

        Args:
            now: The time.
            waiting: Number of calls that wait. The growing rate is over when all of
                them could start at once.
        """
        self._advance(now)
        if self._phase is _Phase.REOPENING:
            elapsed = now - self._since
            allowed = _CALLS * elapsed**_EXPONENT
            if elapsed >= 1.0 and self._started + waiting < allowed:
                self._phase = _Phase.OPEN
        return self._phase is _Phase.OPEN

    def may_start(self, now: float) -> bool:
        """Return True if a call other than the probe may start now."""
        self._advance(now)
        if self._phase is _Phase.REOPENING:
            return self._next_start() <= now
        return self._phase is _Phase.OPEN

    def next_change(self, now: float) -> float:
        """
        Return when this has to be asked again, if nothing else happens before.

        Returns:
            The end of the cooldown, the end of the wait for the probe, or the time
            when the next call may start; infinity if only a call can change it.
        """
        self._advance(now)
        match self._phase:
            case _Phase.COOLING:
                return self.until
            case _Phase.PROBING:
                return self._since + _PROBE_SECONDS
            case _Phase.REOPENING:
                return self._next_start()
            case _:
                return float("inf")

    def started(self, now: float, call: object) -> None:
        """Record that a call was chosen to start; if the probe is due, it is it."""
        self._advance(now)
        if self._phase is _Phase.PROBE_DUE:
            self._phase = _Phase.PROBING
            self._probe, self._is_sent, self._since = call, False, now
        elif self._phase is _Phase.REOPENING:
            self._started += 1

    def may_send(self, now: float, call: object) -> bool:
        """
        Return True if the request of a call that has started may be sent.

        It may have waited for a connection slot, while a cooldown began or another
        call became the probe.
        """
        self._advance(now)
        match self._phase:
            case _Phase.COOLING:
                return False
            case _Phase.PROBING:
                return self._probe is call or not self._is_sent
            case _:
                return True

    def sent(self, now: float, call: object) -> None:
        """Record that the request of a call is sent."""
        self._advance(now)
        if self._phase is _Phase.PROBE_DUE or (
            self._phase is _Phase.PROBING and not self._is_sent
        ):
            self._phase = _Phase.PROBING
            self._probe, self._is_sent, self._since = call, True, now

    def is_probe(self, call: object) -> bool:
        """Return True if this call is the probe and has no outcome yet."""
        return self._phase is _Phase.PROBING and self._probe is call

    def accepted(self, now: float, call: object) -> None:
        """Record an outcome of a call that is not a refusal."""
        self._advance(now)
        if self.is_probe(call):
            self._reopen(now)

    def cancelled(self, now: float, call: object) -> None:
        """Record that a call ended without an outcome."""
        self._advance(now)
        if self.is_probe(call):
            self._phase, self._probe = _Phase.PROBE_DUE, None

    def repeat(self, now: float, chance: float, refusal: APIError) -> None:
        """Start the next cooldown after a refusal of the probe that names no wait."""
        self.start(now, min(self._seconds, _MAX_REPEATED), chance, refusal)

    def _reopen(self, at: float) -> None:
        self._phase, self._probe = _Phase.REOPENING, None
        self._since = at
        self._started = 0

    def _next_start(self) -> float:
        number = self._started + 1
        if number < _FIRST_CALLS:
            share = math.pow(number / _FIRST_CALLS, 1.0 / _FIRST_EXPONENT)
            return self._since + _FIRST_SECONDS * share
        return self._since + math.pow(number / _CALLS, 1.0 / _EXPONENT)

    def _advance(self, now: float) -> None:
        """Enter the phase that the time has brought."""
        if self._phase is _Phase.COOLING and now >= self.until:
            self._phase = _Phase.PROBE_DUE
        elif self._phase is _Phase.PROBING and now >= self._since + _PROBE_SECONDS:
            if self._is_sent:
                self._reopen(self._since + _PROBE_SECONDS)
            else:
                # It waits for a slot or its key. Another call takes its place.
                self._phase, self._probe = _Phase.PROBE_DUE, None


def preferences_key(provider: Any) -> bytes:
    """Return a value that is equal for equal `provider` preferences of requests."""
    return json.dumps(json.loads(encode(provider)), sort_keys=True).encode()
