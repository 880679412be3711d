"""
Recorded responses and streams of OpenRouter.

The recordings are not part of this repository. The environment variable
`OPENROUTER_WIRE` contains the path of a folder with `wire/chat_*.json` and
`wire/stream_*.sse`.
"""

import json
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import pytest

from openrouter_async.protocol.decode import decode
from openrouter_async.protocol.encode import encode
from openrouter_async.protocol.response_objects import read_chunk, read_response
from openrouter_async.types.shape import Shape

FOLDER = os.environ.get("OPENROUTER_WIRE")
WIRE = Path(FOLDER or ".") / "wire"
BODIES = sorted(WIRE.glob("chat_*.json")) if FOLDER else []
STREAMS = sorted(WIRE.glob("stream_*.sse")) if FOLDER else []

pytestmark = pytest.mark.skipif(
    not FOLDER, reason="OPENROUTER_WIRE is not set; it is the folder of the recordings"
)

MUTANTS: tuple[Any, ...] = (None, True, 7, 1.5, "x", [], {}, [None, {}], {"x": 1})


def events(path: Path) -> list[str]:
    """Return the data of each event. No recorded event has more than one line."""
    return [
        data
        for line in path.read_bytes().decode().split("\n")
        if line.startswith("data:") and (data := line[5:].strip()) != "[DONE]"
    ]


def distinct(path: Path) -> Iterator[Any]:
    """Yield one chunk of each structure that occurs in a stream."""
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
    """Remove, null, retype and add each member in turn, and call `check` each time."""
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
        holder["unknown key"] = [{}]
        check()
        del holder["unknown key"]


def read_fields(shape: Shape) -> set[str]:
    """Return the names of the fields that are not empty."""
    return {
        field.name
        for field in attrs.fields(type(shape))
        if getattr(shape, field.name) not in (None, [])
    }


@pytest.mark.parametrize("path", BODIES, ids=lambda path: path.name)
def test_recorded_response_is_read_completely(path: Path) -> None:
    """Its message is also encoded unchanged for the next request."""
    body = json.loads(path.read_bytes())

    response = read_response(decode(path.read_bytes()))

    assert response.raw == body
    assert {key for key, value in body.items() if value not in (None, [])} <= (
        read_fields(response)
    )
    for choice, recorded in zip(response.choices, body.get("choices", []), strict=True):
        sent = dict(recorded["message"])
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
def test_recorded_stream_is_read_completely(path: Path) -> None:
    for data in events(path):
        raw = json.loads(data)
        chunk = read_chunk(decode(data))
        assert chunk.raw == raw
        assert {key for key, value in raw.items() if value not in (None, [])} <= (
            read_fields(chunk)
        )
        for choice, recorded in zip(chunk.choices, raw["choices"], strict=True):
            assert choice.delta.content == recorded["delta"].get("content")
            assert choice.delta.reasoning == recorded["delta"].get("reasoning")
            assert choice.finish_reason == recorded.get("finish_reason")


@pytest.mark.parametrize("path", BODIES, ids=lambda path: path.name)
def test_mutated_response_is_read_without_an_error(path: Path) -> None:
    body = json.loads(path.read_bytes())

    mutate(body, lambda: encode(read_response(body).message))

    assert body == json.loads(path.read_bytes())


@pytest.mark.parametrize("path", STREAMS, ids=lambda path: path.name)
def test_mutated_chunk_is_read_without_an_error(path: Path) -> None:
    for chunk in distinct(path):
        before = json.dumps(chunk)
        mutate(chunk, partial(read_chunk, chunk))
        assert json.dumps(chunk) == before
