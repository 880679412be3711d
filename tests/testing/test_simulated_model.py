import json
import re
from typing import Any

import aiohttp
import aiohttp.web
import jsonschema  # type: ignore[import-untyped]
import pytest
from raw_client import HELLO, STREAM, ask, parse, read, text_of

from openrouter_async.testing import (
    LocalOpenRouter,
    tool_call,
)

GENERATION_ID = re.compile(r"gen-\d{10}-[A-Za-z0-9]{20}")


CITY: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city"],
}


WEATHER = {"type": "function", "function": {"name": "get_weather", "parameters": CITY}}


CLOCK = {"type": "function", "function": {"name": "clock"}}


async def test_a_completion_refers_to_the_prompt(
    loop_server: LocalOpenRouter, http: aiohttp.ClientSession
) -> None:
    """The reply has the shape of 2026, speaks of the prompt, and is billed."""
    async with http.post("chat/completions", json=HELLO) as response:
        body = json.loads(await response.read())

    assert response.status == 200
    assert response.content_type == "application/json"
    assert response.headers["Transfer-Encoding"] == "chunked"
    assert GENERATION_ID.fullmatch(body["id"])
    assert response.headers["X-Generation-Id"] == body["id"]
    assert loop_server.requests[0].generation_id == body["id"]
    assert '"Hello"' in body["choices"][0]["message"]["content"]
    assert body["choices"][0]["finish_reason"] == "stop"
    assert (body["model"], body["provider"]) == (HELLO["model"], "OpenAI")
    usage = body["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert 0 < usage["cost"] < 0.001
    assert loop_server.stats.cost == usage["cost"]


async def test_the_same_request_has_the_same_answer(
    http: aiohttp.ClientSession,
) -> None:
    """Only the id and the time differ between two equal requests."""
    first, second = await ask(http), await ask(http)

    assert first["id"] != second["id"]
    same = {"id": "", "created": 0}
    assert {**first, **same} == {**second, **same}


async def test_a_stream_is_the_plain_answer_in_pieces(
    http: aiohttp.ClientSession,
) -> None:
    """Comments, deltas with a role each, the finish repeated with usage, `[DONE]`."""
    plain = await ask(http)
    stream = await read(http)
    events = parse(stream)

    assert stream.startswith(b": OPENROUTER PROCESSING\n\n")
    assert stream.endswith(b"data: [DONE]\n\n")
    assert text_of(events) == plain["choices"][0]["message"]["content"]
    assert {e["choices"][0]["delta"]["role"] for e in events} == {"assistant"}
    assert len({e["id"] for e in events}) == 1
    finishes = [e["choices"][0]["finish_reason"] for e in events]
    assert finishes == [None] * (len(events) - 2) + ["stop", "stop"]
    assert [e["usage"] for e in events if "usage" in e] == [plain["usage"]]


async def test_a_stream_has_the_headers_that_were_recorded(
    http: aiohttp.ClientSession,
) -> None:
    """The media type has no charset, and the id is there before any byte."""
    async with http.post("chat/completions", json=STREAM) as response:
        first = parse(await response.read())[0]

    assert response.headers["Content-Type"] == "text/event-stream"
    assert response.headers["Cache-Control"] == "no-cache"
    assert response.headers["X-Generation-Id"] == first["id"]


@pytest.mark.parametrize(
    ("choice", "prompt", "called"),
    [
        ("auto", "Hello", ["get_weather"]),
        ("required", "Hello", ["get_weather"]),
        ("none", "Hello", []),
        ({"type": "function", "function": {"name": "clock"}}, "Hello", ["clock"]),
        ("auto", "Ask the clock", ["clock"]),
        ("auto", "Get weather and clock", ["get_weather", "clock"]),
    ],
)
async def test_tools_are_called(
    http: aiohttp.ClientSession,
    choice: object,
    prompt: str,
    called: list[str],
) -> None:
    """A user's message with tools is answered by calls whose arguments fit."""
    body = await ask(
        http,
        tools=[WEATHER, CLOCK, {"type": "openrouter:web_search"}],
        tool_choice=choice,
        messages=[{"role": "user", "content": prompt}],
    )
    answer = body["choices"][0]
    calls = answer["message"].get("tool_calls", [])

    assert [call["function"]["name"] for call in calls] == called
    assert len({call["id"] for call in calls}) == len(calls)
    assert [call["index"] for call in calls] == list(range(len(calls)))
    assert answer["finish_reason"] == ("tool_calls" if called else "stop")
    assert (answer["message"]["content"] is None) == bool(called)
    for call in calls:
        arguments = json.loads(call["function"]["arguments"])
        if call["function"]["name"] == "get_weather":
            jsonschema.validate(arguments, CITY)


async def test_parallel_calls_can_be_refused(http: aiohttp.ClientSession) -> None:
    """`parallel_tool_calls: false` leaves one call."""
    body = await ask(
        http,
        tools=[WEATHER, CLOCK],
        parallel_tool_calls=False,
        messages=[{"role": "user", "content": "clock and get_weather"}],
    )

    assert len(body["choices"][0]["message"]["tool_calls"]) == 1


async def test_tool_calls_stream_in_fragments(http: aiohttp.ClientSession) -> None:
    """The fragments of the arguments add up to those of the plain reply."""
    events = parse(await read(http, tools=[WEATHER]))
    fragments = [
        call
        for event in events
        for call in event["choices"][0]["delta"].get("tool_calls", [])
    ]

    assert fragments[0]["function"] == {"name": "get_weather", "arguments": ""}
    assert fragments[0]["type"] == "function"
    joined = "".join(f["function"]["arguments"] for f in fragments)
    jsonschema.validate(json.loads(joined), CITY)
    assert events[-1]["choices"][0]["finish_reason"] == "tool_calls"


async def test_a_tool_result_is_answered_in_words(http: aiohttp.ClientSession) -> None:
    """After the result of a tool comes a text that has it."""
    turns = [
        {"role": "user", "content": "Weather?"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [tool_call("get_weather")],
        },
        {"role": "tool", "tool_call_id": "call_get_weather_0", "content": "18 C"},
    ]
    body = await ask(http, tools=[WEATHER], messages=turns)

    assert "18 C" in body["choices"][0]["message"]["content"]
    assert body["choices"][0]["finish_reason"] == "stop"


async def test_structured_output_fits_its_schema(http: aiohttp.ClientSession) -> None:
    """`json_schema` is answered with JSON that a validator accepts."""
    schema = CITY
    wanted = {"type": "json_schema", "json_schema": {"name": "w", "schema": schema}}
    body = await ask(http, response_format=wanted)

    jsonschema.validate(json.loads(body["choices"][0]["message"]["content"]), schema)


async def test_a_json_object_is_one(http: aiohttp.ClientSession) -> None:
    """`json_object` is answered with a JSON object that refers to the prompt."""
    body = await ask(http, response_format={"type": "json_object"})

    assert "Hello" in json.loads(body["choices"][0]["message"]["content"])["answer"]


@pytest.mark.parametrize(
    ("fields", "shown", "counted"),
    [
        ({"reasoning": {"effort": "low"}}, True, True),
        ({"reasoning_effort": "high"}, True, True),
        ({"include_reasoning": True}, True, True),
        ({"reasoning": {"enabled": True, "exclude": True}}, False, True),
        ({"reasoning": {"effort": "none"}}, False, False),
        ({"reasoning": {"enabled": False}}, False, False),
        ({}, False, False),
    ],
)
async def test_reasoning_comes_when_asked_for(
    http: aiohttp.ClientSession,
    fields: dict[str, Any],
    shown: object,
    counted: object,
) -> None:
    """It is told in both forms, and billed even where it is hidden."""
    body = await ask(http, **fields)
    message, usage = body["choices"][0]["message"], body["usage"]

    assert bool(message["reasoning"]) == shown
    assert ("reasoning_details" in message) == shown
    assert bool(usage["completion_tokens_details"]["reasoning_tokens"]) == counted
    total = usage["prompt_tokens"] + usage["completion_tokens"]
    assert usage["total_tokens"] == total


async def test_reasoning_streams_before_the_content(
    http: aiohttp.ClientSession,
) -> None:
    """Pieces of reasoning come first, then a signature without text."""
    model = "anthropic/claude-haiku-4.5"
    events = parse(await read(http, model=model, reasoning={"effort": "low"}))
    deltas = [event["choices"][0]["delta"] for event in events]
    details = [d["reasoning_details"][0] for d in deltas if "reasoning_details" in d]

    assert "Hello" in "".join(d.get("text", "") for d in details)
    assert details[-1] == {
        "type": "reasoning.text",
        "signature": "c2lnbmVk",
        "format": "anthropic-claude-v1",
        "index": 0,
    }
    first_word = next(i for i, d in enumerate(deltas) if d["content"])
    assert all("reasoning_details" not in d for d in deltas[first_word:])


async def test_limits_are_obeyed(http: aiohttp.ClientSession) -> None:
    """`max_tokens` cuts with "length"; `stop` cuts with "stop"."""
    short = (await ask(http, max_tokens=3))["choices"][0]
    stopped = (await ask(http, stop="Hello"))["choices"][0]
    listed = (await ask(http, stop=["nowhere", ""]))["choices"][0]

    assert (short["message"]["content"], short["finish_reason"]) == (
        "You wrote:",
        "length",
    )
    assert stopped["message"]["content"] == 'You wrote: "'
    assert stopped["finish_reason"] == listed["finish_reason"] == "stop"


async def test_other_wishes_are_granted(http: aiohttp.ClientSession) -> None:
    """Images, sound, odds and the router's metadata come when asked for."""
    headers = {"X-OpenRouter-Metadata": "enabled"}
    wishes = {**HELLO, "modalities": ["image", "audio"], "logprobs": True}
    async with http.post("chat/completions", json=wishes, headers=headers) as response:
        body = json.loads(await response.read())
    deltas = [
        event["choices"][0]
        for event in parse(await read(http, modalities=["image"], logprobs=True))
    ]

    message = body["choices"][0]["message"]
    assert message["images"][0]["image_url"]["url"].startswith("data:image/png")
    assert message["audio"]["transcript"] == message["content"]
    odds = body["choices"][0]["logprobs"]["content"]
    assert "".join(entry["token"] for entry in odds) == message["content"]
    assert body["openrouter_metadata"]["requested"] == HELLO["model"]
    assert any("images" in choice["delta"] for choice in deltas)
    assert deltas[0]["logprobs"]["content"][0]["token"] == "You"


@pytest.mark.parametrize(
    ("content", "quoted"),
    [
        ([{"type": "text", "text": "Look"}, {"type": "image_url"}], '"Look"'),
        ([], "Hello from"),
        (None, "Hello from"),
    ],
)
async def test_any_content_is_answered(
    http: aiohttp.ClientSession, content: object, quoted: str
) -> None:
    """Parts are read for their text; without text there is an answer too."""
    body = await ask(http, messages=[{"role": "user", "content": content}, "odd"])

    assert quoted in body["choices"][0]["message"]["content"]


async def test_a_request_without_a_model_gets_one(http: aiohttp.ClientSession) -> None:
    """The first of `models`, or the default; a free one costs an integer zero."""
    fallback = await ask(http, model=None, models=["meta-llama/llama:free", "b"])
    default = await ask(http, model=None)

    assert fallback["model"] == "meta-llama/llama:free"
    assert fallback["usage"]["cost"] == 0
    assert default["model"] == "openai/gpt-4o-mini"
