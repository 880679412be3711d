import json

import aiohttp
import pytest
from raw_client import BODY, complete_text

from openrouter_async.testing import LocalOpenRouter, Reply, SeenRequest, completion


async def test_replies_are_sent_in_order_before_the_default(
    loop_server: LocalOpenRouter, http: aiohttp.ClientSession
) -> None:
    busy = {"error": {"message": "busy", "code": 429}}
    script = loop_server.reply(status=429, headers={"Retry-After": "2"}, json=busy)
    script.then("one", times=2).then(completion("two"))
    loop_server.reply("three")

    async with http.post("chat/completions", json=BODY) as response:
        assert json.loads(await response.read()) == busy
    assert (response.status, response.headers["Retry-After"]) == (429, "2")
    texts = [await complete_text(http) for _ in range(5)]
    assert texts[:4] == ["one", "one", "two", "three"]
    assert texts[4].startswith("You wrote")
    assert len(script.requests) == 4


async def test_times_none_repeats_a_reply_without_end(
    loop_server: LocalOpenRouter, http: aiohttp.ClientSession
) -> None:
    loop_server.reply("again", times=None).then("never")

    texts = [await complete_text(http) for _ in range(3)]

    assert texts == ["again"] * 3


def test_times_below_one_is_rejected() -> None:
    with pytest.raises(ValueError, match="times"):
        LocalOpenRouter().reply("never", times=0)


async def test_script_with_a_condition_comes_before_one_without(
    loop_server: LocalOpenRouter, http: aiohttp.ClientSession
) -> None:
    loop_server.reply("any")
    loop_server.reply("by model", when="m/x")
    loop_server.reply("by text", when="needle")
    loop_server.reply("by function", when=lambda seen: seen.fields.get("seed") == 1)

    needle = [{"role": "user", "content": "a needle"}]
    assert await complete_text(http, messages=needle) == "by text"
    assert await complete_text(http, seed=1) == "by function"
    assert await complete_text(http, model="m/x") == "by model"
    assert await complete_text(http, model="m/x") == "any"


async def test_function_makes_the_reply_from_the_request(
    loop_server: LocalOpenRouter, http: aiohttp.ClientSession
) -> None:
    """It returns content or a `Reply`, and may be a coroutine function."""

    async def slow(seen: SeenRequest) -> Reply:
        return Reply(f"slow {seen.model}", status=201)

    loop_server.reply(lambda seen: f"fast {seen.prompt}").then(slow)

    assert await complete_text(http) == "fast Hello"
    async with http.post("chat/completions", json=BODY) as response:
        assert response.status == 201
        assert b"slow openai/gpt-4o-mini" in await response.read()


async def test_path_selects_the_endpoint_of_a_script(
    loop_server: LocalOpenRouter, http: aiohttp.ClientSession
) -> None:
    loop_server.reply(
        json={"data": []}, path="/models", when=lambda seen: seen.model == ""
    )
    loop_server.reply(path="/credits", delay=0.001)
    loop_server.reply("for chat only")

    async with http.get("models") as response:
        assert await response.json() == {"data": []}
    loop_server.reply(status=503, path=None)
    async with http.get("beta/batches") as response:
        assert response.status == 503
    async with http.get("credits") as response:
        assert (await response.json())["data"]["total_credits"] == 100


async def test_default_replaces_the_completion_only() -> None:
    async with (
        LocalOpenRouter(default="default") as server,
        aiohttp.ClientSession(headers={"Authorization": "Bearer k"}) as http,
    ):
        async with http.post(f"{server.url}/chat/completions", json=BODY) as response:
            body = await response.json()
        async with http.get(f"{server.url}/key") as response:
            key = await response.json()

        assert body["choices"][0]["message"]["content"] == "default"
        assert "data" in key
