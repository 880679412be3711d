"""The workers of a run: each takes a row, sends it until it is done, takes the next."""

import asyncio
from collections.abc import Callable

from ..errors import BatchStoppedError, OpenRouterError
from ..protocol.call import Call
from ..protocol.overload import is_fatal
from ..protocol.response_parsing import usage_of
from ..transport.limiter import ConcurrencyLimiter, LimiterRegistry
from ..types import ChatResponse, Exchange
from .jobs import Job, JobQueue
from .request_builder import RequestBuilder
from .reservations import BudgetReservations
from .row_limiter import RateLimiter, RowLimiter
from .rows.results import BatchResult
from .rows.stats import RunCounters, StopReason


class Worker:
    """One worker: its task, and the gate of the row that it is at."""

    __slots__ = ("gate", "is_called_back", "task")

    def __init__(self) -> None:
        self.task: asyncio.Task[None] | None = None
        self.gate: RowLimiter | None = None
        self.is_called_back = False

    @property
    def is_out(self) -> bool:
        """Whether a request of it is on its way."""
        return self.gate is not None and self.gate.inside


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


class WorkerPool:
    """
    As many workers as there is room for, for the whole run; no task for each row.

    A worker whose row waits for a repeat has no room of its own; another one is hired
    for it meanwhile, up to twice the most that may be in flight and 256.

    Attributes:
        gone: Set when the last worker has left.
    """

    def __init__(
        self,
        intake: JobQueue,
        sender: Sender,
        tally: RunCounters,
        most: int,
        *,
        finish: Callable[[Job, BatchResult], None],
        halt: Callable[[StopReason, BaseException | None], None],
    ) -> None:
        """
        Hire nobody yet.

        Args:
            intake: Where they get rows.
            sender: Sends them.
            tally: The run's counters.
            most: The most that may be in flight.
            finish: Called with each result.
            halt: Called when the run must end, and why.
        """
        self._intake = intake
        self._sender = sender
        self._tally = tally
        self._most = 2 * most + 256
        self._finish = finish
        self._halt = halt
        self._loop = asyncio.get_running_loop()
        self._hands: set[Worker] = set()
        self._idle = 0
        self._stopped = False
        self.gone = asyncio.Event()

    def hire(self) -> None:
        """Take one more worker on, unless one has no row, or money is short."""
        if self._stopped:
            # Something came home; if it is to be sent again, it is not now.
            self._loop.call_soon(self.stop)
            return
        if self._idle or self._intake.is_over or self._sender.is_short:
            return
        if len(self._hands) >= self._most:
            return
        hand = Worker()
        self._hands.add(hand)
        self._idle += 1
        hand.task = self._loop.create_task(self._work(hand))
        hand.task.add_done_callback(lambda task: self._leave(hand, task))

    def _leave(self, hand: Worker, task: "asyncio.Task[None]") -> None:
        # One that was cancelled before its first step discards itself nowhere else.
        self._hands.discard(hand)
        if task.cancelled():
            if not self._stopped:
                outside = "A worker of the run was cancelled from outside."
                self._halt("error", BatchStoppedError(outside, reason="error"))
        elif task.exception() is not None:
            self._halt("error", task.exception())
        if not self._hands:
            self.gone.set()

    def stop(self) -> None:
        """Send nothing more; what is out comes home."""
        self._stopped = True
        self._intake.close()
        # The one that stops it ends by itself.
        current = asyncio.current_task(self._loop)
        for hand in list(self._hands):
            if not hand.is_out and hand.task is not current and hand.task is not None:
                hand.task.cancel()
        if not self._hands:
            self.gone.set()

    def cancel(self) -> None:
        """Call all back at once."""
        self.stop()
        for hand in list(self._hands):
            if hand.is_out and not hand.is_called_back and hand.task is not None:
                self._tally.abandoned += 1
                hand.is_called_back = True
                hand.task.cancel()

    @property
    def waiting(self) -> int:
        """How many rows wait: for room, for a repeat, for the end of a pause."""
        at_work = len(self._hands) - self._idle
        return max(0, at_work - self._tally.in_flight)

    async def _work(self, hand: Worker) -> None:
        idle = True
        try:
            while True:
                order = await self._intake.next()
                if order is None:
                    return
                self._idle -= 1
                idle = False
                result = await self._do(order, hand)
                if result is None:
                    return
                self._finish(order, result)
                self._idle += 1
                idle = True
        finally:
            self._hands.discard(hand)
            if idle:
                self._idle -= 1

    async def _do(self, order: Job, hand: Worker) -> BatchResult | None:
        """Return what a row comes to; None: the run ended before it did."""
        call = order.call
        if call is None:
            return BatchResult(order.index, order.custom_id, error=order.fault)
        gate = hand.gate = self._sender.gate(call, self.hire)
        return await self._sender.send(order, call, gate)
