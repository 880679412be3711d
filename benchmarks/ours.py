"""
openrouter_async, used as in its README.

It takes part in every case, with its defaults: timeouts, retries and limits are on. The
cost of `on_call` is not measured. In `stream`, three classes read the text of a chunk
in three ways: from `text`, `choices` and `raw`.
"""

# ruff: noqa: D102 - the methods are described in the base class

from collections.abc import Callable
from typing import Any

from benchmarks import inputs
from benchmarks.contender import API_KEY, Contender, Folded, StreamCounts
from openrouter_async import (
    AssistantMessage,
    AsyncOpenRouter,
    ChatGenerationParams,
    FunctionTool,
    ImagePart,
    ProviderPreferences,
    SystemMessage,
    TextPart,
    ToolResponseMessage,
    UserMessage,
)
from openrouter_async.protocol.body import chat_body

# `request` measures a single step, which has no public function.
from openrouter_async.protocol.encode import encode


class Ours(Contender):
    """The library of this repository."""

    def __init__(self, base_url: str, connections: int) -> None:
        self.client = AsyncOpenRouter(
            api_key=API_KEY, base_url=base_url, max_connections=connections
        )

    async def aclose(self) -> None:
        await self.client.aclose()

    async def complete(self) -> str:
        response = await self.client.chat.send(
            model=inputs.MODEL, messages=[UserMessage(inputs.QUESTION)]
        )
        return response.text

    async def stream(self, seen: Callable[[], None] | None = None) -> StreamCounts:
        chunks = 0
        text: list[str] = []
        async with self.client.chat.send(
            model=inputs.MODEL, messages=[UserMessage(inputs.QUESTION)], stream=True
        ) as stream:
            async for chunk in stream:
                chunks += 1
                content = chunk.text
                if content:
                    text.append(content)
                if seen is not None:
                    seen()
        return StreamCounts(chunks, len("".join(text)))

    async def fold(self) -> Folded:
        async with self.client.chat.send(
            model=inputs.MODEL, messages=[UserMessage(inputs.QUESTION)], stream=True
        ) as stream:
            response = await stream.collect()
        return Folded(
            len(response.text),
            len(response.reasoning or ""),
            sum(len(call.function.arguments) for call in response.tool_calls),
        )

    async def leave(self) -> None:
        """Open a stream, read one chunk and leave."""
        async with self.client.chat.send(
            model=inputs.MODEL, messages=[UserMessage(inputs.QUESTION)], stream=True
        ) as stream:
            async for _ in stream:
                break

    @staticmethod
    def encoder() -> Callable[[], bytes]:
        turns = inputs.turns()

        def build_and_encode() -> bytes:
            messages: list[Message] = [_system()]
            messages.extend(_message(*turn) for turn in turns)
            params = ChatGenerationParams(
                model=inputs.MODEL,
                messages=messages,
                temperature=0.2,
                max_tokens=4096,
                tools=[
                    _tool(number, parameters)
                    for number, parameters in enumerate(inputs.TOOL_PARAMETERS)
                ],
                tool_choice="auto",
                provider=ProviderPreferences(
                    order=inputs.LIKED_PROVIDERS,
                    allow_fallbacks=False,
                    data_collection="deny",
                    sort="throughput",
                ),
            )
            return encode(chat_body(params, {}, stream=True, extra=None))

        return build_and_encode


class OursReadingChoices(Ours):
    """The library, with the text read from the choices of each chunk."""

    async def stream(self, seen: Callable[[], None] | None = None) -> StreamCounts:
        chunks = 0
        text: list[str] = []
        async with self.client.chat.send(
            model=inputs.MODEL, messages=[UserMessage(inputs.QUESTION)], stream=True
        ) as stream:
            async for chunk in stream:
                chunks += 1
                content = chunk.choices[0].delta.content
                if content:
                    text.append(content)
                if seen is not None:
                    seen()
        return StreamCounts(chunks, len("".join(text)))


class OursReadingRaw(Ours):
    """The library, with the text read from the received JSON of each chunk."""

    async def stream(self, seen: Callable[[], None] | None = None) -> StreamCounts:
        chunks = 0
        text: list[str] = []
        async with self.client.chat.send(
            model=inputs.MODEL, messages=[UserMessage(inputs.QUESTION)], stream=True
        ) as stream:
            async for chunk in stream:
                chunks += 1
                content = chunk.raw["choices"][0]["delta"].get("content")
                if content:
                    text.append(content)
                if seen is not None:
                    seen()
        return StreamCounts(chunks, len("".join(text)))


Message = SystemMessage | UserMessage | AssistantMessage | ToolResponseMessage


def _system() -> SystemMessage:
    part = TextPart(inputs.SYSTEM, cache_control={"type": "ephemeral"})
    return SystemMessage([part])


def _tool(number: int, parameters: dict[str, Any]) -> FunctionTool:
    return FunctionTool(
        {
            "name": f"look_up_{number}",
            "description": "Look up a row by its key.",
            "parameters": parameters,
        }
    )


def _message(kind: str, text: str, call_id: str) -> Message:
    if kind == "user":
        picture = ImagePart({"url": inputs.PICTURE, "detail": "low"})
        return UserMessage([TextPart(text), picture])
    if kind == "call":
        function = {"name": "look_up_0", "arguments": inputs.arguments(text)}
        call = {"id": call_id, "type": "function", "function": function}
        return AssistantMessage(tool_calls=[call])
    if kind == "tool":
        return ToolResponseMessage(text, tool_call_id=call_id)
    return AssistantMessage(text)
