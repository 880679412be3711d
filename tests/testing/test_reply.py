import json
import re
from typing import Any

import aiohttp
import aiohttp.web
import pytest
from raw_client import HELLO, STREAM, ask, parse, read, text_of

from openrouter_async.testing import (
    LocalOpenRouter,
    Reply,
    StreamError,
)
from openrouter_async.testing.reply import (
    ErrorForm,
    FaultFields,
    ReplyFields,
)

GENERATION_ID = re.compile(r"gen-\d{10}-[A-Za-z0-9]{20}")


async def test_a_list_is_one_chunk_each(
    loop_server: LocalOpenRouter, http: aiohttp.ClientSession
) -> None:
    """A list of texts is streamed as it is cut, and joined for a plain request."""
    loop_server.reply(["He", "llo"], times=2)

    events = parse(await read(http))
    plain = await ask(http)

    assert [text_of([event]) for event in events] == ["He", "llo", "", ""]
    assert plain["choices"][0]["message"]["content"] == "Hello"


async def test_json_is_sent_as_it_is(
    loop_server: LocalOpenRouter, http: aiohttp.ClientSession
) -> None:
    """`json` stays a plain body for a stream request; big integers go through."""
    loop_server.reply(json={"id": "x", "big": 2**70})

    async with http.post("chat/completions", json=STREAM) as response:
        body = json.loads(await response.read())

    assert response.content_type == "application/json"
    assert response.headers["X-Generation-Id"] == "x"
    assert body == {"id": "x", "big": 2**70}


async def test_a_mapping_without_choices_is_a_plain_body(
    loop_server: LocalOpenRouter, http: aiohttp.ClientSession
) -> None:
    """Only a completion can be streamed."""
    loop_server.reply({"error": "odd"}).then(json=["no object"]).then([])

    assert await read(http) == b'{"error":"odd"}'
    assert await read(http) == b'["no object"]'
    assert text_of(parse(await read(http))) == ""


async def test_chunks_are_sent_as_they_are(
    loop_server: LocalOpenRouter, http: aiohttp.ClientSession
) -> None:
    """Mappings as JSON, strings behind `data: `, bytes raw, `[DONE]` at the end."""
    loop_server.reply(chunks=[{"id": "gen-1"}, "odd", b"event: x\n\n"], comments=0)

    async with http.post("chat/completions", json=HELLO) as response:
        stream = await response.read()

    assert (
        stream == b'data: {"id":"gen-1"}\n\ndata: odd\n\nevent: x\n\ndata: [DONE]\n\n'
    )
    assert response.headers["X-Generation-Id"] == "gen-1"


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"body": b'{"a":1}'}, "application/json"),
        ({"body": b": ping\n\ndata: {}\n\n"}, "text/event-stream"),
        ({"text": "<html></html>"}, "text/html"),
        ({"text": "{}", "content_type": "text/plain"}, "text/plain"),
        ({"text": "oops", "status": 502}, "application/json"),
    ],
)
async def test_raw_bodies_are_sent_as_they_are(
    loop_server: LocalOpenRouter,
    http: aiohttp.ClientSession,
    fields: dict[str, Any],
    kind: str,
) -> None:
    """Bytes and text come out unchanged; their type is guessed or given."""
    loop_server.reply(**fields)

    async with http.post("chat/completions", json=HELLO) as response:
        body = await response.read()

    assert body == (fields.get("body") or fields["text"].encode())
    assert response.content_type == kind


async def test_a_status_alone_has_the_usual_envelope(
    loop_server: LocalOpenRouter, http: aiohttp.ClientSession
) -> None:
    """A status of 400 or more speaks OpenRouter's words."""
    loop_server.reply(status=529).then(status=418)

    assert (await ask(http))["error"] == {
        "message": "Provider overloaded",
        "code": 529,
    }
    assert (await ask(http))["error"]["message"] == "I'm a Teapot"


def test_one_thing_is_said_at_a_time() -> None:
    """Two bodies, or a time to stop without a way, are refused."""
    with pytest.raises(ValueError, match="one of"):
        Reply("a", json={})
    with pytest.raises(ValueError, match="stop"):
        Reply("a", stop_after=1)


def test_keywords_are_the_fields() -> None:
    """`reply` takes every field of `Reply`."""
    fields = set(Reply.__annotations__) - {"content"}

    assert set(ReplyFields.__annotations__) == fields
    assert set(FaultFields.__annotations__) < fields


@pytest.mark.parametrize(
    ("form", "seen"),
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
async def test_an_error_breaks_a_stream(
    loop_server: LocalOpenRouter,
    http: aiohttp.ClientSession,
    form: ErrorForm,
    seen: str,
) -> None:
    """After so many events the error takes the rest's place, in any form."""
    loop_server.reply(["a", "b", "c"], error=StreamError(form), error_after=2)

    stream = await read(http)
    events = parse(stream)
    last = events[-1]

    assert text_of([e for e in events if "choices" in e]) == "ab"
    if seen.startswith("top"):
        assert type(last["error"]["code"]).__name__ == seen[4:]
    elif seen == "string":
        assert last == {"error": "Provider disconnected"}
    elif seen == "choice":
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


async def test_an_error_may_be_the_first_event(
    loop_server: LocalOpenRouter, http: aiohttp.ClientSession
) -> None:
    """Own words and metadata; `[DONE]` where it is asked for."""
    failure = StreamError(
        code=429, message="slow", error_type=None, metadata={"provider_code": "x"}
    )
    loop_server.reply(chunks=[], error=failure, error_after=0, done=True)

    stream = await read(http)
    event = parse(stream)[0]

    assert event["error"] == {
        "code": 429,
        "message": "slow",
        "metadata": {"provider_code": "x"},
    }
    assert GENERATION_ID.fullmatch(event["id"])
    assert stream.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("form", ["finish", "native", "in_choice"])
async def test_an_error_ends_a_plain_answer_too(
    loop_server: LocalOpenRouter, http: aiohttp.ClientSession, form: ErrorForm
) -> None:
    """For a plain request it stands in the choice, beside the content."""
    loop_server.reply("half", error=StreamError(form))

    choice = (await ask(http))["choices"][0]

    assert choice["finish_reason"] == "error"
    assert choice["message"]["content"] == "half"
    assert ("error" in choice) == (form != "native")
