"""What comes back piece by piece."""

from typing import Any

from attrs import Factory, define, field

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
    What is new in one choice. Anything may be "" or None: append what is there.

    Attributes:
        role: "assistant", on every chunk.
        content: More words.
        refusal: More words of a refusal.
        reasoning: More thoughts, as plain text.
        reasoning_details: The same as fragments of blocks.
        tool_calls: Fragments of calls: the first has `id` and `function.name`, the
            others have more of `function.arguments`.
        annotations: More sources.
        images: More images, whole.
        audio: More sound.
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


@define(eq=False, repr=False)
class StreamingChoice(Shape):
    """
    One choice's share of a chunk.

    Attributes:
        index: The choice's position.
        delta: What is new.
        finish_reason: "stop", "length", "tool_calls", "content_filter", "error", or
            a new word; comes late, and may come twice.
        native_finish_reason: The provider's own word.
        logprobs: How likely each new token was.
        error: What went wrong with this choice.
    """

    index: int | None = None
    delta: Delta = Factory(Delta)
    finish_reason: str | None = None
    native_finish_reason: str | None = None
    logprobs: Logprobs | None = None
    error: ErrorBody | str | None = None


@define(eq=False, repr=False)
class ChatStreamingResponseChunk(Shape):
    """
    One event of a streamed reply.

    Attributes:
        id: OpenRouter's id of the generation.
        object: "chat.completion.chunk".
        created: Unix seconds.
        model: The model that answers.
        provider: The display name of who runs it.
        choices: What is new; [] on chunks that only report.
        usage: What it used up; None on all chunks but one of the last.
        system_fingerprint: The provider's build; late, if at all.
        service_tier: The tier that serves it; late, if at all.
        openrouter_metadata: How it was routed, if a header asked for that.
        alignment: What the alignment plugin found.
        safeguard_results: What safeguards found.
        error: What went wrong.
        debug: What `debug=` asked for.
        user_id: Your account's id, on some errors.
        raw: The chunk as it came.
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
        """The new words of the first choice; "" if there are none."""
        return (self.choices[0].delta.content or "") if self.choices else ""

    @property
    def reasoning(self) -> str | None:
        """The new thoughts of the first choice; None if there are none."""
        return self.choices[0].delta.reasoning if self.choices else None
