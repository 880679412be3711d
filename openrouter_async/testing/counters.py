"""The local server's counters, and waiting until they reach a value."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from threading import Lock

from attrs import frozen

from ..protocol.money import ZERO, add, exact


@frozen
class ServerStats:
    """
    A snapshot of the server's counters.

    All but the open ones are counted since the start or the last `clear()`.

    Attributes:
        requests: Requests received.
        in_flight: Requests received whose response is not complete.
        in_flight_peak: Highest value of `in_flight`.
        closed_early: Requests whose client disconnected before the end of the
            response.
        chunks: Events written, over all streams, without `[DONE]`.
        connections_open: Sockets that are open now, idle ones included.
        connections_made: Sockets accepted.
        cost: Exact sum of the costs of all completions, in US dollars. A completion
            that the client did not read to its end costs as much.
    """

    requests: int
    in_flight: int
    in_flight_peak: int
    closed_early: int
    chunks: int
    connections_open: int
    connections_made: int
    cost: float


class ServerCounters:
    """
    The values of `ServerStats`, and the callers that wait for one of them.

    Only the server's event loop changes the values and calls `notify()`. Any thread
    may wait.
    """

    def __init__(self) -> None:
        self.requests = 0
        self.in_flight = 0
        self.in_flight_peak = 0
        self.closed_early = 0
        self.chunks = 0
        self.connections_open = 0
        self.connections_made = 0
        # Decimal, so that tests can compare every digit.
        self.cost = ZERO
        self._lock = Lock()
        self._waiters: dict[Future[None], Callable[[], bool]] = {}

    def stats(self) -> ServerStats:
        """Return a snapshot."""
        return ServerStats(
            requests=self.requests,
            in_flight=self.in_flight,
            in_flight_peak=self.in_flight_peak,
            closed_early=self.closed_early,
            chunks=self.chunks,
            connections_open=self.connections_open,
            connections_made=self.connections_made,
            cost=float(self.cost),
        )

    def add_cost(self, cost: float) -> None:
        """Count US dollars that were billed."""
        self.cost = add(self.cost, exact(cost))

    def reset(self) -> None:
        """Set the counters to zero, except those of open connections and requests."""
        self.requests = self.closed_early = self.chunks = self.connections_made = 0
        self.in_flight_peak = self.in_flight
        self.cost = ZERO

    def notify(self) -> None:
        """Wake the waiters whose condition is met; to be called after a change."""
        if not self._waiters:
            return
        with self._lock:
            for future, is_met in list(self._waiters.items()):
                if is_met():
                    del self._waiters[future]
                    # False: the waiter has timed out or was cancelled.
                    if future.set_running_or_notify_cancel():
                        future.set_result(None)

    async def until(self, condition: "Condition", timeout: float) -> None:  # noqa: ASYNC109 - the value is part of the message
        """
        Wait on the caller's event loop, which may be another than the server's.

        Raises:
            TimeoutError: If the condition is not met within `timeout` seconds.
        """
        future = self._add_waiter(condition)
        try:
            async with asyncio.timeout(timeout):
                await asyncio.wrap_future(future)
        except TimeoutError as error:
            raise TimeoutError(condition.timeout_message(self, timeout)) from error
        finally:
            self._remove_waiter(future)

    def wait(self, condition: "Condition", timeout: float) -> None:
        """
        Block the calling thread, which must not be the one of the server's loop.

        Raises:
            TimeoutError: If the condition is not met within `timeout` seconds.
        """
        future = self._add_waiter(condition)
        try:
            future.result(timeout)
        except FutureTimeoutError as error:
            raise TimeoutError(condition.timeout_message(self, timeout)) from error
        finally:
            self._remove_waiter(future)

    def _add_waiter(self, condition: "Condition") -> "Future[None]":
        future: Future[None] = Future()
        with self._lock:
            self._waiters[future] = lambda: condition.is_met(self)
        # The condition may have been met before the waiter was added.
        self.notify()
        return future

    def _remove_waiter(self, future: "Future[None]") -> None:
        with self._lock:
            self._waiters.pop(future, None)


@frozen
class Condition:
    """
    Counter values to wait for; a limit of None is ignored.

    Attributes:
        requests: Lowest number of requests received.
        chunks: Lowest number of events written.
        closed: Lowest number of clients that disconnected early.
        connections: Highest number of open sockets.
    """

    requests: int | None = None
    chunks: int | None = None
    closed: int | None = None
    connections: int | None = None

    def is_met(self, counters: ServerCounters) -> bool:
        """Return True if every limit is met."""
        return (
            (self.requests is None or counters.requests >= self.requests)
            and (self.chunks is None or counters.chunks >= self.chunks)
            and (self.closed is None or counters.closed_early >= self.closed)
            and (
                self.connections is None
                or counters.connections_open <= self.connections
            )
        )

    def timeout_message(self, counters: ServerCounters, timeout: float) -> str:
        """Return a sentence with the limits and the current counters."""
        limits = (
            ("requests >= {}", self.requests),
            ("chunks >= {}", self.chunks),
            ("closed_early >= {}", self.closed),
            ("connections_open <= {}", self.connections),
        )
        expected = ", ".join(text.format(n) for text, n in limits if n is not None)
        return (
            f"The server did not reach {expected} within {timeout} s: "
            f"requests={counters.requests}, chunks={counters.chunks}, "
            f"closed_early={counters.closed_early}, "
            f"connections_open={counters.connections_open}."
        )
