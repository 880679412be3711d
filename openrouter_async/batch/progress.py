"""Progress of a run: rates, projected cost and time left, as a line or as JSON."""

import json
import math
import os
import time
import unicodedata
from typing import Final, TextIO

from attrs import asdict

from .rows.stats import BatchStats, HostedStats

_HALF_LIFE: Final = 30.0
_INTERVAL: Final = 10.0
_MAX_PROVIDERS: Final = 3
_MINUTE: Final = 60
_HOUR: Final = 3600
_COLUMNS: Final = 80


class RateMeter:
    """
    Rates averaged with exponential decay: activity 30 s ago has half the weight.

    Pauses count, rows that the journal had already do not.
    """

    def __init__(self) -> None:
        self._seconds = 0.0
        self._rows = 0
        self._tokens = 0
        # Decayed sums of seconds, rows and tokens.
        self._second_sum = self._row_sum = self._token_sum = 0.0

    def update(self, stats: BatchStats) -> None:
        """Add the activity since the last snapshot; `stats.seconds` is the time."""
        tokens = stats.prompt_tokens + stats.completion_tokens
        seconds = stats.seconds - self._seconds
        new_rows, new_tokens = stats.done - self._rows, tokens - self._tokens
        self._seconds, self._rows, self._tokens = stats.seconds, stats.done, tokens
        if seconds <= 0:
            return
        decay = 0.5 ** (seconds / _HALF_LIFE)
        self._second_sum = self._second_sum * decay + seconds
        self._row_sum = self._row_sum * decay + new_rows
        self._token_sum = self._token_sum * decay + new_tokens

    @property
    def rows_per_second(self) -> float:
        """Rows finished per second."""
        return self._row_sum / self._second_sum if self._second_sum else 0.0

    @property
    def tokens_per_second(self) -> float:
        """Input and output tokens per second."""
        return self._token_sum / self._second_sum if self._second_sum else 0.0

    def seconds_left(self, stats: BatchStats) -> float | None:
        """Return the seconds until all rows are done; None if unknown."""
        if stats.total is None or not self.rows_per_second:
            return None
        rows_left = stats.total - stats.resumed - stats.done
        return max(0.0, rows_left / self.rows_per_second)


def projected_cost(stats: BatchStats) -> float | None:
    """Return the projected cost of the whole run in US dollars; None if unknown."""
    if stats.total is None or not stats.done:
        return None
    return stats.cost / stats.done * (stats.total - stats.resumed)


def format_line(
    stats: BatchStats,
    meter: RateMeter,
    max_cost: float | None = None,
    now: float | None = None,
) -> str:
    """
    Return a snapshot as one line of text.

    Args:
        stats: The snapshot.
        meter: The rates until then.
        max_cost: The budget in US dollars; None for none.
        now: The Unix time, for the expiry of hosted batches.
    """
    finished = stats.done + stats.resumed
    parts: list[str] = []
    if stats.total:
        percent = 100 * finished // stats.total
        parts.append(f"{finished:,}/{stats.total:,} {percent}%")
    else:
        parts.append(f"{finished:,}")
    parts.append(f"{_format_number(meter.rows_per_second)}/s")
    if stats.hosted is None:
        parts.append(f"in flight {stats.in_flight}")
    else:
        parts.append(_format_hosted(stats.hosted, now))
    parts.append(_format_cost(stats, max_cost))
    parts.append(f"{_format_number(meter.tokens_per_second)} tok/s")
    if stats.refusals:
        parts.append(f"refused {100 * stats.refusals / max(1, stats.attempts):.1f}%")
    if stats.waiting:
        parts.append(f"waiting {stats.waiting}")
    if stats.failed:
        parts.append(f"failed {stats.failed:,}")
    if stats.providers:
        parts.append(_format_providers(stats))
    left = meter.seconds_left(stats)
    if left is not None:
        parts.append(f"ETA {_format_duration(left)}")
    return " | ".join(parts)


