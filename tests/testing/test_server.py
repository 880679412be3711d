import asyncio
import socket
import ssl
import threading
import time
from typing import Any

import aiohttp
import aiohttp.web
import pytest
import trustme
from raw_client import BODY, STREAM_BODY, address, raw_request

from openrouter_async.testing import LocalOpenRouter, SeenRequest


async def test_keep_limits_the_requests_and_generations() -> None:
    async with (
        LocalOpenRouter(keep=2, generation_lag=0) as server,
        aiohttp.ClientSession(headers={"Authorization": "Bearer k"}) as http,
    ):
        ids: list[str] = []
        for number in range(5):
            url = f"{server.url}/chat/completions"
            async with http.post(url, json={**BODY, "seed": number}) as response:
                ids.append((await response.json())["id"])
        async with http.get(f"{server.url}/generation?id={ids[0]}") as response:
            assert response.status == 404

        assert server.stats.requests == 6
        assert [seen.method for seen in server.requests] == ["POST", "GET"]


def test_server_on_a_thread_serves_sockets_and_any_loop() -> None:
    async def call(server: LocalOpenRouter) -> int:
        headers = {"Authorization": "Bearer k"}
        async with aiohttp.ClientSession(headers=headers) as http:
            url = f"{server.url}/chat/completions"
            async with http.post(url, json=STREAM_BODY) as response:
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


def test_exit_aborts_silent_streams_at_once() -> None:
    """They do not count as closed by the client."""
    server = LocalOpenRouter()
    server.reply(stop="silence", stop_after=1, times=None)
    with server:
        socks = [socket.create_connection(address(server)) for _ in range(20)]
        for sock in socks:
            sock.sendall(raw_request(server))
        server.wait(requests=20)
        start = time.monotonic()

    assert time.monotonic() - start < 2
    assert server.stats.connections_open == server.stats.in_flight == 0
    assert server.stats.closed_early == 0
    for sock in socks:
        sock.close()


async def test_exit_leaves_no_task() -> None:
    async with LocalOpenRouter() as server:
        server.reply(stop="silence").then("x")
        _reader, idle = await asyncio.open_connection(*address(server))
        _reader, busy = await asyncio.open_connection(*address(server))
        busy.write(raw_request(server))
        await server.until(requests=1)
        start = time.monotonic()

    seconds = time.monotonic() - start
    for writer in (idle, busy):
        writer.transport.abort()
    assert seconds < 2
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_exit_waits_for_a_slow_reply_function() -> None:
    ended: list[str] = []

    async def slow(_seen: SeenRequest) -> str:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.02)
            ended.append("slow")
        return ""

    async with LocalOpenRouter() as server:
        server.reply(slow)
        _reader, writer = await asyncio.open_connection(*address(server))
        writer.write(raw_request(server))
        await server.until(requests=1)

    assert ended == ["slow"]
    writer.transport.abort()


async def test_server_can_be_entered_once() -> None:
    server = LocalOpenRouter()
    with pytest.raises(RuntimeError, match="not running"):
        _ = server.url
    async with server:
        assert server.url.endswith("/api/v1")

    with pytest.raises(RuntimeError, match="once"):
        await server.__aenter__()
    with pytest.raises(RuntimeError, match="once"), server:
        pass


def test_port_in_use_raises_os_error() -> None:
    with LocalOpenRouter() as server:
        port = address(server)[1]
        with pytest.raises(OSError, match="address"), LocalOpenRouter(port=port):
            pass


async def test_server_with_an_ssl_context_speaks_https() -> None:
    authority = trustme.CA()
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(server_context)  # pyright: ignore[reportUnknownMemberType] - annotated with PyOpenSSL's types
    client_context = ssl.create_default_context()
    authority.configure_trust(client_context)  # pyright: ignore[reportUnknownMemberType] - as above
    headers = {"Authorization": "Bearer k"}
    async with LocalOpenRouter(ssl=server_context) as server:
        connector = aiohttp.TCPConnector(ssl=client_context)
        async with aiohttp.ClientSession(connector=connector, headers=headers) as http:
            url = f"{server.url}/chat/completions"
            server.reply("encrypted").then(stop="reset")
            async with http.post(url, json=BODY) as response:
                assert b"encrypted" in await response.read()
            with pytest.raises(aiohttp.ClientError):
                await http.post(url, json=BODY)

        assert url.startswith("https://")


async def test_url_brackets_an_ipv6_address() -> None:
    try:
        async with LocalOpenRouter(host="::1") as server:
            assert server.url.startswith("http://[::1]:")
    except OSError:
        pytest.skip("this machine has no IPv6")


@pytest.mark.parametrize("cancellation", [True, False])
async def test_app_under_another_runner_notices_disconnects(
    cancellation: object,
) -> None:
    """Without `handler_cancellation`, at the next write."""
    server = LocalOpenRouter(chunk_delay=0.005)
    runner = aiohttp.web.AppRunner(server.app, handler_cancellation=cancellation)
    await runner.setup()
    site = aiohttp.web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/api/v1/chat/completions"
    async with aiohttp.ClientSession(headers={"Authorization": "Bearer k"}) as http:
        async with http.post(url, json=BODY) as response:
            assert response.status == 200
        async with http.post(url, json=STREAM_BODY):
            await server.until(chunks=1)
        await server.until(closed=1)
    await runner.cleanup()

    assert [seen.connection for seen in server.requests] == [0, 0]
    assert [seen.closed_early for seen in server.requests] == [False, True]


@pytest.mark.parametrize("iterations", range(4))
async def test_connection_that_is_accepted_while_the_server_closes_is_closed(
    iterations: int,
) -> None:
    """The transport of a connection is created one iteration after it is accepted."""
    reported: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: reported.append(context))
    async with LocalOpenRouter() as server:
        peer = socket.create_connection(address(server))
        for _ in range(iterations):
            await asyncio.sleep(0)

    with peer:
        peer.settimeout(5)
        try:
            received = peer.recv(1)
        except ConnectionResetError:
            received = b""
    assert received == b""
    assert reported == []
