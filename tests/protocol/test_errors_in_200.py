"""Errors inside a 200, and random bodies, become the documented exceptions."""

import json
from typing import Any

import pytest
from error_bodies import WALL, enveloped, error_of, exchange
from hypothesis import given
from hypothesis import strategies as st

from openrouter_async.errors import (
    APIError,
    BadGatewayError,
    BadRequestError,
    GatewayTimeoutError,
    InternalServerError,
    MalformedResponseError,
    NotFoundError,
    OpenRouterError,
    RateLimitError,
    ServiceUnavailableError,
    status_class,
)
from openrouter_async.protocol.error_parsing import (
    error_from_body,
    find_error,
)
from openrouter_async.protocol.response_objects import read_response
from openrouter_async.protocol.response_parsing import (
    read_chat,
    read_json,
)
from openrouter_async.types import Exchange

# --- errors inside a 200 ---------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"code": 402}, 402),
        ({"code": 402.0}, 402),
        ({"code": "402"}, 402),
        ({"code": "402.5"}, 500),
        ({"code": "server_error"}, 500),
        ({"code": "\u0664\u0660\u0662"}, 500),
        ({"code": "4020"}, 500),
        ({"code": "40200000"}, 500),
        ({"code": 200}, 500),
        ({"code": 600}, 500),
        ({"code": 402.5}, 500),
        ({"code": True}, 500),
        ({"code": None}, 500),
        ({"code": 0, "http_status": 404}, 404),
        ({"error_type": "provider_overloaded"}, 503),
        ({"code": 1, "metadata": {"error_type": "timeout"}}, 504),
        ({"code": 429, "metadata": {"error_type": "timeout"}}, 429),
        ({"metadata": {"error_type": "new_kind"}}, 500),
        ({"type": "payment_required"}, 402),
    ],
)
def test_status_of_an_error_in_a_200_is_its_code_or_its_type(
    fields: dict[str, Any], status: int
) -> None:
    body = enveloped(**fields)

    error = error_from_body(body, exchange(200), wall_time=WALL)

    assert type(error) is status_class(status, envelope=True)
    assert error.status_code == status
    assert error.http.status == 200
    assert error.attempts[-1].billing == "insured"


def test_status_outside_2xx_overrides_the_code() -> None:
    for status in (302, 400, 404, 500, 599):
        error = error_from_body(enveloped(code=429), exchange(status), wall_time=WALL)
        assert error.status_code == status
    for ok in (None, 200, 202):
        error = error_from_body(enveloped(code=429), exchange(ok), wall_time=WALL)
        assert error.status_code == 429


def test_generation_id_of_the_header_overrides_the_one_of_the_body() -> None:
    http = exchange(200)
    body = {"id": "gen-body", **enveloped(code=500)}

    assert error_from_body(body, http, wall_time=WALL).generation_id == "gen-body"
    http.generation_id = "gen-header"
    assert error_from_body(body, http, wall_time=WALL).generation_id == "gen-header"


def test_exchange_without_attempts_is_accepted() -> None:
    error = error_from_body(enveloped(), Exchange(status=500), wall_time=WALL)

    assert error.attempts == []


PLAIN_200: dict[str, tuple[bytes, type[APIError], bool]] = {
    "error and user": (
        b'{"error":{"message":"Internal Server Error","code":500},"user_id":"user_REDACTED"}',
        InternalServerError,
        False,
    ),
    "id and error": (
        b'{"id":"gen-1","error":{"message":"Overloaded","code":502}}',
        BadGatewayError,
        False,
    ),
    "no choices": (
        b'{"choices":[],"error":{"message":"No.","code":"429"}}',
        RateLimitError,
        False,
    ),
    "after white space": (
        b'\n   \n\n   \n{"error":{"message":"Provider returned error","code":429}}',
        RateLimitError,
        False,
    ),
    "error in a choice": (
        b'{"choices":[{"finish_reason":"stop","message":{"content":"par"},"error":{"code":502}}]}',
        BadGatewayError,
        True,
    ),
    "finish reason error": (
        b'{"choices":[{"finish_reason":"error","message":{"content":"par"}}]}',
        InternalServerError,
        True,
    ),
    "string": (b'{"error":"Bad gateway"}', InternalServerError, False),
    "true": (b'{"error":true}', InternalServerError, False),
}


