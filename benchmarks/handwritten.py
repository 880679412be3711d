"""
The hand-written contender: aiohttp, orjson and dicts, with the least code that works.

It takes part in every case, and the figures of the others are divided by its figures.
It checks the status, parses each event once, detects errors, `[DONE]` and a stream that
is cut off, and reads an event of any size in linear time. It has no timeouts, retries,
types, limits or typed errors; the ratio to it shows the cost of these.
"""

# ruff: noqa: D102 - the methods are described in the base class

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import aiohttp
import orjson

from benchmarks import inputs
from benchmarks.contender import API_KEY, Contender, Folded, StreamCounts


class Handwritten(Contender):
    """aiohttp + orjson."""

    def __init__(self, base_url: str, connections: int) -> None:
        del connections  # limit=0 means no limit
        self._url = base_url + "/chat/completions"
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            headers={
                "Authorization": "Bearer " + API_KEY,
                "Content-Type": "application/json",
            },
            timeout=aiohttp.ClientTimeout(total=None),
        )

    async def aclose(self) -> None:
        await self._session.close()

    async def complete(self) -> str:
        body = orjson.dumps(
            {
                "model": inputs.MODEL,
                "messages": [{"role": "user", "content": inputs.QUESTION}],
            }
        )
        async with self._session.post(self._url, data=body) as response:
            if response.status != 200:
                raise RuntimeError(response.status, await response.text())
            completion = orjson.loads(await response.read())
        if "error" in completion:
            raise RuntimeError(completion["error"])
        text: str = completion["choices"][0]["message"]["content"]
        return text

    def _post(self) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        body = orjson.dumps(
            {
                "model": inputs.MODEL,
                "messages": [{"role": "user", "content": inputs.QUESTION}],
                "stream": True,
            }
        )
        return self._session.post(self._url, data=body)

    async def stream(  # noqa: C901 - a function call per chunk would cost time
        self, seen: Callable[[], None] | None = None
    ) -> StreamCounts:
        chunks = reads = 0
        text: list[str] = []
        done = False
        rest: list[bytes] = []
        async with self._post() as response:
            if response.status != 200:
                raise RuntimeError(response.status, await response.text())
            async for data in response.content.iter_any():
                reads += 1
                for line in _lines(rest, data):
                    if not line.startswith(b"data: "):
                        continue
                    if line == b"data: [DONE]":
                        done = True
                        continue
                    chunk = orjson.loads(line[6:])
                    chunks += 1
                    if "error" in chunk:
                        raise RuntimeError(chunk["error"])
                    for choice in chunk["choices"]:
                        content = choice["delta"].get("content")
                        if content:
                            text.append(content)
                    if seen is not None:
                        seen()
        if not done:
            raise RuntimeError("The stream was cut off")
        return StreamCounts(chunks, len("".join(text)), reads)

    async def fold(self) -> Folded:
        builder = _MessageBuilder()
        done = False
        rest: list[bytes] = []
        async with self._post() as response:
            if response.status != 200:
                raise RuntimeError(response.status, await response.text())
            async for data in response.content.iter_any():
                for line in _lines(rest, data):
                    if not line.startswith(b"data: "):
                        continue
                    if line == b"data: [DONE]":
                        done = True
                        continue
                    chunk = orjson.loads(line[6:])
                    if "error" in chunk:
                        raise RuntimeError(chunk["error"])
                    for choice in chunk["choices"]:
                        builder.add(choice["delta"])
        if not done:
            raise RuntimeError("The stream was cut off")
        message = builder.build()
        return Folded(
            len(message["content"]),
            len(message["reasoning"]),
            sum(len(call["function"]["arguments"]) for call in message["tool_calls"]),
        )

    @staticmethod
    def encoder() -> Callable[[], bytes]:
        turns = inputs.turns()

        def encode() -> bytes:
            messages: list[dict[str, Any]] = [
                {
                    "role": "system",
                    "content": [
                        {
                            "type": "text",
                            "text": inputs.SYSTEM,
                            "cache_control": {"type": "ephemeral"},
                        }
                    ],
                }
            ]
            messages.extend(_message(*turn) for turn in turns)
            return orjson.dumps(
                {
                    "model": inputs.MODEL,
                    "messages": messages,
                    "temperature": 0.2,
                    "max_tokens": 4096,
                    "tools": [
                        {
                            "type": "function",
                            "function": {
                                "name": f"look_up_{number}",
                                "description": "Look up a row by its key.",
                                "parameters": parameters,
                            },
                        }
                        for number, parameters in enumerate(inputs.TOOL_PARAMETERS)
                    ],
                    "tool_choice": "auto",
                    "provider": {
                        "order": list(inputs.LIKED_PROVIDERS),
                        "allow_fallbacks": False,
                        "data_collection": "deny",
                        "sort": "throughput",
                    },
                    "stream": True,
                }
            )

        return encode


def _lines(rest: list[bytes], data: bytes) -> list[bytes]:
    """Return the lines that `data` completes; `rest` keeps an incomplete last line."""
    if b"\n" not in data:
        rest.append(data)
        return []
    if rest:
        rest.append(data)
        data = b"".join(rest)
        rest.clear()
    lines = data.split(b"\n")
    last = lines.pop()
    if last:
        rest.append(last)
    return lines


class _MessageBuilder:
    """Combines deltas into a message; supports the fields of this stream only."""

    def __init__(self) -> None:
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._details: dict[tuple[int, str], dict[str, Any]] = {}
        self._calls: dict[int, dict[str, Any]] = {}

    def add(self, delta: dict[str, Any]) -> None:
        content = delta.get("content")
        if content:
            self._text.append(content)
        reasoning = delta.get("reasoning")
        if reasoning:
            self._reasoning.append(reasoning)
        for part in delta.get("reasoning_details") or ():
            key = part["index"], part["type"]
            detail = self._details.setdefault(key, {"texts": []})
            detail["texts"].append(part.get("text", ""))
            detail.update(part)
        for part in delta.get("tool_calls") or ():
            call = self._calls.setdefault(part["index"], part | {"fragments": []})
            call["fragments"].append(part["function"]["arguments"])

    def build(self) -> dict[str, Any]:
        for detail in self._details.values():
            detail["text"] = "".join(detail.pop("texts"))
        for call in self._calls.values():
            call["function"]["arguments"] = "".join(call.pop("fragments"))
        return {
            "role": "assistant",
            "content": "".join(self._text),
            "reasoning": "".join(self._reasoning),
            "reasoning_details": list(self._details.values()),
            "tool_calls": list(self._calls.values()),
        }


def _message(kind: str, text: str, call_id: str) -> dict[str, Any]:
    if kind == "user":
        picture = {"url": inputs.PICTURE, "detail": "low"}
        return {
            "role": "user",
            "content": [
                {"type": "text", "text": text},
                {"type": "image_url", "image_url": picture},
            ],
        }
    if kind == "call":
        function = {"name": "look_up_0", "arguments": inputs.arguments(text)}
        call = {"id": call_id, "type": "function", "function": function}
        return {"role": "assistant", "content": None, "tool_calls": [call]}
    if kind == "tool":
        return {"role": "tool", "content": text, "tool_call_id": call_id}
    return {"role": "assistant", "content": text}
