"""
A relay behind the proxies of docs/examples, which wait 2 s for the backend's next byte.

The 60 s of the examples would take too long.
"""

import asyncio
import os
import signal
import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest
from aiohttp import web
from proxy_starter import find, free_port
from support import HELLO

from openrouter_async import AsyncOpenRouter, PendingStream
from openrouter_async.relay import Relay
from openrouter_async.testing import LocalOpenRouter, Reply

EXAMPLES: Final = Path(__file__).parents[3] / "docs" / "examples"
# Buffering is on, which is nginx's default; the header of the relay disables it.
NGINX: Final = """\
{user}
daemon off;
worker_processes 1;
pid {folder}/pid;
error_log {folder}/log;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/example;
}}
"""


def shortened(name: str, port: int, behind: int) -> str:
    """Return an example with other ports, and with short timeouts."""
    text = (EXAMPLES / name).read_text()
    for old, new in {":8080": f":{port}", ":8000": f":{behind}", "60s": "2s"}.items():
        assert old in text
        text = text.replace(old, new)
    return text


def command(program: str, folder: Path, port: int, behind: int) -> list[str]:
    """Write the configuration of a proxy, and return the command that starts it."""
    found = find(program)
    if program == "haproxy":
        (folder / "conf").write_text(shortened("relay_haproxy.cfg", port, behind))
        return [found, "-q", "-db", "-f", f"{folder}/conf"]
    (folder / "example").write_text(shortened("relay_nginx.conf", port, behind))
    # The workers of a root's nginx run as a user who cannot read the folder.
    user = "user root;" if os.geteuid() == 0 else ""
    (folder / "conf").write_text(NGINX.format(user=user, folder=folder))
    return [found, "-e", f"{folder}/log", "-p", f"{folder}", "-c", f"{folder}/conf"]


@pytest.fixture(params=["nginx", "haproxy"])
async def proxied(
    request: pytest.FixtureRequest, server: LocalOpenRouter, tmp_path: Path
) -> AsyncIterator[str]:
    """Run a backend behind a proxy and return the proxy's URL."""
    client = AsyncOpenRouter(server.api_key, base_url=server.url)

    async def chat(request: web.Request) -> web.StreamResponse:
        heartbeat = 0.2 if request.path == "/heartbeat" else None
        send: Any = client.chat.send
        pending: PendingStream[Any] = send(HELLO, stream=True)
        async with Relay(pending, heartbeat=heartbeat) as relay:
            response = web.StreamResponse(headers=relay.headers)
            await response.prepare(request)
            async for data in relay:
                await response.write(data)
            await response.write_eof()
        return response

    app = web.Application()
    app.router.add_get("/{path}", chat)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    (address,) = runner.addresses
    port = free_port()
    arguments = command(request.param, tmp_path, port, address[1])
    process = subprocess.Popen(arguments, stdin=subprocess.DEVNULL)  # noqa: ASYNC220 - it starts at once
    for _ in range(3000):
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            break
        await asyncio.sleep(0.01)
    yield f"http://127.0.0.1:{port}"
    process.send_signal(signal.SIGTERM)
    await asyncio.to_thread(process.wait, 30)
    await runner.cleanup()
    await client.aclose()


@pytest.mark.parametrize("silence", [{"delay": 4.5}, {"before_token": 4.5}])
async def test_heartbeats_keep_the_connection_while_a_model_thinks(
    proxied: str, server: LocalOpenRouter, silence: Any
) -> None:
    server.reply(Reply("hello", **silence), times=2)
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{proxied}/heartbeat") as response:
            data = await response.read()
            assert response.status == 200
        # Without them, the proxy ends the response.
        with pytest.raises(aiohttp.ClientPayloadError):
            async with session.get(f"{proxied}/silent") as response:
                await response.read()

    assert data.count(b": keep-alive") >= 5
    assert b'data: {"text":"hello"}' in data
    assert b"event: done" in data


async def test_client_that_leaves_closes_the_upstream_through_a_proxy(
    proxied: str, server: LocalOpenRouter
) -> None:
    server.reply("hello", before_token=60)
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{proxied}/heartbeat") as response,
    ):
        # Comments arrive at once, in spite of nginx's buffers.
        data = await response.content.readany()
        assert data.replace(b": keep-alive\n\n", b"") == b""
    await server.until(closed=1, timeout=15)
