"""ConcurrencyLimiter: a number of attempts in flight, and the limit for it."""

from typing import Final

from attrs import frozen

from ..errors import APIError, OpenRouterError
from ..protocol.concurrency import Controller, CubicController
from ..types.shape import Value

# Seconds without a refusal after which the next one begins a new period of refusals. A
# call that is refused again and again comes back sooner: a cooldown lasts 120 s.
_MAX_GAP: Final = 180.0


@frozen(eq=False, repr=False)
class LimiterStats(Value):
    """
    A snapshot of the concurrency limit of a run for one model.

    Attributes:
        limit: Maximum number of calls in flight.
        in_flight: Calls in flight, of all that share the limit.
        waiting: Attempts that wait to start.
        refusals: Number of overload errors so far.
        paused: Seconds left of the cooldown that the server asked for; 0.0 if there is
            none.
        latency: Mean seconds until a response; None if it is not measured.
    """

    limit: int
    in_flight: int
    waiting: int
    refusals: int
    paused: float
    latency: float | None


@frozen(eq=False, repr=False)
class ScopeStats(Value):
    """
    A snapshot of the calls of a client with one base URL, key and model.

    Attributes:
        limit: Maximum number of calls in flight; None if there is none.
        in_flight: Calls in flight, of this client, its siblings and their runs.
        waiting: Calls that wait to start: for the limit, or for the end of a cooldown.
        refusals: Number of overload errors so far.
        cooldown: Seconds left of the cooldown that the server asked for; 0.0 if there
            is none.
    """

    limit: int | None
    in_flight: int
    waiting: int
    refusals: int
    cooldown: float


class ConcurrencyLimiter:
    """
    The attempts in flight of those who share a limit, and what is known from them.

    Attributes:
        in_flight: Attempts that were admitted and have not ended.
        waiting: Attempts that wait for this limit or for a cooldown.
        refusals: Number of overload errors so far.
        refused_since: Time of the first overload error after the last other response;
            None if there was none.
        last_refusal: The last overload error that the server sent; None if there was
            none.
    """

    __slots__ = (
        "_last_refused",
        "controller",
        "in_flight",
        "last_refusal",
        "refusals",
        "refused_since",
        "waiting",
    )

    def __init__(self, controller: Controller) -> None:
        """
        Create a limiter without attempts.

        Args:
            controller: Sets the limit.
        """
        self.controller = controller
        self.in_flight = 0
        self.waiting = 0
        self.refusals = 0
        self.refused_since: float | None = None
        self.last_refusal: APIError | None = None
        self._last_refused = 0.0

    @property
    def limit(self) -> int:
        """Maximum number of attempts in flight."""
        return self.controller.limit

    @property
    def latency(self) -> float | None:
        """Mean seconds until a response; None if it is not measured."""
        controller = self.controller
        return controller.latency if isinstance(controller, CubicController) else None

    def start_run(self) -> None:
        """Note that a run begins; errors before it do not count for its stall."""
        if not self.in_flight and not self.waiting:
            self.refused_since = None

    def started(self, now: float) -> None:
        """Count an attempt that starts."""
        self.in_flight += 1
        self.controller.sent(now, self.in_flight)

    def ended(self) -> None:
        """Count an attempt that has ended."""
        self.in_flight -= 1

    def record(self, now: float, sent_at: float, error: BaseException | None) -> None:
        """
        Record an outcome other than an overload error; call this before `ended`.

        Args:
            now: The time.
            sent_at: The time when the attempt started.
            error: The exception; None if the attempt succeeded.
        """
        if error is None:
            self.controller.succeeded(now, sent_at, self.in_flight)
            self.refused_since = None
        elif isinstance(error, APIError) and error.status_code < 500:
            # The server rejected this request, so it is not overloaded.
            self.refused_since = None
        elif isinstance(error, OpenRouterError):
            self.controller.failed(now)

    def refused(self, now: float, refusal: APIError | None) -> None:
        """
        Record an overload error.

        Args:
            now: The time.
            refusal: The error if the server sent it; None for an error of this machine.
        """
        self.refusals += 1
        if self.refused_since is None or now - self._last_refused > _MAX_GAP:
            self.refused_since = now
        self._last_refused = now
        if refusal is not None:
            self.last_refusal = refusal
