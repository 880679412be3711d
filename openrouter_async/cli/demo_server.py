"""The demo's local server; in its own process, so that it does not slow the client."""

import asyncio
import multiprocessing
import random
import signal
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection

from attrs import frozen

from openrouter_async.testing import (
    LocalOpenRouter,
    Reply,
    SeenRequest,
    error_reply,
)

from .exit_codes import CommandError, ExitCode

MODELS = ("openai/gpt-4o-mini", "anthropic/claude-haiku-4.5", "google/gemini-2.5-flash")
HELLO = "Say hello in one sentence."
WHY_STREAM = "Why does a streamed response feel faster?"
CONCURRENT_PROMPT = "Quick question"
"""The prompts of the concurrent calls begin with this."""

_TEXTS = {
    HELLO: (
        "Hello from your own machine: this is a real server on a real socket, but "
        "there is no model behind it."
    ),
    WHY_STREAM: (
        "Because you can read its beginning while the rest is still being generated. "
        "The client parses each chunk as soon as it arrives. If you leave the block, "
        "it closes the connection, and OpenRouter stops the generation."
    ),
}

# Seconds: slow enough to follow a stream by eye.
_CHUNK_DELAY = 0.025
# Seconds: the range of response times of the concurrent calls.
_FASTEST, _SLOWEST = 0.15, 0.6
# Of this number of concurrent calls, one gets a 429 at first, with this Retry-After in
# seconds.
_REJECTED_EVERY = 40
_RETRY_AFTER = 0.3


@frozen
class ServerAddress:
    """
    Address of the demo's server.

    Attributes:
        url: Base URL.
        key: An API key that it accepts.
    """

    url: str
    key: str


@contextmanager
def run_demo_server() -> Generator[ServerAddress]:
    """
    Run the server in another process until the block is left.

    Raises:
        CommandError: If the server does not start.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=serve_demo, args=(theirs,), daemon=True)
    # Ctrl-C sends SIGINT to all processes of a terminal. One that is started while the
    # signal is ignored keeps ignoring it.
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        process.start()
    finally:
        signal.signal(signal.SIGINT, previous)
    theirs.close()
    try:
        yield _receive_address(ours)
    finally:
        ours.close()
        process.terminate()
        process.join()
        process.close()


def _receive_address(pipe: "Connection[object, object]") -> ServerAddress:
    try:
        message = pipe.recv()
    except EOFError:
        message = "its process ended"
    if isinstance(message, ServerAddress):
        return message
    raise CommandError(f"the local server did not start: {message}.", ExitCode.OTHER)


def serve_demo(pipe: "Connection[object, object]", host: str = "127.0.0.1") -> None:
    """
    Run the server, send its address (or an error message) and wait for the pipe's end.

    The pipe also ends if the parent process is killed and cannot stop this one.
    """
    try:
        with LocalOpenRouter(
            host=host, models=MODELS, chunk_delay=_CHUNK_DELAY
        ) as server:
            for prompt, text in _TEXTS.items():
                server.reply(text, when=prompt, times=None, chunk_delay=_CHUNK_DELAY)
            server.reply(_busy_reply(), when=CONCURRENT_PROMPT, times=None)
            pipe.send(ServerAddress(server.url, server.api_key))
            with suppress(EOFError, OSError):
                pipe.recv()
    except OSError as error:
        pipe.send(str(error))


def _busy_reply() -> Callable[[SeenRequest], Awaitable[str | Reply]]:
    """Return a reply function that is slow, and rejects a few prompts at first."""
    known: set[str] = set()

    async def reply(seen: SeenRequest) -> str | Reply:
        is_new = seen.prompt not in known
        known.add(seen.prompt)
        if is_new and len(known) % _REJECTED_EVERY == 0:
            return error_reply(429, "Rate limit exceeded", retry_after=_RETRY_AFTER)
        # Seeded, so that each run of the demo takes the same time.
        generator = random.Random(seen.prompt)  # noqa: S311 - not for secrets
        await asyncio.sleep(generator.uniform(_FASTEST, _SLOWEST))
        return "Yes."

    return reply
