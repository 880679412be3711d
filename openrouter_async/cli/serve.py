"""`openrouter-async serve`: run the local server."""

import asyncio
import errno
import os
import signal
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from attrs import frozen
from rich.text import Text

from openrouter_async.testing import LocalOpenRouter, Reply, SeenRequest

from .console import Terminal, one_line
from .exit_codes import CommandError, ExitCode
from .formatting import counted, seconds


@frozen
class ServeArgs:
    """
    Arguments of `serve`.

    Attributes:
        host: Address to listen on.
        port: Port to listen on; 0 takes a free one.
        chunk_delay: Seconds between the chunks of a stream.
        delay: Seconds before each response.
        keys: API keys to accept; none: any.
        models: Model ids to accept; none: any.
        quiet: If True, do not log requests.
    """

    host: str
    port: int
    chunk_delay: float = 0
    delay: float = 0
    keys: Sequence[str] = ()
    models: Sequence[str] = ()
    quiet: bool = False


def serve(args: ServeArgs, terminal: Terminal) -> ExitCode:
    """
    Run the server until SIGINT or SIGTERM.

    Raises:
        CommandError: If the server cannot listen on the address.
    """
    # Where the event loop cannot handle signals (Windows), Ctrl-C raises this.
    with suppress(KeyboardInterrupt):
        asyncio.run(_serve(args, terminal))
    return ExitCode.OK


async def _serve(args: ServeArgs, terminal: Terminal) -> None:
    server = LocalOpenRouter(
        host=args.host,
        port=args.port,
        keys=args.keys or None,
        models=args.models or None,
        default=Reply(delay=args.delay, chunk_delay=args.chunk_delay),
    )
    if not args.quiet:
        server.app.middlewares.append(_request_log(server, terminal))
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    with suppress(NotImplementedError):
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stopped.set)
    async with AsyncExitStack() as stack:
        try:
            await stack.enter_async_context(server)
        except OSError as error:
            raise listen_error(args.host, args.port, error) from error
        _print_start(server, terminal)
        await stopped.wait()
    stats = server.stats
    terminal.note(
        f"Stopped after {counted(stats.requests, 'request')}; OpenRouter would have "
        f"charged ${stats.cost:.6f}."
    )


def listen_error(host: str, port: int, error: OSError) -> CommandError:
    """Return the error of a command that cannot listen on an address."""
    # asyncio's message for an error number is long; that for an unknown host is not.
    number = error.errno or 0
    reason = os.strerror(number) if number > 0 else error.strerror
    hint = " --port 0 takes a free port." if number == errno.EADDRINUSE else ""
    return CommandError(
        f"cannot listen on {host}:{port}: {reason}.{hint}", ExitCode.OTHER
    )


def _print_start(server: LocalOpenRouter, terminal: Terminal) -> None:
    # The URL is all that goes to stdout, so that a program can read it.
    terminal.out.print(server.url, style="bold", soft_wrap=True)
    terminal.out.file.flush()
    terminal.err.print(
        f"""
Local OpenRouter server: it responds without a model and charges nothing.
Press Ctrl-C to stop it.

For openrouter_async and other clients of OpenRouter:
  export OPENROUTER_BASE_URL={server.url}
  export OPENROUTER_API_KEY={server.api_key}

For clients of OpenAI's API:
  export OPENAI_BASE_URL={server.url}
  export OPENAI_API_KEY={server.api_key}
""",
        soft_wrap=True,
    )


def _request_log(server: LocalOpenRouter, terminal: Terminal) -> Middleware:
    @web.middleware
    async def log(request: web.Request, handler: Handler) -> web.StreamResponse:
        started = time.monotonic()
        status: int | None = None
        try:
            response = await handler(request)
            status = response.status
            return response
        finally:
            seen = _find_seen(server, request)
            line = _log_line(request, status, seen, time.monotonic() - started)
            terminal.err.print(line, soft_wrap=True)

    return log


def _find_seen(server: LocalOpenRouter, request: web.Request) -> SeenRequest | None:
    # The headers are the same object, which tells apart two requests that are equal.
    recent = reversed(server.requests)
    return next((seen for seen in recent if seen.headers is request.headers), None)


def _log_line(
    request: web.Request,
    status: int | None,
    seen: SeenRequest | None,
    duration: float,
) -> Text:
    """Format the log line of a request; a status of None: the client disconnected."""
    style = "green"
    if status is None:
        style = "yellow"
    elif status >= 400:
        style = "red"
    facts = [f"{request.method} {one_line(request.path)}"]
    if seen is not None and seen.model:
        facts.append(one_line(seen.model))
    if seen is not None and seen.stream:
        facts.append(counted(seen.chunks, "chunk"))
    facts.append(seconds(duration))
    if status is None:
        facts.append("client disconnected")
    return Text.assemble(
        (time.strftime("%H:%M:%S"), "dim"),
        "  ",
        (f"{status or '---'}", style),
        "  ",
        "  ".join(facts),
    )
