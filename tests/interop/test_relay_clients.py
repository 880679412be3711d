"""Relays, read by the clients that their formats are made for."""

import asyncio
import json
import logging
import os
import shutil
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from browser import CHROMIUM, Browser, Page, run_browser

from openrouter_async import (
    AsyncOpenRouter,
    PendingStream,
    Retries,
    ToolStream,
    tool,
)
from openrouter_async.relay import Relay, read_ui_messages
from openrouter_async.testing import (
    LocalOpenRouter,
    Reply,
    SeenRequest,
    StreamError,
    completion,
    error_reply,
    tool_call,
)

CLIENTS = Path(__file__).parent / "clients"
PAGE = Path(__file__).parents[2] / "docs" / "examples" / "relay_page.html"
# The folder in which .ci/run has installed clients/package.json.
NODE_FOLDER = Path(os.environ.get("RELAY_CLIENTS", "/nonexistent"))
NODE = NODE_FOLDER / "node_modules" / ".bin" / "node"

needs_node = pytest.mark.skipif(
    not NODE.exists(),
    reason="RELAY_CLIENTS is not a folder with the packages of clients/package.json",
)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is missing")
pytestmark = pytest.mark.filterwarnings("default")

PNG = "data:image/png;base64,iVBORw0KGgo="
CITED = {
    "annotations": [
        {
            "type": "url_citation",
            "url_citation": {"url": "https://a.test/", "title": "A"},
        }
    ]
}
PICTURE = {"images": [{"type": "image_url", "image_url": {"url": PNG}}]}


@tool
async def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@tool
async def fail() -> str:
    """Fail."""
    raise ValueError("secret")


def choose_reply(seen: SeenRequest) -> Reply:
    """Return the reply for the scenario that the prompt names."""
    if seen.fields["messages"][-1]["role"] == "tool":
        return Reply("It is 3.")
    calls = [tool_call("add", {"a": 1, "b": 2}), tool_call("fail", index=1)]
    return {
        "text": Reply(["he", "llo"]),
        "reasoning": Reply(completion("Yes", reasoning="Hm")),
        "tools": Reply(completion("Wait.", reasoning="Hm", tool_calls=calls)),
        "sources": Reply(completion("As written", message=CITED)),
        "image": Reply(completion("Look", message=PICTURE)),
        "length": Reply(completion("Too", finish_reason="length")),
        "error": Reply(["par", "tial", "!"], error=StreamError(), error_after=2),
        "cut": Reply(["par", "tial", "!"], stop="end", stop_after=2),
        "busy": error_reply(429),
        "stall": Reply(["he", "llo"], chunk_delay=60),
        "slow": Reply("hello", before_token=60),
        "long": Reply(["x"] * 5000, chunk_delay=0.01),
    }[seen.prompt]


@pytest.fixture
async def upstream() -> AsyncIterator[LocalOpenRouter]:
    with LocalOpenRouter(default=choose_reply) as server:
        yield server


@pytest.fixture
async def backend(upstream: LocalOpenRouter) -> AsyncIterator[str]:
    """Run a backend with each format, and return its URL."""
    client = AsyncOpenRouter(
        upstream.api_key, base_url=upstream.url, retries=Retries(max_attempts=1)
    )

    async def respond(request: web.Request, relay: Relay) -> web.StreamResponse:
        async with relay:
            response = web.StreamResponse(headers=relay.headers)
            await response.prepare(request)
            async for data in relay:
                await response.write(data)
            await response.write_eof()
        return response

    async def ui_messages(request: web.Request) -> web.StreamResponse:
        messages = read_ui_messages(await request.json())
        run: ToolStream[Any] = client.chat.run_tools(
            model="m", messages=messages, tools=[add, fail], stream=True
        )
        name: Any = "ai-sdk" if request.path == "/ai-sdk" else "sse"
        return await respond(request, Relay(run, name))

    async def completions(request: web.Request) -> web.StreamResponse:
        """Pass a prompt on; a backend of OpenAI's API decides the rest itself."""
        messages = (await request.json())["messages"]
        pending: PendingStream[Any] = client.chat.send(
            model="m", messages=messages, stream=True
        )
        return await respond(request, Relay(pending, "openai"))

    async def page(request: web.Request) -> web.StreamResponse:
        if request.path == "/":
            return web.FileResponse(PAGE)
        if request.path == "/use_chat.js":
            return web.FileResponse(NODE_FOLDER / "use_chat.js")
        html = "<!doctype html><meta charset=utf-8><title>x</title><body>"
        if request.path == "/use_chat":
            html += "<script src=/use_chat.js></script>"
        return web.Response(text=html, content_type="text/html")

    app = web.Application()
    app.router.add_post("/ai-sdk", ui_messages)
    app.router.add_post("/chat", ui_messages)
    app.router.add_post("/v1/chat/completions", completions)
    app.router.add_get("/{path:.*}", page)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    (address,) = runner.addresses
    yield f"http://127.0.0.1:{address[1]}"
    await runner.cleanup()
    stats = client.stats
    await client.aclose()
    assert (stats.in_use, stats.queued) == (0, 0)


