"""
A pytest plugin: fixtures for the local server and for a client of it.

Enable it by name in `conftest.py`:

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
    Run a local server for one test, on a thread of its own.

    `OPENROUTER_BASE_URL` and `OPENROUTER_API_KEY` are set for the test, so that an
    application that creates its own client can be tested unchanged.
    """
    with LocalOpenRouter() as server:
        monkeypatch.setenv("OPENROUTER_BASE_URL", server.url)
        monkeypatch.setenv("OPENROUTER_API_KEY", server.api_key)
        yield server


@pytest.fixture
def openrouter_client(openrouter_server: LocalOpenRouter) -> "AsyncOpenRouter":
    """
    Return a client of `openrouter_server`.

    Its connections are closed with the event loop of the test.
    """
    # Imported here, so that tests of another client do not load this one.
    from openrouter_async import AsyncOpenRouter  # noqa: PLC0415 - see above

    return AsyncOpenRouter(
        api_key=openrouter_server.api_key, base_url=openrouter_server.url
    )
