"""The chat request."""

# ruff: noqa: PYI051 - open vocabularies list the known values.

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Required, TypedDict

from attrs import define

from .messages import Effort, MessageLike
from .parts import CacheControl
from .routing import ProviderPreferences
from .shape import Null, Shape
from .tools import FunctionTool, ToolChoice

if TYPE_CHECKING:
    from .plugins import Plugin
    from .server_tools import SearchContextSize, ServerTool, XSearchOptions
else:
    # At run time they are plain mappings and strings; the fifty classes that say more
    # are loaded when they are named.
    Plugin = ServerTool = XSearchOptions = Mapping[str, Any]
    SearchContextSize = str

ServiceTier = (
    Literal["auto", "default", "fast", "flex", "priority", "scale", "ultrafast"] | str
)
"""Service tier: trades speed for price. "fast" is the same as "priority"."""

Modality = Literal["text", "image", "audio"] | str
"""A kind of output."""


class ReasoningOptions(TypedDict, total=False):
    """
    Settings of the model's reasoning. Set either `effort` or `max_tokens`.

    Attributes:
        effort: Reasoning effort; "none" fails with 400 if the model always reasons.
            Nullable.
        summary: Level of detail of the reasoning summary. Nullable.
        max_tokens: Maximum number of reasoning tokens.
        exclude: If True, reasoning is left out of the response; it is billed all the
            same.
        enabled: If True, reason with medium effort.
        context: The earlier reasoning that the model reads again.
        mode: "pro" selects the pro version of the model.
    """

    effort: Effort | None
    summary: Literal["auto", "concise", "detailed"] | str | None
    max_tokens: int
    exclude: bool
    enabled: bool
    context: Literal["auto", "all_turns", "current_turn"] | str
    mode: Literal["standard", "pro"] | str


class TextFormat(TypedDict, total=False):
    """
    Plain text output.

    Attributes:
        type: Always "text".
    """

    type: Required[Literal["text"]]


class JsonObjectFormat(TypedDict, total=False):
    """
    Output of any JSON object.

    Attributes:
        type: Always "json_object".
    """

    type: Required[Literal["json_object"]]


class JsonSchema(TypedDict, total=False):
    """
    A JSON Schema for the output.

    Attributes:
        name: Name of the schema: 1 to 64 letters, digits, "_" or "-".
        description: Description for the model.
        schema: The JSON Schema.
        strict: If True, the output must match the schema; if no endpoint supports that,
            the request fails with 404. Nullable.
    """

    name: Required[str]
    description: str
    schema: Mapping[str, Any]
    strict: bool | None


class JsonSchemaFormat(TypedDict, total=False):
    """
    Output of JSON that matches a schema.

    Attributes:
        type: Always "json_schema".
        json_schema: The schema.
    """

    type: Required[Literal["json_schema"]]
    json_schema: Required[JsonSchema]


class GrammarFormat(TypedDict, total=False):
    """
    Output that a grammar allows.

    Attributes:
        type: Always "grammar".
        grammar: The grammar.
    """

    type: Required[Literal["grammar"]]
    grammar: Required[str]


class PythonFormat(TypedDict, total=False):
    """
    Output of Python code.

    Attributes:
        type: Always "python".
    """

    type: Required[Literal["python"]]


ResponseFormat = (
    TextFormat
    | JsonObjectFormat
    | JsonSchemaFormat
    | GrammarFormat
    | PythonFormat
    | Mapping[str, Any]
)
"""The format of the output."""


class StepCountIs(TypedDict, total=False):
    """
    Stop after a number of steps.

    Attributes:
        type: Always "step_count_is".
        step_count: Number of steps, 1 or more.
    """

    type: Required[Literal["step_count_is"]]
    step_count: Required[int]


class HasToolCall(TypedDict, total=False):
    """
    Stop after a call of a tool.

    Attributes:
        type: Always "has_tool_call".
        tool_name: Name of the tool.
    """

    type: Required[Literal["has_tool_call"]]
    tool_name: Required[str]


