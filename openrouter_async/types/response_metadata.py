"""
The long tail of a reply, as it came.

Nothing here is checked or converted: a `TypedDict` says what the wire documents, any
key may be missing, and unknown ones stay.
"""

# ruff: noqa: PYI051 -- open vocabularies name the words that are known.

from typing import Any, Literal, TypedDict

ErrorType = (
    Literal[
        "context_length_exceeded",
        "max_tokens_exceeded",
        "token_limit_exceeded",
        "string_too_long",
        "authentication",
        "permission_denied",
        "payment_required",
        "rate_limit_exceeded",
        "provider_overloaded",
        "provider_unavailable",
        "invalid_request",
        "invalid_prompt",
        "not_found",
        "precondition_failed",
        "payload_too_large",
        "unprocessable",
        "content_policy_violation",
        "refusal",
        "invalid_image",
        "image_too_large",
        "image_too_small",
        "unsupported_image_format",
        "image_not_found",
        "image_download_failed",
        "timeout",
        "server",
        "unmapped",
    ]
    | str
)
"""The stable kind of an error."""


class ErrorMetadata(TypedDict, total=False):
    """
    What is known of an error inside a 200.

    Attributes:
        error_type: Its stable kind.
        provider_code: The provider's own code.
        provider_name: Who failed; null if it was OpenRouter.
        raw: The provider's own words: text, JSON text or an object.
    """

    error_type: ErrorType
    provider_code: str | None
    provider_name: str | None
    raw: Any


class ErrorBody(TypedDict, total=False):
    """
    An error inside a 200.

    Attributes:
        code: An HTTP status; gateways send strings.
        message: What went wrong, in words.
        metadata: What else is known.
    """

    code: int | str | None
    message: str
    metadata: ErrorMetadata | None


class Debug(TypedDict, total=False):
    """
    What `debug=` asked for; one chunk per provider that was tried.

    Attributes:
        echo_upstream_body: The body that OpenRouter sent to the provider; it holds
            the prompt.
    """

    echo_upstream_body: dict[str, Any]


class TopLogprob(TypedDict, total=False):
    """
    A token that might have stood there.

    Attributes:
        token: Its text.
        logprob: The natural logarithm of its probability.
        bytes: Its UTF-8 bytes; null where it has no text.
    """

    token: str
    logprob: float
    bytes: list[int] | None


class TokenLogprob(TopLogprob, total=False):
    """
    A token that was written.

    Attributes:
        top_logprobs: The likeliest at that place, as many as were asked for.
    """

    top_logprobs: list[TopLogprob]


class Logprobs(TypedDict, total=False):
    """
    How likely each token was.

    Attributes:
        content: Of the content; null if there are none.
        refusal: Of the refusal; null if there are none.
    """

    content: list[TokenLogprob] | None
    refusal: list[TokenLogprob] | None


class OutputImageUrl(TypedDict, total=False):
    """
    Where a written image is.

    Attributes:
        url: A data URL.
    """

    url: str


class OutputImage(TypedDict, total=False):
    """
    An image that the model made.

    Attributes:
        type: "image_url".
        image_url: The image.
        index: Its position; in a stream the same one again replaces it.
    """

    type: str
    image_url: OutputImageUrl
    index: int


class OutputAudio(TypedDict, total=False):
    """
    Sound that the model made; in a stream, a fragment of it.

    Attributes:
        id: Its id, to refer to it in a later turn.
        data: Base64.
        transcript: What is said.
        expires_at: Unix seconds when `id` stops to be valid.
    """

    id: str
    data: str
    transcript: str
    expires_at: int


class UrlCitation(TypedDict, total=False):
    """
    A web page that the answer rests on.

    Attributes:
        url: Its address.
        title: Its title.
        content: An excerpt.
        start_index: The first character of the content that it backs.
        end_index: One past the last; 0 and 0: the provider does not tell.
    """

    url: str
    title: str
    content: str
    start_index: int
    end_index: int


class ParsedFile(TypedDict, total=False):
    """
    A file as OpenRouter read it; sent back, it is not parsed and billed again.

    Attributes:
        hash: What it is recognised by.
        name: Its name.
        content: Text and image parts.
    """

    hash: str
    name: str
    content: list[dict[str, Any]]


class FileQuote(TypedDict, total=False):
    """
    A file that the answer rests on; an old form.

    Attributes:
        file_id: Its id.
        quote: An excerpt.
    """

    file_id: str
    quote: str


class ServerToolUse(TypedDict, total=False):
    """
    What server tools did; the older name of `ServerToolUseDetails`.

    Attributes:
        web_search_requests: Searches.
    """

    web_search_requests: int | None


