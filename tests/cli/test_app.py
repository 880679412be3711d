import io
import runpy
import subprocess
import sys
from collections.abc import Sequence

import pytest
from commands import free_port, start
from support import without_slow_callbacks

from openrouter_async import __version__
from openrouter_async.cli import main
from openrouter_async.cli.app import app, batch, run
from openrouter_async.cli.exit_codes import exit_code_of
from openrouter_async.errors import ClosedError
from openrouter_async.testing import LocalOpenRouter, Reply, StreamError, error_reply


@pytest.mark.parametrize(
    ("reply", "code", "message"),
    [
        (error_reply(400, "no such model"), 3, "400: no such model"),
        (error_reply(401), 5, "401: User not found."),
        (error_reply(402), 5, "402: Insufficient credits."),
        (error_reply(403), 5, "403: "),
        (error_reply(404), 3, "404: "),
        (error_reply(413), 3, "413: "),
        (error_reply(429, retry_after=999), 3, "429: "),
        (Reply(text="<html><title>Oops</title></html>"), 3, "HTML"),
        (Reply(stop="silence"), 4, "0.3 seconds"),
        (Reply(["Once ", "upon"], stop="end", stop_after=1), 4, "without [DONE]"),
        (Reply(["Once ", "upon"], error=StreamError()), 3, "502"),
    ],
)
def test_error_is_one_line_with_its_exit_code(
    server: LocalOpenRouter,
    capsys: pytest.CaptureFixture[str],
    reply: Reply,
    code: int,
    message: str,
) -> None:
    """The text received before the error is on stdout."""
    server.reply(reply)

    assert run(["chat", "-q", "hi", "--timeout", "0.3"]) == code

    out, err = capsys.readouterr()
    assert err.startswith("error: ")
    assert message in err
    assert err.count("\n") == 1
    assert out in ("", "Once \n")


def test_rejected_key_is_an_account_error_and_not_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with LocalOpenRouter(keys=["right"]) as server:
        monkeypatch.setenv("OPENROUTER_BASE_URL", server.url)
        monkeypatch.setenv("OPENROUTER_API_KEY", "wrong-key")

        assert run(["chat", "-v", "hi"]) == 5

    err = capsys.readouterr().err
    assert "error: 401: User not found. Check OPENROUTER_API_KEY" in err
    assert "wrong-key" not in err


def test_missing_key_is_reported_before_a_call(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(["chat", "hi"]) == 5
    monkeypatch.setenv("OPENROUTER_API_KEY", "  ")
    assert run(["demo", "--live"]) == 5

    first, second = capsys.readouterr().err.splitlines()
    assert first == second
    assert "https://openrouter.ai/settings/keys" in first
    assert "--local" in first


def test_refused_connection_is_reported_with_its_attempts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OPENROUTER_BASE_URL", f"http://127.0.0.1:{free_port()}/api/v1")
    monkeypatch.setenv("OPENROUTER_API_KEY", "key")

    assert run(["chat", "hi"]) == 4

    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("error: Cannot connect to 127.0.0.1")
    assert line.endswith("(3 attempts)")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--nonsense"], "See openrouter-async --help."),
        (["nonsense"], "No such command 'nonsense'. See openrouter-async --help."),
        (["chat", "--tempo", "1"], "See openrouter-async chat --help."),
        (["chat", "-t", "3", "hi"], "'--temperature'"),
        (["chat", "--max-tokens", "0", "hi"], "'--max-tokens'"),
        (["chat", "--timeout", "0", "hi"], "'--timeout': 0 is not greater than 0."),
        (["batch", "retry", "o.jsonl", "--rpm", "nan"], "nan is not greater than 0."),
        (["serve", "--port", "x"], "'--port'"),
    ],
)
def test_usage_error_is_one_line(
    capsys: pytest.CaptureFixture[str], arguments: Sequence[str], message: str
) -> None:
    assert run(arguments) == 2

    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert err.count("\n") == 1


