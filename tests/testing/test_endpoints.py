import json
from typing import Any

import aiohttp
import pytest
from raw_client import BODY, STREAM_BODY, complete

from openrouter_async.testing import LocalOpenRouter, generation_id


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ({}, "Missing Authentication header"),
        ({"Authorization": "Bearer "}, "Missing Authentication header"),
        ({"Authorization": "Basic YTpi"}, "Missing Authentication header"),
        ({"Authorization": "Bearer wrong"}, "User not found."),
    ],
)
async def test_request_without_accepted_key_gets_401_whatever_the_script(
    headers: dict[str, str], message: str
) -> None:
    async with (
        LocalOpenRouter(keys=["right"]) as server,
        aiohttp.ClientSession() as http,
    ):
        server.reply("unused")
        url = f"{server.url}/chat/completions"
        async with http.post(url, json=BODY, headers=headers) as response:
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
        (b'{"prompt":3}', 'Input required: specify "prompt" or "messages"'),
        (b'{"messages":[]}', 'Input required: specify "prompt" or "messages"'),
        (b'{"messages":"hi"}', "messages: Invalid input: expected array"),
    ],
)
async def test_invalid_body_gets_400_without_generation_id(
    loop_server: LocalOpenRouter,
    http: aiohttp.ClientSession,
    data: bytes,
    message: str,
) -> None:
    loop_server.reply()
    for _ in ("scripted", "default"):
        async with http.post("chat/completions", data=data) as response:
            body = json.loads(await response.read())

        assert response.status == 400
        assert body["error"]["message"] == message
        assert "X-Generation-Id" not in response.headers


async def test_unlisted_model_gets_400_and_models_lists_the_others() -> None:
    async with (
        LocalOpenRouter(models=["a/b"]) as server,
        aiohttp.ClientSession(headers={"Authorization": "Bearer k"}) as http,
    ):
        url = f"{server.url}/chat/completions"
        async with http.post(url, json=BODY) as response:
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
async def test_wrong_method_gets_405_and_unknown_path_404(
    http: aiohttp.ClientSession, method: str, path: str, status: int
) -> None:
    async with http.request(method, path) as response:
        body = json.loads(await response.read())

    assert response.status == status
    assert body["error"]["code"] == status


async def test_models_are_listed_without_a_key(loop_server: LocalOpenRouter) -> None:
    async with (
        aiohttp.ClientSession() as http,
        http.get(f"{loop_server.url}/models") as response,
    ):
        body = json.loads(await response.read())

    assert body["total_count"] == len(body["data"]) > 1
    assert body["data"][0]["pricing"]["prompt"] == "0.0000001500"


async def test_key_and_credits_report_the_cost_of_completions(
    loop_server: LocalOpenRouter, http: aiohttp.ClientSession
) -> None:
    cost = (await complete(http))["usage"]["cost"]
    async with http.get("key") as response:
        key = json.loads(await response.read())["data"]
    async with http.get("credits") as response:
        account = json.loads(await response.read())["data"]

    assert key["usage"] == account["total_usage"] == cost
    assert key["limit_remaining"] == key["limit"] - cost
    assert loop_server.api_key not in key["label"]


async def test_generation_is_found_at_the_second_lookup(
    http: aiohttp.ClientSession,
) -> None:
    body = await complete(http)
    lookups: list[tuple[int, Any]] = []
    for _ in range(2):
        async with http.get("generation", params={"id": body["id"]}) as response:
            lookups.append((response.status, json.loads(await response.read())))

    assert lookups[0] == (
        404,
        {"error": {"message": f"Generation {body['id']} not found", "code": 404}},
    )
    status, found = lookups[1]
    assert status == 200
    assert found["data"]["total_cost"] == body["usage"]["cost"]
    assert found["data"]["cancelled"] is False


async def test_unknown_generation_gets_404(http: aiohttp.ClientSession) -> None:
    async with http.get("generation", params={"id": generation_id()}) as response:
        assert response.status == 404


async def test_generation_of_an_abandoned_stream_is_cancelled_and_charged() -> None:
    async with (
        LocalOpenRouter(generation_lag=0, chunk_delay=0.01, seed=7) as server,
        aiohttp.ClientSession(headers={"Authorization": "Bearer k"}) as http,
    ):
        url = f"{server.url}/chat/completions"
        async with http.post(url, json=STREAM_BODY) as response:
            generation_id = response.headers["X-Generation-Id"]
            await server.until(chunks=2)
        await server.until(closed=1)
        url = f"{server.url}/generation?id={generation_id}"
        async with http.get(url) as response:
            found = json.loads(await response.read())["data"]

        assert (found["cancelled"], found["streamed"]) == (True, True)
        assert found["total_cost"] == server.stats.cost > 0
