"""What leaves, and where to; what came, and what it is."""

import json
from typing import Any

import pytest
from multidict import CIMultiDict

from openrouter_async.errors import (
    APIError,
    BadGatewayError,
    MalformedResponseError,
    StreamInterruptedError,
)
from openrouter_async.protocol.decode import read_response
from openrouter_async.protocol.error_parsing import with_exchange
from openrouter_async.protocol.response_parsing import (
    is_empty,
    is_event_stream,
    media_type,
    partial_of,
    read_chat,
    read_json,
    usage_of,
)
from openrouter_async.types import Exchange

WALL = 1_800_000_000.0


# --- replies ---------------------------------------------------------------------


def exchange(media: str | None = "application/json", status: int = 200) -> Exchange:
    headers = (
        CIMultiDict[str]() if media is None else CIMultiDict({"Content-Type": media})
    )
    return Exchange(status=status, headers=headers)


REPLY = b'\n  {"id":"gen-1","choices":[{"message":{"content":"hello"}}]}\n'


@pytest.mark.parametrize("media", ["application/json", None, "text/plain", "x/y"])
def test_a_reply_is_read(media: str | None) -> None:
    """White space around it, and the type it claims, are nothing."""
    http = exchange(media)

    reply = read_chat(REPLY, http, WALL)

    assert reply.text == "hello"
    assert reply.http is http
    assert http.generation_id == "gen-1"


def test_the_headers_generation_stays() -> None:
    """The id in the header wins over the body's."""
    http = exchange()
    http.generation_id = "gen-header"

    read_chat(REPLY, http, WALL)

    assert http.generation_id == "gen-header"


@pytest.mark.parametrize(
    ("sent", "status", "words"),
    [
        (b"", 200, "The response is empty."),
        (b" \n \n", 200, "The response is empty."),
        (b"", 204, "The response is empty, with status 204."),
        (b"[1]", 200, "The response is JSON, but not an object: a list."),
        (b"null", 200, "The response is JSON, but not an object: a NoneType."),
        (b'"hi"', 200, "The response is JSON, but not an object: a str."),
        (b'{"choices": [', 200, "Invalid JSON"),
        (b"error code: 1033", 200, "Invalid JSON"),
        (b"<html><title>Sign in</title>", 200, "an HTML page, 'Sign in', not JSON"),
        (b"<!doctype html>", 200, "an HTML page, 'untitled', not JSON"),
    ],
)
@pytest.mark.parametrize("media", ["application/json", "text/html", "text/plain", None])
def test_what_is_no_reply_is_malformed(
    sent: bytes, status: int, words: str, media: str | None
) -> None:
    """An empty, cut or foreign body is told as what it is, with the exchange."""
    http = exchange(media, status)
    http.generation_id = "gen-1"

    with pytest.raises(MalformedResponseError) as caught:
        read_chat(sent, http, WALL)

    assert words in caught.value.message
    assert caught.value.http is http
    assert caught.value.generation_id == "gen-1"
    assert ("check base_url" in (caught.value.hint or "")) is sent.startswith(b"<")


def test_any_json_is_read_as_it_came() -> None:
    """Other endpoints' replies are plain JSON."""
    assert read_json(b'\n{"data":[1,null]}', exchange(), WALL) == {"data": [1, None]}
    assert read_json(b"[]", exchange(), WALL) == []
    with pytest.raises(MalformedResponseError, match="empty"):
        read_json(b"", exchange(), WALL)


@pytest.mark.parametrize(
    ("media", "start", "stream"),
    [
        ("text/event-stream", b"", True),
        ("text/event-stream; charset=utf-8", b"{", True),
        ("Text/Event-Stream", b"{", True),
        ("application/json", b"data: {}", False),
        ("application/json; charset=utf-8", b": x", False),
        ("text/html", b"data: {}", False),
        ("text/plain", b"data: {}", True),
        ("text/plain", b" \n: OPENROUTER PROCESSING", True),
        ("application/octet-stream", b"event: x", True),
        (None, b"data: {}", True),
        (None, b'{"choices":[]}', False),
        (None, b"\n\n {", False),
        (None, b"<html>", False),
        (None, b"", False),
        ("", b"[1]", False),
    ],
)
def test_a_stream_is_known_by_its_type_or_its_start(
    media: str | None,
    start: bytes,
    stream: bool,
) -> None:
    """The media type tells; any other type is judged by the first byte."""
    assert is_event_stream(exchange(media), start) is stream


def test_the_media_type_is_without_parameters() -> None:
    """Case, parameters and blanks are taken off."""
    assert media_type(exchange(" Application/JSON ; charset=x")) == "application/json"
    assert media_type(exchange(None)) == ""


# --- a stream where a body was asked for -----------------------------------------


def streamed(*events: Any, done: bool = True) -> bytes:
    texts = [event if isinstance(event, str) else json.dumps(event) for event in events]
    if done:
        texts.append("[DONE]")
    return b": hello\n\n" + "".join(f"data: {text}\n\n" for text in texts).encode()


def piece(words: str, finish: str | None = None) -> dict[str, Any]:
    return {
        "id": "gen-1",
        "choices": [{"index": 0, "delta": {"content": words}, "finish_reason": finish}],
    }


