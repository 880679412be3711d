"""LangChain: a chat model that sends its requests through one client."""

import asyncio

import httpx2
from langchain_openai import ChatOpenAI

from openrouter_async import AsyncOpenRouter
from openrouter_async.adapters.httpx import OpenRouterTransport


async def main() -> None:
    """Ask a question, and stream the response to another."""
    async with AsyncOpenRouter(app_title="My app") as client:
        model = ChatOpenAI(
            model="openai/gpt-4o-mini",
            # The transport replaces the key; the client retries.
            api_key="unused",  # type: ignore[arg-type] # pydantic converts it
            max_retries=0,
            # langchain-openai with openai before version 3 takes httpx.AsyncClient.
            http_async_client=httpx2.AsyncClient(transport=OpenRouterTransport(client)),
        )
        print((await model.ainvoke("Say hello.")).content)
        async for chunk in model.astream("Count to three."):
            print(chunk.content, end="")
        print()


if __name__ == "__main__":
    asyncio.run(main())
