import json
import re
from typing import Any

import aiohttp
import jsonschema  # type: ignore[import-untyped]
import pytest
from raw_client import (
    BODY,
    STREAM_BODY,
    complete,
    complete_text,
    parse_events,
    read_stream,
    text_of,
)

from openrouter_async.testing import LocalOpenRouter, tool_call

GENERATION_ID = re.compile(r"gen-\d{10}-[A-Za-z0-9]{20}")


CITY: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city"],
}


WEATHER = {"type": "function", "function": {"name": "get_weather", "parameters": CITY}}


CALENDAR = {"type": "function", "function": {"name": "calendar"}}


async def test_completion_quotes_the_prompt_and_has_usage(
    loop_server: LocalOpenRouter, http: aiohttp.ClientSession
) -> None:
    async with http.post("chat/completions", json=BODY) as response:
        body = json.loads(await response.read())

    assert response.status == 200
    assert response.content_type == "application/json"
    assert response.headers["Transfer-Encoding"] == "chunked"
    assert GENERATION_ID.fullmatch(body["id"])
    assert response.headers["X-Generation-Id"] == body["id"]
    assert loop_server.requests[0].generation_id == body["id"]
    assert '"Hello"' in body["choices"][0]["message"]["content"]
    assert body["choices"][0]["finish_reason"] == "stop"
    assert (body["model"], body["provider"]) == (BODY["model"], "OpenAI")
    usage = body["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert 0 < usage["cost"] < 0.001
    assert loop_server.stats.cost == usage["cost"]


async def test_same_request_gets_the_same_completion(
    http: aiohttp.ClientSession,
) -> None:
    """Only the id and the time differ."""
    first, second = await complete(http), await complete(http)

    assert first["id"] != second["id"]
    same = {"id": "", "created": 0}
    assert {**first, **same} == {**second, **same}


async def test_stream_has_the_content_of_the_plain_response(
    http: aiohttp.ClientSession,
) -> None:
    """Comments come first; the last chunk repeats the finish reason, with the usage."""
    plain = await complete(http)
    stream = await read_stream(http)
    events = parse_events(stream)

    assert stream.startswith(b": OPENROUTER PROCESSING\n\n")
    assert stream.endswith(b"data: [DONE]\n\n")
    assert text_of(events) == plain["choices"][0]["message"]["content"]
    assert {e["choices"][0]["delta"]["role"] for e in events} == {"assistant"}
    assert len({e["id"] for e in events}) == 1
    finishes = [e["choices"][0]["finish_reason"] for e in events]
    assert finishes == [None] * (len(events) - 2) + ["stop", "stop"]
    assert [e["usage"] for e in events if "usage" in e] == [plain["usage"]]


async def test_stream_has_the_recorded_headers(
    http: aiohttp.ClientSession,
) -> None:
    async with http.post("chat/completions", json=STREAM_BODY) as response:
        first = parse_events(await response.read())[0]

    assert response.headers["Content-Type"] == "text/event-stream"
    assert response.headers["Cache-Control"] == "no-cache"
    assert response.headers["X-Generation-Id"] == first["id"]


@pytest.mark.parametrize(
    ("tool_choice", "prompt", "called"),
    [
        ("auto", "Hello", ["get_weather"]),
        ("required", "Hello", ["get_weather"]),
        ("none", "Hello", []),
        ({"type": "function", "function": {"name": "calendar"}}, "Hello", ["calendar"]),
        ("auto", "Ask the calendar", ["calendar"]),
        ("auto", "Get weather and calendar", ["get_weather", "calendar"]),
    ],
)
async def test_functions_named_by_prompt_or_tool_choice_are_called(
    http: aiohttp.ClientSession,
    tool_choice: object,
    prompt: str,
    called: list[str],
) -> None:
    """Their arguments are valid for the function's schema."""
    body = await complete(
        http,
        tools=[WEATHER, CALENDAR, {"type": "openrouter:web_search"}],
        tool_choice=tool_choice,
        messages=[{"role": "user", "content": prompt}],
    )
    choice = body["choices"][0]
    calls = choice["message"].get("tool_calls", [])

    assert [call["function"]["name"] for call in calls] == called
    assert len({call["id"] for call in calls}) == len(calls)
    assert [call["index"] for call in calls] == list(range(len(calls)))
    assert choice["finish_reason"] == ("tool_calls" if called else "stop")
    assert (choice["message"]["content"] is None) == bool(called)
    for call in calls:
        arguments = json.loads(call["function"]["arguments"])
        if call["function"]["name"] == "get_weather":
            jsonschema.validate(arguments, CITY)


async def test_parallel_tool_calls_false_leaves_one_call(
    http: aiohttp.ClientSession,
) -> None:
    body = await complete(
        http,
        tools=[WEATHER, CALENDAR],
        parallel_tool_calls=False,
        messages=[{"role": "user", "content": "calendar and get_weather"}],
    )

    assert len(body["choices"][0]["message"]["tool_calls"]) == 1


async def test_tool_call_fragments_add_up_to_valid_arguments(
    http: aiohttp.ClientSession,
) -> None:
    events = parse_events(await read_stream(http, tools=[WEATHER]))
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


async def test_tool_result_is_quoted_in_the_next_text(
    http: aiohttp.ClientSession,
) -> None:
    turns = [
        {"role": "user", "content": "Weather?"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [tool_call("get_weather")],
        },
        {"role": "tool", "tool_call_id": "call_get_weather_0", "content": "18 C"},
    ]
    body = await complete(http, tools=[WEATHER], messages=turns)

    assert "18 C" in body["choices"][0]["message"]["content"]
    assert body["choices"][0]["finish_reason"] == "stop"


async def test_json_schema_content_is_valid_for_the_schema(
    http: aiohttp.ClientSession,
) -> None:
    json_schema = {"name": "w", "schema": CITY}
    text = await complete_text(
        http, response_format={"type": "json_schema", "json_schema": json_schema}
    )

    jsonschema.validate(json.loads(text), CITY)


async def test_json_object_content_contains_the_prompt(
    http: aiohttp.ClientSession,
) -> None:
    text = await complete_text(http, response_format={"type": "json_object"})

    assert "Hello" in json.loads(text)["answer"]


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
async def test_reasoning_is_sent_if_requested_and_counted_if_hidden(
    http: aiohttp.ClientSession,
    fields: dict[str, Any],
    shown: object,
    counted: object,
) -> None:
    body = await complete(http, **fields)
    message, usage = body["choices"][0]["message"], body["usage"]

    assert bool(message["reasoning"]) == shown
    assert ("reasoning_details" in message) == shown
    assert bool(usage["completion_tokens_details"]["reasoning_tokens"]) == counted
    total = usage["prompt_tokens"] + usage["completion_tokens"]
    assert usage["total_tokens"] == total


async def test_reasoning_streams_before_the_content(
    http: aiohttp.ClientSession,
) -> None:
    """The signature of an Anthropic model is a last detail without text."""
    model = "anthropic/claude-haiku-4.5"
    events = parse_events(
        await read_stream(http, model=model, reasoning={"effort": "low"})
    )
    deltas = [event["choices"][0]["delta"] for event in events]
    details = [d["reasoning_details"][0] for d in deltas if "reasoning_details" in d]

    assert "Hello" in "".join(d.get("text", "") for d in details)
    assert details[-1] == {
        "type": "reasoning.text",
        "signature": "c2lnbmVk",
        "format": "anthropic-claude-v1",
        "index": 0,
    }
    first_text = next(i for i, d in enumerate(deltas) if d["content"])
    assert all("reasoning_details" not in d for d in deltas[first_text:])


async def test_max_tokens_and_stop_cut_the_text(http: aiohttp.ClientSession) -> None:
    short = (await complete(http, max_tokens=3))["choices"][0]
    stopped = (await complete(http, stop="Hello"))["choices"][0]
    listed = (await complete(http, stop=["nowhere", ""]))["choices"][0]

    assert (short["message"]["content"], short["finish_reason"]) == (
        "You wrote:",
        "length",
    )
    assert stopped["message"]["content"] == 'You wrote: "'
    assert stopped["finish_reason"] == listed["finish_reason"] == "stop"


async def test_media_logprobs_and_router_metadata_are_sent_if_requested(
    http: aiohttp.ClientSession,
) -> None:
    headers = {"X-OpenRouter-Metadata": "enabled"}
    fields = {**BODY, "modalities": ["image", "audio"], "logprobs": True}
    async with http.post("chat/completions", json=fields, headers=headers) as response:
        body = json.loads(await response.read())
    deltas = [
        event["choices"][0]
        for event in parse_events(
            await read_stream(http, modalities=["image"], logprobs=True)
        )
    ]

    message = body["choices"][0]["message"]
    assert message["images"][0]["image_url"]["url"].startswith("data:image/png")
    assert message["audio"]["transcript"] == message["content"]
    logprobs = body["choices"][0]["logprobs"]["content"]
    assert "".join(entry["token"] for entry in logprobs) == message["content"]
    assert body["openrouter_metadata"]["requested"] == BODY["model"]
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
async def test_prompt_is_read_from_any_content(
    http: aiohttp.ClientSession, content: object, quoted: str
) -> None:
    messages = [{"role": "user", "content": content}, "invalid"]

    assert quoted in await complete_text(http, messages=messages)


async def test_prompt_field_replaces_missing_messages(
    loop_server: LocalOpenRouter, http: aiohttp.ClientSession
) -> None:
    """The legacy form of a request."""
    body = await complete(http, messages=[], prompt="Once upon a time")

    assert '"Once upon a time"' in body["choices"][0]["message"]["content"]
    assert body["usage"]["prompt_tokens"] > 6
    assert loop_server.requests[0].prompt == "Once upon a time"


async def test_model_defaults_to_the_first_of_models_or_gpt_4o_mini(
    http: aiohttp.ClientSession,
) -> None:
    """A free model costs the integer 0."""
    fallback = await complete(http, model=None, models=["meta-llama/llama:free", "b"])
    default = await complete(http, model=None)

    assert fallback["model"] == "meta-llama/llama:free"
    assert fallback["usage"]["cost"] == 0
    assert default["model"] == "openai/gpt-4o-mini"
