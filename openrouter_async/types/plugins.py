"""
Plugins, which change the request or the response.

`enabled: False` switches off a plugin that the account enables by default.
"""

# ruff: noqa: PYI051 - open vocabularies list the known values.

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Required, TypedDict

from .server_tools import (
    NestedTool,
    SearchMode,
    UserLocation,
    XSearchOptions,
)

CostTier = Literal["low", "medium", "high", "xhigh", "max"] | str
"""Price range of the models that a router may choose."""


class WebPlugin(TypedDict, total=False):
    """
    Searches the web before the model answers; `openrouter:web_search` replaces it.

    Attributes:
        id: Always "web".
        enabled: If False, the plugin is off.
        engine: Search engine.
        mode: Thoroughness of the search.
        max_results: Maximum number of results per search; defaults to 5.
        max_uses: Maximum number of searches.
        search_prompt: Text that introduces the results to the model.
        include_domains: The only domains to search.
        exclude_domains: Domains to leave out.
        user_location: Approximate location of the user. Nullable.
        x_search: Filter of xAI's search of X.
    """

    id: Required[Literal["web"]]
    enabled: bool
    engine: Literal["native", "exa", "firecrawl", "parallel", "perplexity"] | str
    mode: SearchMode
    max_results: int
    max_uses: int
    search_prompt: str
    include_domains: Sequence[str]
    exclude_domains: Sequence[str]
    user_location: UserLocation | None
    x_search: XSearchOptions


class WebFetchPlugin(TypedDict, total=False):
    """
    Fetches the web pages that the prompt mentions.

    Attributes:
        id: Always "web-fetch".
        max_uses: Maximum number of pages.
        max_content_tokens: Maximum number of tokens per page.
        allowed_domains: The only domains to fetch from.
        blocked_domains: Domains to leave out.
    """

    id: Required[Literal["web-fetch"]]
    max_uses: int
    max_content_tokens: int
    allowed_domains: Sequence[str]
    blocked_domains: Sequence[str]


class PdfOptions(TypedDict, total=False):
    """
    Settings of PDF parsing.

    Attributes:
        engine: PDF parser. "mistral-ocr" costs extra and is the default for models that
            do not read files; "pdf-text" is the old name of "cloudflare-ai".
    """

    engine: Literal["mistral-ocr", "native", "cloudflare-ai", "pdf-text"] | str


class FileParserPlugin(TypedDict, total=False):
    """
    Parses files for models that do not read them.

    Attributes:
        id: Always "file-parser".
        enabled: If False, the plugin is off.
        pdf: Settings of PDF parsing.
    """

    id: Required[Literal["file-parser"]]
    enabled: bool
    pdf: PdfOptions


class ResponseHealingPlugin(TypedDict, total=False):
    """
    Repairs invalid JSON in the output; not in streams.

    Attributes:
        id: Always "response-healing".
        enabled: If False, the plugin is off.
    """

    id: Required[Literal["response-healing"]]
    enabled: bool


class ContextCompressionPlugin(TypedDict, total=False):
    """
    Shortens a prompt that is too long; on by default for contexts up to 8k tokens.

    Attributes:
        id: Always "context-compression".
        enabled: If False, the plugin is off.
        engine: Method; "middle-out" is the only one.
    """

    id: Required[Literal["context-compression"]]
    enabled: bool
    engine: Literal["middle-out"] | str


class ModerationPlugin(TypedDict, total=False):
    """
    Moderates the prompt.

    Attributes:
        id: Always "moderation".
    """

    id: Required[Literal["moderation"]]


class AutoRouterPlugin(TypedDict, total=False):
    """
    Settings of `openrouter/auto`.

    Attributes:
        id: Always "auto-router".
        enabled: If False, the plugin is off.
        allowed_models: The only models to choose from; "*" matches any text.
        excluded_models: Models to leave out.
        cost_tier: Price range of the models.
        cost_quality_tradeoff: 0 to 10; deprecated in favour of `cost_tier`.
        pin_model: If True, a conversation stays with its first model.
    """

    id: Required[Literal["auto-router"]]
    enabled: bool
    allowed_models: Sequence[str]
    excluded_models: Sequence[str]
    cost_tier: CostTier
    cost_quality_tradeoff: int
    pin_model: bool


class AutoBetaRouterPlugin(TypedDict, total=False):
    """
    Settings of `openrouter/auto-beta`.

    Attributes:
        id: Always "auto-beta-router".
        enabled: If False, the plugin is off.
        allowed_models: The only models to choose from; "*" matches any text.
        excluded_models: Models to leave out.
        cost_tier: Price range of the models.
        cost_quality_tradeoff: 0 to 10; deprecated in favour of `cost_tier`.
    """

    id: Required[Literal["auto-beta-router"]]
    enabled: bool
    allowed_models: Sequence[str]
    excluded_models: Sequence[str]
    cost_tier: CostTier
    cost_quality_tradeoff: int


class JevRouterPlugin(TypedDict, total=False):
    """
    Settings of the jev router.

    Attributes:
        id: Always "jev-router".
        models: Models to choose from.
        allowed_models: The only models to choose from; "*" matches any text.
        excluded_models: Models to leave out.
        cost_tier: Price range of the models.
    """

    id: Required[Literal["jev-router"]]
    models: Sequence[str]
    allowed_models: Sequence[str]
    excluded_models: Sequence[str]
    cost_tier: str


