import io
import json
import os
import re
import signal
import threading

import pytest
from commands import ON_UNIX, start
from support import without_slow_callbacks

from openrouter_async.cli.app import run
from openrouter_async.cli.console import printable
from openrouter_async.testing import (
    LocalOpenRouter,
    completion,
    error_reply,
)


def pipe_in(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))


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
