"""Sends one row until it comes to a result: its money, its door, its call."""

import asyncio
from collections.abc import Callable

from ..errors import OpenRouterError
from ..protocol.call import Call
from ..protocol.overload import is_fatal
from ..protocol.response_parsing import usage_of
from ..transport.limiter import ConcurrencyLimiter, LimiterRegistry
from ..types import ChatResponse, Exchange
from .jobs import Job
from .request_builder import RequestBuilder
from .reservations import BudgetReservations
from .row_limiter import RateLimiter, RowLimiter
from .rows.results import BatchResult
from .rows.stats import RunCounters, StopReason


class Sender:
    """
    What the rows of a run share on their way out.

    Attributes:
        doors: By model.
    """

    def __init__(
        self,
        calls: RequestBuilder,
        scopes: LimiterRegistry,
        tally: RunCounters,
        *,
        concurrency: int | None,
        limiter: RateLimiter | None,
        cashier: BudgetReservations | None,
        halt: Callable[[StopReason, BaseException | None], None],
    ) -> None:
        """
        Send nothing yet.

        Args:
            calls: Sends calls.
            scopes: The client's.
            tally: The run's counters.
            concurrency: A fixed number of requests in flight; None: as it turns out.
            limiter: Of requests a minute.
            cashier: Of US dollars; None: they do not matter.
            halt: Called when the run must end, and why.
        """
        self._calls = calls
        self._scopes = scopes
        self._tally = tally
        self._concurrency = concurrency
        self._limiter = limiter
        self._cashier = cashier
        self._halt = halt
        self._loop = asyncio.get_running_loop()
        self.doors: dict[str | None, ConcurrencyLimiter] = {}

    @property
    def is_short(self) -> bool:
        """Whether a row waits for money."""
        return self._cashier is not None and self._cashier.is_short

    def gate(self, call: Call[ChatResponse], hire: Callable[[], None]) -> RowLimiter:
        """Return the gate of a row; `hire`: called when there may be room for more."""
        door = self.doors.get(call.model) or self._door(call.model)
        return RowLimiter(
            self._loop, door, self._limiter, call.retries, self._tally, hire
        )

    def _door(self, model: str | None) -> ConcurrencyLimiter:
        key = (self._loop, self._calls.base_url, self._calls.key_id, model)
        door = self._scopes.get(key).door(self._concurrency)
        door.begin()
        self.doors[model] = door
        return door

    async def send(
        self, order: Job, call: Call[ChatResponse], gate: RowLimiter
    ) -> BatchResult | None:
        """Return what a row comes to; None: the run ends before it does."""
        cashier, reserved = self._cashier, 0.0
        if cashier is not None:
            found = await cashier.reserve(call)
            if found is None:
                self._halt("budget", None)
                return None
            reserved = found
        response = output = failure = None
        try:
            reply = await self._calls.send(call, gate)
            http, usage = reply.http, usage_of(reply)
            response, output = self._calls.read(reply)
        except OpenRouterError as error:
            failure, http, usage = error, error.http, usage_of(error.partial)
        except BaseException:
            if cashier is not None:
                cashier.settle(reserved, None, 1 if gate.sent else 0)
            raise
        cost = None if usage is None else usage.cost
        if cashier is not None:
            untold = failure is None and cost is None
            cashier.settle(reserved, cost, untold + _unclear(http))
        if failure is not None and is_fatal(failure):
            self._halt("account", failure)
            return None
        return BatchResult(
            order.index,
            order.custom_id,
            response,
            failure,
            cost,
            usage,
            len(http.attempts),
            max(0.0, self._loop.time() - gate.sent),
            output,
        )


def _unclear(http: Exchange) -> int:
    """Return how many attempts may have cost nobody knows what."""
    return sum(attempt.billing == "maybe" for attempt in http.attempts)