@pytest.mark.parametrize("name", PLAIN_200)
def test_error_in_a_plain_200_is_raised_with_the_partial_response(name: str) -> None:
    body, cls, partial = PLAIN_200[name]

    with pytest.raises(OpenRouterError) as caught:
        read_chat(body, exchange(200, Content_Type="application/json"), WALL)

    assert type(caught.value) is cls
    assert caught.value.retryable
    if partial:
        assert caught.value.partial is not None
        assert caught.value.partial.text == "par"
    else:
        assert caught.value.partial is None


def test_error_in_a_200_of_any_endpoint_is_raised() -> None:
    with pytest.raises(NotFoundError, match="404: No"):
        read_json(b'{"error":{"code":404,"message":"No."}}', exchange(), WALL)
    for fine in ('{"error":null}', '{"error":{}}', '{"error":""}', '{"data":[]}', "7"):
        assert read_json(fine.encode(), exchange(), WALL) == json.loads(fine)


# Every form of an error inside a stream that was recorded.
STREAMED: dict[str, tuple[dict[str, Any], type[APIError], str, bool]] = {
    "1 top level, int code, a choice": (
        {
            "id": "gen-1",
            "error": {
                "code": 502,
                "message": "Provider disconnected",
                "metadata": {"error_type": "provider_unavailable"},
            },
            "choices": [{"delta": {"content": ""}, "finish_reason": "error"}],
        },
        BadGatewayError,
        "502 provider_unavailable: Provider disconnected [gen-1]",
        True,
    ),
    "2 string code": (
        {
            "error": {"code": "server_error", "message": "Oops"},
            "choices": [{"delta": {"content": ""}, "finish_reason": "error"}],
        },
        InternalServerError,
        "500: Oops",
        True,
    ),
    "2 string of digits": (
        {"error": {"code": "429", "message": "Oops"}, "choices": []},
        RateLimitError,
        "429: Oops",
        False,
    ),
    "3 the only event": (
        {
            "id": "gen-1",
            "model": "",
            "choices": [],
            "error": {
                "code": 502,
                "message": "Internal server error",
                "metadata": {"error_type": "provider_unavailable"},
            },
        },
        BadGatewayError,
        "502 provider_unavailable: Internal server error [gen-1]",
        False,
    ),
    "4 without metadata, with usage": (
        {
            "error": {"code": 502, "message": "Oops"},
            "choices": [{"delta": {}, "finish_reason": None}],
            "usage": {"prompt_tokens": 1},
        },
        BadGatewayError,
        "502: Oops",
        True,
    ),
    "5 only a finish reason": (
        {
            "choices": [
                {
                    "delta": {},
                    "finish_reason": "error",
                    "native_finish_reason": "MALFORMED_FUNCTION_CALL",
                }
            ]
        },
        InternalServerError,
        "500: The provider ended the response with an error (MALFORMED_FUNCTION_CALL).",
        True,
    ),
    "5 without a native finish reason": (
        {"choices": [{"delta": {}, "finish_reason": "error"}]},
        InternalServerError,
        "500: The provider ended the response with an error.",
        True,
    ),
    "6 in the choice": (
        {
            "choices": [
                {
                    "delta": {},
                    "finish_reason": "stop",
                    "error": {"code": 400, "message": "Filtered"},
                }
            ]
        },
        BadRequestError,
        "400: Filtered",
        True,
    ),
    "7 bare": (
        {"error": {"code": 503, "message": "Busy"}},
        ServiceUnavailableError,
        "503: Busy",
        False,
    ),
    "7 string": ({"error": "Busy"}, InternalServerError, "500: Busy", False),
    "7 string in a choice": (
        {"choices": ["odd", {"error": "Busy"}]},
        InternalServerError,
        "500: Busy",
        True,
    ),
    "8 raw is an object": (
        {
            "error": {
                "code": 503,
                "message": "Provider returned error",
                "metadata": {
                    "provider_name": "Acme",
                    "raw": {"message": "try later", "retryable": True},
                },
            }
        },
        ServiceUnavailableError,
        "503: Provider returned error (Acme) 'try later'",
        False,
    ),
    "10 upstream idle": (
        {"error": {"code": 504, "message": "Upstream idle timeout exceeded"}},
        GatewayTimeoutError,
        "504: Upstream idle timeout exceeded",
        False,
    ),
}


