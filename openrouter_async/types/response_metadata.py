"""
Rarer parts of a response, as received.

They are neither validated nor converted. A `TypedDict` lists the documented keys: any
of them may be missing, and unknown keys are kept.
"""

# ruff: noqa: PYI051 - open vocabularies list the known values.

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
"""The kind of an error."""


class ErrorMetadata(TypedDict, total=False):
    """
    Details of an error inside a response with status 200.

    Attributes:
        error_type: Kind of the error.
        provider_code: The provider's own error code.
        provider_name: Provider that failed; null if OpenRouter failed.
        raw: The provider's own message: text, JSON text or an object.
    """

    error_type: ErrorType
    provider_code: str | None
    provider_name: str | None
    raw: Any


class ErrorBody(TypedDict, total=False):
    """
    An error inside a response with status 200.

    Attributes:
        code: An HTTP status; gateways send strings.
        message: Message of the error.
        metadata: Details.
    """

    code: int | str | None
    message: str
    metadata: ErrorMetadata | None


class Debug(TypedDict, total=False):
    """
    The output that `debug=` requested, in one chunk per provider that was tried.

    Attributes:
        echo_upstream_body: The body that OpenRouter sent to the provider, including the
            prompt.
    """

    echo_upstream_body: dict[str, Any]


class TopLogprob(TypedDict, total=False):
    """
    A possible token at one position of the output.

    Attributes:
        token: Text of the token.
        logprob: Natural logarithm of its probability.
        bytes: Its UTF-8 bytes; null if it has no text.
    """

    token: str
    logprob: float
    bytes: list[int] | None


class TokenLogprob(TopLogprob, total=False):
    """
    A token of the output.

    Attributes:
        top_logprobs: The most likely tokens at this position, as many as requested.
    """

    top_logprobs: list[TopLogprob]


class Logprobs(TypedDict, total=False):
    """
    Log probabilities of the output tokens.

    Attributes:
        content: Tokens of the content; null if there are none.
        refusal: Tokens of the refusal; null if there are none.
    """

    content: list[TokenLogprob] | None
    refusal: list[TokenLogprob] | None


class OutputImageUrl(TypedDict, total=False):
    """
    The URL of a generated image.

    Attributes:
        url: A data URL.
    """

    url: str


class OutputImage(TypedDict, total=False):
    """
    A generated image.

    Attributes:
        type: "image_url".
        image_url: The image.
        index: Position of the image; in a stream, an image with the same index replaces
            the earlier one.
    """

    type: str
    image_url: OutputImageUrl
    index: int


class OutputAudio(TypedDict, total=False):
    """
    Generated audio; in a stream, a fragment of it.

    Attributes:
        id: Id of the audio, for later turns.
        data: The audio in base64.
        transcript: Transcript of the audio.
        expires_at: Time when `id` expires, in Unix seconds.
    """

    id: str
    data: str
    transcript: str
    expires_at: int


class UrlCitation(TypedDict, total=False):
    """
    A web page that the output cites.

    Attributes:
        url: URL of the page.
        title: Title of the page.
        content: An excerpt.
        start_index: Index of the first cited character of the content.
        end_index: Index after the last cited character; both are 0 if the provider does
            not report them.
    """

    url: str
    title: str
    content: str
    start_index: int
    end_index: int


class ParsedFile(TypedDict, total=False):
    """
    A file that OpenRouter parsed.

    If it is sent back, it is not parsed and billed again.

    Attributes:
        hash: Hash that identifies the file.
        name: Name of the file.
        content: Text and image parts.
    """

    hash: str
    name: str
    content: list[dict[str, Any]]


class FileQuote(TypedDict, total=False):
    """
    A quotation from a file, in an older form.

    Attributes:
        file_id: Id of the file.
        quote: An excerpt.
    """

    file_id: str
    quote: str


class ServerToolUse(TypedDict, total=False):
    """
    Use of server tools, under the older name of `ServerToolUseDetails`.

    Attributes:
        web_search_requests: Number of web searches.
    """

    web_search_requests: int | None


