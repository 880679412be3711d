"""The fields of a request as keywords of `send`."""

# ruff: noqa: PYI051 - open vocabularies list the known values.

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from .messages import Effort, MessageLike
from .parts import CacheControl
from .request import (
    AudioOptions,
    DebugOptions,
    DeferredTools,
    ImageConfig,
    Modality,
    Prediction,
    PromptCacheOptions,
    ReasoningOptions,
    ResponseFormat,
    ServiceTier,
    StopCondition,
    StreamOptions,
    Trace,
    UsageOptions,
    WebSearchOptions,
)
from .routing import ProviderPreferences
from .shape import Null
from .tools import FunctionTool, ToolChoice

if TYPE_CHECKING:
    from .plugins import Plugin
    from .server_tools import ServerTool, XSearchOptions
else:
    # As in request.py: the long tail is not loaded for annotations.
    Plugin = ServerTool = XSearchOptions = Mapping[str, Any]


class ChatFields(TypedDict, total=False):
    """The fields of `ChatGenerationParams` as keywords."""

    model: str | None
    models: Sequence[str] | None
    messages: Sequence[MessageLike] | None
    prompt: str | None
    tools: Sequence[FunctionTool | ServerTool | Mapping[str, Any]] | None
    tool_choice: ToolChoice | None
    parallel_tool_calls: bool | Null | None
    max_tool_calls: int | None
    stop_server_tools_when: Sequence[StopCondition | Mapping[str, Any]] | None
    deferred_tools: DeferredTools | Mapping[str, Any] | None
    plugins: Sequence[Plugin | Mapping[str, Any]] | None
    provider: ProviderPreferences | Mapping[str, Any] | Null | None
    preset: str | None
    reasoning: ReasoningOptions | Mapping[str, Any] | None
    reasoning_effort: Effort | Null | None
    include_reasoning: bool | None
    verbosity: Literal["low", "medium", "high", "xhigh", "max"] | str | None
    response_format: ResponseFormat | None
    structured_outputs: bool | None
    max_completion_tokens: int | Null | None
    max_tokens: int | Null | None
    temperature: float | Null | None
    top_p: float | Null | None
    top_k: int | Null | None
    min_p: float | Null | None
    top_a: float | Null | None
    frequency_penalty: float | Null | None
    presence_penalty: float | Null | None
    repetition_penalty: float | Null | None
    seed: int | Null | None
    stop: str | Sequence[str] | Null | None
    logit_bias: Mapping[str, float] | Mapping[int, float] | Null | None
    logprobs: bool | Null | None
    top_logprobs: int | Null | None
    prediction: Prediction | Mapping[str, Any] | Null | None
    modalities: Sequence[Modality] | None
    image_config: ImageConfig | Mapping[str, Any] | None
    audio: AudioOptions | Mapping[str, Any] | None
    web_search_options: WebSearchOptions | Mapping[str, Any] | None
    x_search_filter: XSearchOptions | Mapping[str, Any] | None
    cache_control: CacheControl | Mapping[str, Any] | None
    prompt_cache_key: str | Null | None
    prompt_cache_options: PromptCacheOptions | Mapping[str, Any] | Null | None
    service_tier: ServiceTier | Null | None
    speed: Literal["fast", "standard"] | str | None
    session_id: str | None
    user: str | None
    metadata: Mapping[str, str] | None
    trace: Trace | Mapping[str, Any] | None
    debug: DebugOptions | Mapping[str, Any] | None
    route: Literal["fallback", "sort"] | str | Null | None
    transforms: Sequence[str] | None
    stream_options: StreamOptions | Mapping[str, Any] | Null | None
    usage: UsageOptions | Mapping[str, Any] | None