def format_json(stats: BatchStats, meter: RateMeter) -> str:
    """Return a snapshot as one line of JSON."""
    left = meter.seconds_left(stats)
    record = {
        "total": stats.total,
        "done": stats.done,
        "ok": stats.ok,
        "failed": stats.failed,
        "resumed": stats.resumed,
        "in_flight": stats.in_flight,
        "waiting": stats.waiting,
        "attempts": stats.attempts,
        "refusals": stats.refusals,
        # Rounded, because sums of floats end in digits that nobody can use.
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
    if stats.hosted is not None:
        record["hosted"] = asdict(stats.hosted)
    return json.dumps(record, separators=(",", ":"))


class ProgressLine:
    """
    Writes a line of progress, which is what `progress=True` does.

    On a terminal each line overwrites the last one. Elsewhere a line is written every
    10 seconds.
    """

    def __init__(self, out: TextIO, max_cost: float | None = None) -> None:
        self._out = out
        self._max_cost = max_cost
        self._meter = RateMeter()
        # A dumb terminal, such as a shell in an editor, cannot overwrite a line.
        self._is_terminal = out.isatty() and os.environ.get("TERM") != "dumb"
        self._is_line_open = False
        self._next = 0.0

    def __call__(self, stats: BatchStats) -> None:
        """Write the line of a snapshot, if one is due."""
        self._meter.update(stats)
        line = format_line(stats, self._meter, self._max_cost, time.time())
        if self._is_terminal:
            # A line that is wider than the terminal would wrap, and only its last part
            # would be overwritten. The width may have changed since the last update.
            shown = _truncate(line, _columns(self._out) - 1)
            # ESC [2K erases the line: it may be longer than the new one.
            self._out.write(f"\r\x1b[2K{shown}")
            self._out.flush()
            self._is_line_open = True
        elif stats.is_over or stats.seconds >= self._next:
            self._next = stats.seconds + _INTERVAL
            self._out.write(line + "\n")
            self._out.flush()

    def end(self) -> None:
        """End the line that was overwritten, so that other output starts a new one."""
        if self._is_line_open:
            self._is_line_open = False
            self._out.write("\n")
            self._out.flush()


class ProgressRecords:
    """Writes a line of JSON every 10 seconds, and one at the end."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._meter = RateMeter()
        self._next = _INTERVAL

    def __call__(self, stats: BatchStats) -> None:
        """Write the line of a snapshot, if one is due."""
        self._meter.update(stats)
        if stats.is_over or stats.seconds >= self._next:
            self._next = stats.seconds + _INTERVAL
            self._out.write(format_json(stats, self._meter) + "\n")
            self._out.flush()


def _columns(out: TextIO) -> int:
    """Return the width of a terminal; the usual one if it is unknown."""
    try:
        return os.get_terminal_size(out.fileno()).columns or _COLUMNS
    except (OSError, ValueError, AttributeError):
        return _COLUMNS


def _truncate(text: str, columns: int) -> str:
    """Return the beginning of a text that fits into so many columns."""
    width = 0
    shown: list[str] = []
    for character in text:
        if not character.isprintable():
            continue
        # Wide (CJK, emoji) and combining characters take 2 columns and none.
        is_wide = unicodedata.east_asian_width(character) in "WF"
        width += 0 if unicodedata.combining(character) else 1 + is_wide
        if width > columns:
            break
        shown.append(character)
    return "".join(shown)


def _format_hosted(hosted: HostedStats, now: float | None) -> str:
    """Return the open batches, their rows, the oldest age, and the next expiry."""
    text = f"batches {hosted.open_batches} ({hosted.rows:,} rows)"
    if hosted.oldest_seconds is not None:
        text += f", oldest {_format_duration(hosted.oldest_seconds)}"
    if hosted.next_expiry is not None and now is not None:
        left = max(0.0, hosted.next_expiry - now)
        text += f", expires in {_format_duration(left)}"
    return text


def _format_cost(stats: BatchStats, max_cost: float | None) -> str:
    text = f"${stats.spent:.4g}"
    if max_cost is not None:
        text += f" of ${max_cost:g}"
    projected = projected_cost(stats)
    if projected is not None:
        text += f" (all: ${projected + stats.spent - stats.cost:.4g})"
    return text


def _format_providers(stats: BatchStats) -> str:
    providers = sorted(stats.providers.items(), key=lambda pair: -pair[1])
    total = max(1, stats.ok)
    shares = (f"{name} {100 * n // total}%" for name, n in providers[:_MAX_PROVIDERS])
    return " ".join(shares)


def _format_number(number: float) -> str:
    if number >= 1000:
        return f"{number / 1000:.1f}k"
    return f"{number:.0f}" if number >= 10 else f"{number:.1f}"


def _format_duration(seconds: float) -> str:
    whole = math.ceil(seconds)
    if whole >= _HOUR:
        return f"{whole // _HOUR}h{whole % _HOUR // _MINUTE:02d}m"
    if whole >= _MINUTE:
        return f"{whole // _MINUTE}m{whole % _MINUTE:02d}s"
    return f"{whole}s"
