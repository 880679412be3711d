"""
The response to a plain call, or the complete response of a stream.

Every attribute has a value of its declared type, whatever the server sent: values that
are absent, null or of the wrong type are None, lists are empty and nested objects are
empty objects. `raw` has the response as received.
"""

from typing import TYPE_CHECKING, Any, NoReturn

from attrs import Factory, define, field

from .exchange import Exchange
from .lazy import make_lazy
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
from .shape import Shape, as_plain
from .tools import ToolCall


@define(eq=False, repr=False)
class PromptTokensDetails(Shape):
    """
    Kinds of input tokens.

    Attributes:
        cached_tokens: Tokens read from a cache.
        cache_write_tokens: Tokens written to a cache.
        audio_tokens: Audio tokens.
        video_tokens: Video tokens.
    """

    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    audio_tokens: int | None = None
    video_tokens: int | None = None


@define(eq=False, repr=False)
class CompletionTokensDetails(Shape):
    """
    Kinds of output tokens.

    Attributes:
        reasoning_tokens: Reasoning tokens; may exceed `completion_tokens`.
        image_tokens: Image tokens.
        audio_tokens: Audio tokens.
        accepted_prediction_tokens: Tokens of the prediction that were used.
        rejected_prediction_tokens: Tokens of the prediction that were not used.
    """

    reasoning_tokens: int | None = None
    image_tokens: int | None = None
    audio_tokens: int | None = None
    accepted_prediction_tokens: int | None = None
    rejected_prediction_tokens: int | None = None


@define(eq=False, repr=False)
class CostDetails(Shape):
    """
    Parts of the cost, in US dollars.

    Attributes:
        upstream_inference_cost: Price charged by the provider.
        upstream_inference_prompt_cost: The input's share of it.
        upstream_inference_completions_cost: The output's share of it.
        server_tool_cost: Fees for server tools.
    """

    upstream_inference_cost: float | None = None
    upstream_inference_prompt_cost: float | None = None
    upstream_inference_completions_cost: float | None = None
    server_tool_cost: float | None = None


