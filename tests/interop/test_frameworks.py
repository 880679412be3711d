"""The recipes in docs/examples, each in its real server, with clients that leave."""

import asyncio
import importlib.util
import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from openrouter_async.testing import (
    LocalOpenRouter,
    Reply,
    completion,
    error_reply,
    tool_call,
)

logger = logging.getLogger("interop")

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "docs" / "examples"
APPS = Path(__file__).parent / "apps"

# Maximum seconds from the end of the client's connection to the end of the upstream's,
# in one of several attempts: a busy machine delays some of them, but not all.
CLOSE_LIMIT = 0.1
CLOSE_ATTEMPTS = 20
# Maximum seconds in any attempt. The streams would go on for longer.
CLOSE_SECONDS = 5

BODY = json.dumps(
    {"messages": [{"role": "user", "parts": [{"type": "text", "text": "hi"}]}]}
).encode()


def command(example: str, server: str, port: int) -> list[str]:
    """Return the arguments of Python that start an example in a server."""
    if server == "aiohttp":
        folder = EXAMPLES if (EXAMPLES / f"{example}.py").exists() else APPS
        return [str(folder / f"{example}.py"), str(port)]
    name = f"{example}:app"
    if server == "uvicorn":
        # h11 is pure Python; httptools may be absent.
        more = ["--port", str(port), "--log-level", "warning", "--http", "h11"]
    elif server == "hypercorn":
        more = ["--bind", f"127.0.0.1:{port}"]
    else:
        more = ["--interface", "asgi", "--port", str(port)]
    return ["-m", server, name, *more]


