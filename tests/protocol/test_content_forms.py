"""Content in `delta`, `message`, lists of parts and `text`: one text in all forms."""

import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openrouter_async.errors import MalformedResponseError
from openrouter_async.protocol.accumulator.accumulator import Accumulator
from openrouter_async.protocol.decode import decode, decode_finite
from openrouter_async.protocol.encode import encode
from openrouter_async.protocol.response_objects import (
    parse_chunk,
    read_chunk,
    read_response,
)
from openrouter_async.protocol.stream_state import StreamState
from openrouter_async.sse import ServerSentEvent
from openrouter_async.types import ChatResponse, Exchange

Json = dict[str, Any]
SNIPPETS = st.text(st.sampled_from("ab \u00e9\ud83e\udd80"), max_size=3)
THINKING: Json = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}


def stream(*choices: Json) -> tuple[list[str], ChatResponse]:
    """Return the texts of the chunks, and the response."""
    state = StreamState(Exchange(), wall_time=lambda: 0.0)
    texts: list[str] = []
    for choice in choices:
        data = encode({"choices": [{"index": 0, **choice}]}).decode()
        chunk = state.feed(ServerSentEvent(data=data))
        assert chunk is not None
        texts.append(chunk.text)
    return texts, state.response


@st.composite
def choices(draw: st.DrawFn) -> list[Json]:
    """Choices of a stream, each with new text in one form, or in several at once."""
    whole = ""
    result: list[Json] = []
    for _ in range(draw(st.integers(0, 6))):
        piece = draw(SNIPPETS)
        whole += piece
        parts = draw(st.sampled_from([[], [THINKING]]))
        forms: list[Json] = [
            {"delta": {"content": piece}},
            {"delta": {"content": [*parts, {"type": "text", "text": piece}]}},
            {"message": {"role": "assistant", "content": whole}},
            {"delta": {"content": piece}, "message": {"content": whole}},
            {"text": piece},
            {"delta": {}, "text": piece},
            {"delta": {"role": "assistant"}, "message": {"content": whole}},
        ]
        result.append(draw(st.sampled_from(forms)))
    return result


@given(choices())
def test_joined_chunk_texts_are_the_text_of_the_response(parts: list[Json]) -> None:
    texts, response = stream(*parts)

    joined = "".join(texts)
    joined.encode()
    assert response.text == joined
    assert read_response(decode(encode(response.raw))).text == joined


NEW_TEXTS: list[tuple[list[Json], list[str]]] = [
    ([{"message": {"content": "a"}}, {"message": {"content": "ab"}}], ["a", "b"]),
    ([{"message": {"content": "ab"}}, {"message": {"content": "a"}}], ["ab", ""]),
    ([{"message": {"content": "a"}}, {"message": {"content": "b"}}], ["a", "b"]),
    ([{"delta": {"content": "a "}}, {"message": {"content": "A"}}], ["a ", ""]),
    ([{"text": "a", "delta": {"content": "b"}}], ["b"]),
    ([{"text": "a", "message": {"content": "b"}}], ["b"]),
    ([{"message": {"content": [THINKING]}}], [""]),
    ([{"delta": {"content": "a"}}, {"delta": {"content": [THINKING, "b"]}}], ["a", "b"]),
    ([{"delta": {"content": []}}, {"delta": {"content": "a"}}], ["", "a"]),
    ([{"delta": {"content": {"type": "text", "text": "a"}}}, {"delta": {"content": "b"}}], ["a", "b"]),
    ([{"message": {"content": {"type": "text", "text": "a"}}}], ["a"]),
]  # fmt: skip


@pytest.mark.parametrize(("parts", "texts"), NEW_TEXTS)
def test_new_text_of_each_chunk(parts: list[Json], texts: list[str]) -> None:
    shown, response = stream(*parts)

    assert shown == texts
    assert response.text == "".join(texts)


