"""The record of a generation, from `GET /generation`."""

from typing import Any

from attrs import define, field

from .exchange import Exchange
from .shape import Shape


@define(eq=False, repr=False)
class Generation(Shape):
    """
    The record of one generation: its tokens, cost and timings.

    As in a response, values that are absent, null or of the wrong type are None.

    Attributes:
        id: Id of the generation.
        upstream_id: The provider's id.
        request_id: Id of the request.
        created_at: Time of creation in ISO 8601.
        model: The model that answered.
        provider_name: Display name of the provider.
        api_type: Kind of the call, such as "completions".
        streamed: If True, it was streamed.
        cancelled: If True, the client left before its end.
        finish_reason: Finish reason; None if it was cancelled.
        native_finish_reason: The provider's own finish reason.
        service_tier: Service tier that was used.
        latency: Milliseconds until the first token.
        generation_time: Milliseconds of the generation.
        tokens_prompt: Input tokens, counted the same way for all models.
        tokens_completion: Output tokens, counted the same way for all models.
        native_tokens_prompt: Input tokens as the provider counts and bills them.
        native_tokens_completion: Output tokens as the provider counts and bills them.
        native_tokens_reasoning: Reasoning tokens.
        native_tokens_cached: Input tokens read from a cache.
        native_tokens_completion_images: Output tokens of images.
        total_cost: Amount charged in US dollars.
        usage: Amount charged in US dollars, under its older name.
        upstream_inference_cost: Price charged by the provider in US dollars.
        cache_discount: US dollars saved by caching.
        is_byok: If True, your own provider key was used.
        session_id: `session_id` of the request.
        external_user: `user` of the request.
        raw: The record as received.
        http: The HTTP exchange of the lookup.
    """

    id: str | None = None
    upstream_id: str | None = None
    request_id: str | None = None
    created_at: str | None = None
    model: str | None = None
    provider_name: str | None = None
    api_type: str | None = None
    streamed: bool | None = None
    cancelled: bool | None = None
    finish_reason: str | None = None
    native_finish_reason: str | None = None
    service_tier: str | None = None
    latency: float | None = None
    generation_time: float | None = None
    tokens_prompt: int | None = None
    tokens_completion: int | None = None
    native_tokens_prompt: int | None = None
    native_tokens_completion: int | None = None
    native_tokens_reasoning: int | None = None
    native_tokens_cached: int | None = None
    native_tokens_completion_images: int | None = None
    total_cost: float | None = None
    usage: float | None = None
    upstream_inference_cost: float | None = None
    cache_discount: float | None = None
    is_byok: bool | None = None
    session_id: str | None = None
    external_user: str | None = None
    raw: dict[str, Any] = field(factory=dict[str, Any], eq=False, repr=False)
    http: Exchange = field(factory=Exchange, eq=False, repr=False)
