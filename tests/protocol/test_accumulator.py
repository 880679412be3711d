"""Chunks add up to the reply that a plain call would have brought."""

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


def fold(chunks: Iterable[Json]) -> Accumulator:
    result = Accumulator()
    for raw in chunks:
        result.add(chunk(raw))
    return result


def body(chunks: Iterable[Json]) -> Json:
    return fold(chunks).build(ended=True)


def delta(finish: str | None = None, /, **members: Any) -> Json:
    choice = {"index": 0, "delta": members, "finish_reason": finish}
    return {"id": "gen-17-AbC", "choices": [choice]}


def choice(chunks: Iterable[Json]) -> Json:
    first: Json = body(chunks)["choices"][0]
    return first


def message(*deltas: Json) -> Json:
    result: Json = choice([delta(**members) for members in deltas])["message"]
    return result


# --- Any split of a reply folds back to it. ---

words = st.text(max_size=12)
some = st.text(min_size=1, max_size=12)
scalars = st.none() | st.booleans() | st.integers() | words
anything = st.recursive(
    scalars | st.floats(allow_nan=False),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3)
    ),
    max_leaves=8,
)


def optional(**members: st.SearchStrategy[Any]) -> st.SearchStrategy[Json]:
    return st.fixed_dictionaries({}, optional=members)


tokens = st.lists(
    st.fixed_dictionaries({"token": words, "logprob": st.floats(-9, 0)}), max_size=4
)
logprobs = st.none() | st.fixed_dictionaries(
    {"content": st.none() | tokens, "refusal": st.none() | tokens}
)
documents = st.dictionaries(words, scalars, max_size=3).map(json.dumps)


@st.composite
def calls(draw: st.DrawFn) -> list[Json]:
    count = draw(st.integers(1, 3))
    return [
        {
            "index": number,
            "id": f"call_{number}",
            "type": "function",
            "function": {"name": draw(some), "arguments": draw(documents)},
            **draw(optional(extra_content=st.dictionaries(some, scalars, min_size=1))),
        }
        for number in range(count)
    ]


@st.composite
def details(draw: st.DrawFn) -> list[Json]:
    kinds = {
        "reasoning.text": {"text": some, "signature": some},
        "reasoning.summary": {"summary": some},
        "reasoning.encrypted": {"data": some},
        "reasoning.new": {"what": some},
    }
    items: list[Json] = []
    for index in range(draw(st.integers(0, 3))):
        for kind in draw(
            st.lists(st.sampled_from(sorted(kinds)), unique=True, max_size=3)
        ):
            payload = {name: draw(values) for name, values in kinds[kind].items()}
            item = {"type": kind, **payload, "format": draw(st.none() | some)}
            items.append({**item, "index": index, **draw(optional(id=some))})
    return items


@st.composite
def messages(draw: st.DrawFn) -> Json:
    result: Json = {"role": "assistant", "content": draw(words)}
    result |= draw(
        optional(
            refusal=some,
            reasoning=some,
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
            ),
            images=st.integers(1, 3).map(
                lambda count: [
                    {"type": "image_url", "image_url": {"url": f"data:{n}"}, "index": n}
                    for n in range(count)
                ]
            ),
            audio=st.fixed_dictionaries(
                {"id": some, "data": st.just("QUJDREVGR0g="), "transcript": some}
            ),
            vendor_thing=anything,
        )
    )
    if result["content"] == "" and "tool_calls" in result:
        result["content"] = None
    return result


@st.composite
def replies(draw: st.DrawFn) -> Json:
    choices = [
        {
            "index": index,
            **draw(optional(logprobs=logprobs)),
            "finish_reason": draw(
                st.sampled_from(["stop", "length", "tool_calls", "error", None])
            ),
            "native_finish_reason": draw(st.none() | some),
            "message": draw(messages()),
            **draw(optional(error=anything)),
        }
        for index in range(draw(st.integers(0, 3)))
    ]
    return {
        "id": "gen-1-x",
        "object": "chat.completion",
        "created": 1,
        "model": draw(some),
        "provider": draw(some),
        **draw(optional(system_fingerprint=some, service_tier=some)),
        "choices": choices,
        **draw(optional(usage=anything, openrouter_metadata=anything, error=anything)),
    }


