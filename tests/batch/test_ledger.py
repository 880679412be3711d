"""The ledger: every row once, portions of money and of the rate, and its counters."""

# Tests look at private attributes.
# pyright: reportPrivateUsage=false

import random
import threading
from pathlib import Path
from typing import Any

import orjson
import pytest

from openrouter_async import BatchStoppedError, JournalError, read_journal
from openrouter_async.batch import BatchStats
from openrouter_async.batch.ledger import Ledger, StartTimes
from openrouter_async.batch.rows.stats import RunCounters


def line(name: str, fingerprint: int = 1, cost: float = 0.25, **body: Any) -> bytes:
    """A line of a journal, as a worker's run writes it."""
    return orjson.dumps(
        {
            "id": "gen-1",
            "custom_id": name,
            "response": {"status_code": 200, "request_id": "gen-1", "body": body},
            "error": None,
            "x_openrouter": {
                "v": 1,
                "i": 0,
                "fp": f"{fingerprint:016x}",
                "cost": cost,
                "attempts": 2,
                "ms": 1,
                "t": 0.0,
            },
        },
        option=orjson.OPT_APPEND_NEWLINE,
    )


def failure(name: str, fingerprint: int = 1) -> bytes:
    """A line of a failures file."""
    return orjson.dumps(
        {
            "custom_id": name,
            "error": {"type": "BadRequestError", "code": 400, "message": "no"},
            "x_openrouter": {"v": 1, "i": 0, "fp": f"{fingerprint:016x}"},
            "body": {"messages": []},
        },
        option=orjson.OPT_APPEND_NEWLINE,
    )


