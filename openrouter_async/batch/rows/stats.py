"""Counters of a run, the snapshot that users see, and the control of its end."""

from collections.abc import Mapping
from typing import Literal, Protocol

from attrs import define, field, frozen

from ...protocol.budget import Budget
from ...protocol.budget_level import BudgetKind
from .results import BatchResult

StopReason = Literal[
    "budget",
    "account",
    "repeated_failure",
    "stalled",
    "journal",
    "stopped",
    "input",
    "error",
]
"""
The reason why a run ended before its rows did.

"budget": the next row could exceed `max_cost`. "account": the key, the credits or a
limit of the account; every other row would fail in the same way. "repeated_failure":
the first rows all failed with the same error. "stalled": the server refused every
request for a long time. "journal": the output file cannot be written, or holds other
rows. "stopped": `stop()` was called, or the block was left. "input": the items raised.
"error": something else raised.
"""


class RunControl(Protocol):
    """The engine of a run, as the parts that it consists of see it."""

    def stop(self, reason: StopReason, error: BaseException | None) -> None:
        """Send no more requests. Only the first reason is kept."""

    def add_worker(self) -> None:
        """Start another worker if one could send a row now."""


@frozen
class HostedStats:
    """
    The hosted batches of a run.

    Attributes:
        open_batches: Batches that were submitted and are not collected.
        rows: Rows in these batches.
        oldest_seconds: Age of the oldest one; None if there are none.
        next_expiry: Unix time at which the first one expires; None if unknown.
        reserved: US dollars reserved for their rows; None without `max_cost`.
        unanswered: Further batches whose submission has had no response, so that it is
            not known if they run.
    """

    open_batches: int
    rows: int
    oldest_seconds: float | None
    next_expiry: int | None
    reserved: float | None = None
    unanswered: int = 0


@frozen
class BatchStats:
    """
    A snapshot of a run.

    Attributes:
        total: Rows in the input; None if unknown.
        done: Rows with a result in this run: `ok` and `failed`.
        ok: Rows that succeeded.
        failed: Rows that failed.
        resumed: Rows skipped because the journal has their result.
        in_flight: Requests in flight.
        waiting: Rows that wait for the concurrency limit, the rate limit, the budget,
            a retry, or the end of a pause.
        attempts: Requests sent.
        refusals: Requests that the server refused for lack of capacity.
        abandoned: Requests cancelled in flight; they may be billed.
        cost: US dollars charged in this run, as far as the server reported it.
        spent: US dollars that count towards `max_cost`: `cost`, the cost of the rows
            in the journal, and an estimate where it is unknown if a request was billed.
        budget: "guaranteed": `max_cost` holds unless prices change. "estimated": the
            cost of a row is estimated from earlier rows. None without `max_cost`.
        overshoot: US dollars by which `spent` may still exceed `max_cost`; 0.0 while
            `budget` is "guaranteed", None if unknown.
        prompt_tokens: Input tokens.
        completion_tokens: Output tokens.
        providers: Number of responses, by provider.
        seconds: Duration of the run, so far or in total.
        is_over: True if the run has ended.
        stop_reason: The reason if the run ended before its rows did; otherwise None.
        hosted: The hosted batches; None if the rows are sent as calls. The rows in
            them are `in_flight`, those on their way into one are `waiting`.
    """

    total: int | None
    done: int
    ok: int
    failed: int
    resumed: int
    in_flight: int
    waiting: int
    attempts: int
    refusals: int
    abandoned: int
    cost: float
    spent: float
    budget: BudgetKind | None
    overshoot: float | None
    prompt_tokens: int
    completion_tokens: int
    providers: Mapping[str, int]
    seconds: float
    is_over: bool
    stop_reason: StopReason | None
    hosted: HostedStats | None = None


@define
class RunCounters:
    """The counters of a run."""

    ok: int = 0
    failed: int = 0
    resumed: int = 0
    in_flight: int = 0
    attempts: int = 0
    refusals: int = 0
    abandoned: int = 0
    cost: float = 0.0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    providers: dict[str, int] = field(factory=dict[str, int])

    def stats(
        self,
        *,
        total: int | None,
        waiting: int,
        budget: Budget | None,
        earlier_cost: float,
        seconds: float,
        is_over: bool,
        stop_reason: StopReason | None,
        hosted: HostedStats | None = None,
    ) -> BatchStats:
        """
        Return a snapshot.

        Args:
            total: Rows in the input; None if unknown.
            waiting: Rows that wait to be sent.
            budget: The budget; None without `max_cost`.
            earlier_cost: US dollars that earlier runs with the same journal cost.
            seconds: Duration of the run.
            is_over: True if the run has ended.
            stop_reason: The reason if it ended before its rows did.
            hosted: The hosted batches; None if the rows are sent as calls.
        """
        return BatchStats(
            total=total,
            done=self.ok + self.failed,
            ok=self.ok,
            failed=self.failed,
            resumed=self.resumed,
            in_flight=self.in_flight,
            waiting=waiting,
            attempts=self.attempts,
            refusals=self.refusals,
            abandoned=self.abandoned,
            cost=self.cost,
            spent=self.cost + earlier_cost if budget is None else budget.spent,
            budget=None if budget is None else budget.kind,
            overshoot=None if budget is None else budget.overshoot,
            prompt_tokens=self.prompt_tokens,
            completion_tokens=self.completion_tokens,
            providers=dict(self.providers),
            seconds=seconds,
            is_over=is_over,
            stop_reason=stop_reason,
            hosted=hosted,
        )

    def add(self, result: BatchResult) -> None:
        """Count a result."""
        if result.error is not None:
            self.failed += 1
        else:
            self.ok += 1
            provider = result.provider
            if provider is not None:
                self.providers[provider] = self.providers.get(provider, 0) + 1
        self.cost += result.cost or 0.0
        usage = result.usage
        if usage is not None:
            self.prompt_tokens += usage.prompt_tokens or 0
            self.completion_tokens += usage.completion_tokens or 0
