"""The command line: what it prints where, and how it ends."""

import asyncio
import io
import json
import multiprocessing
import os
import re
import runpy
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from support import without_slow_callbacks

from openrouter_async import AsyncOpenRouter, UserMessage, __version__
from openrouter_async.cli import main
from openrouter_async.cli.app import app, run
from openrouter_async.cli.console import printable
from openrouter_async.cli.demo_server import (
    CONCURRENT_PROMPT,
    HELLO,
    ServerAddress,
    run_demo_server,
    serve_demo,
)
from openrouter_async.cli.exit_codes import CommandError, exit_code_of
from openrouter_async.cli.formatting import Step, dollars, seconds
from openrouter_async.errors import ClosedError
from openrouter_async.testing import (
    LocalOpenRouter,
    Reply,
    StreamError,
    completion,
    error_reply,
)

ROOT = Path(__file__).parents[2]
ON_UNIX = pytest.mark.skipif(os.name == "nt", reason="Unix signals and terminals")


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the tester's own terminal and account shows."""
    for name in list(os.environ):
        if name.startswith("OPENROUTER_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    for name in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"")))


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalOpenRouter]:
    with LocalOpenRouter() as server:
        monkeypatch.setenv("OPENROUTER_BASE_URL", server.url)
        monkeypatch.setenv("OPENROUTER_API_KEY", server.api_key)
        yield server


def pipe_in(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))


def start(
    *arguments: str,
    stdin: int = subprocess.DEVNULL,
    output: int = subprocess.PIPE,
    own_group: bool = False,
    debug: bool = True,
) -> "subprocess.Popen[str]":
    environment = dict(os.environ)
    # The package under test, from whatever folder the tests are run.
    paths = (str(ROOT), environment.get("PYTHONPATH", ""))
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    # The development mode also sets asyncio's debug mode, which is slow.
    python = (sys.executable, "-W", "error", *("-X", "dev") * debug)
    return subprocess.Popen(
        (*python, "-m", "openrouter_async", *arguments),
        env=environment,
        stdin=stdin,
        stdout=output,
        stderr=output,
        start_new_session=own_group,
        encoding="utf-8",
    )


# What is said.


def test_chat_streams_the_answer_to_stdout_and_the_bill_to_stderr(
    server: LocalOpenRouter, capsys: pytest.CaptureFixture[str]
) -> None:
    """A pipe gets the answer and nothing else."""
    server.reply(["Good ", "day."])

    code = run(["chat", "Hello", "there", "--system", "Be kind.", "-m", "openai/x"])

    out, err = capsys.readouterr()
    assert code == 0
    assert out == "Good day.\n"
    assert re.fullmatch(
        r"openai/x via OpenAI · \d+ \+ \d+ tok · \$0\.0\d+ · first token \d+ ms · "
        r"(\d+ tok/s · )?\d+ ms\n",
        err,
    )
    (seen,) = server.requests
    assert seen.json == {
        "model": "openai/x",
        "messages": [
            {"role": "system", "content": "Be kind."},
            {"role": "user", "content": "Hello there"},
        ],
        "stream": True,
    }


def test_chat_sends_what_its_options_say(server: LocalOpenRouter) -> None:
    """Options become fields of the request; those not given are not sent."""
    arguments = ["-t", "0.5", "--max-tokens", "7", "--reasoning", "low", "--no-stream"]

    assert run(["chat", "hi", *arguments]) == 0

    (seen,) = server.requests
    assert seen.fields["temperature"] == 0.5
    assert seen.fields["max_tokens"] == 7
    assert seen.fields["reasoning"] == {"effort": "low"}
    assert not seen.stream


@pytest.mark.parametrize("how", ["--stream", "--no-stream"])
def test_reasoning_goes_to_stderr(
    server: LocalOpenRouter, capsys: pytest.CaptureFixture[str], how: str
) -> None:
    """Thoughts stand above the answer, on stderr, on lines of their own."""
    server.reply(completion("Four.", reasoning="Two and two."))

    assert run(["chat", "2 + 2?", how]) == 0

    out, err = capsys.readouterr()
    assert out == "Four.\n"
    assert err.startswith("Two and two.\n\nopenai/gpt-4o-mini via")


@pytest.mark.parametrize("how", ["--stream", "--no-stream"])
def test_quiet_leaves_the_answer(
    server: LocalOpenRouter, capsys: pytest.CaptureFixture[str], how: str
) -> None:
    """With --quiet nothing but the answer is printed."""
    server.reply(completion("Four.\n", reasoning="Two and two."))

    assert run(["chat", "-q", "2 + 2?", how]) == 0
    assert capsys.readouterr() == ("Four.\n", "")


