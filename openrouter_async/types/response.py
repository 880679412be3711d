"""
What comes back.

Every field has a value whatever the server sent: an absent, null or mistyped leaf is
None, lists are [], nested objects are empty ones. `raw` keeps what came.
"""

from typing import Any

from attrs import Factory, define, field

from .exchange import Exchange
from .response_metadata import (
    Alignment,
    ErrorBody,
    FileQuote,
    Logprobs,
    OutputAudio,
    OutputImage,
    ParsedFile,
    RouterMetadata,
    SafeguardResult,
    ServerToolUse,
    ServerToolUseDetails,
    UrlCitation,
)
from .shape import Shape, given
from .tools import ToolCall


@define(eq=False, repr=False)
class PromptTokensDetails(Shape):
    """
    What the tokens that were read were.

    Attributes:
        cached_tokens: Read from a cache.
        cache_write_tokens: Written to a cache.
        audio_tokens: Sound.
        video_tokens: Video.
    """

    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    audio_tokens: int | None = None
    video_tokens: int | None = None


@define(eq=False, repr=False)
class CompletionTokensDetails(Shape):
    """
    What the tokens that were written were.

    Attributes:
        reasoning_tokens: Reasoning; may exceed `completion_tokens`.
        image_tokens: Images.
        audio_tokens: Sound.
        accepted_prediction_tokens: Predicted, and so.
        rejected_prediction_tokens: Predicted, and otherwise.
    """

    reasoning_tokens: int | None = None
    image_tokens: int | None = None
    audio_tokens: int | None = None
    accepted_prediction_tokens: int | None = None
    rejected_prediction_tokens: int | None = None


@define(eq=False, repr=False)
class CostDetails(Shape):
    """
    What the cost is made of, in US dollars.

    Attributes:
        upstream_inference_cost: What the provider charges.
        upstream_inference_prompt_cost: Of that, for reading.
        upstream_inference_completions_cost: Of that, for writing.
        server_tool_cost: Fees for server tools.
    """

    upstream_inference_cost: float | None = None
    upstream_inference_prompt_cost: float | None = None
    upstream_inference_completions_cost: float | None = None
    server_tool_cost: float | None = None


@define(eq=False, repr=False)
class Usage(Shape):
    """
    What one request used up.

    Attributes:
        prompt_tokens: Tokens read, cached ones included.
        completion_tokens: Tokens written, reasoning included.
        total_tokens: Both; some providers count otherwise.
        cost: US dollars charged; None where the server left it out.
        is_byok: Whether your own provider key was used; `cost` is then only the fee.
        prompt_tokens_details: What was read.
        completion_tokens_details: What was written.
        cost_details: What the cost is made of.
        server_tool_use: What server tools did, under its older name.
        server_tool_use_details: What server tools did.
    """

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    cost: float | None = None
    is_byok: bool | None = None
    prompt_tokens_details: PromptTokensDetails = Factory(PromptTokensDetails)
    completion_tokens_details: CompletionTokensDetails = Factory(
        CompletionTokensDetails
    )
    cost_details: CostDetails = Factory(CostDetails)
    server_tool_use: ServerToolUse | None = None
    server_tool_use_details: ServerToolUseDetails | None = None


@define(eq=False, repr=False)
class ReasoningDetail(Shape):
    """
    One block of reasoning; in a stream, a fragment of one.

    Attributes:
        type: "reasoning.text", "reasoning.summary", "reasoning.encrypted",
            "reasoning.server_tool_call", or a new kind.
        text: The words of a text block.
        summary: The words of a summary.
        data: An encrypted block; opaque, tens of kilobytes.
        signature: The provider's seal on a text block.
        id: The block's id.
        format: Whose block it is, such as "anthropic-claude-v1".
        index: The block's position.
        tool_name: The server tool that was called.
        arguments: What with.
        result: What it gave.
        tool_call_id: The call's id.
        raw: The block as it came; empty if it was built by hand. Where it is not, it
            is what `as_request()` returns, whatever the other fields say.
    """

    type: str | None = None
    text: str | None = None
    summary: str | None = None
    data: str | None = None
    signature: str | None = None
    id: str | None = None
    format: str | None = None
    index: int | None = None
    tool_name: str | None = None
    arguments: str | None = None
    result: str | None = None
    tool_call_id: str | None = None
    raw: dict[str, Any] = field(factory=dict[str, Any], eq=False, repr=False)

    def as_request(self) -> dict[str, Any]:
        """Return the block to send back, with every key that came, in its order."""
        return self.raw or given(self)


