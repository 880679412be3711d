"""What one call came to, for whoever watches."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Generic, Literal, TypeVar

from attrs import define, field, frozen

from ..config import Retries, SizeLimits, Timeouts
from ..errors import OpenRouterError
from ..types import Exchange, Usage
from ..types.shape import Value
from .base_url import BaseURL

T = TypeVar("T")

ApiKey = str | Callable[[], str | Awaitable[str]]
"""A key, or a function (plain or async) that is asked for it before each attempt."""

Outcome = Literal["ok", "error", "closed", "cancelled"]


@define(eq=False)
class Call(Generic[T]):
    """
    One call, ready to be sent as often as it takes.

    Attributes:
        method: The HTTP method.
        url: The whole of it, query included.
        headers: All but Authorization.
        body: JSON bytes, encoded once for all attempts; None for none.
        api_key: As the caller gave it; resolved before each attempt.
        base_url: Where it goes.
        parse: Turns a plain reply's body into the value, or raises.
        model: What was asked for, for the record.
        stream: Whether a stream was asked for.
    """

    method: str
    url: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes | None = field(repr=False)
    api_key: ApiKey | None = field(repr=False)
    base_url: BaseURL
    timeouts: Timeouts
    retries: Retries
    size_limits: SizeLimits
    parse: Callable[[bytes, Exchange, float], T]
    model: str | None = None
    stream: bool = False


@frozen(eq=False, repr=False)
class CallRecord(Value):
    """
    One call that is over: plain, streamed, or inside a run.

    Attributes:
        model: What was asked for; None if the request named none.
        stream: Whether a stream was asked for.
        outcome: "ok"; "error": it raised; "closed": the caller left the stream
            before its end; "cancelled": its task was cancelled.
        error: What it raised; None unless the outcome is "error".
        http: What happened on the wire.
        usage: Tokens and cost; None where none arrived.
    """

    model: str | None
    stream: bool
    outcome: Outcome
    error: OpenRouterError | None
    http: Exchange
    usage: Usage | None
