"""Error bodies in all their forms become one exception of the right class."""

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
    page_title,
    scrub,
)
from openrouter_async.protocol.response_parsing import (
    DONE,
    find_error,
    read_chat,
    read_event,
    read_json,
)
from openrouter_async.sse import SSEDecoder
from openrouter_async.types import Attempt, Exchange

WALL = 1_786_233_000.0
"""Now: ten minutes before the free tier's recorded reset."""

ACCOUNT = "user_2abcDEF345ghiJKL678"
KEY = "sk-or-v1-0123456789abcdef"


def exchange(status: int | None = 200, **headers: str) -> Exchange:
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return Exchange(
        status=status,
        headers=CIMultiDict(named),
        attempts=[Attempt(status=status)],
    )


def judged(body: Any, status: int = 400, **headers: str) -> Any:
    """The exception for a body; typed Any, because tests ask it for everything."""
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    return error_from_response(text, exchange(status, **headers), wall=WALL)


def enveloped(message: str = "No.", **more: Any) -> dict[str, Any]:
    return {"error": {"message": message, **more}}


# --- what OpenRouter was seen to send, in small ----------------------------------


@frozen
class Shape:
    """A body with its status, and what must be read from it."""

    status: int
    error: dict[str, Any]
    cls: type[ChatError]
    retryable: bool = False
    wait: float | None = None
    provider: str | None = None
    upstream: str | None = None
    hint: str | None = None
    code: int | str | None = None
    kind: str | None = None
    headers: dict[str, str] = field(factory=dict[str, str])


RELAYED_401 = '{"error":{"code":"authentication_error","message":"invalid key"}}\n'

