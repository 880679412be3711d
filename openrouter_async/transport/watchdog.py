"""The clocks of one call, and what happens when one runs out."""

import asyncio
import math
from collections.abc import Callable
from enum import Enum, auto
from typing import Any

from ..config import Timeouts
from ..errors import APITimeoutError, OpenRouterError, Phase
from .timer import SharedTimer


class Stage(Enum):
    """How far an attempt has come; it decides which clocks run."""

    LIMITER = auto()
    QUEUE = auto()
    CONNECT = auto()
    RESPONSE = auto()
    # A body that is no stream, from its first byte on.
    BODY = auto()
    STREAM = auto()
    IDLE = auto()


_WHAT = {
    "pool": "No connection slot became free",
    "connect": "No connection was made",
    "first_token": "No first token came",
    "idle": "No event came",
    "read": "Not a byte came",
    "total": "The call did not end",
}


class Watchdog:
    """
    What runs beside one call: its clocks, and the way to end it from outside.

    A read only stores the time; the ticker asks when the earliest clock may have run
    out. Making and cancelling a timer for each read costs more than all the rest of a
    paced stream.
    """

    __slots__ = (
        "_cancelled",
        "_cancelling",
        "_task",
        "_ticker",
        "_timeouts",
        "away",
        "connected_at",
        "deadline",
        "failure",
        "granted",
        "last_byte",
        "last_data",
        "on_fail",
        "protocol",
        "reused",
        "stage",
        "token_seen",
        "transport",
        "waiting_since",
    )

    def __init__(self, ticker: SharedTimer, timeouts: Timeouts) -> None:
        self._ticker = ticker
        self._timeouts = timeouts
        self._task = asyncio.current_task()
        self._cancelling = self._task.cancelling() if self._task else 0
        self._cancelled = False
        self.stage = Stage.IDLE
        self.failure: OpenRouterError | None = None
        self.on_fail: Callable[[], None] | None = None
        self._unconnected()
        self.deadline: float | None = None
        self.granted = 0.0
        self.last_byte = 0.0
        self.last_data = 0.0
        self.away = 0.0
        self.token_seen = False
        # None: the caller is busy with what it got, and no clock of ours runs.
        self.waiting_since: float | None = None
        ticker.add(self)

    def enter(self, stage: Stage, now: float) -> None:
        """Start the clocks of a stage."""
        self.stage = stage
        if stage is Stage.QUEUE:
            self.waiting_since = now
        else:
            self.last_byte = self.last_data = self.waiting_since = now
        due = self._due(now)[0]
        if due is not None:
            self._ticker.want(due)

    def begin(self, now: float) -> None:
        """Start the clocks of an attempt: its slot was granted."""
        self.stage = Stage.CONNECT
        self.failure = None
        self.granted = now
        self.away = 0.0
        self.token_seen = False
        self._unconnected()
        # What `_due` would find, without its lists: this is done for every call.
        times = self._timeouts
        soonest = times.connect
        if times.first_token is not None and (
            soonest is None or times.first_token < soonest
        ):
            soonest = times.first_token
        due = None if soonest is None else now + soonest
        if self.deadline is not None and (due is None or self.deadline < due):
            due = self.deadline
        if due is not None:
            self._ticker.want(due)

    def _unconnected(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.connected_at: float | None = None
        self.protocol: Any = None
        self.reused = False

    def connected(self, now: float, connection: Any, *, reused: bool) -> None:
        """Learn which connection the attempt was given."""
        self.connected_at = now
        self.protocol = connection.protocol
        self.transport = connection.transport
        self.reused = reused
        self.stage = Stage.RESPONSE

    def rest(self) -> None:
        """Stop the clocks, all but `total`, which is a time of day."""
        self.stage = Stage.IDLE
        self.transport = self.protocol = None

    def stop(self) -> None:
        """Stop everything; the call is over."""
        self._ticker.discard(self)
        self.on_fail = None
        self._task = None

    def let_go(self) -> None:
        """Forget the connection: the body is here, and the pool has it back."""
        self.transport = None

    def received(self, now: float) -> None:
        """Store when bytes of a plain body came; the first ones start `read`."""
        if self.stage is Stage.BODY:
            self.last_byte = now
        else:
            self.enter(Stage.BODY, now)

    def wait(self, now: float) -> None:
        """The caller has come back and waits for us: its clocks run."""
        self.away += now - self.last_byte
        self.waiting_since = now

    def fail(self, failure: OpenRouterError) -> None:
        """End the call with this error, wherever it is; the first one counts."""
        if self.failure is not None or self._task is None:
            return
        self.failure = failure
        if self.transport is not None:
            self.transport.abort()
        if self.on_fail is not None:
            self.on_fail()
        else:
            # Until a stream is handed over, the task of the call is what waits.
            # A body of which the session's own end took hold never wakes it.
            self._cancelled = True
            self._task.cancel()

    def caught(self) -> bool:
        """Return whether a CancelledError that arrived was only `fail`'s."""
        if not self._cancelled or self._task is None:
            return False
        self._cancelled = False
        return self._task.uncancel() <= self._cancelling

    def tick(self, now: float) -> float:
        """End the call if one of its clocks has run out; return when one may."""
        due, phase, seconds = self._due(now)
        if due is None or self.failure is not None:
            return math.inf
        if due > now:
            return due
        self.fail(
            APITimeoutError(
                f"{_WHAT[phase]} within {seconds:g} seconds ({phase}).",
                phase=phase,
                seconds=seconds,
                # Without a connection nothing can have been accepted.
                retryable=phase == "connect",
            )
        )
        return math.inf

    def _due(self, now: float) -> tuple[float | None, Phase, float]:
        """Return when the next clock runs out, which one, and what it was set to."""
        best: float | None = None
        phase: Phase = "total"
        limit = 0.0
        for since, seconds, name in self._clocks(now):
            if seconds is not None and (best is None or since + seconds < best):
                best, phase, limit = since + seconds, name, seconds
        return best, phase, limit

    def _clocks(self, now: float) -> list[tuple[float, float | None, Phase]]:
        """Return since when each clock of this stage runs, and its limit."""
        times = self._timeouts
        if self.stage is Stage.LIMITER:
            return []
        if self.stage is Stage.QUEUE:
            return [(self.waiting_since or 0.0, times.pool, "pool")]
        clocks: list[tuple[float, float | None, Phase]] = []
        if self.deadline is not None and times.total is not None:
            clocks.append((self.deadline - times.total, times.total, "total"))
        if self.stage is Stage.CONNECT:
            clocks.append((self.granted, times.connect, "connect"))
        waiting = self.waiting_since
        away = self.away
        if self.stage is not Stage.STREAM:
            if self.stage is Stage.BODY:
                clocks.append((self.last_byte, times.read, "read"))
            if not self.token_seen and self.stage is not Stage.IDLE:
                clocks.append((self.granted, times.first_token, "first_token"))
            return clocks
        if waiting is None:
            # As if the caller came back right now: it can not be earlier than that.
            waiting = now
            away += waiting - self.last_byte
        clocks.append((max(self.last_byte, waiting), times.read, "read"))
        clocks.append((max(self.last_data, waiting), times.idle, "idle"))
        if not self.token_seen:
            clocks.append((self.granted + away, times.first_token, "first_token"))
        return clocks
