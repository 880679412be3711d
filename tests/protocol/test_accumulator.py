"""Accumulator: chunks become the response that a plain call would have returned."""

import json
import os
import time
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tool_call_fragments import FRAGMENTED_CALLS, fragment

from openrouter_async.protocol.accumulator.accumulator import Accumulator, has_token
from openrouter_async.sse import SSEDecoder
from openrouter_async.types import (
    ChatResponse,
    ChatStreamingResponseChunk,
    Delta,
    OutputAudio,
    OutputImage,
    ReasoningDetail,
    StreamingChoice,
    ToolCall,
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


# --- Responses split_response at random. ---

texts = st.text(max_size=12)
nonempty = st.text(min_size=1, max_size=12)
scalars = st.none() | st.booleans() | st.integers() | texts
anything = st.recursive(
    scalars | st.floats(allow_nan=False),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3)
    ),
    max_leaves=8,
)


def optional(**members: st.SearchStrategy[Any]) -> st.SearchStrategy[Json]:
    return st.fixed_dictionaries({}, optional=members)


tokens = st.lists(
    st.fixed_dictionaries({"token": texts, "logprob": st.floats(-9, 0)}), max_size=4
)
logprobs = st.none() | st.fixed_dictionaries(
    {"content": st.none() | tokens, "refusal": st.none() | tokens}
)
documents = st.dictionaries(texts, scalars, max_size=3).map(json.dumps)


@st.composite
def calls(draw: st.DrawFn) -> list[Json]:
    count = draw(st.integers(1, 3))
    return [
        {
            "index": number,
            "id": f"call_{number}",
            "type": "function",
            "function": {"name": draw(nonempty), "arguments": draw(documents)},
            **draw(
                optional(extra_content=st.dictionaries(nonempty, scalars, min_size=1))
            ),
        }
        for number in range(count)
    ]


@st.composite
def details(draw: st.DrawFn) -> list[Json]:
    kinds = {
        "reasoning.text": {"text": nonempty, "signature": nonempty},
        "reasoning.summary": {"summary": nonempty},
        "reasoning.encrypted": {"data": nonempty},
        "reasoning.new": {"payload": nonempty},
    }
    items: list[Json] = []
    for index in range(draw(st.integers(0, 3))):
        for kind in draw(
            st.lists(st.sampled_from(sorted(kinds)), unique=True, max_size=3)
        ):
            payload = {name: draw(values) for name, values in kinds[kind].items()}
            item = {"type": kind, **payload, "format": draw(st.none() | nonempty)}
            items.append({**item, "index": index, **draw(optional(id=nonempty))})
    return items


def distinct(values: list[Any]) -> list[Any]:
    """Return the values without repetitions, which a stream has once."""
    return [each for n, each in enumerate(values) if each not in values[:n]]


@st.composite
def messages(draw: st.DrawFn) -> Json:
    result: Json = {"role": "assistant", "content": draw(texts)}
    result |= draw(
        optional(
            refusal=nonempty,
            reasoning=nonempty,
            tool_calls=calls(),
            reasoning_details=details(),
        )
    )
    result |= draw(
        optional(
            annotations=st.lists(
                st.fixed_dictionaries(
                    {"type": st.just("url_citation"), "url_citation": anything}
                ),
                min_size=1,
                max_size=3,
            ).map(distinct),
            images=st.integers(1, 3).map(
                lambda count: [
                    {"type": "image_url", "image_url": {"url": f"data:{n}"}, "index": n}
                    for n in range(count)
                ]
            ),
            audio=st.fixed_dictionaries(
                {
                    "id": nonempty,
                    "data": st.just("QUJDREVGR0g="),
                    "transcript": nonempty,
                }
            ),
            vendor_thing=anything,
        )
    )
    if result["content"] == "" and "tool_calls" in result:
        result["content"] = None
    return result


@st.composite
def responses(draw: st.DrawFn) -> Json:
    choices = [
        {
            "index": index,
            **draw(optional(logprobs=logprobs)),
            "finish_reason": draw(
                st.sampled_from(["stop", "length", "tool_calls", "error", None])
            ),
            "native_finish_reason": draw(st.none() | nonempty),
            "message": draw(messages()),
            **draw(optional(error=anything)),
        }
        for index in range(draw(st.integers(0, 3)))
    ]
    return {
        "id": "gen-1-x",
        "object": "chat.completion",
        "created": 1,
        "model": draw(nonempty),
        "provider": draw(nonempty),
        **draw(optional(system_fingerprint=nonempty, service_tier=nonempty)),
        "choices": choices,
        **draw(optional(usage=anything, openrouter_metadata=anything, error=anything)),
    }


