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
from openrouter_async.cli.app import app, run
from openrouter_async.cli.exit_codes import exit_code_of
from openrouter_async.errors import ClosedError
from openrouter_async.testing import (
    LocalOpenRouter,
    Reply,
    StreamError,
    error_reply,
)


@pytest.mark.parametrize(
    ("reply", "code", "words"),
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
def test_each_failure_is_one_line_and_a_code(
    server: LocalOpenRouter,
    capsys: pytest.CaptureFixture[str],
    reply: Reply,
    code: int,
    words: str,
) -> None:
    """What went wrong is told in one line; what had arrived is on stdout."""
    server.reply(reply)

    assert run(["chat", "-q", "hi", "--timeout", "0.3"]) == code

    out, err = capsys.readouterr()
    assert err.startswith("error: ")
    assert words in err
    assert err.count("\n") == 1
    assert out in ("", "Once \n")


def test_a_wrong_key_is_an_account_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The key is never in what is printed."""
    with LocalOpenRouter(keys=["right"]) as server:
        monkeypatch.setenv("OPENROUTER_BASE_URL", server.url)
        monkeypatch.setenv("OPENROUTER_API_KEY", "wrong-key")

        assert run(["chat", "-v", "hi"]) == 5

    err = capsys.readouterr().err
    assert "error: 401: User not found. Check OPENROUTER_API_KEY" in err
    assert "wrong-key" not in err


def test_no_key_is_told_before_anything_is_sent(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message says where keys are, and what needs none."""
    assert run(["chat", "hi"]) == 5
    monkeypatch.setenv("OPENROUTER_API_KEY", "  ")
    assert run(["demo", "--live"]) == 5

    first, second = capsys.readouterr().err.splitlines()
    assert first == second
    assert "https://openrouter.ai/settings/keys" in first
    assert "--local" in first


def test_a_refused_connection_is_told_with_its_attempts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nobody listening is code 4."""
    monkeypatch.setenv("OPENROUTER_BASE_URL", f"http://127.0.0.1:{free_port()}/api/v1")
    monkeypatch.setenv("OPENROUTER_API_KEY", "key")

    assert run(["chat", "hi"]) == 4

    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("error: No connection to 127.0.0.1")
    assert line.endswith("(3 attempts)")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--nonsense"], "See openrouter-async --help."),
        (["nonsense"], "No such command 'nonsense'. See openrouter-async --help."),
        (["chat", "--tempo", "1"], "See openrouter-async chat --help."),
        (["chat", "-t", "3", "hi"], "'--temperature'"),
        (["chat", "--max-tokens", "0", "hi"], "'--max-tokens'"),
        (["serve", "--port", "x"], "'--port'"),
    ],
)
def test_a_usage_error_is_one_line(
    capsys: pytest.CaptureFixture[str], arguments: Sequence[str], words: str
) -> None:
    """The line says what is wrong and where help is."""
    assert run(arguments) == 2

    out, err = capsys.readouterr()
    assert out == ""
    assert words in err
    assert err.count("\n") == 1


def test_an_impossible_base_url_is_a_usage_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the environment says is part of the usage."""
    monkeypatch.setenv("OPENROUTER_BASE_URL", "openrouter.ai")
    monkeypatch.setenv("OPENROUTER_API_KEY", "key")

    assert run(["chat", "hi"]) == 2
    assert "base_url" in capsys.readouterr().err


class Broken(io.StringIO):
    """An output that fails."""

    def __init__(self, failure: Exception) -> None:
        super().__init__()
        self._failure = failure

    def write(self, text: str, /) -> int:
        """Fail."""
        raise self._failure from ValueError(text)


@pytest.mark.parametrize(
    ("failure", "told"),
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
def test_other_failures_are_one_line_too(
    server: LocalOpenRouter,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    failure: Exception,
    told: str,
) -> None:
    """A disk that is full and a fault of ours end with code 1, without a traceback."""
    monkeypatch.setattr("sys.stdout", Broken(failure))

    assert run(["chat", "-q", "hi"], debug=False) == 1
    assert capsys.readouterr().err == told
    assert server.requests


def test_a_fault_of_ours_has_its_traceback_in_development_mode(
    server: LocalOpenRouter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who looks for the fault finds it."""
    monkeypatch.setattr("sys.stdout", Broken(ZeroDivisionError()))

    with pytest.raises(ZeroDivisionError):
        run(["chat", "-q", "hi"], debug=True)


def test_every_error_has_a_code() -> None:
    """What no rule names is code 1."""
    assert exit_code_of(ClosedError("closed")) == 1


@pytest.mark.parametrize("name", ["typer", "rich"])
def test_without_the_extra_the_command_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The base package has no command line, and tells so."""
    # None makes Python's import of that module fail.
    monkeypatch.setitem(sys.modules, name, None)

    with pytest.raises(SystemExit) as caught:
        main()

    assert caught.value.code == (
        f"error: The command line needs {name}, which is not installed. "
        "Install it: pip install 'openrouter_async[cli]'"
    )


def test_another_missing_module_is_no_missing_extra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A broken installation is not explained away."""
    monkeypatch.delitem(sys.modules, "openrouter_async.cli.app")
    monkeypatch.setitem(sys.modules, "openrouter_async.cli.demo", None)

    with pytest.raises(ModuleNotFoundError, match=r"cli\.demo"):
        main()


def test_the_command_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    """No argument, --help and --version all end well."""
    assert run([]) == 0
    bare = capsys.readouterr().out
    assert run(["--help"]) == 0
    asked = capsys.readouterr().out
    assert run(["--version"]) == 0

    assert capsys.readouterr().out == f"openrouter-async {__version__}\n"
    for words in (bare, asked):
        assert all(word in words for word in ("demo", "chat", "serve", "Exit codes"))


def test_every_option_says_what_it_is_for() -> None:
    """Each option of each command has a line of help."""
    bare = [
        f"{command.name} {name}"
        for command in app.registered_commands
        if command.callback is not None
        for name, hint in command.callback.__annotations__.items()
        if hasattr(hint, "__metadata__") and not hint.__metadata__[0].help
    ]

    assert bare == []


def test_main_runs_the_command_when_it_is_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`python -m` exits with the command's code; an import does nothing."""
    monkeypatch.setattr("sys.argv", ["-m", "--version"])
    monkeypatch.delitem(sys.modules, "openrouter_async.__main__", raising=False)
    runpy.run_module("openrouter_async.__main__")
    imported = capsys.readouterr().out
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("openrouter_async", run_name="__main__")

    assert imported == ""
    assert capsys.readouterr().out == f"openrouter-async {__version__}\n"
    assert ended.value.code == 0


def test_python_m_runs_the_command() -> None:
    """The package can be run, from a pipe, with no key and no warning."""
    chat = start("chat", "--local", stdin=subprocess.PIPE)

    out, err = chat.communicate("Are you there?\n", timeout=20)

    assert out.startswith('You wrote: "Are you there?"')
    assert without_slow_callbacks(err).startswith("openai/gpt-4o-mini via OpenAI")
    assert (chat.returncode, without_slow_callbacks(err).count("\n")) == (0, 1)
