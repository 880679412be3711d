"""
langchain-openrouter, which uses the official SDK of an older version.

It takes part in `stream` and `complete`, with its default settings. It runs in an
environment of its own (`python -m benchmarks.environments langchain`), because it needs
openrouter < 1.
"""

# ruff: noqa: D102 - the methods are described in the base class

import importlib
from collections.abc import Callable
from typing import Any

from benchmarks import inputs
from benchmarks.contender import API_KEY, Contender, StreamCounts

# Not an import statement, because type checkers run where it is not installed.
langchain_openrouter: Any = importlib.import_module("langchain_openrouter")


class LangChain(Contender):
    """The chat model of langchain-openrouter."""

    divisor = 40
    # LangChain adds an empty chunk, which marks the end.
    surplus = 1

    def __init__(self, base_url: str, connections: int) -> None:
        del connections  # httpx's default of 100 is as large as the case needs
        self._model = langchain_openrouter.ChatOpenRouter(
            model=inputs.MODEL, api_key=API_KEY, base_url=base_url
        )

    async def aclose(self) -> None:
        """The SDK closes its connections when it is deleted."""

    async def complete(self) -> str:
        message = await self._model.ainvoke(inputs.QUESTION)
        text: str = message.content
        return text

    async def stream(self, seen: Callable[[], None] | None = None) -> StreamCounts:
        chunks = 0
        text: list[str] = []
        async for chunk in self._model.astream(inputs.QUESTION):
            chunks += 1
            text.append(chunk.content)
            if seen is not None:
                seen()
        return StreamCounts(chunks, len("".join(text)))
