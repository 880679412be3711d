"""
Tools that OpenRouter executes itself, within the request.

A response shows them only as annotations, as counts in `usage`, and in its cost.
"""

# ruff: noqa: PYI051 - open vocabularies list the known values.

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Required, TypedDict

from .messages import Effort
from .parts import CacheControl

SearchEngine = (
    Literal["auto", "native", "exa", "parallel", "firecrawl", "perplexity"] | str
)
"""Web search engine."""

SearchMode = (
    Literal[
        "instant",
        "fast",
        "auto",
        "deep-lite",
        "deep",
        "deep-reasoning",
        "turbo",
        "basic",
        "advanced",
    ]
    | str
)
"""Thoroughness of a search; each engine supports some of these."""

SearchContextSize = Literal["low", "medium", "high"] | str
"""Amount of search results that the model reads."""


class UserLocation(TypedDict, total=False):
    """
    The approximate location of the user.

    Attributes:
        type: Always "approximate".
        city: Name of the city. Nullable.
        region: Name of the region. Nullable.
        country: Two-letter country code, ISO 3166-1. Nullable.
        timezone: IANA name of the time zone. Nullable.
    """

    type: Literal["approximate"]
    city: str | None
    region: str | None
    country: str | None
    timezone: str | None


class XSearchOptions(TypedDict, total=False):
    """
    A filter of xAI's search of X.

    Attributes:
        allowed_x_handles: The only accounts to search, without "@".
        excluded_x_handles: Accounts to leave out, without "@".
        from_date: First day, such as "2026-01-31".
        to_date: Last day.
        enable_image_understanding: If True, analyze images.
        enable_video_understanding: If True, analyze videos.
    """

    allowed_x_handles: Sequence[str]
    excluded_x_handles: Sequence[str]
    from_date: str
    to_date: str
    enable_image_understanding: bool
    enable_video_understanding: bool


class WebSearchParameters(TypedDict, total=False):
    """
    Parameters of a web search.

    Attributes:
        engine: Search engine.
        mode: Thoroughness of the search.
        max_results: Maximum number of results per search.
        max_total_results: Maximum number of results in all searches.
        max_uses: Maximum number of searches.
        max_characters: Maximum number of characters per result.
        search_context_size: Amount of search results that the model reads.
        allowed_domains: The only domains to search.
        excluded_domains: Domains to leave out.
        user_location: Approximate location of the user.
        x_search: Filter of xAI's search of X.
    """

    engine: SearchEngine
    mode: SearchMode
    max_results: int
    max_total_results: int
    max_uses: int
    max_characters: int
    search_context_size: SearchContextSize
    allowed_domains: Sequence[str]
    excluded_domains: Sequence[str]
    user_location: UserLocation
    x_search: XSearchOptions


class WebSearchTool(TypedDict, total=False):
    """
    Lets the model search the web.

    Attributes:
        type: Always "openrouter:web_search".
        parameters: Parameters of the search.
    """

    type: Required[Literal["openrouter:web_search"]]
    parameters: WebSearchParameters


class WebSearchShorthand(WebSearchParameters, total=False):
    """
    A web search in OpenAI's form, with the parameters beside the type.

    Attributes:
        type: One of OpenAI's names of the tool.
        parameters: Parameters of the search. Set each parameter either here or beside
            the type.
    """

    type: Required[
        Literal[
            "web_search",
            "web_search_preview",
            "web_search_preview_2025_03_11",
            "web_search_2025_08_26",
        ]
        | str
    ]
    parameters: WebSearchParameters


class WebFetchParameters(TypedDict, total=False):
    """
    Parameters of fetching web pages.

    Attributes:
        engine: Service that fetches the pages.
        allowed_domains: The only domains to fetch from.
        blocked_domains: Domains to leave out.
        max_content_tokens: Maximum number of tokens per page.
        max_uses: Maximum number of pages.
    """

    engine: (
        Literal["auto", "native", "openrouter", "exa", "parallel", "firecrawl"] | str
    )
    allowed_domains: Sequence[str]
    blocked_domains: Sequence[str]
    max_content_tokens: int
    max_uses: int


