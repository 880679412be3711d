"""sse-starlette: relay a chat as server-sent events."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from sse_starlette import EventSourceResponse
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from openrouter_async import AsyncOpenRouter
from openrouter_async.relay import Relay, read_ui_messages

MODEL = "openai/gpt-4o-mini"


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncGenerator[None]:
    """Share one client in the process."""
    async with AsyncOpenRouter(app_title="My backend") as client:
        app.state.client = client
        yield


async def chat(request: Request) -> Response:
    """Respond to the messages of a browser."""
    try:
        messages = read_ui_messages(await request.json())
    except ValueError as error:
        return JSONResponse({"error": str(error)}, status_code=400)
    client: AsyncOpenRouter = request.app.state.client
    relay = Relay(client.chat.send(model=MODEL, messages=messages, stream=True))
    # The relay sends comments itself, so the pings are disabled.
    return EventSourceResponse(relay, headers=relay.headers, ping=0)


app = Starlette(routes=[Route("/chat", chat, methods=["POST"])], lifespan=lifespan)
