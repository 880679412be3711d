"""
litellm, on its own aiohttp transport, which is its default.

It takes part in `stream` and `complete`, with its default settings. It runs in an
environment of its own (`python -m benchmarks.environments litellm`).
"""

# ruff: noqa: D102 - the methods are described in the base class

import importlib
import os
from collections.abc import Callable
from typing import Any

from benchmarks import inputs
from benchmarks.contender import API_KEY, Contender, StreamCounts

# Otherwise the import downloads a list of prices from GitHub.
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
# Not an import statement, because type checkers run where it is not installed.
litellm: Any = importlib.import_module("litellm")


class LiteLLM(Contender):
    """litellm's provider for OpenRouter."""

    divisor = 20

    def __init__(self, base_url: str, connections: int) -> None:
        del connections  # it has one pool for all of its calls
        self._options: dict[str, Any] = {
            "model": "openrouter/" + inputs.MODEL,
            "messages": [{"role": "user", "content": inputs.QUESTION}],
            "api_key": API_KEY,
            "api_base": base_url,
        }

    async def aclose(self) -> None:
        await litellm.close_litellm_async_clients()

    async def complete(self) -> str:
        response = await litellm.acompletion(**self._options)
        text: str = response.choices[0].message.content
        return text

    async def stream(self, seen: Callable[[], None] | None = None) -> StreamCounts:
        chunks = 0
        text: list[str] = []
        stream = await litellm.acompletion(**self._options, stream=True)
        async for chunk in stream:
            chunks += 1
            content = chunk.choices[0].delta.content
            if content:
                text.append(content)
            if seen is not None:
                seen()
        return StreamCounts(chunks, len("".join(text)))
