"""A call: one request with all its attempts, and the record of how it ended."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Generic, Literal, Protocol, TypeVar

from attrs import define, field, frozen

from ..config import Retries, SizeLimits, Timeouts
from ..errors import OpenRouterError
from ..types import Exchange, Usage
from ..types.shape import Value
from .base_url import BaseURL

T = TypeVar("T")

ApiKey = str | Callable[[], str | Awaitable[str]]
"""A key, or a function (plain or async) that returns it, called for each attempt."""

Outcome = Literal["ok", "error", "closed", "cancelled"]


class CallAccount:
    """
    The account that calls are counted under; all calls with the same settings share it.

    Attributes:
        tag: The `usage_tag`; None without one.
        api_key: The key of the calls, with which their cost can be looked up.
        base_url: The base URL for that.
    """

    __slots__ = ("api_key", "base_url", "tag")

    def __init__(
        self, tag: str | None, api_key: ApiKey | None, base_url: BaseURL
    ) -> None:
        self.tag = tag
        self.api_key = api_key
        self.base_url = base_url


class CallReservation(Protocol):
    """Money that is reserved for one call."""

    def settle(self, cost: float | None, unclear: int) -> None:
        """
        Close the reservation.

        Args:
            cost: The cost in US dollars; None if the server did not report it.
            unclear: Number of attempts that may have been billed at an unknown cost.
        """

    def correct(self, cost: float) -> None:
        """Replace what was counted for an unclear attempt by its cost."""


@define(eq=False, repr=False)
class Call(Generic[T]):
    """
    Everything needed to send one request, any number of times.

    Attributes:
        method: HTTP method.
        url: Complete URL, including the query.
        headers: All headers but Authorization.
        body: JSON, encoded once for all attempts; None for a request without a body.
        api_key: As the caller passed it; functions are called for each attempt.
        base_url: The base URL of `url`; it decides whether a key may be sent.
        parse: Function that turns the body of a response into the value, or raises.
            Its arguments are the body, the exchange and the seconds since the epoch.
        model: The requested model, for the call's record.
        stream: If True, a stream was requested.
        body_path: Path of a file that is sent in place of `body`. It is read for each
            attempt, in blocks.
        request: The value that `body` was encoded from; None unless an observer needs
            it. Without one it is not kept, because a batch has many calls.
        account: The account of a call that is counted; None for calls that cost
            nothing, such as lookups.
        reserve: Function that waits until the budgets allow the call; None without a
            budget.
        reservation: Money that was reserved for the call, which is settled at its end;
            None without a budget, and before `reserve` was called.
        provider: The `provider` preferences of the request, as an object or a mapping;
            None if it has none. Some cooldowns hold only for equal ones.
        sink: Function that receives the body of a response with status 200 in pieces;
            `parse` then gets an empty body.
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
    body_path: str | None = None
    request: Any = field(default=None, repr=False, kw_only=True)
    account: CallAccount | None = field(default=None, repr=False, kw_only=True)
    reserve: Callable[[], Awaitable[CallReservation]] | None = field(
        default=None, repr=False, init=False
    )
    reservation: CallReservation | None = field(default=None, repr=False, init=False)
    provider: Any = field(default=None, repr=False, kw_only=True)
    sink: Callable[[bytes], object] | None = None


@frozen(eq=False, repr=False)
class CallRecord(Value):
    """
    One finished call, as passed to `on_call`.

    Attributes:
        model: The requested model; None if the request named none.
        stream: If True, a stream was requested.
        outcome: "ok", "error" (the call raised `error`), "closed" (the caller closed
            the stream before its end) or "cancelled" (its task was cancelled).
        error: The exception; None unless the outcome is "error", or if the caller's
            own key function raised.
        http: Status, headers, timings and attempts.
        usage: Tokens and cost; None if the server reported none.
    """

    model: str | None
    stream: bool
    outcome: Outcome
    error: OpenRouterError | None
    http: Exchange
    usage: Usage | None
