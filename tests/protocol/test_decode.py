"""Bytes to values, request objects to bytes, values to reply objects."""

import json
import math
import re
import sys
from collections import UserList
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from enum import Enum, StrEnum
from types import MappingProxyType, UnionType
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin, is_typeddict
from uuid import UUID

import attrs
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openrouter_async.errors import ConfigurationError, MalformedResponseError
from openrouter_async.protocol.decode import decode, read_chunk, read_response
from openrouter_async.protocol.encode import encode, unstructure
from openrouter_async.types import (
    NULL,
    Annotation,
    AssistantMessage,
    AudioPart,
    ChatGenerationParams,
    ChatResponse,
    ChatStreamingResponseChunk,
    Choice,
    CompletionTokensDetails,
    CostDetails,
    Delta,
    DeveloperMessage,
    Exchange,
    FilePart,
    FunctionTool,
    ImagePart,
    Message,
    PromptTokensDetails,
    ProviderPreferences,
    ProviderSort,
    ReasoningDetail,
    StreamingChoice,
    SystemMessage,
    TextPart,
    ToolCall,
    ToolCallFunction,
    ToolResponseMessage,
    Usage,
    UserMessage,
    VideoPart,
)
from openrouter_async.types.shape import Shape

SECRET = "the-body"
SURROGATE = re.compile(r"\\ud[89a-f]", re.IGNORECASE)

LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=[]), max_size=5)
)
JSON = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


# --- decode ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b'{"a": [1, 2.5, null, true]}', {"a": [1, 2.5, None, True]}),
        (bytearray(b" \n [1]"), [1]),
        ('"x"', "x"),
        (b'"\\ud83d\\ude00"', "\U0001f600"),
        (b'"\\ud800"', "\ud800"),
        (b'["\\udc00", 18446744073709551615]', ["\udc00", 2**64 - 1]),
        (b'["\\udc00", 18446744073709551616, 1.5]', ["\udc00", 2**64, 1.5]),
        (b'"a\xffb"', "a\ufffdb"),
        (b'\xef\xbb\xbf{"a": 1}', {"a": 1}),
        ('\ufeff"a"', "a"),
        ('"\ud800"', "\ud800"),
        (b"[" * 500 + b"]" * 500, orjson.loads(b"[" * 500 + b"]" * 500)),
    ],
)
def test_what_json_allows_is_decoded(data: bytes | bytearray | str, value: Any) -> None:
    """JSON is decoded, with what the fast decoder refuses of it."""
    assert decode(data) == value


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"  ", b"<html>the-body</html>", b'{"the-body": ', b"{'the-body': 1}"),
        *(b"NaN", b'["the-body", Infinity]', b"[-Infinity]", b"1e999", b"\xff\xfe"),
        *(b'"the-body', b"9" * 5000, b"[" * 100_000, b"[" * 100_000 + b"]" * 100_000),
    ],
)
def test_what_json_does_not_allow_is_malformed(data: bytes) -> None:
    """No JSON, or JSON beyond reason, raises an error that does not hold the body."""
    with pytest.raises(MalformedResponseError) as caught:
        decode(data)

    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


@given(JSON.filter(lambda value: SURROGATE.search(json.dumps(value)) is None))
def test_decode_agrees_with_the_standard_library(value: Any) -> None:
    """What `json` writes, `decode` reads; integers beyond 64 bits become floats."""
    assert decode(json.dumps(value)) == _rounded(value)


def _rounded(value: Any) -> Any:
    if value.__class__ is list:
        return [_rounded(member) for member in value]
    if value.__class__ is dict:
        return {key: _rounded(member) for key, member in value.items()}
    if type(value) is int and not -(2**63) <= value < 2**64:
        return float(value)
    return value


# --- encode ----------------------------------------------------------------------


class Colour(Enum):
    """A word of a vocabulary."""

    RED = "red"


class Words(StrEnum):
    """A word that is a string."""

    HI = "hi"


