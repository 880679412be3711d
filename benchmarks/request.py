"""
Requests: `python -m benchmarks request`.

Builds a request of 50 messages with parts, tools and routing from a contender's own
classes, and encodes it to 22 KB of JSON, without a connection. openai has no classes
for requests; it transforms dicts. openai and the official SDK are called through
private functions, without the work that their clients do around these.
"""

# ruff: noqa: D102 - the methods are described in the base class

import json

from benchmarks.case import RATIO, Case, Job, Mark, Sample, Stopwatch
from benchmarks.contender import OFFICIAL, OPENAI
from benchmarks.handwritten import Handwritten
from benchmarks.settings import AS_INSTALLED

REQUESTS = 2000


class Request(Case):
    """Building and encoding a request of 50 messages."""

    name = "request"
    work = "build and encode a request of 50 messages with parts, tools, routing"
    figure = "us of CPU per request"
    marks = (Mark(RATIO, 4.0),)
    peers = (OPENAI, OFFICIAL)
    settings = (AS_INSTALLED,)

    def __init__(self, contender: str, job: Job) -> None:
        super().__init__(contender, job)
        kind = self.kind()
        self._encode = kind.encoder()
        self._requests = job.some(REQUESTS, 4 * kind.divisor if kind.divisor > 1 else 1)

    async def warm_up(self) -> None:
        # All contenders build the same request; only the order of keys may differ.
        assert json.loads(self._encode()) == json.loads(Handwritten.encoder()())
        for _ in range(10):
            self._encode()

    async def measure(self) -> Sample:
        encode = self._encode
        watch = Stopwatch().start()
        for _ in range(self._requests):
            encode()
        watch.stop()
        return Sample(watch.cpu / self._requests * 1e6, watch.wall, self._requests)
