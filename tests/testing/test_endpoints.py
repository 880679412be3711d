import json
from typing import Any

import aiohttp
import aiohttp.web
import pytest
from raw_client import HELLO, STREAM, ask

from openrouter_async.testing import (
    LocalOpenRouter,
    generation_id,
)


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ({}, "Missing Authentication header"),
        ({"Authorization": "Bearer "}, "Missing Authentication header"),
        ({"Authorization": "Basic YTpi"}, "Missing Authentication header"),
        ({"Authorization": "Bearer wrong"}, "User not found."),
    ],
)
async def test_a_key_is_needed(headers: dict[str, str], message: str) -> None:
    """Without an accepted key there is a 401 without an id, script or not."""
    async with (
        LocalOpenRouter(keys=["right"]) as server,
        aiohttp.ClientSession() as http,
    ):
        server.reply("not for you")
        url = f"{server.url}/chat/completions"
        async with http.post(url, json=HELLO, headers=headers) as response:
            body = json.loads(await response.read())

        assert response.status == 401
        assert body == {"error": {"message": message, "code": 401}}
        assert "X-Generation-Id" not in response.headers
        assert server.api_key == "right"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"no json", "Input must have at least 1 token."),
        (b"[]", "Input must have at least 1 token."),
        (b"{}", 'Input required: specify "prompt" or "messages"'),
        (b'{"messages":[]}', 'Input required: specify "prompt" or "messages"'),
        (b'{"messages":"hi"}', "messages: Invalid input: expected array"),
    ],
)
async def test_a_broken_request_is_a_400(
    loop_server: LocalOpenRouter,
    http: aiohttp.ClientSession,
    data: bytes,
    message: str,
) -> None:
    """What is no chat request is refused before it has an id."""
    loop_server.reply()
    for _scripted in (True, False):
        async with http.post("chat/completions", data=data) as response:
            body = json.loads(await response.read())

        assert response.status == 400
        assert body["error"]["message"] == message
        assert "X-Generation-Id" not in response.headers


async def test_models_can_be_named() -> None:
    """With `models=`, any other is a 400 that has an id, and `/models` lists them."""
    async with (
        LocalOpenRouter(models=["a/b"]) as server,
        aiohttp.ClientSession(headers={"Authorization": "Bearer k"}) as http,
    ):
        url = f"{server.url}/chat/completions"
        async with http.post(url, json=HELLO) as response:
            body = json.loads(await response.read())
        async with http.get(f"{server.url}/models") as listed:
            models = json.loads(await listed.read())["data"]

        assert response.status == 400
        assert "is not a valid model ID" in body["error"]["message"]
        assert "X-Generation-Id" in response.headers
        assert [model["id"] for model in models] == ["a/b"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "chat/completions", 405),
        ("POST", "key", 405),
        ("GET", "nothing", 404),
    ],
)
async def test_other_roads_are_closed(
    http: aiohttp.ClientSession, method: str, path: str, status: int
) -> None:
    """A wrong method is a 405, an unknown path a 404, both in the envelope."""
    async with http.request(method, path) as response:
        body = json.loads(await response.read())

    assert response.status == status
    assert body["error"]["code"] == status


async def test_models_need_no_key(loop_server: LocalOpenRouter) -> None:
    """The list of models is public, its prices are strings."""
    async with (
        aiohttp.ClientSession() as http,
        http.get(f"{loop_server.url}/models") as r,
    ):
        body = json.loads(await r.read())

    assert body["total_count"] == len(body["data"]) > 1
    assert body["data"][0]["pricing"]["prompt"] == "0.0000001500"


async def test_what_was_spent_is_told(
    loop_server: LocalOpenRouter, http: aiohttp.ClientSession
) -> None:
    """Key and credits count what the answers cost."""
    cost = (await ask(http))["usage"]["cost"]
    async with http.get("key") as response:
        key = json.loads(await response.read())["data"]
    async with http.get("credits") as response:
        credit = json.loads(await response.read())["data"]

    assert key["usage"] == credit["total_usage"] == cost
    assert key["limit_remaining"] == key["limit"] - cost
    assert loop_server.api_key not in key["label"]


async def test_a_generation_is_known_later(http: aiohttp.ClientSession) -> None:
    """The first look-up is a 404, the next tells what the answer cost."""
    body = await ask(http)
    asked: list[tuple[int, Any]] = []
    for _ in range(2):
        async with http.get("generation", params={"id": body["id"]}) as response:
            asked.append((response.status, json.loads(await response.read())))

    assert asked[0] == (
        404,
        {"error": {"message": f"Generation {body['id']} not found", "code": 404}},
    )
    status, found = asked[1]
    assert status == 200
    assert found["data"]["total_cost"] == body["usage"]["cost"]
    assert found["data"]["cancelled"] is False


async def test_an_unknown_generation_stays_unknown(http: aiohttp.ClientSession) -> None:
    """An id that was never given out is not found, ever."""
    async with http.get("generation", params={"id": generation_id()}) as response:
        assert response.status == 404


async def test_a_stream_left_early_is_known_as_cancelled() -> None:
    """Who goes away finds the id's cost and `cancelled`."""
    async with (
        LocalOpenRouter(generation_lag=0, chunk_delay=0.01, seed=7) as server,
        aiohttp.ClientSession(headers={"Authorization": "Bearer k"}) as http,
    ):
        url = f"{server.url}/chat/completions"
        async with http.post(url, json=STREAM) as response:
            wanted = response.headers["X-Generation-Id"]
            await server.until(chunks=2)
        await server.until(closed=1)
        url = f"{server.url}/generation?id={wanted}"
        async with http.get(url) as response:
            found = json.loads(await response.read())["data"]

        assert (found["cancelled"], found["streamed"]) == (True, True)
        assert found["total_cost"] == server.stats.cost > 0
