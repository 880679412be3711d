"""pydantic-ai and openai: send their requests through one client."""

import asyncio

import httpx2
from openai import AsyncOpenAI
from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

from openrouter_async import AsyncOpenRouter
from openrouter_async.adapters.httpx import OpenRouterTransport

MODEL = "openai/gpt-4o-mini"


async def main() -> None:
    """Ask the same question with two libraries."""
    async with AsyncOpenRouter(app_title="My app") as client:
        openai = AsyncOpenAI(
            # openai requires a key, which the transport replaces by the client's.
            api_key="unused",
            # The client retries.
            max_retries=0,
            # openai before version 3 takes httpx.AsyncClient.
            http_client=httpx2.AsyncClient(transport=OpenRouterTransport(client)),
        )
        response = await openai.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": "Say hello."}]
        )
        print(response.choices[0].message.content)

        provider = OpenAIProvider(openai_client=openai)
        agent = Agent(OpenAIChatModel(MODEL, provider=provider))
        print((await agent.run("Say hello.")).output)


if __name__ == "__main__":
    asyncio.run(main())
