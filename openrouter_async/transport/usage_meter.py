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

# Calls whose usage is added up together. Each is kept as the JSON object that was
# received, about 1 KB.
_MAX_PENDING: Final = 256


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


class UnusualEnd:
    """
    The end of a call that is not one attempt that succeeded at a known cost.

    Attributes:
        attempts: Number of attempts.
        is_failure: True if the call raised an error.
        unknown: Number of attempts that may have been billed at an unknown cost.
        lookups: Those of them that have a generation id.
    """

    __slots__ = ("attempts", "is_failure", "lookups", "unknown")

    def __init__(
        self,
        attempts: int,
        unknown: int = 0,
        lookups: Sequence[UnknownCall] = (),
        *,
        is_failure: bool = False,
    ) -> None:
        self.attempts = attempts
        self.unknown = unknown
        self.lookups = lookups
        self.is_failure = is_failure


Ended = tuple[str | None, str | None, Mapping[str, Any], UnusualEnd | None]
"""Model, tag, the `usage` object, and what was unusual about the end of a call."""


class UsageMeter:
    """
    Counts what the calls of a client and its siblings use and cost.

    Threads may share it. The end of a call only appends to a queue; the queue is added
    up when it is long, or when somebody looks.
    """

    __slots__ = ("_lock", "_pending", "_table", "_unknown")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pending: deque[Ended] = deque()
        self._table = UsageTable()
        # The oldest is first.
        self._unknown: OrderedDict[str, UnknownCall] = OrderedDict()

    def add(
        self,
        model: str | None,
        tag: str | None,
        usage: Mapping[str, Any],
        unusual: UnusualEnd | None,
    ) -> None:
        """
        Count a call that has ended.

        Args:
            model: The requested model.
            tag: The tag of the call.
            usage: The `usage` object of the response; empty if there was none.
            unusual: None for one attempt that succeeded at a known cost.
        """
        pending = self._pending
        pending.append((model, tag, usage, unusual))
        # Not while another thread does it, or this one further down its stack: the
        # garbage collector may close a stream at any moment.
        if len(pending) >= _MAX_PENDING and self._lock.acquire(blocking=False):
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
            self._pending.clear()
            self._table = UsageTable()
            self._unknown.clear()

    def _add_up(self) -> None:
        """Empty the queue. What is appended meanwhile is left to the next time."""
        pending = self._pending
        groups: dict[tuple[str | None, str | None], UsageSums] = {}
        for _ in range(len(pending)):
            model, tag, usage, unusual = pending.popleft()
            sums = groups.get((model, tag))
            if sums is None:
                sums = groups[model, tag] = UsageSums()
            sums.calls += 1
            if usage:
                sums.add_usage(usage)
            if unusual is None:
                sums.attempts += 1
            else:
                self._add_unusual(sums, unusual)
        for (model, tag), sums in groups.items():
            self._table.add(model, tag, sums)

    def _add_unusual(self, sums: UsageSums, unusual: UnusualEnd) -> None:
        sums.attempts += unusual.attempts
        sums.failures += unusual.is_failure
        sums.unknown += unusual.unknown
        for call in unusual.lookups:
            self._unknown[call.generation_id] = call
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