def test_json_is_the_whole_reply(
    server: LocalOpenRouter, capsys: pytest.CaptureFixture[str]
) -> None:
    """--json prints what came, unknown keys too, on one line for programs."""
    body = completion("Grüß dich", new_key={"a": [1, None]})
    server.reply(json=body)

    assert run(["chat", "--json", "hi"]) == 0

    out, err = capsys.readouterr()
    assert out.count("\n") == 1
    assert json.loads(out) == body
    assert "Grüß" in out
    assert "via OpenAI" in err


def test_json_is_indented_on_a_terminal(
    server: LocalOpenRouter,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """--json is for people where people look at it."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    server.reply(json=completion("Hi"))

    assert run(["chat", "--json", "hi"]) == 0
    assert capsys.readouterr().out.startswith('{\n  "id": ')


def test_json_that_the_terminal_can_not_show_is_escaped(
    server: LocalOpenRouter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No character is lost to an old encoding: JSON has escapes for all."""
    body = completion("¿Qué?")
    server.reply(json=body)
    printed = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(printed, "ascii"))

    assert run(["chat", "--json", "hi"]) == 0
    assert json.loads(printed.getvalue()) == body


def test_json_that_is_too_deep_is_said_to_be(
    server: LocalOpenRouter, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a traceback, where Python can not print it; the text can be had."""
    deep = b'{"in":' * 1010 + b"0" + b"}" * 1010
    body = json.dumps(completion("Hi")).encode()[:-1] + b',"trace":' + deep + b"}"
    server.reply(body=body, times=2)

    code = run(["chat", "--json", "hi"])
    out, err = capsys.readouterr()
    assert "Traceback" not in err
    if code == 0:
        assert out.count('"in"') == 1010
    else:
        assert code == 3
        assert out == ""
        assert "The response is nested too deeply" in err
    assert run(["chat", "--no-stream", "hi"]) == 0
    assert capsys.readouterr().out == "Hi\n"


def test_text_that_can_not_be_encoded_is_replaced(
    server: LocalOpenRouter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half an emoji does not stop the answer."""
    server.reply(["Hi \ud83d", "!"])
    printed = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(printed, "utf-8"))

    assert run(["chat", "hi"]) == 0
    assert printed.getvalue().startswith(b"Hi ")
    assert printed.getvalue().endswith(b"!\n")


