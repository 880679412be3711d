"""The local server's counters, and waiting until they reach a value."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from threading import Lock

from attrs import frozen


@frozen
class ServerStats:
    """
    The server's counters at one moment.

    Attributes:
        requests: Requests that arrived.
        in_flight: Requests not yet answered to the end.
        in_flight_peak: The most of them at one time.
        closed_early: Requests whose client went away before the reply's end.
        chunks: Events written, over all streams.
        connections_open: Sockets open now, idle ones included.
        connections_made: Sockets ever accepted.
        cost: US dollars that the answers cost, by their own `usage`.
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
    The counters behind `ServerStats`, and those who wait for them.

    They are written on the server's loop and may be awaited from any other thread.
    """

    def __init__(self) -> None:
        self.requests = 0
        self.in_flight = 0
        self.in_flight_peak = 0
        self.closed_early = 0
        self.chunks = 0
        self.connections_open = 0
        self.connections_made = 0
        self.cost = 0.0
        self._lock = Lock()
        self._waiting: dict[Future[None], Callable[[], bool]] = {}

    def stats(self) -> ServerStats:
        """Take a snapshot."""
        return ServerStats(
            requests=self.requests,
            in_flight=self.in_flight,
            in_flight_peak=self.in_flight_peak,
            closed_early=self.closed_early,
            chunks=self.chunks,
            connections_open=self.connections_open,
            connections_made=self.connections_made,
            cost=self.cost,
        )

    def forget(self) -> None:
        """Start counting anew; what is open or in flight stays counted."""
        self.requests = self.closed_early = self.chunks = self.connections_made = 0
        self.in_flight_peak = self.in_flight
        self.cost = 0.0

    def changed(self) -> None:
        """Wake those whose wish has come true."""
        if not self._waiting:
            return
        with self._lock:
            for future, reached in list(self._waiting.items()):
                if reached():
                    del self._waiting[future]
                    # False: whoever waited has given up.
                    if future.set_running_or_notify_cancel():
                        future.set_result(None)

    async def until(self, wish: "Condition", seconds: float) -> None:
        """Wait on the caller's own event loop, whichever thread that runs in."""
        future = self._enter(wish)
        try:
            async with asyncio.timeout(seconds):
                await asyncio.wrap_future(future)
        except TimeoutError as error:
            raise TimeoutError(wish.complaint(self, seconds)) from error
        finally:
            self._leave(future)

    def wait(self, wish: "Condition", seconds: float) -> None:
        """Block the caller's thread; never to be called on the server's loop."""
        future = self._enter(wish)
        try:
            future.result(seconds)
        except FutureTimeoutError as error:
            raise TimeoutError(wish.complaint(self, seconds)) from error
        finally:
            self._leave(future)

    def _enter(self, wish: "Condition") -> "Future[None]":
        future: Future[None] = Future()
        with self._lock:
            self._waiting[future] = lambda: wish.reached(self)
        # It may have come true before anybody could be woken.
        self.changed()
        return future

    def _leave(self, future: "Future[None]") -> None:
        with self._lock:
            self._waiting.pop(future, None)


@frozen
class Condition:
    """
    What somebody waits for; None asks for nothing.

    Attributes:
        requests: At least so many requests arrived.
        chunks: At least so many events were written.
        closed: At least so many clients went away early.
        connections: At most so many sockets are open.
    """

    requests: int | None = None
    chunks: int | None = None
    closed: int | None = None
    connections: int | None = None

    def reached(self, tally: ServerCounters) -> bool:
        """Tell whether all of it is true."""
        return (
            (self.requests is None or tally.requests >= self.requests)
            and (self.chunks is None or tally.chunks >= self.chunks)
            and (self.closed is None or tally.closed_early >= self.closed)
            and (self.connections is None or tally.connections_open <= self.connections)
        )

    def complaint(self, tally: ServerCounters, seconds: float) -> str:
        """Tell what was waited for, and what there is."""
        pairs = (
            ("requests", self.requests, tally.requests),
            ("chunks", self.chunks, tally.chunks),
            ("closed early", self.closed, tally.closed_early),
            ("connections at most", self.connections, tally.connections_open),
        )
        wanted = ", ".join(f"{n} {name}" for name, n, _ in pairs if n is not None)
        there = ", ".join(f"{n} {name}" for name, _, n in pairs).replace(
            "at most", "open"
        )
        return f"Waited {seconds} s for {wanted}; there are {there}."
