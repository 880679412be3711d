"""Messages, reasoning details and tool calls that chunks are accumulated to."""

import json
import time
from typing import Any

import pytest
from accumulated import Json, accumulate, choice, chunk, delta, message
from tool_call_fragments import FRAGMENTED_CALLS, fragment

from openrouter_async.protocol.accumulator.accumulator import Accumulator

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
