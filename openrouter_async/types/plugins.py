"""
Plugins: what OpenRouter does to the request or the answer.

`enabled: False` switches off one that the account has on by default.
"""

# ruff: noqa: PYI051 -- open vocabularies name the words that are known.

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Required, TypedDict

from .server_tools import (
    NestedTool,
    SearchMode,
    UserLocation,
    XSearchOptions,
)

CostTier = Literal["low", "medium", "high", "xhigh", "max"] | str
"""How much a router may spend."""


class WebPlugin(TypedDict, total=False):
    """
    Searches the web before the model answers; `openrouter:web_search` is newer.

    Attributes:
        id: Always "web".
        enabled: False switches it off.
        engine: Who searches.
        mode: How thoroughly.
        max_results: Results per search; 5 unless told.
        max_uses: Searches in all.
        search_prompt: What introduces the results to the model.
        include_domains: Only these.
        exclude_domains: None of these.
        user_location: Where the user is; nullable.
        x_search: What xAI's search of X takes in.
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
    Reads the web pages that the prompt names.

    Attributes:
        id: Always "web-fetch".
        max_uses: Pages in all.
        max_content_tokens: Tokens taken of each page.
        allowed_domains: Only these.
        blocked_domains: None of these.
    """

    id: Required[Literal["web-fetch"]]
    max_uses: int
    max_content_tokens: int
    allowed_domains: Sequence[str]
    blocked_domains: Sequence[str]


class PdfOptions(TypedDict, total=False):
    """
    How PDFs are read.

    Attributes:
        engine: "mistral-ocr" is paid, and the default where the model reads no
            files; "pdf-text" is the old name of "cloudflare-ai".
    """

    engine: Literal["mistral-ocr", "native", "cloudflare-ai", "pdf-text"] | str


class FileParserPlugin(TypedDict, total=False):
    """
    Reads files for models that cannot.

    Attributes:
        id: Always "file-parser".
        enabled: False switches it off.
        pdf: How PDFs are read.
    """

    id: Required[Literal["file-parser"]]
    enabled: bool
    pdf: PdfOptions


class ResponseHealingPlugin(TypedDict, total=False):
    """
    Repairs JSON in the answer; not in streams.

    Attributes:
        id: Always "response-healing".
        enabled: False switches it off.
    """

    id: Required[Literal["response-healing"]]
    enabled: bool


class ContextCompressionPlugin(TypedDict, total=False):
    """
    Cuts a prompt that is too long; on by default up to 8k of context.

    Attributes:
        id: Always "context-compression".
        enabled: False switches it off.
        engine: "middle-out" is the only one.
    """

    id: Required[Literal["context-compression"]]
    enabled: bool
    engine: Literal["middle-out"] | str


class ModerationPlugin(TypedDict, total=False):
    """
    Has the prompt moderated.

    Attributes:
        id: Always "moderation".
    """

    id: Required[Literal["moderation"]]


class AutoRouterPlugin(TypedDict, total=False):
    """
    What `openrouter/auto` chooses from.

    Attributes:
        id: Always "auto-router".
        enabled: False switches it off.
        allowed_models: Only these; "*" stands for anything.
        excluded_models: None of these.
        cost_tier: How much it may spend.
        cost_quality_tradeoff: 0 to 10; deprecated for `cost_tier`.
        pin_model: Whether a conversation stays with its first model.
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
    What `openrouter/auto-beta` chooses from.

    Attributes:
        id: Always "auto-beta-router".
        enabled: False switches it off.
        allowed_models: Only these; "*" stands for anything.
        excluded_models: None of these.
        cost_tier: How much it may spend.
        cost_quality_tradeoff: 0 to 10; deprecated for `cost_tier`.
    """

    id: Required[Literal["auto-beta-router"]]
    enabled: bool
    allowed_models: Sequence[str]
    excluded_models: Sequence[str]
    cost_tier: CostTier
    cost_quality_tradeoff: int