class Pair(NamedTuple):
    """A tuple with names."""

    a: int
    b: int


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"b": 1, "a": [True, None, 1.5, "é"]}, '{"b":1,"a":[true,null,1.5,"é"]}'),
        ((1, (2,)), "[1,[2]]"),
        (Pair(1, 2), "[1,2]"),
        (UserList([1, NULL]), "[1,null]"),
        (range(3), "[0,1,2]"),
        (MappingProxyType({"a": MappingProxyType({"b": 1})}), '{"a":{"b":1}}'),
        ([Colour.RED, Words.HI, NULL], '["red","hi",null]'),
        (UUID(int=1), '"00000000-0000-0000-0000-000000000001"'),
        ({1: 2, "a": {3: 4}}, '{"1":2,"a":{"3":4}}'),
        ({Words.HI: [2**64, Colour.RED]}, '{"hi":[18446744073709551616,"red"]}'),
        (["\ud800", "é", (1,), UUID(int=1), Words.HI], None),
        (2**64, "18446744073709551616"),
    ],
)
def test_what_can_be_json_is_encoded(value: Any, text: str | None) -> None:
    """Any mapping and sequence is written compactly, its keys in their order."""
    if text is None:
        text = r'["\ud800","\u00e9",[1],"00000000-0000-0000-0000-000000000001","hi"]'

    assert encode(value).decode() == text


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ({"a": [object(), math.inf]}, "$.a[0] "),
        ({"a": {"b": -math.inf, "c": {1}}}, "$.a.b "),
        ([{"\ud800": {1, 2}}], "$[0]."),
        ([object()], "$[0] "),
        ({"a": b"bytes"}, "$.a "),
        ({"a": bytearray(b"bytes")}, "$.a "),
        ({"a": datetime.now(UTC)}, "$.a "),
        ({"a": [{None: 1}]}, "$.a[0] "),
        ({"a": {True: 1}}, "$.a "),
        ({(1, 2): 1}, "$ "),
        ([UserMessage([TextPart(object())])], "$[0].content[0].text "),  # type: ignore[arg-type]
        (ChatGenerationParams(messages=[UserMessage({1})]), "$.messages[0].content "),  # type: ignore[arg-type]
        ({"temperature": math.nan, "seed": NULL}, "$.temperature "),
    ],
)
def test_what_cannot_be_json_is_refused_by_its_place(value: Any, place: str) -> None:
    """NaN, sets, bytes, objects and strange keys raise, and the message says where."""
    with pytest.raises(ConfigurationError) as caught:
        encode(value)

    assert str(caught.value).startswith(place)


def test_what_contains_itself_is_refused() -> None:
    """A circle, and nesting beyond the interpreter's stack, is a configuration error."""
    circle: list[Any] = []
    circle.append(circle)

    with pytest.raises(ConfigurationError, match="nested too deeply"):
        encode(circle)


def test_nesting_that_only_the_fast_encoder_refuses_is_sent() -> None:
    """300 levels are more than orjson writes and less than the stack holds."""
    deep: Any = 1
    for _ in range(300):
        deep = [deep]

    assert json.loads(encode(deep)) == deep


@given(JSON)
def test_encode_agrees_with_the_standard_library(value: Any) -> None:
    """What `encode` writes, `json` reads."""
    assert json.loads(encode(value)) == value


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_number_that_json_does_not_have_is_refused_at_the_top(bad: float) -> None:
    """Where a request has its numbers, NaN is found though the encoder takes it."""
    with pytest.raises(ConfigurationError, match=r"^\$\.top_p "):
        encode({"messages": [], "top_p": bad, "seed": None})


# --- request objects -------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "sent"),
    [
        (SystemMessage("s"), {"role": "system", "content": "s"}),
        (DeveloperMessage("d"), {"role": "developer", "content": "d"}),
        (UserMessage("u", name="n"), {"role": "user", "content": "u", "name": "n"}),
        (AssistantMessage("a"), {"role": "assistant", "content": "a"}),
        (AssistantMessage(NULL), {"role": "assistant", "content": None}),
        (AssistantMessage(reasoning="r"), {"role": "assistant", "reasoning": "r"}),
        (
            AssistantMessage(tool_calls=[ToolCall("1")], reasoning_details=[]),
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {
                        "id": "1",
                        "type": "function",
                        "function": {"name": "", "arguments": ""},
                    }
                ],
                "reasoning_details": [],
            },
        ),
        (
            AssistantMessage("a", tool_calls=[{"id": "1", "index": None}]),
            {
                "role": "assistant",
                "content": "a",
                "tool_calls": [{"id": "1", "index": None}],
            },
        ),
        (
            ToolResponseMessage("t", "1"),
            {"role": "tool", "content": "t", "tool_call_id": "1"},
        ),
        (
            TextPart("t", prompt_cache_breakpoint=NULL),
            {"type": "text", "text": "t", "prompt_cache_breakpoint": None},
        ),
        (ImagePart("u"), {"type": "image_url", "image_url": {"url": "u"}}),
        (VideoPart("u"), {"type": "video_url", "video_url": {"url": "u"}}),
        (
            AudioPart({"data": "d", "format": "wav"}),
            {"type": "input_audio", "input_audio": {"data": "d", "format": "wav"}},
        ),
        (FilePart({"file_id": "f"}), {"type": "file", "file": {"file_id": "f"}}),
        (
            FunctionTool({"name": "f", "strict": None}, defer_loading=False),
            {
                "type": "function",
                "function": {"name": "f", "strict": None},
                "defer_loading": False,
            },
        ),
        (
            ProviderPreferences(order=("a",), sort=ProviderSort(by=NULL), zdr=NULL),
            {"order": ["a"], "zdr": None, "sort": {"by": None}},
        ),
        (ProviderSort(), {}),
        (ToolCall("1", raw={"z": 1, "a": None}), {"z": 1, "a": None}),
        (ToolCallFunction("f", "{}"), {"name": "f", "arguments": "{}"}),
        (ReasoningDetail("t", raw={"x": 1}), {"x": 1}),
        (Annotation("t"), {"type": "t"}),
        (
            Message(content="", raw={"content": "y"}),
            {"content": "y", "role": "assistant"},
        ),
    ],
)
def test_a_request_object_is_sent_as_what_is_set(shape: Any, sent: Any) -> None:
    """None is left out, `NULL` is null, role and type are there, order is the fields'."""
    encoded = encode({"here": [shape]})

    assert json.loads(encoded) == {"here": [sent]}
    assert encoded == json.dumps({"here": [sent]}, separators=(",", ":")).encode()