SHAPES: dict[str, Shape] = {
    "bad parameter": Shape(
        400,
        {"code": 400, "metadata": {"provider_name": None}},
        BadRequestError,
        code=400,
    ),
    "metadata null": Shape(
        400, {"code": 400, "metadata": None}, BadRequestError, code=400
    ),
    "code absent": Shape(404, {}, NotFoundError),
    "code null": Shape(500, {"code": None}, InternalServerError, retryable=True),
    "code a digit string": Shape(
        429, {"code": "429"}, RateLimitError, retryable=True, code="429"
    ),
    "code a word": Shape(
        400, {"code": "invalid_json"}, BadRequestError, code="invalid_json"
    ),
    "code of another kind": Shape(400, {"code": {"a": 1}}, BadRequestError),
    "the status wins over the code": Shape(
        502, {"code": 400}, BadGatewayError, retryable=True, code=400
    ),
    "our key": Shape(
        401,
        {"code": 401},
        AuthenticationError,
        code=401,
        hint="Check OPENROUTER_API_KEY; keys: https://openrouter.ai/settings/keys.",
    ),
    "the provider's key": Shape(
        401,
        {"code": 401, "metadata": {"raw": RELAYED_401, "provider_name": "Acme"}},
        AuthenticationError,
        code=401,
        provider="Acme",
        upstream="invalid key",
        hint="The provider refused OpenRouter's key, not yours: "
        "another provider or model may work.",
    ),
    "credits are gone": Shape(
        402,
        {"code": 402, "metadata": {"limit_source": "openrouter_credits"}},
        PaymentRequiredError,
        code=402,
        hint="Add credits: https://openrouter.ai/settings/credits.",
    ),
    "credits are held, by reason": Shape(
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
        wait=120.0,
        code=402,
        hint="Too much is running at once: it frees up as calls end.",
    ),
    "credits are held, by source": Shape(
        402,
        {"code": 402, "metadata": {"limit_source": "openrouter_in_flight_budget"}},
        PaymentRequiredError,
        retryable=True,
        code=402,
        hint="Too much is running at once: it frees up as calls end.",
    ),
    "too much at once for ever": Shape(
        402,
        {"code": 402, "metadata": {"reason": "weight_exceeds_budget"}},
        PaymentRequiredError,
        code=402,
        hint="Add credits: https://openrouter.ai/settings/credits.",
    ),
    "terms of service": Shape(
        403,
        {"code": 403, "metadata": {"provider_name": None}},
        PermissionDeniedError,
        code=403,
    ),
    "nobody meets the conditions": Shape(
        404,
        {"code": 404, "metadata": {"routing_funnel": [{"step": "Initial"}]}},
        NotFoundError,
        code=404,
        hint="No endpoint meets `provider`'s conditions or your privacy settings.",
    ),
    "a model that comes back": Shape(
        404,
        {
            "error_type": "not_found",
            "http_status": 404,
            "availability": {"retryable": True, "retry_after": 5},
        },
        NotFoundError,
        retryable=True,
        wait=5.0,
        kind="not_found",
    ),
    "a model that does not": Shape(
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
        hint="Models that would do: a/b, c/d, e/f.",
    ),
    "availability that says nothing": Shape(
        503,
        {"code": 503, "availability": {"retryable": "no", "fallback_models": []}},
        ServiceUnavailableError,
        retryable=True,
        code=503,
    ),
    "the provider is busy": Shape(
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
        wait=1.25,
        provider="Acme",
        upstream="acme is temporarily rate-limited upstream.",
        hint="Retry shortly.",
        code=429,
    ),
    "the header goes first": Shape(
        429,
        {"code": 429, "metadata": {"retry_after_seconds": 1}},
        RateLimitError,
        retryable=True,
        wait=7.0,
        code=429,
        headers={"Retry-After": "7"},
    ),
    "the minute's cap": Shape(
        429,
        {
            "code": 429,
            "metadata": {"headers": {"X-RateLimit-Reset": "1786233600000"}},
        },
        RateLimitError,
        retryable=True,
        wait=600.0,
        code=429,
    ),
    "the day's cap, by source": Shape(
        429,
        {
            "code": 429,
            "metadata": {
                "headers": {"X-RateLimit-Reset": "1786233600000"},
                "limit_source": "openrouter_free_tier_daily",
            },
        },
        RateLimitError,
        wait=600.0,
        code=429,
        hint="The free tier's daily cap: no repeat before it resets will pass.",
    ),
    "kind in the metadata": Shape(
        502,
        {
            "code": 502,
            "type": "server_error",
            "metadata": {"error_type": "provider_unavailable"},
        },
        BadGatewayError,
        retryable=True,
        code=502,
        kind="provider_unavailable",
    ),
    "kind of OpenAI's form": Shape(
        400,
        {"code": None, "type": "invalid_request_error", "param": "tools"},
        BadRequestError,
        kind="invalid_request_error",
    ),
    "kind of a wrong type": Shape(
        400,
        {"error_type": "x", "metadata": {"error_type": 7}},
        BadRequestError,
        kind="x",
    ),
    "a status without a class": Shape(451, {"code": 451}, ChatError, code=451),
    "a gateway's timeout, told by OpenRouter": Shape(
        504, {"code": 504}, GatewayTimeoutError, retryable=True, code=504
    ),
}


@pytest.mark.parametrize("name", SHAPES)
def test_each_shape_is_read(name: str) -> None:
    """Class, status, kind, provider, wait, verdict and hint are those of the body."""
    shape = SHAPES[name]
    body = {"error": {"message": "No.", **shape.error}, "user_id": ACCOUNT}

    error = judged(body, shape.status, **shape.headers)

    assert type(error) is shape.cls
    assert error.status_code == shape.status
    assert error.message == "No."
    assert error.retryable is shape.retryable
    assert error.retry_after == shape.wait
    assert (error.code, error.error_type) == (shape.code, shape.kind)
    assert (error.provider_name, error.upstream) == (shape.provider, shape.upstream)
    assert error.hint == shape.hint
    assert error.metadata == shape.error.get("metadata")
    assert error.body == body
    assert ACCOUNT not in str(error)


