"""Parsing of plain responses: completions, streams, errors, other bodies."""

import json
from typing import Any

import pytest
from multidict import CIMultiDict

from openrouter_async.errors import (
    APIError,
    BadGatewayError,
    MalformedResponseError,
    OpenRouterError,
    PaymentRequiredError,
    StreamInterruptedError,
)
from openrouter_async.protocol.error_parsing import with_exchange
from openrouter_async.protocol.response_objects import read_response
from openrouter_async.protocol.response_parsing import (
    is_decisive,
    is_empty,
    is_event_stream,
    media_type,
    partial_of,
    read_chat,
    read_json,
    usage_of,
)
from openrouter_async.types import Exchange

WALL_TIME = 1_800_000_000.0


# --- responses ---------------------------------------------------------------------


def exchange(media: str | None = "application/json", status: int = 200) -> Exchange:
    headers = (
        CIMultiDict[str]() if media is None else CIMultiDict({"Content-Type": media})
    )
    return Exchange(status=status, headers=headers)


REPLY = b'\n  {"id":"gen-1","choices":[{"message":{"content":"hello"}}]}\n'


@pytest.mark.parametrize("media", ["application/json", None, "text/plain", "x/y"])
def test_response_is_read_with_any_media_type_and_white_space(
    media: str | None,
) -> None:
    http = exchange(media)

    response = read_chat(REPLY, http, WALL_TIME)

    assert response.text == "hello"
    assert response.http is http
    assert http.generation_id == "gen-1"


def test_generation_id_of_the_headers_takes_precedence() -> None:
    http = exchange()
    http.generation_id = "gen-header"

    read_chat(REPLY, http, WALL_TIME)

    assert http.generation_id == "gen-header"


@pytest.mark.parametrize(
    ("sent", "status", "message"),
    [
        (b"", 200, "The response is empty."),
        (b" \n \n", 200, "The response is empty."),
        (b"", 204, "The response is empty, with status 204."),
        (b"[1]", 200, "The response must be a JSON object, not list."),
        (b"null", 200, "The response must be a JSON object, not NoneType."),
        (b'"hi"', 200, "The response must be a JSON object, not str."),
        (b'{"choices": [', 200, "Invalid JSON"),
        (b"error code: 1033", 200, "Invalid JSON"),
        (b"<html><title>Sign in</title>", 200, "an HTML page, 'Sign in', not JSON"),
        (b"<!doctype html>", 200, "an HTML page, 'untitled', not JSON"),
    ],
)
@pytest.mark.parametrize("media", ["application/json", "text/html", "text/plain", None])
def test_empty_cut_or_foreign_body_is_malformed(
    sent: bytes, status: int, message: str, media: str | None
) -> None:
    http = exchange(media, status)
    http.generation_id = "gen-1"

    with pytest.raises(MalformedResponseError) as caught:
        read_chat(sent, http, WALL_TIME)

    assert message in caught.value.message
    assert caught.value.http is http
    assert caught.value.generation_id == "gen-1"
    assert ("check base_url" in (caught.value.hint or "")) is sent.startswith(b"<")


def test_json_of_other_endpoints_is_returned_unchanged() -> None:
    assert read_json(b'\n{"data":[1,null]}', exchange(), WALL_TIME) == {
        "data": [1, None]
    }
    assert read_json(b"[]", exchange(), WALL_TIME) == []
    with pytest.raises(MalformedResponseError, match="empty"):
        read_json(b"", exchange(), WALL_TIME)