def split_text(text: str, rng: Random) -> list[str]:
    bounds = [
        0,
        *sorted(rng.choices(range(len(text) + 1), k=rng.randint(0, 3))),
        len(text),
    ]
    return [text[a:b] for a, b in pairwise(bounds)]


def split_calls(items: list[Json], rng: Random) -> list[Json]:
    deltas: list[Json] = []
    for item in items:
        head, *rest = split_text(item["function"]["arguments"], rng)
        first = {**item, "function": {**item["function"], "arguments": head}}
        deltas.append({"tool_calls": [first]})
        deltas += [
            {"tool_calls": [{"index": item["index"], "function": {"arguments": part}}]}
            for part in rest
        ]
    return deltas


def split_details(items: list[Json], rng: Random) -> list[Json]:
    deltas: list[Json] = [{"reasoning_details": []}]
    for item in items:
        (field,) = {"text", "summary", "data", "payload"} & item.keys()
        parts = (
            split_text(item[field], rng)
            if field in ("text", "summary")
            else [item[field]]
        )
        start = {key: value for key, value in item.items() if key != "signature"}
        more = [
            {"type": item["type"], "index": item["index"], field: part}
            for part in parts[1:]
        ]
        fragments = [{**start, field: parts[0]}, *more]
        if "signature" in item:
            signed = {"type": item["type"], "index": item["index"]}
            fragments.append({**signed, "signature": item["signature"]})
        deltas += [{"reasoning_details": [fragment]} for fragment in fragments]
    return deltas


def split_message(whole: Json, rng: Random) -> list[Json]:
    """Split a message into deltas, with its members interleaved at random."""
    queues: list[list[Json]] = []
    for key, value in whole.items():
        if key in ("content", "refusal", "reasoning") and value:
            queues.append([{key: part} for part in split_text(value, rng)])
        elif key == "tool_calls":
            queues.append(split_calls(value, rng))
        elif key == "reasoning_details":
            queues.append(split_details(value, rng))
        elif key in ("annotations", "images"):
            queues.append([{key: [item]} for item in value])
        elif key == "audio":
            transcripts = [
                {key: {"transcript": part}}
                for part in split_text(value["transcript"], rng)
            ]
            data = [{key: {"data": part}} for part in split_text(value["data"], rng)]
            queues.append([{key: {"id": value["id"]}}, *transcripts, *data])
        elif key != "role":
            queues.append([{key: value}])
    deltas: list[Json] = []
    while queues:
        queue = rng.choice(queues)
        deltas.append({"role": "assistant", **queue.pop(0)})
        queues = [queue for queue in queues if queue]
    return deltas


def split_choice(whole: Json, rng: Random) -> list[Json]:
    """Split a choice as servers do: deltas first, the finish reason twice."""
    known = ("index", "message", "finish_reason", "native_finish_reason", "logprobs")
    rest = {key: value for key, value in whole.items() if key not in known}
    quiet = {"finish_reason": None, "native_finish_reason": None}
    deltas = split_message(whole["message"], rng)
    parts: list[Json] = [{"delta": part, **quiet} for part in deltas]
    if "logprobs" in whole:
        parts.append({"delta": {}, "logprobs": None})
        lists: dict[str, list[Any] | None] = whole["logprobs"] or {}
        for key, values in lists.items():
            items = values or []
            parts.append({"logprobs": {key: None if values is None else []}})
            parts += [{"delta": {}, "logprobs": {key: [item]}} for item in items]
    end = {key: whole[key] for key in ("finish_reason", "native_finish_reason")}
    parts += [
        {"delta": {"content": ""}, **end},
        {"delta": {"content": ""}, **end, **rest},
    ]
    parts.append({"delta": {}, **quiet})
    return [{"index": whole["index"], **part} for part in parts]


def split_response(whole: Json, rng: Random) -> list[Json]:
    """Split a plain response into the chunks of a stream."""
    early = ("id", "created", "model", "provider")
    head = {key: whole[key] for key in early} | {"object": "chat.completion.chunk"}
    rest = {
        key: whole[key] for key in whole if key not in (*early, "object", "choices")
    }
    queues: list[list[Json]] = [split_choice(part, rng) for part in whole["choices"]]
    chunks: list[Json] = []
    while queues:
        queue = rng.choice(queues)
        chunks.append({**head, "choices": [queue.pop(0)]})
        queues = [queue for queue in queues if queue]
    position = rng.randint(0, len(chunks))
    return [*chunks[:position], {**head, "choices": [], **rest}, *chunks[position:]]


