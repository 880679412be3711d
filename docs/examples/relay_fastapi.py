"""FastAPI: relay a chat to `useChat` of Vercel's AI SDK."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import StreamingResponse

from openrouter_async import AsyncOpenRouter
from openrouter_async.relay import Relay, read_ui_messages

MODEL = "openai/gpt-4o-mini"


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
    """Share one client in the process."""
    async with AsyncOpenRouter(app_title="My backend") as client:
        app.state.client = client
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/chat")
async def chat(request: Request) -> StreamingResponse:
    """Respond to the messages of a browser."""
    try:
        messages = read_ui_messages(await request.json())
    except ValueError as error:
        raise HTTPException(400, str(error)) from error
    client: AsyncOpenRouter = request.app.state.client
    relay = Relay(
        client.chat.send(model=MODEL, messages=messages, stream=True), "ai-sdk"
    )
    return StreamingResponse(relay, headers=relay.headers)
