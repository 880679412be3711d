"""response_objects: plain values to response objects."""

import json
from collections.abc import Sequence
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, is_typeddict

import attrs
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from json_values import LEAVES

from openrouter_async.protocol.response_objects import (
    parse_chunk,
    read_chunk,
    read_response,
)
from openrouter_async.types import (
    Annotation,
    ChatResponse,
    ChatStreamingResponseChunk,
    Choice,
    CompletionTokensDetails,
    CostDetails,
    Delta,
    Exchange,
    Message,
    PromptTokensDetails,
    ReasoningDetail,
    StreamingChoice,
    ToolCall,
    ToolCallFunction,
    Usage,
)
from openrouter_async.types.shape import Shape


def assert_sound(shape: Any) -> None:
    """Check that every field has the type of its annotation, at every level."""
    for field in attrs.fields(shape.__class__):
        value = getattr(shape, field.name)
        assert _fits(value, field.type), f"{type(shape).__name__}.{field.name}"
        for member in value if value.__class__ is list else [value]:
            # What happened on the wire was not read from JSON.
            if isinstance(member, Shape) and not isinstance(member, Exchange):
                assert_sound(member)


def _fits(value: Any, annotation: Any) -> bool:
    origin = get_origin(annotation)
    if origin in {Union, UnionType}:
        return any(_fits(value, member) for member in get_args(annotation))
    if origin is list:
        (member,) = get_args(annotation)
        return value.__class__ is list and all(_fits(each, member) for each in value)
    if origin is dict or is_typeddict(annotation):
        return type(value) is dict
    if origin is Literal:
        return value in get_args(annotation)
    return annotation is Any or type(value) is (annotation or type(None))


TEXT: dict[str, Any] = {
    "id": "gen-1",
    "object": "chat.completion.chunk",
    "created": 1780944361,
    "model": "m",
    "provider": "P",
    "choices": [
        {
            "index": 0,
            "delta": {"content": "Hi", "role": "assistant"},
            "finish_reason": None,
            "native_finish_reason": None,
        }
    ],
}

USAGE: dict[str, Any] = {
    "prompt_tokens": 15,
    "completion_tokens": 9.0,
    "total_tokens": 24,
    "cost": 0,
    "is_byok": False,
    "prompt_tokens_details": {"cached_tokens": 1, "video_tokens": None},
    "cost_details": {"upstream_inference_cost": 6e-05},
    "completion_tokens_details": {"reasoning_tokens": 2, "image_tokens": 0},
    "server_tool_use": {"web_search_requests": 1},
}

CALL: dict[str, Any] = {
    "id": "call_1",
    "type": "function",
    "index": 0,
    "function": {"name": "f", "arguments": '{"a": 1}'},
    "extra_content": {"google": {"thought_signature": "x"}},
}

DETAIL: dict[str, Any] = {
    "type": "reasoning.text",
    "text": "hm",
    "signature": "s",
    "format": "anthropic-claude-v1",
    "index": 0,
}

CITATION: dict[str, Any] = {
    "type": "url_citation",
    "url_citation": {"url": "https://x", "start_index": 0},
}

RESPONSE: dict[str, Any] = {
    "id": "gen-1",
    "object": "chat.completion",
    "created": 1780944361,
    "model": "m",
    "provider": "P",
    "choices": [
        {
            "index": 0,
            "finish_reason": "tool_calls",
            "native_finish_reason": "tool_use",
            "logprobs": {"content": [{"token": "a", "logprob": -0.1}]},
            "message": {
                "role": "assistant",
                "content": None,
                "refusal": None,
                "reasoning": "hm",
                "reasoning_details": [DETAIL, {"type": "reasoning.new", "x": 1}],
                "tool_calls": [CALL, CALL],
                "annotations": [CITATION],
                "images": [{"type": "image_url", "image_url": {"url": "data:,"}}],
                "audio": {"id": "a", "data": ""},
            },
        }
    ],
    "usage": USAGE,
    "openrouter_metadata": {"attempt": 1},
    "safeguard_results": [{"type": "dangerous_tool_use"}],
    "error": {"code": 502, "message": "m"},
    "user_id": "user_1",
}


def test_chunk_with_only_the_common_fields_is_read() -> None:
    chunk = read_chunk(TEXT)

    assert chunk == ChatStreamingResponseChunk(
        id="gen-1",
        object="chat.completion.chunk",
        created=1780944361,
        model="m",
        provider="P",
        choices=[StreamingChoice(index=0, delta=Delta(role="assistant", content="Hi"))],
    )
    assert chunk.text == "Hi"
    assert chunk.raw is TEXT


