import os
import re
import signal
import urllib.error
import urllib.request

import pytest
from commands import ON_UNIX, start
from support import without_slow_callbacks

from openrouter_async.cli.app import run
from openrouter_async.cli.demo_server import CONCURRENT_PROMPT
from openrouter_async.testing import LocalOpenRouter, error_reply


def test_demo_runs_without_a_key(capsys: pytest.CaptureFixture[str]) -> None:
    code = run(["demo"])

    out, err = capsys.readouterr()
    assert (code, without_slow_callbacks(err)) == (0, "")
    assert "\x1b" not in out
    assert "Hello from your own machine" in out
    assert "BadRequestError: 400: openai/gpt-0 is not a valid model ID" in out
    assert "5 retries, after 429 responses" in out
    assert re.search(r"\n200 calls +200 +205 .* calls/s +\$0\.\d+\n", out)
    assert "demo --live" in out


@ON_UNIX
def test_ctrl_c_ends_the_demo_and_its_server() -> None:
    """A terminal sends SIGINT to all of its processes; none prints a traceback."""
    process = start("demo", own_group=True, debug=False)
    assert process.stdout is not None
    url = ""
    for line in process.stdout:
        url = url or (re.findall(r"http://\S+(?=/api)", line) or [""])[0]
        if line == "An error\n":
            break
    os.killpg(process.pid, signal.SIGINT)

    _, err = process.communicate(timeout=20)
    assert (process.returncode, without_slow_callbacks(err)) == (130, "Interrupted.\n")
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(url, timeout=5)  # noqa: S310 - a URL of this machine


def test_live_demo_makes_eight_short_calls(
    server: LocalOpenRouter,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("OPENROUTER_MODEL", "anthropic/claude-haiku-4.5")
    server.reply(error_reply(400, "not a valid model ID"), when="openai/gpt-0")

    code = run(["demo", "--live"])

    out = capsys.readouterr().out
    assert code == 0
    assert "OpenRouter: the calls are charged to your API key." in out
    assert "Why does a streamed response" in out
    assert "5/5" in out
    assert "Next steps" not in out
    assert [seen.model for seen in server.requests] == [
        "anthropic/claude-haiku-4.5",
        "anthropic/claude-haiku-4.5",
        "openai/gpt-0",
        *["anthropic/claude-haiku-4.5"] * 5,
    ]
    assert all(seen.fields["max_tokens"] <= 128 for seen in server.requests)


def test_live_demo_reports_failed_calls(
    server: LocalOpenRouter, capsys: pytest.CaptureFixture[str]
) -> None:
    server.reply(error_reply(402), when=CONCURRENT_PROMPT, times=2)

    assert run(["demo", "--live"]) == 5

    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "  2 failed: 402: Insufficient credits." in out