class ServerToolUseDetails(TypedDict, total=False):
    """
    What server tools did.

    Attributes:
        tool_calls_executed: Calls that ran.
        tool_calls_requested: Calls that the model asked for.
        web_search_requests: Searches.
    """

    tool_calls_executed: int | None
    tool_calls_requested: int | None
    web_search_requests: int | None


class RouterEndpoint(TypedDict, total=False):
    """
    An endpoint that could have answered.

    Attributes:
        provider: Its display name.
        model: The model there.
        selected: Whether it answered.
    """

    provider: str
    model: str
    selected: bool


class RouterEndpoints(TypedDict, total=False):
    """
    The endpoints there were to choose from.

    Attributes:
        total: How many.
        available: Those that met the request's conditions.
    """

    total: int
    available: list[RouterEndpoint]


class RouterAttempt(TypedDict, total=False):
    """
    One endpoint that was tried.

    Attributes:
        provider: Its display name.
        model: The model there.
        status: The HTTP status that came of it.
    """

    provider: str
    model: str
    status: int


class RouterParams(TypedDict, total=False):
    """
    What the router went by; more keys may come.

    Attributes:
        version_group: Which versions of the model count.
        quality_floor: The least quality.
        throughput_floor: The least throughput, tokens per second.
    """

    version_group: str
    quality_floor: float
    throughput_floor: float


class PipelineStage(TypedDict, total=False):
    """
    Something that worked on the request or the answer.

    Attributes:
        type: What kind of thing.
        name: Its name.
        summary: What it did.
        guardrail_id: The guardrail's id.
        guardrail_scope: Whom the guardrail covers.
        cost_usd: US dollars; null if it is free.
        data: Its own findings.
    """

    type: (
        Literal[
            "guardrail",
            "plugin",
            "server_tools",
            "response_healing",
            "context_compression",
        ]
        | str
    )
    name: str
    summary: str
    guardrail_id: str
    guardrail_scope: str
    cost_usd: float | None
    data: dict[str, Any]


class RouterMetadata(TypedDict, total=False):
    """
    How the request was routed; comes only if a header asked for it.

    Attributes:
        requested: The model that was asked for.
        strategy: How the model was found.
        region: Where it was served; null if that is not known.
        summary: All of this in a sentence.
        attempt: Which try answered; 1 is the first, 0: none reached a provider.
        is_byok: Whether your own provider key was used.
        endpoints: What there was to choose from.
        attempts: What was tried.
        params: What the router went by.
        pipeline: What else worked on it.
        generation_time: Milliseconds that the provider took.
    """

    requested: str
    strategy: (
        Literal[
            "direct",
            "auto",
            "free",
            "latest",
            "alias",
            "fallback",
            "pareto",
            "bodybuilder",
            "fusion",
        ]
        | str
    )
    region: str | None
    summary: str
    attempt: int
    is_byok: bool
    endpoints: RouterEndpoints
    attempts: list[RouterAttempt]
    params: RouterParams
    pipeline: list[PipelineStage]
    generation_time: int


class AlignmentRuleRecord(TypedDict, total=False):
    """
    What came of one alignment rule.

    Attributes:
        applicable: Whether it had anything to judge.
        broken: Whether the answer broke it.
        probability: From 0 to 1; null if it was not judged.
    """

    applicable: bool
    broken: bool
    probability: float | None


class AlignmentCall(TypedDict, total=False):
    """
    One time the alignment plugin looked.

    Attributes:
        call: Which time.
        outcome: What came of it.
        rules: The rules one by one, where it could look.
        reason: Why it could not, where it could not.
    """

    call: int
    outcome: Literal["allowed", "blocked", "unavailable"] | str
    rules: list[AlignmentRuleRecord]
    reason: Literal["cut", "evaluator_error", "malformed_answer", "time_limit"] | str


class Alignment(TypedDict, total=False):
    """
    What the alignment plugin found (beta).

    Attributes:
        calls: Each time it looked, the first one first.
    """

    calls: list[AlignmentCall]


class SafeguardToolUse(TypedDict, total=False):
    """
    What the armor plugin thought of one tool call.

    Attributes:
        type: Whether it looked.
        outcome: What it found, where it looked.
        explanation: Why.
        reason: Why it could not look, where it could not.
    """

    type: Literal["evaluated", "skipped", "unavailable"] | str
    outcome: Literal["flagged", "not_flagged"] | str
    explanation: str
    reason: str


class SafeguardStatus(TypedDict, total=False):
    """
    What a safeguard found.

    Attributes:
        type: "available".
        tool_uses: By the id of the tool call.
    """

    type: str
    tool_uses: dict[str, SafeguardToolUse]


class SafeguardResult(TypedDict, total=False):
    """
    One safeguard's result.

    Attributes:
        type: What was guarded against, such as "dangerous_tool_use".
        status: What was found.
    """

    type: str
    status: SafeguardStatus