@define(eq=False, repr=False)
class Annotation(Shape):
    """
    A source of the answer, or a file as OpenRouter read it.

    Attributes:
        type: "url_citation", "file", "file_annotation", or a new kind.
        url_citation: The web page.
        file: The file; sent back, it is not parsed and billed again.
        file_annotation: The quoted file, in an old form.
        raw: The annotation as it came; empty if it was built by hand. Where it is
            not, it is what `as_request()` returns, whatever the other fields say.
    """

    type: str | None = None
    url_citation: UrlCitation | None = None
    file: ParsedFile | None = None
    file_annotation: FileQuote | None = None
    raw: dict[str, Any] = field(factory=dict[str, Any], eq=False, repr=False)

    def as_request(self) -> dict[str, Any]:
        """Return the annotation to send back, with every key that came."""
        return self.raw or given(self)


@define(eq=False, repr=False)
class Message(Shape):
    """
    What the model said.

    Attributes:
        role: "assistant".
        content: The words; None if there are none. Of content in parts, the words
            of its text parts.
        refusal: Why the model will not answer, in words.
        reasoning: What it thought, as plain text.
        reasoning_details: The same in blocks; providers want them back unchanged.
        tool_calls: What it calls. If there are any, there are calls, whatever the
            finish reason says.
        annotations: Its sources.
        images: What it drew.
        audio: What it spoke.
        name: Its name.
        model: The model that spoke.
        raw: The message as it came; empty if it was built by hand.
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
    name: str | None = None
    model: str | None = None
    raw: dict[str, Any] = field(factory=dict[str, Any], eq=False, repr=False)

    def as_request(self) -> dict[str, Any]:
        """
        Return the message to send back in the next turn.

        It is what came, key for key and in its order; the nested values are shared
        with `raw`. Two things are set right because providers refuse them: a role
        that is missing, and blank content beside tool calls, which goes out as null.
        A message built by hand is made of the fields that are set.
        """
        if not self.raw:
            sent: dict[str, Any] = {"role": "assistant", **given(self)}
            if self.tool_calls:
                sent["content"] = self.content or None
            return sent
        sent = dict(self.raw)
        role = sent.get("role")
        if not isinstance(role, str) or not role:
            sent["role"] = "assistant"
        if sent.get("content") == "" and sent.get("tool_calls"):
            sent["content"] = None
        return sent


@define(eq=False, repr=False)
class Choice(Shape):
    """
    One answer; in practice there is one.

    Attributes:
        index: Its position.
        finish_reason: "stop", "length", "tool_calls", "content_filter", "error", or
            a new word.
        native_finish_reason: The provider's own word.
        message: What the model said.
        logprobs: How likely each token was.
        error: What went wrong with this answer.
    """

    index: int | None = None
    finish_reason: str | None = None
    native_finish_reason: str | None = None
    message: Message = Factory(Message)
    logprobs: Logprobs | None = None
    error: ErrorBody | str | None = None


@define(eq=False, repr=False)
class ChatResponse(Shape):
    """
    A whole reply.

    Attributes:
        id: OpenRouter's id of the generation.
        object: "chat.completion".
        created: Unix seconds.
        model: The model that answered; not always by the name that was asked for.
        provider: The display name of who ran it, such as "Amazon Bedrock".
        choices: The answers.
        usage: What it used up.
        system_fingerprint: The provider's build.
        service_tier: The tier that served it.
        openrouter_metadata: How it was routed, if a header asked for that.
        alignment: What the alignment plugin found.
        safeguard_results: What safeguards found.
        error: What went wrong, inside a 200.
        user_id: Your account's id, on some errors.
        raw: The reply as it came.
        http: What happened on the wire.
    """

    id: str | None = None
    object: str | None = None
    created: int | None = None
    model: str | None = None
    provider: str | None = None
    choices: list[Choice] = Factory(list[Choice])
    usage: Usage = Factory(Usage)
    system_fingerprint: str | None = None
    service_tier: str | None = None
    openrouter_metadata: RouterMetadata | None = None
    alignment: Alignment | None = None
    safeguard_results: list[SafeguardResult] = Factory(list[SafeguardResult])
    error: ErrorBody | str | None = None
    user_id: str | None = field(default=None, repr=False)
    raw: dict[str, Any] = field(factory=dict[str, Any], eq=False, repr=False)
    http: Exchange = field(factory=Exchange, eq=False, repr=False)

    @property
    def message(self) -> Message:
        """The first choice's message; an empty one if there is no choice."""
        return self.choices[0].message if self.choices else Message()

    @property
    def text(self) -> str:
        """The first choice's words; "" if there are none."""
        return self.message.content or ""

    @property
    def reasoning(self) -> str | None:
        """What the first choice's model thought; None if that is not told."""
        return self.message.reasoning

    @property
    def tool_calls(self) -> list[ToolCall]:
        """What the first choice calls."""
        return self.message.tool_calls

    @property
    def finish_reason(self) -> str | None:
        """Why the first choice ended; None if that is not told."""
        return self.choices[0].finish_reason if self.choices else None
