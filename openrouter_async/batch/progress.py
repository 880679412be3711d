"""How fast a run goes, what it will cost and when it ends, in a line."""

import json
import math
from typing import Final, TextIO

from .rows.stats import BatchStats

_HALF_LIFE: Final = 30.0
_MOST_PROVIDERS: Final = 3
_MINUTE: Final = 60
_HOUR: Final = 3600
_ROUND_ABOVE: Final = 1000


class Meter:
    """
    Rates that forget: what was half a minute ago counts half.

    Pauses are in them; rows that were there before are not.
    """

    def __init__(self) -> None:
        self._at: float | None = None
        self._rows = self._tokens = 0.0
        self._weight = self._row_sum = self._token_sum = 0.0

    def feed(self, stats: BatchStats) -> None:
        """Take a snapshot in; `stats.seconds` is the clock."""
        tokens = stats.prompt_tokens + stats.completion_tokens
        at, self._at = self._at, stats.seconds
        rows, self._rows = self._rows, float(stats.done)
        before, self._tokens = self._tokens, float(tokens)
        span = stats.seconds - (at or 0.0)
        if span <= 0:
            return
        fade = 0.5 ** (span / _HALF_LIFE)
        self._weight = self._weight * fade + span
        self._row_sum = self._row_sum * fade + (stats.done - rows)
        self._token_sum = self._token_sum * fade + (tokens - before)

    @property
    def rows_per_second(self) -> float:
        """Rows a second."""
        return self._row_sum / self._weight if self._weight else 0.0

    @property
    def tokens_per_second(self) -> float:
        """Tokens a second, read and written."""
        return self._token_sum / self._weight if self._weight else 0.0

    def seconds_left(self, stats: BatchStats) -> float | None:
        """Return the seconds to the end; None where that is not known."""
        if stats.total is None or not self.rows_per_second:
            return None
        left = stats.total - stats.resumed - stats.done
        return max(0.0, left / self.rows_per_second)


def projected_cost(stats: BatchStats) -> float | None:
    """Return what the whole run will have cost, in US dollars; None: not known."""
    if stats.total is None or not stats.done:
        return None
    return stats.cost / stats.done * (stats.total - stats.resumed)


def line(stats: BatchStats, meter: Meter, max_cost: float | None = None) -> str:
    """Write a snapshot in a line for people."""
    through = stats.done + stats.resumed
    parts: list[str] = []
    if stats.total:
        share = 100 * through // stats.total
        parts.append(f"{through:,}/{stats.total:,} {share}%")
    else:
        parts.append(f"{through:,}")
    parts.append(f"{_short(meter.rows_per_second)}/s")
    parts.append(f"in flight {stats.in_flight}")
    projected = projected_cost(stats)
    money = f"${stats.spent:.4g}"
    if max_cost is not None:
        money += f" of ${max_cost:g}"
    if projected is not None:
        money += f" (all: ${projected + stats.spent - stats.cost:.4g})"
    parts.append(money)
    parts.append(f"{_short(meter.tokens_per_second)} tok/s")
    if stats.refusals:
        parts.append(f"refused {100 * stats.refusals / max(1, stats.attempts):.1f}%")
    if stats.waiting:
        parts.append(f"waiting {stats.waiting}")
    if stats.failed:
        parts.append(f"failed {stats.failed:,}")
    if stats.providers:
        parts.append(_providers(stats))
    left = meter.seconds_left(stats)
    if left is not None:
        parts.append(f"ETA {_duration(left)}")
    return " | ".join(parts)


def record(stats: BatchStats, meter: Meter) -> str:
    """Write a snapshot as a line of JSON, for programs."""
    left = meter.seconds_left(stats)
    facts = {
        "total": stats.total,
        "done": stats.done,
        "ok": stats.ok,
        "failed": stats.failed,
        "resumed": stats.resumed,
        "in_flight": stats.in_flight,
        "waiting": stats.waiting,
        "attempts": stats.attempts,
        "refusals": stats.refusals,
        "cost": round(stats.cost, 9),
        "spent": round(stats.spent, 9),
        "projected_cost": projected_cost(stats),
        "prompt_tokens": stats.prompt_tokens,
        "completion_tokens": stats.completion_tokens,
        "rows_per_second": round(meter.rows_per_second, 3),
        "tokens_per_second": round(meter.tokens_per_second, 3),
        "providers": dict(stats.providers),
        "seconds": round(stats.seconds, 3),
        "seconds_left": None if left is None else round(left, 1),
        "stop_reason": stats.stop_reason,
    }
    return json.dumps(facts, separators=(",", ":"))


class ProgressLine:
    """
    Writes the line: over itself on a terminal, else one every ten seconds.

    It is what `progress=True` calls; any other function of a `BatchStats` will do.
    """

    def __init__(self, out: TextIO, max_cost: float | None = None) -> None:
        self._out = out
        self._max_cost = max_cost
        self._meter = Meter()
        self._live = out.isatty()
        self._next = 0.0

    def __call__(self, stats: BatchStats) -> None:
        """Write what there is to say."""
        self._meter.feed(stats)
        text = line(stats, self._meter, self._max_cost)
        if self._live:
            self._out.write(f"\r\x1b[2K{text}")
            self._out.flush()
        elif stats.is_over or stats.seconds >= self._next:
            self._next = stats.seconds + 10.0
            self._out.write(text + "\n")
            self._out.flush()

    def end(self) -> None:
        """End the line."""
        if self._live:
            self._out.write("\n")
            self._out.flush()


class ProgressRecords:
    """Writes a line of JSON every ten seconds, and one at the end."""

    def __init__(self, out: TextIO, every: float = 10.0) -> None:
        self._out = out
        self._every = every
        self._meter = Meter()
        self._next = every

    def __call__(self, stats: BatchStats) -> None:
        """Write what there is to say."""
        self._meter.feed(stats)
        if stats.is_over or stats.seconds >= self._next:
            self._next = stats.seconds + self._every
            self._out.write(record(stats, self._meter) + "\n")
            self._out.flush()


def _providers(stats: BatchStats) -> str:
    most = sorted(stats.providers.items(), key=lambda pair: -pair[1])
    whole = max(1, stats.ok)
    named = (f"{name} {100 * n // whole}%" for name, n in most[:_MOST_PROVIDERS])
    return " ".join(named)


def _short(number: float) -> str:
    if number >= _ROUND_ABOVE:
        return f"{number / 1000:.1f}k"
    return f"{number:.0f}" if number >= 10 else f"{number:.1f}"


def _duration(seconds: float) -> str:
    whole = math.ceil(seconds)
    if whole >= _HOUR:
        return f"{whole // _HOUR}h{whole % _HOUR // _MINUTE:02d}m"
    return (
        f"{whole // _MINUTE}m{whole % _MINUTE:02d}s"
        if whole >= _MINUTE
        else f"{whole}s"
    )
