import asyncio
import socket
import ssl
import threading
import time

import aiohttp
import aiohttp.web
import pytest
import trustme
from raw_client import HELLO, STREAM, address, raw_request

from openrouter_async.testing import (
    LocalOpenRouter,
    SeenRequest,
)


async def test_only_the_latest_requests_are_kept() -> None:
    """A server that runs for long does not grow; it counts on."""
    async with (
        LocalOpenRouter(keep=2, generation_lag=0) as server,
        aiohttp.ClientSession(headers={"Authorization": "Bearer k"}) as http,
    ):
        found: list[str] = []
        for number in range(5):
            url = f"{server.url}/chat/completions"
            async with http.post(url, json={**HELLO, "seed": number}) as response:
                found.append((await response.json())["id"])
        async with http.get(f"{server.url}/generation?id={found[0]}") as response:
            assert response.status == 404

        assert server.stats.requests == 6
        assert [seen.path[-1] for seen in server.requests] == ["s", "n"]


def test_a_thread_serves_any_test() -> None:
    """Plain `with` serves blocking clients, and clients on any loop."""

    async def call(server: LocalOpenRouter) -> int:
        headers = {"Authorization": "Bearer k"}
        async with aiohttp.ClientSession(headers=headers) as http:
            url = f"{server.url}/chat/completions"
            async with http.post(url, json=STREAM) as response:
                await server.until(chunks=3)
                await response.read()
                return response.status

    with LocalOpenRouter() as server:
        with socket.create_connection(address(server)) as sock:
            sock.sendall(raw_request(server))
            server.wait(requests=1)
            assert b"200 OK" in sock.recv(65536)
        server.wait(connections=0)
        assert [asyncio.run(call(server)) for _ in range(2)] == [200, 200]
        with pytest.raises(TimeoutError, match="chunks >= 99999"):
            server.wait(chunks=99999, timeout=0.01)

    assert not [t for t in threading.enumerate() if t.name == "LocalOpenRouter"]


def test_leaving_is_quick_with_silent_streams_open() -> None:
    """Connections are cut, not waited for, and that is no early close."""
    server = LocalOpenRouter()
    server.reply(stop="silence", stop_after=1, times=None)
    with server:
        socks = [socket.create_connection(address(server)) for _ in range(20)]
        for sock in socks:
            sock.sendall(raw_request(server))
        server.wait(requests=20)
        start = time.monotonic()

    assert time.monotonic() - start < 0.1
    assert server.stats.connections_open == server.stats.in_flight == 0
    assert server.stats.closed_early == 0
    for sock in socks:
        sock.close()


async def test_no_task_is_left() -> None:
    """After `async with`, only the caller's task runs, idle connections or not."""
    async with LocalOpenRouter() as server:
        server.reply(stop="silence").then("x")
        _reader, idle = await asyncio.open_connection(*address(server))
        _reader, busy = await asyncio.open_connection(*address(server))
        busy.write(raw_request(server))
        await server.until(requests=1)
        start = time.monotonic()

    assert time.monotonic() - start < 0.1
    for writer in (idle, busy):
        writer.transport.abort()
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_handler_that_lingers_is_waited_for() -> None:
    """A script's own function ends before the server does."""
    ended: list[str] = []

    async def linger(_seen: SeenRequest) -> str:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.02)
            ended.append("linger")
        return ""

    async with LocalOpenRouter() as server:
        server.reply(linger)
        _reader, writer = await asyncio.open_connection(*address(server))
        writer.write(raw_request(server))
        await server.until(requests=1)

    assert ended == ["linger"]
    writer.transport.abort()


async def test_it_serves_once() -> None:
    """A server that was left is not entered again."""
    server = LocalOpenRouter()
    with pytest.raises(RuntimeError, match="not running"):
        _ = server.url
    async with server:
        assert server.url.endswith("/api/v1")

    with pytest.raises(RuntimeError, match="once"):
        await server.__aenter__()
    with pytest.raises(RuntimeError, match="once"), server:
        pass


def test_a_taken_port_is_told() -> None:
    """Both ways of entering raise the system's own error."""
    with LocalOpenRouter() as server:
        port = address(server)[1]
        with pytest.raises(OSError, match="address"), LocalOpenRouter(port=port):
            pass


async def test_it_may_speak_tls() -> None:
    """With an `SSLContext` it serves HTTPS; faults work there too."""
    authority = trustme.CA()
    offer = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(offer)  # pyright: ignore[reportUnknownMemberType] - speaks of PyOpenSSL, too
    trust = ssl.create_default_context()
    authority.configure_trust(trust)  # pyright: ignore[reportUnknownMemberType] - likewise
    headers = {"Authorization": "Bearer k"}
    async with LocalOpenRouter(ssl=offer) as server:
        connector = aiohttp.TCPConnector(ssl=trust)
        async with aiohttp.ClientSession(connector=connector, headers=headers) as http:
            url = f"{server.url}/chat/completions"
            server.reply("safe").then(stop="reset")
            async with http.post(url, json=HELLO) as response:
                assert b"safe" in await response.read()
            with pytest.raises(aiohttp.ClientError):
                await http.post(url, json=HELLO)

        assert url.startswith("https://")


async def test_it_listens_on_ipv6() -> None:
    """The URL brackets the address."""
    try:
        async with LocalOpenRouter(host="::1") as server:
            assert server.url.startswith("http://[::1]:")
    except OSError:
        pytest.skip("this machine has no IPv6")


@pytest.mark.parametrize("cancels", [True, False])
async def test_the_application_runs_elsewhere(cancels: object) -> None:
    """Served by any runner of aiohttp's, it notices who goes away, soon or late."""
    server = LocalOpenRouter(chunk_delay=0.005)
    runner = aiohttp.web.AppRunner(server.app, handler_cancellation=cancels)
    await runner.setup()
    site = aiohttp.web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/api/v1/chat/completions"
    async with aiohttp.ClientSession(headers={"Authorization": "Bearer k"}) as http:
        async with http.post(url, json=HELLO) as response:
            assert response.status == 200
        async with http.post(url, json=STREAM):
            await server.until(chunks=1)
        await server.until(closed=1)
    await runner.cleanup()

    assert [seen.connection for seen in server.requests] == [0, 0]
    assert [seen.closed_early for seen in server.requests] == [False, True]
