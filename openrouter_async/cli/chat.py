"""`openrouter-async chat`: send one prompt and print the response."""

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
from .console import ResponsePrinter, Terminal, printable
from .exit_codes import CommandError, ExitCode, check_text
from .formatting import summary
from .signals import run_async

STDIN = "-"


@frozen
class ChatArgs:
    """
    Arguments of `chat`.

    Attributes:
        prompt: Parts of the prompt; "-" inserts stdin, and so does an empty prompt.
        model: Model id.
        system: System message.
        temperature: Sampling temperature, from 0 to 2.
        max_tokens: Maximum number of output tokens.
        effort: Reasoning effort.
        timeout: Time limit of the call in seconds, including retries.
        stream: If True, print the text as it arrives.
        as_json: If True, print the whole response as JSON; it is not streamed.
        local: If True, use a local server.
        quiet: If True, print only the text and errors.
    """

    prompt: Sequence[str]
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


def chat(args: ChatArgs, terminal: Terminal) -> ExitCode:
    """
    Send the prompt and print the response.

    Raises:
        CommandError: If there is no prompt or no API key.
        OpenRouterError: If the call fails.
    """
    terminal.require_stdout()
    check_text(*args.prompt, args.system, args.model)
    params = _params(args, read_prompt(args.prompt))
    run_async(_chat(args, params, terminal))
    return ExitCode.OK


def read_prompt(parts: Sequence[str]) -> str:
    """
    Join the parts of a prompt with spaces.

    Each "-" is replaced by stdin, as a paragraph of its own. Without any part, the
    prompt is stdin, unless that is a terminal.

    Raises:
        CommandError: If the prompt is empty, or stdin is not UTF-8.
    """
    if not parts and sys.stdin is not None and not sys.stdin.isatty():
        parts = (STDIN,)
    text = ""
    for part in parts:
        if part == STDIN:
            text += f"\n\n{_read_stdin()}\n\n"
        else:
            text += part if text[-1:] in ("", "\n") else f" {part}"
    if not text.strip():
        raise CommandError(
            "the prompt is empty: pass it as an argument or on stdin.", ExitCode.USAGE
        )
    return text.strip("\n")


def _read_stdin() -> str:
    if sys.stdin is None:
        raise CommandError(
            "stdin is closed: pass the prompt as an argument.", ExitCode.USAGE
        )
    try:
        data = sys.stdin.buffer.read()
        return data.decode("utf-8-sig").strip("\r\n")
    except UnicodeDecodeError as error:
        raise CommandError(
            f"stdin is not UTF-8 text: invalid byte at position {error.start}.",
            ExitCode.USAGE,
        ) from error


def _params(args: ChatArgs, prompt: str) -> ChatGenerationParams:
    system = [SystemMessage(args.system)] if args.system else []
    return ChatGenerationParams(
        model=args.model,
        messages=[*system, UserMessage(prompt)],
        temperature=args.temperature,
        max_tokens=args.max_tokens,
        reasoning={"effort": args.effort} if args.effort else None,
    )


async def _chat(
    args: ChatArgs, params: ChatGenerationParams, terminal: Terminal
) -> None:
    streamed = args.stream and not args.as_json
    async with connect(local=args.local, timeout=args.timeout) as client:
        if streamed:
            response = await _stream(client, params, terminal, quiet=args.quiet)
        else:
            response = await client.chat.send(params)
    if args.as_json:
        _print_json(response, terminal)
    elif not streamed:
        _print_plain(response, terminal, quiet=args.quiet)
    if not args.quiet:
        terminal.note(summary(response, streamed=streamed))


async def _stream(
    client: AsyncOpenRouter,
    params: ChatGenerationParams,
    terminal: Terminal,
    *,
    quiet: bool,
) -> ChatResponse:
    printer = ResponsePrinter(terminal)
    try:
        async with client.chat.send(params, stream=True) as stream:
            async for chunk in stream:
                if not quiet:
                    printer.print_reasoning(chunk.reasoning)
                printer.print_text(chunk.text)
    finally:
        printer.end()
    _note_missing_text(stream.response, terminal)
    return stream.response


def _print_plain(response: ChatResponse, terminal: Terminal, *, quiet: bool) -> None:
    printer = ResponsePrinter(terminal)
    if not quiet:
        printer.print_reasoning(response.reasoning)
    printer.print_text(response.text)
    printer.end()
    _note_missing_text(response, terminal)


def _note_missing_text(response: ChatResponse, terminal: Terminal) -> None:
    if response.message.refusal:
        terminal.note(f"The model refused: {response.message.refusal}", "yellow")
    elif not response.text:
        terminal.note(
            "The response contains no text; --json prints all of it.", "yellow"
        )


def _print_json(response: ChatResponse, terminal: Terminal) -> None:
    """Print the received JSON: indented on a terminal, else on one line."""
    indent = 2 if terminal.shows_text else None
    try:
        text = json.dumps(response.raw, ensure_ascii=False, indent=indent)
    except RecursionError:
        raise CommandError(
            "The response is nested too deeply to be printed as JSON: omit --json to "
            "print its text.",
            ExitCode.API,
        ) from None
    try:
        text.encode(sys.stdout.encoding)
    except UnicodeEncodeError:
        text = json.dumps(response.raw, indent=indent)
    sys.stdout.write(printable(text) + "\n")
    sys.stdout.flush()
