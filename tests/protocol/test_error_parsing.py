"""Error bodies in every envelope become one exception of the right class."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from attrs import field, frozen
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from openrouter_async.errors import (
    APIError,
    AuthenticationError,
    BadGatewayError,
    BadRequestError,
    ChatError,
    EdgeTimeoutError,
    GatewayTimeoutError,
    InternalServerError,
    MalformedResponseError,
    NotFoundError,
    OpenRouterError,
    PaymentRequiredError,
    PermissionDeniedError,
    RateLimitError,
    ServiceUnavailableError,
    status_class,
)
from openrouter_async.protocol.decode import read_response
from openrouter_async.protocol.error_parsing import (
    error_from_body,
    error_from_response,
    find_error,
    page_title,
    scrub,
)
from openrouter_async.protocol.response_parsing import (
    read_chat,
    read_json,
)
from openrouter_async.protocol.stream_state import StreamState
from openrouter_async.sse import SSEDecoder
from openrouter_async.types import Attempt, Exchange

WALL = 1_786_233_000.0
"""Ten minutes before the recorded reset time of the free tier."""

ACCOUNT = "user_2abcDEF345ghiJKL678"
KEY = "sk-or-v1-0123456789abcdef"


def exchange(status: int | None = 200, **headers: str) -> Exchange:
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return Exchange(
        status=status,
        headers=CIMultiDict(named),
        attempts=[Attempt(status=status)],
    )


def error_of(body: Any, status: int = 400, **headers: str) -> Any:
    """Return the exception for a body; typed Any, because tests read all attributes."""
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    return error_from_response(text, exchange(status, **headers), wall_time=WALL)


def enveloped(message: str = "No.", **more: Any) -> dict[str, Any]:
    return {"error": {"message": message, **more}}


# --- recorded bodies, shortened --------------------------------------------------


@frozen
class Case:
    """A body with its status, and the expected attributes of the error."""

    status: int
    error: dict[str, Any]
    cls: type[ChatError]
    retryable: bool = False
    retry_after: float | None = None
    provider: str | None = None
    upstream: str | None = None
    hint: str | None = None
    code: int | str | None = None
    error_type: str | None = None
    headers: dict[str, str] = field(factory=dict[str, str])


RELAYED_401 = '{"error":{"code":"authentication_error","message":"invalid key"}}\n'

BODIES: dict[str, Case] = {
    "bad parameter": Case(
        400,
        {"code": 400, "metadata": {"provider_name": None}},
        BadRequestError,
        code=400,
    ),
    "metadata null": Case(
        400, {"code": 400, "metadata": None}, BadRequestError, code=400
    ),
    "code absent": Case(404, {}, NotFoundError),
    "code null": Case(500, {"code": None}, InternalServerError, retryable=True),
    "code is a string of digits": Case(
        429, {"code": "429"}, RateLimitError, retryable=True, code="429"
    ),
    "code is a name": Case(
        400, {"code": "invalid_json"}, BadRequestError, code="invalid_json"
    ),
    "code is an object": Case(400, {"code": {"a": 1}}, BadRequestError),
    "status overrides the code": Case(
        502, {"code": 400}, BadGatewayError, retryable=True, code=400
    ),
    "the caller's key is invalid": Case(
        401,
        {"code": 401},
        AuthenticationError,
        code=401,
        hint="Check OPENROUTER_API_KEY; keys: https://openrouter.ai/settings/keys.",
    ),
    "the provider's key is invalid": Case(
        401,
        {"code": 401, "metadata": {"raw": RELAYED_401, "provider_name": "Acme"}},
        AuthenticationError,
        code=401,
        provider="Acme",
        upstream="invalid key",
        hint="The provider rejected OpenRouter's key, not yours; "
        "try another provider or model.",
    ),
    "no credits left": Case(
        402,
        {"code": 402, "metadata": {"limit_source": "openrouter_credits"}},
        PaymentRequiredError,
        code=402,
        hint="Add credits: https://openrouter.ai/settings/credits.",
    ),
    "credits in flight, by reason": Case(
        402,
        {
            "code": 402,
            "metadata": {
                "reason": "in_flight_budget_exhausted",
                "headers": {"Retry-After": "120"},
            },
        },
        PaymentRequiredError,
        retryable=True,
        retry_after=120.0,
        code=402,
        hint="Requests in flight reserve the credits; retry when some have finished.",
    ),
    "credits in flight, by limit_source": Case(
        402,
        {"code": 402, "metadata": {"limit_source": "openrouter_in_flight_budget"}},
        PaymentRequiredError,
        retryable=True,
        code=402,
        hint="Requests in flight reserve the credits; retry when some have finished.",
    ),
    "request exceeds the whole budget": Case(
        402,
        {"code": 402, "metadata": {"reason": "weight_exceeds_budget"}},
        PaymentRequiredError,
        code=402,
        hint="Add credits: https://openrouter.ai/settings/credits.",
    ),
    "terms of service": Case(
        403,
        {"code": 403, "metadata": {"provider_name": None}},
        PermissionDeniedError,
        code=403,
    ),
    "no endpoint matches": Case(
        404,
        {"code": 404, "metadata": {"routing_funnel": [{"step": "Initial"}]}},
        NotFoundError,
        code=404,
        hint="No endpoint matches the `provider` options and your privacy settings.",
    ),
    "model unavailable for now": Case(
        404,
        {
            "error_type": "not_found",
            "http_status": 404,
            "availability": {"retryable": True, "retry_after": 5},
        },
        NotFoundError,
        retryable=True,
        retry_after=5.0,
        error_type="not_found",
    ),
    "model unavailable for good": Case(
        503,
        {
            "code": 503,
            "availability": {
                "retryable": False,
                "fallback_models": ["a/b", "c/d", "e/f", "g/h"],
            },
        },
        ServiceUnavailableError,
        code=503,
        hint="Available models: a/b, c/d, e/f.",
    ),
    "availability without content": Case(
        503,
        {"code": 503, "availability": {"retryable": "no", "fallback_models": []}},
        ServiceUnavailableError,
        retryable=True,
        code=503,
    ),
    "provider is rate-limited": Case(
        429,
        {
            "code": 429,
            "metadata": {
                "raw": "acme is temporarily rate-limited upstream.",
                "provider_name": "Acme",
                "limit_source": "upstream_provider_shared_pool",
                "remedy_hint": "Retry shortly.",
                "retry_after_seconds": 1,
                "retry_after_seconds_raw": 1.25,
                "headers": {"Retry-After": "2"},
            },
        },
        RateLimitError,
        retryable=True,
        retry_after=1.25,
        provider="Acme",
        upstream="acme is temporarily rate-limited upstream.",
        hint="Retry shortly.",
        code=429,
    ),
    "header overrides the body": Case(
        429,
        {"code": 429, "metadata": {"retry_after_seconds": 1}},
        RateLimitError,
        retryable=True,
        retry_after=7.0,
        code=429,
        headers={"Retry-After": "7"},
    ),
    "limit per minute": Case(
        429,
        {
            "code": 429,
            "metadata": {"headers": {"X-RateLimit-Reset": "1786233600000"}},
        },
        RateLimitError,
        retryable=True,
        retry_after=600.0,
        code=429,
    ),
    "daily cap, by limit_source": Case(
        429,
        {
            "code": 429,
            "metadata": {
                "headers": {"X-RateLimit-Reset": "1786233600000"},
                "limit_source": "openrouter_free_tier_daily",
            },
        },
        RateLimitError,
        retry_after=600.0,
        code=429,
        hint="The free tier's daily limit is reached; retries fail until it resets.",
    ),
    "error type in the metadata": Case(
        502,
        {
            "code": 502,
            "type": "server_error",
            "metadata": {"error_type": "provider_unavailable"},
        },
        BadGatewayError,
        retryable=True,
        code=502,
        error_type="provider_unavailable",
    ),
    "error type as OpenAI sends it": Case(
        400,
        {"code": None, "type": "invalid_request_error", "param": "tools"},
        BadRequestError,
        error_type="invalid_request_error",
    ),
    "error type that is not a string": Case(
        400,
        {"error_type": "x", "metadata": {"error_type": 7}},
        BadRequestError,
        error_type="x",
    ),
    "status without a class": Case(451, {"code": 451}, ChatError, code=451),
    "timeout reported by OpenRouter": Case(
        504, {"code": 504}, GatewayTimeoutError, retryable=True, code=504
    ),
}


@pytest.mark.parametrize("name", BODIES)
def test_recorded_body_becomes_an_error_with_the_expected_attributes(name: str) -> None:
    case = BODIES[name]
    body = {"error": {"message": "No.", **case.error}, "user_id": ACCOUNT}

    error = error_of(body, case.status, **case.headers)

    assert type(error) is case.cls
    assert error.status_code == case.status
    assert error.message == "No."
    assert error.retryable is case.retryable
    assert error.retry_after == case.retry_after
    assert (error.code, error.error_type) == (case.code, case.error_type)
    assert (error.provider_name, error.upstream) == (case.provider, case.upstream)
    assert error.hint == case.hint
    assert error.metadata == case.error.get("metadata")
    assert error.body == body
    assert ACCOUNT not in str(error)


def test_daily_cap_is_recognized_in_the_message_of_older_bodies() -> None:
    error = error_of(enveloped("Rate limit exceeded: free-models-per-day. "), 429)

    assert isinstance(error, RateLimitError)
    assert not error.retryable
    assert error.message == "Rate limit exceeded: free-models-per-day."


def test_zod_error_is_read_as_an_envelope() -> None:
    """Routes that validate the request send a ZodError whose message is JSON."""
    error = error_of(
        {"success": False, "error": {"name": "ZodError", "message": "[{}]"}}
    )

    assert type(error) is BadRequestError
    assert (error.message, error.code, error.error_type) == ("[{}]", None, None)


MESSAGES: list[tuple[Any, str]] = [
    ({"error": "Unauthorized"}, "Unauthorized"),
    ({"code": "bad", "message": "Odd."}, "Odd."),
    ({"detail": "Not Found"}, "Not Found"),
    ({"message": "Not Found"}, "Not Found"),
    ({"error": {"code": 400}}, "the server sent no message"),
    ({"error": {"message": "  "}, "detail": "More."}, "More."),
    ({"error": {"message": 7}}, "the server sent no message"),
    ({"detail": [{"loc": []}]}, "the server sent no message"),
    ({}, "the server sent no message"),
    ([], "the server sent no message"),
    ([1, 2], "the server sent no message"),
    (b"", "the server sent no message"),
    (b" \n ", "the server sent no message"),
    (b"upstream connect error", "upstream connect error"),
    (b"{cut off", "{cut off"),
    (b"\xff\xfe oops", "\ufffd\ufffd oops"),
]


@pytest.mark.parametrize(("body", "message"), MESSAGES)
def test_message_is_read_from_every_envelope(body: Any, message: str) -> None:
    error = error_of(body, 400)

    assert type(error) is BadRequestError
    assert error.message == message


def test_unknown_status_without_an_envelope_is_an_api_error() -> None:
    bodies: list[Any] = [b"teapot", {}, [], {"detail": "teapot"}]

    for body in bodies:
        error = error_of(body, 418)
        assert type(error) is APIError
        assert not hasattr(error, "code")


def test_redirect_is_an_error_with_a_hint_about_base_url() -> None:
    error = error_of(b"", 302, Location="https://evil.example/")

    assert type(error) is APIError
    assert str(error) == (
        "302: redirects are not followed "
        "Check base_url; the key is not sent to other origins."
    )
    assert not error.retryable
    assert error.attempts[-1].billing == "not_accepted"


PAGE = (
    "<!DOCTYPE html>\n<html><head><title>openrouter.ai | 502: Bad\n gateway</title>"
    f"</head><body>{'<p>Cloudflare</p>' * 500}</body></html>"
)


@pytest.mark.parametrize(
    ("page", "title"),
    [
        (PAGE, "openrouter.ai | 502: Bad gateway"),
        ("\ufeff" + PAGE, "openrouter.ai | 502: Bad gateway"),
        ("<!--[if lt IE 7]>" + PAGE, "openrouter.ai | 502: Bad gateway"),
        ("<html><body>" + "x" * 999, "untitled"),
        ("<html><title></title>", "untitled"),
        ("<HEAD><TITLE lang=en> Attention! ", "Attention!"),
        ("<center><h1>502 Bad Gateway</h1></center>", "untitled"),
        (f"<html><title>{ACCOUNT}</title>", "user_***"),
    ],
)
def test_html_page_is_reduced_to_its_title_in_the_message(
    page: str, title: str
) -> None:
    error = error_of(page.encode(), 502, CF_Ray="8f2-FRA")

    assert type(error) is BadGatewayError
    assert error.message == f"an HTML page, {title!r}, instead of JSON"
    assert str(error) == f"502: {error.message} (cf-ray 8f2-FRA)"
    assert error.body == page.strip()


def test_text_that_contains_a_tag_is_not_a_page() -> None:
    assert page_title("<unknown model>") is None
    assert page_title("upstream said: <html>") is None
    assert page_title("") is None


@pytest.mark.parametrize("status", [504, 520, 524])
def test_timeout_of_the_edge_may_be_billed_and_of_openrouter_is_not(
    status: int,
) -> None:
    edge = error_of(PAGE.encode(), status)
    ours = error_of(enveloped(code=status), status)

    assert (edge.retryable, edge.attempts[-1].billing) == (False, "maybe")
    assert (ours.retryable, ours.attempts[-1].billing) == (True, "insured")
    assert type(edge) is type(ours) is status_class(status, envelope=True)
    assert isinstance(ours, EdgeTimeoutError) is (status == 524)


# --- the provider's message ------------------------------------------------------


PROVIDER_MESSAGES: list[tuple[Any, str | None]] = [
    (None, None),
    ("", None),
    (" \n", None),
    (7, None),
    ([], None),
    ({}, None),
    ("No.", None),
    ("slow  down\n", "slow down"),
    ('{"error":{"message":"slow down"}}\n', "slow down"),
    ('{"error":"slow down"}', "slow down"),
    ('{"message":"slow down","code":1}', "slow down"),
    ('{"detail":"slow down"}', "slow down"),
    ('[{"error":{"code":429,"message":"slow down"}}]', "slow down"),
    ("[1,", "[1,"),
    ('{"a":1}', '{"a":1}'),
    ({"error": {"message": "slow down"}}, "slow down"),
    ({"error": {"code": 3}}, None),
    (["slow down"], "slow down"),
    ([[]], None),
    ("x" * 999, "x" * 299 + "…"),
    (PAGE, "an HTML page, 'openrouter.ai | 502: Bad gateway', instead of JSON"),
    (f"{ACCOUNT} and {KEY}", "user_*** and sk-***"),
]


@pytest.mark.parametrize(("raw", "upstream"), PROVIDER_MESSAGES)
def test_message_of_the_provider_is_read_from_raw(
    raw: Any, upstream: str | None
) -> None:
    error = error_of(enveloped(code=502, metadata={"raw": raw}), 502)

    assert error.upstream == upstream


def test_long_texts_are_shortened_and_the_body_is_complete() -> None:
    body = enveloped("m" * 9999, metadata={"remedy_hint": "h" * 9999}, type="t" * 9999)

    error = error_of(body, 400)

    assert len(error.message) == len(error.hint) == len(error.error_type) == 300
    assert error.body == body


# --- secrets ---------------------------------------------------------------------


@pytest.mark.parametrize("secret", [ACCOUNT, ACCOUNT.replace("user", "org"), KEY])
def test_str_of_an_error_masks_accounts_and_keys(secret: str) -> None:
    text = f"Limit of {secret}, see {secret}."
    body = {
        "error": {
            "message": text,
            "code": 402,
            "type": text,
            "metadata": {
                "raw": text,
                "provider_name": text,
                "remedy_hint": text,
                "error_type": text,
            },
            "availability": {"fallback_models": [secret, {"id": secret}]},
        },
        "user_id": secret,
    }
    bodies: list[Any] = [
        body,
        {"error": text},
        {"detail": text},
        text.encode(),
        f"<html><title>{text}</title></html>".encode(),
        enveloped("x" * 290 + f" {secret}"),
        enveloped(code=502, metadata={"raw": "x" * 290 + f" {secret}"}),
        enveloped(availability={"fallback_models": [secret]}),
    ]

    for each_body in bodies:
        error = error_of(each_body, 402)
        assert secret[:9] not in str(error)
        assert error.body is not None


def test_scrub_keeps_text_that_only_resembles_ids_and_keys() -> None:
    text = "user_id, org_name, sk-1, risk-assessment and user_REDACTED"

    assert scrub(text) == "user_id, org_name, sk-1, risk-assessment and user_***"


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


# --- recordings ------------------------------------------------------------------


@pytest.fixture(scope="session")
def wire() -> Path:
    folder = os.environ.get("OPENROUTER_WIRE")
    if not folder:
        pytest.skip("OPENROUTER_WIRE does not name the folder of recordings")
    return Path(folder) / "wire"


DATA_POLICY = "No endpoint matches the `provider` options and your privacy settings."
OWN_KEY = "Check OPENROUTER_API_KEY; keys: https://openrouter.ai/settings/keys."

# name: class, code, provider, start of upstream, retry_after, retryable, part of the hint
RECORDED: dict[str, tuple[Any, ...]] = {
    "error_400_body_not_json.json": (
        BadRequestError,
        400,
        None,
        None,
        None,
        False,
        None,
    ),
    "error_400_context_length_previous_errors.json": (
        *(BadRequestError, 400, None, None, None, False, None),
    ),
    "error_400_invalid_model.json": (
        BadRequestError,
        400,
        None,
        None,
        None,
        False,
        None,
    ),
    "error_400_missing_messages.json": (
        *(BadRequestError, 400, None, None, None, False, None),
    ),
    "error_400_provider_tool_cap.json": (
        *(BadRequestError, 400, "Darkbloom", "at most 64 tools are allowed"),
        *(None, False, None),
    ),
    "error_400_reasoning_mandatory.json": (
        *(BadRequestError, 400, None, None, None, False, None),
    ),
    "error_401_missing_auth.json": (
        *(AuthenticationError, 401, None, None, None, False, OWN_KEY),
    ),
    "error_401_relayed_from_provider.json": (
        *(AuthenticationError, 401, "Darkbloom", "invalid API key", None, False),
        "not yours",
    ),
    "error_401_unknown_key.json": (
        *(AuthenticationError, 401, None, None, None, False, OWN_KEY),
    ),
    "error_402_credits.json": (
        *(PaymentRequiredError, 402, None, None, None, False, "lower max_tokens"),
    ),
    "error_402_in_flight_retryable.json": (
        *(PaymentRequiredError, 402, None, None, 120.0, True, "in-flight"),
    ),
    "error_402_never_purchased.json": (
        *(PaymentRequiredError, 402, None, None, None, False, "Add credits"),
    ),
    "error_403_agentic_harness_gate.json": (
        *(PermissionDeniedError, 403, None, None, None, False, None),
    ),
    "error_403_terms_of_service.json": (
        *(PermissionDeniedError, 403, None, None, None, False, None),
    ),
    "error_404_data_policy_routing_funnel.json": (
        *(NotFoundError, 404, None, None, None, False, DATA_POLICY),
    ),
    "error_404_generation_not_ready.json": (
        *(NotFoundError, 404, None, None, None, False, None),
    ),
    "error_429_free_daily_cap.json": (
        *(RateLimitError, 429, None, None, 600.0, False, "daily reset"),
    ),
    "error_429_limit_rpm_model.json": (
        RateLimitError,
        429,
        None,
        None,
        0.0,
        True,
        None,
    ),
    "error_429_upstream_no_retry_hint.json": (
        *(RateLimitError, 429, "Google AI Studio", "google/gemma-4-31b-it:free is"),
        *(None, True, "Retry shortly"),
    ),
    "error_429_upstream_retry_after.json": (
        *(RateLimitError, 429, "Liquid", "liquid/lfm-2.5-2.6b:free is temporarily"),
        *(1.0, True, "Retry shortly"),
    ),
    "error_502_cloudflare_MOCK.html": (
        BadGatewayError,
        None,
        None,
        None,
        None,
        True,
        None,
    ),
}


@pytest.mark.parametrize("name", RECORDED)
def test_recorded_error_response_is_read(wire: Path, name: str) -> None:
    cls, code, provider, upstream, retry_after, retryable, hint = RECORDED[name]

    error = error_of((wire / name).read_bytes(), int(name.split("_")[1]))

    assert type(error) is cls
    assert error.status_code == int(name.split("_")[1])
    assert error.code == code
    assert error.error_type is None
    assert error.provider_name == provider
    assert (error.upstream or "").startswith(upstream or "")
    assert (error.upstream is None) is (upstream is None)
    assert error.retry_after == retry_after
    assert error.retryable is retryable
    assert (error.hint is None) is (hint is None)
    assert (hint or "") in (error.hint or "")
    assert "user_REDACTED" not in str(error)
    assert "<" not in str(error)
    assert len(str(error)) < 700


def test_every_recorded_error_has_a_test(wire: Path) -> None:
    assert {path.name for path in wire.glob("error_*")} == set(RECORDED)


@pytest.mark.parametrize(
    ("name", "cls", "kind"),
    [
        ("chat_200_error_only_after_whitespace.json", RateLimitError, None),
        ("chat_200_error_only_with_id.json", BadGatewayError, "provider_unavailable"),
        ("chat_200_internal_error_user_id.json", InternalServerError, None),
    ],
)
def test_recorded_error_in_a_200_is_raised(
    wire: Path, name: str, cls: type[ChatError], kind: str | None
) -> None:
    with pytest.raises(cls) as caught:
        read_chat((wire / name).read_bytes(), exchange(200), WALL)

    assert type(caught.value) is cls
    assert caught.value.error_type == kind
    assert caught.value.retryable
    assert "user_REDACTED" not in str(caught.value)


def test_recorded_error_in_a_stream_is_read(wire: Path) -> None:
    paths = sorted(wire.glob("stream_error_*.sse"))

    for path in paths:
        (event,) = SSEDecoder().feed(path.read_bytes())
        with pytest.raises(BadGatewayError) as caught:
            StreamState(exchange(200), wall_time=lambda: WALL).feed(event)
        assert type(caught.value) is BadGatewayError
        assert caught.value.error_type == "provider_unavailable"
        assert caught.value.generation_id == json.loads(event.data)["id"]
        assert caught.value.retryable
    assert paths


def test_recorded_responses_contain_no_error(wire: Path) -> None:
    plain = [path for path in wire.glob("chat_*.json") if "chat_200" not in path.name]
    streams = [
        path for path in wire.glob("stream_*.sse") if "stream_error" not in path.name
    ]

    for path in plain:
        response = read_chat(path.read_bytes(), exchange(200), WALL)
        assert response.choices, path.name
    for path in streams:
        if "no_blank_lines" in path.name:
            continue
        state = StreamState(exchange(200), wall_time=lambda: WALL)
        for event in SSEDecoder().feed(path.read_bytes()):
            state.feed(event)
    assert plain
    assert streams


# --- errors by name, and messages wherever they are ------------------------------


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"code": "context_length_exceeded"}, 400),
        ({"type": "invalid_request_error"}, 400),
        ({"type": "invalid_request_error", "code": "invalid_api_key"}, 401),
        ({"type": "invalid_request_error", "code": "model_not_found"}, 404),
        ({"type": "invalid_request_error", "code": None, "param": "n"}, 400),
        ({"type": "authentication_error"}, 401),
        ({"type": "billing_error"}, 402),
        ({"type": "permission_error"}, 403),
        ({"type": "not_found_error"}, 404),
        ({"type": "request_too_large"}, 413),
        ({"type": "rate_limit_error"}, 429),
        ({"code": "rate_limit_exceeded", "type": "tokens"}, 429),
        ({"code": "rate_limit_reached"}, 429),
        ({"type": "insufficient_quota", "code": "insufficient_quota"}, 429),
        ({"code": "server_error"}, 500),
        ({"type": "api_error"}, 500),
        ({"code": "service_unavailable"}, 503),
        ({"type": "timeout_error"}, 504),
        ({"type": "overloaded_error"}, 529),
        ({"type": "BadRequestError"}, 400),
        ({"type": "RateLimitError"}, 429),
        ({"status": "PERMISSION_DENIED"}, 403),
        ({"status": "RESOURCE_EXHAUSTED"}, 429),
        ({"code": "Too-Many-Requests"}, 429),
        ({"code": "NotFoundException"}, 404),
        ({"code": " invalid_api_key "}, 401),
        ({"code": "413"}, 413),
        ({"code": 1, "status": 404}, 404),
        ({"code": "nobody_knows"}, 500),
        ({"metadata": {"error_type": "not_found"}, "code": "rate_limit_error"}, 404),
    ],
)
def test_name_of_an_error_in_a_200_decides_its_status(
    fields: dict[str, Any], status: int
) -> None:
    error = error_from_body({"error": fields}, exchange(), wall_time=WALL)

    assert error.status_code == status
    assert isinstance(error, status_class(status, envelope=True))


def test_name_beside_the_error_decides_its_status() -> None:
    body = {"error": "No.", "code": "invalid_api_key"}

    assert error_from_body(body, exchange(), wall_time=WALL).status_code == 401


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ([{"error": {"message": "No."}}], "No."),
        ([7, {"message": "No.", "code": 5}], "No."),
        (["No.", "Never."], "No.; Never."),
        ({"detail": [{"loc": ["body", 0], "msg": "No."}]}, "body.0: No."),
        ({"detail": [{"loc": 5, "msg": "No."}, {"msg": "No."}]}, "No."),
        ({"detail": {"msg": "No."}}, "No."),
        ({"detail": {"error": {"message": "No."}}}, "No."),
        ({"errors": ["No.", {"detail": "Never."}]}, "No.; Never."),
        ({"errors": {"model": ["No."], "code": "x"}}, "model: No."),
        ({"error": {"message": {"detail": "No."}}}, "No."),
        ({"error": {"message": ["No."]}}, "No."),
        ({"error": {"message": '{"error": {"message": "No."}}'}}, "No."),
        ({"error": {"message": '{"x": 1}'}}, '{"x": 1}'),
        ({"error": '{"error": {"message": "No."}}'}, "No."),
        ({"error": '{"message": "No."}'}, "No."),
        ({"error": ["No."]}, "No."),
        ({"error": [{"msg": "No."}]}, "No."),
        ({"error": {"error": "No."}}, "No."),
        ({"error": {"code": 5}, "message": "No."}, "No."),
        ({"error": True, "message": "No."}, "No."),
        ({"error": "Bad", "message": "No.", "statusCode": 400}, "Bad: No."),
        ({"error": "No.", "message": "No."}, "No."),
        ({"error": "{broken"}, "{broken"),
        ({"error_message": "No."}, "No."),
        ({"title": "Bad", "detail": "No.", "type": "about:blank"}, "No."),
        ({"description": "No."}, "No."),
        ({"x": 1}, "the server sent no message"),
        ({"error": {"message": " "}}, "the server sent no message"),
        ({"error": " "}, "the server sent no message"),
    ],
)
def test_message_is_found_wherever_it_is(body: Any, message: str) -> None:
    assert error_of(body).message == message


def test_message_that_is_nested_too_deeply_is_not_looked_for() -> None:
    body: Any = "No."
    for _ in range(30):
        body = {"error": body}

    assert error_of(body).message == "the server sent no message"


@pytest.mark.parametrize(
    "body",
    [
        b'event: error\ndata: {"error": {"message": "No.", "code": 400}}\n\n',
        b': hi\n\ndata: {"error": {"message": "No.", "code": 400}}',
        b'data: {"choices": [{}]}\n\ndata: {"error": {"message": "No."}}\n\n',
        b"event: error\ndata: No.\n\n",
        b'event: error\ndata: {"message": "No."}\n\n',
        b': hi\n\n{"error": "No."}\n',
        b'{"error": {"message": "No."}}\ndata: [DONE]\n\n',
        b'\xef\xbb\xbf{"error": {"message": "No."}}',
    ],
)
def test_error_status_with_events_has_the_message_of_the_error(body: bytes) -> None:
    error = error_of(body, 400)

    assert type(error) is BadRequestError
    assert error.message == "No."


def test_error_status_with_events_that_are_no_error_keeps_the_text() -> None:
    error = error_of(b'data: {"choices": [{}]}\n\ndata: x\n\n', 503)

    assert type(error) is ServiceUnavailableError
    assert error.message == 'data: {"choices": [{}]} data: x'
