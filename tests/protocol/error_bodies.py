"""Helpers for tests of error bodies."""

import json
from typing import Any

from multidict import CIMultiDict

from openrouter_async.protocol.error_parsing import (
    error_from_response,
)
from openrouter_async.types import Attempt, Exchange

WALL = 1_786_233_000.0
"""Ten minutes before the recorded reset time of the free tier."""

ACCOUNT = "user_2abcDEF345ghiJKL678"
KEY = "sk-or-v1-0123456789abcdef"


def exchange(status: int | None = 200, **headers: str) -> Exchange:
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return Exchange(
        status=status,
        headers=CIMultiDict(named),
        attempts=[Attempt(status=status)],
    )


def error_of(body: Any, status: int = 400, **headers: str) -> Any:
    """Return the exception for a body; typed Any, because tests read all attributes."""
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    return error_from_response(text, exchange(status, **headers), wall_time=WALL)


def enveloped(message: str = "No.", **more: Any) -> dict[str, Any]:
    return {"error": {"message": message, **more}}
