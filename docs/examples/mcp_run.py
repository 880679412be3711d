"""MCP: let a model call the tools of a server, which this program starts."""

import asyncio
import sys

from mcp import ClientSession, StdioServerParameters, stdio_client

from openrouter_async import AsyncOpenRouter, UserMessage
from openrouter_async.adapters.mcp import mcp_tools

MODEL = "openai/gpt-4o-mini"


async def main(command: str, *arguments: str) -> None:
    """Ask a question with the tools of a server; its command is the arguments."""
    server = StdioServerParameters(command=command, args=list(arguments))
    async with (
        AsyncOpenRouter() as client,
        stdio_client(server) as (read, write),
        ClientSession(read, write) as session,
    ):
        await session.initialize()
        run = await client.chat.run_tools(
            model=MODEL,
            messages=[UserMessage("What is 1 + 2?")],
            tools=await mcp_tools(session, only=["add"]),
        )
        print(run.response.text)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