def test_older_bodies_name_the_daily_cap_in_the_message() -> None:
    """Words that say "free-models-per-day" mean the daily cap too."""
    error = judged(enveloped("Rate limit exceeded: free-models-per-day. "), 429)

    assert isinstance(error, RateLimitError)
    assert not error.retryable
    assert error.message == "Rate limit exceeded: free-models-per-day."


def test_the_second_envelope_is_one_too() -> None:
    """Validated routes answer with a ZodError, whose message is JSON text."""
    error = judged({"success": False, "error": {"name": "ZodError", "message": "[{}]"}})

    assert type(error) is BadRequestError
    assert (error.message, error.code, error.error_type) == ("[{}]", None, None)


MESSAGES: list[tuple[Any, str]] = [
    ({"error": "Unauthorized"}, "Unauthorized"),
    ({"code": "bad", "message": "Odd."}, "Odd."),
    ({"detail": "Not Found"}, "Not Found"),
    ({"message": "Not Found"}, "Not Found"),
    ({"error": {"code": 400}}, "the server gave no message"),
    ({"error": {"message": "  "}, "detail": "More."}, "More."),
    ({"error": {"message": 7}}, "the server gave no message"),
    ({"detail": [{"loc": []}]}, "the server gave no message"),
    ({}, "the server gave no message"),
    ([], "the server gave no message"),
    ([1, 2], "the server gave no message"),
    (b"", "the server gave no message"),
    (b" \n ", "the server gave no message"),
    (b"upstream connect error", "upstream connect error"),
    (b"{cut off", "{cut off"),
    (b"\xff\xfe oops", "\ufffd\ufffd oops"),
]


@pytest.mark.parametrize(("body", "message"), MESSAGES)
def test_the_message_is_where_it_was_found(body: Any, message: str) -> None:
    """Whatever form it has, the words are found; without any, that is said."""
    error = judged(body, 400)

    assert type(error) is BadRequestError
    assert error.message == message


def test_strangers_are_no_chat_error() -> None:
    """A status that no table knows, without the envelope, is an APIError only."""
    bodies: list[Any] = [b"teapot", {}, [], {"detail": "teapot"}]

    for body in bodies:
        error = judged(body, 418)
        assert type(error) is APIError
        assert not hasattr(error, "code")


