"""The programs in docs/examples, run against the local server."""

# pyright: reportPrivateUsage=false

import re
import runpy
from collections.abc import Callable
from pathlib import Path

import pytest
from support import without_slow_callbacks
from testing_pytest import (
    pytest_plugins,
    test_rate_limit_of_a_day_is_raised_at_once,
    test_summary_is_the_text_of_the_response,
)

from openrouter_async import batches
from openrouter_async.batch.hosted.intervals import HostedIntervals
from openrouter_async.testing import (
    LocalOpenRouter,
    completion,
    error_reply,
    tool_call,
)

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "docs" / "examples"

# The tests of the example run as tests of this module, with its plugin.
__all__ = [
    "pytest_plugins",
    "test_rate_limit_of_a_day_is_raised_at_once",
    "test_summary_is_the_text_of_the_response",
]


def rate_limit_first(server: LocalOpenRouter) -> None:
    server.reply(error_reply(429, retry_after=0)).then("Hello, you!")


def limit_of_5(server: LocalOpenRouter) -> None:
    server.capacity.limit = 5
    server.capacity.latency = 0.01


def refused_once(server: LocalOpenRouter) -> None:
    server.reply(error_reply(429, retry_after=30))


def cut_off(server: LocalOpenRouter) -> None:
    server.reply(["Once ", "upon ", "a time"], stop="end", stop_after=2)


def invalid_output_first(server: LocalOpenRouter) -> None:
    server.reply('{"stars": 6}').then('{"stars": 2, "summary": "Not bad."}')


def wrong_book_first(server: LocalOpenRouter) -> None:
    server.reply(completion(tool_calls=[tool_call("find_book", {"number": "7"})])).then(
        completion(tool_calls=[tool_call("find_book", {"number": "42"})])
    ).then("It is the Guide.")


def add_two_and_three(server: LocalOpenRouter) -> None:
    server.reply(completion(tool_calls=[tool_call("add", {"a": 2, "b": 3})]))


def nothing(_server: LocalOpenRouter) -> None:
    """Leave the server's default responses."""


def known_at_once(server: LocalOpenRouter) -> None:
    """Let lookups of generations succeed; the one that is left is in flight for long."""
    server._endpoints.account.lag = 0


def long_ago(server: LocalOpenRouter) -> None:
    server.batches.script.validating = server.batches.script.running = 0.0


# Example -> the server's script, and a pattern of the whole output.
PROGRAMS: dict[str, tuple[Callable[[LocalOpenRouter], None], str]] = {
    "batch": (nothing, r"(\d+ You wrote: .*\n){100}"),
    "batch_hosted": (nothing, r"(\d You wrote: .*\n){2}"),
    "batch_hosted_calls": (
        long_ago,
        r"completed 2 [\d.e-]+\n(row-\d You wrote.*\n){2}",
    ),
    "batch_hosted_test": (nothing, ""),
    "batch_journal": (
        nothing,
        r"(r-\d You .*\n){3}0 rows were in the journal\n(r-\d You .*\n){3}",
    ),
    "batch_typed": (nothing, r"(.* \d+\n){3}"),
    "limits_backend": (
        refused_once,
        r"Busy; try again in 30 s.\nBusy; try again in 3\d s.\ncooldown: True\n",
    ),
    "limits_gather": (
        limit_of_5,
        r"30 responses\nopenai/gpt-4o-mini \d+ refusals\n",
    ),
    "cancellation": (nothing, "stop\ncancelled: True\n0 connections in use\n"),
    "budgets": (
        nothing,
        (
            r"call \d was not sent: The budget of the tag .*\n"
            r"\$0\.0000\d+ of \$0\.00005 spent \(guaranteed\)\n"
        ),
    ),
    "client_options": (nothing, 'You wrote: "Hello".*\n'),
    "concurrent_calls": (nothing, '(You wrote: "Describe .*\n){3}'),
    "conversation": (nothing, 'You wrote: "What .*\nYou wrote: "How far .*\n'),
    "errors": (nothing, 'You wrote: "Hello".*\n'),
    "image_output": (nothing, r"image-0\.png\n"),
    "images_and_files": (nothing, "You wrote: .*\n"),
    "key_function": (nothing, 'You wrote: "Hello".*\n'),
    "on_call": (
        nothing,
        r"openai/gpt-4o-mini ok attempts=1 tokens=\d+ cost=[\d.e-]+\n",
    ),
    "other_endpoints": (nothing, r"True\nusage of this key: [\d.]+\n"),
    "own_session": (nothing, 'You wrote: "Hello".*\n'),
    "quickstart": (nothing, r'You wrote: "Hello".* [\d.e-]+ gen-\S+\n'),
    "usage": (
        known_at_once,
        (
            r"4 calls, \d+ tokens in, \$0\.000\d+\nada: 2 calls, \$0\.000\d+\n"
            r"bob: 2 calls, \$0\.000\d+\n0 at an unknown cost\n"
        ),
    ),
    "relay_format": (
        nothing,
        r'(?s): keep-alive\n\ndata: .*"m1"\}\n\ndata: \{"type":"data-title".*\[DONE\]\n\n',
    ),
    "request": (nothing, 'You wrote: "Why\\?".*\n'),
    "retries": (
        rate_limit_first,
        r"Hello, you!\n429 0.0 not_accepted .*\n200 0\.\d+ billed None\nYou .*\n",
    ),
    "stream_interrupted": (
        cut_off,
        r"StreamInterruptedError after: Once upon \nlook up its cost with gen-.*\n",
    ),
    "stream_reads": (nothing, 'You wrote: "Write a haiku.*\n'),
    "stream_reasoning": (nothing, r"(?s)\x1b\[90m.*You wrote.*tokens: \d+\n"),
    "streaming": (nothing, r'You wrote: "Tell me a story".*\n\d+ tokens\n'),
    "structured": (nothing, r"\d{4}-\d\d-\d\d [\d.]+\n"),
    "structured_errors": (invalid_output_first, r"2 Not bad\.\n"),
    "structured_stream": (nothing, r"(\{.*\}\n)+.+ \d+\n"),
    "structured_types": (nothing, r"Mood\.GOOD\n\[\{.*\}\]\nname=.* age=.*\n"),
    "sync_program": (nothing, 'You wrote: "Hello".*\nYou wrote: "Goodbye".*\n'),
    "testing_faults": (nothing, "9 requests\n"),
    "testing_server": (nothing, ""),
    "testing_time": (nothing, ""),
    "timeouts": (nothing, 'You wrote: "Hello".*\n'),
    "tool_from_schema": (nothing, 'The tool returned "nothing found for .*\n'),
    "tools_own_loop": (add_two_and_three, 'The tool returned "5" .*\n'),
    "tools_errors": (
        wrong_book_first,
        r'It is the Guide\.\n\{"number": "7"\} -> There .*\n\{.*"\} -> The Hitch.*\n',
    ),
    "tools_run": (
        nothing,
        r"The tool returned .*\n2 requests, 2 calls, [\d.e-]+ dollars\n",
    ),
    "tools_stream": (
        nothing,
        "calling get_weather\nget_weather returned .*\nThe tool returned .*\n4 messages .*\n",
    ),
    "migrate_openrouter_before": (nothing, '(You wrote: "Hello".*\n){2}'),
    "migrate_openrouter_after": (nothing, '(You wrote: "Hello".*\n){2}'),
    "migrate_openai_before": (nothing, '(You wrote: "Hello".*\n){2} .*tokens\n'),
    "migrate_openai_after": (nothing, '(You wrote: "Hello".*\n){2} .*tokens\n'),
    "migrate_litellm_after": (
        nothing,
        'You wrote: "Hello".*\n[\\d.e-]+\nYou wrote: "Hello".*\n',
    ),
}