def test_parts_are_in_one_list() -> None:
    part = {"type": "text", "text": "b", "id": 1}
    deltas: list[Any] = [
        "a",
        [THINKING],
        "b",
        [{"type": "text", "text": "e"}],
        [part],
        [{"type": "text", "text": "c"}],
        "d",
    ]
    _, response = stream(*({"delta": {"content": content}} for content in deltas))

    assert response.message.raw["content"] == [
        {"type": "text", "text": "a"},
        THINKING,
        {"type": "text", "text": "be"},
        part,
        {"type": "text", "text": "cd"},
    ]


def test_parts_and_members_of_a_message_are_kept() -> None:
    whole = {"role": "assistant", "content": [THINKING], "annotations": [{"type": "x"}]}
    _, response = stream({"message": whole})

    assert response.message.raw == whole


def test_reasoning_of_a_chunk_with_both_names_is_the_first() -> None:
    whole = {"reasoning": "a", "reasoning_content": "b", "name": None, "refusal": "no"}
    _, response = stream({"delta": {"refusal": "no"}, "message": whole})

    assert response.reasoning == "a"
    assert response.message.raw == whole
    # The second one of two choices is shown in its own delta.
    first = {"index": 0, "delta": {"content": "a"}}
    second = {"index": 1, "message": {"content": "b"}}
    chunk = read_chunk({"choices": [first, second]})
    Accumulator().add(chunk)
    assert [choice.delta.content for choice in chunk.choices] == ["a", "b"]


def test_text_of_a_prompt_is_kept_and_read() -> None:
    _, response = stream({"text": "a"}, {"text": "b", "finish_reason": "stop"})
    plain = read_response({"choices": [{"text": "ab"}]})

    assert response.raw["choices"][0]["text"] == "ab"
    assert response.text == plain.text == "ab"


def test_delta_instead_of_a_message_is_read() -> None:
    plain = read_response({"choices": [{"delta": {"content": "a"}}]})

    assert plain.text == "a"


@pytest.mark.parametrize(
    ("content", "token"),
    [([], False), ([THINKING], True), ([{"type": "thinking", "text": "a"}], True)],
)
def test_thinking_in_the_content_is_a_token(content: Any, token: bool) -> None:
    state = StreamState(Exchange(), wall_time=lambda: 0.0)
    data = encode({"choices": [{"delta": {"content": content}}]}).decode()
    chunk = state.feed(ServerSentEvent(data=data))

    assert chunk is not None
    assert (state.token_seen, chunk.text) == (token, "")


def test_reasoning_content_alone_is_the_reasoning() -> None:
    deltas: list[Json] = [
        {"reasoning_content": "a"},
        {"reasoning": None, "reasoning_content": "b"},
        {"reasoning": "", "reasoning_content": ""},
    ]
    chunks = [read_chunk({"choices": [{"delta": delta}]}) for delta in deltas]
    accumulator = Accumulator()
    for chunk in chunks:
        accumulator.add(chunk)

    assert [chunk.reasoning for chunk in chunks] == ["a", "b", ""]
    assert accumulator.response().reasoning == "ab"
    both: Json = {"reasoning": "a", "reasoning_content": "b"}
    assert read_response({"choices": [{"message": both}]}).reasoning == "a"


@pytest.mark.parametrize("top", [None, {}])
def test_usage_in_a_choice_counts_if_there_is_none_at_the_top(top: Any) -> None:
    choice = {"index": 0, "delta": {"content": "a"}, "usage": {"total_tokens": 7}}
    chunk = read_chunk({"usage": top, "choices": [7, choice]})
    accumulator = Accumulator()
    accumulator.add(chunk)

    assert chunk.usage is not None
    assert accumulator.response().usage.total_tokens == 7
    outer = {"usage": {"total_tokens": 8}, "choices": [choice]}
    assert read_response(outer).usage.total_tokens == 8
    assert read_response({"choices": [{}]}).usage.total_tokens is None


