"""Starlette: relay a run of tools, answer early errors with a status, store the end."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from openrouter_async import AsyncOpenRouter, ChatResponse, OpenRouterError, tool
from openrouter_async.relay import Relay, RelayResult, public_error, read_ui_messages

MODEL = "openai/gpt-4o-mini"


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncGenerator[None]:
    """Share one client in the process."""
    async with AsyncOpenRouter(app_title="My backend") as client:
        app.state.client = client
        yield


@tool
async def get_weather(city: str) -> str:
    """Return the weather in a city."""
    await asyncio.sleep(0.1)
    return f"Sunny in {city}"


def usage(response: ChatResponse) -> Mapping[str, Any]:
    """Choose what the browser may know."""
    return {"tokens": response.usage.total_tokens}


def store(result: RelayResult) -> None:
    """Store the response, whole or partial, also if the browser has left."""
    text = result.response.text if result.response else ""
    print(f"{result.outcome}: {text}", flush=True)


async def chat(request: Request) -> Response:
    """Respond to the messages of a browser."""
    try:
        messages = read_ui_messages(await request.json())
    except ValueError as error:
        return JSONResponse({"error": str(error)}, status_code=400)
    client: AsyncOpenRouter = request.app.state.client
    run = client.chat.run_tools(
        model=MODEL, messages=messages, tools=[get_weather], stream=True
    )
    relay = Relay(run, "ai-sdk", usage=usage, on_end=store)
    try:
        await relay.open(within=2.0)
    except OpenRouterError as error:
        failure = public_error(error)
        return JSONResponse({"error": failure.message}, status_code=failure.status)
    return StreamingResponse(relay, headers=relay.headers)


app = Starlette(routes=[Route("/chat", chat, methods=["POST"])], lifespan=lifespan)
