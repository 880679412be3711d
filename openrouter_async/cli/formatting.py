"""Times, costs and rates as text; the summary of a call and the demo's table."""

import math
import statistics
from collections.abc import Sequence

from attrs import frozen
from rich import box
from rich.table import Table

from openrouter_async.protocol.call import CallRecord
from openrouter_async.types import ChatResponse, Exchange, Usage

_HEADINGS = ("", "calls", "attempts", "1st token", "p50", "p95", "rate", "cost")


def seconds(value: float | None) -> str:
    """Format a duration: "4 ms", "1.43 s"; "" for None."""
    if value is None:
        return ""
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.2f} s"


def dollars(value: float | None) -> str:
    """Format a cost: "$0.000022", "free"; "" for None."""
    if value is None:
        return ""
    if value == 0:
        return "free"
    # Two significant digits, but at least cents.
    digits = max(2, 1 - math.floor(math.log10(value)))
    return f"${value:.{digits}f}"


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """Format a count and its noun, singular or plural: "1 chunk", "2 chunks"."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {plural or noun + 's'}"


def tokens_per_second(usage: Usage | None, http: Exchange) -> float | None:
    """Return the rate of output tokens after the first one; None if unknown."""
    count = None if usage is None else usage.completion_tokens
    first, total = http.timings.first_token, http.timings.total
    if not count or first is None or total is None or total <= first:
        return None
    return count / (total - first)


def summary(response: ChatResponse, *, streamed: bool) -> str:
    """Return one line with model, tokens, cost, times and anything unusual."""
    http, usage = response.http, response.usage
    model = response.model or "unknown model"
    facts = [f"{model} via {response.provider}" if response.provider else model]
    if usage.prompt_tokens is not None or usage.completion_tokens is not None:
        facts.append(f"{usage.prompt_tokens or 0} + {usage.completion_tokens or 0} tok")
    facts.append(dollars(usage.cost))
    if streamed:
        facts.append(f"first token {seconds(http.timings.first_token)}")
        rate = tokens_per_second(usage, http)
        facts.append("" if rate is None else f"{rate:.0f} tok/s")
    facts.append(seconds(http.timings.total))
    if len(http.attempts) > 1:
        facts.append(f"{len(http.attempts)} attempts")
    if response.finish_reason not in (None, "stop"):
        facts.append(f"finish reason {response.finish_reason}")
    return " · ".join(fact for fact in facts if fact)


@frozen
class Step:
    """
    One step of the demo: its calls.

    Attributes:
        name: Name of the step.
        records: One for each call.
        wall: Seconds from the start of the first call to the end of the last.
    """

    name: str
    records: Sequence[CallRecord]
    wall: float

    @property
    def attempts(self) -> int:
        """Number of attempts of all calls."""
        return sum(len(record.http.attempts) for record in self.records)

    @property
    def sequential_seconds(self) -> float:
        """Seconds that the calls would take one after the other."""
        return sum(record.http.timings.total or 0.0 for record in self.records)

    def row(self) -> tuple[str, ...]:
        """Return the cells of the table's row."""
        totals = [record.http.timings.total or 0.0 for record in self.records]
        firsts = [
            first
            for record in self.records
            if record.stream and (first := record.http.timings.first_token) is not None
        ]
        costs = [
            record.usage.cost
            for record in self.records
            if record.usage is not None and record.usage.cost is not None
        ]
        return (
            self.name,
            f"{len(self.records)}",
            f"{self.attempts}",
            seconds(statistics.median(firsts) if firsts else None),
            seconds(statistics.median(totals) if totals else None),
            seconds(_p95(totals)),
            self._rate(),
            dollars(sum(costs)) if costs else "",
        )

    def _rate(self) -> str:
        if len(self.records) > 1:
            return f"{len(self.records) / self.wall:.0f} calls/s"
        for record in self.records:
            rate = (
                tokens_per_second(record.usage, record.http) if record.stream else None
            )
            if rate is not None:
                return f"{rate:.0f} tok/s"
        return ""


def _p95(values: Sequence[float]) -> float | None:
    """Return the 95th percentile; None if there are fewer than two values."""
    if len(values) < 2:
        return None
    return statistics.quantiles(values, n=20, method="inclusive")[-1]


def table(steps: Sequence[Step], *, plain: bool) -> Table:
    """Return the table of all steps; at most 79 characters wide."""
    made = Table(
        box=None if plain else box.SIMPLE_HEAD,
        show_edge=False,
        header_style="bold",
        pad_edge=False,
        padding=(0, 2 if plain else 1, 0, 0),
    )
    for number, name in enumerate(_HEADINGS):
        made.add_column(name, justify="right" if number else "left", no_wrap=True)
    for step in steps:
        made.add_row(*step.row())
    return made
