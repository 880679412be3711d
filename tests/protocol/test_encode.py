"""encode: request objects and plain values to JSON bytes."""

import json
import math
from collections import UserList
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import Enum, StrEnum
from types import MappingProxyType
from typing import Any, NamedTuple
from uuid import UUID

import pytest
from hypothesis import given
from json_values import JSON
from test_response_objects import CALL

from openrouter_async.errors import ConfigurationError
from openrouter_async.protocol.encode import encode, unstructure
from openrouter_async.protocol.response_objects import read_response
from openrouter_async.types import (
    NULL,
    Annotation,
    AssistantMessage,
    AudioPart,
    ChatGenerationParams,
    DeveloperMessage,
    FilePart,
    FunctionTool,
    ImagePart,
    Message,
    ProviderPreferences,
    ProviderSort,
    ReasoningDetail,
    SystemMessage,
    TextPart,
    ToolCall,
    ToolCallFunction,
    ToolResponseMessage,
    UserMessage,
    VideoPart,
)


class Colour(Enum):
    """An enum whose values are strings."""

    RED = "red"


class Greeting(StrEnum):
    """An enum whose members are strings."""

    HI = "hi"


class Pair(NamedTuple):
    """A named tuple."""

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
        ([Colour.RED, Greeting.HI, NULL], '["red","hi",null]'),
        (UUID(int=1), '"00000000-0000-0000-0000-000000000001"'),
        ({1: 2, "a": {3: 4}}, '{"1":2,"a":{"3":4}}'),
        ({Greeting.HI: [2**64, Colour.RED]}, '{"hi":[18446744073709551616,"red"]}'),
        (["\ud800", "é", (1,), UUID(int=1), Greeting.HI], None),
        (2**64, "18446744073709551616"),
    ],
)
def test_supported_values_are_encoded_compactly_and_in_order(
    value: Any, text: str | None
) -> None:
    if text is None:
        text = r'["\ud800","\u00e9",[1],"00000000-0000-0000-0000-000000000001","hi"]'

    assert encode(value).decode() == text


@pytest.mark.parametrize(
    ("value", "path"),
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
def test_unsupported_value_is_rejected_with_its_path(value: Any, path: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        encode(value)

    assert str(caught.value).startswith(path)


def test_value_that_contains_itself_is_rejected() -> None:
    cycle: list[Any] = []
    cycle.append(cycle)

    with pytest.raises(ConfigurationError, match="nested too deeply"):
        encode(cycle)


def test_nesting_that_only_orjson_rejects_is_encoded() -> None:
    """Orjson allows 254 levels; the standard library is limited by the stack."""
    deep: Any = 1
    for _ in range(300):
        deep = [deep]

    assert json.loads(encode(deep)) == deep


@given(JSON)
def test_encoded_values_are_read_by_the_standard_library(value: Any) -> None:
    assert json.loads(encode(value)) == value


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_number_that_is_not_finite_is_rejected_at_the_top_level(bad: float) -> None:
    """Orjson alone would write null."""
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
def test_request_object_is_encoded_without_unset_fields(shape: Any, sent: Any) -> None:
    encoded = encode({"here": [shape]})

    assert json.loads(encoded) == {"here": [sent]}
    assert encoded == json.dumps({"here": [sent]}, separators=(",", ":")).encode()


def test_request_is_encoded_in_the_order_of_its_fields() -> None:
    one = ChatGenerationParams(model="m", messages=[UserMessage("hi")], top_p=0.5)
    other = ChatGenerationParams(top_p=0.5, messages=(UserMessage("hi"),), model="m")

    assert encode(one) == encode(other)
    assert encode(one) == (
        b'{"model":"m","messages":[{"role":"user","content":"hi"}],"top_p":0.5}'
    )
    assert encode(ChatGenerationParams()) == b"{}"


def test_mapping_keeps_none_and_may_hold_request_objects() -> None:
    value = {"content": [TextPart("t")], "name": None}

    assert encode(value) == b'{"content":[{"type":"text","text":"t"}],"name":null}'


def test_unstructure_returns_set_fields_one_level_deep() -> None:
    messages = [UserMessage("hi")]
    params = ChatGenerationParams(messages=messages, seed=NULL, stop=[])

    found = unstructure(params)

    assert found == {"messages": messages, "seed": NULL, "stop": []}
    assert found["messages"] is messages
    assert list(unstructure(AssistantMessage(tool_calls=[ToolCall()]))) == [
        *("role", "content", "tool_calls")
    ]


def test_mappings_that_are_not_dicts_may_be_nested() -> None:
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


@given(JSON)
def test_message_of_a_response_is_sent_back_unchanged(extra: Any) -> None:
    message: dict[str, Any] = {
        "x": extra,
        "role": "assistant",
        "tool_calls": [CALL],
        "content": None,
    }
    response = read_response({"choices": [{"message": message}]})

    assert encode([response.message]) == encode([message])