@pytest.mark.parametrize("name", STREAMED)
def test_error_in_a_stream_is_found_and_read(name: str) -> None:
    event, cls, text, _ = STREAMED[name]
    found = find_error(event)

    error = error_from_body(event, exchange(200), wall_time=WALL, error=found)

    assert found is not None
    assert type(error) is cls
    assert str(error) == text
    assert error.body is event


@pytest.mark.parametrize("name", STREAMED)
def test_error_in_a_stream_read_as_a_body_is_raised_with_the_partial_response(
    name: str,
) -> None:
    event, cls, text, choices = STREAMED[name]
    first = {"choices": [{"index": 0, "delta": {"content": "par"}}]}
    alone = b"data: %s\n\n" % json.dumps(event).encode()
    after = b"data: %s\n\n%s" % (json.dumps(first).encode(), alone)
    http = exchange(200, Content_Type="text/event-stream")

    with pytest.raises(cls) as lone:
        read_chat(alone, http, WALL)
    with pytest.raises(cls) as late:
        read_chat(after, http, WALL)

    assert str(lone.value) == text
    assert (lone.value.partial is not None) is choices
    assert late.value.partial is not None
    assert late.value.partial.text == "par"


def test_event_without_an_error_has_none() -> None:
    events: list[dict[str, Any]] = [
        {},
        {"choices": None},
        {"choices": "x"},
        {"choices": [None, 1, {"delta": {}, "error": None}]},
        {"error": None, "choices": [{"finish_reason": "stop", "error": {}}]},
    ]

    for event in events:
        assert find_error(event) is None


def test_partial_response_is_kept_on_the_error() -> None:
    partial = read_response({"choices": [{"message": {"content": "par"}}]})

    error = error_from_body(enveloped(), exchange(), wall_time=WALL, partial=partial)

    assert error.partial is partial


# --- random bodies ---------------------------------------------------------------

NAMES = st.sampled_from(
    [
        "error",
        "message",
        "code",
        "metadata",
        "error_type",
        "type",
        "raw",
        "provider_name",
        "availability",
        "retryable",
        "retry_after",
        "fallback_models",
        "headers",
        "Retry-After",
        "X-RateLimit-Reset",
        "limit_source",
        "reason",
        "remedy_hint",
        "http_status",
        "detail",
        "id",
        "choices",
        "finish_reason",
        "native_finish_reason",
        "delta",
        "content",
        "usage",
        "user_id",
        "429",
        "500",
        "inf",
        "openrouter_credits",
        "routing_funnel",
    ]
)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(400, 599)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
    | NAMES
)
JSON = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(NAMES | st.text(max_size=5), inner, max_size=5)
    ),
    max_leaves=25,
)
OBJECTS = st.dictionaries(NAMES, JSON, max_size=6)


@given(body=OBJECTS | JSON, status=st.integers(300, 599))
def test_random_json_becomes_the_error_of_its_status(body: Any, status: int) -> None:
    error = error_of(body, status)

    assert isinstance(error, APIError)
    assert error.status_code == status
    assert error.retry_after is None or error.retry_after >= 0
    assert str(error).startswith(str(status))


@given(body=OBJECTS | JSON)
def test_random_json_in_a_200_is_a_response_or_a_documented_error(body: Any) -> None:
    text = json.dumps(body).encode()

    for raw in (text, b"data: %s\n\ndata: [DONE]\n\n" % text):
        try:
            response = read_chat(raw, exchange(200, Content_Type="x/y"), WALL)
        except APIError as error:
            assert 400 <= error.status_code < 600  # noqa: PT017 - a response is allowed, too
        except MalformedResponseError as error:
            assert error.partial or raw != text or not isinstance(body, dict)  # noqa: PT017 - as above
        else:
            assert response.usage is not None


@given(body=st.binary(max_size=60))
def test_random_bytes_become_the_error_of_their_status(body: bytes) -> None:
    error = error_of(body, 502)

    assert type(error) is BadGatewayError
