"""What is asked for."""

# ruff: noqa: PYI051 -- open vocabularies name the words that are known.

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
"""How fast, at what price; "fast" is "priority"."""

Modality = Literal["text", "image", "audio"] | str
"""A kind of output."""


class ReasoningOptions(TypedDict, total=False):
    """
    How the model thinks; give `effort` or `max_tokens`, not both.

    Attributes:
        effort: How hard; "none" is a 400 where thinking cannot be switched off.
            Nullable.
        summary: How much of it is summed up; nullable.
        max_tokens: Tokens to think with.
        exclude: Think, and do not return it; it is billed all the same.
        enabled: Think, with medium effort.
        context: Which earlier thoughts the model reads again.
        mode: "pro" goes to the pro model.
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
    Answer in words.

    Attributes:
        type: Always "text".
    """

    type: Required[Literal["text"]]


class JsonObjectFormat(TypedDict, total=False):
    """
    Answer with some JSON object.

    Attributes:
        type: Always "json_object".
    """

    type: Required[Literal["json_object"]]


class JsonSchema(TypedDict, total=False):
    """
    What the JSON must look like.

    Attributes:
        name: At most 64 of a-z, A-Z, 0-9, "_" and "-".
        description: What it is, for the model.
        schema: The JSON schema.
        strict: Whether the answer must match it; true may leave no endpoint, a 404.
            Nullable.
    """

    name: Required[str]
    description: str
    schema: Mapping[str, Any]
    strict: bool | None


class JsonSchemaFormat(TypedDict, total=False):
    """
    Answer with JSON of this shape.

    Attributes:
        type: Always "json_schema".
        json_schema: The shape.
    """

    type: Required[Literal["json_schema"]]
    json_schema: Required[JsonSchema]


class GrammarFormat(TypedDict, total=False):
    """
    Answer with what this grammar allows.

    Attributes:
        type: Always "grammar".
        grammar: The grammar.
    """

    type: Required[Literal["grammar"]]
    grammar: Required[str]