def cut(text: str, rng: Random) -> list[str]:
    places = [
        0,
        *sorted(rng.choices(range(len(text) + 1), k=rng.randint(0, 3))),
        len(text),
    ]
    return [text[a:b] for a, b in pairwise(places)]


def split_calls(items: list[Json], rng: Random) -> list[Json]:
    deltas: list[Json] = []
    for item in items:
        head, *rest = cut(item["function"]["arguments"], rng)
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
        (field,) = {"text", "summary", "data", "what"} & item.keys()
        parts = cut(item[field], rng) if field in ("text", "summary") else [item[field]]
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
    """Split a message into deltas; their order between members is left to chance."""
    queues: list[list[Json]] = []
    for key, value in whole.items():
        if key in ("content", "refusal", "reasoning") and value:
            queues.append([{key: part} for part in cut(value, rng)])
        elif key == "tool_calls":
            queues.append(split_calls(value, rng))
        elif key == "reasoning_details":
            queues.append(split_details(value, rng))
        elif key in ("annotations", "images"):
            queues.append([{key: [item]} for item in value])
        elif key == "audio":
            said = [
                {key: {"transcript": part}} for part in cut(value["transcript"], rng)
            ]
            heard = [{key: {"data": part}} for part in cut(value["data"], rng)]
            queues.append([{key: {"id": value["id"]}}, *said, *heard])
        elif key != "role":
            queues.append([{key: value}])
    deltas: list[Json] = []
    while queues:
        queue = rng.choice(queues)
        deltas.append({"role": "assistant", **queue.pop(0)})
        queues = [queue for queue in queues if queue]
    return deltas


def split_choice(whole: Json, rng: Random) -> list[Json]:
    """Split a choice as the wire does: deltas first, the finish reason said twice."""
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


def split(whole: Json, rng: Random) -> list[Json]:
    """Split a plain reply into the chunks of a stream."""
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
    place = rng.randint(0, len(chunks))
    return [*chunks[:place], {**head, "choices": [], **rest}, *chunks[place:]]


@given(replies(), st.integers())
def test_a_reply_that_was_split_folds_back(whole: Json, seed: int) -> None:
    """However a reply is cut into chunks, folding gives it back."""
    chunks = split(whole, Random(seed))
    before = json.dumps(chunks)

    assert body(chunks) == whole
    assert json.dumps(chunks) == before


@given(replies(), st.integers())
def test_what_has_arrived_can_be_asked_for_at_any_time(whole: Json, seed: int) -> None:
    """Asking in between changes nothing, and what was given stays what it was."""
    result = Accumulator()
    given_out: list[tuple[Json, str]] = []
    chunks = split(whole, Random(seed))
    for raw in chunks:
        result.add(chunk(raw))
        partial = result.build()
        given_out.append((partial, json.dumps(partial)))
        spoilt = result.build()
        spoil(spoilt)

    assert [text for _, text in given_out] == [json.dumps(m) for m, _ in given_out]
    assert result.build(ended=True) == body(chunks)


def spoil(value: Any) -> None:
    """Change every list and object in a reply."""
    if isinstance(value, dict):
        for member in list(value.values()):  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
            spoil(member)
        value["spoilt"] = True
    elif isinstance(value, list):
        for member in list(value):  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
            spoil(member)
        value.append("spoilt")  # pyright: ignore[reportUnknownMemberType]


# --- Garbage. ---

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
def test_any_json_is_survived(chunks: list[Json]) -> None:
    """Whatever a chunk holds, what arrived can be asked for, and is JSON again."""
    result = body(chunks)

    json.dumps(result)
    assert result["object"] == "chat.completion"
    assert [type(part["message"]) for part in result["choices"]] == [dict] * len(
        result["choices"]
    )