class Running:
    """An example in its server."""

    def __init__(self, port: int) -> None:
        self.port = port

    async def post(
        self, body: bytes = BODY
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(
            b"POST /chat HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
        )
        return reader, writer

    async def read_all(self, body: bytes = BODY) -> tuple[int, bytes]:
        """Return the status and the raw body of a response."""
        reader, writer = await self.post(body)
        head = await reader.readuntil(b"\r\n\r\n")
        status = int(head.split()[1])
        data = b""
        if b"chunked" in head.lower():
            while not data.endswith(b"0\r\n\r\n"):
                part = await reader.read(65536)
                assert part, "the body is incomplete"
                data += part
        else:
            length = re.search(rb"content-length: (\d+)", head.lower())
            assert length is not None
            data = await reader.readexactly(int(length[1]))
        writer.close()
        return status, data


def start(
    name: str, server: str, upstream: LocalOpenRouter, **more: str
) -> tuple["subprocess.Popen[str]", int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    environment = {
        **os.environ,
        "OPENROUTER_BASE_URL": upstream.url,
        "OPENROUTER_API_KEY": upstream.api_key,
        "PYTHONPATH": os.pathsep.join(map(str, (EXAMPLES, APPS, ROOT))),
        **more,
    }
    process = subprocess.Popen(
        [sys.executable, *command(name, server, port)],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return process, port
        time.sleep(0.05)
    process.kill()
    pytest.fail(f"{name} did not start: {process.communicate()[1]}")


def stop(process: "subprocess.Popen[str]") -> str:
    """Stop a server and return its log."""
    os.killpg(process.pid, signal.SIGTERM)
    try:
        return process.communicate(timeout=60)[1]
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        pytest.fail(f"The server did not stop: {process.communicate()[1]}")


def serve(
    name: str, server: str, library: str, upstream: LocalOpenRouter, **more: str
) -> Iterator[Running]:
    """Run an app until the end of the fixture, and check its log."""
    for needed in (server, library):
        if importlib.util.find_spec(needed) is None:
            pytest.skip(f"{needed} is in the [interop] extra")
    process, port = start(name, server, upstream, **more)
    yield Running(port)
    log = stop(process)
    assert "Traceback" not in log, log
    assert "Warning" not in log, log
    assert "never" not in log, log


SERVED = [
    ("relay_aiohttp", "aiohttp", "aiohttp"),
    ("relay_fastapi", "uvicorn", "fastapi"),
    ("relay_starlette", "uvicorn", "starlette"),
    ("middleware_app", "uvicorn", "starlette"),
    ("relay_starlette", "hypercorn", "starlette"),
    ("relay_starlette", "granian", "starlette"),
    ("relay_sse_starlette", "uvicorn", "sse_starlette"),
    ("relay_litestar", "uvicorn", "litestar"),
    ("relay_quart", "hypercorn", "quart"),
    ("relay_django", "uvicorn", "django"),
]


@pytest.fixture(scope="module")
def upstream() -> Iterator[LocalOpenRouter]:
    with LocalOpenRouter() as server:
        yield server


@pytest.fixture(
    scope="module", params=SERVED, ids=lambda param: f"{param[0]}-{param[1]}"
)
def running(
    request: pytest.FixtureRequest, upstream: LocalOpenRouter
) -> Iterator[Running]:
    """Run an example."""
    name, server, library = request.param
    yield from serve(name, server, library, upstream)


@pytest.fixture(autouse=True)
def idle(upstream: LocalOpenRouter) -> Iterator[None]:
    upstream.clear()
    yield
    end = time.monotonic() + CLOSE_SECONDS
    while upstream.stats.in_flight and time.monotonic() < end:
        time.sleep(0.005)
    assert upstream.stats.in_flight == 0


async def test_whole_response_is_relayed(
    running: Running, upstream: LocalOpenRouter
) -> None:
    upstream.reply(["he", "llo"])
    status, data = await running.read_all()

    assert status == 200
    assert data.index(b": keep-alive") < data.index(b'"he"') < data.index(b'"llo"')
    assert b"DONE" in data or b"event: done" in data
    assert upstream.requests[-1].prompt == "hi"


async def test_malformed_request_is_rejected_with_400(
    running: Running, upstream: LocalOpenRouter
) -> None:
    for body in (b'{"messages": 1}', b"{"):
        status, _ = await running.read_all(body)
        assert status == 400

    assert upstream.stats.requests == 0


async def test_error_is_the_last_event(
    running: Running, upstream: LocalOpenRouter
) -> None:
    upstream.reply(error_reply(400, "secret"))
    status, data = await running.read_all()

    assert status == 200
    assert b"The request could not be processed." in data
    assert b"secret" not in data


@pytest.fixture(scope="module")
def tools_app(upstream: LocalOpenRouter) -> Iterator[Running]:
    """Run the example with tools."""
    yield from serve("relay_tools", "uvicorn", "starlette", upstream)


async def test_example_with_tools_relays_the_run(
    tools_app: Running, upstream: LocalOpenRouter
) -> None:
    call = tool_call("get_weather", {"city": "Oslo"})
    upstream.reply(completion(tool_calls=[call])).then(["It is sunny."])
    status, data = await tools_app.read_all()

    assert status == 200
    assert b'"output":"Sunny in Oslo"' in data
    assert b"It is sunny." in data
    assert b'"messageMetadata":{"usage":{"tokens":' in data


async def test_example_with_tools_responds_to_an_early_error_with_a_status(
    tools_app: Running, upstream: LocalOpenRouter
) -> None:
    upstream.reply(error_reply(400, "secret"))
    status, data = await tools_app.read_all()

    assert status == 400
    assert data == b'{"error":"The request could not be processed."}'


@pytest.mark.parametrize(
    ("moment", "reply", "seen"),
    [
        ("mid-stream", Reply(["x"] * 9999, chunk_delay=0.01), b'"x"'),
        ("in a stall", Reply(["x", "y"], chunk_delay=30), b'"x"'),
        ("before the first token", Reply("x", before_token=30), b": keep-alive"),
        ("before the headers", Reply("x", delay=30), b": keep-alive"),
    ],
    ids=lambda value: value.replace(" ", "-") if isinstance(value, str) else "",
)
async def test_client_that_leaves_closes_the_upstream(
    running: Running,
    upstream: LocalOpenRouter,
    moment: str,
    reply: Reply,
    seen: bytes,
) -> None:
    seconds = float(CLOSE_SECONDS)
    attempts = 0
    while seconds > CLOSE_LIMIT and attempts < CLOSE_ATTEMPTS:
        attempts += 1
        upstream.reply(reply)
        reader, writer = await running.post()
        await reader.readuntil(seen)
        await upstream.until(requests=attempts)
        await asyncio.sleep(0.05)
        left = time.monotonic()
        writer.transport.abort()
        await upstream.until(closed=attempts, timeout=CLOSE_SECONDS)
        seconds = time.monotonic() - left
        # Shown by: pytest --log-cli-level=INFO
        logger.info("%s: closed after %.3f s", moment, seconds)
    assert seconds <= CLOSE_LIMIT


@pytest.fixture(
    scope="module", params=SERVED, ids=lambda param: f"{param[0]}-{param[1]}"
)
def impatient(
    request: pytest.FixtureRequest, upstream: LocalOpenRouter
) -> Iterator[Running]:
    """Run an example whose relays wait 1 s for a reader."""
    name, server, library = request.param
    yield from serve("impatient_app", server, library, upstream, EXAMPLE=name)


@pytest.mark.parametrize("leaves", [False, True], ids=["stays", "leaves"])
async def test_browser_that_does_not_read_ends_the_stream(
    impatient: Running, upstream: LocalOpenRouter, leaves: bool
) -> None:
    """The framework blocks in its `send` when all buffers are full."""
    delta = {"content": "x" * 200_000}
    chunk = json.dumps({"choices": [{"index": 0, "delta": delta}]})
    upstream.reply(Reply(chunks=[chunk] * 2000, chunk_delay=0.002))
    reader, writer = await impatient.post()
    await reader.readuntil(b"xxx")
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    seen = -1
    while upstream.stats.chunks > seen:
        seen = upstream.stats.chunks
        await asyncio.sleep(0.2)
    left = time.monotonic()
    if leaves:
        writer.transport.abort()
    await upstream.until(closed=1, timeout=60)
    seconds = time.monotonic() - left
    writer.transport.abort()

    logger.info("blocked in send: closed after %.3f s", seconds)
    assert upstream.stats.chunks < 2000