class PythonFormat(TypedDict, total=False):
    """
    Answer with Python.

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
"""What the answer looks like."""


class StepCountIs(TypedDict, total=False):
    """
    Stop after so many steps.

    Attributes:
        type: Always "step_count_is".
        step_count: 1 or more.
    """

    type: Required[Literal["step_count_is"]]
    step_count: Required[int]


class HasToolCall(TypedDict, total=False):
    """
    Stop once this tool was called.

    Attributes:
        type: Always "has_tool_call".
        tool_name: Which one.
    """

    type: Required[Literal["has_tool_call"]]
    tool_name: Required[str]


class MaxTokensUsed(TypedDict, total=False):
    """
    Stop after so many tokens.

    Attributes:
        type: Always "max_tokens_used".
        max_tokens: 1 or more.
    """

    type: Required[Literal["max_tokens_used"]]
    max_tokens: Required[int]


class MaxCost(TypedDict, total=False):
    """
    Stop once so much is spent.

    Attributes:
        type: Always "max_cost".
        max_cost_in_dollars: US dollars.
    """

    type: Required[Literal["max_cost"]]
    max_cost_in_dollars: Required[float]


class FinishReasonIs(TypedDict, total=False):
    """
    Stop at this finish reason.

    Attributes:
        type: Always "finish_reason_is".
        reason: Which one.
    """

    type: Required[Literal["finish_reason_is"]]
    reason: Required[str]


StopCondition = StepCountIs | HasToolCall | MaxTokensUsed | MaxCost | FinishReasonIs
"""When server tools stop; any one of several suffices."""


class DeferredBm25Search(TypedDict, total=False):
    """
    Deferred tools are found by their words.

    Attributes:
        type: Always "bm25".
        max_results: Tools per search.
    """

    type: Required[Literal["bm25"]]
    max_results: int


class DeferredRegexSearch(TypedDict, total=False):
    """
    Deferred tools are found by a regular expression.

    Attributes:
        type: Always "regex".
        max_results: Tools per search.
    """

    type: Required[Literal["regex"]]
    max_results: int


class DeferredCustomSearch(TypedDict, total=False):
    """
    Deferred tools are found by a tool of yours.

    Attributes:
        type: Always "custom".
        tool_id: Your tool.
        result_key: Where in its result the found ones stand.
        max_results: Tools per search.
    """

    type: Required[Literal["custom"]]
    tool_id: Required[str]
    result_key: Required[str]
    max_results: int


class DeferredTools(TypedDict, total=False):
    """
    How the model finds tools with `defer_loading`.

    Attributes:
        profile: Always "portable".
        protocol: Always "v1".
        search: By what.
        validation: Always "runtime".
    """

    profile: Required[Literal["portable"]]
    protocol: Required[Literal["v1"]]
    search: Required[DeferredBm25Search | DeferredRegexSearch | DeferredCustomSearch]
    validation: Required[Literal["runtime"]]


class PredictedText(TypedDict, total=False):
    """
    A part of a prediction.

    Attributes:
        type: Always "text".
        text: The words.
    """

    type: Required[Literal["text"]]
    text: Required[str]


class Prediction(TypedDict, total=False):
    """
    What most of the answer will be, to make it faster.

    Attributes:
        type: Always "content".
        content: Text, or parts of it.
    """

    type: Required[Literal["content"]]
    content: Required[str | Sequence[PredictedText]]


class PromptCacheOptions(TypedDict, total=False):
    """
    How OpenAI caches the prompt.

    Attributes:
        mode: Always "explicit": only at `prompt_cache_breakpoint`s.
        ttl: How long entries live, such as "30m"; nullable.
    """

    mode: Required[Literal["explicit"]]
    ttl: str | None


class Trace(TypedDict, total=False):
    """
    Where this request belongs in your tracing; any other key may be given.

    Attributes:
        trace_id: Groups requests.
        trace_name: The group's name.
        span_name: The step's name.
        generation_name: This request's name.
        parent_span_id: The step around it.
    """

    trace_id: str
    trace_name: str
    span_name: str
    generation_name: str
    parent_span_id: str


class ImageConfig(TypedDict, total=False):
    """
    How images are drawn; each model knows keys of its own.

    Attributes:
        aspect_ratio: Such as "16:9".
        image_size: Such as "2K".
        quality: Such as "high".
    """

    aspect_ratio: str
    image_size: str
    quality: str


class DebugOptions(TypedDict, total=False):
    """
    What to tell for finding faults; streams only, never in production.

    Attributes:
        echo_upstream_body: Return what was sent to the provider, prompt and all.
    """

    echo_upstream_body: bool


class StreamOptions(TypedDict, total=False):
    """
    Deprecated, without effect: usage is always sent.

    Attributes:
        include_usage: Without effect.
    """

    include_usage: bool


class UsageOptions(TypedDict, total=False):
    """
    Deprecated, without effect: usage is always sent.

    Attributes:
        include: Without effect.
    """

    include: bool


class WebSearchOptions(TypedDict, total=False):
    """
    How models that search by themselves do it (Perplexity and others).

    Attributes:
        search_context_size: How much they read.
    """

    search_context_size: SearchContextSize


class AudioOptions(TypedDict, total=False):
    """
    How the model sounds.

    Attributes:
        voice: Whose voice, such as "alloy".
        format: "wav", "mp3", "flac", "opus", "pcm16", ...
    """

    voice: str
    format: str


@define(eq=False, repr=False, kw_only=True)
class ChatGenerationParams(Shape):
    """
    A chat request.

    None is "not given" and is not sent; where a field is nullable, `NULL` sends null.
    A field that is not given leaves the choice to OpenRouter, which sends nothing on
    to the provider. Wherever a class is expected a plain mapping will do, and goes
    out as it is.

    Attributes:
        model: A slug ("openai/gpt-4o-mini"), with a variant ("...:free"), a preset
            ("@preset/mine") or a router ("openrouter/auto"). Not given: the
            account's default.
        models: Others to try, in this order, if that one fails.
        messages: The conversation; 1 or more.
        prompt: Text to complete, instead of messages (legacy).
        tools: What the model may call; again on every turn.
        tool_choice: Whether it may, must or must not.
        parallel_tool_calls: Whether several at once; nullable.
        max_tool_calls: Steps that server tools may take; 30 at most and unless told.
        stop_server_tools_when: When they stop; overrides `max_tool_calls`.
        deferred_tools: How the model finds tools with `defer_loading`.
        plugins: What OpenRouter does to the request or the answer.
        provider: Which providers may answer; nullable.
        preset: The slug of a preset.
        reasoning: How the model thinks.
        reasoning_effort: Short for `reasoning.effort`; nullable.
        include_reasoning: Legacy; false is `reasoning.exclude`.
        verbosity: How long the answer is.
        response_format: What the answer looks like.
        structured_outputs: Only endpoints that can hold to a schema.
        max_completion_tokens: Tokens to write, reasoning included; 1 or more, some
            providers 16. Nullable.
        max_tokens: The same under its old name, still the most widely known;
            nullable.
        temperature: 0 to 2; nullable.
        top_p: 0 to 1; nullable.
        top_k: 0 or more, 0 is off; nullable.
        min_p: 0 to 1; nullable.
        top_a: 0 to 1; nullable.
        frequency_penalty: -2 to 2; nullable.
        presence_penalty: -2 to 2; nullable.
        repetition_penalty: 0 to 2; nullable.
        seed: The same seed tends to give the same answer; nullable.
        stop: Text that ends the answer, or at most 4 of these; nullable.
        logit_bias: Token id -> -100 to 100; nullable.
        logprobs: Whether to tell how likely each token was; nullable.
        top_logprobs: 0 to 20 alternatives for each; needs `logprobs`. Nullable.
        prediction: What most of the answer will be; nullable.
        modalities: Kinds of output; text unless told.
        image_config: How images are drawn.
        audio: How the model sounds; needs a stream.
        web_search_options: How models that search by themselves do it.
        x_search_filter: What xAI's search of X takes in.
        cache_control: Caches the prompt as a whole (Anthropic).
        prompt_cache_key: Which cache to look in (OpenAI); nullable.
        prompt_cache_options: How it caches (OpenAI); nullable.
        service_tier: How fast, at what price; nullable.
        speed: Anthropic's own word for a tier.
        session_id: Groups requests, and keeps them with one provider; at most 256
            characters.
        user: Your end user's id; at most 128 characters.
        metadata: At most 16 pairs of at most 64 and 512 characters.
        trace: Where the request belongs in your tracing.
        debug: What to tell for finding faults.
        route: Deprecated; nullable.
        transforms: Legacy; ["middle-out"] is the plugin "context-compression".
        stream_options: Deprecated, without effect; nullable.
        usage: Deprecated, without effect.
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