class ParetoRouterPlugin(TypedDict, total=False):
    """
    Settings of `openrouter/pareto-code`.

    Attributes:
        id: Always "pareto-router".
        enabled: If False, the plugin is off.
        min_coding_score: Minimum coding score, 0 to 1.
        max_price: Maximum price in US dollars per million tokens.
        price_source: The price that `max_price` limits.
    """

    id: Required[Literal["pareto-router"]]
    enabled: bool
    min_coding_score: float
    max_price: float
    price_source: Literal["prompt", "weighted_avg"] | str


class SwitchyardRouterPlugin(TypedDict, total=False):
    """
    Settings of the switchyard router.

    Attributes:
        id: Always "switchyard-router".
        algorithm: Algorithm that chooses the model.
        judge_model: Model that judges.
    """

    id: Required[Literal["switchyard-router"]]
    algorithm: (
        Literal["capability", "stage", "auto", "random", "composite", "passthrough"]
        | str
    )
    judge_model: str


class FusionPlugin(TypedDict, total=False):
    """
    Combines the answers of several models.

    Attributes:
        id: Always "fusion".
        enabled: If False, the plugin is off.
        preset: A predefined set of models.
        model: Model that combines the answers.
        analysis_models: Models that answer; at most 8.
        max_tool_calls: Maximum number of tool calls per model; at most 16.
        tools: Tools that the models may use.
    """

    id: Required[Literal["fusion"]]
    enabled: bool
    preset: Literal["general-high", "general-budget", "general-fast"] | str
    model: str
    analysis_models: Sequence[str]
    max_tool_calls: int
    tools: Sequence[NestedTool]


class AlignmentRule(TypedDict, total=False):
    """
    A rule for the output.

    Attributes:
        rule: The rule as text.
        watch: Parts of the output to check.
    """

    rule: Required[str]
    watch: Required[
        Sequence[Literal["content", "tool_calls", "refusal", "images", "audio"] | str]
    ]


class AlignmentPlugin(TypedDict, total=False):
    """
    Tells the model rules and checks its output against them (beta).

    Attributes:
        id: Always "alignment".
        rules: The rules, 1 or more.
        mode: "enforce" blocks output that breaks a rule; "audit" only reports it.
        instruct: If True, the model is told the rules.
        max_retries: Maximum number of further tries of the model.
        threshold: Probability from which a rule counts as broken, 0 to 1.
    """

    id: Required[Literal["alignment"]]
    rules: Required[Sequence[AlignmentRule]]
    mode: Literal["enforce", "audit"] | str
    instruct: bool
    max_retries: int
    threshold: float


class ArmorRule(TypedDict, total=False):
    """
    A rule for tool calls.

    Attributes:
        id: Id of the rule.
        instructions: The rule as text.
        name: Name of the rule.
        threshold: Probability from which the rule applies, 0 to 1.
    """

    id: Required[str]
    instructions: Required[str]
    name: str
    threshold: float


class ArmorEnvironmentEntry(TypedDict, total=False):
    """
    A fact about the environment in which the tools run.

    Attributes:
        name: Name of the fact.
        value: The fact as text.
    """

    name: Required[str]
    value: Required[str]


class ArmorAutoMode(TypedDict, total=False):
    """
    Rules for tool calls without confirmation. A rule may be a string.

    Attributes:
        allow: Calls that are allowed.
        soft_deny: Calls that are allowed if the user asked for them.
        hard_deny: Calls that are not allowed.
        environment: Facts about the environment in which the tools run.
    """

    allow: Sequence[ArmorRule | str]
    soft_deny: Sequence[ArmorRule | str]
    hard_deny: Sequence[ArmorRule | str]
    environment: Sequence[ArmorEnvironmentEntry | str]


class ArmorContext(TypedDict, total=False):
    """
    The input of the classifier. Other keys are allowed.

    Attributes:
        v: Version of this format.
        auto_mode: Rules for tool calls.
    """

    v: Required[float]
    auto_mode: ArmorAutoMode


class ArmorPlugin(TypedDict, total=False):
    """
    Checks tool calls for danger before the caller receives them.

    Attributes:
        id: Always "armor".
        enabled: If False, the plugin is off.
        mode: "enforce" blocks dangerous calls; "audit" only reports them.
        on_error: "block" blocks calls that cannot be checked; "log" lets them pass.
        output_mode: Form in which a blocked call is reported.
        evaluate_native_tools: If True, check the providers' own tools too.
        use_cc_style_default_rules: If True, apply default rules in the style of Claude
            Code too.
        classifier_context: Input of the classifier.
    """

    id: Required[Literal["armor"]]
    enabled: bool
    mode: Literal["enforce", "audit"] | str
    on_error: Literal["log", "block"] | str
    output_mode: Literal["text", "custom_item", "claude_code_compatibility"] | str
    evaluate_native_tools: bool
    use_cc_style_default_rules: bool
    classifier_context: ArmorContext | Mapping[str, Any]


Plugin = (
    WebPlugin
    | WebFetchPlugin
    | FileParserPlugin
    | ResponseHealingPlugin
    | ContextCompressionPlugin
    | ModerationPlugin
    | AutoRouterPlugin
    | AutoBetaRouterPlugin
    | JevRouterPlugin
    | ParetoRouterPlugin
    | SwitchyardRouterPlugin
    | FusionPlugin
    | AlignmentPlugin
    | ArmorPlugin
)
"""A known plugin."""
