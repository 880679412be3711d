"""Fixtures: a plain environment, a local server that it names, and `batch` commands."""

import io
import os
import subprocess
from collections.abc import Iterator

import pytest
from commands import Run

from openrouter_async.cli import app
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


@pytest.fixture
def run(server: LocalOpenRouter, capsys: pytest.CaptureFixture[str]) -> Run:
    """Return a function that runs a `batch` command in this process."""
    del server

    def run(*arguments: object) -> "subprocess.CompletedProcess[str]":
        code = app.run(["batch", *map(str, arguments)])
        out, err = capsys.readouterr()
        return subprocess.CompletedProcess((), code, out, err)

    return run