async def run_node(script: str, *arguments: str) -> Any:
    """Run a script beside the installed packages and return what it printed."""
    path = NODE_FOLDER / script
    shutil.copyfile(CLIENTS / script, path)
    process = await asyncio.create_subprocess_exec(
        NODE,
        path,
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(300):
        out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return json.loads(out)


def kinds(result: Any) -> list[str]:
    return [part["type"] for part in result["message"]["parts"]]


@needs_node
@pytest.mark.parametrize("package", ["ai5", "ai6", "ai"])
async def test_ai_sdk_reads_every_part(backend: str, package: str) -> None:
    """Versions 5, 6 and 7 (which is installed without an alias, for `useChat`)."""
    prompts = ["text", "reasoning", "tools", "sources", "image", "length"]
    prompts += ["error", "cut", "busy"]
    found = await run_node(
        "read_ui_streams.mjs", package, f"{backend}/ai-sdk", *prompts
    )

    for prompt in prompts[:6]:
        assert found[prompt]["errors"] == []
    assert kinds(found["text"]) == ["step-start", "text"]
    assert found["text"]["message"]["parts"][1]["text"] == "hello"
    assert kinds(found["reasoning"]) == ["step-start", "reasoning", "text"]
    assert kinds(found["tools"]) == [
        *("step-start", "reasoning", "text", "dynamic-tool", "dynamic-tool"),
        *("step-start", "text"),
    ]
    added, failed = found["tools"]["message"]["parts"][3:5]
    assert (added["state"], added["output"]) == ("output-available", 3)
    assert added["input"] == {"a": 1, "b": 2}
    assert (failed["state"], failed["errorText"]) == (
        "output-error",
        "The tool failed.",
    )
    assert "source-url" in kinds(found["sources"])
    assert found["image"]["message"]["parts"][-1]["url"] == PNG
    for prompt in ("error", "cut"):
        assert found[prompt]["errors"] == ["The service is unavailable at the moment."]
        assert found[prompt]["message"]["parts"][1]["text"] == "partial"
    assert "too many requests" in found["busy"]["errors"][0]
    assert "secret" not in json.dumps(found)


@needs_node
async def test_openai_in_javascript_reads_text_and_errors(backend: str) -> None:
    prompts = ["text", "length", "error", "cut", "busy"]
    found = await run_node("read_openai.mjs", f"{backend}/v1", *prompts)

    assert found["text"]["openai"] == {"text": "hello", "error": None, "finish": "stop"}
    assert found["text"]["compatible"] == {"text": "hello", "error": None}
    assert found["length"]["openai"]["finish"] == "length"
    for prompt in ("error", "cut", "busy"):
        for client in ("openai", "compatible"):
            assert found[prompt][client]["error"], (prompt, client)
            assert found[prompt][client]["text"] == (
                "" if prompt == "busy" else "partial"
            )


async def test_openai_in_python_reads_text_and_errors(backend: str) -> None:
    openai = pytest.importorskip("openai", reason="openai is in the [interop] extra")
    async with openai.AsyncOpenAI(
        api_key="none", base_url=f"{backend}/v1", max_retries=0
    ) as client:

        async def read(prompt: str) -> tuple[str, str | None]:
            text, error = "", None
            try:
                stream = await client.chat.completions.create(
                    model="m",
                    messages=[{"role": "user", "content": prompt}],
                    stream=True,
                )
                async for chunk in stream:
                    text += chunk.choices[0].delta.content or ""
            except openai.APIError as caught:
                error = caught.message
            return text, error

        unavailable = "The service is unavailable at the moment."
        assert await read("text") == ("hello", None)
        assert await read("error") == ("partial", unavailable)
        assert await read("cut") == ("partial", unavailable)


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with run_browser() as started:
        yield started


async def until_closed(upstream: LocalOpenRouter, count: int) -> None:
    """Wait until some streams were closed, which would go on for almost a minute."""
    started = time.monotonic()
    await upstream.until(closed=count, timeout=15)

    # Shown by: pytest --log-cli-level=INFO
    seconds = time.monotonic() - started
    logging.getLogger("interop").info("closed after %.3f s", seconds)


@needs_chromium
async def test_page_of_the_examples_reads_stops_and_leaves(
    backend: str, upstream: LocalOpenRouter, browser: Browser
) -> None:
    page = await browser.new_page()
    await page.open(f"{backend}/")

    async def send(prompt: str) -> None:
        await page.run(f"document.querySelector('input').value = {prompt!r}")
        await page.run("document.querySelector('form').requestSubmit()")

    async def text() -> str:
        value: str = await page.run("document.querySelector('#text').textContent")
        return value

    await send("text")
    await page.until("document.querySelector('#state').textContent == 'done'")
    assert await text() == "hello"
    await send("error")
    await page.until("document.querySelector('#state').textContent.includes('unavail')")
    assert await text() == "partial"
    await send("long")
    await page.until("document.querySelector('#text').textContent.length > 5")
    await page.run("document.querySelector('#stop').click()")
    await until_closed(upstream, 1)
    await page.until("document.querySelector('#state').textContent == 'stopped'")
    # Chromium would keep the connection of a page in its back/forward cache.
    await send("long")
    await page.until("document.querySelector('#text').textContent.length > 5")
    await page.open(f"{backend}/elsewhere")
    await until_closed(upstream, 2)


@needs_node
@needs_chromium
async def test_use_chat_in_chromium(
    backend: str, upstream: LocalOpenRouter, browser: Browser
) -> None:
    await bundle()
    page = await browser.new_page()
    await page.open(f"{backend}/use_chat")
    await page.until("window.chat")
    for prompt, shown in {
        "text": '"text":"hello"',
        "reasoning": '"type":"reasoning"',
        "tools": '"output":3',
    }.items():
        await send_chat(page, prompt)
        await page.until("chat.status == 'ready' && chat.messages.length % 2 == 0")
        assert shown in await page.run("JSON.stringify(chat.messages.at(-1).parts)")
    # The results of the tools were sent back with the conversation.
    await send_chat(page, "text")
    await page.until("chat.status == 'ready' && chat.messages.length == 8")
    assert [message["role"] for message in upstream.requests[-1].fields["messages"]][
        4:
    ] == ["user", "assistant", "tool", "tool", "assistant", "user"]

    await send_chat(page, "long")
    await page.until("chat.status == 'streaming'")
    await asyncio.sleep(0.2)
    await page.run("chat.stop()")
    await until_closed(upstream, 1)
    for prompt, message in {"error": "unavailable", "busy": "too many"}.items():
        await send_chat(page, prompt)
        await page.until(f"chat.error?.message.includes({message!r})")

    for count, (prompt, status) in enumerate(
        {"stall": "streaming", "slow": "submitted"}.items(), start=2
    ):
        tab = await browser.new_page()
        await tab.open(f"{backend}/use_chat")
        await tab.until("window.chat")
        requests = upstream.stats.requests
        await send_chat(tab, prompt)
        await tab.until(f"chat.status == '{status}'")
        await upstream.until(requests=requests + 1)
        await tab.close()
        await until_closed(upstream, count)


async def send_chat(page: Page, prompt: str) -> None:
    await page.run(f"void chat.sendMessage({{text: {prompt!r}}})")


async def bundle() -> None:
    """Bundle the page with React."""
    shutil.copyfile(CLIENTS / "use_chat.jsx", NODE_FOLDER / "use_chat.jsx")
    process = await asyncio.create_subprocess_exec(
        NODE_FOLDER / "node_modules" / ".bin" / "esbuild",
        "use_chat.jsx",
        "--bundle",
        "--outfile=use_chat.js",
        '--define:process.env.NODE_ENV="production"',
        "--log-level=error",
        cwd=NODE_FOLDER,
    )
    assert await process.wait() == 0
