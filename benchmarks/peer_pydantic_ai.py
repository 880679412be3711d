"""
pydantic-ai with its model for OpenRouter, which uses openai-python on httpx.

It takes part in `stream` and `complete`: an agent without tools, with its default
settings. `stream_text` is asked for each text as it arrives, not for groups of texts.
"""

# ruff: noqa: D102 - the methods are described in the base class

from collections.abc import Callable

import httpx2
from openai import AsyncOpenAI, DefaultAsyncHttpxClient
from pydantic_ai import Agent
from pydantic_ai.models.openrouter import OpenRouterModel
from pydantic_ai.providers.openrouter import OpenRouterProvider

from benchmarks import inputs
from benchmarks.contender import API_KEY, Contender, StreamCounts


class PydanticAI(Contender):
    """An agent of pydantic-ai."""

    divisor = 20
    # It returns texts; the last two chunks have none.
    surplus = -2

    def __init__(self, base_url: str, connections: int) -> None:
        limits = httpx2.Limits(
            max_connections=connections, max_keepalive_connections=connections
        )
        self._client = AsyncOpenAI(
            api_key=API_KEY,
            base_url=base_url,
            http_client=DefaultAsyncHttpxClient(limits=limits),
        )
        provider = OpenRouterProvider(openai_client=self._client)
        self._agent = Agent(OpenRouterModel(inputs.MODEL, provider=provider))

    async def aclose(self) -> None:
        await self._client.close()

    async def complete(self) -> str:
        result = await self._agent.run(inputs.QUESTION)
        return result.output

    async def stream(self, seen: Callable[[], None] | None = None) -> StreamCounts:
        chunks = 0
        text: list[str] = []
        async with self._agent.run_stream(inputs.QUESTION) as stream:
            async for part in stream.stream_text(delta=True, debounce_by=None):
                chunks += 1
                text.append(part)
                if seen is not None:
                    seen()
        return StreamCounts(chunks, len("".join(text)))
