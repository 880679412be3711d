"""Accumulate chunks, and return the whole response or a part of it."""

from collections.abc import Iterable
from typing import Any

from openrouter_async.protocol.accumulator.accumulator import Accumulator
from openrouter_async.types import (
    ChatStreamingResponseChunk,
)

Json = dict[str, Any]


def chunk(raw: Json) -> ChatStreamingResponseChunk:
    return ChatStreamingResponseChunk(raw=raw)


def accumulate(chunks: Iterable[Json]) -> Accumulator:
    result = Accumulator()
    for raw in chunks:
        result.add(chunk(raw))
    return result


def body(chunks: Iterable[Json]) -> Json:
    return accumulate(chunks).build(ended=True)


def delta(finish: str | None = None, /, **members: Any) -> Json:
    choice = {"index": 0, "delta": members, "finish_reason": finish}
    return {"id": "gen-17-AbC", "choices": [choice]}


def choice(chunks: Iterable[Json]) -> Json:
    first: Json = body(chunks)["choices"][0]
    return first


def message(*deltas: Json) -> Json:
    result: Json = choice([delta(**members) for members in deltas])["message"]
    return result
