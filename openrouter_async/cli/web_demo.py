"""`openrouter-async demo --web`: a chat page over a local server."""

import asyncio
import re
import signal
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Final

from aiohttp import web
from attrs import frozen

from openrouter_async.client import AsyncOpenRouter
from openrouter_async.relay import Relay, read_ui_messages
from openrouter_async.testing import (
    LocalOpenRouter,
    Reply,
    SeenRequest,
    StreamError,
    completion,
    tool_call,
)
from openrouter_async.tools import tool

from .connect import local_client
from .console import Terminal
from .exit_codes import ExitCode
from .serve import listen_error

_HOST: Final = "127.0.0.1"
_PAGE: Final = Path(__file__).with_name("web_demo.html")
_CLIENT: Final = web.AppKey("client", AsyncOpenRouter)
# Seconds: slow enough to follow a stream by eye, and to press Stop.
_CHUNK_DELAY: Final = 0.04
_TOOL_SECONDS: Final = 0.8
# Seconds that open streams may take when the demo is stopped.
_SHUTDOWN_SECONDS: Final = 0.5

_HELLO: Final = (
    "Hello! This text is streamed: your browser reads it from a small backend, which "
    "reads it from a local server that behaves like OpenRouter. There is no model "
    "behind it, so nothing is charged.\n\nTry one of the buttons below."
)
_STORY: Final = (
    "Once upon a time there was a request that wanted a very long response. It was "
    "sent in one piece, and the response came back word by word. Somebody watched the "
    "first words arrive and knew that they were enough. The browser closed its "
    "connection, the backend noticed it within milliseconds, and the generation was "
    "stopped, so that nobody paid for words that nobody would read. "
)
_BROKEN: Final = (
    "This response will not be complete, because the provider disconnects in the middle"
)


@frozen
class WebDemoArgs:
    """
    Arguments of `demo --web`.

    Attributes:
        port: Port to listen on; 0 takes a free one.
    """

    port: int


def web_demo(args: WebDemoArgs, terminal: Terminal) -> ExitCode:
    """
    Serve the page until SIGINT or SIGTERM.

    Raises:
        CommandError: If the port cannot be listened on.
    """
    # Where the event loop cannot handle signals (Windows), Ctrl-C raises this.
    with suppress(KeyboardInterrupt):
        asyncio.run(_serve(args, terminal))
    return ExitCode.OK


async def _serve(args: WebDemoArgs, terminal: Terminal) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    with suppress(NotImplementedError):
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stopped.set)
    async with AsyncExitStack() as stack:
        server = LocalOpenRouter(default=_choose_reply)
        await stack.enter_async_context(server)
        client = local_client(server.url, server.api_key)
        await stack.enter_async_context(client)
        runner = web.AppRunner(
            make_app(client),
            access_log=None,
            handler_cancellation=True,
            shutdown_timeout=_SHUTDOWN_SECONDS,
        )
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        try:
            await web.TCPSite(runner, _HOST, args.port).start()
        except OSError as error:
            raise listen_error(_HOST, args.port, error) from error
        (address,) = runner.addresses
        # The URL is all that goes to stdout, so that a program can read it.
        terminal.out.print(f"http://{_HOST}:{address[1]}/", style="bold")
        terminal.out.file.flush()
        terminal.note("Open this page in a browser. Press Ctrl-C to stop the demo.")
        await stopped.wait()


def make_app(client: AsyncOpenRouter) -> web.Application:
    """Return the backend: the page, and the chat that it calls."""
    app = web.Application()
    app[_CLIENT] = client
    app.router.add_get("/", _page)
    app.router.add_post("/chat", _chat)
    return app


async def _page(_request: web.Request) -> web.FileResponse:
    return web.FileResponse(_PAGE)


async def _chat(request: web.Request) -> web.StreamResponse:
    try:
        messages = read_ui_messages(await request.json())
    except ValueError as error:
        raise web.HTTPBadRequest(text=str(error)) from error
    run = request.app[_CLIENT].chat.run_tools(
        model="openai/gpt-4o-mini", messages=messages, tools=[get_weather], stream=True
    )
    async with Relay(run) as relay:
        response = web.StreamResponse(headers=relay.headers)
        await response.prepare(request)
        async for data in relay:
            await response.write(data)
        await response.write_eof()
    return response


@tool
async def get_weather(city: str) -> str:
    """
    Return the weather.

    Args:
        city: Name of the city.
    """
    await asyncio.sleep(_TOOL_SECONDS)
    return f"18 degrees and sunny in {city}"


def _choose_reply(seen: SeenRequest) -> Reply:
    """Return what a model might say."""
    last = seen.fields["messages"][-1]
    if last["role"] == "tool":
        text = f"The tool says: {last['content']}. A fine day for a walk."
        return Reply(text, chunk_delay=_CHUNK_DELAY)
    prompt = seen.prompt.lower()
    if "weather" in prompt:
        city = re.search(r"weather in ([a-z]+)", prompt)
        arguments = {"city": city[1].title() if city else "Paris"}
        call = completion(
            "Let me look that up.",
            reasoning="The user asks about the weather. There is a tool for that.",
            tool_calls=[tool_call("get_weather", arguments)],
        )
        return Reply(call, chunk_delay=_CHUNK_DELAY)
    if "error" in prompt:
        error = StreamError(message="The provider disconnected")
        return Reply(_BROKEN, chunk_delay=_CHUNK_DELAY, error=error, error_after=12)
    text = _STORY * 10 if "story" in prompt else _HELLO
    return Reply(text, chunk_delay=_CHUNK_DELAY)
