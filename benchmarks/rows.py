"""
Rows of a batch: `python -m benchmarks rows`.

CPU time per row of `send_many`, without and with a journal, compared with a worker pool
written by hand, which has no budget, retries, results or journal. The server responds
at once with 1 KiB. It does not measure TLS or adaptive concurrency;
`python -m benchmarks.fanout` measures the behaviour of `send_many` under load.
"""

# ruff: noqa: D102 - the methods are described in the base class

import asyncio
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from benchmarks import inputs
from benchmarks.case import RATIO, Case, Job, Mark, Sample, Stopwatch
from benchmarks.contender import API_KEY, HANDWRITTEN, OURS, OURS_JOURNAL
from benchmarks.settings import EQUAL_MALLOC

ROWS = 5000
IN_FLIGHT = 128


class Rows(Case):
    """A batch of 5,000 rows, 128 in flight; each run opens its own connections."""

    name = "rows"
    work = "5,000 rows, 128 in flight; hand-written: a worker pool without a journal"
    figure = "us of CPU per row"
    marks = (
        Mark(RATIO, 1.0, setting=EQUAL_MALLOC),
        Mark(RATIO, 1.35, contender=OURS_JOURNAL, setting=EQUAL_MALLOC),
    )
    contenders = (HANDWRITTEN, OURS, OURS_JOURNAL)

    def __init__(self, contender: str, job: Job) -> None:
        super().__init__(contender, job)
        self._rows = job.some(ROWS, 1)

    async def warm_up(self) -> None:
        await self._run(IN_FLIGHT)

    async def measure(self) -> Sample:
        watch = await self._run(self._rows)
        return Sample(watch.cpu / self._rows * 1e6, watch.wall, self._rows)

    async def _run(self, rows: int) -> Stopwatch:
        url = self.job.url("completion")
        with tempfile.TemporaryDirectory() as folder:
            work = run_handwritten if self.contender == HANDWRITTEN else run_send_many
            if self.contender == OURS_JOURNAL:
                work = partial(run_send_many, journal=Path(folder) / "journal.jsonl")
            watch = Stopwatch().start()
            characters = await work(url, rows, IN_FLIGHT)
            watch.stop()
        assert characters == rows * len(inputs.completion_text())
        return watch


async def run_handwritten(url: str, rows: int, in_flight: int) -> int:
    """Send rows with a hand-written worker pool; return the length of the texts."""
    left = iter(range(rows))
    headers = {"Authorization": f"Bearer {API_KEY}", "Content-Type": "application/json"}
    connector = aiohttp.TCPConnector(limit=in_flight)
    characters = 0

    async def work(session: aiohttp.ClientSession) -> None:
        nonlocal characters
        for _ in left:
            body = orjson.dumps(
                {
                    "model": inputs.MODEL,
                    "messages": [{"role": "user", "content": inputs.QUESTION}],
                }
            )
            async with session.post(
                f"{url}/chat/completions", data=body, headers=headers
            ) as response:
                assert response.status == 200
                completion = orjson.loads(await response.read())
            characters += len(completion["choices"][0]["message"]["content"])
            assert completion["usage"]["cost"] >= 0

    async with aiohttp.ClientSession(connector=connector) as session:
        await asyncio.gather(*(work(session) for _ in range(in_flight)))
    return characters


async def run_send_many(url: str, rows: int, in_flight: int, **options: Any) -> int:
    """Send rows with `send_many`; return the length of the texts."""
    from openrouter_async import AsyncOpenRouter  # noqa: PLC0415 - only for OURS

    characters = 0
    async with AsyncOpenRouter(API_KEY, base_url=url) as client:
        prompts = (inputs.QUESTION for _ in range(rows))
        async with client.chat.send_many(
            prompts, concurrency=in_flight, model=inputs.MODEL, **options
        ) as run:
            async for result in run:
                characters += len(result.text)
        assert run.stats.ok == rows
    return characters