def test_deep_json_is_survived() -> None:
    """Nesting that the parser lets through does not end the stream."""
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


def test_nothing_folds_to_an_empty_reply() -> None:
    """Before the first chunk there is a reply without choices."""
    assert Accumulator().build() == {"object": "chat.completion", "choices": []}
    assert not Accumulator().finished


# --- The top level. ---


def test_what_each_chunk_repeats_is_taken_once() -> None:
    """The first value that is no null counts, an empty one only if no other comes."""
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


def test_of_everything_else_the_last_that_is_no_null_counts() -> None:
    """Usage, errors, debug output and words unknown today arrive in the folded reply."""
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
    "null after": ([{"finish_reason": "stop"}, {"finish_reason": None}], "stop", None),
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
    "an empty one is none": ([{"finish_reason": ""}, {"finish_reason": "stop"}], "stop", None),
    "no word": ([{"finish_reason": 7}], None, None),
    "never": ([{}], None, None),
}  # fmt: skip


@pytest.mark.parametrize("name", FINISHES)
def test_a_finish_reason_stays(name: str) -> None:
    """The first finish reason counts; only a failure after it replaces it."""
    parts, finish, native = FINISHES[name]
    result = fold({"choices": [{"index": 0, **part}]} for part in parts)
    folded = result.build()["choices"][0]

    assert folded["finish_reason"] == finish
    assert folded.get("native_finish_reason") == native
    assert result.finished is (finish is not None)


def test_what_looks_like_one_more_word_is_looked_at() -> None:
    """A chunk is taken for plain words only where it brings nothing else."""
    plain = {"index": 0, "finish_reason": None, "native_finish_reason": None}
    word = {"role": "assistant", "content": "a"}
    choices: list[Json] = [
        {**plain, "delta": word},
        {**plain, "delta": word},
        {**plain, "delta": {"role": "assistant", "refusal": "no"}},
        {**plain, "delta": {"content": "b", "refusal": "!"}},
        {**plain, "delta": {"role": "assistant", "content": None}},
        {"index": 0, "finish_reason": None, "error": {"code": 1}, "delta": word},
        {**plain, "delta": None},
        {**plain, "finish_reason": "stop", "delta": word},
    ]

    assert choice({"choices": [part]} for part in choices) == {
        "index": 0,
        "finish_reason": "stop",
        "native_finish_reason": None,
        "message": {"role": "assistant", "content": "aabaa", "refusal": "no!"},
        "error": {"code": 1},
    }


def test_several_choices_are_kept_apart() -> None:
    """Choices come in any order and are told apart by index, else by place."""
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


def test_a_whole_completion_folds_to_itself() -> None:
    """A plain reply to a stream request reads as one chunk; after deltas it is no news."""
    whole = {"role": "assistant", "content": "hi"}

    assert choice([{"choices": [{"message": whole}]}])["message"] == whole
    assert choice([delta(content="hi"), {"choices": [{"message": whole}]}])[
        "message"
    ] == {"content": "hi"}


def test_logprobs_are_strung_together() -> None:
    """The lists of each chunk are joined; a null erases nothing."""
    parts: list[Any] = [
        None,
        {"content": None, "refusal": None},
        {"content": [1], "odd": "x"},
        {"content": [2], "refusal": [3], "odd": None},
        None,
        {"content": None},
        "garbage",
    ]
    folded = choice({"choices": [{"index": 0, "logprobs": part}]} for part in parts)

    assert folded["logprobs"] == {"content": [1, 2], "refusal": [3], "odd": "x"}


# --- Messages. ---

