"""
The measurements of limits and cooldowns: `python -m benchmarks.limits [NAME ...]`.

Plain calls and streams of one client against a server that refuses some of them. The
server is a separate process, on its own core if there are two. Each line has a figure
and its mark. All take about five minutes; `--quick` makes fewer calls. They do not
measure the behaviour of real providers under load.
"""

import argparse
import asyncio
import itertools
import os
import statistics
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from benchmarks.fanout import (
    CLIENT_CORE,
    KEY,
    MODEL,
    QUESTION,
    ServerProcess,
    server_process,
    show,
)
from openrouter_async import (
    AsyncOpenRouter,
    OpenRouterError,
    Timeouts,
)

LATENCY = 0.2


def mark(text: str, value: float, most: float, unit: str = "") -> None:
    """Print a figure, and if it is at most its mark."""
    result = "met" if value <= most else "MISSED"
    show(f"{text}: {value:.3g}{unit} (at most {most:g}{unit}): {result}")


def at_least(text: str, value: float, least: float, unit: str = "") -> None:
    """Print a figure, and if it is at least its mark."""
    result = "met" if value >= least else "MISSED"
    show(f"{text}: {value:.3g}{unit} (at least {least:g}{unit}): {result}")


async def plain(client: AsyncOpenRouter, model: str = MODEL) -> None:
    """Make a plain call."""
    response = await client.chat.send(
        model=model, messages=[{"role": "user", "content": QUESTION}]
    )
    assert response.text


async def stream(client: AsyncOpenRouter, model: str = MODEL) -> None:
    """Open a stream and read it."""
    messages = [{"role": "user", "content": QUESTION}]
    async with client.chat.send(model=model, messages=messages, stream=True) as opened:
        await opened.collect()


def failures(results: Iterable[object]) -> list[BaseException]:
    """Return the exceptions among the results of `gather`."""
    return [result for result in results if isinstance(result, BaseException)]


async def timed(work: Awaitable[Any]) -> tuple[float, Any]:
    """Return the seconds that an awaitable takes, and its result or exception."""
    started = time.perf_counter()
    try:
        value = await work
    except OpenRouterError as error:
        value = error
    return time.perf_counter() - started, value


# --- gather ------------------------------------------------------------------------


def gather(*, quick: bool) -> None:
    """600 calls at once against a hidden limit of 20, with "auto"."""
    count = 200 if quick else 600
    ideal = count / 20 * LATENCY
    kinds: dict[str, Callable[..., Awaitable[None]]] = {
        "plain": plain,
        "streams": stream,
    }
    for name, call in kinds.items():
        for retry_after, most in ((0.0, 1.35), (1.0, 2.2)):
            setting = {"latency": LATENCY, "limit": 20, "retry_after": retry_after}
            with server_process(**setting) as server:
                seconds, results = asyncio.run(_gather(server, call, count))
                refused = server.stats()["refused"]
            what = f"gather, {count} {name}" + (
                ", Retry-After: 1" if retry_after else ""
            )
            mark(f"{what}: failures", len(failures(results)), 0)
            mark(f"{what}: time", seconds / ideal, most, " x ideal")
            if not retry_after:
                mark(f"{what}: refused", 100 * refused / count, 5, " %")


async def _gather(
    server: ServerProcess, call: Callable[..., Awaitable[None]], count: int
) -> tuple[float, list[object]]:
    async with AsyncOpenRouter(KEY, base_url=server.url, concurrency="auto") as client:
        seconds, results = await timed(
            asyncio.gather(
                *(call(client) for _ in range(count)), return_exceptions=True
            )
        )
    return seconds, results