@pytest.mark.parametrize("key", [key for key in RESPONSE if key != "choices"])
def test_chunk_of_six_keys_with_a_rare_one_is_read(key: str) -> None:
    """It must not take the branch for chunks with the common keys only."""
    raw = {**{name: TEXT[name] for name in list(TEXT)[:5]}, key: RESPONSE[key]}
    usual: dict[str, Any] = {**TEXT, "choices": [], key: RESPONSE[key]}

    assert getattr(read_chunk(raw), key)
    assert getattr(read_chunk(usual), key)
    assert read_chunk(raw).choices == []


def test_response_is_read_at_every_level_and_keeps_raw() -> None:
    response = read_response(RESPONSE)

    call = ToolCall("call_1", "function", ToolCallFunction("f", '{"a": 1}'), 0)
    detail = ReasoningDetail(
        "reasoning.text",
        text="hm",
        signature="s",
        format="anthropic-claude-v1",
        index=0,
    )
    assert response.choices == [
        Choice(
            index=0,
            finish_reason="tool_calls",
            native_finish_reason="tool_use",
            logprobs={"content": [{"token": "a", "logprob": -0.1}]},
            message=Message(
                role="assistant",
                reasoning="hm",
                reasoning_details=[detail, ReasoningDetail("reasoning.new")],
                tool_calls=[call, call],
                annotations=[
                    Annotation(
                        "url_citation",
                        url_citation={"url": "https://x", "start_index": 0},
                    )
                ],
                images=[{"type": "image_url", "image_url": {"url": "data:,"}}],
                audio={"id": "a", "data": ""},
            ),
        )
    ]
    assert response.usage == Usage(
        prompt_tokens=15,
        completion_tokens=9,
        total_tokens=24,
        cost=0.0,
        is_byok=False,
        prompt_tokens_details=PromptTokensDetails(cached_tokens=1),
        completion_tokens_details=CompletionTokensDetails(2, 0),
        cost_details=CostDetails(6e-05),
        server_tool_use={"web_search_requests": 1},
    )
    assert response.tool_calls[0].raw is CALL
    assert response.tool_calls[0].as_request() is CALL
    assert response.message.reasoning_details[1].raw == {
        "type": "reasoning.new",
        "x": 1,
    }
    assert response.message.annotations[0].raw is CITATION
    assert response.raw is RESPONSE
    assert response.http.status is None
    assert response.error == {"code": 502, "message": "m"}


RARE = [key for key in RESPONSE if key not in TEXT]
RARE_IN_MESSAGE = [
    key
    for key in RESPONSE["choices"][0]["message"]
    if key not in ("role", "content", "refusal", "reasoning")
]


@pytest.mark.parametrize("key", RARE)
def test_rare_member_of_a_response_is_read_without_others(key: str) -> None:
    response = read_response({**TEXT, key: RESPONSE[key]})

    assert getattr(response, key) == getattr(read_response(RESPONSE), key)


@pytest.mark.parametrize("key", RARE_IN_MESSAGE)
def test_rare_member_of_a_message_is_read_without_others(key: str) -> None:
    whole = RESPONSE["choices"][0]["message"]
    message = {"role": "assistant", "content": "Hi", key: whole[key]}

    read = read_response({"choices": [{"message": message}]}).message

    assert getattr(read, key) == getattr(read_response(RESPONSE).message, key)
    assert getattr(read, key)
    assert read.content == "Hi"


def test_empty_response_has_empty_lists_and_nested_objects() -> None:
    response = read_response({})
    chunk = read_chunk({"choices": [{}]})

    assert response == ChatResponse()
    assert response.usage.cost_details.server_tool_cost is None
    assert chunk.choices == [StreamingChoice()]
    assert chunk.choices[0].delta.tool_calls == []
    assert chunk.usage is None
    assert read_chunk({"usage": {}}).usage == Usage()


@pytest.mark.parametrize(
    ("value", "read"),
    [
        (*(1, 1),),
        (*(3.0, 3),),
        (*(3.5, None),),
        (*(True, None),),
        (*("3", None),),
        (*([], None),),
        (*(2**70, 2**70),),
    ],
)
def test_int_field_accepts_ints_and_floats_without_a_fraction(
    value: Any, read: int | None
) -> None:
    created = read_response({"created": value}).created

    assert (created, type(created)) == (read, type(read))


@pytest.mark.parametrize(
    ("value", "read"),
    [
        (*(0, 0.0),),
        (*(0.5, 0.5),),
        (*(True, None),),
        (*("1", None),),
        (*(10**400, None),),
        (*({}, None),),
    ],
)
def test_float_field_accepts_floats_and_ints(value: Any, read: float | None) -> None:
    cost = read_response({"usage": {"cost": value}}).usage.cost

    assert (cost, type(cost)) == (read, type(read))


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ('{"a": ', '{"a": '),
        ({"b": 1, "a": ["é"]}, '{"b":1,"a":["é"]}'),
        ([], "[]"),
        ({"a": 2**70}, '{"a":1180591620717411303424}'),
        (None, ""),
        (5, ""),
        (True, ""),
        (orjson.loads(b"[" * 1000 + b"]" * 1000), ""),
    ],
)
def test_tool_arguments_are_always_text(arguments: Any, text: str) -> None:
    call = {"id": 7, "function": {"name": None, "arguments": arguments}}

    (read,) = (
        read_chunk({"choices": [{"delta": {"tool_calls": [call]}}]})
        .choices[0]
        .delta.tool_calls
    )

    assert read == ToolCall("7", "function", ToolCallFunction("", text))
    assert read.raw is call