def test_a_whole_request_is_sent_in_the_order_of_its_fields() -> None:
    """The same request is always the same bytes, whatever the order of its arguments."""
    one = ChatGenerationParams(model="m", messages=[UserMessage("hi")], top_p=0.5)
    other = ChatGenerationParams(top_p=0.5, messages=(UserMessage("hi"),), model="m")

    assert encode(one) == encode(other)
    assert encode(one) == (
        b'{"model":"m","messages":[{"role":"user","content":"hi"}],"top_p":0.5}'
    )
    assert encode(ChatGenerationParams()) == b"{}"


def test_a_plain_mapping_goes_out_as_it_is() -> None:
    """A mapping keeps its Nones as null, and may hold request objects."""
    value = {"content": [TextPart("t")], "name": None}

    assert encode(value) == b'{"content":[{"type":"text","text":"t"}],"name":null}'


def test_shallow_goes_one_level_deep() -> None:
    """`unstructure` returns what is set, the values as they are, `NULL` as `NULL`."""
    messages = [UserMessage("hi")]
    params = ChatGenerationParams(messages=messages, seed=NULL, stop=[])

    found = unstructure(params)

    assert found == {"messages": messages, "seed": NULL, "stop": []}
    assert found["messages"] is messages
    assert list(unstructure(AssistantMessage(tool_calls=[ToolCall()]))) == [
        *("role", "content", "tool_calls")
    ]


# --- reply objects ---------------------------------------------------------------


def assert_sound(shape: Any) -> None:
    """Check that every field holds what its annotation promises, all the way down."""
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

