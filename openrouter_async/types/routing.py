"""Which providers may answer, and in what order."""

# ruff: noqa: PYI051 -- open vocabularies name the words that are known.

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict

from attrs import define

from .shape import Null, Shape

SortBy = Literal["price", "throughput", "latency", "exacto"] | str
"""What the best endpoint is best at."""

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
"""How a model's weights are stored."""


class MaxPrice(TypedDict, total=False):
    """
    The most that an endpoint may cost, in US dollars; strings keep decimals exact.

    Attributes:
        prompt: Per million tokens read.
        completion: Per million tokens written.
        image: Per image.
        audio: Per unit of sound.
        request: Per request.
    """

    prompt: str | float
    completion: str | float
    image: str | float
    audio: str | float
    request: str | float


class Percentiles(TypedDict, total=False):
    """
    A limit for each share of an endpoint's recent requests; each nullable.

    Attributes:
        p50: For half of them.
        p75: For 75 per cent.
        p90: For 90 per cent.
        p99: For 99 per cent.
    """

    p50: float | None
    p75: float | None
    p90: float | None
    p99: float | None


@define(eq=False, repr=False)
class ProviderSort(Shape):
    """
    How endpoints are sorted.

    Attributes:
        by: By what; nullable.
        partition: "model" keeps the order of `models` and sorts within each; "none"
            sorts the endpoints of all of them together. Nullable.
    """

    by: SortBy | Null | None = None
    partition: Literal["model", "none"] | str | Null | None = None


@define(eq=False, repr=False, kw_only=True)
class ProviderPreferences(Shape):
    """
    Which providers may answer, and in what order. All fields are nullable.

    Attributes:
        order: Slugs to try first, in this order; a slug may name a variant
            ("deepinfra/turbo").
        only: Slugs that alone may answer; adds to the account's list.
        ignore: Slugs that may not; adds to the account's list.
        allow_fallbacks: Whether others may answer if these cannot; true unless told.
        require_parameters: Whether an endpoint must know every parameter that is
            sent; false unless told. Too strict a wish is a 404.
        data_collection: "deny": only who stores nothing; no free model is left.
        zdr: Only endpoints with zero data retention; can only tighten.
        enforce_distillable_text: Only models whose text may be trained on.
        quantizations: Only weights stored like this.
        sort: By what endpoints are sorted; switches load balancing off.
        max_price: The most that an endpoint may cost.
        preferred_max_latency: Seconds; slower endpoints come last.
        preferred_min_throughput: Tokens per second; slower endpoints come last.
        options: Provider slug -> what is handed to that provider as it is.
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
