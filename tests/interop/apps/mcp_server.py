"""
A server with the tools that tests/interop/test_mcp.py calls, for mcp 1 and mcp 2.

Run it with "stdio", or with the number of a port for streamable HTTP. The list of tools
has two pages.
"""

import asyncio
import os
import sys
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

types: Any = import_module("mcp.types")
IS_2 = version("mcp").startswith("2.")
# Untyped, because a type checker knows only the version that is installed.
mcp: Any = import_module("mcp.server.mcpserver" if IS_2 else "mcp.server.fastmcp")
Server: Any = mcp.MCPServer if IS_2 else mcp.FastMCP

PNG = b"\x89PNG\r\n\x1a\n"
PAGE_SIZE = 3


def page(tools: list[Any], params: Any) -> Any:
    """Return one page; the cursor is the number of the first tool."""
    # The server itself asks for the list, too, without parameters.
    first = int(params.cursor or 0) if params else 0
    end = first + PAGE_SIZE
    more = str(end) if end < len(tools) else None
    return types.ListToolsResult.model_validate(
        {
            "tools": [tool.model_dump(by_alias=True) for tool in tools[first:end]],
            "nextCursor": more,
        }
    )


class PagedServer(Server):  # type: ignore[misc] # the class of either version
    """A server whose list of tools has pages."""

    async def _handle_list_tools(self, _: Any, params: Any) -> Any:
        """Return a page; mcp 2 calls this."""
        return page(await self.list_tools(), params)

    def _setup_handlers(self) -> None:
        """Register the handlers; mcp 1 calls this."""
        Server._setup_handlers(self)

        async def list_page(request: Any) -> Any:
            return page(await self.list_tools(), request and request.params)

        # The server recognises the form of a handler by this annotation.
        list_page.__annotations__["request"] = types.ListToolsRequest
        self._mcp_server.list_tools()(list_page)


def add(first: int, second: int) -> str:
    """Add two numbers."""
    return str(first + second)


def draw() -> Any:
    """Draw an image."""
    return mcp.Image(data=PNG, format="png")


def read_file() -> str:
    """Read a file."""
    return "content"


def fail() -> str:
    """Fail."""
    raise ValueError("the disk is full")


async def wait() -> str:
    """Wait until the call is cancelled, and leave a file then."""
    path = Path(os.environ["MCP_TEST_FOLDER"])
    (path / "started").touch()
    try:
        await asyncio.sleep(30)
    except asyncio.CancelledError:
        (path / "cancelled").touch()
        raise
    return "late"


if __name__ == "__main__":
    server: Any = PagedServer("test", log_level="ERROR")
    for function in (add, draw, read_file, fail, wait):
        name = "files.read" if function is read_file else None
        server.add_tool(function, name)
    if sys.argv[1] == "stdio":
        server.run("stdio")
    else:
        import uvicorn

        app = server.streamable_http_app()
        uvicorn.run(app, port=int(sys.argv[1]), log_level="error")
