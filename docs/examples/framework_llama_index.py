"""LlamaIndex: a language model that sends its requests through one client."""

import asyncio

import httpx
from llama_index.core.llms import ChatMessage
from llama_index.llms.openai_like import OpenAILike

from openrouter_async import AsyncOpenRouter
from openrouter_async.adapters.httpx import OpenRouterTransport


async def main() -> None:
    """Ask a question."""
    async with AsyncOpenRouter(app_title="My app") as client:
        model = OpenAILike(
            model="openai/gpt-4o-mini",
            # The transport replaces the key; the client retries.
            api_key="unused",
            max_retries=0,
            is_chat_model=True,
            # openai from version 3 takes httpx2.AsyncClient.
            async_http_client=httpx.AsyncClient(transport=OpenRouterTransport(client)),
        )
        response = await model.achat([ChatMessage(role="user", content="Say hello.")])
        print(response.message.content)


if __name__ == "__main__":
    asyncio.run(main())
