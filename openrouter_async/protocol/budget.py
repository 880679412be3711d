"""Budgets: upper bounds on the cost of a request, reservations, settlement, grants."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from decimal import Decimal
from typing import Any, Final, cast

from attrs import field, frozen

from .budget_level import BudgetChain, BudgetKind, BudgetLevel, BudgetRefusal
from .money import (
    ZERO,
    add,
    exact,
    float_above,
    multiply,
    round_up,
    subtract,
)

# A text has no more tokens than bytes, but a chat template adds tokens of its own for
# the role and the end of each message.
_TOKENS_PER_MESSAGE: Final = 8
# Providers add instructions of their own to a request with tools: Anthropic's have up
# to 530 tokens.
_TOKENS_FOR_TOOLS: Final = 1024
_TOKENS_PER_TOOL: Final = 32

_LIMIT_FIELDS: Final = ("max_completion_tokens", "max_tokens")
# Prices that may apply to the same tokens in place of `prompt` and `completion`
# (cached or reasoning tokens), and the price of the request itself.
_OTHER_PRICES: Final = ("input_cache_write", "internal_reasoning", "request")

# Fields of a message that are sent back and are not text.
_MEDIA_FIELDS: Final = ("images", "audio", "annotations")

# Fields that make a request cost more than the tokens of its text: they select other
# models or prices, or add searches, sound, pictures or further completions.
_UNBOUNDED_FIELDS: Final = (
    *("models", "plugins", "web_search_options", "modalities", "audio"),
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

    prompt: Decimal = field(converter=exact)
    completion: Decimal = field(converter=exact)
    request: Decimal = field(default=ZERO, converter=exact)

    def highest_cost(self, bounds: TokenBounds, *, requests: int = 1) -> float:
        """
        Return the cost in US dollars of requests that use all of their tokens.

        Each part is rounded up to 1e-12 dollars, because a server may round it.
        """
        parts = (
            multiply(self.request, Decimal(requests)),
            multiply(self.prompt, Decimal(bounds.prompt)),
            multiply(self.completion, Decimal(bounds.completion)),
        )
        total = ZERO
        for part in parts:
            total = add(total, round_up(part))
        return float_above(total)


def token_bounds(body: Mapping[str, Any], size: int) -> TokenBounds | None:
    """
    Return the highest number of tokens that a request can use.

    Args:
        body: The request.
        size: The length in bytes of the request as JSON.

    Returns:
        None if there is no bound: the request has no token limit, contains more than
        text and function tools, or has a field with a price of its own.
    """
    # Endpoints differ in which of the two fields they obey.
    limits = [body.get(name) for name in _LIMIT_FIELDS]
    limit = max((n for n in limits if isinstance(n, int)), default=None)
    if limit is None or any(body.get(name) for name in _UNBOUNDED_FIELDS):
        return None
    messages = cast("Sequence[Any]", body.get("messages") or ())
    tools = cast("Sequence[Any]", body.get("tools") or ())
    if not all(map(_is_text, messages)) or not all(map(_is_function, tools)):
        return None
    prompt = size + _TOKENS_PER_MESSAGE * len(messages)
    if tools:
        prompt += _TOKENS_FOR_TOOLS + _TOKENS_PER_TOOL * len(tools)
    return TokenBounds(prompt, max(0, limit))


def _is_text(message: Any) -> bool:
    """Return True if a message is text, or calls of functions without any."""
    content = _member(message, "content")
    if content is None:
        return bool(_member(message, "tool_calls"))
    return isinstance(content, str) and not _has_media(message)


def _has_media(message: Any) -> bool:
    return any(_member(message, name) for name in _MEDIA_FIELDS)


def _is_function(tool: Any) -> bool:
    """Return True for a function tool; server tools have prices of their own."""
    return bool(_member(tool, "type") == "function")


def _member(value: Any, name: str) -> Any:
    if isinstance(value, Mapping):
        return cast("Mapping[str, Any]", value).get(name)
    return getattr(value, name, None)


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
        prompt, completion = exact(pricing["prompt"]), exact(pricing["completion"])
        write, reasoning, request = (
            exact(pricing.get(name) or ZERO) for name in _OTHER_PRICES
        )
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError):
        return None
    # A price of -1 means "depends on the request", as of a router.
    prices = (prompt, completion, write, reasoning, request)
    if not all(price.is_finite() and price >= 0 for price in prices):
        return None
    return Price(max(prompt, write), max(completion, reasoning), request)


@frozen
class BudgetStats:
    """
    A snapshot of a budget.

    Attributes:
        limit: US dollars that may be spent.
        spent: US dollars spent. A request that may have been billed at an unknown cost
            counts as the amount that was reserved for it.
        reserved: US dollars reserved for requests in flight.
        kind: "guaranteed" as long as the highest cost of every request was known.
    """

    limit: Decimal
    spent: Decimal
    reserved: Decimal
    kind: BudgetKind


class Budget:
    """
    An amount that may be spent, what was spent of it, and reservations in flight.

    A budget with a parent is part of it: a reservation is made in both or in neither. A
    budget that was granted (`grant`) is a portion that the parent has reserved as a
    whole. It can be spent without asking the parent again, such as in another process;
    `settle` and `spend` report to the parent what it cost.

    All sums are exact. Amounts are accepted and returned as floats.

    Attributes:
        chain: The sums of this budget and of its parents; only for other budgets.
        watchers: Functions to call when money may have become free; see `watch`.
        lock: Held during each change.
    """

    def __init__(
        self,
        limit: float | Decimal,
        spent: float | Decimal = 0.0,
        *,
        parent: "Budget | None" = None,
        name: str = "the run",
        lock: AbstractContextManager[object] | None = None,
    ) -> None:
        """
        Create a budget without reservations.

        Args:
            limit: US dollars that may be spent; infinity if only the parent limits it.
            spent: US dollars spent before, which the parent does not count.
            parent: The budget that this one is part of.
            name: Name for messages.
            lock: Held during each change, if threads share the budget. Budgets with a
                parent use the parent's.
        """
        self._level = BudgetLevel(name, exact(limit), exact(spent))
        self._is_granted = self._is_closed = False
        self.watchers: list[Callable[[], object]] = []
        self.lock: AbstractContextManager[object] = lock or nullcontext()
        if parent is None:
            self.chain = BudgetChain((self._level,), None)
        else:
            outer = parent.chain
            self.chain = BudgetChain((self._level, *outer.levels), outer.funder)
            self.watchers = parent.watchers
            self.lock = parent.lock

    @property
    def limit(self) -> float:
        """US dollars that may be spent."""
        return float(self._level.limit)

    @property
    def spent(self) -> float:
        """US dollars spent, in earlier runs with the same journal too."""
        return float(self._level.spent)

    @property
    def left(self) -> float:
        """US dollars that are neither spent nor reserved, here and in the parents."""
        with self.lock:
            return float(self.chain.left)

    @property
    def unspent(self) -> float:
        """US dollars that are not spent, here and in the parents; may be reserved."""
        with self.lock:
            return float(min(level.unspent for level in self.chain.levels))

    @property
    def kind(self) -> BudgetKind:
        """
        "guaranteed" as long as the highest cost of every request was known.

        The limit then holds unless prices change. Otherwise "estimated".
        """
        return self._level.kind

    @property
    def is_idle(self) -> bool:
        """True if no reservation is open."""
        return self._level.reservations == 0

    @property
    def overshoot(self) -> float | None:
        """
        US dollars by which the limit may be exceeded; None if unknown.

        A "guaranteed" budget gives 0.0. Otherwise each request in flight is assumed
        to cost as much as the most expensive one so far.
        """
        level = self._level
        if level.kind == "guaranteed":
            return max(0.0, self.spent - self.limit)
        if level.highest is None and level.reservations:
            return None
        expected = level.reservations * (level.highest or 0.0)
        in_flight = max(float(level.reserved), expected)
        return max(0.0, self.spent + in_flight - self.limit)

    def stats(self) -> BudgetStats:
        """Return a snapshot."""
        level = self._level
        with self.lock:
            return BudgetStats(level.limit, level.spent, level.reserved, level.kind)

    def watch(self, changed: Callable[[], object]) -> None:
        """
        Call a function whenever money may have become free, here or in a parent.

        It is called by the thread that closed the reservation, and must not raise.
        """
        self.watchers.append(changed)

    def unwatch(self, changed: Callable[[], object]) -> None:
        """End a `watch`."""
        self.watchers.remove(changed)

    # --- reservations ----------------------------------------------------------------

    def reserve(self, highest_cost: float | None) -> float | None:
        """
        Reserve money for one request, here and in the parents.

        Args:
            highest_cost: US dollars that the request costs at most; None if unknown,
                which makes the budget and its parents estimates.

        Returns:
            The US dollars reserved, for `settle`; None if not enough is left now.
        """
        chain, is_estimate = self.chain, highest_cost is None
        with self.lock:
            if is_estimate:
                chain.mark_estimated()
            amount = chain.amount(highest_cost)
            for level in chain.levels:
                if not level.admits(amount, is_estimate=is_estimate):
                    return None
            chain.hold(amount, 1)
        return float(amount)

    def restore(self, amount: float) -> float:
        """
        Reserve an amount for a request that was sent before, even if it does not fit.

        Returns:
            The US dollars reserved, for `settle`.
        """
        with self.lock:
            held = self.chain.amount(amount)
            self.chain.hold(held, 1)
        return float(held)

    def refusal(self, highest_cost: float | None) -> BudgetRefusal | None:
        """
        Return the reason why a request will not be admitted, however long it waits.

        Args:
            highest_cost: As in `reserve`.

        Returns:
            None if it would fit without the reservations in flight.
        """
        chain, is_estimate = self.chain, highest_cost is None
        with self.lock:
            amount = chain.amount(highest_cost)
            for level in chain.levels:
                if not level.may_admit(amount, is_estimate=is_estimate):
                    return level.refuse(amount)
        return None

    def refuse(self, highest_cost: float | None) -> BudgetRefusal:
        """Return the reason why a request is not admitted now."""
        chain = self.chain
        with self.lock:
            fullest = min(chain.levels, key=lambda level: level.left)
            return fullest.refuse(chain.amount(highest_cost))

    def settle(self, reserved: float, cost: float | None, unclear: int = 0) -> None:
        """
        Close a reservation.

        Args:
            reserved: The amount that `reserve` returned.
            cost: The cost in US dollars; None if the server did not report it.
            unclear: Number of attempts that may have been billed, or not. Each counts
                as `reserved`.
        """
        chain, amount = self.chain, exact(reserved)
        with self.lock:
            if self._is_closed:
                # It was counted as spent.
                return
            chain.hold(subtract(ZERO, amount), -1)
            charged = multiply(amount, Decimal(unclear))
            if cost is not None:
                charged = add(charged, exact(cost))
                for level in chain.levels:
                    level.learn(cost)
            chain.charge(charged)
        self._tell()

    def spend(self, cost: float) -> None:
        """
        Count an amount that was spent without a reservation.

        Args:
            cost: US dollars; less than 0 for what was counted and not charged.
        """
        with self.lock:
            self.chain.charge(exact(cost))
        self._tell()

    def spend_earlier(self, cost: float) -> None:
        """Count an amount that an earlier run spent; the parents do not count it."""
        with self.lock:
            self._level.spent = add(self._level.spent, exact(cost))

    # --- grants ----------------------------------------------------------------------

    def grant(
        self, least: float, name: str = "a worker", *, most: float | None = None
    ) -> "Budget | None":
        """
        Reserve a portion as a whole, and return it as a budget of its own.

        A worker in another process uses `Budget(granted.limit)`, whose reservations
        this budget never sees. What they cost is reported with `granted.spend`, and
        `granted.close` returns the rest when the worker has ended.

        Args:
            least: Smallest useful portion, such as the highest cost of one request.
            name: Name for messages.
            most: Largest portion, if that is less than an eighth of what is left.

        Returns:
            A budget of an eighth of what is left, or of `least` if that is more. None
            if less than `least` is left now.
        """
        with self.lock:
            amount = self.chain.portion(least, most)
            if amount is None:
                return None
            self.chain.hold(amount, 1)
        granted = Budget(amount, name=name, lock=self.lock)
        granted.chain.funder = self.chain
        granted.watchers = self.watchers
        granted._is_granted = True
        return granted

    def extend(self, least: float, *, most: float | None = None) -> float | None:
        """
        Add another portion to this budget, which was granted.

        Args:
            least: As in `grant`.
            most: As in `grant`.

        Returns:
            The US dollars by which `limit` has grown. None if less than `least` is
            left in the parent now, or if this budget was not granted or is closed.
        """
        with self.lock:
            funder = self.chain.funder
            if funder is None or not self._is_granted or self._is_closed:
                return None
            amount = funder.portion(least, most)
            if amount is None:
                return None
            funder.hold(amount, 0)
            self._level.limit = add(self._level.limit, amount)
        return float(amount)

    def enlarge(self, amount: float) -> None:
        """
        Change the limit of a budget without a parent, such as by a grant from afar.

        Args:
            amount: US dollars; less than 0 for what is given back.
        """
        with self.lock:
            self._level.limit = add(self._level.limit, exact(amount))
        self._tell()

    def close(self, lost: float = 0.0) -> None:
        """
        Return what is left of this budget, which was granted, to the parent.

        Reservations that are still open count as spent. Closing twice has no effect.

        Args:
            lost: US dollars that may have been spent without a report, because the
                worker has died.
        """
        with self.lock:
            funder, level = self.chain.funder, self._level
            if funder is None or not self._is_granted or self._is_closed:
                return
            self._is_closed = True
            self.chain.charge(add(exact(lost), level.reserved))
            level.reserved, level.reservations = ZERO, 0
            funder.hold(subtract(ZERO, level.unspent), -1)
            level.limit = level.spent
        self._tell()

    def _tell(self) -> None:
        for changed in [*self.watchers]:
            changed()
