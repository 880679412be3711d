"""
The tools of a real MCP server in a run, over stdio and streamable HTTP.

They pass with mcp 1 and with mcp 2, which cannot be installed together: .ci/run runs
them in two environments.
"""

import asyncio
import base64
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from support import MakeClient, until

from openrouter_async import AsyncOpenRouter, ToolCall
from openrouter_async.adapters.mcp import mcp_tools
from openrouter_async.testing import LocalOpenRouter, SeenRequest, completion
from openrouter_async.types import ToolCallFunction

mcp: Any = pytest.importorskip("mcp", reason="mcp is in the extra [interop]")
pytest.importorskip("uvicorn", reason="uvicorn is in the extra [interop]")

# Warnings of other packages do not fail these tests.
pytestmark = pytest.mark.filterwarnings("default")

IS_2 = version("mcp").startswith("2.")
SERVER = Path(__file__).parent / "apps" / "mcp_server.py"
PNG = "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()
CONNECTIONS = ["stdio", "http", *(["client"] if IS_2 else [])]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the tool `wait` leaves files."""
    return tmp_path_factory.mktemp("mcp")


@pytest.fixture(scope="module")
def url(folder: Path) -> Iterator[str]:
    """Run the server for streamable HTTP."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, str(SERVER), str(port)],
        env={**os.environ, "MCP_TEST_FOLDER": str(folder)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            break
        time.sleep(0.05)
    yield f"http://127.0.0.1:{port}/mcp"
    process.kill()
    process.communicate()


@pytest.fixture(params=CONNECTIONS)
def connection(request: pytest.FixtureRequest) -> str:
    """The way to the server; "client" is the `Client` of mcp 2 over HTTP."""
    return str(request.param)


@asynccontextmanager
async def connected(
    connection: str, url: str, folder: Path
) -> AsyncGenerator[Any, None]:
    """Open a session; a task group of mcp has to be left by the task that entered it."""
    if connection == "client":
        async with mcp.Client(url) as client:
            yield client
        return
    if connection == "stdio":
        streams = mcp.stdio_client(
            mcp.StdioServerParameters(
                command=sys.executable,
                args=[str(SERVER), "stdio"],
                env={**os.environ, "MCP_TEST_FOLDER": str(folder)},
            )
        )
    else:
        from mcp.client.streamable_http import (  # noqa: PLC0415 - only if installed
            streamable_http_client,
        )

        streams = streamable_http_client(url)
    async with (
        streams as (read, write, *_),
        mcp.ClientSession(read, write) as session,
    ):
        await session.initialize()
        yield session


def call(name: str, arguments: str = "{}") -> dict[str, Any]:
    """Return a completion in which the model calls a tool."""
    return completion(
        tool_calls=[
            ToolCall("c1", function=ToolCallFunction(name, arguments)).as_request()
        ]
    )


async def content(
    client: AsyncOpenRouter, server: LocalOpenRouter, session: Any, *calls: str
) -> Any:
    """Run the tools with one call of the model, and return the content of its result."""
    tools = await mcp_tools(session)
    server.clear()
    server.reply(call(*calls)).then("done")
    run = await client.chat.run_tools(
        model="m", messages=[{"role": "user", "content": "hi"}], tools=tools
    )

    assert run.response.text == "done"
    request: SeenRequest = server.requests[1]
    return request.json["messages"][-1]["content"]


async def test_all_pages_are_listed(connection: str, url: str, folder: Path) -> None:
    async with connected(connection, url, folder) as session:
        tools = await mcp_tools(session)
        chosen = await mcp_tools(session, only=["files.read"], prefix="fs_")

    names = [tool.function["name"] for tool in tools]
    assert names == ["add", "draw", "files_read", "fail", "wait"]
    first: Any = tools[0].function
    assert first["description"] == "Add two numbers."
    assert set(first["parameters"]["properties"]) == {"first", "second"}
    assert [tool.function["name"] for tool in chosen] == ["fs_files_read"]


async def test_results_reach_the_model(
    connection: str,
    url: str,
    folder: Path,
    client: AsyncOpenRouter,
    server: LocalOpenRouter,
) -> None:
    async with connected(connection, url, folder) as session:
        text = await content(client, server, session, "add", '{"first":1,"second":2}')
        dotted = await content(client, server, session, "files_read")
        image = await content(client, server, session, "draw")
        failure = await content(client, server, session, "fail")
        invalid = await content(client, server, session, "add", '{"first":"x"}')

    assert text == "3"
    assert dotted == "content"
    assert image == [{"type": "image_url", "image_url": {"url": PNG}}]
    assert failure.startswith("Error executing tool fail")
    assert "first" in invalid
    assert "second" in invalid


async def test_cancelled_run_ends_the_wait(
    connection: str,
    url: str,
    folder: Path,
    make_client: MakeClient,
    server: LocalOpenRouter,
) -> None:
    for name in ("started", "cancelled"):
        (folder / name).unlink(missing_ok=True)
    async with connected(connection, url, folder) as session:
        client = make_client()
        task = asyncio.create_task(content(client, server, session, "wait"))
        await until((folder / "started").exists)
        task.cancel()
        began = time.monotonic()
        with pytest.raises(asyncio.CancelledError):
            await task
        seconds = time.monotonic() - began
        await asyncio.sleep(0.3)
        was_notified = (folder / "cancelled").exists()
        # The session is usable after it.
        assert await content(client, server, session, "files_read") == "content"

    assert seconds < 1
    assert was_notified == IS_2
