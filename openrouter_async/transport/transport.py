"""
Sends a Call, returns an Answer.

Connections, slots, clocks and attempts; nothing else imports aiohttp's client.
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final, TypeVar

from aiohttp import ClientSession

from ..config import Clock
from ..errors import ClosedError, OpenRouterError
from ..protocol.base_url import BaseURL, authorization
from ..protocol.call import Call, CallRecord, Outcome
from ..protocol.headers import Secret
from ..protocol.lru import LRUCache
from ..protocol.response_parsing import usage_of
from ..protocol.retry import RetryBudget
from ..types import Exchange, Usage
from .answer import Answer
from .attempt_limiter import AttemptLimiter
from .event_stream import EventStream
from .pool import NetworkOptions, PoolRegistry, PoolStats
from .retry_loop import RetryLoop

__all__ = [
    "Answer",
    "AttemptLimiter",
    "ClientSession",
    "EventStream",
    "NetworkOptions",
    "PoolStats",
    "Transport",
]

T = TypeVar("T")

logger = logging.getLogger("openrouter_async")

# Enough for a backend that calls with its users' keys.
_MAX_KEYS: Final = 1000


class Transport:
    """Everything a client and its `with_options` siblings share."""

    def __init__(
        self,
        network: NetworkOptions,
        on_call: Callable[[CallRecord], object] | None,
        clock: Clock | None,
    ) -> None:
        self._pools = PoolRegistry(network)
        self._on_call = on_call
        # Jitter needs no secrecy.
        self._clock = clock or Clock(time.monotonic, asyncio.sleep, random.random)
        self._budgets = LRUCache[tuple[str, int], RetryBudget](_MAX_KEYS)
        # The headers of keys that passed the checks.
        self._authorizations = LRUCache[str, Secret](_MAX_KEYS)

    def stats(self) -> PoolStats:
        """Return a snapshot of slots and connections."""
        return self._pools.stats()

    async def aclose(self) -> None:
        """Close this loop's connections and refuse further calls."""
        await self._pools.aclose()

    async def send(
        self, call: Call[T], gate: AttemptLimiter | None = None
    ) -> Answer[T]:
        """
        Send a call; return the reply, or the stream with its first event.

        A stream holds its slot and reports its end itself.

        Raises:
            OpenRouterError: It failed, and is not to be sent again.
        """
        http = Exchange()
        started = time.monotonic()
        # Not the call itself: an open stream need not keep the bytes of its request.
        report = partial(self._report, call.model, call.stream, http, started)
        try:
            pool = self._pools.find() or await self._pools.open()
            answer = await RetryLoop(
                call,
                pool,
                http,
                self._clock,
                self._budget(call),
                self._authorize,
                gate,
            ).run()
        except asyncio.CancelledError:
            report("cancelled", None, _nothing)
            raise
        except OpenRouterError as error:
            outcome: Outcome = "closed" if isinstance(error, ClosedError) else "error"
            report(
                outcome,
                error if outcome == "error" else None,
                partial(usage_of, error.partial),
            )
            raise
        except BaseException:
            # The caller's own key function raised.
            report("error", None, _nothing)
            raise
        feed = answer.feed
        if feed is None:
            report("ok", None, partial(usage_of, answer.value))
        else:
            assert answer.state is not None
            feed.begin(pool, report, answer.state)
        return answer

    def _budget(self, call: Call[Any]) -> RetryBudget:
        """One for each base URL and key; functions count as one key each."""
        key = call.api_key
        mark = hash(key) if isinstance(key, str) else id(key)
        place = (call.base_url.url, mark)
        budget = self._budgets.get(place)
        if budget is None:
            budget = self._budgets[place] = RetryBudget()
        return budget

    def _authorize(self, key: object, base_url: BaseURL) -> Secret:
        """
        Return the Authorization header for a key; its checks run once.

        Raises:
            ConfigurationError: If `authorization` rejects the key or the URL.
        """
        if not isinstance(key, str) or not base_url.key_allowed:
            return authorization(key, base_url)
        secret = self._authorizations.get(key)
        if secret is None:
            secret = self._authorizations[key] = authorization(key, base_url)
        return secret

    def _report(
        self,
        model: str | None,
        stream: bool,  # noqa: FBT001 -- bound by place, in `send` alone.
        http: Exchange,
        started: float,
        outcome: Outcome,
        error: OpenRouterError | None,
        usage: Callable[[], Usage | None],
    ) -> None:
        http.timings.total = time.monotonic() - started
        if self._on_call is None:
            return
        record = CallRecord(model, stream, outcome, error, http, usage())
        try:
            self._on_call(record)
        except Exception:
            logger.exception("on_call raised; the call itself is not affected.")


def _nothing() -> None:
    """The usage of a call of which nothing came."""