class MaxTokensUsed(TypedDict, total=False):
    """
    Stop after a number of tokens.

    Attributes:
        type: Always "max_tokens_used".
        max_tokens: Number of tokens, 1 or more.
    """

    type: Required[Literal["max_tokens_used"]]
    max_tokens: Required[int]


class MaxCost(TypedDict, total=False):
    """
    Stop at a cost.

    Attributes:
        type: Always "max_cost".
        max_cost_in_dollars: Cost in US dollars.
    """

    type: Required[Literal["max_cost"]]
    max_cost_in_dollars: Required[float]


class FinishReasonIs(TypedDict, total=False):
    """
    Stop at a finish reason.

    Attributes:
        type: Always "finish_reason_is".
        reason: The finish reason.
    """

    type: Required[Literal["finish_reason_is"]]
    reason: Required[str]


StopCondition = StepCountIs | HasToolCall | MaxTokensUsed | MaxCost | FinishReasonIs
"""A condition that stops server tools; any one of several is enough."""


class DeferredBm25Search(TypedDict, total=False):
    """
    Search for deferred tools by the words of their definitions (BM25).

    Attributes:
        type: Always "bm25".
        max_results: Maximum number of tools per search.
    """

    type: Required[Literal["bm25"]]
    max_results: int


class DeferredRegexSearch(TypedDict, total=False):
    """
    Search for deferred tools by a regular expression.

    Attributes:
        type: Always "regex".
        max_results: Maximum number of tools per search.
    """

    type: Required[Literal["regex"]]
    max_results: int


class DeferredCustomSearch(TypedDict, total=False):
    """
    Search for deferred tools by a tool of the caller.

    Attributes:
        type: Always "custom".
        tool_id: The tool that searches.
        result_key: Key of its result that contains the tools it found.
        max_results: Maximum number of tools per search.
    """

    type: Required[Literal["custom"]]
    tool_id: Required[str]
    result_key: Required[str]
    max_results: int


class DeferredTools(TypedDict, total=False):
    """
    The search for tools that have `defer_loading`.

    Attributes:
        profile: "portable", "universal" or another value.
        protocol: "v1" or another value.
        search: The kind of search.
        validation: "runtime" or another value.
    """

    profile: Required[Literal["portable", "universal"] | str]
    protocol: Required[Literal["v1"] | str]
    search: Required[DeferredBm25Search | DeferredRegexSearch | DeferredCustomSearch]
    validation: Required[Literal["runtime"] | str]


class PredictedText(TypedDict, total=False):
    """
    A part of a prediction.

    Attributes:
        type: Always "text".
        text: Predicted text.
    """

    type: Required[Literal["text"]]
    text: Required[str]


class Prediction(TypedDict, total=False):
    """
    A prediction of most of the output, which makes the response faster.

    Attributes:
        type: Always "content".
        content: Predicted text, or parts of it.
    """

    type: Required[Literal["content"]]
    content: Required[str | Sequence[PredictedText]]


class PromptCacheOptions(TypedDict, total=False):
    """
    Settings of OpenAI's prompt cache.

    Attributes:
        mode: "explicit": cache only up to each `prompt_cache_breakpoint`.
        ttl: Lifetime of the entries, such as "30m". Nullable.
    """

    mode: Required[Literal["explicit"] | str]
    ttl: str | None


class Trace(TypedDict, total=False):
    """
    The place of the request in your tracing. Other keys are allowed.

    Attributes:
        trace_id: Id shared by the requests of one trace.
        trace_name: Name of the trace.
        span_name: Name of the span.
        generation_name: Name of this request.
        parent_span_id: Id of the parent span.
    """

    trace_id: str
    trace_name: str
    span_name: str
    generation_name: str
    parent_span_id: str


class ImageConfig(TypedDict, total=False):
    """
    Settings of generated images. Other keys depend on the model.

    Attributes:
        aspect_ratio: Aspect ratio, such as "16:9".
        image_size: Size, such as "2K".
        quality: Quality, such as "high".
    """

    aspect_ratio: str
    image_size: str
    quality: str


