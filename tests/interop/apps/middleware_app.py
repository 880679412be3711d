"""The example for Starlette, under its `BaseHTTPMiddleware`."""

from typing import Any

from relay_starlette import app
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request

__all__ = ["app"]


async def pass_on(request: Request, call_next: Any) -> Any:
    return await call_next(request)


app.add_middleware(BaseHTTPMiddleware, dispatch=pass_on)
