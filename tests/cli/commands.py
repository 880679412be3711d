"""Running commands in processes, and talking to the servers that they start."""

import json
import os
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


ON_UNIX = pytest.mark.skipif(os.name == "nt", reason="Unix signals and terminals")


def start(
    *arguments: str,
    stdin: int = subprocess.DEVNULL,
    output: int = subprocess.PIPE,
    own_group: bool = False,
    debug: bool = True,
) -> "subprocess.Popen[str]":
    environment = dict(os.environ)
    # The package under test, from whatever folder the tests are run.
    paths = (str(ROOT), environment.get("PYTHONPATH", ""))
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    # The development mode also sets asyncio's debug mode, which is slow.
    python = (sys.executable, "-W", "error", *("-X", "dev") * debug)
    return subprocess.Popen(
        (*python, "-m", "openrouter_async", *arguments),
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
    request = urllib.request.Request(  # noqa: S310 - a URL of ours
        f"{url}/chat/completions",
        json.dumps(body).encode(),
        {"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=5) as reply:  # noqa: S310
            return reply.status, reply.read()
    except urllib.error.HTTPError as failure:
        with failure:
            return failure.code, failure.read()
