"""HTTP requests to the local server, without the client under test."""

import json
from typing import Any

import aiohttp
import aiohttp.web

from openrouter_async.testing import (
    LocalOpenRouter,
)

HELLO = {
    "model": "openai/gpt-4o-mini",
    "messages": [{"role": "user", "content": "Hello"}],
}


STREAM = {**HELLO, "stream": True}


async def ask(http: aiohttp.ClientSession, **fields: Any) -> dict[str, Any]:
    """Send a plain request; return the body of its reply."""
    async with http.post("chat/completions", json={**HELLO, **fields}) as response:
        return dict(json.loads(await response.read()))


async def read(http: aiohttp.ClientSession, **fields: Any) -> bytes:
    """Send a request for a stream; return its bytes."""
    async with http.post("chat/completions", json={**STREAM, **fields}) as response:
        return await response.read()


def parse(stream: bytes) -> list[dict[str, Any]]:
    """Read the events of a stream, comments and `[DONE]` aside."""
    lines = [line[6:] for line in stream.split(b"\n\n") if line.startswith(b"data: ")]
    return [json.loads(line) for line in lines if line != b"[DONE]"]


def text_of(events: list[dict[str, Any]]) -> str:
    """Add up the content of a stream."""
    deltas = [choice["delta"] for event in events for choice in event["choices"]]
    return "".join(delta.get("content") or "" for delta in deltas)


def address(server: LocalOpenRouter) -> tuple[str, int]:
    """Tell where a server listens."""
    host, _, port = server.origin.removeprefix("http://").partition(":")
    return host, int(port)


def raw_request(server: LocalOpenRouter) -> bytes:
    """Write a plain request as HTTP."""
    body = json.dumps(HELLO).encode()
    return (
        b"POST /api/v1/chat/completions HTTP/1.1\r\nHost: x\r\n"
        b"Authorization: Bearer k\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    )
