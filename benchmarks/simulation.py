"""
The adaptive concurrency limit in virtual time, against a server with a hidden limit.

`benchmarks.fanout` and the tests use it where a real run would take too long. It runs
the controller of the package with its own constants. It does not model the client's own
work, pauses (Retry-After) or rows that wait before they are retried.
"""

import heapq
import math
import random
import sys

from openrouter_async.protocol.concurrency import CubicController

# A refusal is sent at once.
REFUSAL_LATENCY = 0.005
SEED = 3


class Simulation:
    """
    A client with endless rows and its server.

    Attributes:
        control: The controller of the client.
        now: Seconds since the start.
        limit: Calls that the server accepts at a time.
        in_flight: Calls that the client has in flight.
        completed: Times of the responses.
        refused: Times of the refusals.
    """

    def __init__(
        self,
        latency: float,
        sigma: float,
        limit: int = sys.maxsize,
        control: CubicController | None = None,
    ) -> None:
        """
        Start cold, at time 0.

        Args:
            latency: Median seconds of a response.
            sigma: Standard deviation of the logarithm of the latency; with 0.0 every
                response takes `latency`.
            limit: Calls that the server accepts at a time; defaults to no limit.
            control: The controller; defaults to a new one.
        """
        self.control = control or CubicController()
        self.now = 0.0
        self.limit = limit
        self.in_flight = 0
        self.completed: list[float] = []
        self.refused: list[float] = []
        self._latency, self._sigma = latency, sigma
        self._random = random.Random(SEED)
        self._events: list[tuple[float, int, float, int, bool]] = []
        self._accepted = self._sent = 0

    def run(self, until: float) -> None:
        """Advance to that time."""
        while True:
            while self.in_flight < self.control.limit:
                self._send()
            if self._events[0][0] > until:
                self.now = until
                return
            self.now, _, sent, flight, is_accepted = heapq.heappop(self._events)
            if is_accepted:
                self._accepted -= 1
                self.completed.append(self.now)
                self.control.succeeded(self.now, sent, self.in_flight)
            else:
                self.refused.append(self.now)
                self.control.refused(self.now, sent, flight)
            self.in_flight -= 1

    def _send(self) -> None:
        self.in_flight += 1
        self._sent += 1
        self.control.sent(self.now, self.in_flight)
        is_accepted = self._accepted < self.limit
        self._accepted += is_accepted
        seconds = REFUSAL_LATENCY
        if is_accepted:
            seconds = self._latency * self._random.lognormvariate(0, self._sigma)
        end = self.now + seconds
        heapq.heappush(
            self._events, (end, self._sent, self.now, self.in_flight, is_accepted)
        )

    def goodput(self, start: float, end: float) -> float:
        """Return the responses as a share of what the server could have sent."""
        completed = sum(start <= at < end for at in self.completed)
        mean = self._latency * math.exp(self._sigma**2 / 2)
        return completed / (end - start) * mean / self.limit

    def share_refused(self, start: float, end: float) -> float:
        """Return the refusals per response."""
        refused = sum(start <= at < end for at in self.refused)
        return refused / sum(start <= at < end for at in self.completed)
