"""Make a tool of a JSON Schema, for functions that are known at run time only."""

import asyncio
from typing import Any

from openrouter_async import AsyncOpenRouter, FunctionTool, UserMessage


async def lookup(arguments: dict[str, Any]) -> str:
    return f"nothing found for {arguments['query']}"


search = FunctionTool.from_schema(
    lookup,
    name="search_wiki",
    description="Search the company's wiki.",
    parameters={
        "type": "object",
        "properties": {"query": {"type": "string"}},
        "required": ["query"],
    },
    timeout=10,
)


async def main() -> None:
    async with AsyncOpenRouter() as client:
        run = await client.chat.run_tools(
            model="openai/gpt-4o-mini",
            messages=[UserMessage("Who is responsible for the printers?")],
            tools=[search],
        )
    print(run.response.text)


asyncio.run(main())