@pytest.mark.parametrize(
    ("media", "start", "stream"),
    [
        ("text/event-stream", b"", True),
        ("text/event-stream; charset=utf-8", b"{", False),
        ("Text/Event-Stream", b" [", False),
        ("text/event-stream", b"<", False),
        ("Text/Event-Stream; charset=latin-1", b"upstream error", True),
        ("application/json", b"data: {}", True),
        ("application/json; charset=utf-8", b": x", True),
        ("text/html", b"\xef\xbb\xbf data: {}", True),
        ("application/json", b"retry: 5", True),
        ("application/json", b"id:5", True),
        ("text/plain", b"data", True),
        ("text/plain", b"datum: 5", False),
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
def test_first_bytes_of_a_body_decide_if_it_is_a_stream(
    media: str | None,
    start: bytes,
    stream: bool,
) -> None:
    assert is_event_stream(exchange(media), start) is stream


def test_media_type_has_no_parameters_and_is_lower_case() -> None:
    assert media_type(exchange(" Application/JSON ; charset=x")) == "application/json"
    assert media_type(exchange(None)) == ""


# --- streams sent for plain requests ---------------------------------------------


def streamed(*events: Any, done: bool = True) -> bytes:
    texts = [event if isinstance(event, str) else json.dumps(event) for event in events]
    if done:
        texts.append("[DONE]")
    return b": hello\n\n" + "".join(f"data: {text}\n\n" for text in texts).encode()


def content(text: str, finish: str | None = None) -> dict[str, Any]:
    return {
        "id": "gen-1",
        "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish}],
    }


@pytest.mark.parametrize("media", ["text/event-stream", None, "text/plain"])
def test_stream_sent_for_a_plain_request_is_accumulated(media: str | None) -> None:
    http = exchange(media)

    response = read_chat(
        streamed(content("hel"), content("lo", "stop")), http, WALL_TIME
    )

    assert (response.text, response.finish_reason, response.id) == (
        "hello",
        "stop",
        "gen-1",
    )
    assert response.http is http
    assert http.generation_id == "gen-1"


@pytest.mark.parametrize(
    ("events", "done"),
    [
        ([content("hello")], True),
        ([content("hello", "stop")], False),
        ([content("hello", "stop"), {"usage": {"cost": 1}}], False),
    ],
)
def test_finish_reason_or_done_is_an_end(events: list[Any], done: bool) -> None:
    sent = streamed(*events, done=done)

    assert read_chat(sent, exchange("text/event-stream"), WALL_TIME).text == "hello"


@pytest.mark.parametrize(
    ("body", "media", "text"),
    [
        (streamed(content("hel"), done=False) + b'data: {"cho', None, "hel"),
        (streamed(content("hel")) + streamed(content("more")), None, "hel"),
        (streamed(content("hel"), "{oops", done=False), None, "hel"),
        (b": hello\n\n", "text/event-stream", None),
        (b'{"choices":[{"mess', "application/json", None),
    ],
)
def test_partial_of_a_body_that_broke_off_is_the_choices_of_its_events(
    body: bytes, media: str | None, text: str | None
) -> None:
    """Events are read up to the end or the first one that is damaged."""
    partial = partial_of(body, exchange(media))

    assert (None if partial is None else partial.text) == text


def test_events_after_done_are_not_read() -> None:
    sent = streamed(content("hello"), "[DONE]", "garbage")

    assert read_chat(sent, exchange("text/event-stream"), WALL_TIME).text == "hello"


@pytest.mark.parametrize(
    ("events", "partial"),
    [([content("hel"), content("lo")], "hello"), ([{"id": "gen-1"}], None), ([], None)],
)
def test_stream_without_an_end_is_interrupted(
    events: list[Any], partial: str | None
) -> None:
    http = exchange("text/event-stream")

    with pytest.raises(StreamInterruptedError) as caught:
        read_chat(streamed(*events, done=False), http, WALL_TIME)

    found = caught.value.partial
    assert (None if found is None else found.text) == partial
    assert caught.value.http is http


def test_error_event_raises_with_the_partial_response() -> None:
    sent = streamed(content("hel"), {"error": {"code": 502, "message": "Gone"}})

    with pytest.raises(BadGatewayError, match="Gone") as caught:
        read_chat(sent, exchange("text/event-stream"), WALL_TIME)

    assert caught.value.partial is not None
    assert caught.value.partial.text == "hel"


def test_event_that_is_not_json_raises_with_the_partial_response() -> None:
    with pytest.raises(MalformedResponseError) as caught:
        read_chat(
            streamed(content("hel"), "{"), exchange("text/event-stream"), WALL_TIME
        )

    assert caught.value.partial is not None
    assert caught.value.partial.text == "hel"


# --- predicates ------------------------------------------------------------------


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
def test_empty_completion_is_recognized(raw: dict[str, Any], empty: bool) -> None:
    assert is_empty(read_response(raw)) is empty


def test_usage_of_a_response_without_usage_is_none() -> None:
    response = read_response({"usage": {"cost": 0.5}})

    assert usage_of(response) is response.usage
    others: list[Any] = [read_response({}), read_response({"usage": None}), None, {}]
    assert [usage_of(other) for other in others] == [None] * 4


def test_usage_inside_a_choice_is_the_usage_of_the_response() -> None:
    response = read_response({"choices": [{"usage": {"total_tokens": 9}}]})
    usage = usage_of(response)

    assert usage is not None
    assert usage.total_tokens == 9


def test_with_exchange_sets_the_exchange_and_keeps_the_error_s_id() -> None:
    http = exchange()
    http.generation_id = "gen-1"
    known = APIError("No.", status_code=500, generation_id="gen-0")

    assert with_exchange(known, http) is known
    assert (known.http, known.generation_id) == (http, "gen-0")
    assert with_exchange(MalformedResponseError("No."), http).generation_id == "gen-1"


# --- wrong media types, ends and lines without a field ---------------------------

CHUNK = b'data: {"id": "gen-2", "choices": [{"delta": {"content": "so far"}}]}\n\n'
FINISH = b'data: {"choices": [{"delta": {}, "finish_reason": "stop"}]}'
MEDIA = ["text/event-stream", "application/json", "text/html", None]


@pytest.mark.parametrize("media", MEDIA)
@pytest.mark.parametrize(
    "end",
    [
        b"data: [DONE]\n\n",
        b"\n\ndata:[DONE]",
        b'data: "[DONE]"',
        b" [DONE]\ndata: [DONE]\n",
        b"",
    ],
)
def test_completion_before_done_is_read(media: str | None, end: bytes) -> None:
    assert read_chat(REPLY.strip() + end, exchange(media), WALL_TIME).text == "hello"


@pytest.mark.parametrize("body", [b"{nothing data: [DONE]", b"data [DONE]", b"[DONE]"])
def test_done_after_anything_but_json_is_malformed(body: bytes) -> None:
    with pytest.raises(OpenRouterError):
        read_chat(body, exchange(), WALL_TIME)


@pytest.mark.parametrize("media", MEDIA)
def test_events_are_read_under_any_label(media: str | None) -> None:
    body = b"\xef\xbb\xbf" + CHUNK + FINISH + b"\n\n"

    assert read_chat(body, exchange(media), WALL_TIME).text == "so far"


def test_last_event_without_an_empty_line_counts_if_it_is_whole() -> None:
    assert read_chat(CHUNK + FINISH, exchange(), WALL_TIME).text == "so far"
    with pytest.raises(StreamInterruptedError):
        read_chat(CHUNK + FINISH[:-2], exchange(), WALL_TIME)


@pytest.mark.parametrize(
    "line",
    [
        b'{"error": {"code": 402, "message": "No credits."}}',
        b'{\n "error": {\n  "code": 402,\n  "message": "No credits."}\n}\n\n',
        b'{"message": "No credits.", "code": 402}\ndata: [DONE]\n\n',
        b'[{"error": {"code": 402, "message": "No credits."}}]\n',
    ],
)
def test_error_on_a_line_without_data_is_raised(line: bytes) -> None:
    with pytest.raises(PaymentRequiredError, match="No credits") as caught:
        read_chat(CHUNK + line, exchange(), WALL_TIME)

    assert caught.value.partial is not None
    assert caught.value.partial.text == "so far"


def test_completion_after_comments_is_read() -> None:
    body = b': PROCESSING\n\n{"choices": [\n{"message": {"content": "hello"},\n'
    body += b'"finish_reason": "stop"}]}'

    assert read_chat(body, exchange("text/event-stream"), WALL_TIME).text == "hello"


def test_error_in_an_array_is_raised_from_a_200() -> None:
    with pytest.raises(BadGatewayError, match="Gone"):
        read_chat(
            b'[{"error": {"code": 502, "message": "Gone."}}]', exchange(), WALL_TIME
        )


@pytest.mark.parametrize(
    ("start", "decisive"),
    [
        (b"", False),
        (b"  \n", False),
        (b"d", False),
        (b"event", False),
        (b"event:", True),
        (b"data\n", True),
        (b"{", True),
        (b"\xef\xbb\xbf [", True),
        (b":", True),
        (b"<", True),
        (b"upstream", True),
    ],
)
def test_start_of_a_body_is_decisive_if_a_field_name_fits(
    start: bytes, *, decisive: bool
) -> None:
    assert is_decisive(start) is decisive
