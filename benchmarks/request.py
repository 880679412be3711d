"""
Requests: `python -m benchmarks request`.

Builds a request of 50 messages with parts, tools and routing in a contender's own
shapes and encodes it to JSON, without a connection: 22 KB. openai has no shapes of its
own (it takes dicts and walks them); that it and the official SDK are asked through
internals leaves out what their clients do around it.
"""

# ruff: noqa: D102 -- the base class says it

import json

from benchmarks.case import RATIO, Case, Job, Mark, Sample, Stopwatch
from benchmarks.contender import LIBRARIES
from benchmarks.handwritten import Hand

REQUESTS = 2000


class Request(Case):
    """Build and encode a request of 50 messages."""

    name = "request"
    work = "a request of 50 messages with parts, tools, routing: built and encoded"
    figure = "us of CPU per request"
    marks = (Mark(RATIO, 4.0, aim=3.0),)
    contenders = LIBRARIES

    def __init__(self, contender: str, job: Job) -> None:
        super().__init__(contender, job)
        kind = self.kind()
        self._encode = kind.encoder()
        self._requests = job.some(REQUESTS, 4 * kind.heft if kind.heft > 1 else 1)

    async def warm_up(self) -> None:
        # All say the same; only the order of keys may differ.
        assert json.loads(self._encode()) == json.loads(Hand.encoder()())
        for _ in range(10):
            self._encode()

    async def measure(self) -> Sample:
        encode = self._encode
        watch = Stopwatch().start()
        for _ in range(self._requests):
            encode()
        watch.stop()
        return Sample(watch.cpu / self._requests * 1e6, watch.wall, self._requests)
