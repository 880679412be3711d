import io
import json
import os
import re
import signal
import sys
import threading

import pytest
from commands import ON_UNIX, start
from support import without_slow_callbacks

from openrouter_async.cli.app import run
from openrouter_async.cli.console import printable
from openrouter_async.testing import LocalOpenRouter, completion, error_reply


def set_stdin(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))


def test_chat_streams_text_to_stdout_and_summary_to_stderr(
    server: LocalOpenRouter, capsys: pytest.CaptureFixture[str]
) -> None:
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


def test_chat_options_become_request_fields(server: LocalOpenRouter) -> None:
    arguments = ["-t", "0.5", "--max-tokens", "7", "--reasoning", "low", "--no-stream"]

    assert run(["chat", "hi", *arguments]) == 0

    (seen,) = server.requests
    assert seen.fields["temperature"] == 0.5
    assert seen.fields["max_tokens"] == 7
    assert seen.fields["reasoning"] == {"effort": "low"}
    assert not seen.stream


@pytest.mark.parametrize("option", ["--stream", "--no-stream"])
def test_reasoning_goes_to_stderr(
    server: LocalOpenRouter, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    server.reply(completion("Four.", reasoning="Two and two."))

    assert run(["chat", "2 + 2?", option]) == 0

    out, err = capsys.readouterr()
    assert out == "Four.\n"
    assert err.startswith("Two and two.\n\nopenai/gpt-4o-mini via")


@pytest.mark.parametrize("option", ["--stream", "--no-stream"])
def test_quiet_prints_only_the_text(
    server: LocalOpenRouter, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    server.reply(completion("Four.\n", reasoning="Two and two."))

    assert run(["chat", "-q", "2 + 2?", option]) == 0
    assert capsys.readouterr() == ("Four.\n", "")


def test_json_prints_the_received_body_on_one_line(
    server: LocalOpenRouter, capsys: pytest.CaptureFixture[str]
) -> None:
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
    server.reply(json=completion("Hi"), times=None)
    # It gives colours to a pipe, but does not make it a terminal.
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert run(["chat", "--json", "hi"]) == 0
    assert capsys.readouterr().out.startswith('{"id": ')

    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert run(["chat", "--json", "hi"]) == 0
    assert capsys.readouterr().out.startswith('{\n  "id": ')


def test_json_escapes_what_stdout_cannot_encode(
    server: LocalOpenRouter, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = completion("¿Qué?")
    server.reply(json=body)
    stdout = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(stdout, "ascii"))

    assert run(["chat", "--json", "hi"]) == 0
    assert json.loads(stdout.getvalue()) == body


def test_json_reports_a_response_that_is_nested_too_deeply(
    server: LocalOpenRouter, capsys: pytest.CaptureFixture[str]
) -> None:
    """Some versions of Python print it; none shows a traceback."""
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


def test_text_that_cannot_be_encoded_is_replaced(
    server: LocalOpenRouter, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.reply(["Hi \ud83d", "!"])
    stdout = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(stdout, "utf-8"))

    assert run(["chat", "hi"]) == 0
    assert stdout.getvalue().startswith(b"Hi ")
    assert stdout.getvalue().endswith(b"!\n")


def test_control_characters_are_removed_on_a_terminal_only(
    server: LocalOpenRouter,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    texts = ["a\x1b]0;", "title\x07\x9b2Jb\tc\n"]
    server.reply(texts, times=2)

    monkeypatch.setenv("FORCE_COLOR", "1")
    run(["chat", "-q", "hi"])
    piped = capsys.readouterr().out
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    run(["chat", "-q", "hi"])

    assert piped == "".join(texts)
    assert capsys.readouterr().out == "a]0;title2Jb\tc\n"
    assert printable("a\r\nb\x00\x7f") == "a\nb"


def test_response_without_text_prints_a_note(
    server: LocalOpenRouter, capsys: pytest.CaptureFixture[str]
) -> None:
    refusal = completion(None, refusal="I would rather not.")
    server.reply(completion("", message={"images": []})).then(refusal)

    run(["chat", "draw"])
    no_text = capsys.readouterr()
    run(["chat", "draw"])
    refused = capsys.readouterr()

    assert no_text.out == refused.out == ""
    assert no_text.err.startswith(
        "The response contains no text; --json prints all of it.\n"
    )
    assert refused.err.startswith("The model refused: I would rather not.\n")


def test_summary_shows_attempts_and_an_unusual_finish_reason(
    server: LocalOpenRouter, capsys: pytest.CaptureFixture[str]
) -> None:
    body = {
        "choices": [{"message": {"content": "Once upon"}, "finish_reason": "length"}]
    }
    server.reply(error_reply(503, retry_after=0.01)).then(json=body)

    assert run(["chat", "--no-stream", "tell"]) == 0

    retry, summary = capsys.readouterr().err.splitlines()
    assert "attempt 2 of 3" in retry
    assert summary.startswith("unknown model · ")
    assert summary.endswith(" · 2 attempts · finish reason length")


def test_verbose_logs_every_attempt(
    server: LocalOpenRouter, capsys: pytest.CaptureFixture[str]
) -> None:
    run(["chat", "-v", "hi"])
    verbose = capsys.readouterr().err
    run(["chat", "hi"])

    assert "POST 127.0.0.1:" in verbose
    assert "POST" not in capsys.readouterr().err


def test_local_needs_no_key(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["chat", "--local", "--no-stream", "hi"]) == 0
    assert capsys.readouterr().out.startswith('You wrote: "hi".')


@pytest.mark.parametrize(
    ("arguments", "stdin", "prompt"),
    [
        ([], b"from a pipe\n", "from a pipe"),
        (["-"], b"from a pipe\r\n", "from a pipe"),
        (["Sum", "up:", "-"], b"a\nb\n", "Sum up:\n\na\nb"),
        (["-", "What is", "that?"], b"  x = 1\n", "  x = 1\n\nWhat is that?"),
        (["no", "stdin"], b"unread", "no stdin"),
        ([], b"\xef\xbb\xbfwith a byte order mark", "with a byte order mark"),
    ],
)
def test_prompt_is_made_of_arguments_and_stdin(
    server: LocalOpenRouter,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    stdin: bytes,
    prompt: str,
) -> None:
    set_stdin(monkeypatch, stdin)

    assert run(["chat", *arguments]) == 0
    assert server.requests[0].prompt == prompt


def test_empty_prompt_is_a_usage_error(
    server: LocalOpenRouter,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    message = "error: the prompt is empty: pass it as an argument or on stdin.\n"

    assert run(["chat"]) == 2
    assert run(["chat", " "]) == 2
    monkeypatch.setattr("sys.stdin", None)
    assert run(["chat"]) == 2
    assert capsys.readouterr() == ("", message * 3)
    assert server.requests == []


def test_stdin_that_is_not_utf_8_is_a_usage_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    set_stdin(monkeypatch, b"abc\xff\xd8")

    assert run(["chat"]) == 2
    assert capsys.readouterr().err == (
        "error: stdin is not UTF-8 text: invalid byte at position 3.\n"
    )


class WatchedOutput(io.StringIO):
    """An output with an event that is set once it contains a text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text
        self.found = threading.Event()

    def write(self, text: str, /) -> int:
        """Write, and look for the text."""
        count = super().write(text)
        if self.text in text:
            self.found.set()
        return count


@ON_UNIX
def test_ctrl_c_closes_the_stream(
    server: LocalOpenRouter,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    server.reply(["Once ", "upon ", "a time"], stop="silence", stop_after=2)
    output = WatchedOutput("upon")
    monkeypatch.setattr("sys.stdout", output)
    main_thread = threading.get_ident()

    def press_ctrl_c() -> None:
        assert output.found.wait(10)
        signal.pthread_kill(main_thread, signal.SIGINT)

    thread = threading.Thread(target=press_ctrl_c)
    thread.start()
    code = run(["chat", "tell"])

    thread.join()
    server.wait(closed=1)
    assert code == 130
    assert output.getvalue() == "Once upon \n"
    assert capsys.readouterr().err == "Interrupted.\n"


@ON_UNIX
def test_ctrl_c_on_a_terminal_prints_no_traceback(server: LocalOpenRouter) -> None:
    server.reply(["Once ", "upon ", "a time"], stop="silence", stop_after=2)
    leader, follower = os.openpty()
    process = start("chat", "tell", stdin=follower, output=follower)
    os.close(follower)
    output = b""
    while b"upon" not in output:
        output += os.read(leader, 1024)
    process.send_signal(signal.SIGINT)

    assert process.wait(20) == 130
    server.wait(closed=1)
    rest = os.read(leader, 4096)
    os.close(leader)
    plain = re.sub(r"\x1b\[[\d;]*m", "", (output + rest).decode()).replace("\r\n", "\n")
    assert without_slow_callbacks(plain) == "Once upon \nInterrupted.\n"


@ON_UNIX
def test_closed_output_pipe_ends_the_stream(server: LocalOpenRouter) -> None:
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
def test_broken_pipe_is_not_reported(
    server: LocalOpenRouter,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w", encoding="utf-8") as unread:
        monkeypatch.setattr("sys.stdout", unread)
        code = run(["chat", "hi"])
        print("more", file=unread, flush=True)

    assert code == 141
    assert capsys.readouterr() == ("", "")
