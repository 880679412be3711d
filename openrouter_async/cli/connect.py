"""Which server a command talks to, and with which key."""

import os
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

from openrouter_async.client import AsyncOpenRouter
from openrouter_async.config import Timeouts
from openrouter_async.protocol.call import CallRecord
from openrouter_async.testing import LocalOpenRouter

from .exit_codes import CommandError, ExitCode

# Seconds between the chunks of the local server: about as fast as a quick model.
PACE = 0.02


def require_key() -> None:
    """Find out before anything else that there is no key."""
    if not os.environ.get("OPENROUTER_API_KEY", "").strip():
        raise CommandError(
            "no API key. Set OPENROUTER_API_KEY (keys: "
            "https://openrouter.ai/settings/keys), or try --local, which needs none.",
            ExitCode.ACCOUNT,
        )


def client_of(
    url: str, key: str, on_call: Callable[[CallRecord], object] | None = None
) -> AsyncOpenRouter:
    """Make a client of a local server; no proxy knows the way there."""
    return AsyncOpenRouter(key, base_url=url, env_proxies=False, on_call=on_call)


@asynccontextmanager
async def connect(
    *,
    local: bool,
    timeout: float | None,  # noqa: ASYNC109 - an option of the client
) -> AsyncGenerator[AsyncOpenRouter]:
    """Open a client: of a local server that is started for it, or of OpenRouter."""
    if local:
        async with (
            LocalOpenRouter(chunk_delay=PACE) as server,
            client_of(server.url, server.api_key) as client,
        ):
            yield client.with_options(timeouts=timeout)
    else:
        require_key()
        async with AsyncOpenRouter(timeouts=Timeouts(total=timeout)) as client:
            yield client