class DebugOptions(TypedDict, total=False):
    """
    Debug output in streams; not for production.

    Attributes:
        echo_upstream_body: If True, return the body that OpenRouter sent to the
            provider, including the prompt.
    """

    echo_upstream_body: bool


class StreamOptions(TypedDict, total=False):
    """
    Deprecated and without effect: usage is always sent.

    Attributes:
        include_usage: Without effect.
    """

    include_usage: bool


class UsageOptions(TypedDict, total=False):
    """
    Deprecated and without effect: usage is always sent.

    Attributes:
        include: Without effect.
    """

    include: bool


class WebSearchOptions(TypedDict, total=False):
    """
    Settings of models with built-in web search (Perplexity and others).

    Attributes:
        search_context_size: Amount of search results that the model reads.
    """

    search_context_size: SearchContextSize


class AudioOptions(TypedDict, total=False):
    """
    Settings of generated audio.

    Attributes:
        voice: Voice, such as "alloy".
        format: "wav", "mp3", "flac", "opus", "pcm16" and others.
    """

    voice: str
    format: str


@define(eq=False, repr=False, kw_only=True)
class ChatGenerationParams(Shape):
    """
    A chat request.

    A field that is None is not sent, and the provider's default applies. In a nullable
    field, `NULL` sends null. Where a class is expected, a mapping is accepted too and
    sent unchanged.

    Attributes:
        model: A slug ("openai/gpt-4o-mini"), also with a variant ("...:free"), a preset
            ("@preset/mine") or a router ("openrouter/auto"). Defaults to the account's
            model.
        models: Models to try, in this order, if `model` fails.
        messages: The conversation, 1 or more messages.
        prompt: Text to complete, instead of messages (legacy).
        tools: Tools that the model may call; sent again in every turn.
        tool_choice: None, optional, required, or one particular tool.
        parallel_tool_calls: If True, the model may call several tools at once.
            Nullable.
        max_tool_calls: Maximum number of steps of server tools, at most 30; defaults to
            30.
        stop_server_tools_when: Conditions that stop server tools; overrides
            `max_tool_calls`.
        deferred_tools: The search for tools that have `defer_loading`.
        plugins: Plugins that change the request or the response.
        provider: Providers that may serve the request, and their order. Nullable.
        preset: Slug of a preset.
        reasoning: Settings of the model's reasoning.
        reasoning_effort: Short form of `reasoning.effort`. Nullable.
        include_reasoning: Legacy; False is the same as `reasoning.exclude`.
        verbosity: Length of the output.
        response_format: Format of the output.
        structured_outputs: If True, use only endpoints that support structured outputs.
        max_completion_tokens: Maximum number of output tokens, including reasoning; 1
            or more (some providers: 16). Nullable.
        max_tokens: Older name of `max_completion_tokens`, which more providers support.
            Nullable.
        temperature: Sampling temperature, 0 to 2. Nullable.
        top_p: Nucleus sampling, 0 to 1. Nullable.
        top_k: Number of most likely tokens to sample from; 0 for no limit. Nullable.
        min_p: Minimum probability relative to the most likely token, 0 to 1. Nullable.
        top_a: Minimum probability relative to the square of the highest, 0 to 1.
            Nullable.
        frequency_penalty: Penalty for tokens by their frequency so far, -2 to 2.
            Nullable.
        presence_penalty: Penalty for tokens that already occurred, -2 to 2. Nullable.
        repetition_penalty: Penalty for repeated tokens, 0 to 2. Nullable.
        seed: Seed; the same seed tends to give the same output. Nullable.
        stop: Text that ends the output, or up to 4 such texts. Nullable.
        logit_bias: Bias of -100 to 100 by token id. Nullable.
        logprobs: If True, return the log probability of each output token. Nullable.
        top_logprobs: Number of alternatives per token, 0 to 20; needs `logprobs`.
            Nullable.
        prediction: Prediction of most of the output. Nullable.
        modalities: Kinds of output; defaults to text.
        image_config: Settings of generated images.
        audio: Settings of generated audio; needs a stream.
        web_search_options: Settings of models with built-in web search.
        x_search_filter: Filter of xAI's search of X.
        cache_control: Caches the whole prompt (Anthropic).
        prompt_cache_key: Key of the prompt cache (OpenAI). Nullable.
        prompt_cache_options: Settings of the prompt cache (OpenAI). Nullable.
        service_tier: Service tier. Nullable.
        speed: Anthropic's name for the service tier.
        session_id: Id of a group of requests, which are routed to the same provider; at
            most 256 characters.
        user: Id of your end user; at most 128 characters.
        metadata: At most 16 pairs of a key (64 characters) and a value (512
            characters).
        trace: The place of the request in your tracing.
        debug: Debug output in streams.
        route: Deprecated. Nullable.
        transforms: Legacy; ["middle-out"] is the plugin "context-compression".
        stream_options: Deprecated and without effect. Nullable.
        usage: Deprecated and without effect.
    """

    model: str | None = None
    models: Sequence[str] | None = None
    messages: Sequence[MessageLike] | None = None
    prompt: str | None = None
    tools: Sequence[FunctionTool | ServerTool | Mapping[str, Any]] | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | Null | None = None
    max_tool_calls: int | None = None
    stop_server_tools_when: Sequence[StopCondition | Mapping[str, Any]] | None = None
    deferred_tools: DeferredTools | Mapping[str, Any] | None = None
    plugins: Sequence[Plugin | Mapping[str, Any]] | None = None
    provider: ProviderPreferences | Mapping[str, Any] | Null | None = None
    preset: str | None = None
    reasoning: ReasoningOptions | Mapping[str, Any] | None = None
    reasoning_effort: Effort | Null | None = None
    include_reasoning: bool | None = None
    verbosity: Literal["low", "medium", "high", "xhigh", "max"] | str | None = None
    response_format: ResponseFormat | None = None
    structured_outputs: bool | None = None
    max_completion_tokens: int | Null | None = None
    max_tokens: int | Null | None = None
    temperature: float | Null | None = None
    top_p: float | Null | None = None
    top_k: int | Null | None = None
    min_p: float | Null | None = None
    top_a: float | Null | None = None
    frequency_penalty: float | Null | None = None
    presence_penalty: float | Null | None = None
    repetition_penalty: float | Null | None = None
    seed: int | Null | None = None
    stop: str | Sequence[str] | Null | None = None
    logit_bias: Mapping[str, float] | Mapping[int, float] | Null | None = None
    logprobs: bool | Null | None = None
    top_logprobs: int | Null | None = None
    prediction: Prediction | Mapping[str, Any] | Null | None = None
    modalities: Sequence[Modality] | None = None
    image_config: ImageConfig | Mapping[str, Any] | None = None
    audio: AudioOptions | Mapping[str, Any] | None = None
    web_search_options: WebSearchOptions | Mapping[str, Any] | None = None
    x_search_filter: XSearchOptions | Mapping[str, Any] | None = None
    cache_control: CacheControl | Mapping[str, Any] | None = None
    prompt_cache_key: str | Null | None = None
    prompt_cache_options: PromptCacheOptions | Mapping[str, Any] | Null | None = None
    service_tier: ServiceTier | Null | None = None
    speed: Literal["fast", "standard"] | str | None = None
    session_id: str | None = None
    user: str | None = None
    metadata: Mapping[str, str] | None = None
    trace: Trace | Mapping[str, Any] | None = None
    debug: DebugOptions | Mapping[str, Any] | None = None
    route: Literal["fallback", "sort"] | str | Null | None = None
    transforms: Sequence[str] | None = None
    stream_options: StreamOptions | Mapping[str, Any] | Null | None = None
    usage: UsageOptions | Mapping[str, Any] | None = None
