"""Requests to the local server over HTTP and sockets, without this package's client."""

import json
from typing import Any

import aiohttp

from openrouter_async.testing import LocalOpenRouter

BODY = {
    "model": "openai/gpt-4o-mini",
    "messages": [{"role": "user", "content": "Hello"}],
}
STREAM_BODY = {**BODY, "stream": True}


async def complete(http: aiohttp.ClientSession, **fields: Any) -> dict[str, Any]:
    """Send a chat request and return the body of the plain response."""
    async with http.post("chat/completions", json={**BODY, **fields}) as response:
        return dict(json.loads(await response.read()))


async def complete_text(http: aiohttp.ClientSession, **fields: Any) -> str:
    """Send a chat request and return the text of the plain response."""
    body = await complete(http, **fields)
    return str(body["choices"][0]["message"]["content"])


async def read_stream(http: aiohttp.ClientSession, **fields: Any) -> bytes:
    """Send a chat request and return the bytes of the stream."""
    fields = {**STREAM_BODY, **fields}
    async with http.post("chat/completions", json=fields) as response:
        return await response.read()


def parse_events(stream: bytes) -> list[dict[str, Any]]:
    """Decode the events of a stream, without comments and `[DONE]`."""
    lines = [line[6:] for line in stream.split(b"\n\n") if line.startswith(b"data: ")]
    return [json.loads(line) for line in lines if line != b"[DONE]"]


def text_of(events: list[dict[str, Any]]) -> str:
    """Join the content of all deltas."""
    deltas = [choice["delta"] for event in events for choice in event["choices"]]
    return "".join(delta.get("content") or "" for delta in deltas)


def address(server: LocalOpenRouter) -> tuple[str, int]:
    """Return the host and the port of a server."""
    host, _, port = server.origin.removeprefix("http://").partition(":")
    return host, int(port)


def raw_request(server: LocalOpenRouter) -> bytes:
    """Return the bytes of a chat request."""
    body = json.dumps(BODY).encode()
    return (
        b"POST /api/v1/chat/completions HTTP/1.1\r\nHost: x\r\n"
        b"Authorization: Bearer k\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    )