# Examples that other tests run.
TESTED_ELSEWHERE = {
    path.stem
    for path in EXAMPLES.glob("*.py")
    if any(
        re.search(rf"\b{path.stem}\b", test.read_text("utf-8"))
        for test in (ROOT / "tests").rglob("*.py")
        if test != Path(__file__)
    )
}
NOT_PROGRAMS = {"testing_app", "testing_pytest"}


@pytest.fixture
def program_environment(
    server: LocalOpenRouter, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Run programs in an empty folder, with the environment of a user."""
    (tmp_path / "in.jsonl").write_text('"Hello"\n"Goodbye"\n')
    # A run of hosted batches looks at them for the first time after 15 seconds.
    short = HostedIntervals().scaled(0.01)
    monkeypatch.setattr(batches, "HostedIntervals", lambda: short)
    (tmp_path / "openrouter.key").write_text("sk-or-v1-rotated\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENROUTER_BASE_URL", server.url)
    monkeypatch.setenv("OPENROUTER_API_KEY", server.api_key)
    monkeypatch.setenv("PYTHONASYNCIODEBUG", "1")


def imports(name: str) -> str:
    """Return the client library that an example imports."""
    return name.split("_")[1] if name.endswith("_before") else "openrouter_async"


@pytest.mark.usefixtures("program_environment")
@pytest.mark.parametrize("name", PROGRAMS)
def test_program_prints_what_its_page_says(
    name: str, server: LocalOpenRouter, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip(imports(name), reason="the [interop] extra is not installed")
    script, output = PROGRAMS[name]
    script(server)

    runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")

    printed = capsys.readouterr()
    assert re.fullmatch(output, printed.out), printed.out
    assert without_slow_callbacks(printed.err) == ""


@pytest.mark.usefixtures("program_environment")
def test_interrupted_batch_continues_from_its_journal(
    server: LocalOpenRouter, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        runpy.run_path(str(EXAMPLES / "batch_journal.py"), run_name="__main__")

    assert "3 rows were in the journal" in capsys.readouterr().out
    chats = [seen for seen in server.requests if seen.path.endswith("/completions")]
    assert len(chats) == 3


def test_every_example_is_run() -> None:
    examples = {path.stem for path in EXAMPLES.glob("*.py")}

    assert examples - TESTED_ELSEWHERE - NOT_PROGRAMS - PROGRAMS.keys() == {
        "migrate_litellm_before"  # litellm is not installed.
    }


def test_every_example_is_included_in_a_page() -> None:
    pages = "".join(path.read_text("utf-8") for path in (ROOT / "docs").glob("*.md"))
    included = set(re.findall(r"literalinclude\} examples/(\S+)", pages))

    assert {path.name for path in EXAMPLES.iterdir() if path.is_file()} == included
