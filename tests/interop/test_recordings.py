"""
Recorded replies and streams are read whole.

The recordings are not part of this repository: `OPENROUTER_WIRE` names a folder with
`wire/chat_*.json` and `wire/stream_*.sse`.
"""

import json
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import pytest

from openrouter_async.protocol.decode import decode, read_chunk, read_response
from openrouter_async.protocol.encode import encode
from openrouter_async.types.shape import Shape

FOLDER = os.environ.get("OPENROUTER_WIRE")
WIRE = Path(FOLDER or ".") / "wire"
BODIES = sorted(WIRE.glob("chat_*.json")) if FOLDER else []
STREAMS = sorted(WIRE.glob("stream_*.sse")) if FOLDER else []

pytestmark = pytest.mark.skipif(
    not FOLDER, reason="OPENROUTER_WIRE names no folder of recordings"
)

MUTANTS: tuple[Any, ...] = (None, True, 7, 1.5, "x", [], {}, [None, {}], {"x": 1})


def events(path: Path) -> list[str]:
    """Return the data of each event; lines are enough, as no event has two."""
    return [
        data
        for line in path.read_bytes().decode().split("\n")
        if line.startswith("data:") and (data := line[5:].strip()) != "[DONE]"
    ]


def distinct(path: Path) -> Iterator[Any]:
    """Yield one chunk of each shape in a stream."""
    seen: set[str] = set()
    for data in events(path):
        chunk = json.loads(data)
        shape = str(_shape(chunk))
        if shape not in seen:
            seen.add(shape)
            yield chunk


def _shape(value: Any) -> Any:
    if value.__class__ is dict:
        return {key: _shape(member) for key, member in value.items()}
    if value.__class__ is list:
        return [_shape(member) for member in value]
    return type(value).__name__


def mutate(holder: Any, check: Callable[[], object]) -> None:
    """Delete, null, retype and add each member in turn; check after each change."""
    is_object = holder.__class__ is dict
    if not is_object and holder.__class__ is not list:
        return
    for key in tuple(holder) if is_object else range(len(holder)):
        before = holder[key]
        for mutant in MUTANTS:
            holder[key] = mutant
            check()
        holder[key] = before
        if is_object:
            order = dict(holder)
            del holder[key]
            check()
            holder.clear()
            holder.update(order)
        mutate(before, check)
    if is_object:
        holder["a key that nobody knows"] = [{}]
        check()
        del holder["a key that nobody knows"]


def read_fields(shape: Shape) -> set[str]:
    """Return the names of the fields that hold something."""
    return {
        field.name
        for field in attrs.fields(type(shape))
        if getattr(shape, field.name) not in (None, [])
    }


@pytest.mark.parametrize("path", BODIES, ids=lambda path: path.name)
def test_a_recorded_body_is_read(path: Path) -> None:
    """A body parses, keeps what came as `raw`, and its message goes back unchanged."""
    body = json.loads(path.read_bytes())

    reply = read_response(decode(path.read_bytes()))

    assert reply.raw == body
    assert {key for key, value in body.items() if value not in (None, [])} <= (
        read_fields(reply)
    )
    for choice, came in zip(reply.choices, body.get("choices", []), strict=True):
        sent = dict(came["message"])
        if sent.get("tool_calls") and sent.get("content") == "":
            sent["content"] = None
        assert encode(choice.message) == encode(sent)
        assert [call.id for call in choice.message.tool_calls] == [
            call["id"] for call in sent.get("tool_calls", [])
        ]
        assert {key for key, value in sent.items() if value not in (None, [])} <= (
            read_fields(choice.message)
        )


@pytest.mark.parametrize("path", STREAMS, ids=lambda path: path.name)
def test_a_recorded_stream_is_read(path: Path) -> None:
    """Every event of a stream parses, and keeps what came as `raw`."""
    for data in events(path):
        raw = json.loads(data)
        chunk = read_chunk(decode(data))
        assert chunk.raw == raw
        assert {key for key, value in raw.items() if value not in (None, [])} <= (
            read_fields(chunk)
        )
        for choice, came in zip(chunk.choices, raw["choices"], strict=True):
            assert choice.delta.content == came["delta"].get("content")
            assert choice.delta.reasoning == came["delta"].get("reasoning")
            assert choice.finish_reason == came.get("finish_reason")


@pytest.mark.parametrize("path", BODIES, ids=lambda path: path.name)
def test_a_damaged_body_is_read(path: Path) -> None:
    """Whatever member is deleted, nulled, retyped or added, a body is read."""
    body = json.loads(path.read_bytes())

    mutate(body, lambda: encode(read_response(body).message))

    assert body == json.loads(path.read_bytes())


@pytest.mark.parametrize("path", STREAMS, ids=lambda path: path.name)
def test_a_damaged_chunk_is_read(path: Path) -> None:
    """Whatever member is deleted, nulled, retyped or added, a chunk is read."""
    for chunk in distinct(path):
        before = json.dumps(chunk)
        mutate(chunk, partial(read_chunk, chunk))
        assert json.dumps(chunk) == before