def models(*, quick: bool) -> None:
    """Three models with different limits at once: each like alone."""
    counts = {"limit-10": 200, "limit-20": 400, "limit-40": 800}
    if quick:
        counts = {model: count // 4 for model, count in counts.items()}

    async def one(client: AsyncOpenRouter, model: str) -> tuple[float, int]:
        seconds, results = await timed(
            asyncio.gather(
                *(plain(client, model) for _ in range(counts[model])),
                return_exceptions=True,
            )
        )
        return seconds, len(failures(results))

    async def main(server: ServerProcess, names: list[str]) -> list[tuple[float, int]]:
        async with AsyncOpenRouter(
            KEY, base_url=server.url, concurrency="auto"
        ) as client:
            return await asyncio.gather(*(one(client, name) for name in names))

    alone: dict[str, float] = {}
    for model in counts:
        with server_process(latency=LATENCY) as server:
            ((alone[model], _),) = asyncio.run(main(server, [model]))
    with server_process(latency=LATENCY) as server:
        together = asyncio.run(main(server, [*counts]))
    for model, (seconds, failed) in zip(counts, together, strict=True):
        mark(f"models, {model}: failures", failed, 0)
        mark(f"models, {model}: time", seconds / alone[model], 1.35, " x alone")


def moving(*, quick: bool) -> None:
    """A hidden limit that moves 20 -> 80 -> 10 under calls of 400 tasks."""
    span = 14.0 if quick else 25.0
    steps = ((20, 0.0), (80, 8.0), (10, 3.0))

    async def main(server: ServerProcess) -> list[tuple[float, int]]:
        samples: list[tuple[float, int]] = []
        async with AsyncOpenRouter(
            KEY, base_url=server.url, concurrency="auto"
        ) as client:
            started = time.perf_counter()

            async def work() -> None:
                while time.perf_counter() - started < 3 * span:
                    await plain(client)

            tasks = [asyncio.create_task(work()) for _ in range(400)]
            for number, (limit, _) in enumerate(steps):
                await asyncio.to_thread(server.set, limit=limit)
                while (at := time.perf_counter() - started) < (number + 1) * span:
                    stats = await asyncio.to_thread(server.stats)
                    samples.append((at, stats["completed"]))
                    await asyncio.sleep(0.1)
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            assert all(isinstance(r, asyncio.CancelledError | None) for r in results)
        return samples

    with server_process(latency=LATENCY, limit=20) as server:
        samples = asyncio.run(main(server))
    for number, (limit, settled) in enumerate(steps):
        if not settled:
            continue
        begin, end = number * span + settled, (number + 1) * span
        kept = [sample for sample in samples if begin <= sample[0] < end]
        rate = (kept[-1][1] - kept[0][1]) / (kept[-1][0] - kept[0][0])
        least = 85 if limit == 80 else 90
        at_least(
            f"moving, limit {limit}, from {settled:g} s on: goodput",
            100 * rate * LATENCY / limit,
            least,
            " %",
        )


# --- a backend ---------------------------------------------------------------------


def backend(*, quick: bool) -> None:
    """200 requests a second for 20 s, everything refused for 5 s in the middle."""
    rate = 100 if quick else 200
    for name, options in (
        ("default", {}),
        ("pool=0.5", {"timeouts": Timeouts(pool=0.5)}),
        ("auto", {"concurrency": "auto"}),
    ):
        with server_process(latency=LATENCY, arrivals=1) as server:
            calls, _begin, end = asyncio.run(_backend(server, rate, options))
            stats = server.stats()
        errors = [(seconds, error) for _, seconds, error in calls if error is not None]
        if name == "pool=0.5":
            kinds = {type(error).__name__ for _, error in errors}
            assert kinds <= {"RateLimitError"}, kinds
            slowest = max(seconds for seconds, _ in errors)
            mark(f"backend, {name}: until the refusal", slowest, 0.6, " s")
            continue
        mark(f"backend, {name}: failures", len(errors), 0)
        arrivals, refusals = stats["arrivals"], stats["refusals"]
        if name == "auto":
            # From the end of the outage on, on the clock of the server.
            ends = [started + seconds for started, seconds, _ in calls]
            back = min(
                (
                    second
                    for second in range(12)
                    if sum(end + second <= at < end + second + 1 for at in ends)
                    >= 0.9 * rate
                ),
                default=99,
            )
            mark("backend, auto: 90 % of the rate is back after", back, 10, " s")
            continue
        early = [
            at
            for at in arrivals
            if any(refused + 0.05 < at < refused + 1.99 for refused in refusals)
        ]
        mark(f"backend, {name}: arrivals in cooldowns", len(early), 0)
        first = refusals[0]
        probes = [at for at in refusals if at > first + 1.0]
        close = [b - a for a, b in itertools.pairwise(probes) if b - a < 1.9]
        mark(f"backend, {name}: second probes after a cooldown", len(close), 0)
        probe = min(at for at in arrivals if at > refusals[-1] + 1.0)
        for seconds, least in ((1.0, 0.95 * rate),):
            count = sum(
                probe + seconds <= at < probe + seconds + 1.0 for at in arrivals
            )
            at_least(f"backend, {name}: starts in the 2nd second", count, least)
        # Time of the server minus time of the client.
        offset = arrivals[0] - calls[0][0]
        late = [
            seconds for started, seconds, _ in calls if started + offset > probe + 3.0
        ]
        mark(
            f"backend, {name}: slowest call 3 s later", max(late), LATENCY + 0.15, " s"
        )


async def _backend(
    server: ServerProcess, rate: int, options: dict[str, Any]
) -> tuple[list[tuple[float, float, object]], float, float]:
    """Return start, seconds and error of each call, and the times of the outage."""
    calls: list[tuple[float, float, object]] = []
    async with AsyncOpenRouter(KEY, base_url=server.url, **options) as client:
        await plain(client)
        began = time.perf_counter()
        outage = (began + 7.5, began + 12.5)

        async def one() -> None:
            started = time.perf_counter()
            seconds, error = await timed(plain(client))
            calls.append((started, seconds, error))

        async def switch() -> None:
            await asyncio.sleep(7.5)
            await asyncio.to_thread(server.set, refuse_all=1, retry_after=2)
            await asyncio.sleep(5.0 - (time.perf_counter() - outage[0]))
            await asyncio.to_thread(server.set, refuse_all=0)

        switching = asyncio.create_task(switch())
        tasks: list[asyncio.Task[None]] = []
        for number in range(25 * rate):
            await asyncio.sleep(max(0.0, began + number / rate - time.perf_counter()))
            tasks.append(asyncio.create_task(one()))
        await switching
        await asyncio.gather(*tasks)
    calls.sort(key=lambda call: call[0])
    return calls, *outage


def users(*, quick: bool) -> None:
    """50 streams, one after the other; with 3 open, one is refused for 5 s."""
    count = 20 if quick else 50
    for silent_at, most in ((0, 6.0), (5, 7.0)):
        setting = {"latency": 20.0, "refuse_once_at": 4, "silent_at": silent_at}
        with server_process(retry_after=5.0, **setting) as server:
            waits = asyncio.run(_users(server, count))
            broken = server.stats()["broken_streams"]
        if silent_at:
            # The probe itself waits for its headers.
            waits.remove(max(waits))
        name = "users" + (", a silent probe" if silent_at else "")
        mark(f"{name}: longest wait for a stream", max(waits), most, " s")
        mark(f"{name}: streams that broke", broken, 0)


async def _users(server: ServerProcess, count: int) -> list[float]:
    async with AsyncOpenRouter(KEY, base_url=server.url) as client:

        async def user() -> float:
            started = time.perf_counter()
            messages = [{"role": "user", "content": QUESTION}]
            async with client.chat.send(
                model=MODEL, messages=messages, stream=True
            ) as opened:
                waited = time.perf_counter() - started
                await opened.collect()
            return waited

        tasks: list[asyncio.Task[float]] = []
        for _ in range(count):
            tasks.append(asyncio.create_task(user()))
            await asyncio.sleep(0.1)
        return list(await asyncio.gather(*tasks))


# --- beside a run --------------------------------------------------------------------


def beside(*, quick: bool) -> None:
    """Plain calls beside a run: p95 beside a wide run, failures beside a full one."""
    count = 100 if quick else 300
    with server_process(latency=LATENCY) as server:
        alone = asyncio.run(_beside(server, count, None))
    with server_process(latency=LATENCY) as server:
        with_run = asyncio.run(_beside(server, count, 200))
    p95 = [
        statistics.quantiles([seconds for seconds, _ in calls], n=20)[-1]
        for calls in (alone, with_run)
    ]
    mark("beside, run of 200 in flight: p95", p95[1] / p95[0], 1.5, " x alone")
    count = 400 if quick else 2000
    with server_process(latency=LATENCY, limit=64) as server:
        calls = asyncio.run(_beside(server, count, "auto"))
    failed = sum(isinstance(result, OpenRouterError) for _, result in calls)
    mark("beside, adaptive run: failures", 1000 * failed / count, 1, " of 1,000")


async def _beside(
    server: ServerProcess, count: int, concurrency: Any
) -> list[tuple[float, object]]:
    async with AsyncOpenRouter(KEY, base_url=server.url) as client:
        run = client.chat.send_many(
            (QUESTION for _ in range(10**9)), concurrency=concurrency or 1, model=MODEL
        )

        async def read() -> None:
            async with run:
                async for result in run:
                    assert result.ok, result.error

        reading = asyncio.create_task(read()) if concurrency else None
        await asyncio.sleep(3.0)
        tasks: list[asyncio.Task[tuple[float, object]]] = []
        for _ in range(count):
            tasks.append(asyncio.create_task(timed(plain(client))))
            await asyncio.sleep(0.01 if concurrency == "auto" else 0.03)
        calls = list(await asyncio.gather(*tasks))
        if reading is not None:
            await run.stop(drain=False)
            await reading
    return calls


def always(*, quick: bool) -> None:
    """A server that refuses everything: `RateLimitError` in time, in every mode."""
    del quick
    for retry_after in (0.0, 1.0):
        with server_process(refuse_all=1, retry_after=retry_after) as server:
            for mode in (None, 4, "auto"):
                for count, most in ((1, 2.2), (100, 4.0)):
                    times = asyncio.run(_always(server, mode, count))
                    name = f"always, {mode}, {count} calls"
                    if retry_after:
                        name += ", Retry-After: 1"
                    mark(f"{name}: slowest", max(times), most, " s")


async def _always(server: ServerProcess, mode: Any, count: int) -> list[float]:
    async with AsyncOpenRouter(
        KEY, base_url=server.url, concurrency=mode, timeouts=Timeouts(total=2)
    ) as client:
        calls = await asyncio.gather(*(timed(plain(client)) for _ in range(count)))
    names = {type(result).__name__ for _, result in calls}
    assert names == {"RateLimitError"}, names
    return [seconds for seconds, _ in calls]


MEASUREMENTS: dict[str, Callable[..., None]] = {
    "gather": gather,
    "models": models,
    "moving": moving,
    "backend": backend,
    "users": users,
    "beside": beside,
    "always": always,
}


def main() -> None:
    """Run the measurements that were asked for, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=", ".join(MEASUREMENTS)
    )
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    if CLIENT_CORE is not None:
        os.sched_setaffinity(0, {CLIENT_CORE})
    for name in args.names or MEASUREMENTS:
        MEASUREMENTS[name](quick=args.quick)


if __name__ == "__main__":
    main()