@pytest.mark.parametrize("media", ["text/event-stream", None, "text/plain"])
def test_a_stream_for_a_plain_request_is_folded(media: str | None) -> None:
    """Events in place of a body are added up into the reply."""
    http = exchange(media)

    reply = read_chat(streamed(piece("hel"), piece("lo", "stop")), http, WALL)

    assert (reply.text, reply.finish_reason, reply.id) == ("hello", "stop", "gen-1")
    assert reply.http is http
    assert http.generation_id == "gen-1"


@pytest.mark.parametrize(
    ("events", "done"),
    [
        ([piece("hello")], True),
        ([piece("hello", "stop")], False),
        ([piece("hello", "stop"), {"usage": {"cost": 1}}], False),
    ],
)
def test_a_finish_reason_or_done_is_an_end(events: list[Any], done: bool) -> None:
    """Either shows that the answer is whole."""
    sent = streamed(*events, done=done)

    assert read_chat(sent, exchange("text/event-stream"), WALL).text == "hello"


@pytest.mark.parametrize(
    ("body", "media", "text"),
    [
        (streamed(piece("hel"), done=False) + b'data: {"cho', None, "hel"),
        (streamed(piece("hel")) + streamed(piece("more")), None, "hel"),
        (streamed(piece("hel"), "{oops", done=False), None, "hel"),
        (b": hello\n\n", "text/event-stream", None),
        (b'{"choices":[{"mess', "application/json", None),
    ],
)
def test_partial_of_a_body_that_broke_off_is_the_choices_of_its_events(
    body: bytes, media: str | None, text: str | None
) -> None:
    """The whole events are read up to the end or the first that is damaged."""
    partial = partial_of(body, exchange(media))

    assert (None if partial is None else partial.text) == text


def test_what_follows_done_is_not_read() -> None:
    """`[DONE]` ends it, whatever stands behind."""
    sent = streamed(piece("hello"), "[DONE]", "garbage")

    assert read_chat(sent, exchange("text/event-stream"), WALL).text == "hello"


@pytest.mark.parametrize(
    ("events", "partial"),
    [([piece("hel"), piece("lo")], "hello"), ([{"id": "gen-1"}], None), ([], None)],
)
def test_a_stream_that_stops_is_no_answer(
    events: list[Any], partial: str | None
) -> None:
    """Half an answer is not handed out as the whole."""
    http = exchange("text/event-stream")

    with pytest.raises(StreamInterruptedError) as caught:
        read_chat(streamed(*events, done=False), http, WALL)

    found = caught.value.partial
    assert (None if found is None else found.text) == partial
    assert caught.value.http is http


def test_an_error_in_it_has_what_came() -> None:
    """An error among the events raises as in a stream, with the text before it."""
    sent = streamed(piece("hel"), {"error": {"code": 502, "message": "Gone"}})

    with pytest.raises(BadGatewayError, match="Gone") as caught:
        read_chat(sent, exchange("text/event-stream"), WALL)

    assert caught.value.partial is not None
    assert caught.value.partial.text == "hel"


def test_garbage_in_it_has_what_came() -> None:
    """An event that is no JSON raises, with the text before it."""
    with pytest.raises(MalformedResponseError) as caught:
        read_chat(streamed(piece("hel"), "{"), exchange("text/event-stream"), WALL)

    assert caught.value.partial is not None
    assert caught.value.partial.text == "hel"


# --- small questions -------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "empty"),
    [
        ({}, True),
        ({"choices": []}, True),
        ({"choices": [{"message": {"content": ""}, "finish_reason": None}]}, True),
        ({"choices": [{"finish_reason": ""}], "usage": {"completion_tokens": 0}}, True),
        ({"choices": [{"finish_reason": "stop"}]}, False),
        ({"choices": [], "usage": {"completion_tokens": 3}}, False),
        ({"choices": [{"message": {"content": "x"}}]}, False),
        ({"choices": [{"message": {"reasoning": "x"}}]}, False),
        ({"choices": [{"message": {"refusal": "x"}}]}, False),
        ({"choices": [{"message": {"tool_calls": [{"id": "c"}]}}]}, False),
        ({"choices": [{"message": {"images": [{"type": "image_url"}]}}]}, False),
        ({"choices": [{"message": {"audio": {"id": "a"}}}]}, False),
    ],
)
def test_an_empty_completion_is_known(raw: dict[str, Any], empty: bool) -> None:
    """No words, no tokens and no finish reason: a model that started cold."""
    assert is_empty(read_response(raw)) is empty


def test_usage_is_told_only_if_it_came() -> None:
    """A reply without usage has none for the record."""
    reply = read_response({"usage": {"cost": 0.5}})

    assert usage_of(reply) is reply.usage
    others: list[Any] = [read_response({}), read_response({"usage": None}), None, {}]
    assert [usage_of(other) for other in others] == [None] * 4


def test_an_error_gets_the_exchange() -> None:
    """What was raised without knowing the exchange learns it, and keeps its own id."""
    http = exchange()
    http.generation_id = "gen-1"
    known = APIError("No.", status_code=500, generation_id="gen-0")

    assert with_exchange(known, http) is known
    assert (known.http, known.generation_id) == (http, "gen-0")
    assert with_exchange(MalformedResponseError("No."), http).generation_id == "gen-1"
