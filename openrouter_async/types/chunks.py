"""The chunks of a streamed response."""

from typing import Any

from attrs import Factory, define, field

from .lazy import Deferred, make_lazy
from .response import Annotation, ReasoningDetail, Usage
from .response_metadata import (
    Alignment,
    Debug,
    ErrorBody,
    Logprobs,
    OutputAudio,
    OutputImage,
    RouterMetadata,
    SafeguardResult,
)
from .shape import Shape
from .tools import ToolCall


@define(eq=False, repr=False)
class Delta(Shape):
    """
    The new content of one choice. Any field may be empty or None; append the others.

    Attributes:
        role: "assistant", in every chunk.
        content: Next piece of the text.
        refusal: Next piece of a refusal.
        reasoning: Next piece of the reasoning, as plain text.
        reasoning_details: Fragments of reasoning blocks.
        tool_calls: Fragments of tool calls: the first one of a call has `id` and
            `function.name`, the others continue `function.arguments`.
        annotations: New sources.
        images: New images, each complete.
        audio: Next piece of the audio.
    """

    role: str | None = None
    content: str | None = None
    refusal: str | None = None
    reasoning: str | None = None
    reasoning_details: list[ReasoningDetail] = Factory(list[ReasoningDetail])
    tool_calls: list[ToolCall] = Factory(list[ToolCall])
    annotations: list[Annotation] = Factory(list[Annotation])
    images: list[OutputImage] = Factory(list[OutputImage])
    audio: OutputAudio | None = None


make_lazy(Delta, "reasoning_details", "tool_calls", "annotations", "images")


@define(eq=False, repr=False)
class StreamingChoice(Shape):
    """
    The part of a chunk that belongs to one choice.

    Attributes:
        index: Position of the choice.
        delta: New content.
        finish_reason: "stop", "length", "tool_calls", "content_filter", "error" or
            another value; sent late, and sometimes twice.
        native_finish_reason: The provider's own finish reason.
        logprobs: Log probabilities of the new tokens.
        error: The error of this choice.
    """

    index: int | None = None
    delta: Delta = Factory(Delta)
    finish_reason: str | None = None
    native_finish_reason: str | None = None
    logprobs: Logprobs | None = None
    error: ErrorBody | str | None = None


class _LazyChunk:
    """The slots of a chunk of which only one text was decoded."""

    # The text in which the chunk differs from others, and what the properties `text`
    # and `reasoning` return while nothing else of the chunk exists.
    __slots__ = ("_new_text", "_reasoning", "_text")

    _new_text: str
    _text: str
    _reasoning: str | None
    _choices: list[StreamingChoice] | Deferred
    _raw: dict[str, Any] | Deferred


@define(eq=False, repr=False)
class ChatStreamingResponseChunk(Shape, _LazyChunk):
    """
    One event of a streamed response.

    Attributes:
        id: OpenRouter's id of the generation.
        object: "chat.completion.chunk".
        created: Time of creation in Unix seconds.
        model: The model that generates the response.
        provider: Display name of the provider.
        choices: New content; empty in chunks that carry only metadata.
        usage: Token counts and cost; None in all chunks but one of the last.
        system_fingerprint: Identifier of the provider's build; sent late or not at all.
        service_tier: Service tier of the request; sent late or not at all.
        openrouter_metadata: Routing of the request, if a header asked for it.
        alignment: Result of the alignment plugin.
        safeguard_results: Results of safeguards.
        error: The error that ended the stream.
        debug: The output that `debug=` requested.
        user_id: Id of your account, in some errors.
        raw: The chunk as received. Most chunks differ in one text from the chunk
            before them, and only that text is decoded. The first access to `raw`
            decodes all of the chunk, which takes longer than everything else that is
            done with it: do not read `raw` if `text` or `choices` is enough.
    """

    id: str | None = None
    object: str | None = None
    created: int | None = None
    model: str | None = None
    provider: str | None = None
    choices: list[StreamingChoice] = Factory(list[StreamingChoice])
    usage: Usage | None = None
    system_fingerprint: str | None = None
    service_tier: str | None = None
    openrouter_metadata: RouterMetadata | None = None
    alignment: Alignment | None = None
    safeguard_results: list[SafeguardResult] = Factory(list[SafeguardResult])
    error: ErrorBody | str | None = None
    debug: Debug | None = None
    user_id: str | None = field(default=None, repr=False)
    raw: dict[str, Any] = field(factory=dict[str, Any], eq=False, repr=False)

    @property
    def text(self) -> str:
        """New text of the first choice; "" if there is none."""
        if isinstance(self._choices, Deferred):
            return self._text
        return (self.choices[0].delta.content or "") if self.choices else ""

    @property
    def reasoning(self) -> str | None:
        """New reasoning of the first choice; None if there is none."""
        if isinstance(self._choices, Deferred):
            return self._reasoning
        return self.choices[0].delta.reasoning if self.choices else None


def _read_choices(chunk: Any) -> list[StreamingChoice]:
    choices: Any = chunk._choices  # noqa: SLF001 - the getter of a property
    if isinstance(choices, Deferred):
        choices = choices.create(chunk, "choices")
        chunk._choices = choices  # noqa: SLF001 - as above
    return choices  # type: ignore[no-any-return]


make_lazy(ChatStreamingResponseChunk, "usage", "safeguard_results", "raw")
# Most callers read the choices of each chunk: this takes half the time.
make_lazy(ChatStreamingResponseChunk, "choices", read=_read_choices)