def test_invalid_base_url_is_a_usage_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OPENROUTER_BASE_URL", "openrouter.ai")
    monkeypatch.setenv("OPENROUTER_API_KEY", "key")

    assert run(["chat", "hi"]) == 2
    assert "base_url" in capsys.readouterr().err


class BrokenOutput(io.StringIO):
    """An output that raises an exception on each write."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self._error = error

    def write(self, text: str, /) -> int:
        """Raise the exception."""
        raise self._error from ValueError(text)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(28, "No space left on device"), "error: No space left on device\n"),
        (
            ZeroDivisionError("by zero"),
            (
                "error: unexpected ZeroDivisionError: by zero "
                "(run python -X dev -m openrouter_async for the traceback)\n"
            ),
        ),
    ],
)
def test_unexpected_exception_is_one_line(
    server: LocalOpenRouter,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: Exception,
    message: str,
) -> None:
    monkeypatch.setattr("sys.stdout", BrokenOutput(error))

    assert run(["chat", "-q", "hi"], debug=False) == 1
    assert capsys.readouterr().err == message
    assert server.requests


def test_unexpected_exception_is_raised_in_development_mode(
    server: LocalOpenRouter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout", BrokenOutput(ZeroDivisionError()))

    with pytest.raises(ZeroDivisionError):
        run(["chat", "-q", "hi"], debug=True)


def test_unlisted_error_has_exit_code_1() -> None:
    assert exit_code_of(ClosedError("closed")) == 1


@pytest.mark.parametrize("name", ["typer", "rich"])
def test_missing_library_is_reported_with_its_extra(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    # None makes Python's import of that module fail.
    monkeypatch.setitem(sys.modules, name, None)

    with pytest.raises(SystemExit) as caught:
        main()

    assert caught.value.code == (
        f"error: The command line needs {name}, which is not installed. "
        "Install it: pip install 'openrouter_async[cli]'"
    )


def test_missing_module_of_the_package_is_raised(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(sys.modules, "openrouter_async.cli.app")
    monkeypatch.setitem(sys.modules, "openrouter_async.cli.demo", None)

    with pytest.raises(ModuleNotFoundError, match=r"cli\.demo"):
        main()


def test_help_and_version_exit_with_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 0
    without_arguments = capsys.readouterr().out
    assert run(["--help"]) == 0
    with_option = capsys.readouterr().out
    assert run(["--version"]) == 0

    assert capsys.readouterr().out == f"openrouter-async {__version__}\n"
    for text in (without_arguments, with_option):
        assert all(word in text for word in ("demo", "chat", "serve", "Exit codes"))


def test_every_option_has_a_help_text() -> None:
    missing = [
        f"{command.name} {name}"
        for command in (*app.registered_commands, *batch.registered_commands)
        if command.callback is not None
        for name, hint in command.callback.__annotations__.items()
        if hasattr(hint, "__metadata__") and not hint.__metadata__[0].help
    ]

    assert missing == []


def test_main_module_runs_the_command_only_as_main(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["-m", "--version"])
    monkeypatch.delitem(sys.modules, "openrouter_async.__main__", raising=False)
    runpy.run_module("openrouter_async.__main__")
    imported = capsys.readouterr().out
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("openrouter_async", run_name="__main__")

    assert imported == ""
    assert capsys.readouterr().out == f"openrouter-async {__version__}\n"
    assert ended.value.code == 0


def test_python_m_runs_chat_with_a_piped_prompt() -> None:
    chat = start("chat", "--local", stdin=subprocess.PIPE)

    out, err = chat.communicate("Are you there?\n", timeout=20)

    assert out.startswith('You wrote: "Are you there?"')
    assert without_slow_callbacks(err).startswith("openai/gpt-4o-mini via OpenAI")
    assert (chat.returncode, without_slow_callbacks(err).count("\n")) == (0, 1)
