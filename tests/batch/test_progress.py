"""What is said about a run: rates, projections, a line, a record."""

import io
import json

import pytest
from attrs import evolve

from openrouter_async import BatchStats
from openrouter_async.batch.progress import (
    Meter,
    ProgressLine,
    ProgressRecords,
    line,
    projected_cost,
    record,
)

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


def test_a_meter_forgets() -> None:
    """What was half a minute ago counts half."""
    meter = Meter()
    assert meter.rows_per_second == 0.0
    assert meter.seconds_left(STATS) is None
    meter.feed(EMPTY)
    meter.feed(evolve(EMPTY, seconds=1.0, done=10, prompt_tokens=50))
    assert meter.rows_per_second == 10.0
    assert meter.tokens_per_second == 50.0
    meter.feed(evolve(EMPTY, seconds=31.0, done=10))

    assert meter.rows_per_second == pytest.approx(5 / 30.5)


def test_the_line_has_it_all() -> None:
    """Rows, rate, flight, money, tokens, refusals, errors, providers, the end."""
    meter = Meter()
    meter.feed(STATS)

    assert line(STATS, meter, 5.0) == (
        "38,112/100,000 38% | 381/s | in flight 206 | $1.84 of $5 (all: $4.828) | "
        "30.0k tok/s | refused 0.4% | waiting 12 | failed 3 | Together 60% "
        "DeepInfra 39% | ETA 2m43s"
    )
    assert line(EMPTY, Meter()) == "0 | 0.0/s | in flight 0 | $0 | 0.0 tok/s".replace(
        "in flight 0", "in flight 206"
    )


@pytest.mark.parametrize(
    ("rows", "words"), [(61, "ETA 1s"), (3660, "ETA 1m00s"), (400_000, "ETA 1h51m")]
)
def test_the_end_is_told_in_a_fitting_unit(rows: int, words: str) -> None:
    """Seconds, minutes, hours."""
    meter = Meter()
    stats = evolve(EMPTY, total=rows, done=60, seconds=1.0)
    meter.feed(stats)

    assert words in line(stats, meter)


def test_the_cost_of_all_is_projected() -> None:
    """From what the rows so far have cost."""
    assert projected_cost(STATS) == pytest.approx(1.84 / 38_112 * 100_000)
    assert projected_cost(EMPTY) is None


def test_a_record_is_json() -> None:
    """With the rates and the end."""
    meter = Meter()
    meter.feed(STATS)
    facts = json.loads(record(STATS, meter))

    assert facts["done"] == 38_112
    assert facts["rows_per_second"] == pytest.approx(381.12)
    assert facts["seconds_left"] == pytest.approx(162.4)
    assert json.loads(record(EMPTY, Meter()))["seconds_left"] is None


class Terminal(io.StringIO):
    """A terminal."""

    def isatty(self) -> bool:
        """Say so."""
        return True


def test_on_a_terminal_the_line_is_written_over() -> None:
    """And ended at the end."""
    out = Terminal()
    tell = ProgressLine(out)
    tell(EMPTY)
    tell(STATS)
    tell.end()

    assert out.getvalue().count("\r\x1b[2K") == 2
    assert out.getvalue().endswith("\n")


def test_elsewhere_a_line_comes_every_ten_seconds() -> None:
    """And one at the end, whether for people or for programs."""
    for tell, out in (
        (ProgressLine(text := io.StringIO()), text),
        (ProgressRecords(data := io.StringIO()), data),
    ):
        for second in range(1, 26):
            tell(evolve(EMPTY, seconds=float(second)))
        tell(evolve(EMPTY, seconds=25.5, is_over=True))
        if isinstance(tell, ProgressLine):
            tell.end()

        assert 3 <= len(out.getvalue().splitlines()) <= 4