def test_a_redirect_is_an_error_of_its_own() -> None:
    """The key is not carried elsewhere, and the hint says what to look at."""
    error = judged(b"", 302, Location="https://evil.example/")

    assert type(error) is APIError
    assert str(error) == (
        "302: a redirect, which is never followed "
        "Check base_url: the key is sent to no other place."
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
def test_of_a_page_only_the_title_is_told(page: str, title: str) -> None:
    """The edge answers in HTML: the message has its title, `body` the rest."""
    error = judged(page.encode(), 502, CF_Ray="8f2-FRA")

    assert type(error) is BadGatewayError
    assert error.message == f"an HTML page, {title!r}, instead of JSON"
    assert str(error) == f"502: {error.message} (cf-ray 8f2-FRA)"
    assert error.body == page.strip()


def test_what_looks_like_a_tag_is_no_page() -> None:
    """Only a page is a page."""
    assert page_title("<unknown model>") is None
    assert page_title("upstream said: <html>") is None
    assert page_title("") is None


@pytest.mark.parametrize("status", [504, 520, 524])
def test_silence_with_a_number_on_is_told_apart(status: int) -> None:
    """From the edge a timeout may have been billed; from OpenRouter it was not."""
    edge = judged(PAGE.encode(), status)
    ours = judged(enveloped(code=status), status)

    assert (edge.retryable, edge.attempts[-1].billing) == (False, "maybe")
    assert (ours.retryable, ours.attempts[-1].billing) == (True, "insured")
    assert type(edge) is type(ours) is status_class(status, envelope=True)
    assert isinstance(ours, EdgeTimeoutError) is (status == 524)


# --- the provider's own words ----------------------------------------------------


WORDS_OF_PROVIDERS: list[tuple[Any, str | None]] = [
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


@pytest.mark.parametrize(("raw", "upstream"), WORDS_OF_PROVIDERS)
def test_the_provider_is_quoted(raw: Any, upstream: str | None) -> None:
    """Text, JSON text or an object: the provider's words are found, and kept short."""
    error = judged(enveloped(code=502, metadata={"raw": raw}), 502)

    assert error.upstream == upstream


def test_nothing_long_reaches_the_message() -> None:
    """Long words are cut; what is cut is whole in `body`."""
    body = enveloped("m" * 9999, metadata={"remedy_hint": "h" * 9999}, type="t" * 9999)

    error = judged(body, 400)

    assert len(error.message) == len(error.hint) == len(error.error_type) == 300
    assert error.body == body


# --- secrets ---------------------------------------------------------------------


@pytest.mark.parametrize("secret", [ACCOUNT, ACCOUNT.replace("user", "org"), KEY])
def test_no_text_shows_an_account_or_a_key(secret: str) -> None:
    """Wherever the server puts them, ids and keys stay out of `str(error)`."""
    words = f"Limit of {secret}, see {secret}."
    body = {
        "error": {
            "message": words,
            "code": 402,
            "type": words,
            "metadata": {
                "raw": words,
                "provider_name": words,
                "remedy_hint": words,
                "error_type": words,
            },
            "availability": {"fallback_models": [secret, {"id": secret}]},
        },
        "user_id": secret,
    }
    bodies: list[Any] = [
        body,
        {"error": words},
        {"detail": words},
        words.encode(),
        f"<html><title>{words}</title></html>".encode(),
        enveloped("x" * 290 + f" {secret}"),
        enveloped(code=502, metadata={"raw": "x" * 290 + f" {secret}"}),
        enveloped(availability={"fallback_models": [secret]}),
    ]

    for given_body in bodies:
        error = judged(given_body, 402)
        assert secret[:9] not in str(error)
        assert error.body is not None


def test_words_that_only_look_alike_stay() -> None:
    """Scrubbing takes ids and keys, and leaves words."""
    text = "user_id, org_name, sk-1, risk-assessment and user_REDACTED"

    assert scrub(text) == "user_id, org_name, sk-1, risk-assessment and user_***"


# --- errors inside a 200 ---------------------------------------------------------


@pytest.mark.parametrize(
    ("facts", "status"),
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
def test_a_200_is_judged_by_code_then_kind(facts: dict[str, Any], status: int) -> None:
    """In a 200 the code chooses the class, else the kind, else it is a 500."""
    body = enveloped(**facts)

    error = error_from_body(body, exchange(200), wall=WALL)

    assert type(error) is status_class(status, envelope=True)
    assert error.status_code == status
    assert error.http.status == 200
    assert error.attempts[-1].billing == "insured"


def test_a_status_that_is_no_2xx_stays() -> None:
    """HTTP's own status is reported, whatever the body claims."""
    for status in (302, 400, 404, 500, 599):
        error = error_from_body(enveloped(code=429), exchange(status), wall=WALL)
        assert error.status_code == status
    for ok in (None, 200, 202):
        error = error_from_body(enveloped(code=429), exchange(ok), wall=WALL)
        assert error.status_code == 429


def test_the_generation_is_found_in_header_or_body() -> None:
    """The header's id wins; without it the body's is taken."""
    http = exchange(200)
    body = {"id": "gen-body", **enveloped(code=500)}

    assert error_from_body(body, http, wall=WALL).generation_id == "gen-body"
    http.generation_id = "gen-header"
    assert error_from_body(body, http, wall=WALL).generation_id == "gen-header"


def test_without_attempts_there_is_nothing_to_bill() -> None:
    """An exchange that records no attempt is left as it is."""
    error = error_from_body(enveloped(), Exchange(status=500), wall=WALL)

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
    "a choice's error": (
        b'{"choices":[{"finish_reason":"stop","message":{"content":"par"},"error":{"code":502}}]}',
        BadGatewayError,
        True,
    ),
    "a choice that ended in an error": (
        b'{"choices":[{"finish_reason":"error","message":{"content":"par"}}]}',
        InternalServerError,
        True,
    ),
    "a string": (b'{"error":"Bad gateway"}', InternalServerError, False),
    "something": (b'{"error":true}', InternalServerError, False),
}


@pytest.mark.parametrize("name", PLAIN_200)
def test_a_plain_200_may_hold_an_error(name: str) -> None:
    """A 200 is committed before the outcome: its errors raise, with what had arrived."""
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


def test_any_endpoint_may_answer_so() -> None:
    """Other endpoints' errors inside a 200 raise too; an empty one is none."""
    with pytest.raises(NotFoundError, match="404: No"):
        read_json(b'{"error":{"code":404,"message":"No."}}', exchange(), WALL)
    for fine in ('{"error":null}', '{"error":{}}', '{"error":""}', '{"data":[]}', "7"):
        assert read_json(fine.encode(), exchange(), WALL) == json.loads(fine)


# Protocol, 5.8: each shape of an error inside a stream.
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
        "500: The provider ended the answer with an error (MALFORMED_FUNCTION_CALL).",
        True,
    ),
    "5 not even that": (
        {"choices": [{"delta": {}, "finish_reason": "error"}]},
        InternalServerError,
        "500: The provider ended the answer with an error.",
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
    "7 a string": ({"error": "Busy"}, InternalServerError, "500: Busy", False),
    "7 a string in a choice": (
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
def test_each_shape_of_a_streams_error_is_seen(name: str) -> None:
    """Every error that a stream was seen to carry is found, and read as it should be."""
    event, cls, text, _ = STREAMED[name]
    found = find_error(event)

    error = error_from_body(event, exchange(200), wall=WALL, error=found)

    assert found is not None
    assert type(error) is cls
    assert str(error) == text
    assert error.body is event


@pytest.mark.parametrize("name", STREAMED)
def test_a_stream_that_was_not_asked_for_fails_alike(name: str) -> None:
    """The same events in a body that is read whole raise the same, with what came first."""
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


def test_the_end_without_a_word_is_no_error_object() -> None:
    """Shape 9 has nothing to find: how a stream ended is judged elsewhere."""
    events: list[dict[str, Any]] = [
        {},
        {"choices": None},
        {"choices": "x"},
        {"choices": [None, 1, {"delta": {}, "error": None}]},
        {"error": None, "choices": [{"finish_reason": "stop", "error": {}}]},
    ]

    for event in events:
        assert find_error(event) is None


def test_partial_is_handed_on() -> None:
    """What had arrived is on the error as it was given."""
    partial = read_response({"choices": [{"message": {"content": "par"}}]})

    error = error_from_body(enveloped(), exchange(), wall=WALL, partial=partial)

    assert error.partial is partial


# --- anything at all -------------------------------------------------------------

WORDS = st.sampled_from(
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
    | WORDS
)
JSON = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(WORDS | st.text(max_size=5), inner, max_size=5)
    ),
    max_leaves=25,
)
OBJECTS = st.dictionaries(WORDS, JSON, max_size=6)


@given(body=OBJECTS | JSON, status=st.integers(300, 599))
def test_any_json_becomes_an_error(body: Any, status: int) -> None:
    """Whatever a failed reply holds, it becomes the error of its status."""
    error = judged(body, status)

    assert isinstance(error, APIError)
    assert error.status_code == status
    assert error.retry_after is None or error.retry_after >= 0
    assert str(error).startswith(str(status))


@given(body=OBJECTS | JSON)
def test_any_json_in_a_200_is_read_or_refused(body: Any) -> None:
    """Whatever a 200 holds, it is a reply or one of our errors, as body and as event."""
    text = json.dumps(body).encode()

    for raw in (text, b"data: %s\n\ndata: [DONE]\n\n" % text):
        try:
            reply = read_chat(raw, exchange(200, Content_Type="x/y"), WALL)
        except APIError as error:
            assert 400 <= error.status_code < 600  # noqa: PT017
        except MalformedResponseError:
            assert not isinstance(body, dict)
        else:
            assert reply.usage is not None


@given(body=st.binary(max_size=60))
def test_any_bytes_become_an_error(body: bytes) -> None:
    """Bytes that are no JSON become the error of their status too."""
    error = judged(body, 502)

    assert type(error) is BadGatewayError


# --- what was recorded -----------------------------------------------------------


@pytest.fixture(scope="session")
def wire() -> Path:
    folder = os.environ.get("OPENROUTER_WIRE")
    if not folder:
        pytest.skip("OPENROUTER_WIRE does not name the folder of recordings")
    return Path(folder) / "wire"


DATA_POLICY = "No endpoint meets `provider`'s conditions or your privacy settings."
OWN_KEY = "Check OPENROUTER_API_KEY; keys: https://openrouter.ai/settings/keys."

# name: class, code, provider, start of upstream, wait at WALL, retryable, in the hint
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
def test_each_recorded_error_is_read(wire: Path, name: str) -> None:
    """What OpenRouter really sent becomes the error that it means."""
    cls, code, provider, upstream, wait, retryable, hint = RECORDED[name]

    error = judged((wire / name).read_bytes(), int(name.split("_")[1]))

    assert type(error) is cls
    assert error.status_code == int(name.split("_")[1])
    assert error.code == code
    assert error.error_type is None
    assert error.provider_name == provider
    assert (error.upstream or "").startswith(upstream or "")
    assert (error.upstream is None) is (upstream is None)
    assert error.retry_after == wait
    assert error.retryable is retryable
    assert (error.hint is None) is (hint is None)
    assert (hint or "") in (error.hint or "")
    assert "user_REDACTED" not in str(error)
    assert "<" not in str(error)
    assert len(str(error)) < 700


def test_no_recorded_error_is_left_out(wire: Path) -> None:
    """A recording that is added is read too."""
    assert {path.name for path in wire.glob("error_*")} == set(RECORDED)


@pytest.mark.parametrize(
    ("name", "cls", "kind"),
    [
        ("chat_200_error_only_after_whitespace.json", RateLimitError, None),
        ("chat_200_error_only_with_id.json", BadGatewayError, "provider_unavailable"),
        ("chat_200_internal_error_user_id.json", InternalServerError, None),
    ],
)
def test_each_recorded_error_in_a_200_is_read(
    wire: Path, name: str, cls: type[ChatError], kind: str | None
) -> None:
    """A recorded 200 that holds an error raises it."""
    with pytest.raises(cls) as caught:
        read_chat((wire / name).read_bytes(), exchange(200), WALL)

    assert type(caught.value) is cls
    assert caught.value.error_type == kind
    assert caught.value.retryable
    assert "user_REDACTED" not in str(caught.value)


def test_each_recorded_error_in_a_stream_is_read(wire: Path) -> None:
    """A recorded stream whose first event is an error is one."""
    paths = sorted(wire.glob("stream_error_*.sse"))

    for path in paths:
        (event,) = SSEDecoder().feed(path.read_bytes())
        chunk = read_event(event, exchange(200))
        error = error_from_body(
            chunk.raw, exchange(200), wall=WALL, error=find_error(chunk.raw)
        )
        assert type(error) is BadGatewayError
        assert error.error_type == "provider_unavailable"
        assert error.generation_id == chunk.id
        assert error.retryable
    assert paths


def test_no_recorded_answer_is_an_error(wire: Path) -> None:
    """What went well is read as that."""
    plain = [path for path in wire.glob("chat_*.json") if "chat_200" not in path.name]
    streams = [
        path for path in wire.glob("stream_*.sse") if "stream_error" not in path.name
    ]

    for path in plain:
        reply = read_chat(path.read_bytes(), exchange(200), WALL)
        assert reply.choices, path.name
    for path in streams:
        if "no_blank_lines" in path.name:
            continue
        for event in SSEDecoder().feed(path.read_bytes()):
            if event.data != DONE:
                chunk = read_event(event, exchange(200))
                assert find_error(chunk.raw) is None, path.name
    assert plain
    assert streams
