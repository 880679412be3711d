"""Execute tool calls yourself, without `run_tools`."""

import asyncio

from openrouter_async import (
    AsyncOpenRouter,
    MessageLike,
    ToolArgumentsError,
    ToolResponseMessage,
    UserMessage,
    tool,
)


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


async def main() -> None:
    messages: list[MessageLike] = [UserMessage("Add 2 and 3.")]
    async with AsyncOpenRouter() as client:
        while True:
            response = await client.chat.send(
                model="openai/gpt-4o-mini", messages=messages, tools=[add]
            )
            if not response.tool_calls:
                break
            messages.append(response.message)
            for call in response.tool_calls:
                try:
                    content = str(add(**call.parse()))
                except ToolArgumentsError as error:
                    content = f"Invalid arguments: {error}"
                messages.append(ToolResponseMessage(content, tool_call_id=call.id))
    print(response.text)


asyncio.run(main())
