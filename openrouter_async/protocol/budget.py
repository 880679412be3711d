"""Whether the money lasts for one more call. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, cast

from attrs import frozen

Kind = Literal["guaranteed", "estimated"]

# Of what the rows so far have cost, on average.
_MARGIN: Final = 1.5
_SMOOTHING: Final = 0.05
# As long as nobody knows what a row costs.
_BLIND: Final = 8
# A token is at least a byte, but roles and turns have tokens of their own.
_EXTRA_TOKENS: Final = 8

_LIMITS: Final = ("max_completion_tokens", "max_tokens")
# Whoever caches or thinks may pay more for the same tokens.
_EXTRAS: Final = ("input_cache_write", "internal_reasoning", "request")

# What costs more than the tokens of the text that is there to be counted.
_UNCOUNTABLE: Final = (
    *("models", "tools", "plugins", "web_search_options", "modalities", "audio"),
    *("x_search_filter", "preset", "prompt", "service_tier", "speed", "transforms"),
    *("cache_control", "prompt_cache_options", "prediction", "deferred_tools", "n"),
)


@frozen
class Price:
    """
    The most that a model's endpoints ask for.

    Attributes:
        prompt: US dollars per token read.
        completion: US dollars per token written.
        request: US dollars per call.
    """

    prompt: float
    completion: float
    request: float = 0.0


def read_price(endpoints: Sequence[Any]) -> Price | None:
    """
    Return the highest price among endpoints or models; None if one is not known.

    Args:
        endpoints: With `pricing`, as `GET /models/{id}/endpoints` lists them.
    """
    prices: list[Price] = []
    for endpoint in endpoints:
        price = _price(endpoint)
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


def _price(endpoint: Any) -> Price | None:
    """Return the most that an endpoint asks for; None if that is not known."""
    try:
        pricing = endpoint["pricing"]
        told = float(pricing["prompt"]), float(pricing["completion"])
        written, thought, request = (float(pricing.get(n) or 0.0) for n in _EXTRAS)
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
    # -1 stands for "it depends", as of a router; and NaN is not at least 0.
    found = (*told, written, thought, request)
    if not all(0 <= price < float("inf") for price in found):
        return None
    return Price(max(told[0], written), max(told[1], thought), request)


def most_it_costs(
    body: Mapping[str, Any], size: int, prices: Mapping[str, Price | None]
) -> float | None:
    """
    Return what a call costs at the most, in US dollars; None: nobody can tell.

    Args:
        body: The request, with text only and a limit of tokens; else nobody can tell.
        size: Its bytes; no text has more tokens.
        prices: By model.
    """
    price = prices.get(str(body.get("model")))
    limits = [body.get(name) for name in _LIMITS]
    # Who counts with which of the two is not told.
    limit = max((n for n in limits if isinstance(n, int)), default=None)
    if price is None or limit is None:
        return None
    if any(body.get(name) for name in _UNCOUNTABLE):
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
    read = size + _EXTRA_TOKENS * len(messages)
    return price.request + read * price.prompt + limit * price.completion


class Budget:
    """
    What was spent, and what the calls under way may still cost.

    Attributes:
        limit: US dollars.
        spent: US dollars, of earlier runs with the same journal too.
        kind: "guaranteed" while every row's highest price was known: it is kept unless
            prices change. Else "estimated".
    """

    def __init__(self, limit: float, spent: float = 0.0) -> None:
        self.limit = limit
        self.spent = spent
        self.kind: Kind = "guaranteed"
        self._reserved = 0.0
        self._open = 0
        self._mean: float | None = None
        self._dearest: float | None = None

    @property
    def overshoot(self) -> float | None:
        """
        US dollars by which it may be exceeded; None as long as nobody can tell.

        0.0 for a promise; otherwise as if each call under way became as dear as the
        dearest so far.
        """
        if self.kind == "guaranteed":
            return max(0.0, self.spent - self.limit)
        if self._dearest is None and self._open:
            return None
        worst = self.spent + max(self._reserved, self._open * (self._dearest or 0.0))
        return max(0.0, worst - self.limit)

    def reserve(self, most: float | None) -> float | None:
        """
        Set money aside for a call; None: there is not enough now.

        Args:
            most: What it costs at the most; None if nobody can tell.
        """
        wanted = most
        if wanted is None:
            self.kind = "estimated"
            if self._mean is None and self._open >= _BLIND:
                return None
            wanted = _MARGIN * (self._mean or 0.0)
        spoken_for = self.spent + self._reserved
        # Thousandths of a cent add up with an error of their own.
        if spoken_for + wanted > self.limit * (1.0 + 1e-12):
            return None
        if wanted == 0.0 and spoken_for >= self.limit and most is None:
            return None
        self._reserved += wanted
        self._open += 1
        return wanted

    @property
    def is_idle(self) -> bool:
        """Whether nothing is set aside: what does not fit now never will."""
        return self._open == 0

    def settle(self, reserved: float, cost: float | None, unclear: int) -> None:
        """
        Close a call's account.

        Args:
            reserved: What `reserve` returned.
            cost: What it cost; None if the server did not say or nothing came.
            unclear: Attempts of which nobody can tell whether they were billed; each
                counts as dear as was thought.
        """
        self._open -= 1
        self._reserved = max(0.0, self._reserved - reserved) if self._open else 0.0
        self.spent += (cost or 0.0) + unclear * reserved
        if cost is None:
            return
        self._dearest = max(self._dearest or 0.0, cost)
        if self._mean is None:
            self._mean = cost
        self._mean += _SMOOTHING * (cost - self._mean)
