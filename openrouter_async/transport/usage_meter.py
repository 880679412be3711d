"""UsageMeter: counts what the calls of a client use and cost."""

import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

from ..protocol.call import CallAccount, CallReservation
from ..protocol.usage_sums import UsageSums, UsageTable, cost_in
from ..types import Exchange

R = TypeVar("R")

MAX_UNKNOWN: Final = 10_000
"""Generation ids that are kept: at 300 bytes each, 3 MB."""

MAX_PENDING: Final = 1000
"""Calls that are added up at once: their `usage` objects of 1 KB take 1 MB."""


class UnknownCall:
    """
    An attempt that may have been billed, and whose cost can be looked up.

    Attributes:
        generation_id: OpenRouter's id.
        model: The requested model.
        account: The account of the call.
        reservation: The reservation, which counts as spent until the cost is known;
            None without a budget.
    """

    __slots__ = ("account", "generation_id", "model", "reservation")

    def __init__(
        self,
        generation_id: str,
        model: str | None,
        account: CallAccount,
        reservation: CallReservation | None,
    ) -> None:
        self.generation_id = generation_id
        self.model = model
        self.account = account
        self.reservation = reservation


class OddCall:
    """
    A call that has ended, and is not one attempt that succeeded at a known cost.

    Attributes:
        model: The requested model.
        tag: The tag of the call.
        attempts: Number of attempts.
        usage: The `usage` object of the response; empty if there was none.
        earlier: Those of attempts that failed at a known cost and were retried.
        unknown: Number of attempts that may have been billed at an unknown cost.
        lookups: Those of them that have a generation id.
        is_failure: True if the call raised an error.
    """

    __slots__ = (
        "attempts",
        "earlier",
        "is_failure",
        "lookups",
        "model",
        "tag",
        "unknown",
        "usage",
    )

    def __init__(
        self,
        model: str | None,
        tag: str | None,
        attempts: int,
        usage: Mapping[str, Any],
        *,
        earlier: Sequence[Mapping[str, Any]] = (),
        unknown: int = 0,
        lookups: Sequence[UnknownCall] = (),
        is_failure: bool = False,
    ) -> None:
        self.model = model
        self.tag = tag
        self.attempts = attempts
        self.usage = usage
        self.earlier = earlier
        self.unknown = unknown
        self.lookups = lookups
        self.is_failure = is_failure


class UsageMeter:
    """
    Counts what the calls of a client and its siblings use and cost.

    Threads may share it. The end of a usual call costs one `append`: sums are made when
    somebody looks, or of many calls at once.

    Attributes:
        pending: Model, tag and `usage` object of calls that ended in one attempt at a
            known cost and were not added up yet. Whoever appends calls `add_up` when
            there are `MAX_PENDING`.
    """

    __slots__ = ("_lock", "_odd", "_table", "_unknown", "pending")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._table = UsageTable()
        self.pending: deque[tuple[str | None, str | None, dict[str, Any]]] = deque()
        # The other calls. Nothing is added up where a call ends: the lock may be held
        # further down its own stack, because the garbage collector may close a stream
        # at any moment.
        self._odd: deque[OddCall] = deque()
        # The oldest is first.
        self._unknown: OrderedDict[str, UnknownCall] = OrderedDict()

    def add(self, call: "OddCall") -> None:
        """Count a call that has ended in any other way than those in `pending`."""
        self._odd.append(call)
        if len(self._odd) >= MAX_PENDING:
            self.add_up()

    def add_up(self) -> None:
        """Add up the calls that have ended, unless somebody is at it."""
        if self._lock.acquire(blocking=False):
            try:
                self._add_up()
            finally:
                self._lock.release()

    def add_usage(
        self, model: str | None, tag: str | None, usage: Mapping[str, Any]
    ) -> None:
        """Count tokens and a cost apart from the calls that caused them."""
        sums = UsageSums()
        sums.add_usage(usage)
        with self._lock:
            self._table.add(model, tag, sums)

    def found(self, call: UnknownCall, usage: Mapping[str, Any]) -> bool:
        """
        Add the usage of an attempt that was unknown.

        Returns:
            False if it was found before, or forgotten.
        """
        sums = UsageSums()
        sums.unknown = -1
        sums.add_usage(usage)
        with self._lock:
            self._add_up()
            if self._unknown.get(call.generation_id) is not call:
                return False
            del self._unknown[call.generation_id]
            self._table.add(call.model, call.account.tag, sums)
        if call.reservation is not None:
            call.reservation.correct(cost_in(usage) or 0.0)
        return True

    def unknown(self) -> list[UnknownCall]:
        """Return the attempts whose cost can be looked up, the oldest first."""
        with self._lock:
            self._add_up()
            return list(self._unknown.values())

    def read(self, function: Callable[[UsageTable, tuple[str, ...]], R]) -> R:
        """
        Return what a function makes of the sums, which do not change meanwhile.

        Args:
            function: Called with the sums, and the generation ids of attempts whose
                cost is not known, the oldest first.
        """
        with self._lock:
            self._add_up()
            return function(self._table, tuple(self._unknown))

    def reset(self) -> None:
        """Set all sums to zero, and forget the attempts that are unknown."""
        with self._lock:
            self.pending.clear()
            self._odd.clear()
            self._table = UsageTable()
            self._unknown.clear()

    def _add_up(self) -> None:
        pending, odd = self.pending, self._odd
        groups: dict[tuple[str | None, str | None], list[dict[str, Any]]] = {}
        # More may be appended meanwhile.
        for _ in range(len(pending)):
            model, tag, usage = pending.popleft()
            group = groups.get((model, tag))
            if group is None:
                group = groups[model, tag] = []
            group.append(usage)
        for (model, tag), usages in groups.items():
            sums = UsageSums()
            sums.calls = sums.attempts = len(usages)
            sums.add_usages(usages)
            self._table.add(model, tag, sums)
        for _ in range(len(odd)):
            self._add_odd(odd.popleft())

    def _add_odd(self, call: "OddCall") -> None:
        sums = UsageSums()
        sums.calls = 1
        sums.attempts = call.attempts
        sums.failures = int(call.is_failure)
        sums.unknown = call.unknown
        for usage in (*call.earlier, call.usage):
            sums.add_usage(usage)
        self._table.add(call.model, call.tag, sums)
        for lookup in call.lookups:
            self._unknown[lookup.generation_id] = lookup
            if len(self._unknown) > MAX_UNKNOWN:
                self._unknown.popitem(last=False)


def unknown_ids(
    http: Exchange, *, is_cost_known: bool, is_chat: bool
) -> list[str | None]:
    """
    Return the generation id of each attempt that may have been billed unnoticed.

    These are attempts with the billing "maybe", and a last attempt that was billed and
    whose cost did not arrive: the stream was left, or broke off.

    Args:
        http: The exchange of a call that has ended.
        is_cost_known: If True, the response to the last attempt has a cost.
        is_chat: If False, a response without a cost is not a sign of an unknown one.

    Returns:
        None in place of the id of an attempt whose headers did not arrive.
    """
    attempts = http.attempts
    found = [
        attempt.generation_id for attempt in attempts[:-1] if attempt.billing == "maybe"
    ]
    if not attempts or is_cost_known:
        return found
    last = attempts[-1]
    if last.billing == "maybe" or (last.billing == "billed" and is_chat):
        # The header may be missing, but the id is in the body too. Without a status,
        # the exchange still has the id of the attempt before.
        body_id = None if last.status is None else http.generation_id
        found.append(last.generation_id or body_id)
    return found
