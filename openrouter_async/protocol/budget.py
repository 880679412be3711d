"""The budget of a run: upper bounds on a request's cost, reservations, settlement."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, cast

from attrs import frozen

BudgetKind = Literal["guaranteed", "estimated"]

# An estimate is this multiple of the mean cost of the rows so far.
_MARGIN: Final = 1.5
# Weight of the newest cost in that mean, which therefore follows the last 20 rows.
_SMOOTHING: Final = 0.05
# Requests in flight before the first cost is known: without one, nothing bounds them.
_MAX_UNPRICED: Final = 8
# A text has no more tokens than bytes, but a chat template adds tokens of its own for
# the role and the end of each message.
_TOKENS_PER_MESSAGE: Final = 8

_LIMIT_FIELDS: Final = ("max_completion_tokens", "max_tokens")
# Prices that may apply to the same tokens in place of `prompt` and `completion`
# (cached or reasoning tokens), and the price of the request itself.
_OTHER_PRICES: Final = ("input_cache_write", "internal_reasoning", "request")

# Fields that make a request cost more than the tokens of its text: they select other
# models or prices, or add searches, sound, pictures or further completions.
_UNBOUNDED_FIELDS: Final = (
    *("models", "tools", "plugins", "web_search_options", "modalities", "audio"),
    *("x_search_filter", "preset", "prompt", "service_tier", "speed", "transforms"),
    *("cache_control", "prompt_cache_options", "prediction", "deferred_tools", "n"),
)


@frozen
class TokenBounds:
    """
    The highest number of tokens that a request can use.

    Attributes:
        prompt: Input tokens.
        completion: Output tokens.
    """

    prompt: int
    completion: int


@frozen
class Price:
    """
    The highest price among the endpoints of a model.

    Attributes:
        prompt: US dollars per input token.
        completion: US dollars per output token.
        request: US dollars per request.
    """

    prompt: float
    completion: float
    request: float = 0.0

    def highest_cost(self, bounds: TokenBounds) -> float:
        """Return the cost in US dollars of a request that uses all of its tokens."""
        return (
            self.request
            + bounds.prompt * self.prompt
            + bounds.completion * self.completion
        )


def token_bounds(body: Mapping[str, Any], size: int) -> TokenBounds | None:
    """
    Return the highest number of tokens that a request can use.

    Args:
        body: The request.
        size: The length in bytes of the request as JSON.

    Returns:
        None if there is no bound: the request has no token limit, contains more than
        text, or has a field with a price of its own.
    """
    # Endpoints differ in which of the two fields they obey.
    limits = [body.get(name) for name in _LIMIT_FIELDS]
    limit = max((n for n in limits if isinstance(n, int)), default=None)
    if limit is None or any(body.get(name) for name in _UNBOUNDED_FIELDS):
        return None
    messages = cast("Sequence[Any]", body.get("messages") or ())
    for message in messages:
        content: Any = (
            cast("Mapping[str, Any]", message).get("content")
            if isinstance(message, Mapping)
            else getattr(message, "content", None)
        )
        if not isinstance(content, str):
            return None
    return TokenBounds(size + _TOKENS_PER_MESSAGE * len(messages), limit)


def read_price(endpoints: Sequence[Any]) -> Price | None:
    """
    Return the highest price among the endpoints of a model.

    Args:
        endpoints: Objects with `pricing`, as `GET /models/{id}/endpoints` lists them.

    Returns:
        None if there are no endpoints, or the price of one is unknown.
    """
    prices: list[Price] = []
    for endpoint in endpoints:
        price = _read_endpoint(endpoint)
        if price is None:
            return None
        prices.append(price)
    if not prices:
        return None
    return Price(
        max(price.prompt for price in prices),
        max(price.completion for price in prices),
        max(price.request for price in prices),
    )


def _read_endpoint(endpoint: Any) -> Price | None:
    try:
        pricing = endpoint["pricing"]
        prompt, completion = float(pricing["prompt"]), float(pricing["completion"])
        write, reasoning, request = (
            float(pricing.get(name) or 0.0) for name in _OTHER_PRICES
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
    # A price of -1 means "depends on the request", as of a router. NaN fails as well.
    prices = (prompt, completion, write, reasoning, request)
    if not all(0 <= price < float("inf") for price in prices):
        return None
    return Price(max(prompt, write), max(completion, reasoning), request)


class Budget:
    """
    The amount spent by a run, and the amount reserved for requests in flight.

    Attributes:
        limit: US dollars that may be spent.
        spent: US dollars spent, in earlier runs with the same journal too.
        kind: "guaranteed" as long as the highest cost of every request was known: the
            limit then holds unless prices change. Otherwise "estimated".
    """

    def __init__(self, limit: float, spent: float = 0.0) -> None:
        self.limit = limit
        self.spent = spent
        self.kind: BudgetKind = "guaranteed"
        self._reserved = 0.0
        self._reservations = 0
        self._mean: float | None = None
        self._highest: float | None = None

    @property
    def is_idle(self) -> bool:
        """True if no reservation is open: what does not fit now will never fit."""
        return self._reservations == 0

    @property
    def overshoot(self) -> float | None:
        """
        US dollars by which the limit may be exceeded; None if unknown.

        A "guaranteed" budget gives 0.0. Otherwise each request in flight is assumed
        to cost as much as the most expensive one so far.
        """
        if self.kind == "guaranteed":
            return max(0.0, self.spent - self.limit)
        if self._highest is None and self._reservations:
            return None
        in_flight = max(self._reserved, self._reservations * (self._highest or 0.0))
        return max(0.0, self.spent + in_flight - self.limit)

    def reserve(self, highest_cost: float | None) -> float | None:
        """
        Reserve money for one request.

        Args:
            highest_cost: US dollars that the request costs at most; None if unknown,
                which makes the budget an estimate.

        Returns:
            The US dollars reserved, for `settle`; None if not enough is left now.
        """
        amount = highest_cost
        if amount is None:
            self.kind = "estimated"
            if self._mean is None and self._reservations >= _MAX_UNPRICED:
                return None
            amount = _MARGIN * (self._mean or 0.0)
        committed = self.spent + self._reserved
        # The factor absorbs the rounding errors of a sum of many small amounts.
        if committed + amount > self.limit * (1.0 + 1e-12):
            return None
        # An estimate of 0.0 fits into an empty budget, but the request is not free.
        if amount == 0.0 and committed >= self.limit and highest_cost is None:
            return None
        self._reserved += amount
        self._reservations += 1
        return amount

    def settle(self, reserved: float, cost: float | None, unclear: int) -> None:
        """
        Close a reservation.

        Args:
            reserved: The amount that `reserve` returned.
            cost: The cost in US dollars; None if the server did not report it.
            unclear: Number of attempts that may have been billed, or not. Each counts
                as `reserved`.
        """
        self._reservations -= 1
        # Rounding errors end with the last reservation.
        remaining = self._reserved - reserved if self._reservations else 0.0
        self._reserved = max(0.0, remaining)
        self.spent += (cost or 0.0) + unclear * reserved
        if cost is None:
            return
        self._highest = max(self._highest or 0.0, cost)
        if self._mean is None:
            self._mean = cost
        self._mean += _SMOOTHING * (cost - self._mean)
