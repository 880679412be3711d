"""Shapes of requests and responses: fields, defaults, equality, and sending back."""

import ast
import copy
import inspect
import pickle
import pkgutil
import re
from importlib import import_module
from typing import Any, get_type_hints, is_typeddict

import attrs
import pytest

from openrouter_async import types
from openrouter_async.types import (
    NULL,
    Annotation,
    AssistantMessage,
    AudioPart,
    ChatFields,
    ChatGenerationParams,
    ChatResponse,
    ChatStreamingResponseChunk,
    Choice,
    Delta,
    DeveloperMessage,
    FilePart,
    FunctionTool,
    ImagePart,
    Message,
    OutputImage,
    ProviderPreferences,
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
from openrouter_async.types.shape import Shape, Value

MODULES = [
    import_module(f"{types.__name__}.{module.name}")
    for module in pkgutil.iter_modules(types.__path__)
]
SHAPES = [
    value
    for module in MODULES
    for value in vars(module).values()
    if inspect.isclass(value)
    and value.__module__ == module.__name__
    and (attrs.has(value) or is_typeddict(value))
    and value not in {Value, Shape, ChatFields}
]


def fields_of(shape: type[Any]) -> dict[str, Any]:
    if attrs.has(shape):
        return {field.name: field.type for field in attrs.fields(shape)}
    return get_type_hints(shape, include_extras=True)


# Base classes and helpers that are not public.
INNER = {"Value", "Shape", "PathLike", "Deferred"}


def test_all_lists_every_public_class_and_alias() -> None:
    declared: set[str] = set()
    for module in MODULES:
        for node in ast.parse(inspect.getsource(module)).body:
            if isinstance(node, ast.ClassDef):
                declared.add(node.name)
            elif isinstance(node, ast.Assign):
                declared |= {ast.unparse(target) for target in node.targets}
    public = {name for name in declared if not name.startswith("_")} - INNER

    assert set(types.__all__) == public


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.__name__)
def test_attributes_section_lists_every_field_in_order(shape: type[Any]) -> None:
    body = ast.parse(inspect.getsource(shape)).body[0]
    assert isinstance(body, ast.ClassDef)
    own = [ast.unparse(n.target) for n in body.body if isinstance(n, ast.AnnAssign)]
    section = inspect.cleandoc(shape.__doc__ or "").partition("Attributes:\n")[2]

    assert re.findall(r"^    (\w+): \S", section, re.MULTILINE) == own


def test_chat_fields_has_the_fields_of_chat_generation_params() -> None:
    assert get_type_hints(ChatFields) == fields_of(ChatGenerationParams)
    assert ChatFields.__total__ is False
    assert "stream" not in ChatFields.__annotations__


@pytest.mark.parametrize(
    "name",
    [
        *("prompt", "include_reasoning", "verbosity", "structured_outputs", "audio"),
        *("web_search_options", "preset", "max_tool_calls", "x_search_filter"),
        *("speed", "transforms", "usage", "route"),
    ],
)
def test_field_documented_only_in_prose_exists(name: str) -> None:
    """The published schema does not have these."""
    assert name in fields_of(ChatGenerationParams)


@pytest.mark.parametrize(
    ("message", "role"),
    [
        (SystemMessage("s"), "system"),
        (DeveloperMessage("d"), "developer"),
        (UserMessage("u"), "user"),
        (AssistantMessage("a"), "assistant"),
        (ToolResponseMessage("t", "call_1"), "tool"),
    ],
)
def test_message_takes_its_content_first_and_has_its_role(
    message: Any, role: str
) -> None:
    assert message.role == role
    assert message.content == role[0]


@pytest.mark.parametrize("part", [ImagePart, VideoPart])
def test_image_and_video_parts_accept_a_url_as_a_string(part: Any) -> None:
    assert part("https://x") == part({"url": "https://x"})


def test_part_has_its_type() -> None:
    """Each part names its type as the wire does."""
    parts: list[Any] = [
        TextPart("text"),
        ImagePart("https://x"),
        AudioPart({"data": "", "format": "wav"}),
        VideoPart("https://x"),
        FilePart({"filename": "x.pdf"}),
        FunctionTool({"name": "f"}),
    ]

    assert [part.type for part in parts] == [
        *("text", "image_url", "input_audio", "video_url", "file", "function")
    ]


def test_repr_leaves_out_empty_fields_and_raw() -> None:
    params = ChatGenerationParams(model="m", temperature=NULL, stop=[])

    assert repr(params) == "ChatGenerationParams(model='m', temperature=NULL)"
    assert repr(Message(content="x", raw={"secret": 1})) == "Message(content='x')"
    assert repr(ChatStreamingResponseChunk(user_id="u")) == (
        "ChatStreamingResponseChunk()"
    )


def test_equality_compares_class_and_fields_but_not_raw() -> None:
    assert UserMessage("a") == UserMessage("a")
    assert UserMessage("a") != UserMessage("b")
    assert UserMessage("a") != SystemMessage("a")
    assert UserMessage("a") != "a"
    assert ToolCall("1", raw={"id": "2"}) == ToolCall("1")
    assert ChatResponse(id="1", raw={"id": "2"}) == ChatResponse(id="1")


