"""Chromium, headless, driven by its DevTools protocol."""

import asyncio
import base64
import itertools
import json
import os
import re
import shutil
import signal
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


class Page:
    """One tab."""

    def __init__(
        self, socket: aiohttp.ClientWebSocketResponse, session_id: str, target_id: str
    ) -> None:
        self._socket = socket
        self._session_id = session_id
        self.target_id = target_id
        self._numbers = itertools.count(1_000_000)

    async def send(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a command of the tab and return its result."""
        return await command(
            self._socket, next(self._numbers), method, params, self._session_id
        )

    async def open(self, url: str) -> None:
        """Navigate to a page."""
        await self.send("Page.enable")
        await self.send("Page.navigate", url=url)
        await self.until("document.readyState === 'complete'")

    async def run(self, script: str) -> Any:
        """Run JavaScript and return its value."""
        result = await self.send(
            "Runtime.evaluate",
            expression=script,
            awaitPromise=True,
            returnByValue=True,
            userGesture=True,
        )
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    async def until(self, condition: str, seconds: float = 60) -> None:
        """Wait until a JavaScript expression is true."""
        async with asyncio.timeout(seconds):
            while not await self.run(f"Boolean({condition})"):  # noqa: ASYNC110 - the event is in another process
                await asyncio.sleep(0.02)

    async def resize(self, width: int, height: int) -> None:
        """Set the size of the window in CSS pixels."""
        await self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    async def screenshot(self) -> bytes:
        """Return a PNG."""
        result = await self.send("Page.captureScreenshot")
        return base64.b64decode(result["data"])

    async def close(self) -> None:
        """Close the tab."""
        params = {"targetId": self.target_id}
        await command(
            self._socket, next(self._numbers), "Target.closeTarget", params, None
        )


async def command(
    socket: aiohttp.ClientWebSocketResponse,
    number: int,
    method: str,
    params: dict[str, Any],
    session_id: str | None,
) -> dict[str, Any]:
    """Send a command, skip events, and return the result."""
    message = {"id": number, "method": method, "params": params}
    if session_id is not None:
        message["sessionId"] = session_id
    await socket.send_json(message)
    while True:
        received = json.loads((await socket.receive(timeout=60)).data)
        if received.get("id") == number:
            assert "error" not in received, received
            result: dict[str, Any] = received["result"]
            return result


class Browser:
    """A running Chromium, whose tabs are used one at a time."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)

    async def new_page(self) -> Page:
        """Open a tab."""
        target = await self._command("Target.createTarget", url="about:blank")
        attached = await self._command(
            "Target.attachToTarget", targetId=target["targetId"], flatten=True
        )
        return Page(self._socket, attached["sessionId"], target["targetId"])

    async def _command(self, method: str, **params: Any) -> dict[str, Any]:
        return await command(self._socket, next(self._numbers), method, params, None)


@asynccontextmanager
async def run_browser() -> AsyncGenerator[Browser]:
    """Start Chromium and stop it at the end of the block."""
    assert CHROMIUM is not None
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        process = await asyncio.create_subprocess_exec(
            CHROMIUM,
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-quic",
            "--no-first-run",
            # No connections of its own, to the servers of its vendor.
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--remote-debugging-port=0",
            f"--user-data-dir={folder}",
            "about:blank",
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        assert process.stderr is not None
        draining: asyncio.Task[bytes] | None = None
        try:
            url = None
            async with asyncio.timeout(60):
                while url is None:
                    line = (await process.stderr.readline()).decode()
                    assert line, "Chromium did not start"
                    url = re.search(r"ws://\S+", line)
            draining = asyncio.create_task(process.stderr.read())
            async with (
                aiohttp.ClientSession() as session,
                session.ws_connect(url[0], max_msg_size=0) as socket,
            ):
                yield Browser(socket)
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
            if draining is not None:
                await draining
