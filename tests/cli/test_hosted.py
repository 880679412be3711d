"""`batch run --hosted`, `batch status` and `--dry-run` with hosted batches."""

# pyright: reportPrivateUsage=false

import json
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from commands import ON_UNIX, Run, start

from openrouter_async.batch.hosted.state import BatchSummary
from openrouter_async.batch.rows.stats import HostedStats
from openrouter_async.cli.batch import _notes_on_batches, _SignalHandlers, _state
from openrouter_async.testing import LocalOpenRouter

MODEL = ("-m", "openai/gpt-4o-mini", "--max-tokens", "50")
HOSTED = ("--hosted", "--poll", "0.05", *MODEL)


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "in.jsonl"
    path.write_text("".join(f'"row {n}"\n' for n in range(20)))
    return path


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out.jsonl"


@pytest.fixture(autouse=True)
def environment_of_the_server(
    server: LocalOpenRouter, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.batches.script.validating = 0.0
    monkeypatch.setenv("OPENROUTER_BASE_URL", server.url)
    monkeypatch.setenv("OPENROUTER_API_KEY", server.api_key)


def test_hosted_run_waits_for_the_results(
    server: LocalOpenRouter, run: Run, rows: Path, out: Path
) -> None:
    done = run("run", rows, "-o", out, *HOSTED)

    assert done.returncode == 0
    assert "20 ok, 0 failed" in done.stderr
    assert len(out.read_text().splitlines()) == 20
    assert server.batches.stats.submissions == 1


def test_hosted_run_without_wait_is_collected_by_the_same_command(
    server: LocalOpenRouter, run: Run, rows: Path, out: Path
) -> None:
    server.batches.script.running = 100
    command = ("run", rows, "-o", out, *HOSTED, "--no-wait", "--max-cost", "1")
    first = run(*command)
    waiting = run("status", out)
    server.batches.script.running = 0
    second = run(*command)
    collected = run("status", out)

    assert first.returncode == 7
    assert "Still running at OpenRouter, and billed: 1 batch with" in first.stderr
    assert " 20 rows ($0.000" in first.stderr
    (batch,) = json.loads(waiting.stdout)["batches"]
    assert (batch["rows"], batch["is_collected"]) == (20, False)
    # The id is on several lines, but complete.
    assert batch["id"][:8] in waiting.stderr
    assert "…" not in waiting.stderr
    assert "submitted" in waiting.stderr
    assert second.returncode == 0
    assert "20 ok" in second.stderr
    totals = json.loads(collected.stdout)
    assert totals["ok"] == 20
    assert totals["cost"] == pytest.approx(server.stats.cost)
    assert totals["batches"][0]["status"] == "completed"
    assert "collected" in collected.stderr


def test_dry_run_shows_both_prices(
    server: LocalOpenRouter, run: Run, rows: Path, out: Path
) -> None:
    with rows.open("a") as file:
        file.write('{"messages": [], "model": "a/b"}\n7\n')
        body = {"messages": [{"role": "user", "content": "x"}], "model": "none/x"}
        file.write(json.dumps({"custom_id": "done", "body": body}) + "\n")
        file.write(json.dumps({**body, "provider": {"only": ["x"]}}) + "\n")
    server.batches.script.no_batch = frozenset({"none/x"})
    done = run("run", rows, "-o", out, *HOSTED, "--dry-run")
    unlimited = run(
        "run", rows, "-o", out, "--hosted", "-m", "openai/gpt-5-nano", "--dry-run"
    )

    assert done.returncode == 3
    assert "24 rows, 2 of them invalid, 0 done before; 3 batches." in done.stderr
    assert "Prices read at 20" in done.stderr
    first, second = done.stdout.splitlines()
    assert first.startswith("openai/gpt-4o-mini: 20 rows; in batches $0.075 + $0.3 per")
    assert "at most $0.000" in first
    assert "live $0.15 + $0.6 per million tokens, at most $0.00" in first
    assert second.startswith("none/x: 2 rows; in batches unknown; live $")
    assert "at most" not in unlimited.stdout
    assert server.batches.stats.submissions == 0


def test_dry_run_counts_the_rows_that_are_done(
    server: LocalOpenRouter, run: Run, rows: Path, out: Path
) -> None:
    run("run", rows, "-o", out, *HOSTED, "--limit", 5)
    done = run("run", rows, "-o", out, *HOSTED, "--dry-run")

    assert done.returncode == 0
    assert "20 rows, 0 of them invalid, 5 done before; 1 batch." in done.stderr


def test_options_of_calls_are_rejected(run: Run, rows: Path, out: Path) -> None:
    done = run("run", rows, "-o", out, *HOSTED, "--rpm", 5)

    assert done.returncode == 2
    assert "--concurrency and --rpm have no effect with --hosted" in done.stderr


@ON_UNIX
def test_interrupted_command_returns_soon_and_its_batches_go_on(
    server: LocalOpenRouter, run: Run, rows: Path, out: Path
) -> None:
    server.batches.script.running = 100
    process = start("batch", "run", rows, "-o", out, *HOSTED)
    deadline = time.monotonic() + 60
    while not server.batches.stats.list_reads:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    begin = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    seconds = time.monotonic() - begin
    server.batches.script.running = 0
    again = run("run", rows, "-o", out, *HOSTED)

    assert process.returncode == 130
    # 2 s on a machine that is not busy; the batch takes 100.
    assert seconds < 30
    assert "billed: 1 batch with 20 rows. The same command collects" in err
    assert again.returncode == 0
    assert len(out.read_text().splitlines()) == 20
    assert server.batches.stats.submissions == 1


async def test_first_signal_says_that_submitted_batches_go_on() -> None:
    unused: Any = None
    handlers = _SignalHandlers(unused, unused, unused, timeout=1.0)

    assert "submitted batches continue" in handlers._explain()


@pytest.mark.parametrize(
    ("reserved", "rows"), [(None, "3 rows."), (0.5, "3 rows ($0.5 reserved).")]
)
def test_batches_that_go_on_are_named(reserved: float | None, rows: str) -> None:
    hosted = HostedStats(1, 3, None, None, reserved=reserved)

    (note,) = _notes_on_batches(hosted)

    assert f"billed: 1 batch with {rows}" in note


def test_submissions_without_a_response_are_named() -> None:
    hosted = HostedStats(0, 0, None, None, unanswered=2)

    (note,) = _notes_on_batches(hosted)

    assert note.startswith("2 submissions had no response; the same command looks in")


@pytest.mark.parametrize(
    ("batch_id", "status", "is_collected", "state"),
    [
        (None, None, False, "no response"),
        (None, None, True, "not stored"),
        ("batch-1", None, False, "submitted"),
        ("batch-1", "expired", False, "expired"),
        ("batch-1", "expired", True, "collected"),
    ],
)
def test_status_names_the_state_of_each_batch(
    batch_id: str | None, status: str | None, is_collected: bool, state: str
) -> None:
    summary = BatchSummary(1, "m", 2, 0.0, batch_id, status, None, is_collected)

    assert _state(summary) == state


def test_output_at_a_url_is_rejected(run: Run, rows: Path) -> None:
    done = run("run", rows, "-o", "s3://bucket/out.jsonl", *MODEL)

    assert done.returncode == 2
    assert "not a URL" in done.stderr
