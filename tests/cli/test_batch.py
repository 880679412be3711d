"""`openrouter-async batch`: run, status, retry, signals, exit codes, `kill -9`."""

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
from typing import Any

import pytest

from openrouter_async import Chat
from openrouter_async.cli import app
from openrouter_async.testing import (
    LocalOpenRouter,
    SeenRequest,
    completion,
    error_reply,
)

ROOT = Path(__file__).parents[2]
Run = Callable[..., "subprocess.CompletedProcess[str]"]


def start(
    server: LocalOpenRouter, *arguments: object, **more: Any
) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "openrouter_async", "batch"),
            *map(str, arguments),
        ],
        env={
            "OPENROUTER_BASE_URL": server.url,
            "OPENROUTER_API_KEY": server.api_key,
            "PYTHONPATH": str(ROOT),
            "PATH": os.environ["PATH"],
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **more,
    )


@pytest.fixture
def run(
    server: LocalOpenRouter,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Run:
    """Run a command in this process."""
    monkeypatch.setenv("OPENROUTER_BASE_URL", server.url)
    monkeypatch.setenv("OPENROUTER_API_KEY", server.api_key)

    def run(*arguments: object) -> "subprocess.CompletedProcess[str]":
        code = app.run(["batch", *map(str, arguments)])
        out, err = capsys.readouterr()
        return subprocess.CompletedProcess((), code, out, err)

    return run


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "in.jsonl"
    write(path, 30)
    return path


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out.jsonl"


def write(path: Path, count: int) -> None:
    lines = (json.dumps({"text": f"text {n}"}) + "\n" for n in range(count))
    path.write_text("".join(lines))


def names(path: Path) -> list[str]:
    return [json.loads(line)["custom_id"] for line in path.read_bytes().splitlines()]


TEMPLATE = ("--prompt", "Summarise: {text}", "-m", "openai/gpt-4o-mini")


def test_a_file_becomes_a_file(
    server: LocalOpenRouter, run: Run, rows: Path, out: Path
) -> None:
    """Each line of fields is put into the prompt; a rerun sends nothing."""
    done = run("run", rows, "-o", out, *TEMPLATE, "--limit", 20)
    assert (done.returncode, done.stdout) == (0, "")
    assert "20 ok, 0 failed" in done.stderr
    assert json.loads(done.stderr.splitlines()[0])["done"] == 20
    assert "Summarise: text 7" in {seen.prompt for seen in server.requests}

    again = run("run", rows, "-o", out, *TEMPLATE, "--progress", "none")
    assert again.returncode == 0
    assert "10 ok, 0 failed, 20 done before" in again.stderr
    assert len(names(out)) == 30

    told = run("status", out)
    facts = json.loads(told.stdout)
    assert facts["ok"] == 30
    assert facts["failed"] == 0
    assert facts["providers"] == {"OpenAI": 30}
    assert facts["cost"] == pytest.approx(server.stats.cost)


def test_stdin_may_be_a_pipe(
    server: LocalOpenRouter, run: Run, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows of any form, as they come."""
    row = {"messages": [{"role": "user", "content": "hi"}]}
    reader, writer = os.pipe()
    os.write(writer, f'"one"\n\n{json.dumps(row)}'.encode())
    os.close(writer)
    monkeypatch.setattr(sys, "stdin", os.fdopen(reader))
    done = run("run", "-", "-o", out, "-m", "m")

    assert done.returncode == 0
    assert sorted(seen.prompt for seen in server.requests) == ["hi", "one"]


def test_what_failed_can_be_sent_again(
    server: LocalOpenRouter, run: Run, rows: Path, out: Path
) -> None:
    """By its own command, with another model if need be."""
    server.reply(error_reply(400), when="text 7", times=None)
    done = run("run", rows, "-o", out, *TEMPLATE, "-c", 4, "--timeout", 20)
    assert done.returncode == 3
    failures = out.with_name("out.errors.jsonl")
    assert names(failures) == ["row-7"]
    assert json.loads(run("status", out).stdout)["errors"] == {"BadRequestError": 1}

    server.clear()
    again = run("retry", failures, "-m", "another")
    assert again.returncode == 0
    assert [seen.model for seen in server.requests] == ["another"]
    assert len(names(out)) == 30
    assert not failures.exists()
    nothing = run("retry", out)
    assert nothing.returncode == 0
    assert "Nothing to retry" in nothing.stderr


def test_a_rehearsal_sends_nothing(
    server: LocalOpenRouter, run: Run, rows: Path, out: Path
) -> None:
    """It tells how many rows there are, what is wrong, and what the first would be."""
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


def test_a_rehearsal_shows_what_is_sent(
    server: LocalOpenRouter, run: Run, rows: Path, out: Path
) -> None:
    """All of it, what is common to all rows included."""
    command = ("run", rows, "-o", out, *TEMPLATE, "--max-tokens", 9, "--limit", 1)
    rehearsed = run(*command, "--dry-run")
    run(*command)

    (seen,) = server.requests
    assert json.loads(rehearsed.stdout) == seen.json


def test_a_rehearsal_without_a_request_shows_none(
    run: Run, rows: Path, out: Path
) -> None:
    """Then there is only what is wrong with the rows."""
    rows.write_text("7\n{}\n")
    done = run("run", rows, "-o", out, "--dry-run")

    assert (done.returncode, done.stdout) == (3, "")
    assert "Row 0 is not a prompt" in done.stderr
    assert "2 rows, 2 of them invalid, 0 done before." in done.stderr


def test_a_reply_may_tell_no_usage(
    server: LocalOpenRouter, run: Run, rows: Path, out: Path
) -> None:
    """It is counted, with the tokens and the cost that are known."""
    bare = completion("ok")
    del bare["usage"], bare["provider"]
    server.reply(completion("ok", usage={"total_tokens": 9, "completion_tokens": 4}))
    server.reply(json=bare, times=None)
    run("run", rows, "-o", out, *TEMPLATE, "--limit", 3, "-c", 1)

    facts = json.loads(run("status", out).stdout)
    assert (facts["ok"], facts["tokens"], facts["cost"]) == (3, 4, 0)
    assert facts["providers"] == {"unknown": 2, "OpenAI": 1}


def test_a_local_server_is_started_for_it(
    server: LocalOpenRouter, run: Run, rows: Path, out: Path
) -> None:
    """Which needs no key."""
    done = run("run", rows, "-o", out, "--local", *TEMPLATE, "--limit", 3)

    assert done.returncode == 0
    assert len(names(out)) == 3
    assert server.requests == []


def test_stdin_may_be_a_file(
    run: Run, rows: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then it is known how many there are."""
    with rows.open() as file:
        monkeypatch.setattr(sys, "stdin", file)
        done = run("run", "-", "-o", out, *TEMPLATE)

    assert done.returncode == 0
    assert json.loads(done.stderr.splitlines()[0])["total"] == 30
    assert len(names(out)) == 30


def test_a_terminal_gets_a_line(
    run: Run, rows: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which is written over."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    done = run("run", rows, "-o", out, *TEMPLATE)

    assert "\r\x1b[2K30/30 100%" in done.stderr


def test_nothing_but_refusals_has_a_code(
    server: LocalOpenRouter,
    run: Run,
    rows: Path,
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """6, after a quarter of an hour."""
    send_many = partialmethod(Chat.send_many, stall_timeout=0.2)
    monkeypatch.setattr(Chat, "send_many", send_many)
    server.reply(error_reply(429, retry_after=0.05), times=None)
    done = run("run", rows, "-o", out, *TEMPLATE)

    assert done.returncode == 6
    assert "refused every request" in done.stderr


@pytest.mark.parametrize(("status", "code"), [(401, 5), (402, 5), (403, 3), (404, 3)])
def test_the_account_has_a_code(
    server: LocalOpenRouter, run: Run, rows: Path, out: Path, status: int, code: int
) -> None:
    """Of the account 5; of rows that all fail alike 3."""
    server.reply(error_reply(status), times=None)
    done = run("run", rows, "-o", out, *TEMPLATE, "-c", 2, "--progress", "json")

    assert done.returncode == code
    assert done.stderr.splitlines()[-1].startswith("error: ")


def test_the_budget_has_a_code(
    server: LocalOpenRouter, run: Run, rows: Path, out: Path
) -> None:
    """4, and a higher one goes on."""
    budget = ("--max-cost", "0.0005", "--max-tokens", "40", "--rpm", "60000")
    done = run("run", rows, "-o", out, *TEMPLATE, *budget)
    assert done.returncode == 4
    assert "with a higher limit resumes the run" in done.stderr
    assert 0 < len(names(out)) < 30
    assert server.stats.cost <= 0.0005

    done = run("run", rows, "-o", out, *TEMPLATE, "--max-tokens", 40, "--max-cost", 1)
    assert done.returncode == 0
    assert len(names(out)) == 30


@pytest.mark.parametrize(
    ("arguments", "words"),
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
def test_usage_errors_have_a_code(
    server: LocalOpenRouter,
    run: Run,
    rows: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    words: str,
) -> None:
    """2, in one line."""
    monkeypatch.chdir(rows.parent)
    done = run(*arguments)

    assert done.returncode == 2
    assert words in done.stderr
    assert server.requests == []


def has_grown(out: Path, size: int) -> bool:
    return out.exists() and out.stat().st_size > size


def wait_for(reached: Callable[[], bool]) -> None:
    until = time.monotonic() + 30
    while not reached():
        assert time.monotonic() < until
        time.sleep(0.01)


@contextmanager
def signalled(server: LocalOpenRouter, *numbers: int) -> Generator[None]:
    """Send signals to this process when ten requests are out, and then the replies."""
    sent = threading.Event()

    async def reply(seen: SeenRequest) -> str:
        while not sent.is_set():  # noqa: ASYNC110 -- it is another thread's
            await asyncio.sleep(0.01)
        return seen.prompt

    def send() -> None:
        server.wait(requests=10, timeout=30)
        for number in numbers:
            os.kill(os.getpid(), number)
        time.sleep(0.05)
        sent.set()

    # No run is over before it has heard the last signal.
    server.reply(reply, times=None)
    thread = threading.Thread(target=send)
    thread.start()
    yield
    thread.join()


def test_sigterm_drains(
    server: LocalOpenRouter, run: Run, rows: Path, out: Path
) -> None:
    """As Ctrl-C does."""
    with signalled(server, signal.SIGTERM):
        done = run("run", rows, "-o", out, *TEMPLATE, "-c", 10)

    assert done.returncode == 130
    assert 10 <= len(names(out)) == server.stats.requests < 30
    assert "cancelled" not in done.stderr


def test_sigterm_after_an_interrupt_does_not(
    server: LocalOpenRouter, run: Run, rows: Path, out: Path
) -> None:
    """What is out is cancelled, whichever signal the second one is."""
    with signalled(server, signal.SIGINT, signal.SIGTERM):
        done = run("run", rows, "-o", out, *TEMPLATE, "-c", 10)

    assert done.returncode == 130
    assert "0 ok, 0 failed, 10 cancelled, $" in done.stderr
    assert names(out) == []


def test_the_first_interrupt_drains(
    server: LocalOpenRouter, run: Run, rows: Path, out: Path
) -> None:
    """What is out is written; the same command goes on."""
    server.capacity.latency = 0.5
    process = start(server, "run", rows, "-o", out, *TEMPLATE, "-c", 10)
    server.wait(requests=20, timeout=30)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)

    assert process.returncode == 130
    assert len(names(out)) == server.stats.requests == 20
    assert "20 ok" in err

    server.capacity.latency = 0
    assert run("run", rows, "-o", out, *TEMPLATE).returncode == 0
    assert sorted(names(out)) == sorted(f"row-{number}" for number in range(30))


def test_the_second_interrupt_does_not(
    server: LocalOpenRouter, rows: Path, out: Path
) -> None:
    """What is out is cancelled."""
    server.capacity.latency = 60
    process = start(server, "run", rows, "-o", out, *TEMPLATE, "-c", 10)
    server.wait(requests=10, timeout=30)
    process.send_signal(signal.SIGINT)
    time.sleep(0.2)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=5)

    assert process.returncode == 130
    assert "10 cancelled" in err
    assert names(out) == []


def test_an_interrupt_is_heard_while_stdin_says_nothing(
    server: LocalOpenRouter, out: Path
) -> None:
    """Nobody has to press return."""
    process = start(server, "run", "-", "-o", out, "-m", "m", stdin=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write('"one"\n')
    process.stdin.flush()
    wait_for(lambda: out.exists() and out.stat().st_size > 0)
    process.send_signal(signal.SIGINT)
    code = process.wait(timeout=10)
    process.communicate()

    assert code == 130
    assert len(names(out)) == 1


def test_kill_loses_nothing_and_writes_nothing_twice(
    server: LocalOpenRouter, tmp_path: Path, out: Path
) -> None:
    """SIGKILL at random moments: every row is there, once."""
    rows = tmp_path / "in.jsonl"
    write(rows, 400)
    chance = random.Random(5)
    server.capacity.latency = 0.01
    for _ in range(5):
        before = out.stat().st_size if out.exists() else 0
        process = start(server, "run", rows, "-o", out, *TEMPLATE, "-c", 8)
        wait_for(partial(has_grown, out, before))
        time.sleep(chance.uniform(0, 0.08))
        process.kill()
        process.communicate()
    killed = len(out.read_bytes().splitlines())
    assert 0 < killed < 400
    process = start(server, "run", rows, "-o", out, *TEMPLATE, "-c", 64)
    process.communicate(timeout=60)

    assert process.returncode == 0
    assert sorted(names(out)) == sorted(f"row-{number}" for number in range(400))
    # What was out, or had no line yet, is sent again.
    assert server.stats.requests <= 400 + 5 * 3 * 8


def test_a_soup_of_faults_comes_to_an_end(
    server: LocalOpenRouter, run: Run, tmp_path: Path, out: Path
) -> None:
    """Every row is ok or failed; healed, what failed goes through."""
    rows = tmp_path / "in.jsonl"
    write(rows, 200)
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
    assert len(names(out)) + len(names(failures)) == 200
    assert {f"row-{n}" for n in (11, 33, 44, 55, 66, 77)} <= set(names(failures))

    server.clear()
    assert run("retry", failures, "--progress", "none").returncode == 0
    assert sorted(names(out)) == sorted(f"row-{number}" for number in range(200))
