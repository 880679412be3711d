"""The workers of a run: each takes a row, sends it until it is done, takes the next."""

import asyncio
from collections.abc import Callable
from typing import Any, Final

from attrs import define

from ..codec import canonical
from ..errors import ConfigurationError, JournalError, OpenRouterError
from ..types import ChatResponse
from ..wire import Call, usage_of
from .budget import Budget, Price, most_it_costs
from .calls import Calls
from .door import Door, Scopes
from .extras import Limiter
from .gate import RowGate
from .index import Index, Keys
from .items import Row, fingerprint, given_name, name_key, read_item
from .results import BatchResult
from .shelf import Shelf
from .source import Pulled, Source
from .stats import StopReason, Tally
from .verdict import is_account

# Rows that are passed over are pulled at once; others want the loop as well.
_PASSED_OVER: Final = 500


@define
class Order:
    """
    A row that is to be sent.

    Attributes:
        number: Of its result on the shelf.
        body: The whole request; what was given, if it is none.
        call: None: it can not be sent, for the reason in `fault`.
        print: Of the request; 0 without a journal.
    """

    number: int
    row: Row
    body: Any
    call: Call[ChatResponse] | None = None
    fault: ConfigurationError | None = None
    print: int = 0


class Hand:
    """One worker: its task, and the gate of the row that it is at."""

    __slots__ = ("gate", "task")

    def __init__(self) -> None:
        self.task: asyncio.Task[None] | None = None
        self.gate: RowGate | None = None

    @property
    def is_out(self) -> bool:
        """Whether a request of it is on its way."""
        return self.gate is not None and self.gate.inside


