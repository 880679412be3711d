"""Many calls, at the same time and in sequence: none fails, nothing leaks."""

import asyncio
import gc
import os
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from calls import call, make_client, open_stream
from leaks import assert_at_rest, descriptors, no_leaks
from script import (
    Peer,
    ScriptServer,
    chunk,
    close,
    http,
    read,
    reset,
    send,
    silence,
    sse,
)

from openrouter_async import (
    AsyncOpenRouter,
    ClosedError,
    OpenRouterError,
    Timeouts,
)

MIB: Final = 1024 * 1024


def resident_bytes() -> int:
    """Return the resident memory of the process in bytes; 0 if unknown."""
    with suppress(OSError):
        pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")
    return 0


async def test_thousands_of_calls_share_a_hundred_connections(*, long: bool) -> None:
    count = 5000 if long else 2000
    async with (
        no_leaks(),
        ScriptServer() as server,
        make_client(server, max_connections=100, timeouts=Timeouts()) as client,
    ):
        kinds = ("plain", "stream")
        tasks = [asyncio.create_task(call(client, kinds[n % 2])) for n in range(count)]
        await asyncio.sleep(0)
        assert client.stats.in_use <= 100
        responses = await asyncio.gather(*tasks)

        assert {response.text for response in responses} == {"hello"}
        assert server.most <= 100
        assert server.connections <= 100
        assert len(server.requests) == count
        assert_at_rest(client)


async def test_failing_server_keeps_no_slots(*, long: bool) -> None:
    async def close_or_reset(peer: Peer) -> None:
        await read(peer)
        await (close, reset)[peer.server.connections % 2](peer)

    count = 1000 if long else 200
    async with (
        no_leaks(),
        ScriptServer(default=close_or_reset) as failing_server,
        ScriptServer() as server,
        make_client(server, max_connections=10, timeouts=Timeouts()) as client,
    ):
        other = client.with_options(base_url=failing_server.url, api_key="sk-x")
        done = await asyncio.gather(
            *(call((client, other)[n % 2]) for n in range(count)),
            return_exceptions=True,
        )

        failed = [d for d in done if isinstance(d, OpenRouterError)]
        assert len(failed) == count // 2
        assert len(server.requests) == count // 2
        assert_at_rest(client)


async def ok(client: AsyncOpenRouter) -> None:
    """Make a plain call."""
    await call(client)


async def ok_stream(client: AsyncOpenRouter) -> None:
    """Read a stream."""
    await call(client, "stream")


async def refused(client: AsyncOpenRouter) -> None:
    """Get an error status."""
    await call(client, extra_headers={"X-Fault": "status"})


async def cut_off(client: AsyncOpenRouter) -> None:
    """Get a body that breaks off."""
    await call(client, "stream", extra_headers={"X-Fault": "cut"})


async def too_late(client: AsyncOpenRouter) -> None:
    """Let a timeout expire."""
    await call(client, timeouts=0.001, extra_headers={"X-Fault": "silence"})


async def cancelled(client: AsyncOpenRouter) -> None:
    """Let a deadline of the caller expire."""
    async with asyncio.timeout(0.002):
        await call(client, "stream", extra_headers={"X-Fault": "stall"})


async def left_early(client: AsyncOpenRouter) -> None:
    """Leave a stream early."""
    headers = {"X-Fault": "stall"}
    async with open_stream(client, extra_headers=headers) as stream:
        await anext(stream)


async def any_fault(peer: Peer) -> None:
    """Serve requests with the fault that they name."""
    while True:
        await read(peer)
        if b"X-Fault: status" in peer.head:
            await send(http(b'{"error":{"code":400}}', "400 No"))(peer)
        elif b"X-Fault: cut" in peer.head:
            await send(sse(chunk("hel"))[:-5])(peer)
            await close(peer)
            return
        elif b"X-Fault: silence" in peer.head:
            await silence(peer)
            return
        elif b"X-Fault: stall" in peer.head:
            await send(sse(chunk("hel"))[:-5])(peer)
            await silence(peer)
            return
        else:
            await send(sse() if b'"stream":true' in peer.body else http())(peer)


Scenario = Callable[[AsyncOpenRouter], Coroutine[Any, Any, None]]
SCENARIOS: Final[Sequence[Scenario]] = (
    ok,
    ok_stream,
    refused,
    cut_off,
    too_late,
    cancelled,
    left_early,
)


async def test_long_run_leaves_no_files_tasks_or_memory(*, long: bool) -> None:
    rounds = 720 if long else 150
    async with (
        no_leaks(),
        ScriptServer(default=any_fault) as server,
        make_client(server, timeouts=Timeouts()) as client,
    ):
        await _run_scenarios(client, server, 30)
        files, tasks, memory = await _held_resources()
        await _run_scenarios(client, server, rounds)
        later = await _held_resources()

        assert later[0] <= files + 4
        assert later[1] <= tasks + 2
        assert later[2] - memory < 6 * MIB
        assert_at_rest(client)


async def _run_scenarios(
    client: AsyncOpenRouter, server: ScriptServer, rounds: int
) -> None:
    for _ in range(rounds):
        calls = (scenario(client) for scenario in SCENARIOS)
        done = await asyncio.gather(*calls, return_exceptions=True)
        names = [type(error).__name__ if error else "" for error in done]
        assert names == [
            "",
            "",
            "BadRequestError",
            "APIConnectionError",
            "APITimeoutError",
            "TimeoutError",
            "",
        ]
        server.requests.clear()
        server.bodies.clear()


async def _held_resources() -> tuple[int, int, int]:
    gc.collect()
    await asyncio.sleep(0.05)
    return descriptors(), len(asyncio.all_tasks()), resident_bytes()


async def test_closing_ends_hundreds_of_calls_at_once() -> None:
    async def mute(peer: Peer) -> None:
        await read(peer)
        await silence(peer)

    async with no_leaks(), ScriptServer(default=mute) as server:
        client = make_client(server, max_connections=50, timeouts=Timeouts())
        kinds = ("plain", "stream")
        tasks = [asyncio.create_task(call(client, kinds[n % 2])) for n in range(300)]
        await server.wait_for_request()
        assert client.stats.queued == 250

        async with asyncio.timeout(1):
            await client.aclose()
            done = await asyncio.gather(*tasks, return_exceptions=True)

        assert {type(error) for error in done} == {ClosedError}
        assert_at_rest(client)
