"""Provider routing: which providers may serve a request, and in which order."""

# ruff: noqa: PYI051 - open vocabularies list the known values.

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict

from attrs import define

from .shape import Null, Shape

SortBy = Literal["price", "throughput", "latency", "exacto"] | str
"""The property by which endpoints are sorted."""

Quantization = (
    Literal[
        "int4",
        "int8",
        "fp4",
        "mxfp4",
        "nvfp4",
        "fp6",
        "fp8",
        "mxfp8",
        "fp16",
        "bf16",
        "fp32",
        "unknown",
    ]
    | str
)
"""Number format of a model's weights."""


class MaxPrice(TypedDict, total=False):
    """
    The maximum price of an endpoint in US dollars; strings keep decimals exact.

    Attributes:
        prompt: Price per million input tokens.
        completion: Price per million output tokens.
        image: Price per image.
        audio: Price per unit of audio.
        request: Price per request.
    """

    prompt: str | float
    completion: str | float
    image: str | float
    audio: str | float
    request: str | float


class Percentiles(TypedDict, total=False):
    """
    A threshold for each percentile of an endpoint's recent requests; each is nullable.

    Attributes:
        p50: Threshold for 50 % of the requests.
        p75: Threshold for 75 % of the requests.
        p90: Threshold for 90 % of the requests.
        p99: Threshold for 99 % of the requests.
    """

    p50: float | None
    p75: float | None
    p90: float | None
    p99: float | None


@define(eq=False, repr=False)
class ProviderSort(Shape):
    """
    The order in which endpoints are tried.

    Attributes:
        by: Property by which endpoints are sorted. Nullable.
        partition: "model" keeps the order of `models` and sorts the endpoints of each;
            "none" sorts the endpoints of all models together. Nullable.
    """

    by: SortBy | Null | None = None
    partition: Literal["model", "none"] | str | Null | None = None


@define(eq=False, repr=False, kw_only=True)
class ProviderPreferences(Shape):
    """
    Providers that may serve a request, and their order. All fields are nullable.

    Attributes:
        order: Provider slugs to try first, in this order. A slug may name a variant
            ("deepinfra/turbo").
        only: The only provider slugs that are allowed, in addition to the account's
            list.
        ignore: Provider slugs that are not allowed, in addition to the account's list.
        allow_fallbacks: If True (the default), try other providers after those in
            `order`.
        require_parameters: If True, use only endpoints that support every parameter in
            the request; if there are none, the request fails with 404. Defaults to
            False.
        data_collection: "deny" excludes providers that store data, and thus all free
            models.
        zdr: If True, use only endpoints with zero data retention. False does not relax
            the account's setting.
        enforce_distillable_text: If True, use only models whose output may be used to
            train other models.
        quantizations: The only quantizations that are allowed.
        sort: Property by which endpoints are sorted; disables load balancing.
        max_price: Maximum price of an endpoint.
        preferred_max_latency: Latency in seconds above which endpoints are tried last.
        preferred_min_throughput: Throughput in tokens per second below which endpoints
            are tried last.
        options: Options for single providers, by slug; sent to the provider unchanged.
    """

    order: Sequence[str] | Null | None = None
    only: Sequence[str] | Null | None = None
    ignore: Sequence[str] | Null | None = None
    allow_fallbacks: bool | Null | None = None
    require_parameters: bool | Null | None = None
    data_collection: Literal["allow", "deny"] | str | Null | None = None
    zdr: bool | Null | None = None
    enforce_distillable_text: bool | Null | None = None
    quantizations: Sequence[Quantization] | Null | None = None
    sort: ProviderSort | SortBy | Mapping[str, Any] | Null | None = None
    max_price: MaxPrice | Null | None = None
    preferred_max_latency: float | Percentiles | Null | None = None
    preferred_min_throughput: float | Percentiles | Null | None = None
    options: Mapping[str, Mapping[str, Any]] | Null | None = None