class WebFetchTool(TypedDict, total=False):
    """
    Lets the model fetch web pages.

    Attributes:
        type: Always "openrouter:web_fetch".
        parameters: Parameters of fetching.
    """

    type: Required[Literal["openrouter:web_fetch"]]
    parameters: WebFetchParameters


class DatetimeParameters(TypedDict, total=False):
    """
    Parameters of the current time.

    Attributes:
        timezone: IANA name of the time zone; defaults to UTC.
    """

    timezone: str


class DatetimeTool(TypedDict, total=False):
    """
    Lets the model ask for the current time.

    Attributes:
        type: Always "openrouter:datetime".
        parameters: Parameters of the current time.
    """

    type: Required[Literal["openrouter:datetime"]]
    parameters: DatetimeParameters


class ImageGenerationParameters(TypedDict, total=False):
    """
    Parameters of image generation.

    Any other key is sent to the image model; pass a plain mapping then.

    Attributes:
        model: The image model.
    """

    model: str


class ImageGenerationTool(TypedDict, total=False):
    """
    Lets the model generate images.

    Attributes:
        type: Always "openrouter:image_generation".
        parameters: Parameters of image generation.
    """

    type: Required[Literal["openrouter:image_generation"]]
    parameters: ImageGenerationParameters | Mapping[str, Any]


class FilesTool(TypedDict, total=False):
    """
    Lets the model use your uploaded files.

    Attributes:
        type: Always "openrouter:files".
        parameters: Parameters; none are documented.
    """

    type: Required[Literal["openrouter:files"]]
    parameters: Mapping[str, Any]


class NestedReasoning(TypedDict, total=False):
    """
    Reasoning settings of a model that a tool calls.

    Attributes:
        effort: Reasoning effort.
        max_tokens: Maximum number of reasoning tokens.
    """

    effort: Effort
    max_tokens: int


class NestedTool(TypedDict, total=False):
    """
    A server tool for a model that a tool calls.

    Attributes:
        type: Type of the tool.
        parameters: Parameters of the tool.
    """

    type: Required[str]
    parameters: Mapping[str, Any]


class FusionParameters(TypedDict, total=False):
    """
    Parameters of combining several models.

    Attributes:
        model: Model that combines the answers.
        analysis_models: Models that answer; at most 8.
        tools: Tools that the models may use.
        max_tool_calls: Maximum number of tool calls per model; at most 16, 4 by
            default.
        reasoning: Reasoning settings of the models.
        temperature: Sampling temperature, 0 to 2.
        max_completion_tokens: Maximum number of output tokens per model.
        cache_control: Caches the shared prompt.
    """

    model: str
    analysis_models: Sequence[str]
    tools: Sequence[NestedTool]
    max_tool_calls: int
    reasoning: NestedReasoning
    temperature: float
    max_completion_tokens: int
    cache_control: CacheControl


class FusionTool(TypedDict, total=False):
    """
    Lets the model ask several other models.

    Attributes:
        type: Always "openrouter:fusion".
        parameters: Settings of the other models and of combining their answers.
    """

    type: Required[Literal["openrouter:fusion"]]
    parameters: FusionParameters


class AdvisorParameters(TypedDict, total=False):
    """
    Parameters of an advisor.

    Attributes:
        model: The model that advises.
        name: Name, to distinguish several advisors.
        instructions: System prompt of the advisor.
        forward_transcript: If True, the advisor reads the conversation.
        reasoning: Reasoning settings.
        temperature: Sampling temperature, 0 to 2.
        max_completion_tokens: Maximum number of output tokens.
        stream: If True, the advisor's answer is streamed.
    """

    model: str
    name: str
    instructions: str
    forward_transcript: bool
    reasoning: NestedReasoning
    temperature: float
    max_completion_tokens: int
    stream: bool


class AdvisorTool(TypedDict, total=False):
    """
    Lets the model ask a stronger model; `tools` may contain several.

    Attributes:
        type: Always "openrouter:advisor".
        parameters: Parameters of the advisor.
    """

    type: Required[Literal["openrouter:advisor"]]
    parameters: AdvisorParameters


