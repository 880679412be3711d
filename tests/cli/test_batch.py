import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial, partialmethod
from pathlib import Path

import pytest
from commands import Run, start
from support import custom_ids

from openrouter_async import Chat
from openrouter_async.testing import (
    LocalOpenRouter,
    SeenRequest,
    completion,
    error_reply,
)

TEMPLATE = ("--prompt", "Summarise: {text}", "-m", "openai/gpt-4o-mini")


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """Return a file of 30 rows."""
    path = tmp_path / "in.jsonl"
    write_rows(path, 30)
    return path


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Return the path of an output file, which does not exist."""
    return tmp_path / "out.jsonl"


def write_rows(path: Path, count: int) -> None:
    lines = (json.dumps({"text": f"text {n}"}) + "\n" for n in range(count))
    path.write_text("".join(lines))


def test_second_run_sends_only_the_remaining_rows(
    server: LocalOpenRouter, run: Run, rows: Path, out: Path
) -> None:
    done = run("run", rows, "-o", out, *TEMPLATE, "--limit", 20)
    assert (done.returncode, done.stdout) == (0, "")
    assert "20 ok, 0 failed" in done.stderr
    assert json.loads(done.stderr.splitlines()[0])["done"] == 20
    assert "Summarise: text 7" in {seen.prompt for seen in server.requests}

    second = run("run", rows, "-o", out, *TEMPLATE, "--progress", "none")
    assert second.returncode == 0
    assert "10 ok, 0 failed, 20 done before" in second.stderr
    assert len(custom_ids(out)) == 30

    totals = json.loads(run("status", out).stdout)
    assert totals["ok"] == 30
    assert totals["failed"] == 0
    assert totals["providers"] == {"OpenAI": 30}
    assert totals["cost"] == pytest.approx(server.stats.cost)


def test_run_reads_rows_from_a_pipe(
    server: LocalOpenRouter, run: Run, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = {"messages": [{"role": "user", "content": "hi"}]}
    reader, writer = os.pipe()
    os.write(writer, f'"one"\n\n{json.dumps(row)}'.encode())
    os.close(writer)
    with os.fdopen(reader) as pipe:
        monkeypatch.setattr(sys, "stdin", pipe)
        done = run("run", "-", "-o", out, "-m", "m")

    assert done.returncode == 0
    assert sorted(seen.prompt for seen in server.requests) == ["hi", "one"]


def test_retry_sends_failed_rows_to_another_model(
    server: LocalOpenRouter, run: Run, rows: Path, out: Path
) -> None:
    server.reply(error_reply(400), when="text 7", times=None)
    done = run("run", rows, "-o", out, *TEMPLATE, "-c", 4, "--timeout", 20)
    assert done.returncode == 3
    failures = out.with_name("out.errors.jsonl")
    assert custom_ids(failures) == ["row-7"]
    assert json.loads(run("status", out).stdout)["errors"] == {"BadRequestError": 1}

    server.clear()
    again = run("retry", failures, "-m", "another")
    assert again.returncode == 0
    assert [seen.model for seen in server.requests] == ["another"]
    assert len(custom_ids(out)) == 30
    assert not failures.exists()
    nothing = run("retry", out)
    assert nothing.returncode == 0
    assert "Nothing to retry" in nothing.stderr


def test_dry_run_checks_the_rows_and_sends_nothing(
    server: LocalOpenRouter, run: Run, rows: Path, out: Path
) -> None:
    with rows.open("a") as file:
        file.write('{"other": 1}\nnope\n')
    done = run("run", rows, "-o", out, *TEMPLATE, "--dry-run")

    assert done.returncode == 3
    assert "32 rows, 2 of them invalid, 0 done before." in done.stderr
    assert "has no field 'text'" in done.stderr
    assert json.loads(done.stdout) == {
        "model": "openai/gpt-4o-mini",
        "messages": [{"role": "user", "content": "Summarise: text 0"}],
    }
    assert server.requests == []
    assert not out.exists()

    run("run", rows, "-o", out, *TEMPLATE, "--limit", 5, "--progress", "none")
    done = run("run", rows, "-o", out, *TEMPLATE, "--limit", 6, "--dry-run")
    assert "6 rows, 0 of them invalid, 5 done before." in done.stderr


def test_dry_run_prints_the_body_that_run_sends(
    server: LocalOpenRouter, run: Run, rows: Path, out: Path
) -> None:
    command = ("run", rows, "-o", out, *TEMPLATE, "--max-tokens", 9, "--limit", 1)
    dry_run = run(*command, "--dry-run")
    run(*command)

    (seen,) = server.requests
    assert json.loads(dry_run.stdout) == seen.json


def test_dry_run_without_a_valid_row_prints_no_body(
    run: Run, rows: Path, out: Path
) -> None:
    rows.write_text("7\n{}\n")
    done = run("run", rows, "-o", out, "--dry-run")

    assert (done.returncode, done.stdout) == (3, "")
    assert "Row 0 is not a prompt" in done.stderr
    assert "2 rows, 2 of them invalid, 0 done before." in done.stderr


def test_status_counts_responses_without_usage(
    server: LocalOpenRouter, run: Run, rows: Path, out: Path
) -> None:
    body = completion("ok")
    del body["usage"], body["provider"]
    server.reply(completion("ok", usage={"total_tokens": 9, "completion_tokens": 4}))
    server.reply(json=body, times=None)
    run("run", rows, "-o", out, *TEMPLATE, "--limit", 3, "-c", 1)

    totals = json.loads(run("status", out).stdout)
    assert (totals["ok"], totals["tokens"], totals["cost"]) == (3, 4, 0)
    assert totals["providers"] == {"unknown": 2, "OpenAI": 1}


def test_run_local_does_not_use_the_environment(
    server: LocalOpenRouter, run: Run, rows: Path, out: Path
) -> None:
    done = run("run", rows, "-o", out, "--local", *TEMPLATE, "--limit", 3)

    assert done.returncode == 0
    assert len(custom_ids(out)) == 3
    assert server.requests == []


def test_run_counts_the_rows_of_a_redirected_file(
    run: Run, rows: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with rows.open() as file:
        monkeypatch.setattr(sys, "stdin", file)
        done = run("run", "-", "-o", out, *TEMPLATE)

    assert done.returncode == 0
    assert json.loads(done.stderr.splitlines()[0])["total"] == 30
    assert len(custom_ids(out)) == 30


def test_progress_on_a_terminal_is_one_line(
    run: Run, rows: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    done = run("run", rows, "-o", out, *TEMPLATE)

    assert "\r\x1b[2K30/30 100%" in done.stderr


def test_stalled_run_exits_with_6(
    server: LocalOpenRouter,
    run: Run,
    rows: Path,
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    send_many = partialmethod(Chat.send_many, stall_timeout=0.2)
    monkeypatch.setattr(Chat, "send_many", send_many)
    server.reply(error_reply(429, retry_after=0.05), times=None)
    done = run("run", rows, "-o", out, *TEMPLATE)

    assert done.returncode == 6
    assert "refused every request" in done.stderr


@pytest.mark.parametrize(("status", "code"), [(401, 5), (402, 5), (403, 3), (404, 3)])
def test_account_error_exits_with_5_and_repeated_failure_with_3(
    server: LocalOpenRouter, run: Run, rows: Path, out: Path, status: int, code: int
) -> None:
    server.reply(error_reply(status), times=None)
    done = run("run", rows, "-o", out, *TEMPLATE, "-c", 2, "--progress", "json")

    assert done.returncode == code
    assert done.stderr.splitlines()[-1].startswith("error: ")


def test_max_cost_exits_with_4_and_a_higher_one_resumes(
    server: LocalOpenRouter, run: Run, rows: Path, out: Path
) -> None:
    budget = ("--max-cost", "0.0005", "--max-tokens", "40", "--rpm", "60000")
    done = run("run", rows, "-o", out, *TEMPLATE, *budget)
    assert done.returncode == 4
    assert "with a higher limit resumes the run" in done.stderr
    assert 0 < len(custom_ids(out)) < 30
    assert server.stats.cost <= 0.0005

    done = run("run", rows, "-o", out, *TEMPLATE, "--max-tokens", 40, "--max-cost", 1)
    assert done.returncode == 0
    assert len(custom_ids(out)) == 30


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run", "nowhere.jsonl", "-o", "o.jsonl"), "cannot read nowhere.jsonl"),
        (("run", "in.jsonl", "-o", "in.jsonl"), "are the same file"),
        (
            ("run", "in.jsonl", "-o", "o.jsonl", "-c", "many"),
            "is not 'auto' or a number",
        ),
        (("run", "in.jsonl", "-o", "o.jsonl", "--prompt", "{"), "brace"),
        (("run", "in.jsonl", "-o", "no/o.jsonl"), "does not exist"),
        (("run", "in.jsonl"), "output"),
        (("status", "nowhere.jsonl"), "nowhere.jsonl does not exist"),
    ],
)
def test_usage_error_exits_with_2(
    server: LocalOpenRouter,
    run: Run,
    rows: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.chdir(rows.parent)
    done = run(*arguments)

    assert done.returncode == 2
    assert message in done.stderr
    assert server.requests == []


def has_grown(out: Path, size: int) -> bool:
    return out.exists() and out.stat().st_size > size


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@contextmanager
def signalled(server: LocalOpenRouter, *numbers: int) -> Generator[None]:
    """Send signals to this process once ten requests are in flight, then the replies."""
    sent = threading.Event()

    async def reply(seen: SeenRequest) -> str:
        while not sent.is_set():  # noqa: ASYNC110 - an event of threads
            await asyncio.sleep(0.01)
        return seen.prompt

    def send() -> None:
        server.wait(requests=10, timeout=30)
        for number in numbers:
            os.kill(os.getpid(), number)
        time.sleep(0.05)
        sent.set()

    # The replies wait, so that the run cannot end before the last signal.
    server.reply(reply, times=None)
    thread = threading.Thread(target=send)
    thread.start()
    yield
    thread.join()


def test_sigterm_waits_for_requests_in_flight(
    server: LocalOpenRouter, run: Run, rows: Path, out: Path
) -> None:
    with signalled(server, signal.SIGTERM):
        done = run("run", rows, "-o", out, *TEMPLATE, "-c", 10)

    assert done.returncode == 130
    assert 10 <= len(custom_ids(out)) == server.stats.requests < 30
    assert "cancelled" not in done.stderr


def test_second_signal_cancels_requests_in_flight(
    server: LocalOpenRouter, run: Run, rows: Path, out: Path
) -> None:
    with signalled(server, signal.SIGINT, signal.SIGTERM):
        done = run("run", rows, "-o", out, *TEMPLATE, "-c", 10)

    assert done.returncode == 130
    assert "0 ok, 0 failed, 10 cancelled, $" in done.stderr
    assert custom_ids(out) == []


def test_ctrl_c_waits_for_requests_in_flight_and_the_run_resumes(
    server: LocalOpenRouter, run: Run, rows: Path, out: Path
) -> None:
    server.capacity.latency = 0.5
    process = start("batch", "run", rows, "-o", out, *TEMPLATE, "-c", 10, debug=False)
    server.wait(requests=20, timeout=30)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)

    assert process.returncode == 130
    assert len(custom_ids(out)) == server.stats.requests == 20
    assert "20 ok" in err

    server.capacity.latency = 0
    assert run("run", rows, "-o", out, *TEMPLATE).returncode == 0
    assert sorted(custom_ids(out)) == sorted(f"row-{number}" for number in range(30))


def test_second_ctrl_c_cancels_requests_in_flight(
    server: LocalOpenRouter, rows: Path, out: Path
) -> None:
    server.capacity.latency = 60
    process = start("batch", "run", rows, "-o", out, *TEMPLATE, "-c", 10, debug=False)
    server.wait(requests=10, timeout=30)
    process.send_signal(signal.SIGINT)
    time.sleep(0.2)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=5)

    assert process.returncode == 130
    assert "10 cancelled" in err
    assert custom_ids(out) == []


def test_ctrl_c_works_while_stdin_is_silent(server: LocalOpenRouter, out: Path) -> None:
    process = start(
        "batch", "run", "-", "-o", out, "-m", "m", stdin=subprocess.PIPE, debug=False
    )
    assert process.stdin is not None
    process.stdin.write('"one"\n')
    process.stdin.flush()
    wait_for(lambda: out.exists() and out.stat().st_size > 0)
    process.send_signal(signal.SIGINT)
    code = process.wait(timeout=10)
    process.communicate()

    assert code == 130
    assert len(custom_ids(out)) == 1


def test_sigkill_loses_no_row_and_writes_none_twice(
    server: LocalOpenRouter, tmp_path: Path, out: Path
) -> None:
    rows = tmp_path / "in.jsonl"
    write_rows(rows, 400)
    generator = random.Random(5)
    server.capacity.latency = 0.01
    for _ in range(5):
        before = out.stat().st_size if out.exists() else 0
        process = start(
            "batch", "run", rows, "-o", out, *TEMPLATE, "-c", 8, debug=False
        )
        wait_for(partial(has_grown, out, before))
        time.sleep(generator.uniform(0, 0.08))
        process.kill()
        process.communicate()
    killed = len(out.read_bytes().splitlines())
    assert 0 < killed < 400
    process = start("batch", "run", rows, "-o", out, *TEMPLATE, "-c", 64, debug=False)
    process.communicate(timeout=60)

    assert process.returncode == 0
    assert sorted(custom_ids(out)) == sorted(f"row-{number}" for number in range(400))
    # Requests that were in flight, or not in the file yet, were sent again.
    assert server.stats.requests <= 400 + 5 * 3 * 8


def test_run_ends_under_mixed_faults_and_retry_completes_it(
    server: LocalOpenRouter, run: Run, tmp_path: Path, out: Path
) -> None:
    rows = tmp_path / "in.jsonl"
    write_rows(rows, 200)
    server.reply(error_reply(400), when="text 11", times=None)
    server.reply(error_reply(502), when="text 22")
    server.reply(error_reply(502), when="text 33", times=None)
    server.reply(stop="reset", stop_at=50, when="text 44", times=None)
    server.reply(body=b'{"choices": [', when="text 55", times=None)
    server.reply(
        json={"error": {"code": 400, "message": "No"}}, when="text 66", times=None
    )
    server.reply(stop="silence", when="text 77", times=None)
    done = run("run", rows, "-o", out, *TEMPLATE, "--timeout", 2, "--progress", "none")
    failures = out.with_name("out.errors.jsonl")
    assert done.returncode == 3
    assert len(custom_ids(out)) + len(custom_ids(failures)) == 200
    assert {f"row-{n}" for n in (11, 33, 44, 55, 66, 77)} <= set(custom_ids(failures))

    server.clear()
    assert run("retry", failures, "--progress", "none").returncode == 0
    assert sorted(custom_ids(out)) == sorted(f"row-{number}" for number in range(200))
