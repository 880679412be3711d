"""Show a typed output while it is generated."""

import asyncio

from attrs import define

from openrouter_async import AsyncOpenRouter, UserMessage


@define
class Recipe:
    name: str
    steps: list[str]


async def main() -> None:
    async with (
        AsyncOpenRouter() as client,
        client.chat.send(
            model="openai/gpt-4o-mini",
            messages=[UserMessage("A recipe for pancakes, please.")],
            output=Recipe,
            stream=True,
        ) as stream,
    ):
        async for partial in stream.partials():
            print(partial)  # plain JSON values, the last string may be incomplete
        recipe = stream.output  # a Recipe
    print(recipe.name, len(recipe.steps))


asyncio.run(main())
