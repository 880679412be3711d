"""Clients for the commands: of OpenRouter or of a local server."""

import os
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

from openrouter_async.client import AsyncOpenRouter
from openrouter_async.config import Timeouts
from openrouter_async.protocol.call import CallRecord
from openrouter_async.testing import LocalOpenRouter

from .exit_codes import CommandError, ExitCode

# Seconds between the chunks of a local server: about the speed of a fast model.
CHUNK_DELAY = 0.02


def require_key() -> None:
    """
    Check that there is an API key, before anything is sent.

    Raises:
        CommandError: If OPENROUTER_API_KEY is not set.
    """
    if not os.environ.get("OPENROUTER_API_KEY", "").strip():
        raise CommandError(
            "no API key. Set OPENROUTER_API_KEY (create a key at "
            "https://openrouter.ai/settings/keys), or use --local, which needs none.",
            ExitCode.ACCOUNT,
        )


def local_client(
    url: str, key: str, on_call: Callable[[CallRecord], object] | None = None
) -> AsyncOpenRouter:
    """Return a client of a local server, which is never behind a proxy."""
    return AsyncOpenRouter(key, base_url=url, env_proxies=False, on_call=on_call)


@asynccontextmanager
async def connect(
    *,
    local: bool,
    timeout: float | None,  # noqa: ASYNC109 - an option of the client
) -> AsyncGenerator[AsyncOpenRouter]:
    """
    Open a client.

    Args:
        local: If True, start a local server and connect to it.
        timeout: Time limit of a call in seconds, including retries; None: no limit.

    Raises:
        CommandError: If OPENROUTER_API_KEY is needed and not set.
    """
    if local:
        async with (
            LocalOpenRouter(chunk_delay=CHUNK_DELAY) as server,
            local_client(server.url, server.api_key) as client,
        ):
            yield client.with_options(timeouts=timeout)
    else:
        require_key()
        async with AsyncOpenRouter(timeouts=Timeouts(total=timeout)) as client:
            yield client
