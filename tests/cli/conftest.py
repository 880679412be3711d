"""Fixtures: a plain environment, and a local server that the environment names."""

import io
import os
from collections.abc import Iterator

import pytest

from openrouter_async.testing import LocalOpenRouter


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the settings of this machine's terminal and account, and empty stdin."""
    for name in list(os.environ):
        if name.startswith("OPENROUTER_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    for name in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"")))


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalOpenRouter]:
    """Run a server that the commands of the test use without further options."""
    with LocalOpenRouter() as server:
        monkeypatch.setenv("OPENROUTER_BASE_URL", server.url)
        monkeypatch.setenv("OPENROUTER_API_KEY", server.api_key)
        yield server
