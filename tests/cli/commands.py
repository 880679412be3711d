"""Running commands in processes, and sending requests to the servers they start."""

import json
import os
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Runs a `batch` command in this process: the fixture `run`.
Run = Callable[..., "subprocess.CompletedProcess[str]"]
ON_UNIX = pytest.mark.skipif(os.name == "nt", reason="needs Unix signals")


def start(
    *arguments: object,
    stdin: int = subprocess.DEVNULL,
    output: int = subprocess.PIPE,
    own_group: bool = False,
    debug: bool = True,
) -> "subprocess.Popen[str]":
    """
    Start a command in another process, with warnings as errors.

    Args:
        arguments: Arguments of `openrouter-async`.
        stdin: Input, as for `Popen`.
        output: stdout and stderr, as for `Popen`.
        own_group: If True, start a process group, which can be sent signals.
        debug: If True, use Python's development mode; asyncio's debug mode, which
            belongs to it, is slow.
    """
    environment = dict(os.environ)
    # The package under test, whatever the working directory is.
    paths = (str(ROOT), environment.get("PYTHONPATH", ""))
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    python = (sys.executable, "-W", "error", *("-X", "dev") * debug)
    return subprocess.Popen(
        (*python, "-m", "openrouter_async", *map(str, arguments)),
        env=environment,
        stdin=stdin,
        stdout=output,
        stderr=output,
        start_new_session=own_group,
        encoding="utf-8",
    )


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def post(url: str, key: str, body: object) -> tuple[int, bytes]:
    """Send a chat request and return the status and the body of the response."""
    request = urllib.request.Request(  # noqa: S310 - a URL of this machine
        f"{url}/chat/completions",
        json.dumps(body).encode(),
        {"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=5) as response:  # noqa: S310 - as above
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()
