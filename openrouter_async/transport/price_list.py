"""PriceList: the prices of models, read when a budget needs them."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, cast

from ..config import Clock
from ..errors import OpenRouterError
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

Key = tuple[str, str]
"""Base URL and model."""


class PriceList:
    """The prices of models; each is read once in ten minutes, by the first who asks."""

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
        # Set when a price has been read, on the event loop that reads it.
        self._reading: dict[tuple[asyncio.AbstractEventLoop, Key], asyncio.Event] = {}

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
        """Return the highest price of a model's endpoints; None if unknown."""
        key = (settings.base_url.url, model)
        reading = (asyncio.get_running_loop(), key)
        while True:
            price, expires = self._prices.get(key, (None, -math.inf))
            if self._clock.now() < expires:
                return price
            done = self._reading.get(reading)
            if done is None:
                break
            await done.wait()
        done = self._reading[reading] = asyncio.Event()
        try:
            price = await self._read(settings, model)
            age = _RETRY_AFTER if price is None else _MAX_AGE
            self._prices[key] = (price, self._clock.now() + age)
        finally:
            # Also if this task is cancelled: the next one then reads it.
            del self._reading[reading]
            done.set()
        return price

    async def _read(self, settings: Settings, model: str) -> Price | None:
        path = f"/models/{model}/endpoints"
        try:
            found = await self._fetch(settings.call("GET", path, read_json))
        except OpenRouterError:
            # The budget is then an estimate. An error that concerns the call too is
            # reported by the call.
            return None
        endpoints: Any = as_object(as_object(found).get("data")).get("endpoints")
        if not isinstance(endpoints, list):
            return None
        return read_price(cast("Sequence[Any]", endpoints))