def test_equal_annotations_are_kept_once() -> None:
    deep: Any = 1
    for _ in range(50_000):
        deep = [deep]
    one, other = {"type": "x", "n": 1}, {"type": "x", "n": 2}
    accumulator = Accumulator()
    for found in ([one], [one, other], [dict(other)], [deep], [[deep]]):
        accumulator.add(read_chunk({"choices": [{"delta": {"annotations": found}}]}))
    body = accumulator.build()

    annotations = body["choices"][0]["message"]["annotations"]
    assert annotations[:2] == [one, other]
    assert len(annotations) == 4


@pytest.mark.parametrize("index", [1, 1.0, "1", " 1 ", "1.0", "1."])
def test_index_may_be_a_float_or_text(index: Any) -> None:
    chunk = read_chunk({"choices": [{"index": index, "delta": {"content": "a"}}]})
    accumulator = Accumulator()
    accumulator.add(chunk)

    assert chunk.choices[0].index == 1
    assert accumulator.build()["choices"][0]["index"] == 1


@pytest.mark.parametrize("index", ["", "x", "1.5", "9" * 5000, True, [1]])
def test_index_of_another_kind_is_none(index: Any) -> None:
    assert read_chunk({"choices": [{"index": index}]}).choices[0].index is None


@pytest.mark.parametrize("piece", ["NaN", "Infinity", "-Infinity", "1e999", "9" * 5000])
def test_number_that_is_not_finite_is_none(piece: str) -> None:
    data = f'{{"a":{piece},"b":0.5,"c":18446744073709551617}}'

    assert decode(data) == {"a": None, "b": 0.5, "c": 2**64 + 1}
    assert parse_chunk(data).raw == decode(data.encode())


@pytest.mark.parametrize("piece", ["nan", "-nan", "NAN", "inf", "-inf", "+Infinity"])
def test_number_that_is_not_finite_has_any_spelling(piece: str) -> None:
    text = "a \\" + "nan, inf"
    data = f'{{"a":[{piece},{{"b":{piece} }}],"t":{encode(text).decode()}}}'

    assert decode(data) == {"a": [None, {"b": None}], "t": text}


@pytest.mark.parametrize("data", ['{"a":nano}', "[inf", '{"a":-inf,"b":x}', "nan nan"])
def test_other_spellings_do_not_make_json_of_anything(data: str) -> None:
    with pytest.raises(MalformedResponseError, match="Invalid JSON"):
        decode(data)


@pytest.mark.parametrize("space", ["", " ", "\n "])
def test_numbers_in_json_arguments_keep_their_digits(space: str) -> None:
    value = '{"n":-19223372036854775809,"d":12345678901234567.125,"e":[0.5,null]}'
    call = f'{{"index":0,"function":{{"name":"f","arguments":{space}{value}}}}}'
    body = f'{{"usage":{{"cost":0.1234567890123456789}},"choices":[{{"KEY":{{"tool_calls":[{call}]}}}}]}}'
    plain = read_response(decode(body.replace("KEY", "message").encode()))
    state = StreamState(Exchange(), wall_time=lambda: 0.0)
    chunk = state.feed(ServerSentEvent(data=body.replace("KEY", "delta")))

    assert chunk is not None
    assert pickle.loads(pickle.dumps(plain)) == plain
    assert plain.usage.cost == 0.1234567890123456789
    for calls in (
        plain.tool_calls,
        chunk.choices[0].delta.tool_calls,
        state.response.tool_calls,
    ):
        assert [call.function.arguments for call in calls] == [value]


@pytest.mark.parametrize("piece", ["NaN", "1e999", "9" * 5000])
def test_finite_decoding_rejects_numbers_that_are_not_finite(piece: str) -> None:
    with pytest.raises(MalformedResponseError, match="not finite or has too many"):
        decode_finite(f'{{"a": [0.5, {piece}]}}')


def test_finite_decoding_accepts_what_decoding_does() -> None:
    assert decode_finite('{"a": 1}') == {"a": 1}
    assert decode_finite('"\\ud83e"') == "\ud83e"


def test_finite_decoding_rejects_other_spellings() -> None:
    with pytest.raises(MalformedResponseError, match="Invalid JSON"):
        decode_finite('{"a": -nan}')
