"""`batch`: inputs of other kinds, names of files, closed streams."""

# pyright: reportPrivateUsage=false

import io
import json
import os
import signal
import sys
import threading
from pathlib import Path

import pytest
from commands import ON_UNIX, Run, start
from support import custom_ids

from openrouter_async.cli import app
from openrouter_async.cli.batch import _retry_paths
from openrouter_async.cli.console import Terminal, blocking_streams
from openrouter_async.testing import LocalOpenRouter, SeenRequest, error_reply


def write_named(path: Path, *rows: tuple[str, str]) -> None:
    path.write_text(
        "".join(
            json.dumps(
                {
                    "custom_id": name,
                    "body": {"messages": [{"role": "user", "content": text}]},
                }
            )
            + "\n"
            for name, text in rows
        )
    )


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "in.jsonl"
    write_named(path, ("u", "first"), ("v", "second"), ("u", "third"), ("u", "fourth"))
    return path


def test_rows_with_one_name_stay_among_the_failures(
    run: Run, rows: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.jsonl"
    failures = tmp_path / "out.errors.jsonl"
    for command in (("run", rows, "-o", out), ("run", rows, "-o", out), ("retry", out)):
        done = run(*command, "-m", "m", "--progress", "none")
        assert done.returncode == 3
        assert f"failed rows in {failures}" in done.stderr
        kept = failures.read_text()
        assert ("third" in kept, "fourth" in kept) == (True, True)
        assert json.loads(run("status", out).stdout)["failed"] == 2
    assert sorted(custom_ids(out)) == ["u", "v"]

    failures.write_text(kept.replace('"u"', '"w"', 1).replace('"u"', '"x"', 1))
    assert run("retry", out, "-m", "m").returncode == 0
    assert sorted(custom_ids(out)) == ["u", "v", "w", "x"]
    assert not failures.exists()


@pytest.mark.parametrize("name", ["out.tsv", "out", "o.errors.jsonl", "o.jsonl.bak"])
@pytest.mark.parametrize("given", ["failures", "journal"])
def test_retry_finds_the_journal_whatever_its_name(
    server: LocalOpenRouter, run: Run, tmp_path: Path, name: str, given: str
) -> None:
    rows, out = tmp_path / "in.jsonl", tmp_path / name
    write_named(rows, ("u", "first"), ("v", "second"))
    server.reply(error_reply(400), when="second", times=None)
    assert run("run", rows, "-o", out, "-m", "m").returncode == 3
    (failures,) = set(tmp_path.glob("*.errors.jsonl")) - {out}
    server.clear()

    assert run("retry", failures if given == "failures" else out).returncode == 0
    assert sorted(custom_ids(out)) == ["u", "v"]
    assert not failures.exists()


def test_failures_file_of_two_journals_is_refused(run: Run, tmp_path: Path) -> None:
    for name in ("a", "a.jsonl", "a.errors.jsonl"):
        (tmp_path / name).touch()
    done = run("retry", tmp_path / "a.errors.jsonl")

    assert done.returncode == 2
    assert "can belong to" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run", "in.jsonl", "-o", "-"), "-o - is not possible"),
        (("run", "in.jsonl", "-o", "link.jsonl"), "are the same file"),
        (("retry", "-"), "retry cannot read stdin"),
        (("run", "in.jsonl", "-o", "o.jsonl", "--prompt", "{}"), "has no name"),
        (("run", "table.csv", "-o", "o.jsonl"), "its format is CSV"),
        (("run", "in.jsonl", "-o", "o.jsonl", "--prompt", "\udcff"), "not UTF-8"),
    ],
)
def test_usage_error_of_an_input_or_output_exits_with_2(
    server: LocalOpenRouter,
    run: Run,
    rows: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.chdir(rows.parent)
    Path("link.jsonl").symlink_to(rows)
    Path("table.csv").write_text("name,text\nu,first\n")
    done = run(*arguments)

    assert done.returncode == 2
    assert message in done.stderr
    assert server.requests == []


def test_closed_stdin_exits_with_2(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    done = run("run", "-", "-o", tmp_path / "o.jsonl")

    assert done.returncode == 2
    assert "stdin is closed" in done.stderr
    assert app.run(["chat", "-"]) == 2


def test_input_that_shrinks_during_the_run_does_not_exit_with_0(
    server: LocalOpenRouter, run: Run, tmp_path: Path
) -> None:
    rows = tmp_path / "in.jsonl"
    # More than one block is read at the start.
    write_named(rows, *((f"r{n}", "x" * 1000) for n in range(600)))

    def reply(_: SeenRequest) -> str:
        rows.write_bytes(b"")
        return "ok"

    server.reply(reply, times=None)
    done = run("run", rows, "-o", tmp_path / "o.jsonl", "-m", "m", "-c", 1)

    assert done.returncode == 3
    assert "rows were not read" in done.stderr


@ON_UNIX
def test_fifo_without_a_writer_ends_with_ctrl_c(
    server: LocalOpenRouter, tmp_path: Path
) -> None:
    del server
    fifo, out = tmp_path / "fifo", tmp_path / "out.jsonl"
    os.mkfifo(fifo)
    process = start("batch", "run", fifo, "-o", out, "-m", "m", debug=False)
    while not out.exists():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)

    assert process.returncode == 130
    assert "Stopping: waiting for 0 requests in flight" in err


@ON_UNIX
def test_fifo_is_read_once(run: Run, tmp_path: Path) -> None:
    fifo, out = tmp_path / "fifo", tmp_path / "out.jsonl"
    os.mkfifo(fifo)
    writer = threading.Thread(
        target=lambda: write_named(fifo, ("u", "first"), ("v", "second")), daemon=True
    )
    writer.start()
    done = run("run", fifo, "-o", out, "-m", "m")
    writer.join()

    assert done.returncode == 0
    assert sorted(custom_ids(out)) == ["u", "v"]


# --- outputs ------------------------------------------------------------------------


def test_closed_streams_are_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    assert app.run(["chat", "hi", "--local"]) == 2
    for stream in (sys.stdout, sys.stderr):
        stream.close()


def test_reader_of_stderr_that_has_gone_does_not_end_the_command() -> None:
    class Gone(io.StringIO):
        def write(self, _: str, /) -> int:
            raise BrokenPipeError

    terminal = Terminal()
    terminal.err.file = Gone()
    terminal.note("one")
    terminal.note("two")
    terminal.out.file = Gone()
    with pytest.raises(BrokenPipeError):
        terminal.out.print("three")


@ON_UNIX
def test_streams_block_while_a_command_runs() -> None:
    saved = os.dup(0)
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    os.dup2(reading, 0)
    try:
        with blocking_streams():
            during = os.get_blocking(0)
        after = os.get_blocking(0)
    finally:
        os.dup2(saved, 0)
        for descriptor in (saved, reading, writing):
            os.close(descriptor)

    assert (during, after) == (True, False)


@ON_UNIX
def test_stdout_that_does_not_block_gets_everything(server: LocalOpenRouter) -> None:
    text = "word " * 60_000
    server.reply(text)
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    process = start("chat", "hi", "-q", "--no-stream", output=writing, debug=False)
    server.wait(requests=1, timeout=30)
    with os.fdopen(reading, "rb") as pipe:
        arrived = b""
        while len(arrived) < len(text):
            arrived += pipe.read1(10_000)
        process.wait(timeout=20)
        is_blocking = os.get_blocking(writing)
        os.close(writing)

    assert arrived.decode().strip() == text.strip()
    assert not is_blocking


def test_failures_file_that_does_not_exist_belongs_to_the_usual_journal(
    tmp_path: Path,
) -> None:
    failures = tmp_path / "out.errors.jsonl"

    assert _retry_paths(failures) == (failures, tmp_path / "out.jsonl")
