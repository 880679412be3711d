"""How far a run has come."""

from collections.abc import Mapping
from typing import Literal

from attrs import define, field, frozen

from ...protocol.budget import Budget, Kind
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
Why a run ended before its rows did.

"budget": the next row could exceed `max_cost`. "account": the key, the credits or a
limit of the account; every other row would fail in the same way. "repeated_failure":
the first rows all failed with the same error. "stalled": the server refused every
request for a long time. "journal": the output file cannot be written, or holds other
rows. "stopped": `stop()` was called, or the block was left. "input": the items raised.
"error": something else raised.
"""


@frozen
class BatchStats:
    """
    A snapshot of a run.

    Attributes:
        total: Rows in the input; None where that is not known.
        done: Rows that came to a result in this run: `ok` and `failed`.
        ok: Rows with a reply.
        failed: Rows with an error.
        resumed: Rows that were found in the journal.
        in_flight: Requests that are out now.
        waiting: Rows that wait: for room, for a repeat, or for a pause to end.
        attempts: Requests that were sent.
        refusals: Requests that were refused for lack of capacity.
        abandoned: Requests that were cancelled on their way; they may be billed.
        cost: US dollars charged in this run, as far as the server said.
        spent: US dollars that count against `max_cost`: `cost`, that of the rows in
            the journal, and what nobody can tell for sure.
        budget: "guaranteed": `max_cost` is kept unless prices change; "estimated"; None
            without `max_cost`.
        overshoot: US dollars by which `spent` may still pass `max_cost`; 0.0 for a
            promise, None where nobody can tell.
        prompt_tokens: Tokens read.
        completion_tokens: Tokens written.
        providers: Replies, by provider.
        seconds: Since it began, until it ended.
        is_over: Whether it has ended.
        stop_reason: Why it ended before its rows did; None if it did not.
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
    budget: Kind | None
    overshoot: float | None
    prompt_tokens: int
    completion_tokens: int
    providers: Mapping[str, int]
    seconds: float
    is_over: bool
    stop_reason: StopReason | None


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
        before: float,
        seconds: float,
        is_over: bool,
        stop_reason: StopReason | None,
    ) -> BatchStats:
        """
        Return a snapshot; what is not told here is as in `BatchStats`.

        Args:
            total: So.
            waiting: So.
            budget: None without `max_cost`.
            before: US dollars that earlier runs with the journal cost.
            seconds: So.
            is_over: So.
            stop_reason: So.
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
            spent=self.cost + before if budget is None else budget.spent,
            budget=None if budget is None else budget.kind,
            overshoot=None if budget is None else budget.overshoot,
            prompt_tokens=self.prompt_tokens,
            completion_tokens=self.completion_tokens,
            providers=dict(self.providers),
            seconds=seconds,
            is_over=is_over,
            stop_reason=stop_reason,
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
