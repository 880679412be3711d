"""
The pytest plugin: the local server and a client of it, as fixtures.

Ask for it by name, in `conftest.py`:

    pytest_plugins = ["openrouter_async.testing.pytest_plugin"]
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from .server import LocalOpenRouter

if TYPE_CHECKING:
    from openrouter_async import AsyncOpenRouter


@pytest.fixture
def openrouter_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalOpenRouter]:
    """
    A local server on a thread of its own, one for each test.

    `OPENROUTER_BASE_URL` and `OPENROUTER_API_KEY` lead to it, so that an application
    that makes its own client is tested unchanged.
    """
    with LocalOpenRouter() as server:
        monkeypatch.setenv("OPENROUTER_BASE_URL", server.url)
        monkeypatch.setenv("OPENROUTER_API_KEY", server.api_key)
        yield server


@pytest.fixture
def openrouter_client(openrouter_server: LocalOpenRouter) -> "AsyncOpenRouter":
    """A client of `openrouter_server`; its pool closes with the loop it is used on."""
    # Imported here: who only wants the server does not load the client.
    from openrouter_async import AsyncOpenRouter  # noqa: PLC0415

    return AsyncOpenRouter(
        api_key=openrouter_server.api_key, base_url=openrouter_server.url
    )
