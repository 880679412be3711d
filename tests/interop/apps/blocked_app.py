"""Starlette, with and without middleware, and a short timeout for slow readers."""

import os
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

from openrouter_async import AsyncOpenRouter, UserMessage
from openrouter_async.relay import Relay

client = AsyncOpenRouter()


async def chat(_request: Request) -> StreamingResponse:
    messages = [UserMessage("hi")]
    pending = client.chat.send(model="m", messages=messages, stream=True)
    relay = Relay(pending, "text", reader_timeout=0.5)
    return StreamingResponse(relay, headers=relay.headers)


async def pass_on(request: Request, call_next: Any) -> Any:
    return await call_next(request)


app = Starlette(
    routes=[Route("/chat", chat, methods=["POST"])],
    middleware=[Middleware(BaseHTTPMiddleware, dispatch=pass_on)]
    if os.environ.get("WITH_MIDDLEWARE")
    else [],
)
