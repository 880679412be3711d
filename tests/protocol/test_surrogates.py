"""surrogates: halves of characters are joined, held back or replaced."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openrouter_async.protocol.decode import decode
from openrouter_async.protocol.response_objects import read_response
from openrouter_async.protocol.stream_state import StreamState
from openrouter_async.protocol.surrogates import (
    SurrogateText,
    join_halves,
    mark,
    mark_texts,
    readable,
    release,
)
from openrouter_async.sse import ServerSentEvent
from openrouter_async.types import ChatStreamingResponseChunk, Exchange


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("a\u00e9\U0001f980", "a\u00e9\U0001f980"),
        ("a\ud83e\udd80", "a\U0001f980"),
        ("a\ud83e", "a"),
        ("\ud83eb", "\ufffdb"),
        ("\udd80", "\ufffd"),
        ("\ud83e\ud83e", "\ufffd"),
    ],
)
def test_readable_text_has_no_halves(text: str, expected: str) -> None:
    assert readable(text) == expected


@given(st.lists(st.text(st.sampled_from("a\ud83e\udd80\U0001f980"), max_size=3)))
def test_released_pieces_are_the_readable_text(pieces: list[str]) -> None:
    held, shown = "", ""
    for piece in pieces:
        new, held = release(held, piece)
        shown += new

    shown.encode()
    assert shown == readable("".join(pieces))


def test_only_texts_with_halves_are_marked() -> None:
    value: Any = {"content": [{"text": "\ud83e"}, "\ud83e"], "x": "\ud83e", "text": "a"}

    marked = mark_texts(value)

    assert marked == value
    assert type(marked["content"][0]["text"]) is SurrogateText
    assert [type(marked[key]) for key in ("x", "text")] == [str, str]
    assert type(mark(join_halves("\ud83e\udd80"))) is str


def feed(*deltas: str) -> tuple[list[ChatStreamingResponseChunk], StreamState]:
    state = StreamState(Exchange(), wall_time=lambda: 0.0)
    rest = '"finish_reason":null,"native_finish_reason":null'
    chunks: list[ChatStreamingResponseChunk] = []
    for delta in deltas:
        data = f'{{"choices":[{{"index":0,"delta":{delta},{rest}}}]}}'
        chunk = state.feed(ServerSentEvent(data=data))
        assert chunk is not None
        chunks.append(chunk)
    return chunks, state


@pytest.mark.parametrize(
    "key", ["content", "refusal", "reasoning", "reasoning_content"]
)
def test_half_is_held_back_for_the_next_chunk(key: str) -> None:
    pieces = [r"a", r"b\ud83e", r"\udd80c", r"d\ud83e", r"e", r"f"]
    chunks, state = feed(*[f'{{"{key}":"{piece}"}}' for piece in pieces])

    name = "reasoning" if key == "reasoning_content" else key
    shown = [getattr(chunk.choices[0].delta, name) for chunk in chunks]
    assert shown == ["a", "b", "\U0001f980c", "d", "\ufffde", "f"]
    message = state.response.message
    assert getattr(message, name) == "".join(shown)
    assert message.raw[key] == "ab\U0001f980cd\ud83eef"


def test_half_of_arguments_is_held_back() -> None:
    head = '{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"'
    more = '{"tool_calls":[{"index":0,"function":{"arguments":"'
    chunks, state = feed(
        rf'{head}{{\"x\":\"\ud83e"}}}}]}}', rf'{more}\udd80\"}}"}}}}]}}'
    )

    shown = [
        chunk.choices[0].delta.tool_calls[0].function.arguments for chunk in chunks
    ]
    assert shown == ['{"x":"', '\U0001f980"}']
    assert state.response.tool_calls[0].function.arguments == "".join(shown)


def test_halves_in_parts_are_joined() -> None:
    chunks, state = feed(
        r'{"content":[{"type":"text","text":"\ud83e"}]}',
        r'{"content":[{"type":"text","text":"\udd80"}]}',
        r'{"content":null}',
    )

    assert [chunk.text for chunk in chunks] == ["", "\U0001f980", ""]
    assert state.response.text == "\U0001f980"


def test_plain_text_with_a_half_can_be_encoded() -> None:
    data = rb'{"choices":[{"message":{"content":"a\ud83eb","refusal":7}}]}'
    raw = decode(data)
    response = read_response(raw)

    assert response.text == "a\ufffdb"
    assert response.message.refusal is None
    assert json.dumps(response.raw) == json.dumps(json.loads(data))
