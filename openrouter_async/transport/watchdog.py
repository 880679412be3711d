"""Watchdog: the timeouts of one call."""

import asyncio
import math
from collections.abc import Callable, Iterator
from enum import Enum, auto
from typing import Any, Final, Protocol

from ..config import Timeouts
from ..errors import APITimeoutError, OpenRouterError, Phase
from .timer import SharedTimer


class Stage(Enum):
    """The progress of an attempt, which decides which timeouts run."""

    LIMITER = auto()
    """Waiting for the limiter: the bounds of that wait."""
    QUEUE = auto()
    """Waiting for a connection slot: `pool`."""
    CONNECT = auto()
    """A slot was granted: `connect`, `first_token`, `total`."""
    RESPONSE = auto()
    """The request is on a connection: `first_token`, `total`."""
    BODY = auto()
    """A body that is not a stream has begun: `read`, `first_token`, `total`."""
    STREAM = auto()
    """The headers of a stream have arrived: `read`, `idle`, `first_token`, `total`."""
    IDLE = auto()
    """Nothing is awaited from the network: `total`."""


_STAGES_WITH_SLOT: Final = frozenset(
    (Stage.CONNECT, Stage.RESPONSE, Stage.BODY, Stage.STREAM)
)
# Later than this, something blocked the event loop; timers are a few milliseconds late.
_LATE_SECONDS: Final = 0.1
# Later than this, the error says so; a busy machine is a tenth of a second late.
_REPORTED_SECONDS: Final = 0.5

_MESSAGES: Final[dict[Phase, str]] = {
    "pool": "No connection slot became free",
    "connect": "No connection was established",
    "first_token": "No token was received",
    "idle": "No event was received",
    "read": "No byte was received",
    "total": "The call did not finish",
}


class Limits(Protocol):
    """The limits of a call."""

    @property
    def scope(self) -> object:
        """The calls that the server limits together with this one."""
        ...


class Permit(Protocol):
    """Something that an open stream holds until its end, besides its slot."""

    def release(self) -> None:
        """Give it back."""


class LimitedWait(Protocol):
    """A wait in the limiter, which has bounds of its own."""

    def due(self, now: float) -> float:
        """Return when the wait may have to end; infinity for never."""
        ...

    def expired(self, now: float) -> OpenRouterError:
        """Return the error of a wait that has to end."""
        ...


