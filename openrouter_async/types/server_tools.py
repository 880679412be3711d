"""
Tools that OpenRouter runs itself, within the request.

An answer shows them only as annotations, as counts in `usage`, and in its cost.
"""

# ruff: noqa: PYI051 -- open vocabularies name the words that are known.

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Required, TypedDict

from .messages import Effort
from .parts import CacheControl

SearchEngine = (
    Literal["auto", "native", "exa", "parallel", "firecrawl", "perplexity"] | str
)
"""Who searches the web."""

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
"""How thoroughly to search; each engine knows some of these."""

SearchContextSize = Literal["low", "medium", "high"] | str
"""How much of the found pages the model reads."""


class UserLocation(TypedDict, total=False):
    """
    Roughly where the user is.

    Attributes:
        type: Always "approximate".
        city: Its name; nullable.
        region: Its name; nullable.
        country: Two letters, ISO 3166-1; nullable.
        timezone: An IANA name; nullable.
    """

    type: Literal["approximate"]
    city: str | None
    region: str | None
    country: str | None
    timezone: str | None


class XSearchOptions(TypedDict, total=False):
    """
    What xAI's search of X takes in.

    Attributes:
        allowed_x_handles: Only posts of these, without "@".
        excluded_x_handles: No posts of these.
        from_date: The first day, as "2026-01-31".
        to_date: The last day.
        enable_image_understanding: Whether it looks at images.
        enable_video_understanding: Whether it watches videos.
    """

    allowed_x_handles: Sequence[str]
    excluded_x_handles: Sequence[str]
    from_date: str
    to_date: str
    enable_image_understanding: bool
    enable_video_understanding: bool


class WebSearchParameters(TypedDict, total=False):
    """
    How to search the web.

    Attributes:
        engine: Who searches.
        mode: How thoroughly.
        max_results: Results per search.
        max_total_results: Results in all.
        max_uses: Searches in all.
        max_characters: Characters taken of each result.
        search_context_size: How much the model reads.
        allowed_domains: Only these.
        excluded_domains: None of these.
        user_location: Where the user is.
        x_search: What xAI's search of X takes in.
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
        parameters: How.
    """

    type: Required[Literal["openrouter:web_search"]]
    parameters: WebSearchParameters


class WebSearchShorthand(WebSearchParameters, total=False):
    """
    The same in OpenAI's form: the parameters stand beside the type.

    Attributes:
        type: Which of OpenAI's names.
        parameters: How; where both say something, say it once.
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
    How to read web pages.

    Attributes:
        engine: Who fetches.
        allowed_domains: Only these.
        blocked_domains: None of these.
        max_content_tokens: Tokens taken of each page.
        max_uses: Pages in all.
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
    Lets the model read web pages.

    Attributes:
        type: Always "openrouter:web_fetch".
        parameters: How.
    """

    type: Required[Literal["openrouter:web_fetch"]]
    parameters: WebFetchParameters


class DatetimeParameters(TypedDict, total=False):
    """
    Which time.

    Attributes:
        timezone: An IANA name; absent: UTC.
    """

    timezone: str


class DatetimeTool(TypedDict, total=False):
    """
    Lets the model ask for the time.

    Attributes:
        type: Always "openrouter:datetime".
        parameters: Which time.
    """

    type: Required[Literal["openrouter:datetime"]]
    parameters: DatetimeParameters


class ImageGenerationParameters(TypedDict, total=False):
    """
    How to draw; any other key goes to the image model (as a plain mapping).

    Attributes:
        model: The image model.
    """

    model: str


class ImageGenerationTool(TypedDict, total=False):
    """
    Lets the model have images drawn.

    Attributes:
        type: Always "openrouter:image_generation".
        parameters: How.
    """

    type: Required[Literal["openrouter:image_generation"]]
    parameters: ImageGenerationParameters | Mapping[str, Any]


class FilesTool(TypedDict, total=False):
    """
    Lets the model work with your uploaded files.

    Attributes:
        type: Always "openrouter:files".
        parameters: None are known.
    """

    type: Required[Literal["openrouter:files"]]
    parameters: Mapping[str, Any]


class NestedReasoning(TypedDict, total=False):
    """
    How hard a model behind a tool thinks.

    Attributes:
        effort: How hard.
        max_tokens: Tokens to think with.
    """

    effort: Effort
    max_tokens: int