class Crew:
    """
    As many workers as there is room for, for the whole run; no task for each row.

    A worker whose row waits for a repeat has no room of its own; another one is hired
    for it meanwhile, up to twice the most that may be in flight and 256.
    """

    def __init__(
        self,
        *,
        calls: Calls,
        source: Source,
        shelf: Shelf,
        scopes: Scopes,
        tally: Tally,
        concurrency: int | None,
        most: int,
        limiter: Limiter | None,
        budget: Budget | None,
        done: Index | None,
        finish: Callable[[Order, BatchResult], None],
        halt: Callable[[StopReason, BaseException | None], None],
    ) -> None:
        """
        Hire nobody yet.

        Args:
            calls: Makes and sends calls.
            source: Of the rows.
            shelf: Where there must be room before a row is pulled.
            scopes: The client's.
            tally: The run's counters.
            concurrency: A fixed number of requests in flight; None: as it turns out.
            most: The most that may be in flight.
            limiter: Of requests a minute.
            budget: Of US dollars.
            done: The rows of earlier runs; None without a journal.
            finish: Called with each result.
            halt: Called when the run must end, and why.
        """
        self._calls = calls
        self._source = source
        self._shelf = shelf
        self._scopes = scopes
        self._tally = tally
        self._concurrency = concurrency
        self._most = 2 * most + 256
        self._limiter = limiter
        self._budget = budget
        self._done = done
        self._finish = finish
        self._halt = halt
        self._seen = None if done is None else Keys()
        self._loop = asyncio.get_running_loop()
        self._hands: set[Hand] = set()
        self._idle = 0
        self._index = 0
        # Waiting for money.
        self._short = 0
        self._stopped = False
        self._dry = False
        self._settled = asyncio.Event()
        self._prices: dict[str, Price | None] = {}
        self._asking = asyncio.Lock()
        self.doors: dict[str | None, Door] = {}
        self.gone = asyncio.Event()

    # Who works.

    def hire(self) -> None:
        """Take one more worker on, unless one has no row, or money is short."""
        if self._stopped:
            # Something came home; if it is to be sent again, it is not now.
            self._loop.call_soon(self.stop)
            return
        if self._dry or self._idle or self._short:
            return
        if len(self._hands) >= self._most:
            return
        hand = Hand()
        self._hands.add(hand)
        self._idle += 1
        hand.task = self._loop.create_task(self._work(hand))
        hand.task.add_done_callback(lambda task: self._leave(hand, task))

    def _leave(self, hand: Hand, task: "asyncio.Task[None]") -> None:
        # One that was cancelled before its first step discards itself nowhere else.
        self._hands.discard(hand)
        if not task.cancelled() and task.exception() is not None:
            self._halt("error", task.exception())
        if not self._hands:
            self.gone.set()

    def stop(self) -> None:
        """Send nothing more; what is out comes home."""
        self._stopped = True
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
            if hand.is_out and hand.task is not None:
                self._tally.abandoned += 1
                hand.task.cancel()

    @property
    def waiting(self) -> int:
        """How many rows wait: for room, for a repeat, for the end of a pause."""
        at_work = len(self._hands) - self._idle
        return max(0, at_work - self._tally.in_flight)

    # What they do.

    async def _work(self, hand: Hand) -> None:
        idle = True
        try:
            while True:
                order = await self._next()
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

    async def _next(self) -> Order | None:
        """Return the next row that is to be sent; None: there is no more."""
        passed_over = 0
        while not self._stopped:
            if self._shelf.is_full:
                await self._shelf.room()
                continue
            try:
                pulled = await self._source.pull()
            except Exception as error:  # noqa: BLE001 - the caller's own
                self._halt("source", error)
                return None
            if pulled is None:
                self._dry = True
                return None
            order = self._order(pulled)
            if order is not None:
                return order
            self._tally.resumed += 1
            passed_over += 1
            if not passed_over % _PASSED_OVER:
                await asyncio.sleep(0)
        return None

    def _order(self, pulled: Pulled) -> Order | None:
        """Make a row ready; None: the journal has it."""
        index, self._index = self._index, self._index + 1
        row = Row(index, given_name(pulled.item), {})
        body: Any = None if isinstance(pulled.item, Exception) else pulled.item
        try:
            if pulled.fault is not None:
                raise pulled.fault
            row = read_item(pulled.item, index)
            body = row.params
            body = self._calls.body(row)
            call = self._calls.call(body)
            printed = self._check(row, call.body)
        except (ConfigurationError, TypeError) as error:
            fault = (
                error
                if isinstance(error, ConfigurationError)
                else ConfigurationError(f"Row {index}: {error}")
            )
            return Order(self._shelf.promise(), row, body, fault=fault)
        except JournalError as error:
            self._halt("journal", error)
            return Order(self._shelf.promise(), row, body)
        if printed is None:
            return None
        return Order(self._shelf.promise(), row, body, call, print=printed)

    def _check(self, row: Row, body: bytes | None) -> int | None:
        """
        Return a row's fingerprint; None: it is done.

        Raises:
            JournalError: The journal has another request under this name.
            ConfigurationError: This run had the name before.
        """
        if self._done is None or self._seen is None:
            return 0
        key, printed = name_key(row.name), fingerprint(canonical(body or b""))
        if not self._seen.add(key):
            raise ConfigurationError(
                f"Row {row.index} has the custom_id of an earlier row: {row.name!r}."
            )
        known = self._done.get(key)
        if known is not None and known != printed:
            raise JournalError(
                f"The journal has another request as {row.name!r}: the rows or the "
                "parameters have changed.",
                hint="Give the run a new journal, or the old rows.",
            )
        return printed if known is None else None

    async def _do(self, order: Order, hand: Hand) -> BatchResult | None:
        """Return what a row comes to; None: the run ended before it did."""
        row, call = order.row, order.call
        result = BatchResult(row.index, row.custom_id, error=order.fault)
        if call is None:
            return None if order.fault is None else result
        reserved = await self._reserve(order, call)
        if reserved is None:
            self._halt("budget", None)
            return None
        gate = hand.gate = RowGate(
            self._loop,
            self._door(call),
            self._limiter,
            call.retries,
            self._tally,
            self.hire,
        )
        try:
            reply = await self._calls.send(call, gate)
            http, usage = reply.http, usage_of(reply)
            result.response, result.output = self._calls.read(reply)
        except OpenRouterError as error:
            result.error, http, usage = error, error.http, usage_of(error.partial)
        except BaseException:
            self._settle(reserved, None, 1 if gate.sent else 0)
            raise
        finally:
            hand.gate = None
        result.usage = usage
        result.cost = None if usage is None else usage.cost
        result.attempts = len(http.attempts)
        result.latency = max(0.0, self._loop.time() - gate.sent)
        unclear = sum(attempt.billing == "maybe" for attempt in http.attempts)
        untold = result.ok and result.cost is None
        self._settle(reserved, result.cost, unclear + untold)
        if result.error is not None and is_account(result.error):
            self._halt("account", result.error)
            return None
        return result

    def _door(self, call: Call[ChatResponse]) -> Door:
        door = self.doors.get(call.model)
        if door is None:
            calls = self._calls
            key = (self._loop, calls.base_url, calls.key_mark, call.model)
            door = self._scopes.get(key).door(self._concurrency)
            self.doors[call.model] = door
        return door

    # What they may spend.

    async def _reserve(self, order: Order, call: Call[ChatResponse]) -> float | None:
        """Set money aside; None: there will not be enough."""
        budget = self._budget
        if budget is None:
            return 0.0
        model = call.model
        async with self._asking:
            if model is not None and model not in self._prices:
                self._prices[model] = await self._calls.price(model)
        most = None
        # Sent again after silence, it might be billed twice.
        if not call.retries.ambiguous:
            most = most_it_costs(order.body, len(call.body or b""), self._prices)
        while (reserved := budget.reserve(most)) is None:
            if budget.is_idle:
                return None
            self._short += 1
            self._settled.clear()
            try:
                await self._settled.wait()
            finally:
                self._short -= 1
        return reserved

    def _settle(self, reserved: float, cost: float | None, unclear: int) -> None:
        if self._budget is not None:
            self._budget.settle(reserved, cost, unclear)
            self._settled.set()
