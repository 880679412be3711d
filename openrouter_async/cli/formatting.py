"""Times, costs and rates, as people read them."""

import math
import statistics
from collections.abc import Sequence

from attrs import frozen
from rich import box
from rich.table import Table

from openrouter_async.protocol.call import CallRecord
from openrouter_async.types import ChatResponse, Exchange, Usage

_HEADINGS = (
    "",
    "calls",
    "attempts",
    "1st token",
    "p50",
    "p95",
    "rate",
    "cost",
)
# Fewer values have no 95th percentile worth the name.
_FEWEST = 2


def seconds(value: float | None) -> str:
    """Write a time: "4 ms", "1.43 s"; "" for None."""
    if value is None:
        return ""
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.2f} s"


def dollars(value: float | None) -> str:
    """Write a cost: "$0.000022", "free"; "" for None."""
    if value is None:
        return ""
    if value == 0:
        return "free"
    # Two significant digits, and never less than cents.
    places = max(2, 1 - math.floor(math.log10(value)))
    return f"${value:.{places}f}"


def speed(usage: Usage | None, http: Exchange) -> float | None:
    """Return the tokens per second once the first was there; None: unknown."""
    count = None if usage is None else usage.completion_tokens
    first, total = http.timings.first_token, http.timings.total
    if not count or first is None or total is None or total <= first:
        return None
    return count / (total - first)


def bill(reply: ChatResponse, *, streamed: bool) -> str:
    """Write what a reply used up, in a line."""
    http, usage = reply.http, reply.usage
    who = reply.model or "unknown model"
    facts = [f"{who} via {reply.provider}" if reply.provider else who]
    if usage.prompt_tokens is not None or usage.completion_tokens is not None:
        facts.append(f"{usage.prompt_tokens or 0} + {usage.completion_tokens or 0} tok")
    facts.append(dollars(usage.cost))
    if streamed:
        facts.append(f"first token {seconds(http.timings.first_token)}")
        rate = speed(usage, http)
        facts.append("" if rate is None else f"{rate:.0f} tok/s")
    facts.append(seconds(http.timings.total))
    if len(http.attempts) > 1:
        facts.append(f"{len(http.attempts)} attempts")
    if reply.finish_reason not in (None, "stop"):
        facts.append(f"ended by {reply.finish_reason}")
    return " · ".join(fact for fact in facts if fact)


@frozen
class Step:
    """
    Calls that were made together.

    Attributes:
        name: What they are called.
        records: One for each call.
        wall: Seconds from the first to the end of the last.
    """

    name: str
    records: Sequence[CallRecord]
    wall: float

    @property
    def attempts(self) -> int:
        """How many requests the calls took."""
        return sum(len(record.http.attempts) for record in self.records)

    @property
    def one_by_one(self) -> float:
        """Seconds that the calls take one after the other."""
        return sum(record.http.timings.total or 0.0 for record in self.records)

    def row(self) -> tuple[str, ...]:
        """Write the table's row."""
        totals = [record.http.timings.total or 0.0 for record in self.records]
        streams = [record for record in self.records if record.stream]
        firsts = [record.http.timings.first_token for record in streams]
        known = [first for first in firsts if first is not None]
        costs = [r.usage.cost for r in self.records if r.usage is not None]
        paid = [cost for cost in costs if cost is not None]
        return (
            self.name,
            f"{len(self.records)}",
            f"{self.attempts}",
            seconds(statistics.median(known) if known else None),
            seconds(statistics.median(totals) if totals else None),
            seconds(_p95(totals)),
            self._rate(),
            dollars(sum(paid)) if paid else "",
        )

    def _rate(self) -> str:
        if len(self.records) > 1:
            return f"{len(self.records) / self.wall:.0f} calls/s"
        for record in self.records:
            rate = speed(record.usage, record.http) if record.stream else None
            if rate is not None:
                return f"{rate:.0f} tok/s"
        return ""


def _p95(values: Sequence[float]) -> float | None:
    """Return what 95 of 100 stay below; None for a single value."""
    if len(values) < _FEWEST:
        return None
    return statistics.quantiles(values, n=20, method="inclusive")[-1]


def table(steps: Sequence[Step], *, plain: bool) -> Table:
    """Make the table of what was measured."""
    made = Table(
        box=None if plain else box.SIMPLE_HEAD,
        header_style="bold",
        pad_edge=False,
        padding=(0, 1, 0, 1),
    )
    for place, name in enumerate(_HEADINGS):
        made.add_column(name, justify="right" if place else "left", no_wrap=True)
    for step in steps:
        made.add_row(*step.row())
    return made
