"""`openrouter-async serve`: the local server, for any client."""

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
from .formatting import seconds

_FAILED = 400


@frozen
class ServeArgs:
    """
    How the local server runs.

    Attributes:
        host: Where it listens.
        port: 0 takes a free one.
        paced: Seconds between the chunks of a stream.
        delay: Seconds before each answer.
        keys: The keys that it accepts; none: any.
        models: The models that it knows; none: any.
        quiet: Whether requests are not logged.
    """

    host: str
    port: int
    paced: float = 0
    delay: float = 0
    keys: Sequence[str] = ()
    models: Sequence[str] = ()
    quiet: bool = False


def serve(service: ServeArgs, screen: Terminal) -> ExitCode:
    """Serve until SIGINT or SIGTERM."""
    # Where the loop can not take signals (Windows), Ctrl-C arrives as this.
    with suppress(KeyboardInterrupt):
        asyncio.run(_serve(service, screen))
    return ExitCode.OK


async def _serve(service: ServeArgs, screen: Terminal) -> None:
    server = LocalOpenRouter(
        host=service.host,
        port=service.port,
        keys=service.keys or None,
        models=service.models or None,
        default=Reply(delay=service.delay, chunk_delay=service.paced),
    )
    if not service.quiet:
        server.app.middlewares.append(_log(server, screen))
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    with suppress(NotImplementedError):
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, ended.set)
    async with AsyncExitStack() as stack:
        try:
            await stack.enter_async_context(server)
        except OSError as error:
            raise _refused(service, error) from error
        _announce(server, screen)
        await ended.wait()
    stats = server.stats
    counted = f"{stats.requests} request{'' if stats.requests == 1 else 's'}"
    screen.note(f"Served {counted}, worth ${stats.cost:.6f}.")


def _refused(service: ServeArgs, error: OSError) -> CommandError:
    # asyncio's own words for it are long; those of a name that is unknown are not.
    number = error.errno or 0
    why = os.strerror(number) if number > 0 else error.strerror
    hint = " --port 0 takes a free one." if number == errno.EADDRINUSE else ""
    return CommandError(
        f"can not listen on {service.host}:{service.port}: {why}.{hint}",
        ExitCode.OTHER,
    )


def _announce(server: LocalOpenRouter, screen: Terminal) -> None:
    """Print the URL alone on stdout, where a program can read it."""
    screen.out.print(server.url, style="bold", soft_wrap=True)
    screen.out.file.flush()
    screen.err.print(
        f"""
A local OpenRouter: it answers without a model, and bills nothing. Ctrl-C ends it.

  openrouter_async, and all that read OpenRouter's variables:
    export OPENROUTER_BASE_URL={server.url}
    export OPENROUTER_API_KEY={server.api_key}

  Clients of OpenAI's API:
    export OPENAI_BASE_URL={server.url}
    export OPENAI_API_KEY={server.api_key}
""",
        soft_wrap=True,
    )


def _log(server: LocalOpenRouter, screen: Terminal) -> Middleware:
    @web.middleware
    async def log(request: web.Request, handler: Handler) -> web.StreamResponse:
        began = time.monotonic()
        status: int | None = None
        try:
            response = await handler(request)
            status = response.status
            return response
        finally:
            seen = _find(server, request)
            took = time.monotonic() - began
            screen.err.print(_line(request, status, seen, took), soft_wrap=True)

    return log


def _find(server: LocalOpenRouter, request: web.Request) -> SeenRequest | None:
    # The server keeps the request's own headers; nothing else tells two alike apart.
    known = reversed(server.requests)
    return next((seen for seen in known if seen.headers is request.headers), None)


def _line(
    request: web.Request, status: int | None, seen: SeenRequest | None, took: float
) -> Text:
    """Write a request and its end; a status of None: the client went away."""
    style = "yellow" if status is None else "red" if status >= _FAILED else "green"
    facts = [f"{request.method} {one_line(request.path)}"]
    if seen is not None and seen.model:
        facts.append(one_line(seen.model))
    if seen is not None and seen.stream:
        facts.append(f"{seen.chunks} chunks")
    facts.append(seconds(took))
    if status is None:
        facts.append("the client went away")
    return Text.assemble(
        (time.strftime("%H:%M:%S"), "dim"),
        "  ",
        (f"{status or '---'}", style),
        "  ",
        "  ".join(facts),
    )
