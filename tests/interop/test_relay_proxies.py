"""A relay behind nginx, whose read timeout is shorter than the wait for a token."""

import asyncio
import getpass
import os
import shutil
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
from support import HELLO

from openrouter_async import AsyncOpenRouter, PendingStream
from openrouter_async.relay import Relay
from openrouter_async.testing import LocalOpenRouter, Reply

PATH: Final = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin"))
NGINX: Final = shutil.which("nginx", path=PATH)
# Buffering is on, which is nginx's default; the header of the relay disables it.
CONFIG: Final = """\
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
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://127.0.0.1:{behind};
            proxy_read_timeout 500ms;
        }}
    }}
}}
"""

pytestmark = pytest.mark.skipif(NGINX is None, reason="nginx is not installed")


@pytest.fixture
async def proxied(server: LocalOpenRouter, tmp_path: Path) -> AsyncIterator[str]:
    """Run a backend behind nginx and return the proxy's URL."""
    assert NGINX is not None
    client = AsyncOpenRouter(server.api_key, base_url=server.url)

    async def chat(request: web.Request) -> web.StreamResponse:
        heartbeat = 0.1 if request.path == "/heartbeat" else None
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
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    user = "user root;" if getpass.getuser() == "root" else ""
    config = tmp_path / "nginx.conf"
    config.write_text(
        CONFIG.format(user=user, folder=tmp_path, port=port, behind=address[1])
    )
    process = subprocess.Popen([NGINX, "-c", config, "-p", tmp_path])  # noqa: ASYNC220 - it starts at once
    for _ in range(500):
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            break
        await asyncio.sleep(0.01)
    yield f"http://127.0.0.1:{port}"
    process.send_signal(signal.SIGTERM)
    await asyncio.to_thread(process.wait, 10)
    await runner.cleanup()
    await client.aclose()


@pytest.mark.parametrize("silence", [{"delay": 1.2}, {"before_token": 1.2}])
async def test_heartbeats_keep_the_connection_while_a_model_thinks(
    proxied: str, server: LocalOpenRouter, silence: Any
) -> None:
    server.reply(Reply("hello", **silence), times=2)
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{proxied}/heartbeat") as response:
            data = await response.read()
            assert response.status == 200
        # Without them, nginx ends the response.
        with pytest.raises(aiohttp.ClientPayloadError):
            async with session.get(f"{proxied}/silent") as response:
                await response.read()

    assert data.count(b": keep-alive") >= 5
    assert b'data: {"text":"hello"}' in data
    assert b"event: done" in data


async def test_client_that_leaves_closes_the_upstream_through_nginx(
    proxied: str, server: LocalOpenRouter
) -> None:
    server.reply("hello", before_token=60)
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{proxied}/heartbeat") as response,
    ):
        # The first comment arrives at once, in spite of nginx's buffers.
        assert await response.content.readany() == b": keep-alive\n\n"
    # nginx itself gives up after 0.5 s without a byte, but the comments go on.
    await server.until(closed=1, timeout=15)
