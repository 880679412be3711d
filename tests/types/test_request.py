"""The shapes that requests are built of, and what replies offer to read."""

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
INNER = {"Value", "Shape", "PathLike"}


def test_all_lists_every_public_class_and_alias() -> None:
    made: set[str] = set()
    for module in MODULES:
        for node in ast.parse(inspect.getsource(module)).body:
            if isinstance(node, ast.ClassDef):
                made.add(node.name)
            elif isinstance(node, ast.Assign):
                made |= {ast.unparse(target) for target in node.targets}
    public = {name for name in made if not name.startswith("_")} - INNER

    assert set(types.__all__) == public


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.__name__)
def test_every_field_is_documented(shape: type[Any]) -> None:
    """A class names each of its own fields under "Attributes:", in their order."""
    body = ast.parse(inspect.getsource(shape)).body[0]
    assert isinstance(body, ast.ClassDef)
    own = [ast.unparse(n.target) for n in body.body if isinstance(n, ast.AnnAssign)]
    section = inspect.cleandoc(shape.__doc__ or "").partition("Attributes:\n")[2]

    assert re.findall(r"^    (\w+): \S", section, re.MULTILINE) == own


def test_the_keywords_are_the_fields() -> None:
    """`ChatFields` has the names and the types of `ChatGenerationParams`."""
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
def test_fields_that_only_the_docs_know_can_be_sent(name: str) -> None:
    """What is documented in prose, and absent from the schema, has a field too."""
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
def test_content_comes_first_and_the_role_is_given(message: Any, role: str) -> None:
    """A message takes its content as its first argument and knows its role."""
    assert message.role == role
    assert message.content == role[0]


@pytest.mark.parametrize("part", [ImagePart, VideoPart])
def test_a_plain_string_is_a_url(part: Any) -> None:
    """An image or a video may be given by its URL alone."""
    assert part("https://x") == part({"url": "https://x"})


def test_parts_know_their_type() -> None:
    """Each part names its type as the wire does."""
    parts: list[Any] = [
        TextPart("words"),
        ImagePart("https://x"),
        AudioPart({"data": "", "format": "wav"}),
        VideoPart("https://x"),
        FilePart({"filename": "x.pdf"}),
        FunctionTool({"name": "f"}),
    ]

    assert [part.type for part in parts] == [
        *("text", "image_url", "input_audio", "video_url", "file", "function")
    ]


def test_a_repr_shows_what_is_set() -> None:
    """A repr leaves out what is None or empty, and what came on the wire."""
    params = ChatGenerationParams(model="m", temperature=NULL, stop=[])

    assert repr(params) == "ChatGenerationParams(model='m', temperature=NULL)"
    assert repr(Message(content="x", raw={"secret": 1})) == "Message(content='x')"
    assert repr(ChatStreamingResponseChunk(user_id="u")) == (
        "ChatStreamingResponseChunk()"
    )


def test_equality_is_by_class_and_fields_and_not_by_raw() -> None:
    """Two shapes are equal if class and fields are; `raw` and `http` do not count."""
    assert UserMessage("a") == UserMessage("a")
    assert UserMessage("a") != UserMessage("b")
    assert UserMessage("a") != SystemMessage("a")
    assert UserMessage("a") != "a"
    assert ToolCall("1", raw={"id": "2"}) == ToolCall("1")
    assert ChatResponse(id="1", raw={"id": "2"}) == ChatResponse(id="1")


def test_what_can_change_has_no_hash() -> None:
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
def test_shapes_are_pickled_and_copied(shape: Any) -> None:
    """A shape survives pickle and deepcopy, `NULL` as the one that it is."""
    again = pickle.loads(pickle.dumps(shape))

    assert again == shape == copy.deepcopy(shape)
    assert NULL is pickle.loads(pickle.dumps(NULL))


def test_null_is_false() -> None:
    """`NULL` counts as false, as None does, and says its name."""
    assert not NULL
    assert repr(NULL) == "NULL"


def test_a_response_reads_its_first_choice() -> None:
    """The shortcuts of a response are those of its first choice."""
    call = ToolCall("1", function=ToolCallFunction("f", "{}"))
    message = Message(content="words", reasoning="thoughts", tool_calls=[call])
    reply = ChatResponse(choices=[Choice(message=message, finish_reason="stop")])

    assert reply.message is message
    assert reply.text == "words"
    assert reply.reasoning == "thoughts"
    assert reply.tool_calls == [call]
    assert reply.finish_reason == "stop"


def test_a_response_without_choices_can_be_read() -> None:
    """The shortcuts are safe where there is no choice, or no content."""
    reply = ChatResponse()

    assert reply.message == Message()
    assert reply.text == ""
    assert reply.reasoning is None
    assert reply.tool_calls == []
    assert reply.finish_reason is None
    assert ChatResponse(choices=[Choice()]).text == ""


def test_a_chunk_reads_its_first_choice() -> None:
    """The shortcuts of a chunk are those of its first choice, and safe without one."""
    delta = Delta(content="words", reasoning="thoughts")
    chunk = ChatStreamingResponseChunk(choices=[StreamingChoice(delta=delta)])

    assert (chunk.text, chunk.reasoning) == ("words", "thoughts")
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
def test_a_message_is_sent_back_as_it_came(
    raw: dict[str, Any], sent: dict[str, Any]
) -> None:
    """`as_request()` keeps keys and order, mends role and blank content, adds nothing."""
    before = copy.deepcopy(raw)

    request = Message(content="ignored", raw=raw).as_request()

    assert request == sent
    assert list(request) == list(sent)
    assert raw == before


def test_a_message_built_by_hand_is_sent_by_its_fields() -> None:
    """Without `raw`, what is set is sent, and members that came keep their own `raw`."""
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
def test_members_are_sent_back_as_they_came(shape: Any) -> None:
    """A call, a detail or an annotation is sent as its `raw`, else by its fields."""
    assert shape(type="t", raw={"z": 1, "type": "u"}).as_request() == {
        "z": 1,
        "type": "u",
    }
    assert shape(type="t").as_request()["type"] == "t"