class SubagentParameters(TypedDict, total=False):
    """
    Parameters of a subagent.

    Attributes:
        model: The model that does the work.
        name: Name, to distinguish several subagents.
        instructions: System prompt of the subagent.
        tools: Tools that the subagent may use.
        inherit_functions: If True, the subagent may call the functions of the request.
        inherited_function_names: The only functions that it may call.
        max_tool_calls: Maximum number of tool calls; at most 25.
        reasoning: Reasoning settings.
        temperature: Sampling temperature, 0 to 2.
        max_completion_tokens: Maximum number of output tokens.
    """

    model: str
    name: str
    instructions: str
    tools: Sequence[NestedTool]
    inherit_functions: bool
    inherited_function_names: Sequence[str]
    max_tool_calls: int
    reasoning: NestedReasoning
    temperature: float
    max_completion_tokens: int


class SubagentTool(TypedDict, total=False):
    """
    Lets the model delegate tasks to another model; `tools` may contain several.

    Attributes:
        type: Always "openrouter:subagent".
        parameters: Parameters of the subagent.
    """

    type: Required[Literal["openrouter:subagent"]]
    parameters: SubagentParameters


class SearchModelsParameters(TypedDict, total=False):
    """
    Parameters of a search for models.

    Attributes:
        max_results: Maximum number of models per search.
    """

    max_results: int


class SearchModelsTool(TypedDict, total=False):
    """
    Lets the model search OpenRouter's models (experimental).

    Attributes:
        type: Always "openrouter:experimental__search_models".
        parameters: Parameters of the search.
    """

    type: Required[Literal["openrouter:experimental__search_models"]]
    parameters: SearchModelsParameters


class NetworkDisabled(TypedDict, total=False):
    """
    A container without network access.

    Attributes:
        type: Always "disabled".
    """

    type: Required[Literal["disabled"]]


class NetworkAllowlist(TypedDict, total=False):
    """
    A container with access to listed domains only.

    Attributes:
        type: Always "allowlist".
        allowed_domains: The domains, 1 or more.
    """

    type: Required[Literal["allowlist"]]
    allowed_domains: Required[Sequence[str]]


class ContainerAuto(TypedDict, total=False):
    """
    A container that is created for the request.

    Attributes:
        type: Always "container_auto".
        file_ids: Ids of uploaded files to copy into the container.
        network_policy: Network access of the container.
    """

    type: Required[Literal["container_auto"]]
    file_ids: Sequence[str]
    network_policy: NetworkDisabled | NetworkAllowlist


class ContainerReference(TypedDict, total=False):
    """
    An existing container.

    Attributes:
        type: Always "container_reference".
        container_id: Id of the container.
        file_ids: Ids of uploaded files to copy into the container.
        network_policy: Network access of the container.
    """

    type: Required[Literal["container_reference"]]
    container_id: Required[str]
    file_ids: Sequence[str]
    network_policy: NetworkDisabled | NetworkAllowlist


class BashParameters(TypedDict, total=False):
    """
    Parameters of running commands.

    Attributes:
        engine: Service that runs the commands.
        environment: The container.
        sleep_after_seconds: Idle time after which the container sleeps, in seconds.
    """

    engine: Literal["auto", "native", "openrouter"] | str
    environment: ContainerAuto | ContainerReference
    sleep_after_seconds: int


class BashTool(TypedDict, total=False):
    """
    Lets the model run commands. At the time of writing, chat rejects it with 400.

    Attributes:
        type: Always "openrouter:bash".
        parameters: Parameters of running commands.
    """

    type: Required[Literal["openrouter:bash"]]
    parameters: BashParameters


ServerTool = (
    WebSearchTool
    | WebSearchShorthand
    | WebFetchTool
    | DatetimeTool
    | ImageGenerationTool
    | FilesTool
    | FusionTool
    | AdvisorTool
    | SubagentTool
    | SearchModelsTool
    | BashTool
)
"""A known server tool."""
