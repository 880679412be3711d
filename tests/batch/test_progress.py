"""Progress: rates, projections, and their text and JSON lines."""

import io
import json
import os
import pty
import termios

import pytest
from attrs import evolve

from openrouter_async import BatchStats
from openrouter_async.batch.progress import (
    ProgressLine,
    ProgressRecords,
    RateMeter,
    format_json,
    format_line,
    projected_cost,
)
from openrouter_async.batch.rows.stats import HostedStats

STATS = BatchStats(
    total=100_000,
    done=38_112,
    ok=38_109,
    failed=3,
    resumed=0,
    in_flight=206,
    waiting=12,
    attempts=40_000,
    refusals=160,
    abandoned=0,
    cost=1.84,
    spent=1.84,
    budget="estimated",
    overshoot=0.0,
    prompt_tokens=1_000_000,
    completion_tokens=2_000_000,
    providers={"Together": 23_000, "DeepInfra": 15_109},
    seconds=100.0,
    is_over=False,
    stop_reason=None,
)
EMPTY = evolve(
    STATS,
    total=None,
    done=0,
    ok=0,
    failed=0,
    waiting=0,
    refusals=0,
    cost=0.0,
    spent=0.0,
    prompt_tokens=0,
    completion_tokens=0,
    providers={},
    seconds=0.0,
)


def test_rates_give_activity_30_seconds_ago_half_the_weight() -> None:
    meter = RateMeter()
    assert meter.rows_per_second == 0.0
    assert meter.seconds_left(STATS) is None
    meter.update(EMPTY)
    meter.update(evolve(EMPTY, seconds=1.0, done=10, prompt_tokens=50))
    assert meter.rows_per_second == 10.0
    assert meter.tokens_per_second == 50.0
    meter.update(evolve(EMPTY, seconds=31.0, done=10))

    assert meter.rows_per_second == pytest.approx(5 / 30.5)


def test_line_has_all_figures_of_a_snapshot() -> None:
    meter = RateMeter()
    meter.update(STATS)

    assert format_line(STATS, meter, 5.0) == (
        "38,112/100,000 38% | 381/s | in flight 206 | $1.84 of $5 (all: $4.828) | "
        "30.0k tok/s | refused 0.4% | waiting 12 | failed 3 | Together 60% "
        "DeepInfra 39% | ETA 2m43s"
    )
    assert format_line(
        EMPTY, RateMeter()
    ) == "0 | 0.0/s | in flight 0 | $0 | 0.0 tok/s".replace(
        "in flight 0", "in flight 206"
    )


@pytest.mark.parametrize(
    ("rows", "eta"), [(61, "ETA 1s"), (3660, "ETA 1m00s"), (400_000, "ETA 1h51m")]
)
def test_line_has_the_time_left_in_seconds_minutes_or_hours(
    rows: int, eta: str
) -> None:
    meter = RateMeter()
    stats = evolve(EMPTY, total=rows, done=60, seconds=1.0)
    meter.update(stats)

    assert eta in format_line(stats, meter)


def test_projected_cost_is_the_mean_cost_times_all_rows() -> None:
    assert projected_cost(STATS) == pytest.approx(1.84 / 38_112 * 100_000)
    assert projected_cost(EMPTY) is None


def test_json_line_has_the_rates_and_the_time_left() -> None:
    meter = RateMeter()
    meter.update(STATS)
    record = json.loads(format_json(STATS, meter))

    assert record["done"] == 38_112
    assert record["rows_per_second"] == pytest.approx(381.12)
    assert record["seconds_left"] == pytest.approx(162.4)
    assert json.loads(format_json(EMPTY, RateMeter()))["seconds_left"] is None


class Terminal(io.StringIO):
    """A text stream that is a terminal."""

    def isatty(self) -> bool:
        """Return True."""
        return True


def test_progress_line_overwrites_itself_on_a_terminal() -> None:
    out = Terminal()
    progress = ProgressLine(out)
    progress(EMPTY)
    progress(STATS)
    progress.end()

    assert out.getvalue().count("\r\x1b[2K") == 2
    assert out.getvalue().endswith("\n")


def test_progress_elsewhere_is_written_every_ten_seconds_and_at_the_end() -> None:
    for progress, out in (
        (ProgressLine(text := io.StringIO()), text),
        (ProgressRecords(data := io.StringIO()), data),
    ):
        for second in range(1, 26):
            progress(evolve(EMPTY, seconds=float(second)))
        progress(evolve(EMPTY, seconds=25.5, is_over=True))
        if isinstance(progress, ProgressLine):
            progress.end()

        assert 3 <= len(out.getvalue().splitlines()) <= 4


@pytest.mark.parametrize("columns", [40, 7, 1])
def test_progress_line_fits_the_width_of_the_terminal_at_each_update(
    columns: int,
) -> None:
    master, slave = pty.openpty()
    with os.fdopen(slave, "w") as out:
        progress = ProgressLine(out)
        for width in (60, columns):
            termios.tcsetwinsize(slave, (24, width))
            progress(STATS)
            text = os.read(master, 4096).decode()
            assert text.startswith("\r\x1b[2K")
            assert len(text) - len("\r\x1b[2K") == width - 1
    os.close(master)


def test_wide_and_control_characters_are_measured() -> None:
    out = Terminal()
    stats = evolve(EMPTY, total=1, ok=1, providers={"\x1b[31m千問" * 20 + "e\u0301": 1})
    ProgressLine(out)(stats)

    shown = out.getvalue().removeprefix("\r\x1b[2K")
    assert "\x1b" not in shown
    assert 77 <= len(shown) + shown.count("千") + shown.count("問") <= 79


def test_progress_line_is_not_overwritten_on_a_dumb_terminal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TERM", "dumb")
    out = Terminal()
    progress = ProgressLine(out)
    progress(STATS)
    progress.end()

    assert "\x1b" not in out.getvalue()
    assert out.getvalue().endswith("\n")


HOSTED = HostedStats(
    open_batches=3, rows=14_997, oldest_seconds=245.0, next_expiry=90_000
)


def test_line_of_hosted_batches_has_their_age_and_expiry() -> None:
    stats = evolve(EMPTY, hosted=HOSTED, in_flight=14_997)

    line = format_line(stats, RateMeter(), now=3600.0)

    assert "batches 3 (14,997 rows), oldest 4m05s, expires in 24h00m" in line
    assert "in flight" not in line


def test_line_without_open_batches_has_no_age() -> None:
    hosted = HostedStats(open_batches=0, rows=0, oldest_seconds=None, next_expiry=None)

    line = format_line(evolve(EMPTY, hosted=hosted), RateMeter())

    assert "batches 0 (0 rows) | " in line


def test_json_of_hosted_batches_has_them() -> None:
    record = json.loads(format_json(evolve(EMPTY, hosted=HOSTED), RateMeter()))

    assert record["hosted"]["open_batches"] == 3
    assert record["hosted"]["next_expiry"] == 90_000
