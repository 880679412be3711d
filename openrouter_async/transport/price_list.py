"""PriceList: the prices of models, read when a budget needs them."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, cast

from attrs import evolve

from ..config import Cancellable, Clock
from ..errors import APITimeoutError, OpenRouterError
from ..protocol.budget import Price, TokenBounds, read_price
from ..protocol.call import Call
from ..protocol.decode import as_object
from ..protocol.lru import LRUCache
from ..protocol.response_parsing import read_json
from ..protocol.settings import Settings

# OpenRouter lists fewer; a program may also name models that do not exist.
_MAX_MODELS: Final = 1000
# Seconds. Prices change a few times a year, but a client may live for months.
_MAX_AGE: Final = 600.0
# Seconds until a price that could not be read is tried again.
_RETRY_AFTER: Final = 30.0
# Seconds that a lookup may take with its retries: all calls to the model wait for it.
_MAX_SECONDS: Final = 30.0

Key = tuple[str, str]
"""Base URL and model."""


class PriceList:
    """The prices of models; each is requested at most once in ten minutes."""

    def __init__(
        self, fetch: Callable[[Call[Any]], Awaitable[Any]], clock: Clock
    ) -> None:
        """
        Create an empty list.

        Args:
            fetch: Sends a call and returns its value.
            clock: The source of time.
        """
        self._fetch = fetch
        self._clock = clock
        # The price, and the time at which it expires.
        self._prices = LRUCache[Key, tuple[Price | None, float]](_MAX_MODELS)
        # The calls that wait for a price, on the event loop that reads it.
        self._reading: dict[
            tuple[asyncio.AbstractEventLoop, Key], set[asyncio.Future[None]]
        ] = {}

    async def highest_cost(
        self, settings: Settings, model: str | None, bounds: TokenBounds | None
    ) -> float | None:
        """
        Return the highest cost of a call in US dollars; None if it has no bound.

        Args:
            settings: The settings of the call.
            model: The requested model.
            bounds: Upper bounds on the tokens; None if unknown.
        """
        # A request that is retried although it may have been accepted can be billed
        # twice, so its cost has no bound.
        if model is None or bounds is None or settings.retries.ambiguous:
            return None
        price = await self.get(settings, model)
        return None if price is None else price.highest_cost(bounds)

    async def get(self, settings: Settings, model: str) -> Price | None:
        """
        Return the highest price of a model's endpoints; None if unknown.

        It takes at most 30 seconds, and no longer than the timeout `total`.
        """
        key = (settings.base_url.url, model)
        reading = (asyncio.get_running_loop(), key)
        total = settings.timeouts.total
        seconds = _MAX_SECONDS if total is None else min(total, _MAX_SECONDS)
        end = self._clock.now() + seconds
        while True:
            now = self._clock.now()
            price, expires = self._prices.get(key, (None, -math.inf))
            if now < expires or now >= end:
                return price if now < expires else None
            waiting = self._reading.get(reading)
            if waiting is None:
                break
            await self._wait(waiting, end - now)
        waiting = self._reading[reading] = set()
        try:
            price, age = await self._read(settings, model, end - now)
            self._prices[key] = (price, self._clock.now() + age)
        finally:
            # Also if this task is cancelled: the next one then reads it.
            del self._reading[reading]
            for future in waiting:
                _wake(future)
        return price

    async def _wait(self, waiting: set[asyncio.Future[None]], seconds: float) -> None:
        """Wait until another call has read a price, for at most so many seconds."""
        loop = asyncio.get_running_loop()
        call_later: Callable[[float, Callable[[], object]], Cancellable]
        call_later = self._clock.call_later or loop.call_later
        future = loop.create_future()
        waiting.add(future)
        timer = call_later(seconds, lambda: _wake(future))
        try:
            await future
        finally:
            timer.cancel()
            waiting.discard(future)

    async def _read(
        self, settings: Settings, model: str, seconds: float
    ) -> tuple[Price | None, float]:
        """Read a price; return it, and for how many seconds it is valid."""
        path = f"/models/{model}/endpoints"
        limited = settings.with_options(
            {"timeouts": evolve(settings.timeouts, total=seconds)}
        )
        try:
            found = await self._fetch(limited.call("GET", path, read_json))
        except OpenRouterError as error:
            # The budget is then an estimate. An error that concerns the call too is
            # reported by the call.
            if isinstance(error, APITimeoutError) and seconds < _MAX_SECONDS:
                # Other calls may have more time.
                return None, 0.0
            return None, _RETRY_AFTER
        endpoints: Any = as_object(as_object(found).get("data")).get("endpoints")
        price: Price | None = None
        if isinstance(endpoints, list):
            price = read_price(cast("Sequence[Any]", endpoints))
        return price, _RETRY_AFTER if price is None else _MAX_AGE


def _wake(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)
