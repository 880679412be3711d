"""What is said to a model, and what it said before."""

# ruff: noqa: PYI051 -- open vocabularies name the words that are known.

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Required, TypedDict

from attrs import define, field

from .parts import PartLike, TextPart
from .response import Annotation, Message, ReasoningDetail
from .response_metadata import OutputAudio, OutputImage
from .shape import Null, Shape
from .tools import ToolCall

Effort = Literal["max", "xhigh", "high", "medium", "low", "minimal", "none"] | str
"""How hard a model thinks."""


class ReasoningUpdate(TypedDict, total=False):
    """
    How hard to think from here on.

    Attributes:
        effort: How hard.
    """

    effort: Required[Effort]


class ConfigurationUpdate(TypedDict, total=False):
    """
    What changes from this message on.

    Attributes:
        reasoning: How hard to think.
    """

    reasoning: Required[ReasoningUpdate]


@define(eq=False, repr=False)
class SystemMessage(Shape):
    """
    How the model is to behave.

    Attributes:
        role: Always "system".
        content: Text, or 1 or more text parts (where `cache_control` goes).
        name: Whose words these are.
        configuration_update: What changes from here on; nullable.
    """

    role: Literal["system"] = field(default="system", kw_only=True)
    content: str | Sequence[TextPart | Mapping[str, Any]]
    name: str | None = None
    configuration_update: ConfigurationUpdate | Null | None = None


@define(eq=False, repr=False)
class DeveloperMessage(Shape):
    """
    How the model is to behave, in the word of OpenAI's newer models.

    Attributes:
        role: Always "developer".
        content: Text, or 1 or more text parts.
        name: Whose words these are.
        configuration_update: What changes from here on; nullable.
    """

    role: Literal["developer"] = field(default="developer", kw_only=True)
    content: str | Sequence[TextPart | Mapping[str, Any]]
    name: str | None = None
    configuration_update: ConfigurationUpdate | Null | None = None


@define(eq=False, repr=False)
class UserMessage(Shape):
    """
    What the user says or shows.

    Attributes:
        role: Always "user".
        content: Text, or 1 or more parts of any kind; text first.
        name: Who the user is, where there are several.
    """

    role: Literal["user"] = field(default="user", kw_only=True)
    content: str | Sequence[PartLike]
    name: str | None = None


@define(eq=False, repr=False)
class AssistantMessage(Shape):
    """
    What the model said before. A reply's own `message` is the better thing to send.

    Attributes:
        role: Always "assistant".
        content: Text or parts; nullable, and sent as null where there are tool calls
            and no content.
        name: Its name.
        tool_calls: What it called.
        refusal: Why it would not answer; nullable.
        reasoning: What it thought, as plain text; nullable.
        reasoning_content: The same under its legacy name; nullable.
        reasoning_details: The same in blocks, unchanged and in their order; [] is
            sent as such.
        annotations: Its sources; a `file` one spares a second parsing.
        images: What it drew.
        audio: What it spoke.
        model: The model that spoke (`auto-router` pins it).
    """

    role: Literal["assistant"] = field(default="assistant", kw_only=True)
    content: str | Sequence[PartLike] | Null | None = None
    name: str | None = None
    tool_calls: Sequence[ToolCall | Mapping[str, Any]] | None = None
    refusal: str | Null | None = None
    reasoning: str | Null | None = None
    reasoning_content: str | Null | None = None
    reasoning_details: Sequence[ReasoningDetail | Mapping[str, Any]] | None = None
    annotations: Sequence[Annotation | Mapping[str, Any]] | None = None
    images: Sequence[OutputImage | Mapping[str, Any]] | None = None
    audio: OutputAudio | Mapping[str, Any] | None = None
    model: str | None = None


@define(eq=False, repr=False)
class ToolResponseMessage(Shape):
    """
    What came of a tool call.

    Attributes:
        role: Always "tool".
        content: Text (often JSON), or 1 or more parts of any kind.
        tool_call_id: The `id` of the call that this answers.
        name: The tool's name.
    """

    role: Literal["tool"] = field(default="tool", kw_only=True)
    content: str | Sequence[PartLike]
    tool_call_id: str
    name: str | None = None


MessageLike = (
    SystemMessage
    | DeveloperMessage
    | UserMessage
    | AssistantMessage
    | ToolResponseMessage
    | Message
    | Mapping[str, Any]
)
"""
A message of a conversation.

A mapping goes out as it is; a reply's `Message` as its `as_request()`.
"""
