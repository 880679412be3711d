"""Error bodies in every envelope become one exception of the right class."""

from typing import Any

import pytest
from error_bodies import ACCOUNT, KEY, WALL, enveloped, error_of, exchange

from openrouter_async.errors import (
    APIError,
    BadGatewayError,
    BadRequestError,
    EdgeTimeoutError,
    ServiceUnavailableError,
    status_class,
)
from openrouter_async.protocol.error_messages import page_title, scrub
from openrouter_async.protocol.error_parsing import (
    error_from_body,
)


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
        ({"fault": {"faultstring": "No.", "detail": {"code": "x"}}}, "No."),
        ({"msg": "No.", "code": 5, "error": None}, "No."),
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
