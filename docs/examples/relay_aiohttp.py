"""aiohttp.web: relay a chat as server-sent events, and serve a page that reads it."""

import sys
from collections.abc import AsyncIterator
from pathlib import Path

from aiohttp import web

from openrouter_async import AsyncOpenRouter
from openrouter_async.relay import Relay, read_ui_messages

MODEL = "openai/gpt-4o-mini"
PAGE = Path(__file__).with_name("relay_page.html")
CLIENT = web.AppKey("client", AsyncOpenRouter)


async def share_client(app: web.Application) -> AsyncIterator[None]:
    """Share one client in the process."""
    async with AsyncOpenRouter(app_title="My backend") as client:
        app[CLIENT] = client
        yield


async def page(_request: web.Request) -> web.FileResponse:
    """Return the page."""
    return web.FileResponse(PAGE)


async def chat(request: web.Request) -> web.StreamResponse:
    """Respond to the messages of a browser."""
    try:
        messages = read_ui_messages(await request.json())
    except ValueError as error:
        raise web.HTTPBadRequest(text=str(error)) from error
    client = request.app[CLIENT]
    # Without this block, a failed write leaves the relay to the garbage collector.
    async with Relay(
        client.chat.send(model=MODEL, messages=messages, stream=True)
    ) as relay:
        response = web.StreamResponse(headers=relay.headers)
        await response.prepare(request)
        async for data in relay:
            await response.write(data)
        await response.write_eof()
    return response


def make_app() -> web.Application:
    """Create the application."""
    # Without this setting, a stream that stalls is not closed with its client.
    app = web.Application(handler_args={"handler_cancellation": True})
    app.cleanup_ctx.append(share_client)
    app.router.add_get("/", page)
    app.router.add_post("/chat", chat)
    return app


if __name__ == "__main__":
    web.run_app(make_app(), host="127.0.0.1", port=int(sys.argv[1]))
