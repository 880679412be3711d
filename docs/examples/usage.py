"""Count what the calls of a program use and cost, per user."""

import asyncio

from openrouter_async import AsyncOpenRouter, UserMessage


async def main() -> None:
    async with AsyncOpenRouter() as client:
        for user in ("ada", "ada", "bob"):
            await client.chat.send(
                model="openai/gpt-4o-mini",
                messages=[UserMessage("Hello")],
                usage_tag=user,
            )

        # A stream that is left before its end: its cost is not known yet.
        async with client.chat.send(
            model="openai/gpt-4o-mini",
            messages=[UserMessage("Tell me a story")],
            stream=True,
            usage_tag="bob",
        ) as stream:
            async for _ in stream:
                break

        await client.usage.reconcile(wait=30)
        usage = client.usage.snapshot()
        print(f"{usage.calls} calls, {usage.prompt_tokens} tokens in, ${usage.cost}")
        for user, totals in usage.by_tag.items():
            print(f"{user}: {totals.calls} calls, ${totals.cost}")
        print(f"{usage.unknown} at an unknown cost")


asyncio.run(main())
