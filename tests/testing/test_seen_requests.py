import asyncio
import json

import aiohttp
from raw_client import BODY, STREAM_BODY, parse_events

from openrouter_async.testing import LocalOpenRouter, SeenRequest


async def test_seen_request_has_every_part_of_the_request(
    loop_server: LocalOpenRouter, http: aiohttp.ClientSession
) -> None:
    before = asyncio.get_running_loop().time()
    url = "chat/completions?a=1&a=2&b=3"
    async with http.post(url, json=STREAM_BODY, headers={"X-Title": "T"}) as response:
        events = parse_events(await response.read())
    await loop_server.until(connections=1)
    seen = loop_server.requests[0]

    assert (seen.method, seen.path) == ("POST", "/api/v1/chat/completions")
    assert seen.query.getall("a") == ["1", "2"]
    assert seen.query["b"] == "3"
    assert seen.headers["x-title"] == "T"
    assert json.loads(seen.body) == seen.json == STREAM_BODY
    assert (seen.model, seen.prompt, seen.stream) == (BODY["model"], "Hello", True)
    assert seen.status == 200
    assert seen.chunks == len(events) == loop_server.stats.chunks
    assert seen.closed is not None
    assert before < seen.time < seen.closed
    assert seen.closed_early is False


def test_seen_request_without_json_has_empty_properties() -> None:
    seen = SeenRequest(method="GET", path="/", time=0, connection=1)

    assert (seen.fields, seen.model, seen.prompt, seen.stream) == (
        {},
        "",
        "",
        False,
    )
    assert dict(seen.headers) == {}
