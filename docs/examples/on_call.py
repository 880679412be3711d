"""Print a line for every call of a client: outcome, attempts, tokens and cost."""

import asyncio

from openrouter_async import AsyncOpenRouter, CallRecord, UserMessage


def log_call(record: CallRecord) -> None:
    tokens = record.usage.total_tokens if record.usage else None
    cost = record.usage.cost if record.usage else None
    attempts = len(record.http.attempts)
    print(f"{record.model} {record.outcome} {attempts=} {tokens=} {cost=}")


async def main() -> None:
    async with AsyncOpenRouter(on_call=log_call) as client:
        await client.chat.send(
            model="openai/gpt-4o-mini", messages=[UserMessage("Hello")]
        )


asyncio.run(main())