@given(responses(), st.integers())
def test_response_split_into_chunks_is_restored(whole: Json, seed: int) -> None:
    chunks = split_response(whole, Random(seed))
    before = json.dumps(chunks)

    assert body(chunks) == whole
    assert json.dumps(chunks) == before


@given(responses(), st.integers())
def test_building_a_response_does_not_change_the_accumulator(
    whole: Json, seed: int
) -> None:
    result = Accumulator()
    built: list[tuple[Json, str]] = []
    chunks = split_response(whole, Random(seed))
    for raw in chunks:
        result.add(chunk(raw))
        partial = result.build()
        built.append((partial, json.dumps(partial)))
        copy = result.build()
        modify(copy)

    assert [text for _, text in built] == [json.dumps(m) for m, _ in built]
    assert result.build(ended=True) == body(chunks)


def modify(value: Any) -> None:
    """Modify every list and object in a value."""
    if isinstance(value, dict):
        for member in list(value.values()):  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
            modify(member)
        value["modified"] = True
    elif isinstance(value, list):
        for member in list(value):  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
            modify(member)
        value.append("modified")  # pyright: ignore[reportUnknownMemberType]


# --- Random JSON. ---

KEYS = [
    "id", "choices", "index", "delta", "message", "finish_reason", "native_finish_reason",
    "logprobs", "content", "role", "reasoning", "reasoning_details", "tool_calls", "function",
    "name", "arguments", "type", "text", "data", "signature", "annotations", "images", "audio",
    "transcript", "function_call", "usage", "error", "tool_call_id",
]  # fmt: skip
garbage = st.recursive(
    scalars | st.floats() | st.sampled_from(["stop", "error", "{}", "{", "="]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(KEYS), inner, max_size=6)
    ),
    max_leaves=15,
)
garbled_choices = st.fixed_dictionaries(
    {},
    optional={
        "index": garbage,
        "delta": st.dictionaries(st.sampled_from(KEYS), garbage),
    },
)
garbled = st.dictionaries(st.sampled_from(KEYS), garbage) | st.fixed_dictionaries(
    {"choices": st.lists(garbled_choices | garbage, max_size=3)},
    optional={"id": garbage},
)


@given(st.lists(garbled, max_size=5))
def test_random_json_accumulates_to_json(chunks: list[Json]) -> None:
    result = body(chunks)

    json.dumps(result)
    assert result["object"] == "chat.completion"
    assert [type(part["message"]) for part in result["choices"]] == [dict] * len(
        result["choices"]
    )


def test_deeply_nested_json_is_accumulated() -> None:
    deep: Any = 1
    for _ in range(100_000):
        deep = [deep]
    call = {"index": 0, "function": {"name": "f", "arguments": deep}}
    text = {"index": 1, "function": {"name": "g", "arguments": "[" * 100_000 + " "}}
    result = body([delta("tool_calls", tool_calls=[call, text]), {"debug": deep}])

    first, second = result["choices"][0]["message"]["tool_calls"]
    assert first["function"] == {"name": "f", "arguments": "{}"}
    assert second["function"]["arguments"] == "[" * 100_000 + " "
    assert result["debug"] is not deep


def test_without_chunks_the_response_has_no_choices() -> None:
    assert Accumulator().build() == {"object": "chat.completion", "choices": []}


# --- The top level. ---


def test_first_value_of_repeated_keys_is_kept() -> None:
    """An empty string is kept only if no other value follows."""
    result = body(
        [
            {
                "id": "",
                "model": None,
                "created": 5,
                "service_tier": None,
                "choices": [],
            },
            {"id": "gen-1", "model": "", "created": 6, "provider": "A", "choices": []},
            {"id": "gen-2", "model": "m", "service_tier": "flex", "choices": []},
            {
                "system_fingerprint": "",
                "service_tier": None,
                "provider": "B",
                "choices": [],
            },
        ]
    )

    assert result == {
        "id": "gen-1",
        "object": "chat.completion",
        "created": 5,
        "model": "m",
        "provider": "A",
        "system_fingerprint": "",
        "service_tier": "flex",
        "choices": [],
    }
    assert list(result)[:5] == ["id", "object", "created", "model", "provider"]