REPLY: dict[str, Any] = {
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


def test_a_text_chunk_is_read() -> None:
    """The chunk that most chunks are like is read whole."""
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


@pytest.mark.parametrize("key", [key for key in REPLY if key != "choices"])
def test_no_key_hides_another(key: str) -> None:
    """A chunk of six keys is not taken for the common one if one is another."""
    raw = {**{name: TEXT[name] for name in list(TEXT)[:5]}, key: REPLY[key]}
    usual: dict[str, Any] = {**TEXT, "choices": [], key: REPLY[key]}

    assert getattr(read_chunk(raw), key)
    assert getattr(read_chunk(usual), key)
    assert read_chunk(raw).choices == []


def test_a_reply_is_read() -> None:
    """Every level of a reply is read, and `raw` keeps what came."""
    reply = read_response(REPLY)

    call = ToolCall("call_1", "function", ToolCallFunction("f", '{"a": 1}'), 0)
    detail = ReasoningDetail(
        "reasoning.text",
        text="hm",
        signature="s",
        format="anthropic-claude-v1",
        index=0,
    )
    assert reply.choices == [
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
    assert reply.usage == Usage(
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
    assert reply.tool_calls[0].raw is CALL
    assert reply.tool_calls[0].as_request() is CALL
    assert reply.message.reasoning_details[1].raw == {"type": "reasoning.new", "x": 1}
    assert reply.message.annotations[0].raw is CITATION
    assert reply.raw is REPLY
    assert reply.http.status is None
    assert reply.error == {"code": 502, "message": "m"}


def test_an_empty_reply_has_nothing_that_is_none_to_walk_through() -> None:
    """Lists are empty, nested objects are empty ones, leaves are None."""
    reply = read_response({})
    chunk = read_chunk({"choices": [{}]})

    assert reply == ChatResponse()
    assert reply.usage.cost_details.server_tool_cost is None
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
def test_an_int_is_an_exact_int(value: Any, read: int | None) -> None:
    """A float without a fraction is read as an int; a bool is none."""
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
def test_a_float_is_a_float(value: Any, read: float | None) -> None:
    """An int is read as a float; one that is too large, or a bool, is None."""
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
def test_arguments_are_always_text(arguments: Any, text: str) -> None:
    """Arguments that came parsed are written as JSON again; anything else is ""."""
    call = {"id": 7, "function": {"name": None, "arguments": arguments}}

    (read,) = (
        read_chunk({"choices": [{"delta": {"tool_calls": [call]}}]})
        .choices[0]
        .delta.tool_calls
    )

    assert read == ToolCall("", "function", ToolCallFunction("", text))
    assert read.raw is call


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ([{"type": "text", "text": "a"}, 7, {"text": None}, {"text": "b"}], "ab"),
        ([{"type": "image_url"}], None),
        ([], None),
        ({"text": "a"}, None),
        (7, None),
    ],
)
def test_content_in_parts_reads_as_its_words(content: Any, text: str | None) -> None:
    """Content that is a list of parts is read as the words of its text parts."""
    reply = read_response({"choices": [{"message": {"content": content}}]})
    chunk = read_chunk({"choices": [{"delta": {"content": content}}]})

    assert reply.message.content == text
    assert chunk.choices[0].delta.content == text
    assert reply.message.raw == {"content": content}


def test_members_that_are_no_objects_are_left_out() -> None:
    """Of a list of objects, only objects are read."""
    message: dict[str, Any] = {"tool_calls": [None, CALL, "x"], "images": [1, {}]}
    reply = read_response({"choices": [7, {"message": message}, []]})

    assert len(reply.choices) == 1
    assert [call.id for call in reply.tool_calls] == ["call_1"]
    assert reply.message.images == [{}]
    assert read_response({"choices": ["x"]}).choices == []


def test_an_error_may_be_an_object_or_a_string() -> None:
    """Gateways send an error as a plain string; it is not lost."""
    assert read_chunk({"error": "down"}).error == "down"
    assert read_chunk({"error": {"code": "429"}}).error == {"code": "429"}
    assert read_chunk({"error": 7}).error is None


@given(JSON)
def test_a_message_of_a_reply_is_sent_back_as_it_came(extra: Any) -> None:
    """A message read from a reply goes out equal as JSON to what came, order included."""
    message: dict[str, Any] = {
        "x": extra,
        "role": "assistant",
        "tool_calls": [CALL],
        "content": None,
    }
    reply = read_response({"choices": [{"message": message}]})

    assert encode([reply.message]) == encode([message])


MUTANTS: tuple[Any, ...] = (None, True, 1, 1.5, "x", [], {}, [None, {}], {"x": 1}, ...)
"""What stands in a member's place; the ellipsis: it is deleted."""


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
@pytest.mark.parametrize("body", [REPLY, TEXT, {**TEXT, "usage": USAGE}])
def test_no_change_to_a_body_makes_it_unreadable(read: Any, body: Any) -> None:
    """Whatever member is deleted, nulled, retyped or added: it reads, and soundly."""
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
            reply = read(changed)
            assert_sound(reply)
            assert reply.raw is changed


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
def test_any_object_can_be_read(raw: dict[str, Any]) -> None:
    """Any JSON object makes a sound reply and a sound chunk."""
    assert_sound(read_response(raw))
    assert_sound(read_chunk(raw))


def test_only_the_codec_imports_cattrs() -> None:
    """The shapes can be imported without cattrs and aiohttp."""
    package = sys.modules["openrouter_async.types"]

    assert not {"cattrs", "aiohttp"} & set(vars(package))


def test_mappings_of_any_kind_may_be_nested() -> None:
    """A mapping that is no dict is written like one, in every depth."""

    class Frozen(Mapping[str, Any]):
        """A mapping that cannot be changed."""

        def __init__(self, **members: Any) -> None:
            self._members = members

        def __getitem__(self, key: str) -> Any:
            return self._members[key]

        def __iter__(self) -> Any:
            return iter(self._members)

        def __len__(self) -> int:
            return len(self._members)

    assert encode(Frozen(a=[Frozen(b=NULL)])) == b'{"a":[{"b":null}]}'
