"""The demo's local server, in a process of its own: the client's time is its own."""

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
WHY_STREAM = "Why does a streamed answer feel faster?"
BURST = "Quick question"
"""How the prompts begin that are sent all at once."""

_WORDS = {
    HELLO: (
        "Hello from your own machine: a real server on a real socket, "
        "with no model behind it and no key in front of it."
    ),
    WHY_STREAM: (
        "Because it begins with its first token, not with its last. Each piece is "
        "parsed, typed and handed over the moment it is here; leave the block, and "
        "the socket is closed at once, so nobody pays for words that nobody reads."
    ),
}

# Seconds: a stream that can be followed, answers that take a while, and a delay that
# a refusal names.
_PACE = 0.025
_FASTEST, _SLOWEST = 0.15, 0.6
_REFUSED_FOR = 0.3
# One in so many of the calls at once is refused when it is first sent.
_REFUSED_EVERY = 40


@frozen
class Place:
    """
    Where the server listens.

    Attributes:
        url: Its base URL.
        key: A key that it accepts.
    """

    url: str
    key: str


@contextmanager
def backdrop() -> Generator[Place]:
    """
    Run the server until the block is left.

    Raises:
        CommandError: It does not start.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=play, args=(theirs,), daemon=True)
    # Ctrl-C reaches all processes of a terminal; a child that is born while SIGINT is
    # ignored goes on ignoring it.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        process.start()
    finally:
        signal.signal(signal.SIGINT, before)
    theirs.close()
    try:
        yield _hear(ours)
    finally:
        ours.close()
        process.terminate()
        process.join()
        process.close()


def _hear(pipe: "Connection[object, object]") -> Place:
    try:
        place = pipe.recv()
    except EOFError:
        place = "it ended at once"
    if isinstance(place, Place):
        return place
    raise CommandError(f"the local server did not start: {place}.", ExitCode.OTHER)


def play(pipe: "Connection[object, object]", host: str = "127.0.0.1") -> None:
    """
    Serve, tell where, and end when the other side of the pipe is gone.

    So the server ends too where its parent is killed and can end nothing.
    """
    try:
        with LocalOpenRouter(host=host, models=MODELS, chunk_delay=_PACE) as server:
            for prompt, answer in _WORDS.items():
                server.reply(answer, when=prompt, times=None, chunk_delay=_PACE)
            server.reply(_busy(), when=BURST, times=None)
            pipe.send(Place(server.url, server.api_key))
            with suppress(EOFError, OSError):
                pipe.recv()
    except OSError as failure:
        pipe.send(str(failure))


def _busy() -> Callable[[SeenRequest], Awaitable[str | Reply]]:
    """Answer after a while; refuse a few when they come for the first time."""
    known: set[str] = set()

    async def reply(seen: SeenRequest) -> str | Reply:
        first = seen.prompt not in known
        known.add(seen.prompt)
        if first and len(known) % _REFUSED_EVERY == 0:
            return error_reply(429, "Rate limit exceeded", retry_after=_REFUSED_FOR)
        chance = random.Random(seen.prompt)  # noqa: S311 - the same each time
        await asyncio.sleep(chance.uniform(_FASTEST, _SLOWEST))
        return "Quite."

    return reply
