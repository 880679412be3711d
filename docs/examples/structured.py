"""Get a value of your own type from a model."""

import asyncio
from datetime import date
from typing import Annotated

from attrs import define

from openrouter_async import AsyncOpenRouter, UserMessage


@define
class Line:
    item: str
    price: Annotated[float, "In euros, including tax."]


@define
class Invoice:
    """An invoice as printed."""

    day: date
    lines: list[Line]
    note: str | None = None


async def main() -> None:
    messages = [UserMessage("Invoice of 2 May 2026: a chair 49.90, a lamp 20.")]
    async with AsyncOpenRouter() as client:
        response = await client.chat.send(
            model="openai/gpt-4o-mini", messages=messages, output=Invoice
        )
    invoice = response.output  # an Invoice
    print(invoice.day, sum(line.price for line in invoice.lines))


asyncio.run(main())