@define(eq=False, repr=False)
class Usage(Shape):
    """
    Token counts and cost of one request.

    Attributes:
        prompt_tokens: Input tokens, including cached ones.
        completion_tokens: Output tokens, including reasoning.
        total_tokens: Sum of both; some providers count differently.
        cost: Amount charged in US dollars; None if the server did not report it.
        is_byok: If True, your own provider key was used, and `cost` is only the fee.
        prompt_tokens_details: Kinds of input tokens.
        completion_tokens_details: Kinds of output tokens.
        cost_details: Parts of the cost.
        server_tool_use: Use of server tools, under its older name.
        server_tool_use_details: Use of server tools.
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
            "reasoning.server_tool_call" or another value.
        text: Text of a text block.
        summary: Text of a summary.
        data: Content of an encrypted block, up to tens of kilobytes.
        signature: The provider's signature of a text block.
        id: Id of the block.
        format: Format of the block, such as "anthropic-claude-v1".
        index: Position of the block.
        tool_name: Name of the server tool that was called.
        arguments: Arguments of that call.
        result: Result of that call.
        tool_call_id: Id of that call.
        raw: The block as received; empty if it was created by hand. If it is not empty,
            `as_request()` returns it and ignores the other fields.
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
        """Return the block to send back, with all keys as received."""
        return self.raw or as_plain(self)


@define(eq=False, repr=False)
class Annotation(Shape):
    """
    A source of the output, or a file that OpenRouter parsed.

    Attributes:
        type: "url_citation", "file", "file_annotation" or another value.
        url_citation: A web page.
        file: A parsed file; if it is sent back, it is not parsed and billed again.
        file_annotation: A quotation from a file, in an older form.
        raw: The annotation as received; empty if it was created by hand. If it is not
            empty, `as_request()` returns it and ignores the other fields.
    """

    type: str | None = None
    url_citation: UrlCitation | None = None
    file: ParsedFile | None = None
    file_annotation: FileQuote | None = None
    raw: dict[str, Any] = field(factory=dict[str, Any], eq=False, repr=False)

    def as_request(self) -> dict[str, Any]:
        """Return the annotation to send back, with all keys as received."""
        return self.raw or as_plain(self)


@define(eq=False, repr=False)
class Message(Shape):
    """
    The message of the model.

    Attributes:
        role: "assistant".
        content: The text; None if there is none. If the content has parts, their texts
            joined.
        refusal: The reason why the model refused.
        reasoning: Reasoning as plain text.
        reasoning_details: Reasoning blocks; providers want them back unchanged.
        tool_calls: Tools that the model called. They are to be executed whatever the
            finish reason is.
        annotations: Sources.
        images: Generated images.
        audio: Generated audio.
        name: Name of the author.
        model: The model that wrote the message.
        raw: The message as received; empty if it was created by hand.
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

        It has all keys as received, in their order; nested values are shared with
        `raw`. Three things that providers reject are corrected: a missing role, empty
        content beside tool calls, which becomes null, and ids of calls that are numbers
        and become strings. A message created by hand is built from the fields that are
        set.
        """
        if not self.raw:
            sent: dict[str, Any] = {"role": "assistant", **as_plain(self)}
            if self.tool_calls:
                sent["content"] = self.content or None
            return sent
        sent = dict(self.raw)
        role = sent.get("role")
        if not isinstance(role, str) or not role:
            sent["role"] = "assistant"
        if sent.get("content") == "" and sent.get("tool_calls"):
            sent["content"] = None
        calls = [call.as_request() for call in self.tool_calls]
        if any(
            call is not each.raw
            for call, each in zip(calls, self.tool_calls, strict=True)
        ):
            sent["tool_calls"] = calls
        return sent


make_lazy(Message, "reasoning_details", "tool_calls", "annotations", "images")


@define(eq=False, repr=False)
class Choice(Shape):
    """
    One answer of the model. In practice, a response has one.

    Attributes:
        index: Position of the choice.
        finish_reason: "stop", "length", "tool_calls", "content_filter", "error" or
            another value.
        native_finish_reason: The provider's own finish reason.
        message: The message of the model.
        logprobs: Log probabilities of the tokens.
        error: The error of this choice.
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
    A complete chat response.

    Attributes:
        id: OpenRouter's id of the generation.
        object: "chat.completion".
        created: Time of creation in Unix seconds.
        model: The model that answered; its name may differ from the requested one.
        provider: Display name of the provider, such as "Amazon Bedrock".
        choices: The answers.
        usage: Token counts and cost.
        system_fingerprint: Identifier of the provider's build.
        service_tier: Service tier of the request.
        openrouter_metadata: Routing of the request, if a header asked for it.
        alignment: Result of the alignment plugin.
        safeguard_results: Results of safeguards.
        error: An error inside a response with status 200.
        user_id: Id of your account, in some errors.
        raw: The response as received.
        http: The HTTP exchange.
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

    # Type checkers reject this mistake because the method does not exist.
    if not TYPE_CHECKING:

        def __aiter__(self) -> NoReturn:
            raise TypeError(
                "A response without stream=True has no chunks to iterate over. Write: "
                "async with client.chat.send(..., stream=True) as stream: "
                "async for chunk in stream: ..."
            )

    @property
    def message(self) -> Message:
        """The message of the first choice; an empty one if there are no choices."""
        return self.choices[0].message if self.choices else Message()

    @property
    def text(self) -> str:
        """The text of the first choice; "" if there is none."""
        return self.message.content or ""

    @property
    def reasoning(self) -> str | None:
        """The reasoning of the first choice as plain text; None if there is none."""
        return self.message.reasoning

    @property
    def tool_calls(self) -> list[ToolCall]:
        """The tool calls of the first choice."""
        return self.message.tool_calls

    @property
    def finish_reason(self) -> str | None:
        """The finish reason of the first choice; None if there is none."""
        return self.choices[0].finish_reason if self.choices else None


make_lazy(ChatResponse, "usage", "safeguard_results")
