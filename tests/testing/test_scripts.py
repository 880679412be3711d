import json
from typing import Any

import aiohttp
import aiohttp.web
import pytest
from raw_client import HELLO, ask

from openrouter_async.testing import (
    LocalOpenRouter,
    Reply,
    SeenRequest,
    completion,
)


async def test_replies_come_in_order_then_the_usual(
    loop_server: LocalOpenRouter, http: aiohttp.ClientSession
) -> None:
    """A script is used up, then the next, then the loop_server's own answer."""
    busy = {"error": {"message": "busy", "code": 429}}
    script = loop_server.reply(status=429, headers={"Retry-After": "2"}, json=busy)
    script.then("one", times=2).then(completion("two"))
    loop_server.reply("three")

    async with http.post("chat/completions", json=HELLO) as response:
        assert json.loads(await response.read()) == busy
    assert (response.status, response.headers["Retry-After"]) == (429, "2")
    texts = [(await ask(http))["choices"][0]["message"]["content"] for _ in range(5)]
    assert texts[:4] == ["one", "one", "two", "three"]
    assert texts[4].startswith("You wrote")
    assert len(script.requests) == 4


async def test_a_reply_can_be_for_ever(
    loop_server: LocalOpenRouter, http: aiohttp.ClientSession
) -> None:
    """`times=None` never ends, whatever was scripted behind it."""
    loop_server.reply("again", times=None).then("never")

    said = [(await ask(http))["choices"][0]["message"]["content"] for _ in range(3)]

    assert said == ["again"] * 3


def test_a_reply_is_given_at_least_once() -> None:
    """`times=0` is a mistake."""
    with pytest.raises(ValueError, match="times"):
        LocalOpenRouter().reply("never", times=0)


async def test_matching_scripts_are_asked_first(
    loop_server: LocalOpenRouter, http: aiohttp.ClientSession
) -> None:
    """A function, a model's name or a word of the prompt choose the request."""
    loop_server.reply("any")
    loop_server.reply("by model", when="m/x")
    loop_server.reply("by text", when="needle")
    loop_server.reply("by rule", when=lambda seen: seen.fields.get("seed") == 1)

    async def said(**fields: Any) -> str:
        content = (await ask(http, **fields))["choices"][0]["message"]["content"]
        return str(content)

    assert await said(messages=[{"role": "user", "content": "a needle"}]) == "by text"
    assert await said(seed=1) == "by rule"
    assert await said(model="m/x") == "by model"
    assert await said(model="m/x") == "any"


async def test_a_function_may_answer(
    loop_server: LocalOpenRouter, http: aiohttp.ClientSession
) -> None:
    """An answer may be made from the request: words, a reply, at once or later."""

    async def later(seen: SeenRequest) -> Reply:
        return Reply(f"later {seen.model}", status=201)

    loop_server.reply(lambda seen: f"now {seen.prompt}").then(later)

    assert (await ask(http))["choices"][0]["message"]["content"] == "now Hello"
    async with http.post("chat/completions", json=HELLO) as response:
        assert response.status == 201
        assert b"later openai/gpt-4o-mini" in await response.read()


async def test_other_paths_can_be_scripted(
    loop_server: LocalOpenRouter, http: aiohttp.ClientSession
) -> None:
    """`path` names the end of the path; None is any path."""
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


async def test_the_default_can_be_given() -> None:
    """`default` is what comes when no script is left; other paths keep theirs."""
    async with (
        LocalOpenRouter(default="so what") as server,
        aiohttp.ClientSession(headers={"Authorization": "Bearer k"}) as http,
    ):
        async with http.post(f"{server.url}/chat/completions", json=HELLO) as r:
            said = (await r.json())["choices"][0]["message"]["content"]
        async with http.get(f"{server.url}/key") as r:
            key = await r.json()

        assert said == "so what"
        assert "data" in key
