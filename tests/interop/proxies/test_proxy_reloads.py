"""Calls and streams while a proxy starts new workers and ends the old ones."""

import asyncio
from typing import Final

import pytest
from attrs import evolve
from proxy_starter import (
    ABORTING,
    UNBUFFERED,
    Proxy,
    ProxyStarter,
    request_for,
)
from support import MakeClient

from openrouter_async import (
    APIConnectionError,
    AsyncOpenRouter,
)
from openrouter_async.testing import LocalOpenRouter

PROXIES: Final = {"nginx": UNBUFFERED, "haproxy": ABORTING}
IMPATIENT_PROXIES: Final = {
    "nginx": evolve(UNBUFFERED, main="worker_shutdown_timeout 50ms;"),
    "haproxy": evolve(ABORTING, main="hard-stop-after 50ms"),
}


async def reloaded(proxy: Proxy, client: AsyncOpenRouter) -> None:
    """Reload the proxy and wait until a new worker responds."""
    before = await worker(client)
    proxy.reload()
    async with asyncio.timeout(30):
        while await worker(client) == before:
            pass


async def worker(client: AsyncOpenRouter) -> str:
    """Return the worker of the proxy that forwards a call."""
    response = await client.chat.send(request_for("who?"))
    return response.http.headers["X-Worker"]


@pytest.mark.parametrize("program", PROXIES)
async def test_stream_continues_after_a_reload_of_the_proxy(
    server: LocalOpenRouter,
    start_proxy: ProxyStarter,
    make_client: MakeClient,
    program: str,
) -> None:
    """The old worker forwards the stream, and a new one takes the next calls."""
    sent = [f"{n} " for n in range(12)]
    server.reply(sent, when="count", chunk_delay=0.03)
    proxy = start_proxy(PROXIES[program])
    client = make_client(base_url=proxy.url)

    async with client.chat.send(request_for("count"), stream=True) as stream:
        first = await anext(aiter(stream))
        await reloaded(proxy, client)
        assert stream.partial is not None
        so_far = stream.partial.text
        response = await stream.collect()

    assert first.text == sent[0]
    assert len(so_far) < len(response.text)
    assert response.text == "".join(sent)
    assert len(server.requests) == len({seen.generation_id for seen in server.requests})


@pytest.mark.parametrize("program", IMPATIENT_PROXIES)
async def test_stream_that_a_reload_cuts_off_is_an_error(
    server: LocalOpenRouter,
    start_proxy: ProxyStarter,
    make_client: MakeClient,
    program: str,
) -> None:
    server.reply(["one ", "two"], when="count", stop="silence", stop_after=1)
    proxy = start_proxy(IMPATIENT_PROXIES[program])
    client = make_client(base_url=proxy.url)

    async with client.chat.send(request_for("count"), stream=True) as stream:
        await anext(aiter(stream))
        await reloaded(proxy, client)
        with pytest.raises(APIConnectionError) as caught:
            await stream.collect()

    assert caught.value.partial is not None
    assert caught.value.partial.text == "one "
    assert [seen.prompt for seen in server.requests].count("count") == 1


@pytest.mark.parametrize("program", PROXIES)
async def test_no_call_fails_during_reloads_of_the_proxy(
    server: LocalOpenRouter,
    start_proxy: ProxyStarter,
    make_client: MakeClient,
    program: str,
) -> None:
    """A reload closes connections in the pool."""
    proxy = start_proxy(PROXIES[program])
    client = make_client(base_url=proxy.url)
    is_over = asyncio.Event()
    workers: set[str] = set()
    calls = 0

    async def send_repeatedly() -> None:
        nonlocal calls
        while not is_over.is_set():
            workers.add(await worker(client))
            calls += 1

    async with asyncio.TaskGroup() as group:
        for _ in range(5):
            group.create_task(send_repeatedly())
        for _ in range(3):
            await asyncio.sleep(0.05)
            await reloaded(proxy, client)
        is_over.set()

    assert len(workers) >= 4
    assert calls > 20
    assert client.stats.in_use == 0


@pytest.mark.parametrize("program", PROXIES)
async def test_no_call_fails_after_a_reload_closed_the_pool(
    server: LocalOpenRouter,
    start_proxy: ProxyStarter,
    make_client: MakeClient,
    program: str,
) -> None:
    proxy = start_proxy(PROXIES[program])
    client = make_client(base_url=proxy.url)
    for _ in range(3):
        await asyncio.gather(*(worker(client) for _ in range(10)))
        await reloaded(proxy, client)

    assert client.stats.in_use == 0
    assert len(server.requests) >= 30