class JevRouterPlugin(TypedDict, total=False):
    """
    What the jev router chooses from.

    Attributes:
        id: Always "jev-router".
        models: The candidates.
        allowed_models: Only these; "*" stands for anything.
        excluded_models: None of these.
        cost_tier: How much it may spend.
    """

    id: Required[Literal["jev-router"]]
    models: Sequence[str]
    allowed_models: Sequence[str]
    excluded_models: Sequence[str]
    cost_tier: str


class ParetoRouterPlugin(TypedDict, total=False):
    """
    What `openrouter/pareto-code` chooses from.

    Attributes:
        id: Always "pareto-router".
        enabled: False switches it off.
        min_coding_score: 0 to 1.
        max_price: US dollars per million tokens.
        price_source: Which price counts.
    """

    id: Required[Literal["pareto-router"]]
    enabled: bool
    min_coding_score: float
    max_price: float
    price_source: Literal["prompt", "weighted_avg"] | str


class SwitchyardRouterPlugin(TypedDict, total=False):
    """
    How the switchyard router chooses.

    Attributes:
        id: Always "switchyard-router".
        algorithm: By what.
        judge_model: Who judges.
    """

    id: Required[Literal["switchyard-router"]]
    algorithm: (
        Literal["capability", "stage", "auto", "random", "composite", "passthrough"]
        | str
    )
    judge_model: str


class FusionPlugin(TypedDict, total=False):
    """
    Has several models answer as one.

    Attributes:
        id: Always "fusion".
        enabled: False switches it off.
        preset: A set of models.
        model: Who puts the answers together.
        analysis_models: Who answers; at most 8.
        max_tool_calls: Calls of each; at most 16.
        tools: What they may use.
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
    What an answer must not do.

    Attributes:
        rule: In words.
        watch: Where to look.
    """

    rule: Required[str]
    watch: Required[
        Sequence[Literal["content", "tool_calls", "refusal", "images", "audio"] | str]
    ]


class AlignmentPlugin(TypedDict, total=False):
    """
    Holds the answer against rules (beta).

    Attributes:
        id: Always "alignment".
        rules: 1 or more.
        mode: Whether a broken rule blocks, or is only told.
        instruct: Whether the model is told the rules.
        max_retries: How often the model may try again.
        threshold: 0 to 1; the probability from which a rule counts as broken.
    """

    id: Required[Literal["alignment"]]
    rules: Required[Sequence[AlignmentRule]]
    mode: Literal["enforce", "audit"] | str
    instruct: bool
    max_retries: int
    threshold: float


class ArmorRule(TypedDict, total=False):
    """
    A rule on tool calls.

    Attributes:
        id: Its id.
        instructions: In words.
        name: Its name.
        threshold: 0 to 1; the probability from which it holds.
    """

    id: Required[str]
    instructions: Required[str]
    name: str
    threshold: float


class ArmorEnvironmentEntry(TypedDict, total=False):
    """
    A fact about where the tools run.

    Attributes:
        name: Which.
        value: In words.
    """

    name: Required[str]
    value: Required[str]


class ArmorAutoMode(TypedDict, total=False):
    """
    What tool calls may do unasked; a rule may be a plain string.

    Attributes:
        allow: May be done.
        soft_deny: May be done if the user asked for it.
        hard_deny: May not be done.
        environment: Where the tools run.
    """

    allow: Sequence[ArmorRule | str]
    soft_deny: Sequence[ArmorRule | str]
    hard_deny: Sequence[ArmorRule | str]
    environment: Sequence[ArmorEnvironmentEntry | str]


class ArmorContext(TypedDict, total=False):
    """
    What the classifier is told; more keys may be given.

    Attributes:
        v: The version of this shape.
        auto_mode: What may be done.
    """

    v: Required[float]
    auto_mode: ArmorAutoMode


class ArmorPlugin(TypedDict, total=False):
    """
    Looks for dangerous tool calls.

    Attributes:
        id: Always "armor".
        enabled: False switches it off.
        mode: Whether a dangerous call is blocked, or only told.
        on_error: What happens where it cannot look.
        output_mode: How it tells.
        evaluate_native_tools: Whether providers' own tools count.
        use_cc_style_default_rules: Whether its own rules hold too.
        classifier_context: What the classifier is told.
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
"""A plugin that is known."""