def test_a_reply_can_not_steer_the_terminal(
    server: LocalOpenRouter,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Escape sequences are cut on a terminal; a pipe gets the text as it came."""
    answer = ["a\x1b]0;", "title\x07\x9b2Jb\tc\n"]
    server.reply(answer, times=2)

    run(["chat", "-q", "hi"])
    piped = capsys.readouterr().out
    monkeypatch.setenv("FORCE_COLOR", "1")
    run(["chat", "-q", "hi"])

    assert piped == "".join(answer)
    assert capsys.readouterr().out == "a]0;title2Jb\tc\n"
    assert printable("a\r\nb\x00\x7f") == "a\nb"


def test_a_reply_without_text_says_so(
    server: LocalOpenRouter, capsys: pytest.CaptureFixture[str]
) -> None:
    """An answer that is elsewhere, or a refusal, is not silence."""
    refusal = completion(None, refusal="I would rather not.")
    server.reply(completion("", message={"images": []})).then(refusal)

    run(["chat", "draw"])
    nothing = capsys.readouterr()
    run(["chat", "draw"])
    refused = capsys.readouterr()

    assert nothing.out == refused.out == ""
    assert nothing.err.startswith(
        "The response contains no text; --json prints all of it.\n"
    )
    assert refused.err.startswith("The model refused: I would rather not.\n")


def test_the_bill_tells_what_is_unusual(
    server: LocalOpenRouter, capsys: pytest.CaptureFixture[str]
) -> None:
    """A cut answer, further attempts and a model nobody names are told."""
    bare = {
        "choices": [{"message": {"content": "Once upon"}, "finish_reason": "length"}]
    }
    server.reply(error_reply(503, retry_after=0.01)).then(json=bare)

    assert run(["chat", "--no-stream", "tell"]) == 0

    retried, bill = capsys.readouterr().err.splitlines()
    assert "attempt 2 of 3" in retried
    assert bill.startswith("unknown model · ")
    assert bill.endswith(" · 2 attempts · finish reason length")


def test_verbose_shows_every_attempt(
    server: LocalOpenRouter, capsys: pytest.CaptureFixture[str]
) -> None:
    """--verbose prints the library's log, and only for this command."""
    run(["chat", "-v", "hi"])
    verbose = capsys.readouterr().err
    run(["chat", "hi"])

    assert "POST 127.0.0.1:" in verbose
    assert "POST" not in capsys.readouterr().err


def test_local_needs_no_key(capsys: pytest.CaptureFixture[str]) -> None:
    """A server is started for the question, and ends with it."""
    assert run(["chat", "--local", "--no-stream", "hi"]) == 0
    assert capsys.readouterr().out.startswith('You wrote: "hi".')


# Where the prompt comes from.


@pytest.mark.parametrize(
    ("words", "stdin", "prompt"),
    [
        ([], b"from a pipe\n", "from a pipe"),
        (["-"], b"from a pipe\r\n", "from a pipe"),
        (["Sum", "up:", "-"], b"a\nb\n", "Sum up:\n\na\nb"),
        (["-", "What is", "that?"], b"  x = 1\n", "  x = 1\n\nWhat is that?"),
        (["no", "stdin"], b"unread", "no stdin"),
        ([], b"\xef\xbb\xbfwith a mark", "with a mark"),
    ],
)
def test_the_prompt_comes_from_words_and_stdin(
    server: LocalOpenRouter,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    stdin: bytes,
    prompt: str,
) -> None:
    """A dash stands for stdin, a paragraph of its own; so does no word at all."""
    pipe_in(monkeypatch, stdin)

    assert run(["chat", *words]) == 0
    assert server.requests[0].prompt == prompt


def test_nothing_to_ask_is_a_usage_error(
    server: LocalOpenRouter,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Neither an empty pipe nor a keyboard is waited for."""
    told = "error: the prompt is empty: pass it as an argument or on stdin.\n"

    assert run(["chat"]) == 2
    assert run(["chat", " "]) == 2
    monkeypatch.setattr("sys.stdin", None)
    assert run(["chat"]) == 2
    assert capsys.readouterr() == ("", told * 3)
    assert server.requests == []


def test_stdin_that_is_no_text_is_a_usage_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A picture is not sent as text."""
    pipe_in(monkeypatch, b"abc\xff\xd8")

    assert run(["chat"]) == 2
    assert capsys.readouterr().err == (
        "error: stdin is not UTF-8 text: invalid byte at position 3.\n"
    )


# Failures.


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


# Help.


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


# Ctrl-C and broken pipes.


class Watched(io.StringIO):
    """An output that tells when a word was written to it."""

    def __init__(self, word: str) -> None:
        super().__init__()
        self.word = word
        self.came = threading.Event()

    def write(self, text: str, /) -> int:
        """Write, and look for the word."""
        count = super().write(text)
        if self.word in text:
            self.came.set()
        return count


@ON_UNIX
def test_ctrl_c_closes_the_stream(
    server: LocalOpenRouter,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The line is ended, the code is 130, and the server sees the socket close."""
    server.reply(["Once ", "upon ", "a time"], stop="silence", stop_after=2)
    shown = Watched("upon")
    monkeypatch.setattr("sys.stdout", shown)
    main_thread = threading.get_ident()

    def press() -> None:
        assert shown.came.wait(10)
        signal.pthread_kill(main_thread, signal.SIGINT)

    thread = threading.Thread(target=press)
    thread.start()
    code = run(["chat", "tell"])

    thread.join()
    server.wait(closed=1)
    assert code == 130
    assert shown.getvalue() == "Once upon \n"
    assert capsys.readouterr().err == "Interrupted.\n"


@ON_UNIX
def test_ctrl_c_at_a_terminal(server: LocalOpenRouter) -> None:
    """A real terminal, a real process, a real signal, with every warning an error."""
    server.reply(["Once ", "upon ", "a time"], stop="silence", stop_after=2)
    leader, follower = os.openpty()
    process = start("chat", "tell", stdin=follower, output=follower)
    os.close(follower)
    shown = b""
    while b"upon" not in shown:
        shown += os.read(leader, 1024)
    process.send_signal(signal.SIGINT)

    assert process.wait(20) == 130
    server.wait(closed=1)
    rest = os.read(leader, 4096)
    os.close(leader)
    plain = re.sub(rb"\x1b\[[\d;]*m", b"", shown + rest)
    assert plain == b"Once upon \r\nInterrupted.\r\n"


@ON_UNIX
def test_a_reader_that_leaves_ends_the_stream(server: LocalOpenRouter) -> None:
    """`| head -c 5` stops the generation, quietly, with the code that shells expect."""
    server.reply(["Once "] * 500, chunk_delay=0.01)
    process = start("chat", "tell")
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.read(5) == "Once "
    process.stdout.close()

    assert process.wait(20) == 141
    server.wait(closed=1)
    assert without_slow_callbacks(process.stderr.read()) == ""
    process.stderr.close()


@ON_UNIX
def test_a_pipe_that_nobody_reads_is_no_failure(
    server: LocalOpenRouter,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Nothing is said of it, and what Python still has to write goes nowhere."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w", encoding="utf-8") as nobody:
        monkeypatch.setattr("sys.stdout", nobody)
        code = run(["chat", "hi"])
        print("more", file=nobody, flush=True)

    assert code == 141
    assert capsys.readouterr() == ("", "")


# Real processes.


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


# The local server.


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def post(url: str, key: str, body: object) -> tuple[int, bytes]:
    request = urllib.request.Request(  # noqa: S310 - a URL of ours
        f"{url}/chat/completions",
        json.dumps(body).encode(),
        {"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=5) as reply:  # noqa: S310
            return reply.status, reply.read()
    except urllib.error.HTTPError as failure:
        with failure:
            return failure.code, failure.read()


@ON_UNIX
@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("quiet", [False, True])
def test_serve_serves_until_it_is_told_to_stop(
    capsys: pytest.CaptureFixture[str], ending: signal.Signals, *, quiet: bool
) -> None:
    """Any client is answered, each request is a line, and Ctrl-C is a good end."""
    port = free_port()
    url = f"http://127.0.0.1:{port}/api/v1"
    message = {"role": "user", "content": "hi"}
    asked = {"model": "a/b", "messages": [message]}
    answers: list[tuple[int, bytes]] = []

    def visit() -> None:
        while True:
            try:
                answers.append(post(url, "sesame", asked))
                break
            except OSError:
                time.sleep(0.01)
        answers.append(post(url, "sesame", {**asked, "stream": True}))
        answers.append(post(url, "sesame", {**asked, "model": "other"}))
        answers.append(post(url, "wrong", asked))
        with socket.create_connection(("127.0.0.1", port)) as client:
            # A request whose body never comes, to a path that would colour the log.
            client.sendall(b"POST /%1b[31m HTTP/1.1\r\nHost: x\r\n")
            client.sendall(b"Content-Length: 9\r\n\r\n")
            time.sleep(0.05)
        time.sleep(0.05)
        os.kill(os.getpid(), ending)

    thread = threading.Thread(target=visit)
    thread.start()
    options = [
        "--key",
        "sesame",
        "--model",
        "a/b",
        "--delay",
        "0.01",
        "--chunk-delay",
        "0",
    ]
    code = run(["serve", "-p", f"{port}", *options, *["--quiet"] * quiet])
    thread.join()

    out, err = capsys.readouterr()
    assert code == 0
    assert out == f"{url}\n"
    assert [status for status, _ in answers] == [200, 200, 400, 401]
    assert answers[1][1].endswith(b"data: [DONE]\n\n")
    assert f"export OPENROUTER_BASE_URL={url}\n" in err
    assert "export OPENROUTER_API_KEY=sesame\n" in err
    assert re.search(
        r"\nStopped after \d requests; OpenRouter would have charged \$0.0000\d\d\.\n$",
        err,
    )
    lines = [re.sub(r"[\d:]{8}|[\d.]+ m?s", "*", line) for line in err.splitlines()]
    logged = [line for line in lines if line.startswith("*")]
    if quiet:
        assert logged == []
    else:
        assert logged == [
            "*  200  POST /api/v1/chat/completions  a/b  *",
            f"*  200  POST /api/v1/chat/completions  a/b  {count_chunks(answers)}  *",
            "*  400  POST /api/v1/chat/completions  other  *",
            "*  401  POST /api/v1/chat/completions  a/b  *",
            "*  ---  POST /[31m  *  client disconnected",
        ]


def count_chunks(answers: Sequence[tuple[int, bytes]]) -> str:
    return f"{answers[1][1].count(b'data: {')} chunks"


@ON_UNIX
def test_serve_tells_of_clients_that_go_away() -> None:
    """A process of its own: the URL is all of stdout, and a lost client is a line."""
    process = start("serve", "--port", "0", "--chunk-delay", "30")
    assert process.stdout is not None
    url = process.stdout.readline().strip()

    async def leave() -> None:
        asked: Any = {"model": "m", "messages": [UserMessage("hi")]}
        async with (
            AsyncOpenRouter("key", base_url=url) as client,
            client.chat.send(asked, stream=True),
        ):
            pass

    asyncio.run(leave())
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)

    out, err = process.communicate(timeout=20)
    assert process.returncode == 0
    assert out == ""
    assert re.search(r"  ---  POST \S+  m  \d chunks?  .*  client disconnected\n", err)
    assert "Traceback" not in err
    assert "Warning" not in err


def test_a_taken_port_is_told(
    server: LocalOpenRouter, capsys: pytest.CaptureFixture[str]
) -> None:
    """The line says how to get a free one."""
    port = server.url.split(":")[2].partition("/")[0]

    assert run(["serve", "--port", port]) == 1
    assert capsys.readouterr().err == (
        f"error: cannot listen on 127.0.0.1:{port}: Address already in use. "
        "--port 0 takes a free port.\n"
    )


def test_a_host_that_is_not_here_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """So is an address that is another machine's, or nobody's."""
    assert run(["serve", "--host", "192.0.2.1"]) == 1
    assert run(["serve", "--host", "no host"]) == 1

    first, second = capsys.readouterr().err.splitlines()
    assert "192.0.2.1" in first
    assert "no host" in second
    assert "--port 0" not in first + second


# The demo.


def test_the_demo_runs_without_a_key(capsys: pytest.CaptureFixture[str]) -> None:
    """As a stranger runs it, piped: plain text, its own server, a table at the end."""
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
    """A terminal sends SIGINT to all its processes: no traceback comes of any."""
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
        urllib.request.urlopen(url, timeout=5)  # noqa: S310 - a URL of ours


def test_the_live_demo_makes_a_few_calls(
    server: LocalOpenRouter,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With --live the same calls go where the environment says, few and short."""
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


def test_the_live_demo_tells_what_failed(
    server: LocalOpenRouter, capsys: pytest.CaptureFixture[str]
) -> None:
    """Calls that fail at the end are counted, and give the exit code."""
    server.reply(error_reply(402), when=CONCURRENT_PROMPT, times=2)

    assert run(["demo", "--live"]) == 5

    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "  2 failed: 402: Insufficient credits." in out


def test_the_backdrop_is_a_process_of_its_own() -> None:
    """It is there inside the block, and gone after it."""
    with run_demo_server() as place:
        status, body = post(
            place.url,
            place.key,
            {
                "model": "openai/gpt-4o-mini",
                "messages": [{"role": "user", "content": HELLO}],
            },
        )

    assert status == 200
    assert b"Hello from your own machine" in body
    with pytest.raises(urllib.error.URLError):
        post(place.url, place.key, {})


def test_the_backdrop_refuses_one_in_forty_at_first() -> None:
    """Every call is answered in the end, and one took two attempts."""
    ours, theirs = multiprocessing.Pipe()
    thread = threading.Thread(target=serve_demo, args=(theirs,))
    thread.start()
    place = ours.recv()
    assert isinstance(place, ServerAddress)

    async def ask() -> list[tuple[str, int]]:
        async with AsyncOpenRouter(place.key, base_url=place.url) as client:
            replies = await asyncio.gather(
                *(
                    client.chat.send(
                        model="openai/gpt-4o-mini",
                        messages=[UserMessage(f"{CONCURRENT_PROMPT} {number}")],
                    )
                    for number in range(40)
                )
            )
        return [(reply.text, len(reply.http.attempts)) for reply in replies]

    answers = asyncio.run(ask())
    ours.close()
    thread.join()
    theirs.close()

    assert sorted(answers) == [("Yes.", 1)] * 39 + [("Yes.", 2)]


def test_a_backdrop_that_does_not_start_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whether it says why or dies, the demo ends with a line."""
    ours, theirs = multiprocessing.Pipe()
    with ours, theirs:
        serve_demo(theirs, "192.0.2.1")

        assert "192.0.2.1" in ours.recv()
    monkeypatch.setattr("openrouter_async.cli.demo_server.serve_demo", os.getpid)
    with pytest.raises(CommandError, match="did not start: its process ended"):
        run_demo_server().__enter__()


# Figures.


def test_figures_are_short() -> None:
    """Times and costs have as many digits as anybody reads."""
    assert [seconds(value) for value in (None, 0.0042, 1.5)] == ["", "4 ms", "1.50 s"]
    assert [dollars(value) for value in (None, 0, 1.5, 0.25, 0.0000187)] == [
        "",
        "free",
        "$1.50",
        "$0.25",
        "$0.000019",
    ]
    assert Step("none", [], 0.0).row() == ("none", "0", "0", "", "", "", "", "")
