import asyncio
import json

import aiohttp
import aiohttp.web
from raw_client import HELLO, STREAM, parse

from openrouter_async.testing import (
    LocalOpenRouter,
    SeenRequest,
)


async def test_requests_are_kept_as_they_came(
    loop_server: LocalOpenRouter, http: aiohttp.ClientSession
) -> None:
    """Method, path, query, headers without case, body, times, what was sent."""
    before = asyncio.get_running_loop().time()
    url = "chat/completions?a=1&a=2&b=3"
    async with http.post(url, json=STREAM, headers={"X-Title": "T"}) as response:
        events = parse(await response.read())
    await loop_server.until(connections=1)
    seen = loop_server.requests[0]

    assert (seen.method, seen.path) == ("POST", "/api/v1/chat/completions")
    assert seen.query.getall("a") == ["1", "2"]
    assert seen.query["b"] == "3"
    assert seen.headers["x-title"] == "T"
    assert json.loads(seen.body) == seen.json == STREAM
    assert (seen.model, seen.prompt, seen.stream) == (HELLO["model"], "Hello", True)
    assert seen.status == 200
    assert seen.chunks == len(events) == loop_server.stats.chunks
    assert seen.closed is not None
    assert before < seen.time < seen.closed
    assert seen.closed_early is False


def test_a_request_without_json_has_no_fields() -> None:
    """Its properties are empty, not errors."""
    seen = SeenRequest(method="GET", path="/", time=0, connection=1)

    assert (seen.fields, seen.model, seen.prompt, seen.stream) == (
        {},
        "",
        "",
        False,
    )
    assert dict(seen.headers) == {}