class Watchdog:
    """
    The timeouts of one call, and the way to end it from outside.

    A read only stores the time. The shared timer checks each call at the earliest
    time when one of its timeouts may have expired, and is set again for the time that
    remains. Creating and cancelling a timer for each read would cost more than all
    the rest of a stream with one event per read.

    Attributes:
        stage: The progress of the current attempt.
        failure: The error that ended the attempt or the call; None if there is none.
        on_fail: Called by `fail` once the call is an open stream. Before that, `fail`
            cancels the task of the call instead.
        deadline: The time when `total` expires; None before the first slot was
            granted, or without that timeout.
        granted: The time when the slot of the current attempt was granted.
        connected_at: The time when the attempt was given its connection; None before.
        limits: The limits of the call; None if it has none.
        permit: Released at the end of an open stream; None if there is none.
        transport: The transport to abort; None if the attempt has no connection.
        protocol: aiohttp's protocol of that connection.
        reused: True if that connection had carried a request before.
        now: Returns the time.
        last_byte: The time of the last read.
        last_data: The time of the last event.
        waiting_since: The time when the caller began to wait for the next event; None
            while the caller is busy with the last ones, and no timeout of the stream
            runs.
        busy: Seconds that the caller was busy between two reads of the stream.
        token_seen: True once the first token was received.
    """

    __slots__ = (
        "_blocked",
        "_cancelled",
        "_cancelling",
        "_limited_wait",
        "_task",
        "_timeouts",
        "_timer",
        "busy",
        "connected_at",
        "deadline",
        "failure",
        "granted",
        "last_byte",
        "last_data",
        "limits",
        "now",
        "on_fail",
        "permit",
        "protocol",
        "reused",
        "stage",
        "token_seen",
        "transport",
        "waiting_since",
    )

    def __init__(self, timer: SharedTimer, timeouts: Timeouts) -> None:
        """Watch the call that the current task makes."""
        self._timer = timer
        self.now = timer.now
        self._timeouts = timeouts
        self._task = asyncio.current_task(timer.loop)
        # Cancellations that somebody else requested before.
        self._cancelling = self._task.cancelling() if self._task else 0
        self._cancelled = False
        self.busy = 0.0
        # Seconds that connecting gets in addition, because the loop was blocked.
        self._blocked = 0.0
        self._limited_wait: LimitedWait | None = None
        self.limits: Limits | None = None
        self.permit: Permit | None = None
        self.stage = Stage.IDLE
        self.failure: OpenRouterError | None = None
        self.on_fail: Callable[[], None] | None = None
        self._forget_connection()
        self.deadline: float | None = None
        self.granted = 0.0
        self.last_byte = 0.0
        self.last_data = 0.0
        self.token_seen = False
        self.waiting_since: float | None = None
        timer.add(self)

    def _forget_connection(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.connected_at: float | None = None
        self.protocol: Any = None
        self.reused = False

    # --- the progress of the call ----------------------------------------------------

    def enter(self, stage: Stage, now: float) -> None:
        """Enter a stage, and start its timeouts."""
        self.stage = stage
        if stage is Stage.QUEUE:
            self.waiting_since = now
        else:
            self.last_byte = self.last_data = self.waiting_since = now
        due = self._earliest(now)[0]
        if due is not None:
            self._timer.check_at(due)

    def wait_in_limiter(self, wait: LimitedWait) -> None:
        """End the wait in the limiter when its bounds say so."""
        self._limited_wait = wait
        self._timer.check_at(wait.due(self.now()))

    def check_limiter(self, due: float) -> None:
        """Check the wait in the limiter at this time or earlier."""
        self._timer.check_at(due)

    def end_wait_in_limiter(self) -> None:
        """Note that the wait in the limiter is over."""
        self._limited_wait = None

    def start_attempt(self, now: float) -> None:
        """Start the timeouts of an attempt, whose slot was granted."""
        self.stage = Stage.CONNECT
        self.failure = None
        self.granted = now
        self.busy = self._blocked = 0.0
        self.token_seen = False
        self._forget_connection()
        # The result of `_earliest`, without a generator: every call passes here.
        timeouts = self._timeouts
        seconds = timeouts.connect
        if timeouts.first_token is not None and (
            seconds is None or timeouts.first_token < seconds
        ):
            seconds = timeouts.first_token
        due = None if seconds is None else now + seconds
        if self.deadline is not None and (due is None or self.deadline < due):
            due = self.deadline
        if due is not None:
            self._timer.check_at(due)

    def connected(self, now: float, connection: Any, *, reused: bool) -> None:
        """Note the connection that the attempt was given."""
        self.connected_at = now
        self.protocol = connection.protocol
        self.transport = connection.transport
        self.reused = reused
        self.stage = Stage.RESPONSE

    def received(self, now: float) -> None:
        """Note bytes of a body that is not a stream; the first ones start `read`."""
        if self.stage is Stage.BODY:
            self.last_byte = now
        else:
            self.enter(Stage.BODY, now)

    def end_attempt(self) -> None:
        """Stop the timeouts of an attempt; only `total` continues."""
        self.stage = Stage.IDLE
        self.transport = self.protocol = None

    def postpone_deadline(self, seconds: float) -> None:
        """Leave a wait out of `total`."""
        if self.deadline is not None:
            self.deadline += seconds

    def stop(self) -> None:
        """Stop all timeouts; the call is over."""
        self._timer.discard(self)
        self.on_fail = None
        self._task = None

    # --- the end from outside --------------------------------------------------------

    def fail(self, failure: OpenRouterError) -> None:
        """End the call with this error, wherever it is; only the first error counts."""
        if self.failure is not None or self._task is None:
            return
        self.failure = failure
        if self.transport is not None:
            self.transport.abort()
        if self.on_fail is not None:
            self.on_fail()
        else:
            # Aborting the transport is not enough: while a session closes, it takes
            # the connection away, and a task that reads the body never wakes up.
            self._cancelled = True
            self._task.cancel()

    def caught(self) -> bool:
        """Return True if a CancelledError came from `fail`, and nobody else cancels."""
        if not self._cancelled or self._task is None:
            return False
        self._cancelled = False
        return self._task.uncancel() <= self._cancelling

    @property
    def has_slot(self) -> bool:
        """True while the call holds a connection slot."""
        return self.on_fail is not None or self.stage in _STAGES_WITH_SLOT

    # --- timeouts --------------------------------------------------------------------

    @property
    def activity(self) -> object:
        """A value that changes whenever data is read."""
        return self.stage, self.last_byte

    def next_due(self, now: float) -> float:
        """Return when the next timeout expires; infinity for never."""
        if self._limited_wait is not None and self.failure is None:
            return self._limited_wait.due(now)
        due = self._earliest(now)[0]
        return math.inf if due is None or self.failure is not None else due

    def check(self, now: float) -> float:
        """End the call if a timeout has expired; return when to check again."""
        wait = self._limited_wait
        if wait is not None and self.failure is None:
            limit = wait.due(now)
            if limit > now:
                return limit
            self.fail(wait.expired(now))
            return math.inf
        due, phase, seconds = self._earliest(now)
        if due is None or self.failure is not None:
            return math.inf
        if due > now:
            return due
        late = now - due
        if (
            self.stage in (Stage.CONNECT, Stage.RESPONSE)
            and (self.connected_at is None or self.connected_at > due)
            and phase != "total"
            and late > _LATE_SECONDS
            and not self._blocked
        ):
            # Connecting takes several steps, each of which waits for the server. None
            # was made while the event loop was blocked, so they get that time again.
            extra = min(late, seconds)
            self._blocked = late + extra
            return now + extra
        self.fail(
            APITimeoutError(
                f"{_MESSAGES[phase]} within {seconds:g} seconds ({phase}).",
                phase=phase,
                seconds=seconds,
                # Without a connection, the request cannot have been accepted.
                retryable=phase == "connect",
                hint=_blocked_hint(max(late, self._blocked)),
            )
        )
        return math.inf

    def _earliest(self, now: float) -> tuple[float | None, Phase, float]:
        """Return when the next timeout expires, its name and its length."""
        earliest: float | None = None
        phase: Phase = "total"
        length = 0.0
        for name, since, seconds in self._running(now):
            if seconds is not None and (earliest is None or since + seconds < earliest):
                earliest, phase, length = since + seconds, name, seconds
        return earliest, phase, length

    def _running(self, now: float) -> Iterator[tuple[Phase, float, float | None]]:
        """Yield the timeouts that run in this stage: name, start, length."""
        timeouts, stage = self._timeouts, self.stage
        if stage is Stage.LIMITER:
            return
        if stage is Stage.QUEUE:
            yield "pool", self.waiting_since or 0.0, timeouts.pool
            return
        if self.deadline is not None and timeouts.total is not None:
            yield "total", self.deadline - timeouts.total, timeouts.total
        busy = 0.0
        if stage is Stage.CONNECT:
            yield "connect", self.granted + self._blocked, timeouts.connect
        elif stage is Stage.BODY:
            yield "read", self.last_byte, timeouts.read
        elif stage is Stage.STREAM:
            waiting, busy = self.waiting_since, self.busy
            if waiting is None:
                # The caller is busy. Assume that it returns right now: the timeouts
                # cannot expire earlier than that.
                waiting = now
                busy += now - self.last_byte
            yield "read", max(self.last_byte, waiting), timeouts.read
            yield "idle", max(self.last_data, waiting), timeouts.idle
        if not self.token_seen and stage is not Stage.IDLE:
            started = self.granted + self._blocked + busy
            yield "first_token", started, timeouts.first_token


def _blocked_hint(late: float) -> str | None:
    if late < _REPORTED_SECONDS:
        return None
    return (
        f"The event loop was blocked for {late:.1f} seconds by other code; "
        "PYTHONASYNCIODEBUG=1 logs by which."
    )
