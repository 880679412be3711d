"""Stream a run of tools: text, calls and results as they happen."""

import asyncio

from openrouter_async import (
    AsyncOpenRouter,
    TextDelta,
    ToolCallStarted,
    ToolResult,
    UserMessage,
    tool,
)


@tool
async def get_weather(city: str) -> dict[str, float]:
    """Return today's weather in a city."""
    return {"temperature": 21.5}


async def main() -> None:
    async with (
        AsyncOpenRouter() as client,
        client.chat.run_tools(
            model="openai/gpt-4o-mini",
            messages=[UserMessage("How warm is it in Nice?")],
            tools=[get_weather],
            stream=True,
        ) as stream,
    ):
        async for event in stream:
            match event:
                case TextDelta(text=text):
                    print(text, end="", flush=True)
                case ToolCallStarted(name=name):
                    print("calling", name)
                case ToolResult(call=call, content=content, error=None):
                    print(call.function.name, "returned", content)
                case ToolResult(error=error):
                    print("failed:", error)
                case _:  # reasoning, arguments, the end of a turn, ...
                    pass
        print()
        print(len(stream.messages), "messages in the conversation")


asyncio.run(main())
