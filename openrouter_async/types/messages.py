"""The messages of a conversation, as they are sent."""

# ruff: noqa: PYI051 - open vocabularies list the known values.

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Required, TypedDict

from attrs import define, field

from .parts import PartLike, TextPart
from .response import Annotation, Message, ReasoningDetail
from .response_metadata import OutputAudio, OutputImage
from .shape import Null, Shape
from .tools import ToolCall

Effort = Literal["max", "xhigh", "high", "medium", "low", "minimal", "none"] | str
"""Reasoning effort."""


class ReasoningUpdate(TypedDict, total=False):
    """
    A change of the reasoning effort within a conversation.

    Attributes:
        effort: Reasoning effort from this message on.
    """

    effort: Required[Effort]


class ConfigurationUpdate(TypedDict, total=False):
    """
    A change of settings within a conversation.

    Attributes:
        reasoning: Reasoning settings from this message on.
    """

    reasoning: Required[ReasoningUpdate]


@define(eq=False, repr=False)
class SystemMessage(Shape):
    """
    Instructions for the model.

    Attributes:
        role: Always "system".
        content: Text, or 1 or more text parts. `cache_control` belongs on a part.
        name: Name of the author.
        configuration_update: Settings that change from this message on. Nullable.
    """

    role: Literal["system"] = field(default="system", kw_only=True)
    content: str | Sequence[TextPart | Mapping[str, Any]]
    name: str | None = None
    configuration_update: ConfigurationUpdate | Null | None = None


@define(eq=False, repr=False)
class DeveloperMessage(Shape):
    """
    Instructions for OpenAI's newer models, which replace `SystemMessage` there.

    Attributes:
        role: Always "developer".
        content: Text, or 1 or more text parts.
        name: Name of the author.
        configuration_update: Settings that change from this message on. Nullable.
    """

    role: Literal["developer"] = field(default="developer", kw_only=True)
    content: str | Sequence[TextPart | Mapping[str, Any]]
    name: str | None = None
    configuration_update: ConfigurationUpdate | Null | None = None


@define(eq=False, repr=False)
class UserMessage(Shape):
    """
    A message of the user.

    Attributes:
        role: Always "user".
        content: Text, or 1 or more parts of any kind; put text before images.
        name: Name of the user, if there are several.
    """

    role: Literal["user"] = field(default="user", kw_only=True)
    content: str | Sequence[PartLike]
    name: str | None = None


@define(eq=False, repr=False)
class AssistantMessage(Shape):
    """
    An earlier message of the model.

    Prefer to send back `response.message` itself, which keeps every key that the
    provider needs.

    Attributes:
        role: Always "assistant".
        content: Text or parts. Nullable; null is sent if there are tool calls and no
            content.
        name: Name of the author.
        tool_calls: Tools that the model called.
        refusal: The reason why the model refused. Nullable.
        reasoning: Reasoning as plain text. Nullable.
        reasoning_content: Legacy name of `reasoning`. Nullable.
        reasoning_details: Reasoning blocks, unchanged and in their order; an empty list
            is sent as such.
        annotations: Sources; a "file" annotation saves parsing the file again.
        images: Images that the model generated.
        audio: Audio that the model generated.
        model: The model that wrote the message; `auto-router` uses it to stay with a
            model.
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
    The result of a tool call.

    Attributes:
        role: Always "tool".
        content: Text (often JSON), or 1 or more parts of any kind.
        tool_call_id: The `id` of the tool call.
        name: Name of the tool.
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

A mapping is sent unchanged, and the `Message` of a response as its `as_request()`.
"""
