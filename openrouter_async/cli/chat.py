"""`openrouter-async chat`: one question, one answer."""

import json
import sys
from collections.abc import Sequence

from attrs import frozen

from openrouter_async.client import AsyncOpenRouter
from openrouter_async.types import (
    ChatGenerationParams,
    ChatResponse,
    SystemMessage,
    UserMessage,
)

from .connect import connect
from .console import Speaker, Terminal, printable
from .exit_codes import CommandError, ExitCode
from .formatting import bill
from .signals import run_async

STDIN = "-"


@frozen
class ChatArgs:
    """
    What is asked, and how the answer is wanted.

    Attributes:
        words: The prompt; "-" stands for stdin, and so does nothing at all.
        model: The model.
        system: How it is to behave.
        temperature: From 0 to 2.
        max_tokens: The most that it may write.
        effort: How hard it thinks.
        timeout: Seconds for everything.
        stream: Whether the answer is printed as it arrives.
        as_json: Whether the whole reply is printed, as JSON.
        local: Whether a local server answers.
        quiet: Whether only the answer and errors are printed.
    """

    words: Sequence[str]
    model: str
    system: str | None = None
    temperature: float | None = None
    max_tokens: int | None = None
    effort: str | None = None
    timeout: float | None = None
    stream: bool = True
    as_json: bool = False
    local: bool = False
    quiet: bool = False


def ask(question: ChatArgs, screen: Terminal) -> ExitCode:
    """Ask, and print the answer."""
    params = _params(question, read_prompt(question.words))
    run_async(_ask(question, params, screen))
    return ExitCode.OK


def read_prompt(words: Sequence[str]) -> str:
    """
    Return the prompt: the words, with stdin as a paragraph in place of each "-".

    Raises:
        CommandError: There is nothing to ask, or stdin is no text.
    """
    piped = not words and sys.stdin is not None and not sys.stdin.isatty()
    parts = (STDIN,) if piped else words
    text = ""
    for part in parts:
        if part == STDIN:
            text += f"\n\n{_read_stdin()}\n\n"
        else:
            text += part if text[-1:] in ("", "\n") else f" {part}"
    if not text.strip():
        raise CommandError(
            "nothing to ask: give a prompt, or pipe one in.", ExitCode.USAGE
        )
    return text.strip("\n")


def _read_stdin() -> str:
    try:
        data = sys.stdin.buffer.read()
        return data.decode("utf-8-sig").strip("\r\n")
    except UnicodeDecodeError as error:
        raise CommandError(
            f"stdin is no UTF-8 text (byte {error.start}).", ExitCode.USAGE
        ) from error


def _params(question: ChatArgs, prompt: str) -> ChatGenerationParams:
    system = [SystemMessage(question.system)] if question.system else []
    return ChatGenerationParams(
        model=question.model,
        messages=[*system, UserMessage(prompt)],
        temperature=question.temperature,
        max_tokens=question.max_tokens,
        reasoning={"effort": question.effort} if question.effort else None,
    )


async def _ask(
    question: ChatArgs, params: ChatGenerationParams, screen: Terminal
) -> None:
    streamed = question.stream and not question.as_json
    async with connect(local=question.local, timeout=question.timeout) as client:
        if streamed:
            reply = await _stream(client, params, screen, quiet=question.quiet)
        else:
            reply = await client.chat.send(params)
    if question.as_json:
        _print_json(reply, screen)
    elif not streamed:
        _print_whole(reply, screen, quiet=question.quiet)
    if not question.quiet:
        screen.note(bill(reply, streamed=streamed))


async def _stream(
    client: AsyncOpenRouter,
    params: ChatGenerationParams,
    screen: Terminal,
    *,
    quiet: bool,
) -> ChatResponse:
    speaker = Speaker(screen)
    try:
        async with client.chat.send(params, stream=True) as stream:
            async for chunk in stream:
                if not quiet:
                    speaker.think(chunk.reasoning)
                speaker.speak(chunk.text)
    finally:
        speaker.end()
    _mention_rest(stream.response, screen)
    return stream.response


def _print_whole(reply: ChatResponse, screen: Terminal, *, quiet: bool) -> None:
    speaker = Speaker(screen)
    if not quiet:
        speaker.think(reply.reasoning)
    speaker.speak(reply.text)
    speaker.end()
    _mention_rest(reply, screen)


def _mention_rest(reply: ChatResponse, screen: Terminal) -> None:
    """Say so where the answer is not in its text."""
    if reply.message.refusal:
        screen.note(f"refused: {reply.message.refusal}", "yellow")
    elif not reply.text:
        screen.note("no text in the reply; --json prints all of it.", "yellow")


def _print_json(reply: ChatResponse, screen: Terminal) -> None:
    """Print what came: indented for people, one line for programs."""
    indent = 2 if screen.out.is_terminal else None
    try:
        text = json.dumps(reply.raw, ensure_ascii=False, indent=indent)
    except RecursionError:
        deep = (
            "The reply is nested too deeply to be printed; without --json its text is."
        )
        raise CommandError(deep, ExitCode.API) from None
    try:
        text.encode(sys.stdout.encoding)
    except UnicodeEncodeError:
        text = json.dumps(reply.raw, indent=indent)
    sys.stdout.write(printable(text) + "\n")
    sys.stdout.flush()
