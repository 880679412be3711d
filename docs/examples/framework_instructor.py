"""instructor: structured outputs, whose requests are sent through one client."""

import asyncio

import httpx
import instructor
from openai import AsyncOpenAI
from pydantic import BaseModel

from openrouter_async import AsyncOpenRouter
from openrouter_async.adapters.httpx import OpenRouterTransport


class City(BaseModel):
    """A city."""

    name: str
    country: str


async def main() -> None:
    """Ask for an object."""
    async with AsyncOpenRouter(app_title="My app") as client:
        openai = AsyncOpenAI(
            # The transport replaces the key; the client retries.
            api_key="unused",
            max_retries=0,
            # openai from version 3 takes httpx2.AsyncClient.
            http_client=httpx.AsyncClient(transport=OpenRouterTransport(client)),
        )
        city = await instructor.from_openai(openai).chat.completions.create(
            model="openai/gpt-4o-mini",
            messages=[{"role": "user", "content": "What is the capital of Norway?"}],
            response_model=City,
        )
        print(city.name, city.country)


if __name__ == "__main__":
    asyncio.run(main())
