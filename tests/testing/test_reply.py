import json
import re
from typing import Any

import aiohttp
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

from openrouter_async.testing import LocalOpenRouter, Reply, StreamError
from openrouter_async.testing.reply import ErrorForm, FaultFields, ReplyFields

GENERATION_ID = re.compile(r"gen-\d{10}-[A-Za-z0-9]{20}")


async def test_list_of_texts_is_streamed_one_per_chunk(
    loop_server: LocalOpenRouter, http: aiohttp.ClientSession
) -> None:
    loop_server.reply(["He", "llo"], times=2)

    events = parse_events(await read_stream(http))
    text = await complete_text(http)

    assert [text_of([event]) for event in events] == ["He", "llo", "", ""]
    assert text == "Hello"


async def test_json_is_not_streamed_and_may_contain_big_integers(
    loop_server: LocalOpenRouter, http: aiohttp.ClientSession
) -> None:
    loop_server.reply(json={"id": "x", "big": 2**70})

    async with http.post("chat/completions", json=STREAM_BODY) as response:
        body = json.loads(await response.read())

    assert response.content_type == "application/json"
    assert response.headers["X-Generation-Id"] == "x"
    assert body == {"id": "x", "big": 2**70}


async def test_mapping_without_choices_is_not_streamed(
    loop_server: LocalOpenRouter, http: aiohttp.ClientSession
) -> None:
    loop_server.reply({"error": "odd"}).then(json=["no object"]).then([])

    assert await read_stream(http) == b'{"error":"odd"}'
    assert await read_stream(http) == b'["no object"]'
    assert text_of(parse_events(await read_stream(http))) == ""


async def test_chunks_are_sent_unchanged(
    loop_server: LocalOpenRouter, http: aiohttp.ClientSession
) -> None:
    loop_server.reply(chunks=[{"id": "gen-1"}, "odd", b"event: x\n\n"], comments=0)

    async with http.post("chat/completions", json=BODY) as response:
        stream = await response.read()

    assert (
        stream == b'data: {"id":"gen-1"}\n\ndata: odd\n\nevent: x\n\ndata: [DONE]\n\n'
    )
    assert response.headers["X-Generation-Id"] == "gen-1"


@pytest.mark.parametrize(
    ("fields", "content_type"),
    [
        ({"body": b'{"a":1}'}, "application/json"),
        ({"body": b": ping\n\ndata: {}\n\n"}, "text/event-stream"),
        ({"text": "<html></html>"}, "text/html"),
        ({"text": "{}", "content_type": "text/plain"}, "text/plain"),
        ({"text": "oops", "status": 502}, "application/json"),
    ],
)
async def test_raw_body_is_sent_unchanged_with_a_guessed_type(
    loop_server: LocalOpenRouter,
    http: aiohttp.ClientSession,
    fields: dict[str, Any],
    content_type: str,
) -> None:
    loop_server.reply(**fields)

    async with http.post("chat/completions", json=BODY) as response:
        body = await response.read()

    assert body == (fields.get("body") or fields["text"].encode())
    assert response.content_type == content_type


async def test_error_status_without_body_sends_the_error_body(
    loop_server: LocalOpenRouter, http: aiohttp.ClientSession
) -> None:
    loop_server.reply(status=529).then(status=418)

    assert (await complete(http))["error"] == {
        "message": "Provider overloaded",
        "code": 529,
    }
    assert (await complete(http))["error"]["message"] == "I'm a Teapot"


def test_conflicting_fields_are_rejected() -> None:
    with pytest.raises(ValueError, match="one of"):
        Reply("a", json={})
    with pytest.raises(ValueError, match="stop"):
        Reply("a", stop_after=1)


def test_reply_keywords_equal_the_fields_of_reply() -> None:
    fields = set(Reply.__annotations__) - {"content"}

    assert set(ReplyFields.__annotations__) == fields
    assert set(FaultFields.__annotations__) < fields


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("finish", "top int"),
        ("string_code", "top str"),
        ("no_choices", "top int"),
        ("after_length", "top int"),
        ("native", "none"),
        ("in_choice", "choice"),
        ("bare", "top int"),
        ("bare_string", "string"),
        ("raw", "top int"),
        ("idle_timeout", "top int"),
    ],
)
async def test_stream_error_replaces_the_rest_of_the_stream(
    loop_server: LocalOpenRouter,
    http: aiohttp.ClientSession,
    form: ErrorForm,
    expected: str,
) -> None:
    loop_server.reply(["a", "b", "c"], error=StreamError(form), error_after=2)

    stream = await read_stream(http)
    events = parse_events(stream)
    last = events[-1]

    assert text_of([e for e in events if "choices" in e]) == "ab"
    if expected.startswith("top"):
        assert type(last["error"]["code"]).__name__ == expected[4:]
    elif expected == "string":
        assert last == {"error": "Provider disconnected"}
    elif expected == "choice":
        assert last["choices"][0]["error"]["code"] == 502
    else:
        assert "error" not in last
        assert last["choices"][0]["finish_reason"] == "error"
    assert stream.endswith(b"[DONE]\n\n") == (form in ("after_length", "native"))
    if form == "idle_timeout":
        assert last["error"]["code"] == 504
    if form == "raw":
        assert last["error"]["metadata"]["raw"]["retryable"] is True
    if form == "no_choices":
        assert last["model"] == ""


async def test_stream_error_can_be_the_first_event(
    loop_server: LocalOpenRouter, http: aiohttp.ClientSession
) -> None:
    error = StreamError(
        code=429, message="slow", error_type=None, metadata={"provider_code": "x"}
    )
    loop_server.reply(chunks=[], error=error, error_after=0, done=True)

    stream = await read_stream(http)
    event = parse_events(stream)[0]

    assert event["error"] == {
        "code": 429,
        "message": "slow",
        "metadata": {"provider_code": "x"},
    }
    assert GENERATION_ID.fullmatch(event["id"])
    assert stream.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("form", ["finish", "native", "in_choice"])
async def test_stream_error_ends_a_plain_completion(
    loop_server: LocalOpenRouter, http: aiohttp.ClientSession, form: ErrorForm
) -> None:
    loop_server.reply("half", error=StreamError(form))

    choice = (await complete(http))["choices"][0]

    assert choice["finish_reason"] == "error"
    assert choice["message"]["content"] == "half"
    assert ("error" in choice) == (form != "native")
