"""
openai-python with OpenRouter's base URL, on httpx and on aiohttp.

It takes part in every case, with its default settings except for the size of the pool,
which is as large as the case needs. Its `responses` API is not measured.
"""

# ruff: noqa: D102 - the methods are described in the base class

from collections.abc import Callable
from typing import Any, ClassVar, cast

import httpx2
from openai import AsyncOpenAI, DefaultAioHttpClient, DefaultAsyncHttpxClient

# `chat.completions.create` calls these before it sends; they have no public names.
from openai._utils import maybe_transform
from openai._utils._json import openapi_dumps
from openai.lib.streaming.chat import AsyncChatCompletionStream
from openai.types.chat.chat_completion_message_param import ChatCompletionMessageParam
from openai.types.chat.chat_completion_tool_param import ChatCompletionToolParam
from openai.types.chat.completion_create_params import CompletionCreateParams

from benchmarks import inputs
from benchmarks.contender import API_KEY, Contender, Folded, StreamCounts


class OpenAI(Contender):
    """openai on httpx."""

    divisor = 10
    http_client: ClassVar[type[httpx2.AsyncClient]] = DefaultAsyncHttpxClient

    def __init__(self, base_url: str, connections: int) -> None:
        limits = httpx2.Limits(
            max_connections=connections, max_keepalive_connections=connections
        )
        self._client = AsyncOpenAI(
            api_key=API_KEY,
            base_url=base_url,
            http_client=self.http_client(limits=limits),
        )
        self._completions = self._client.chat.completions

    async def aclose(self) -> None:
        await self._client.close()

    async def complete(self) -> str:
        response = await self._completions.create(
            model=inputs.MODEL, messages=[_question()]
        )
        return response.choices[0].message.content or ""

    async def stream(self, seen: Callable[[], None] | None = None) -> StreamCounts:
        chunks = 0
        text: list[str] = []
        async with await self._completions.create(
            model=inputs.MODEL, messages=[_question()], stream=True
        ) as stream:
            async for chunk in stream:
                chunks += 1
                for choice in chunk.choices:
                    content = choice.delta.content
                    if content:
                        text.append(content)
                if seen is not None:
                    seen()
        return StreamCounts(chunks, len("".join(text)))

    async def read_bytes(self) -> int:
        """Read a stream without parsing it, and return the number of its bytes."""
        size = 0
        async with self._completions.with_streaming_response.create(
            model=inputs.MODEL, messages=[_question()], stream=True
        ) as response:
            async for data in response.iter_bytes():
                size += len(data)
        return size

    async def fold(self) -> Folded:
        manager = self._completions.stream(model=inputs.MODEL, messages=[_question()])
        async with manager as stream:
            typed: AsyncChatCompletionStream[Any] = stream
            response = await typed.get_final_completion()
        message = response.choices[0].message
        calls = message.tool_calls or []
        return Folded(
            len(message.content or ""),
            None,  # not a field of the SDK
            sum(len(call.function.arguments) for call in calls),
        )

    @staticmethod
    def encoder() -> Callable[[], bytes]:
        turns = inputs.turns()

        def encode() -> bytes:
            messages: list[ChatCompletionMessageParam] = [_system()]
            messages.extend(_message(*turn) for turn in turns)
            body = maybe_transform(
                {
                    "model": inputs.MODEL,
                    "messages": messages,
                    "temperature": 0.2,
                    "max_tokens": 4096,
                    "tools": [
                        _tool(number, parameters)
                        for number, parameters in enumerate(inputs.TOOL_PARAMETERS)
                    ],
                    "tool_choice": "auto",
                    "stream": True,
                },
                CompletionCreateParams,
            )
            # Not part of OpenAI's API; users pass it in `extra_body=`, which is merged.
            provider = {
                "order": list(inputs.LIKED_PROVIDERS),
                "allow_fallbacks": False,
                "data_collection": "deny",
                "sort": "throughput",
            }
            return openapi_dumps({**cast("dict[str, Any]", body), "provider": provider})

        return encode


class OpenAIOnAiohttp(OpenAI):
    """openai on its aiohttp transport."""

    http_client = DefaultAioHttpClient


def _question() -> ChatCompletionMessageParam:
    return {"role": "user", "content": inputs.QUESTION}


def _system() -> ChatCompletionMessageParam:
    part: Any = {
        "type": "text",
        "text": inputs.SYSTEM,
        "cache_control": {"type": "ephemeral"},
    }
    return {"role": "system", "content": [part]}


def _tool(number: int, parameters: dict[str, Any]) -> ChatCompletionToolParam:
    return {
        "type": "function",
        "function": {
            "name": f"look_up_{number}",
            "description": "Look up a row by its key.",
            "parameters": parameters,
        },
    }


def _message(kind: str, text: str, call_id: str) -> ChatCompletionMessageParam:
    if kind == "user":
        picture: Any = {"url": inputs.PICTURE, "detail": "low"}
        return {
            "role": "user",
            "content": [
                {"type": "text", "text": text},
                {"type": "image_url", "image_url": picture},
            ],
        }
    if kind == "call":
        call: Any = {
            "id": call_id,
            "type": "function",
            "function": {"name": "look_up_0", "arguments": inputs.arguments(text)},
        }
        return {"role": "assistant", "content": None, "tool_calls": [call]}
    if kind == "tool":
        return {"role": "tool", "content": text, "tool_call_id": call_id}
    return {"role": "assistant", "content": text}
