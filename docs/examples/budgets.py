"""Limit what a program, and one of its jobs, may spend."""

import asyncio

from openrouter_async import AsyncOpenRouter, BudgetExceededError, UserMessage


async def main() -> None:
    async with AsyncOpenRouter(max_cost=5.0, budgets={"summaries": 0.00005}) as client:
        for number in range(1, 6):
            try:
                await client.chat.send(
                    model="openai/gpt-4o-mini",
                    messages=[UserMessage("Summarise: all is well.")],
                    max_tokens=40,
                    usage_tag="summaries",
                )
            except BudgetExceededError as error:
                print(f"call {number} was not sent:", error)
                break

        budget = client.usage.snapshot().budgets["summaries"]
        print(f"${budget.spent} of ${budget.limit} spent ({budget.kind})")


asyncio.run(main())
