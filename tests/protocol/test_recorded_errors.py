"""Recorded error bodies, whole and shortened, become the expected exceptions."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from attrs import field, frozen
from error_bodies import ACCOUNT, WALL, enveloped, error_of, exchange

from openrouter_async.errors import (
    AuthenticationError,
    BadGatewayError,
    BadRequestError,
    ChatError,
    GatewayTimeoutError,
    InternalServerError,
    NotFoundError,
    PaymentRequiredError,
    PermissionDeniedError,
    RateLimitError,
    ServiceUnavailableError,
)
from openrouter_async.protocol.response_parsing import (
    read_chat,
)
from openrouter_async.protocol.stream_state import StreamState
from openrouter_async.sse import SSEDecoder

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
        hint="Check OPENROUTER_API_KEY or api_key=; keys: https://openrouter.ai/settings/keys.",
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


# --- recordings ------------------------------------------------------------------


@pytest.fixture(scope="session")
def wire() -> Path:
    folder = os.environ.get("OPENROUTER_WIRE")
    if not folder:
        pytest.skip("OPENROUTER_WIRE does not name the folder of recordings")
    return Path(folder) / "wire"


DATA_POLICY = "No endpoint matches the `provider` options and your privacy settings."
OWN_KEY = (
    "Check OPENROUTER_API_KEY or api_key=; keys: https://openrouter.ai/settings/keys."
)

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
        "An id has the form author/model",
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