class NestedTool(TypedDict, total=False):
    """
    A server tool that a model behind a tool may use.

    Attributes:
        type: The tool's type.
        parameters: How.
    """

    type: Required[str]
    parameters: Mapping[str, Any]


class FusionParameters(TypedDict, total=False):
    """
    How several models answer as one.

    Attributes:
        model: Who puts the answers together.
        analysis_models: Who answers; at most 8.
        tools: What they may use.
        max_tool_calls: Calls of each; at most 16, 4 unless told.
        reasoning: How hard they think.
        temperature: 0 to 2.
        max_completion_tokens: Tokens that each may write.
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
    Lets the model ask several others.

    Attributes:
        type: Always "openrouter:fusion".
        parameters: How.
    """

    type: Required[Literal["openrouter:fusion"]]
    parameters: FusionParameters


class AdvisorParameters(TypedDict, total=False):
    """
    Whom to ask.

    Attributes:
        model: The advisor.
        name: Tells several advisors apart.
        instructions: Its system prompt.
        forward_transcript: Whether it reads the conversation.
        reasoning: How hard it thinks.
        temperature: 0 to 2.
        max_completion_tokens: Tokens that it may write.
        stream: Whether its answer streams.
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
    Lets the model ask a stronger one; may stand in `tools` several times.

    Attributes:
        type: Always "openrouter:advisor".
        parameters: Whom.
    """

    type: Required[Literal["openrouter:advisor"]]
    parameters: AdvisorParameters


class SubagentParameters(TypedDict, total=False):
    """
    Who does the work.

    Attributes:
        model: The subagent.
        name: Tells several subagents apart.
        instructions: Its system prompt.
        tools: What it may use.
        inherit_functions: Whether it may call the request's functions.
        inherited_function_names: Which of them.
        max_tool_calls: At most 25.
        reasoning: How hard it thinks.
        temperature: 0 to 2.
        max_completion_tokens: Tokens that it may write.
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
    Lets the model hand work on; may stand in `tools` several times.

    Attributes:
        type: Always "openrouter:subagent".
        parameters: Whom to.
    """

    type: Required[Literal["openrouter:subagent"]]
    parameters: SubagentParameters


class SearchModelsParameters(TypedDict, total=False):
    """
    How to search.

    Attributes:
        max_results: Models per search.
    """

    max_results: int


class SearchModelsTool(TypedDict, total=False):
    """
    Lets the model search OpenRouter's models (experimental).

    Attributes:
        type: Always "openrouter:experimental__search_models".
        parameters: How.
    """

    type: Required[Literal["openrouter:experimental__search_models"]]
    parameters: SearchModelsParameters


class NetworkDisabled(TypedDict, total=False):
    """
    A container without a network.

    Attributes:
        type: Always "disabled".
    """

    type: Required[Literal["disabled"]]


class NetworkAllowlist(TypedDict, total=False):
    """
    A container that reaches only these.

    Attributes:
        type: Always "allowlist".
        allowed_domains: 1 or more.
    """

    type: Required[Literal["allowlist"]]
    allowed_domains: Required[Sequence[str]]


class ContainerAuto(TypedDict, total=False):
    """
    A container made for the request.

    Attributes:
        type: Always "container_auto".
        file_ids: Uploaded files that are put in it.
        network_policy: What it reaches.
    """

    type: Required[Literal["container_auto"]]
    file_ids: Sequence[str]
    network_policy: NetworkDisabled | NetworkAllowlist


class ContainerReference(TypedDict, total=False):
    """
    A container that is there already.

    Attributes:
        type: Always "container_reference".
        container_id: Which one.
        file_ids: Uploaded files that are put in it.
        network_policy: What it reaches.
    """

    type: Required[Literal["container_reference"]]
    container_id: Required[str]
    file_ids: Sequence[str]
    network_policy: NetworkDisabled | NetworkAllowlist


class BashParameters(TypedDict, total=False):
    """
    Where commands run.

    Attributes:
        engine: Who runs them.
        environment: The container.
        sleep_after_seconds: Seconds of idleness until it sleeps.
    """

    engine: Literal["auto", "native", "openrouter"] | str
    environment: ContainerAuto | ContainerReference
    sleep_after_seconds: int


class BashTool(TypedDict, total=False):
    """
    Lets the model run commands; chat answers 400 at the time of writing.

    Attributes:
        type: Always "openrouter:bash".
        parameters: Where.
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
"""A tool that OpenRouter runs itself."""