TEXTS: dict[str, tuple[list[Json], Json]] = {
    "joined": ([{"content": "a"}, {"content": ""}, {"content": "b"}], {"content": "ab"}),
    "null between": ([{"content": "a"}, {"content": None}, {"content": "b"}], {"content": "ab"}),
    "only empty": ([{"content": ""}], {"content": ""}),
    "only null": ([{"content": None}], {"content": None}),
    "empty and null": ([{"content": ""}, {"content": None}], {"content": ""}),
    "never": ([{"role": "assistant"}], {"role": "assistant"}),
    "no text": ([{"content": [{"type": "text"}]}], {"content": [{"type": "text"}]}),
    "no text, then text": ([{"content": 5}, {"content": "a"}], {"content": "a"}),
    "no text, then null": ([{"content": 5}, {"content": None}], {"content": 5}),
    "reasoning null and empty": ([{"reasoning": None}, {"reasoning": ""}], {"reasoning": None}),
    "reasoning empty and null": ([{"reasoning": ""}, {"reasoning": None}], {"reasoning": None}),
    "reasoning": ([{"reasoning": None}, {"reasoning": "a"}, {"reasoning": "b"}], {"reasoning": "ab"}),
    "an alias": ([{"reasoning_content": "a"}, {"reasoning_content": "b"}], {"reasoning_content": "ab"}),
    "refusal": ([{"refusal": "no"}, {"refusal": "!"}], {"refusal": "no!"}),
    "role": ([{"role": ""}, {"role": "assistant"}, {"role": "assistant"}, {"role": None}], {"role": "assistant"}),
    "unknown": ([{"x": 1}, {"x": None}, {"x": 2}, {"y": None}], {"x": 2, "y": None}),
    "no calls": ([{"content": "", "tool_calls": []}, {"tool_calls": None}], {"content": ""}),
    "odd calls": ([{"tool_calls": "x"}], {"tool_calls": "x"}),
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
    "audio cut anywhere": ([{"audio": {"data": "Q"}}, {"audio": {"data": "UJDRA=="}}], {"audio": {"data": "QUJDRA=="}}),
    "audio padded each": (
        [{"audio": {"data": "QQ=="}}, {"audio": {"data": "QkM="}}, {"audio": {"data": "RA=="}}],
        {"audio": {"data": "QUJDRA=="}},
    ),
    "audio that is broken": ([{"audio": {"data": "Q="}}, {"audio": {"data": "Q"}}], {"audio": {"data": "Q=Q"}}),
    "no audio": ([{"audio": None}], {"audio": None}),
    "a legacy call": (
        [
            {"function_call": {"name": "f", "arguments": ""}},
            {"function_call": {"arguments": '{"a"'}},
            {"function_call": {"arguments": ":1}"}},
        ],
        {"function_call": {"name": "f", "arguments": '{"a":1}'}},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TEXTS)
def test_deltas_become_a_message(name: str) -> None:
    """Texts and lists are strung together; of the rest the last that is no null counts."""
    deltas, expected = TEXTS[name]

    assert message(*deltas) == expected


def test_a_message_has_the_key_order_of_the_wire() -> None:
    """The folded message is written as a plain reply is."""
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
    place = {} if index is None else {"index": index}
    return {"type": "reasoning.text", **members, **place}


def summary(index: int, **members: Any) -> Json:
    return {"type": "reasoning.summary", **members, "index": index}


def encrypted(index: int | None, **members: Any) -> Json:
    place = {} if index is None else {"index": index}
    return {"type": "reasoning.encrypted", **members, **place}


DETAILS: dict[str, tuple[list[list[Any]], Any]] = {
    "nothing": ([[]], []),
    "nothing, then something": ([[], [text(0, text="a")], []], [text(0, text="a")]),
    "text": ([[text(0, text="a")], [text(0, text="b")]], [text(0, text="ab")]),
    "a signature": (
        [[text(0, text="a", format="f")], [text(0, signature="s")], [text(0, text="b", signature=None)]],
        [{**text(0, text="ab", format="f"), "signature": "s"}],
    ),
    "a signature late": (
        [[text(0, text="a")], [text(1, text="b")], [text(0, signature="s")]],
        [text(0, text="a", signature="s"), text(1, text="b")],
    ),
    "a format late": (
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
    "an id comes late": ([[text(0, text="a")], [text(0, text="b", id="1")]], [text(0, text="ab", id="1")]),
    "ids that are none": ([[text(0, text="a", id=5)], [text(0, text="b", id=6)]], [text(0, text="a", id=5), text(0, text="b", id=6)]),
    "encrypted twice the same": ([[encrypted(0, data="X")], [encrypted(0, data="X")]], [encrypted(0, data="X")]),
    "encrypted never joined": ([[encrypted(0, data="X")], [encrypted(0, data="Y")]], [encrypted(0, data="X"), encrypted(0, data="Y")]),
    "encrypted said again": (
        [[encrypted(0, data="X", id="1")], [encrypted(0, data="Y", id="1")]],
        [encrypted(0, data="Y", id="1")],
    ),
    "encrypted without index": ([[encrypted(None, data="X")], [encrypted(None, data="Y")]], [encrypted(None, data="X"), encrypted(None, data="Y")]),
    "no index": ([[text(text="a")], [summary(0, summary="s")], [text(text="b")]], [text(text="ab"), summary(0, summary="s")]),
    "no index, signed": (
        [[text(text="a")], [text(signature="s")], [text(text="b")], [text(signature="t")]],
        [text(text="a", signature="s"), text(text="b", signature="t")],
    ),
    "an index that is none": ([[text(text="a", index="x")], [text(text="b", index=None)]], [text(text="ab", index="x")]),
    "server tools": (
        [[{"type": "reasoning.server_tool_call", "tool_call_id": n, "result": n, "index": 0}] for n in "ab"],
        [{"type": "reasoning.server_tool_call", "tool_call_id": n, "result": n, "index": 0} for n in "ab"],
    ),
    "unknown": ([[{"type": "new", "x": 1}], [{"type": "new", "y": 2}]], [{"type": "new", "x": 1, "y": 2}]),
    "no type": ([[{"text": "a"}], [{"text": "b", "type": []}]], [{"text": "ab", "type": []}]),
    "no objects": ([[None, 5, "x", text(0, text="a")]], [text(0, text="a")]),
}  # fmt: skip


@pytest.mark.parametrize("name", DETAILS)
def test_reasoning_details_are_merged(name: str) -> None:
    """Fragments of one block are joined; blocks stay apart, in their order."""
    deltas, expected = DETAILS[name]

    assert message(*[{"reasoning_details": part} for part in deltas]) == {
        "reasoning_details": expected
    }


def test_details_that_are_no_list_are_kept() -> None:
    """A server's slip does not lose what it sent."""
    assert message({"reasoning_details": "x"}) == {"reasoning_details": "x"}


# --- Tool calls. ---


@pytest.mark.parametrize("name", FRAGMENTED_CALLS)
def test_tool_calls_that_break_the_rules(name: str) -> None:
    """Each fragment finds its call, though providers disagree about how."""
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
def test_indexes_that_tell_calls_apart_are_kept(
    indexes: list[Any], expected: list[Any]
) -> None:
    """Missing and shared indexes are replaced by the order of arrival."""
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
def test_arguments_that_were_cut_short_stay_cut(
    finish: str | None, arguments: str, expected: str
) -> None:
    """Only a call that is over has `{}` for no arguments."""
    chunks = [delta(tool_calls=[fragment(0, "a", "f", arguments)]), delta(finish)]
    (call,) = choice(chunks)["message"]["tool_calls"]

    assert call["function"]["arguments"] == expected


def test_a_call_that_goes_on_has_the_arguments_that_came() -> None:
    """While more may come, no arguments are no `{}`."""
    result = fold([delta(tool_calls=[fragment(0, "a", "f", "")])])
    (call,) = result.build()["choices"][0]["message"]["tool_calls"]

    assert call["function"]["arguments"] == ""


def test_what_a_provider_adds_to_a_call_is_kept() -> None:
    """Unknown keys come along, in the order of the first fragment."""
    signed = {"google": {"thought_signature": "s"}}
    found = message(
        {
            "tool_calls": [
                fragment(0, "a", "f", "{", type="function", extra_content=signed)
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
                "extra_content": signed,
                "thoughtSignature": "t",
            }
        ]
    )


def test_an_id_made_up_is_short_and_plain() -> None:
    """Providers refuse long ids and odd letters; without a generation id it is shorter."""
    long = {
        **delta(tool_calls=[fragment(0, name="f")]),
        "id": "gen-1780944538-aEMb2TM4DVGCZh912hnR",
    }
    none = {**delta(tool_calls=[fragment(0, name="f")]), "id": None}

    (call,) = choice([long])["message"]["tool_calls"]
    assert call["id"] == "call_aEMb2TM4DVGCZh912hnR_0_0"
    (call,) = choice([none])["message"]["tool_calls"]
    assert call["id"] == "call_0_0"


def test_a_long_stream_takes_linear_time() -> None:
    """50,000 chunks of text, thought and arguments: joining each time would copy 25 GB."""
    result = Accumulator()
    more = chunk(
        delta(
            content="word ",
            reasoning="word ",
            reasoning_details=[text(0, text="word ")],
            tool_calls=[fragment(0, arguments="word ")],
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


# --- Typed ends. ---

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


@pytest.mark.parametrize(("given_delta", "expected"), DELTAS)
def test_what_counts_as_the_first_token(given_delta: Delta, expected: bool) -> None:
    """Words, thoughts, calls, pictures and sound are an answer; a role is none."""
    quiet = StreamingChoice()
    loud = StreamingChoice(delta=given_delta)

    assert has_token(ChatStreamingResponseChunk(choices=[quiet, loud])) is expected
    assert not has_token(ChatStreamingResponseChunk())


def test_the_reply_is_typed() -> None:
    """The folded body is read as any reply is."""
    reply = fold(
        [delta(role="assistant", content="hel"), delta("stop", content="lo")]
    ).response()

    assert isinstance(reply, ChatResponse)
    assert reply.text == "hello"
    assert reply.raw["object"] == "chat.completion"


# --- Recordings. ---


def recordings() -> list[Any]:
    folder = os.environ.get("OPENROUTER_WIRE")
    if not folder:
        skip = pytest.mark.skip("OPENROUTER_WIRE does not name a folder of recordings")
        return [pytest.param(None, marks=skip)]
    paths = sorted(Path(folder).rglob("stream_*.sse"))
    return [pytest.param(path, id=path.stem) for path in paths]


@pytest.mark.parametrize("path", recordings())
def test_a_recorded_stream_folds(path: Path) -> None:
    """Every text of a recording is in the folded reply, once and in order."""
    recorded = path.read_bytes()
    if b"\n\n" not in recorded:
        recorded = recorded.replace(b"\n", b"\n\n")
    events = SSEDecoder().feed(recorded)
    chunks = [json.loads(event.data) for event in events if event.data.startswith("{")]
    folded = fold(chunks).response()

    deltas = [part["delta"] for raw in chunks for part in raw["choices"]]
    told = "".join(part.get("content") or "" for part in deltas)
    thought = "".join(part.get("reasoning") or "" for part in deltas)
    lists: list[list[Json]] = [part.get("tool_calls") or [] for part in deltas]
    calls = [call["id"] for calls in lists for call in calls if "id" in call]
    spent = [raw["usage"] for raw in chunks if raw.get("usage")]
    assert folded.text == told
    assert (folded.reasoning or "") == thought
    assert folded.raw.get("usage") == (spent[-1] if spent else None)
    assert [call.id for call in folded.tool_calls] == calls
    for call in folded.tool_calls:
        json.loads(call.function.arguments)
    if thought:
        told_twice = "".join(
            item.get("text", "")
            for item in folded.raw["choices"][0]["message"]["reasoning_details"]
        )
        assert told_twice == thought