@pytest.mark.parametrize(
    ("received", "call_id"),
    [
        ("a", "a"),
        (7, "7"),
        (7.0, "7"),
        (-1, "-1"),
        (2.5, "2.5"),
        (2**62, "4611686018427387904"),
        (None, ""),
        (True, ""),
        ([7], ""),
    ],
)
def test_ids_of_calls_are_text_and_sent_back_as_text(
    received: Any, call_id: str
) -> None:
    call = {"id": received, "function": {"name": "f", "arguments": "{}"}, "x": 1}
    message = {"role": "assistant", "content": None, "tool_calls": [call, CALL]}

    read = read_response({"choices": [{"message": message}]}).message

    sent = {**call, "id": call_id} if received in (7, -1, 2.5, 2**62) else call
    sent = call if received is True else sent
    assert [each.id for each in read.tool_calls] == [call_id, CALL["id"]]
    assert read.tool_calls[0].as_request() == sent
    assert read.as_request() == {**message, "tool_calls": [sent, CALL]}


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ([{"type": "text", "text": "a"}, 7, {"text": None}, {"text": "b"}], "ab"),
        ([{"type": "image_url"}], None),
        ([], None),
        ({"text": "a"}, "a"),
        ({"type": "thinking", "thinking": "a"}, None),
        (7, None),
    ],
)
def test_content_in_parts_is_read_as_its_text(content: Any, text: str | None) -> None:
    response = read_response({"choices": [{"message": {"content": content}}]})
    chunk = read_chunk({"choices": [{"delta": {"content": content}}]})

    assert response.message.content == text
    assert chunk.choices[0].delta.content == text
    assert response.message.raw == {"content": content}


def test_chunk_that_orjson_rejects_is_parsed() -> None:
    assert parse_chunk('{"model": "\\ud800"}').model == "\ud800"


def test_list_items_that_are_not_objects_are_skipped() -> None:
    message: dict[str, Any] = {"tool_calls": [None, CALL, "x"], "images": [1, {}]}
    response = read_response({"choices": [7, {"message": message}, []]})

    assert len(response.choices) == 1
    assert [call.id for call in response.tool_calls] == ["call_1"]
    assert response.message.images == [{}]
    assert read_response({"choices": ["x"]}).choices == []


def test_error_may_be_an_object_or_a_string() -> None:
    assert read_chunk({"error": "down"}).error == "down"
    assert read_chunk({"error": {"code": "429"}}).error == {"code": "429"}
    assert read_chunk({"error": 7}).error is None


MUTANTS: tuple[Any, ...] = (None, True, 1, 1.5, "x", [], {}, [None, {}], {"x": 1}, ...)
"""Replacements of a member; the ellipsis deletes it."""


def _walk(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of every member of a JSON value."""
    steps: Sequence[Any] = ()
    if value.__class__ is dict:
        steps = tuple(value)
    elif value.__class__ is list:
        steps = range(len(value))
    paths: list[tuple[Any, ...]] = []
    for step in steps:
        paths += [(*path, step), *_walk(value[step], (*path, step))]
    return paths


@pytest.mark.parametrize("read", [read_chunk, read_response])
@pytest.mark.parametrize("body", [RESPONSE, TEXT, {**TEXT, "usage": USAGE}])
def test_any_changed_member_leaves_the_rest_readable(read: Any, body: Any) -> None:
    """Each member is deleted or replaced by a value of another type, one at a time."""
    for path in _walk(body):
        for new in MUTANTS:
            changed = json.loads(json.dumps(body))
            parent = changed
            for step in path[:-1]:
                parent = parent[step]
            if new is ...:
                del parent[path[-1]]
            else:
                parent[path[-1]] = new
            response = read(changed)
            assert_sound(response)
            assert response.raw is changed


FIELDS = sorted(
    {
        field.name
        for shape in (ChatResponse, Choice, Message, Delta, Usage, ToolCall)
        for field in attrs.fields(shape)
    }
    | {"delta", "debug", "arguments"}
)


@given(
    st.dictionaries(
        st.sampled_from(FIELDS),
        st.recursive(
            LEAVES,
            lambda inner: (
                st.lists(inner, max_size=2)
                | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=4)
            ),
            max_leaves=8,
        ),
        max_size=5,
    )
)
def test_random_objects_are_read_with_the_annotated_types(raw: dict[str, Any]) -> None:
    assert_sound(read_response(raw))
    assert_sound(read_chunk(raw))
