"""OpenAI Agents: an agent whose model sends its requests through one client."""

import asyncio

import httpx2
from agents import Agent, OpenAIChatCompletionsModel, Runner, set_tracing_disabled
from openai import AsyncOpenAI

from openrouter_async import AsyncOpenRouter
from openrouter_async.adapters.httpx import OpenRouterTransport


async def main() -> None:
    """Run an agent."""
    # It would send traces to OpenAI.
    set_tracing_disabled(disabled=True)
    async with AsyncOpenRouter(app_title="My app") as client:
        openai = AsyncOpenAI(
            # The transport replaces the key; the client retries.
            api_key="unused",
            max_retries=0,
            http_client=httpx2.AsyncClient(transport=OpenRouterTransport(client)),
        )
        model = OpenAIChatCompletionsModel(
            model="openai/gpt-4o-mini", openai_client=openai
        )
        agent = Agent(name="Assistant", model=model)
        print((await Runner.run(agent, "Say hello.")).final_output)


if __name__ == "__main__":
    asyncio.run(main())