class ServerToolUseDetails(TypedDict, total=False):
    """
    Use of server tools.

    Attributes:
        tool_calls_executed: Number of calls that were executed.
        tool_calls_requested: Number of calls that the model requested.
        web_search_requests: Number of web searches.
    """

    tool_calls_executed: int | None
    tool_calls_requested: int | None
    web_search_requests: int | None


class RouterEndpoint(TypedDict, total=False):
    """
    An endpoint that the router considered.

    Attributes:
        provider: Display name of the provider.
        model: The model at this endpoint.
        selected: True if this endpoint served the request.
    """

    provider: str
    model: str
    selected: bool


class RouterEndpoints(TypedDict, total=False):
    """
    The endpoints of the requested model.

    Attributes:
        total: Number of endpoints.
        available: Endpoints that met the request's conditions.
    """

    total: int
    available: list[RouterEndpoint]


class RouterAttempt(TypedDict, total=False):
    """
    One endpoint that was tried.

    Attributes:
        provider: Display name of the provider.
        model: The model at this endpoint.
        status: HTTP status of the attempt.
    """

    provider: str
    model: str
    status: int


class RouterParams(TypedDict, total=False):
    """
    Parameters of the router. Other keys are possible.

    Attributes:
        version_group: Group of model versions to choose from.
        quality_floor: Minimum quality.
        throughput_floor: Minimum throughput in tokens per second.
    """

    version_group: str
    quality_floor: float
    throughput_floor: float


class PipelineStage(TypedDict, total=False):
    """
    A stage that processed the request or the response.

    Attributes:
        type: Kind of the stage.
        name: Name of the stage.
        summary: Summary of its work.
        guardrail_id: Id of the guardrail.
        guardrail_scope: Scope of the guardrail.
        cost_usd: Cost in US dollars; null if it is free.
        data: Details, depending on the stage.
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
    The routing of a request; sent only if a header asked for it.

    Attributes:
        requested: The requested model.
        strategy: The way in which the model was chosen.
        region: Region that served the request; null if unknown.
        summary: Summary of the routing.
        attempt: Number of the attempt that succeeded, from 1; 0 if none reached a
            provider.
        is_byok: True if your own provider key was used.
        endpoints: The endpoints of the requested model.
        attempts: The endpoints that were tried.
        params: Parameters of the router.
        pipeline: Stages that processed the request or the response.
        generation_time: Time that the provider took, in milliseconds.
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
    The result of one alignment rule.

    Attributes:
        applicable: True if the rule applied to the output.
        broken: True if the output broke the rule.
        probability: Probability that the rule was broken, 0 to 1; null if not
            evaluated.
    """

    applicable: bool
    broken: bool
    probability: float | None


class AlignmentCall(TypedDict, total=False):
    """
    One evaluation by the alignment plugin.

    Attributes:
        call: Number of the evaluation.
        outcome: Result of the evaluation.
        rules: Results of the rules, if they were evaluated.
        reason: The reason why they were not evaluated.
    """

    call: int
    outcome: Literal["allowed", "blocked", "unavailable"] | str
    rules: list[AlignmentRuleRecord]
    reason: Literal["cut", "evaluator_error", "malformed_answer", "time_limit"] | str


class Alignment(TypedDict, total=False):
    """
    The result of the alignment plugin (beta).

    Attributes:
        calls: All evaluations in order.
    """

    calls: list[AlignmentCall]


class SafeguardToolUse(TypedDict, total=False):
    """
    The armor plugin's evaluation of one tool call.

    Attributes:
        type: "evaluated", "skipped" or "unavailable".
        outcome: Result of the evaluation.
        explanation: Explanation of the result.
        reason: The reason why the call was not evaluated.
    """

    type: Literal["evaluated", "skipped", "unavailable"] | str
    outcome: Literal["flagged", "not_flagged"] | str
    explanation: str
    reason: str


class SafeguardStatus(TypedDict, total=False):
    """
    The status of a safeguard.

    Attributes:
        type: "available".
        tool_uses: Evaluations by tool call id.
    """

    type: str
    tool_uses: dict[str, SafeguardToolUse]


class SafeguardResult(TypedDict, total=False):
    """
    The result of one safeguard.

    Attributes:
        type: Kind of the safeguard, such as "dangerous_tool_use".
        status: Status of the safeguard.
    """

    type: str
    status: SafeguardStatus
