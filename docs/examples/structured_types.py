"""Types that can be used as an output, next to attrs classes."""

import asyncio
from enum import Enum
from typing import Literal, TypedDict

from pydantic import BaseModel

from openrouter_async import AsyncOpenRouter, ChatGenerationParams, UserMessage


class Mood(Enum):
    GOOD = "good"
    BAD = "bad"


class City(TypedDict):
    name: str
    population: int


class Person(BaseModel):
    name: str
    age: int | None


def ask(text: str) -> ChatGenerationParams:
    return ChatGenerationParams(
        model="openai/gpt-4o-mini", messages=[UserMessage(text)]
    )


async def main() -> None:
    async with AsyncOpenRouter() as client:
        mood = await client.chat.send(ask("The mood of 'Hooray!'"), output=Mood)
        cities = await client.chat.send(
            ask("The three largest cities of Peru"), output=list[City]
        )
        person = await client.chat.send(
            ask("The author of this: Ada, 36"), output=Person | Literal["nobody"]
        )
    print(mood.output)  # a Mood
    print(cities.output)  # a list of dicts
    print(person.output)  # a Person, or the string "nobody"


asyncio.run(main())