def stats(**changes: Any) -> BatchStats:
    """The statistics that a worker reports."""
    counters = RunCounters(
        **{k: v for k, v in changes.items() if k in {"in_flight", "attempts", "cost"}}
    )
    return counters.stats(
        total=None,
        waiting=changes.get("waiting", 0),
        budget=None,
        earlier_cost=0.0,
        seconds=1.0,
        is_over=False,
        stop_reason=changes.get("stop_reason"),
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "out.jsonl"


def opened(path: Path, **options: Any) -> Ledger:
    ledger = Ledger(path, **options)
    ledger.open()
    return ledger


def names(path: Path) -> list[str | None]:
    return [result.custom_id for result in read_journal(path)]


def test_first_line_of_each_name_is_kept(path: Path) -> None:
    ledger = opened(path)
    ledger.put(line("a", cost=0.5) + line("b") + line("a"), b"")
    ledger.put(line("b") + line("c"), b"")
    final = ledger.close()

    assert names(path) == ["a", "b", "c"]
    assert (final.ok, final.cost, final.is_over) == (3, 1.5, True)


def test_known_rows_are_returned_with_their_lines(path: Path) -> None:
    ledger = opened(path)
    long = line("b", text="x" * 10_000)
    ledger.put(line("a") + long, failure("f") + failure("a"))

    known = ledger.known(["a", "b", "c"])

    assert known.lines == {"a": line("a"), "b": long}
    ledger.close()
    ledger = opened(path)
    known = ledger.known(["a", "b", "c", "f"])
    assert known.lines == {"a": line("a"), "b": long}
    assert known.failed == {"f"}
    ledger.close()


def die(ledger: Ledger, *names: str, times: int) -> None:
    """Let workers at one place die, each of which has begun rows."""
    for number in range(times):
        worker = f"dying {number}"
        ledger.join(worker, "actor")
        ledger.known(names, worker)
    ledger.join("last", "actor")


def test_row_whose_workers_die_is_not_sent_again(path: Path) -> None:
    ledger = opened(path)
    ledger.join("other", "other actor")
    die(ledger, "a", "b", "c", "d", "e", times=3)
    assert ledger.known(["a", "b"], "last").lines == {}

    ledger.join("next", "actor")

    assert ledger.known(["c", "d"], "next").lines == {}
    with pytest.raises(
        BatchStoppedError, match="4 workers died while they sent the row 'a'"
    ) as raised:
        ledger.known(["a", "c"], "next")
    assert raised.value.reason == "deaths"
    ledger.join("after", "actor")
    with pytest.raises(BatchStoppedError, match="the rows 'a', 'b', 'c' and 1 others"):
        ledger.known(["a", "b", "c", "d", "e"], "after")
    ledger.close()


def test_row_that_has_ended_did_not_kill_its_worker(path: Path) -> None:
    ledger = opened(path)
    die(ledger, "a", "f", "open", times=3)
    ledger.known(["a", "f", "open"], "last")
    ledger.put(line("a"), failure("f"))
    ledger.join("next", "actor")

    assert set(ledger.known(["a", "f"], "next").lines) == {"a"}
    with pytest.raises(BatchStoppedError, match="the row 'open'"):
        ledger.known(["open"], "next")
    ledger.close()


def test_rows_that_are_only_asked_for_are_not_begun(path: Path) -> None:
    ledger = opened(path)
    for number in range(6):
        ledger.join(f"w{number}", "actor")
        ledger.known(["a"])

    assert ledger.known(["a"], "w5").lines == {}
    ledger.close()


def test_worker_that_died_has_nothing_in_flight(path: Path) -> None:
    ledger = opened(path)
    ledger.join("w1", "actor")
    ledger.report("w1", stats(in_flight=5))
    assert ledger.in_flight() == {"w1": 5}

    ledger.join("w2", "actor")
    ledger.report("w2", stats(in_flight=3))

    assert ledger.in_flight() == {"w2": 3}
    assert ledger.tick().in_flight == 3
    ledger.close()


def test_failure_is_dropped_when_its_row_has_succeeded(path: Path) -> None:
    ledger = opened(path)
    ledger.put(b"", failure("a") + failure("b"))
    ledger.put(line("a"), failure("a"))
    counted = ledger.close()

    again = opened(path)
    again.put(line("b"), b"")
    again.close()

    assert counted.failed == 2
    assert not path.with_name("out.errors.jsonl").exists()


@pytest.mark.parametrize("is_same_group", [True, False])
def test_same_name_with_another_request_is_an_error(
    path: Path, is_same_group: bool
) -> None:
    ledger = opened(path)
    group = line("a", 1) + line("b")
    if not is_same_group:
        ledger.put(group, b"")
        group = b""

    with pytest.raises(JournalError, match="different request for 'b'"):
        ledger.put(group + line("b", 2), b"")

    ledger.close()


def test_journal_in_use_is_refused(path: Path) -> None:
    ledger = opened(path)

    with pytest.raises(JournalError, match=r"out\.jsonl is in use by another run"):
        opened(path)

    ledger.close()


def test_ledger_waits_for_a_journal_that_is_released(path: Path) -> None:
    first = opened(path)
    timer = threading.Timer(0.1, first.close)
    timer.start()
    second = opened(path, lock_timeout=30.0)
    timer.join()
    second.put(line("a"), b"")
    second.close()

    assert names(path) == ["a"]


# --- money ----------------------------------------------------------------------------


def test_portion_is_an_eighth_and_at_least_one_request(path: Path) -> None:
    ledger = opened(path, max_cost=8.0)

    assert ledger.grant("a", dollars=0.5).dollars == 1.0
    assert ledger.grant("b", dollars=3.0).dollars == 3.0
    assert ledger.grant("c", dollars=4.5).dollars == 0.0
    ledger.close()


def test_portion_of_cheap_requests_is_64_of_them(path: Path) -> None:
    ledger = opened(path, max_cost=8.0)

    assert ledger.grant("a", dollars=0.001).dollars == pytest.approx(0.064)
    ledger.close()


def test_no_money_is_granted_without_a_budget(path: Path) -> None:
    ledger = opened(path)

    assert ledger.grant("a", dollars=1.0).dollars == 0.0
    ledger.close()


def test_unspent_money_of_an_idle_worker_is_granted_again(path: Path) -> None:
    ledger = opened(path, max_cost=1.0)
    assert ledger.grant("a", dollars=1.0).dollars == 1.0
    assert ledger.grant("b", dollars=0.5).dollars == 0.0

    ledger.report("a", stats(cost=0.25), is_idle=True)
    ledger.report("a", stats(cost=0.25), is_idle=True)

    assert ledger.grant("b", dollars=0.75).dollars == 0.75
    assert ledger.tick().spent == 0.25
    ledger.close()


def test_journal_counts_towards_the_budget(path: Path) -> None:
    ledger = opened(path)
    ledger.put(line("a", cost=0.75), b"")
    ledger.close()
    again = opened(path, max_cost=1.0)

    assert again.grant("a", dollars=0.5).dollars == 0.0
    assert again.grant("a", dollars=0.25).dollars == 0.25
    assert (again.close().budget, again.close().overshoot) == ("guaranteed", 0.0)


def test_portions_never_exceed_the_budget(path: Path) -> None:
    """Whatever workers ask for, spend and give back."""
    generator = random.Random(1)
    ledger = opened(path, max_cost=1.0)
    granted = dict.fromkeys("abcd", 0.0)
    spent = dict.fromkeys("abcd", 0.0)
    for _ in range(2000):
        worker = generator.choice("abcd")
        cost = generator.uniform(0.0001, 0.02)
        if granted[worker] - spent[worker] < cost:
            granted[worker] += ledger.grant(worker, dollars=cost).dollars
        if granted[worker] - spent[worker] >= cost:
            spent[worker] += cost / 2
        is_idle = generator.random() < 0.1
        ledger.report(worker, stats(cost=spent[worker]), is_idle=is_idle)
        if is_idle:
            granted[worker] = spent[worker]
        assert sum(granted.values()) <= 1.0 + 1e-9
    final = ledger.close()

    assert final.spent == pytest.approx(sum(spent.values()))
    assert final.spent > 0.97


# --- the rate -------------------------------------------------------------------------


def test_start_times_are_evenly_spaced() -> None:
    starts = StartTimes(6000.0)

    first, second = starts.take(100.0), starts.take(100.0)

    assert len(first) == 8
    assert first + second == pytest.approx([n * 0.01 for n in range(16)])


def test_start_times_of_a_low_rate_are_granted_one_by_one() -> None:
    starts = StartTimes(30.0)

    assert [starts.take(0.0), starts.take(0.0)] == [(0.0,), (2.0,)]


def test_only_a_few_unused_start_times_are_made_up_for() -> None:
    starts = StartTimes(6000.0)
    starts.take(0.0)
    late = starts.take(60.0)

    assert late == pytest.approx([0.0] * 8)
    assert starts.take(60.0)[-1] == pytest.approx(0.08)


def test_rate_is_granted_only_if_asked_for(path: Path) -> None:
    ledger = opened(path, rpm=6000.0)

    assert ledger.grant("a", dollars=1.0).delays == ()
    assert len(ledger.grant("a", starts=True).delays) == 8
    ledger.close()


# --- counters -------------------------------------------------------------------------


def test_statistics_are_the_sum_of_the_workers(path: Path) -> None:
    now = [0.0]
    ledger = opened(path, now=lambda: now[0])
    usage = {"prompt_tokens": 3, "completion_tokens": 4}
    ledger.put(line("a", usage=usage, provider="X"), failure("b"))
    ledger.report("1", stats(in_flight=5, attempts=10, waiting=2))
    now[0] = 6.0
    ledger.report("2", stats(in_flight=7, attempts=20, stop_reason="budget"))

    seen = ledger.tick()
    assert ledger.in_flight() == {"2": 7}
    final = ledger.close()

    # The first worker has not reported for 6 seconds.
    assert (seen.in_flight, seen.waiting, seen.attempts) == (7, 0, 30)
    assert (seen.ok, seen.failed, seen.seconds) == (1, 1, 6.0)
    assert (seen.prompt_tokens, seen.completion_tokens) == (3, 4)
    assert (seen.providers, seen.stop_reason) == ({"X": 1}, "budget")
    assert (final.in_flight, final.waiting, final.is_over) == (0, 0, True)


def test_first_failure_is_kept(path: Path) -> None:
    ledger = opened(path)
    assert ledger.failure() is None
    first = JournalError("first")
    ledger.fail(first)
    ledger.fail(JournalError("second"))

    assert ledger.failure() is first
    ledger.close()


def test_line_that_cannot_be_read_is_an_error(path: Path) -> None:
    ledger = opened(path)
    ledger.put(line("a"), b"")
    file = ledger._journal._rows
    assert file is not None
    number, file._file = file._file, -1
    with pytest.raises(JournalError, match=r"Cannot use the journal"):
        ledger.known(["a"])
    file._file = number

    assert file.line_at(file.size) == b""
    ledger.close()