def test_last_value_of_other_keys_is_kept() -> None:
    """Null does not replace a value."""
    result = body(
        [
            {"usage": {"cost": 1}, "error": None, "debug": {"a": 1}},
            {"usage": {"cost": 2}, "error": {"code": 502}, "new": [1]},
            {"usage": None, "debug": {"b": 2}, "new": None, "other": None},
        ]
    )

    assert result["usage"] == {"cost": 2}
    assert result["error"] == {"code": 502}
    assert result["debug"] == {"b": 2}
    assert result["new"] == [1]
    assert result["other"] is None


# --- Choices. ---

FINISHES: dict[str, tuple[list[Json], str | None, Any]] = {
    "repeated": ([{"finish_reason": "stop"}, {"finish_reason": "stop"}], "stop", None),
    "null later": ([{"finish_reason": "stop"}, {"finish_reason": None}], "stop", None),
    "first wins": ([{"finish_reason": "length"}, {"finish_reason": "stop"}], "length", None),
    "error wins": (
        [
            {"finish_reason": "length", "native_finish_reason": "max"},
            {"finish_reason": "error", "native_finish_reason": "MALFORMED"},
        ],
        "error",
        "MALFORMED",
    ),
    "error without a reason": (
        [
            {"finish_reason": "length", "native_finish_reason": "max"},
            {"finish_reason": "error", "native_finish_reason": None},
        ],
        "error",
        "max",
    ),
    "native first wins": (
        [{"native_finish_reason": "a"}, {"native_finish_reason": "b"}, {"native_finish_reason": None}],
        None,
        "a",
    ),
    "empty is ignored": ([{"finish_reason": ""}, {"finish_reason": "stop"}], "stop", None),
    "not a string": ([{"finish_reason": 7}], None, None),
    "never": ([{}], None, None),
}  # fmt: skip


@pytest.mark.parametrize("name", FINISHES)
def test_first_finish_reason_is_kept_unless_an_error_follows(name: str) -> None:
    parts, finish, native = FINISHES[name]
    result = accumulate({"choices": [{"index": 0, **part}]} for part in parts)
    found = result.build()["choices"][0]

    assert found["finish_reason"] == finish
    assert found.get("native_finish_reason") == native


def test_chunks_that_resemble_plain_text_are_read_completely() -> None:
    """The fast path may be used for chunks that contain nothing else."""
    plain = {"index": 0, "finish_reason": None, "native_finish_reason": None}
    text_delta = {"role": "assistant", "content": "a"}
    choices: list[Json] = [
        {**plain, "delta": text_delta},
        {**plain, "delta": text_delta},
        {**plain, "delta": {"role": "assistant", "refusal": "no"}},
        {**plain, "delta": {"content": "b", "refusal": "!"}},
        {**plain, "delta": {"role": "assistant", "content": None}},
        {"index": 0, "finish_reason": None, "error": {"code": 1}, "delta": text_delta},
        {**plain, "delta": None},
        {**plain, "finish_reason": "stop", "delta": text_delta},
    ]

    assert choice({"choices": [part]} for part in choices) == {
        "index": 0,
        "finish_reason": "stop",
        "native_finish_reason": None,
        "message": {"role": "assistant", "content": "aabaa", "refusal": "no!"},
        "error": {"code": 1},
    }


def test_choices_are_identified_by_index_or_position() -> None:
    result = body(
        [
            {"choices": [{"index": 2, "delta": {"content": "c"}}]},
            {
                "choices": [
                    {"index": 0, "delta": {"content": "a"}},
                    {"delta": {"content": "b"}},
                ]
            },
            {"choices": [{"index": 2, "delta": {"content": "C"}}, None, 7]},
        ]
    )

    assert [
        (part["index"], part["message"]["content"]) for part in result["choices"]
    ] == [
        (0, "a"),
        (1, "b"),
        (2, "cC"),
    ]


def test_complete_message_in_a_chunk_is_used_unless_deltas_came() -> None:
    whole = {"role": "assistant", "content": "hi"}

    assert choice([{"choices": [{"message": whole}]}])["message"] == whole
    later = {"choices": [{"message": {**whole, "content": "Hi.", "name": "Ann"}}]}
    assert choice([delta(content="hi"), later])["message"] == {**whole, "name": "Ann"}