def test_shape_has_no_hash() -> None:
    """Shapes are values that can be changed, so they cannot be keys."""
    with pytest.raises(TypeError, match="unhashable"):
        hash(UserMessage("a"))


@pytest.mark.parametrize(
    "shape",
    [
        ChatResponse(id="1", choices=[Choice(message=Message(content="x"))]),
        ChatStreamingResponseChunk(usage=Usage(cost=1.0)),
        ChatGenerationParams(temperature=NULL, provider=ProviderPreferences(zdr=True)),
    ],
)
def test_shape_survives_pickle_and_deepcopy(shape: Any) -> None:
    """`NULL` stays the same object."""
    again = pickle.loads(pickle.dumps(shape))

    assert again == shape == copy.deepcopy(shape)
    assert NULL is pickle.loads(pickle.dumps(NULL))


def test_null_is_false() -> None:
    assert not NULL
    assert repr(NULL) == "NULL"


def test_response_shortcuts_read_the_first_choice() -> None:
    call = ToolCall("1", function=ToolCallFunction("f", "{}"))
    message = Message(content="text", reasoning="because", tool_calls=[call])
    response = ChatResponse(choices=[Choice(message=message, finish_reason="stop")])

    assert response.message is message
    assert response.text == "text"
    assert response.reasoning == "because"
    assert response.tool_calls == [call]
    assert response.finish_reason == "stop"


def test_response_shortcuts_without_choices_are_empty() -> None:
    response = ChatResponse()

    assert response.message == Message()
    assert response.text == ""
    assert response.reasoning is None
    assert response.tool_calls == []
    assert response.finish_reason is None
    assert ChatResponse(choices=[Choice()]).text == ""


def test_chunk_shortcuts_read_the_first_choice() -> None:
    delta = Delta(content="text", reasoning="because")
    chunk = ChatStreamingResponseChunk(choices=[StreamingChoice(delta=delta)])

    assert (chunk.text, chunk.reasoning) == ("text", "because")
    assert ChatStreamingResponseChunk().text == ""
    assert ChatStreamingResponseChunk().reasoning is None
    assert ChatStreamingResponseChunk(choices=[StreamingChoice()]).text == ""


@pytest.mark.parametrize(
    ("raw", "sent"),
    [
        ({"role": "assistant", "content": "x"}, {"role": "assistant", "content": "x"}),
        ({"content": "x"}, {"content": "x", "role": "assistant"}),
        ({"role": "", "content": "x"}, {"role": "assistant", "content": "x"}),
        ({"role": None, "x": 1}, {"role": "assistant", "x": 1}),
        ({"role": 7}, {"role": "assistant"}),
        (
            {"content": "", "tool_calls": [{"id": "1"}], "role": "assistant"},
            {"content": None, "tool_calls": [{"id": "1"}], "role": "assistant"},
        ),
        (
            {"role": "assistant", "content": "", "tool_calls": []},
            {"role": "assistant", "content": "", "tool_calls": []},
        ),
        (
            {"role": "assistant", "content": "x", "tool_calls": [{"id": "1"}]},
            {"role": "assistant", "content": "x", "tool_calls": [{"id": "1"}]},
        ),
        (
            {"role": "assistant", "reasoning_details": []},
            {"role": "assistant", "reasoning_details": []},
        ),
    ],
)
def test_message_is_sent_back_with_all_keys_as_received(
    raw: dict[str, Any], sent: dict[str, Any]
) -> None:
    """Only a missing role and blank content beside tool calls are corrected."""
    before = copy.deepcopy(raw)

    request = Message(content="ignored", raw=raw).as_request()

    assert request == sent
    assert list(request) == list(sent)
    assert raw == before


def test_message_without_raw_is_sent_by_its_fields() -> None:
    """Nested shapes that were received are sent as their `raw`."""
    image: OutputImage = {"image_url": {"url": "data:,"}}
    message = Message(
        content="",
        tool_calls=[
            ToolCall("1", function=ToolCallFunction("f", "{}")),
            ToolCall("2", raw={"id": "2", "extra": True}),
        ],
        reasoning_details=[ReasoningDetail("reasoning.text", text="hm")],
        images=[image],
    )

    assert message.as_request() == {
        "role": "assistant",
        "content": None,
        "reasoning_details": [{"type": "reasoning.text", "text": "hm"}],
        "tool_calls": [
            {
                "id": "1",
                "type": "function",
                "function": {"name": "f", "arguments": "{}"},
            },
            {"id": "2", "extra": True},
        ],
        "images": [image],
    }
    assert Message(content="x").as_request() == {"role": "assistant", "content": "x"}


@pytest.mark.parametrize("shape", [ToolCall, ReasoningDetail, Annotation])
def test_received_part_of_a_message_is_sent_back_as_its_raw(shape: Any) -> None:
    assert shape(type="t", raw={"z": 1, "type": "u"}).as_request() == {
        "z": 1,
        "type": "u",
    }
    assert shape(type="t").as_request()["type"] == "t"
