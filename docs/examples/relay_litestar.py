"""Litestar: relay a chat as server-sent events."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from litestar import Litestar, Request, post
from litestar.exceptions import ClientException, SerializationException
from litestar.response import Stream

from openrouter_async import AsyncOpenRouter
from openrouter_async.relay import Relay, read_ui_messages

MODEL = "openai/gpt-4o-mini"


@asynccontextmanager
async def share_client(app: Litestar) -> AsyncGenerator[None]:
    """Share one client in the process."""
    async with AsyncOpenRouter(app_title="My backend") as client:
        app.state.client = client
        yield


@post("/chat", status_code=200)
async def chat(request: Request[Any, Any, Any]) -> Stream:
    """Respond to the messages of a browser."""
    try:
        messages = read_ui_messages(await request.json())
    except (SerializationException, ValueError) as error:
        raise ClientException(str(error)) from error
    client: AsyncOpenRouter = request.app.state.client
    relay = Relay(client.chat.send(model=MODEL, messages=messages, stream=True))
    return Stream(relay, headers=relay.headers)


app = Litestar([chat], lifespan=[share_client])
