"""The server sends any scripted body, and serves the next request as usual."""

import json
from typing import Any

import aiohttp
import pytest
from raw_client import BODY, complete_text

from openrouter_async.testing import LocalOpenRouter, SeenRequest, StreamError

BODIES: list[dict[str, Any]] = [
    {"usage": 12},
    {"choices": [None], "usage": [5]},
    {"choices": [3, {"message": {"content": "x"}}], "usage": {"cost": "free"}},
    {"choices": "none"},
    {"choices": {"0": {}}},
    {"choices": [{"message": "hello"}]},
    {"choices": [{"message": {"content": 4, "refusal": 4, "reasoning": 4}}]},
    {"choices": [{"message": {"tool_calls": [None, {"function": 4}]}}]},
    {"choices": [{"message": {"tool_calls": 4, "annotations": 4, "images": 4}}]},
    {"choices": [{"message": {"reasoning_details": [None, 4]}}]},
    {"choices": [{"index": "a"}], "usage": {"completion_tokens_details": 4}},
    {"choices": [{}], "id": "two\r\nlines"},
    {"choices": [{}], "id": {"a": "b"}, "model": 4, "provider": []},
    {"choices": [{"message": {"content": "half \ud83d"}}], "id": "\ud83d"},
]


@pytest.mark.parametrize("body", BODIES, ids=str)
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("form", ["json", "content", "chunks", "error"])
async def test_any_scripted_body_is_sent_and_the_next_request_is_served(
    body: dict[str, Any],
    form: str,
    loop_server: LocalOpenRouter,
    http: aiohttp.ClientSession,
    *,
    stream: bool,
) -> None:
    if form == "chunks":
        loop_server.reply(chunks=[body])
    elif form == "json":
        loop_server.reply(json=body)
    elif form == "content":
        loop_server.reply(body)
    else:
        loop_server.reply(json={"choices": [None], **body}, error=StreamError())
    fields = {**BODY, "stream": stream}

    async with http.post("chat/completions", json=fields) as response:
        received = await response.read()
    text = await complete_text(http)

    assert response.status == 200
    assert received
    assert text
    assert loop_server.stats.in_flight == 0
    assert loop_server.requests[0].closed is not None


@pytest.mark.parametrize("stream", [False, True])
async def test_request_with_half_a_character_is_served(
    loop_server: LocalOpenRouter, http: aiohttp.ClientSession, *, stream: bool
) -> None:
    message = {"role": "user", "content": "Say \ud83d please"}
    fields = {**BODY, "messages": [message], "stream": stream}
    data = json.dumps(fields).encode()

    async with http.post("chat/completions", data=data) as response:
        received = await response.read()
    text = await complete_text(http)

    assert response.status == 200
    assert received
    assert text
    assert loop_server.requests[0].prompt == "Say \ud83d please"


@pytest.mark.parametrize("models", [{"0": "x"}, 5, "x", [], None])
def test_model_of_a_request_with_invalid_models_is_empty(models: object) -> None:
    seen = SeenRequest("POST", "/", 0.0, 1, json={"models": models})

    assert seen.model == ""
