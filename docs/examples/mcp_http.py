"""MCP: let a model call the tools of two servers, over streamable HTTP, with mcp 2."""

import asyncio
import sys

from mcp import Client

from openrouter_async import AsyncOpenRouter, UserMessage, tool
from openrouter_async.adapters.mcp import mcp_tools

MODEL = "openai/gpt-4o-mini"


@tool
async def get_time() -> str:
    """Return the time."""
    return "It is noon."


async def main(first_url: str, second_url: str) -> None:
    """Ask a question with tools of this program and of two servers."""
    async with (
        AsyncOpenRouter() as client,
        Client(first_url) as first,
        Client(second_url) as second,
    ):
        tools = [
            get_time,
            *await mcp_tools(first, prefix="a_"),
            *await mcp_tools(second, prefix="b_", only=["add"]),
        ]
        run = await client.chat.run_tools(
            model=MODEL, messages=[UserMessage("What is 1 + 2?")], tools=tools
        )
        print(run.response.text)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
