"""The examples for adapters in docs/examples, run against the local server."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from openrouter_async import ToolCall
from openrouter_async.testing import LocalOpenRouter, completion
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
        timeout=60,
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
