"""Transport: sends a Call and returns its value or its open stream."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from aiohttp import ClientSession

from ..config import Clock
from ..errors import APITimeoutError
from ..protocol.base_url import BaseURL, authorization
from ..protocol.call import Call, CallRecord
from ..protocol.headers import Secret
from ..protocol.lru import LRUCache
from ..protocol.retry import RetryBudget
from ..protocol.settings import ConcurrencyOption
from ..protocol.stream_state import StreamState
from ..types import ChatResponse
from .admission import LimiterScope
from .call_events import CallEvents, CallObserver, CallReport
from .event_stream import EventStream
from .limiter import AttemptLimiter, LimiterRegistry, real_time
from .pool import NetworkOptions, Pool, PoolRegistry, PoolStats
from .response_reader import ResponseReader
from .retry_loop import RetryLoop
from .usage_meter import UsageMeter

if TYPE_CHECKING:
    from .client_budgets import ClientBudgets

__all__ = [
    "AttemptLimiter",
    "ClientSession",
    "EventStream",
    "NetworkOptions",
    "PoolStats",
    "Transport",
]

T = TypeVar("T")
R = TypeVar("R")

# A backend may send each of its users' calls with that user's key.
_MAX_KEYS: Final = 1000


class Transport:
    """
    The connections, retry budgets, observers and spending of a client and its siblings.

    Attributes:
        clock: The source of time and random numbers.
        meter: Counts what calls use and cost.
        budgets: Budgets of the client and of its tags; None without any.
        limiters: The concurrency limits and cooldowns.
    """

    def __init__(
        self,
        network: NetworkOptions,
        on_call: Callable[[CallRecord], object] | None,
        clock: Clock | None,
        observer: CallObserver | None = None,
        make_budgets: "Callable[..., ClientBudgets] | None" = None,
    ) -> None:
        """
        Prepare connections; none is opened yet.

        Args:
            network: Options of connections.
            on_call: Called with the record of each call.
            clock: The source of time and random numbers; None: the machine's.
            observer: Observer of each call; None for none.
            make_budgets: Function that makes the budgets of the client; it is called
                with `fetch`, for the prices, and the clock. None without budgets.
        """
        self.clock = clock or real_time()
        self.meter = UsageMeter()
        self.budgets: ClientBudgets | None = (
            None if make_budgets is None else make_budgets(self.fetch, self.clock)
        )
        self._pools = PoolRegistry(network, self.clock)
        self._events = CallEvents(
            {} if on_call is None else {"on_call": on_call},
            self.clock.now,
            observer,
            self.meter,
        )
        self.limiters = LimiterRegistry(self.clock)
        self._scopes = self.limiters.scopes
        self._budgets = LRUCache[tuple[str, int], RetryBudget](_MAX_KEYS)
        # The headers of keys that passed the checks.
        self._authorizations = LRUCache[str, Secret](_MAX_KEYS)

    def stats(self, option: ConcurrencyOption) -> PoolStats:
        """
        Return a snapshot of slots, connections and limits.

        Args:
            option: The concurrency limit of the client that asks.
        """
        limiters = self.limiters.stats(option, self._pools.in_flight())
        return self._pools.stats(limiters)

    async def aclose(self) -> None:
        """Close this loop's connections and reject further calls."""
        await self._pools.aclose()

    async def fetch(
        self,
        call: Call[T],
        limiter: AttemptLimiter | None = None,
        *,
        concurrency: ConcurrencyOption | None = None,
    ) -> T:
        """
        Send a call and return the value of its response.

        Args:
            call: A plain call.
            limiter: Admits each attempt of a row; None for any other call.
            concurrency: The limit of a chat call, which also waits for cooldowns; None:
                neither applies.

        Raises:
            OpenRouterError: If the call failed and is not retried any more.
        """
        report = self._events.begin(call)
        try:
            if call.reserve is not None:
                report.reservation = await call.reserve()
            pool = self._pools.find() or await self._pools.open()
            loop = self._loop(call, pool, report, limiter, concurrency, _read)
            if report.observation is None:
                value = await loop.run()
            else:
                value = await report.run(loop.run())
        except BaseException as error:
            report.fail(error)
            raise
        report.end(None, None, value)
        return value

    async def open(
        self,
        call: Call[ChatResponse],
        *,
        concurrency: ConcurrencyOption | None = None,
    ) -> tuple[EventStream, StreamState]:
        """
        Send a call and return its open stream, of which the first event was read.

        The stream holds a connection slot and reports the end of the call; whoever
        reads it has to end it.

        Args:
            call: A call that asks for a stream.
            concurrency: The limit of a chat call, which also waits for cooldowns; None:
                neither applies.

        Raises:
            OpenRouterError: If the call failed before or with its first event, and is
                not retried any more.
        """
        report = self._events.begin(call)
        on_end = partial(_StreamEnd, report)
        try:
            if call.reserve is not None:
                report.reservation = await call.reserve()
            pool = self._pools.find() or await self._pools.open()
            loop = self._loop(
                call,
                pool,
                report,
                None,
                concurrency,
                lambda reader: reader.open(on_end),
            )
            if report.observation is None:
                return await loop.run()
            stream, state = await report.run(loop.run())
            state.on_chunk = report.first_chunk(report.observation)
        except BaseException as error:
            report.fail(error)
            raise
        return stream, state

    def _loop(
        self,
        call: Call[T],
        pool: Pool,
        report: CallReport,
        limiter: AttemptLimiter | None,
        concurrency: ConcurrencyOption | None,
        read: Callable[[ResponseReader[T]], Awaitable[R]],
    ) -> RetryLoop[T, R]:
        if concurrency is None:
            budget = self._budget(call)
            admission = None if limiter is None else limiter.admission
        else:
            api_key = call.api_key
            key_id = hash(api_key) if isinstance(api_key, str) else id(api_key)
            key = (pool.loop, call.base_url.url, key_id, call.model)
            scope = self._scopes.get(key) or self.limiters.get(key)
            # Kept there, because a second look-up for each call takes time.
            budget = scope.retry_budget or self._budget_of(scope, call)
            admission = scope.plain
            if concurrency.value is not None:
                admission = scope.admission(concurrency)
        return RetryLoop(
            call,
            pool,
            report,
            self.clock,
            budget,
            self._authorize,
            limiter,
            admission,
            read,
        )

    def _budget_of(self, scope: LimiterScope, call: Call[Any]) -> RetryBudget:
        budget = scope.retry_budget = self._budget(call)
        return budget

    def _budget(self, call: Call[Any]) -> RetryBudget:
        """Return the retry budget of a base URL and key; a key function is one key."""
        key = call.api_key
        key_id = hash(key) if isinstance(key, str) else id(key)
        scope = (call.base_url.url, key_id)
        budget = self._budgets.get(scope)
        if budget is None:
            # Threads share the client, and must not count apart from each other.
            budget = self._budgets.get_or_add(scope, RetryBudget())
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


def _read(reader: ResponseReader[T]) -> Awaitable[T]:
    return reader.read()


class _StreamEnd:
    """Reports the end of a stream; it is a third of the size of a partial."""

    __slots__ = ("_report", "_state")

    def __init__(self, report: CallReport, state: StreamState) -> None:
        self._report = report
        self._state = state

    def __call__(self, error: BaseException | None) -> None:
        state = self._state
        if state.finished and isinstance(error, APITimeoutError):
            # The response is complete; only the end of the body did not arrive.
            error = None
        self._report.end(error, lambda: state.response, state)