def test_logprobs_are_concatenated() -> None:
    parts: list[Any] = [
        None,
        {"content": None, "refusal": None},
        {"content": [1], "odd": "x"},
        {"content": [2], "refusal": [3], "odd": None},
        None,
        {"content": None},
        "garbage",
    ]
    found = choice({"choices": [{"index": 0, "logprobs": part}]} for part in parts)

    assert found["logprobs"] == {"content": [1, 2], "refusal": [3], "odd": "x"}


# --- Messages. ---

TEXTS: dict[str, tuple[list[Json], Json]] = {
    "joined": ([{"content": "a"}, {"content": ""}, {"content": "b"}], {"content": "ab"}),
    "null between": ([{"content": "a"}, {"content": None}, {"content": "b"}], {"content": "ab"}),
    "only empty": ([{"content": ""}], {"content": ""}),
    "only null": ([{"content": None}], {"content": None}),
    "empty and null": ([{"content": ""}, {"content": None}], {"content": ""}),
    "never": ([{"role": "assistant"}], {"role": "assistant"}),
    "not a string": ([{"content": [{"type": "text"}]}], {"content": [{"type": "text"}]}),
    "not a string, then text": ([{"content": 5}, {"content": "a"}], {"content": "a"}),
    "not a string, then null": ([{"content": 5}, {"content": None}], {"content": 5}),
    "reasoning null and empty": ([{"reasoning": None}, {"reasoning": ""}], {"reasoning": None}),
    "reasoning empty and null": ([{"reasoning": ""}, {"reasoning": None}], {"reasoning": None}),
    "reasoning": ([{"reasoning": None}, {"reasoning": "a"}, {"reasoning": "b"}], {"reasoning": "ab"}),
    "reasoning_content": ([{"reasoning_content": "a"}, {"reasoning_content": "b"}], {"reasoning_content": "ab"}),
    "refusal": ([{"refusal": "no"}, {"refusal": "!"}], {"refusal": "no!"}),
    "role": ([{"role": ""}, {"role": "assistant"}, {"role": "assistant"}, {"role": None}], {"role": "assistant"}),
    "unknown": ([{"x": 1}, {"x": None}, {"x": 2}, {"y": None}], {"x": 2, "y": None}),
    "empty tool calls": ([{"content": "", "tool_calls": []}, {"tool_calls": None}], {"content": ""}),
    "tool calls that are not a list": ([{"tool_calls": "x"}], {"tool_calls": "x"}),
    "calls and null": (
        [{"content": None, "tool_calls": [{"id": "a"}]}, {"content": ""}],
        {"content": None, "tool_calls": [{"id": "a"}]},
    ),
    "calls and empty": (
        [{"content": "", "tool_calls": [{"id": "a"}]}],
        {"content": "", "tool_calls": [{"id": "a"}]},
    ),
    "calls alone": (
        [{"tool_calls": [{"id": "a"}]}],
        {"content": None, "tool_calls": [{"id": "a"}]},
    ),
    "annotations": ([{"annotations": [1]}, {"annotations": None}, {"annotations": [2]}], {"annotations": [1, 2]}),
    "images": (
        [
            {"images": [{"index": 0, "image_url": "preview"}]},
            {"images": [{"index": 1, "image_url": "b"}, {"image_url": "c"}]},
            {"images": [{"index": 0, "image_url": "whole"}, 5]},
        ],
        {"images": [{"index": 0, "image_url": "whole"}, {"index": 1, "image_url": "b"}, {"image_url": "c"}, 5]},
    ),
    "audio": (
        [{"audio": {"id": "x", "transcript": "a"}}, {"audio": {"id": None, "transcript": "b", "expires_at": 1}}],
        {"audio": {"id": "x", "transcript": "ab", "expires_at": 1}},
    ),
    "audio in one": ([{"audio": {"data": "QUJD"}}], {"audio": {"data": "QUJD"}}),
    "audio split_response anywhere": ([{"audio": {"data": "Q"}}, {"audio": {"data": "UJDRA=="}}], {"audio": {"data": "QUJDRA=="}}),
    "audio with each part padded": (
        [{"audio": {"data": "QQ=="}}, {"audio": {"data": "QkM="}}, {"audio": {"data": "RA=="}}],
        {"audio": {"data": "QUJDRA=="}},
    ),
    "invalid audio": ([{"audio": {"data": "Q="}}, {"audio": {"data": "Q"}}], {"audio": {"data": "Q=Q"}}),
    "no audio": ([{"audio": None}], {"audio": None}),
    "function_call": (
        [
            {"function_call": {"name": "f", "arguments": ""}},
            {"function_call": {"arguments": '{"a"'}},
            {"function_call": {"arguments": ":1}"}},
        ],
        {"function_call": {"name": "f", "arguments": '{"a":1}'}},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TEXTS)
def test_deltas_are_combined_into_a_message(name: str) -> None:
    deltas, expected = TEXTS[name]

    assert message(*deltas) == expected


def test_message_has_the_key_order_of_a_plain_response() -> None:
    parts: Json = {
        "annotations": [1],
        "reasoning_details": [{"type": "reasoning.text", "text": "x", "index": 0}],
        "tool_calls": [{"id": "a"}],
        "reasoning": "x",
        "refusal": None,
        "content": "",
        "role": "assistant",
    }

    assert list(message(parts)) == [
        "role",
        "content",
        "refusal",
        "reasoning",
        "tool_calls",
        "reasoning_details",
        "annotations",
    ]


# --- Reasoning details. ---


def text(index: int | None = None, /, **members: Any) -> Json:
    position = {} if index is None else {"index": index}
    return {"type": "reasoning.text", **members, **position}


def summary(index: int, **members: Any) -> Json:
    return {"type": "reasoning.summary", **members, "index": index}


def encrypted(index: int | None, **members: Any) -> Json:
    position = {} if index is None else {"index": index}
    return {"type": "reasoning.encrypted", **members, **position}


DETAILS: dict[str, tuple[list[list[Any]], Any]] = {
    "nothing": ([[]], []),
    "nothing, then something": ([[], [text(0, text="a")], []], [text(0, text="a")]),
    "text": ([[text(0, text="a")], [text(0, text="b")]], [text(0, text="ab")]),
    "signature": (
        [[text(0, text="a", format="f")], [text(0, signature="s")], [text(0, text="b", signature=None)]],
        [{**text(0, text="ab", format="f"), "signature": "s"}],
    ),
    "late signature": (
        [[text(0, text="a")], [text(1, text="b")], [text(0, signature="s")]],
        [text(0, text="a", signature="s"), text(1, text="b")],
    ),
    "late format": (
        [[text(0, text="a")], [text(0, text="b", format="f")], [text(0, text="c", format="f")]],
        [{**text(0, text="abc"), "format": "f"}],
    ),
    "text null": ([[text(0, text=None)], [text(0, text="a")]], [text(0, text="a")]),
    "two in one chunk": ([[text(0, text="a"), text(1, text="b")], [text(0, text="A")]], [text(0, text="aA"), text(1, text="b")]),
    "summary, then encrypted": (
        [[summary(0, summary="a")], [summary(0, summary="b")], [encrypted(0, data="X", id="rs")]],
        [summary(0, summary="ab"), encrypted(0, data="X", id="rs")],
    ),
    "ids differ": (
        [[encrypted(0, data="X", id="1")], [encrypted(0, data="Y", id="2")]],
        [encrypted(0, data="X", id="1"), encrypted(0, data="Y", id="2")],
    ),
    "ids differ and come back": (
        [[text(0, text="a", id="1")], [text(0, text="b", id="2")], [text(0, text="A", id="1")]],
        [text(0, text="aA", id="1"), text(0, text="b", id="2")],
    ),
    "late id": ([[text(0, text="a")], [text(0, text="b", id="1")]], [text(0, text="ab", id="1")]),
    "ids that are not strings": ([[text(0, text="a", id=5)], [text(0, text="b", id=6)]], [text(0, text="a", id=5), text(0, text="b", id=6)]),
    "encrypted twice the same": ([[encrypted(0, data="X")], [encrypted(0, data="X")]], [encrypted(0, data="X")]),
    "encrypted never joined": ([[encrypted(0, data="X")], [encrypted(0, data="Y")]], [encrypted(0, data="X"), encrypted(0, data="Y")]),
    "encrypted replaced under one id": (
        [[encrypted(0, data="X", id="1")], [encrypted(0, data="Y", id="1")]],
        [encrypted(0, data="Y", id="1")],
    ),
    "encrypted without index": ([[encrypted(None, data="X")], [encrypted(None, data="Y")]], [encrypted(None, data="X"), encrypted(None, data="Y")]),
    "no index": ([[text(text="a")], [summary(0, summary="s")], [text(text="b")]], [text(text="ab"), summary(0, summary="s")]),
    "no index, signed": (
        [[text(text="a")], [text(signature="s")], [text(text="b")], [text(signature="t")]],
        [text(text="a", signature="s"), text(text="b", signature="t")],
    ),
    "index that is not an int": ([[text(text="a", index="x")], [text(text="b", index=None)]], [text(text="ab", index="x")]),
    "server tools": (
        [[{"type": "reasoning.server_tool_call", "tool_call_id": n, "result": n, "index": 0}] for n in "ab"],
        [{"type": "reasoning.server_tool_call", "tool_call_id": n, "result": n, "index": 0} for n in "ab"],
    ),
    "unknown": ([[{"type": "new", "x": 1}], [{"type": "new", "y": 2}]], [{"type": "new", "x": 1, "y": 2}]),
    "no type": ([[{"text": "a"}], [{"text": "b", "type": []}]], [{"text": "ab", "type": []}]),
    "items that are not objects": ([[None, 5, "x", text(0, text="a")]], [text(0, text="a")]),
}  # fmt: skip


@pytest.mark.parametrize("name", DETAILS)
def test_fragments_of_reasoning_details_are_joined(name: str) -> None:
    deltas, expected = DETAILS[name]

    assert message(*[{"reasoning_details": part} for part in deltas]) == {
        "reasoning_details": expected
    }


def test_reasoning_details_that_are_not_a_list_are_kept() -> None:
    assert message({"reasoning_details": "x"}) == {"reasoning_details": "x"}


# --- Tool calls. ---


@pytest.mark.parametrize("name", FRAGMENTED_CALLS)
def test_fragments_of_tool_calls_are_assigned_to_their_call(name: str) -> None:
    lists, expected = FRAGMENTED_CALLS[name]
    chunks = [delta(tool_calls=fragments) for fragments in lists]
    found = choice([*chunks, delta("tool_calls")])["message"]["tool_calls"]

    assert [
        (call["id"], call["function"].get("name", ""), call["function"]["arguments"])
        for call in found
    ] == expected
    assert {call["type"] for call in found} == {"function"}


@pytest.mark.parametrize(
    ("indexes", "expected"),
    [
        ([0, 1], [0, 1]),
        ([1, 2], [1, 2]),
        ([5, 2], [2, 5]),
        ([..., ...], [None, None]),
        ([0, 0], [0, 1]),
        ([0, ..., 0], [0, 1, 2]),
    ],
)
def test_missing_and_repeated_indexes_are_replaced(
    indexes: list[Any], expected: list[Any]
) -> None:
    calls = [fragment(index, f"id{n}", "f", "{}") for n, index in enumerate(indexes)]
    found = message({"tool_calls": calls})["tool_calls"]

    assert [call.get("index") for call in found] == expected


@pytest.mark.parametrize(
    ("finish", "arguments", "expected"),
    [
        ("length", '{"a": ', '{"a": '),
        ("length", "", ""),
        ("error", "", ""),
        ("content_filter", "", ""),
        ("tool_calls", "", "{}"),
        ("STOP", "", "{}"),
        (None, "", "{}"),
    ],
)
def test_empty_arguments_become_an_object_only_if_complete(
    finish: str | None, arguments: str, expected: str
) -> None:
    chunks = [delta(tool_calls=[fragment(0, "a", "f", arguments)]), delta(finish)]
    (call,) = choice(chunks)["message"]["tool_calls"]

    assert call["function"]["arguments"] == expected


def test_empty_arguments_stay_empty_before_the_end_of_the_stream() -> None:
    result = accumulate([delta(tool_calls=[fragment(0, "a", "f", "")])])
    (call,) = result.build()["choices"][0]["message"]["tool_calls"]

    assert call["function"]["arguments"] == ""


def test_unknown_keys_of_a_tool_call_are_kept_in_order() -> None:
    extra = {"google": {"thought_signature": "s"}}
    found = message(
        {
            "tool_calls": [
                fragment(0, "a", "f", "{", type="function", extra_content=extra)
            ]
        },
        {
            "tool_calls": [
                {
                    "index": 0,
                    "function": {"arguments": "}", "x": 1},
                    "extra_content": None,
                }
            ]
        },
        {"tool_calls": [{"index": 0, "type": "other", "thoughtSignature": "t"}]},
    )["tool_calls"]

    assert json.dumps(found) == json.dumps(
        [
            {
                "index": 0,
                "id": "a",
                "function": {"name": "f", "arguments": "{}", "x": 1},
                "type": "function",
                "extra_content": extra,
                "thoughtSignature": "t",
            }
        ]
    )


def test_generated_tool_call_id_is_short_and_alphanumeric() -> None:
    long = {
        **delta(tool_calls=[fragment(0, name="f")]),
        "id": "gen-1780944538-aEMb2TM4DVGCZh912hnR",
    }
    none = {**delta(tool_calls=[fragment(0, name="f")]), "id": None}

    (call,) = choice([long])["message"]["tool_calls"]
    assert call["id"] == "call_aEMb2TM4DVGCZh912hnR_0_0"
    (call,) = choice([none])["message"]["tool_calls"]
    assert call["id"] == "call_0_0"


def test_long_stream_takes_linear_time() -> None:
    """50,000 chunks; joining the texts for each one would copy 25 GB."""
    result = Accumulator()
    more = chunk(
        delta(
            content="text ",
            reasoning="text ",
            reasoning_details=[text(0, text="text ")],
            tool_calls=[fragment(0, arguments="text ")],
        )
    )
    begin = time.perf_counter()
    for _ in range(50_000):
        result.add(more)
    found = result.build()["choices"][0]["message"]

    assert len(found["content"]) == 250_000
    assert len(found["reasoning_details"][0]["text"]) == 250_000
    assert len(found["tool_calls"][0]["function"]["arguments"]) == 250_000
    assert time.perf_counter() - begin < 30


# --- First token and response. ---

DELTAS: list[tuple[Delta, bool]] = [
    (Delta(), False),
    (Delta(role="assistant", content="", reasoning="", refusal=""), False),
    (Delta(content=" "), True),
    (Delta(reasoning="a"), True),
    (Delta(refusal="no"), True),
    (Delta(reasoning_details=[ReasoningDetail()]), True),
    (Delta(tool_calls=[ToolCall()]), True),
    (Delta(images=[OutputImage()]), True),
    (Delta(audio=OutputAudio(id="a", data="")), False),
    (Delta(audio=OutputAudio(data="QQ==")), True),
    (Delta(audio=OutputAudio(transcript="a")), True),
]


@pytest.mark.parametrize(("tested_delta", "expected"), DELTAS)
def test_has_token_is_true_for_output_of_the_model_only(
    tested_delta: Delta, expected: bool
) -> None:
    empty = StreamingChoice()
    tested = StreamingChoice(delta=tested_delta)

    assert has_token(ChatStreamingResponseChunk(choices=[empty, tested])) is expected
    assert not has_token(ChatStreamingResponseChunk())


def test_response_is_decoded_like_a_plain_one() -> None:
    response = accumulate(
        [delta(role="assistant", content="hel"), delta("stop", content="lo")]
    ).response()

    assert isinstance(response, ChatResponse)
    assert response.text == "hello"
    assert response.raw["object"] == "chat.completion"


# --- Recordings. ---


def recordings() -> list[Any]:
    folder = os.environ.get("OPENROUTER_WIRE")
    if not folder:
        skip = pytest.mark.skip("OPENROUTER_WIRE does not name a folder of recordings")
        return [pytest.param(None, marks=skip)]
    paths = sorted(Path(folder).rglob("stream_*.sse"))
    return [pytest.param(path, id=path.stem) for path in paths]


@pytest.mark.parametrize("path", recordings())
def test_recorded_stream_is_accumulated_completely(path: Path) -> None:
    recorded = path.read_bytes()
    if b"\n\n" not in recorded:
        recorded = recorded.replace(b"\n", b"\n\n")
    events = SSEDecoder().feed(recorded)
    chunks = [json.loads(event.data) for event in events if event.data.startswith("{")]
    found = accumulate(chunks).response()

    deltas = [part["delta"] for raw in chunks for part in raw["choices"]]
    content = "".join(part.get("content") or "" for part in deltas)
    reasoning = "".join(part.get("reasoning") or "" for part in deltas)
    lists: list[list[Json]] = [part.get("tool_calls") or [] for part in deltas]
    calls = [call["id"] for calls in lists for call in calls if "id" in call]
    usages = [raw["usage"] for raw in chunks if raw.get("usage")]
    assert found.text == content
    assert (found.reasoning or "") == reasoning
    assert found.raw.get("usage") == (usages[-1] if usages else None)
    assert [call.id for call in found.tool_calls] == calls
    for call in found.tool_calls:
        json.loads(call.function.arguments)
    if reasoning:
        details = "".join(
            item.get("text", "")
            for item in found.raw["choices"][0]["message"]["reasoning_details"]
        )
        assert details == reasoning
