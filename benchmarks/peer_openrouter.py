"""
The official OpenRouter SDK.

It takes part in every case except `fold`, because it cannot combine chunks. It has its
default settings, except for the size of the pool, which is as large as the case needs,
and the pool timeout: with httpx's 5 s, calls of `complete` and `wide` fail.
"""

# ruff: noqa: D102 - the methods are described in the base class

from collections.abc import Callable
from typing import Any

import httpx
from openrouter import OpenRouter, components, utils

from benchmarks import inputs
from benchmarks.contender import API_KEY, Contender, StreamCounts


class OpenRouterSDK(Contender):
    """The official SDK, on httpx."""

    divisor = 40

    def __init__(self, base_url: str, connections: int) -> None:
        limits = httpx.Limits(
            max_connections=connections, max_keepalive_connections=connections
        )
        timeout = httpx.Timeout(600, connect=5.0)
        self._http = httpx.AsyncClient(limits=limits, timeout=timeout)
        self._client = OpenRouter(
            api_key=API_KEY, server_url=base_url, async_client=self._http
        )

    async def aclose(self) -> None:
        await self._http.aclose()

    async def complete(self) -> str:
        response = await self._client.chat.send_async(
            model=inputs.MODEL,
            messages=[_question()],
            stream=False,
        )
        content = response.choices[0].message.content
        assert isinstance(content, str)
        return content

    async def stream(self, seen: Callable[[], None] | None = None) -> StreamCounts:
        chunks = 0
        text: list[str] = []
        async with await self._client.chat.send_async(
            model=inputs.MODEL,
            messages=[_question()],
            stream=True,
        ) as stream:
            async for chunk in stream:
                chunks += 1
                for choice in chunk.choices:
                    content = choice.delta.content
                    if isinstance(content, str):
                        text.append(content)
                if seen is not None:
                    seen()
        return StreamCounts(chunks, len("".join(text)))

    @staticmethod
    def encoder() -> Callable[[], bytes]:
        turns = inputs.turns()

        def encode() -> bytes:
            messages: list[components.ChatMessages] = [_system()]
            messages.extend(_message(*turn) for turn in turns)
            request = components.ChatRequest(
                model=inputs.MODEL,
                messages=messages,
                temperature=0.2,
                max_tokens=4096,
                tools=[
                    _tool(number, parameters)
                    for number, parameters in enumerate(inputs.TOOL_PARAMETERS)
                ],
                tool_choice="auto",
                provider=components.ProviderPreferences(
                    order=list(inputs.LIKED_PROVIDERS),
                    allow_fallbacks=False,
                    data_collection="deny",
                    sort="throughput",
                ),
                stream=True,
            )
            # `send_async` calls this before it sends; it has no public name.
            body = utils.serialize_request_body(  # pyright: ignore[reportUnknownMemberType]
                request,
                nullable=False,
                optional=False,
                serialization_method="json",
                request_body_type=components.ChatRequest,
            )
            assert body is not None
            content: Any = body.content
            return content.encode() if isinstance(content, str) else bytes(content)

        return encode


def _question() -> components.ChatUserMessageTypedDict:
    return {"role": "user", "content": inputs.QUESTION}


def _system() -> components.ChatSystemMessage:
    part = components.ChatContentText(
        type="text",
        text=inputs.SYSTEM,
        cache_control=components.ChatContentCacheControl(type="ephemeral"),
    )
    return components.ChatSystemMessage(role="system", content=[part])


def _tool(number: int, parameters: dict[str, Any]) -> components.ChatFunctionTool:
    return components.ChatFunctionToolFunction(
        type="function",
        function=components.ChatFunctionToolFunctionFunction(
            name=f"look_up_{number}",
            description="Look up a row by its key.",
            parameters=parameters,
        ),
    )


def _message(kind: str, text: str, call_id: str) -> components.ChatMessages:
    if kind == "user":
        picture = components.ChatContentImageImageURL(url=inputs.PICTURE, detail="low")
        return components.ChatUserMessage(
            role="user",
            content=[
                components.ChatContentText(type="text", text=text),
                components.ChatContentImage(type="image_url", image_url=picture),
            ],
        )
    if kind == "call":
        function = components.ChatToolCallFunction(
            name="look_up_0", arguments=inputs.arguments(text)
        )
        call = components.ChatToolCall(id=call_id, type="function", function=function)
        return components.ChatAssistantMessage(
            role="assistant", content=None, tool_calls=[call]
        )
    if kind == "tool":
        return components.ChatToolMessage(
            role="tool", content=text, tool_call_id=call_id
        )
    return components.ChatAssistantMessage(role="assistant", content=text)
