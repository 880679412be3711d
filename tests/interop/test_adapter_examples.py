"""The examples for adapters in docs/examples, run against the local server."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

import pytest

from openrouter_async import ToolCall
from openrouter_async.testing import LocalOpenRouter, completion, tool_call
from openrouter_async.types import ToolCallFunction

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
MCP_SERVER = Path(__file__).parent / "apps" / "mcp_server.py"


def run(name: str, server: LocalOpenRouter, *arguments: str) -> str:
    """Run an example in a process of its own, and return what it printed."""
    environment = {
        **os.environ,
        "OPENROUTER_BASE_URL": server.url,
        "OPENROUTER_API_KEY": server.api_key,
    }
    process = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *arguments],
        env=environment,
        capture_output=True,
        check=False,
        text=True,
        # Some libraries take seconds to import, and longer on a busy machine.
        timeout=300,
    )
    assert process.returncode == 0, process.stderr
    return process.stdout


def test_httpx_transport_example(server: LocalOpenRouter) -> None:
    for name in ("httpx2", "pydantic_ai"):
        pytest.importorskip(name, reason=f"{name} is in the [interop] extra")
    server.reply("hello").then("hello again")

    assert run("httpx_transport.py", server) == "hello\nhello again\n"


def test_mcp_example(server: LocalOpenRouter) -> None:
    pytest.importorskip("mcp", reason="mcp is in the [interop] extra")
    called = ToolCall("c", function=ToolCallFunction("add", '{"first":1,"second":2}'))
    server.reply(completion(tool_calls=[called.as_request()])).then("It is 3.")

    printed = run("mcp_run.py", server, sys.executable, str(MCP_SERVER), "stdio")

    assert printed == "It is 3.\n"
    assert server.requests[1].json["messages"][-1]["content"] == "3"


def test_langchain_example(server: LocalOpenRouter) -> None:
    pytest.importorskip("langchain_openai", reason="it is in the [interop] extra")
    server.reply("hello").then(["one ", "two ", "three"])

    assert run("framework_langchain.py", server) == "hello\none two three\n"


def test_openai_agents_example(server: LocalOpenRouter) -> None:
    pytest.importorskip("agents", reason="openai-agents is in the [interop] extra")
    server.reply("hello")

    assert run("framework_openai_agents.py", server) == "hello\n"


def test_instructor_example(server: LocalOpenRouter) -> None:
    pytest.importorskip("instructor", reason="it is in the [interop-old] extra")
    city = {"name": "Oslo", "country": "Norway"}
    server.reply(completion(tool_calls=[tool_call("City", city)]))

    assert run("framework_instructor.py", server) == "Oslo Norway\n"


def test_llama_index_example(server: LocalOpenRouter) -> None:
    name = "llama_index.llms.openai_like"
    pytest.importorskip(name, reason="it is in the [interop-old] extra")
    server.reply("hello")

    assert run("framework_llama_index.py", server) == "hello\n"


@pytest.fixture
def mcp_url() -> Iterator[str]:
    """Run an MCP server for streamable HTTP."""
    pytest.importorskip("mcp", reason="mcp is in the [interop] extra")
    if version("mcp").startswith("1."):
        pytest.skip("the example is for mcp 2")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    process = subprocess.Popen([sys.executable, str(MCP_SERVER), str(port)])
    for _ in range(600):
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            break
        time.sleep(0.05)
    yield f"http://127.0.0.1:{port}/mcp"
    process.kill()
    process.wait()


def test_mcp_example_with_two_servers(server: LocalOpenRouter, mcp_url: str) -> None:
    called = ToolCall("c", function=ToolCallFunction("b_add", '{"first":1,"second":2}'))
    server.reply(completion(tool_calls=[called.as_request()])).then("It is 3.")

    assert run("mcp_http.py", server, mcp_url, mcp_url) == "It is 3.\n"
    first, second = server.requests
    names = [each["function"]["name"] for each in first.json["tools"]]
    assert names == [
        *("get_time", "a_add", "a_draw", "a_files_read", "a_fail", "a_wait"),
        "b_add",
    ]
    assert second.json["messages"][-1]["content"] == "3"
