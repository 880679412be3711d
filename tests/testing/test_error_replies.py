import json
import time
from typing import Any

import aiohttp
import aiohttp.web
import pytest
from raw_client import HELLO, ask

from openrouter_async.testing import (
    LocalOpenRouter,
    error_in_200,
    error_reply,
)
from openrouter_async.testing.error_replies import ErrorIn200Form, ErrorShape


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ("openrouter", {"error": {"message": "m", "code": 429, "metadata": {"error_type": "t"}}}),
        ("string_code", {"error": {"message": "m", "code": "429", "metadata": {"error_type": "t"}}}),
        ("no_code", {"error": {"message": "m", "error_type": "t", "http_status": 429, "metadata": {"error_type": "t"}}}),
        ("openai", {"error": {"message": "m", "type": "t", "param": None, "code": 429, "metadata": {"error_type": "t"}}}),
        ("anthropic", {"type": "error", "error": {"type": "t", "message": "m", "metadata": {"error_type": "t"}}}),
        ("plain", {"error": "m"}),
    ],
)  # fmt: skip
def test_an_error_has_any_envelope(shape: ErrorShape, expected: dict[str, Any]) -> None:
    """Each envelope that was seen can be made."""
    assert error_reply(429, "m", shape=shape, error_type="t").json == expected


def test_errors_that_are_no_json_can_be_made() -> None:
    """The edge's page, the validator's shape, and nothing at all."""
    page = error_reply(524, shape="html", headers={"cf-ray": "1"})
    zod = error_reply(400, shape="zod").json

    assert page.text is not None
    assert "Error code 524" in page.text
    assert (page.content_type, page.headers) == ("text/html", {"cf-ray": "1"})
    assert "error code 529" in (error_reply(529, shape="html").text or "").lower()
    assert zod["success"] is False
    assert json.loads(zod["error"]["message"])
    assert error_reply(502, shape="empty").body == b""


def test_a_wait_is_hinted_everywhere() -> None:
    """Every place of protocol 6.6 can hold the wait."""
    made = error_reply(
        429,
        provider_name="Liquid",
        raw="slow down",
        availability={"code": "capacity_exhausted", "retryable": True},
        user_id="user_x",
        retry_after=1.5,
        hints=("header", "header_ms", "availability", "metadata", "metadata_raw", "metadata_header", "reset"),
    )  # fmt: skip
    inner, headers = made.json["error"], dict(made.headers or {})

    assert headers == {"Retry-After": "1.5", "retry-after-ms": "1500"}
    assert inner["availability"]["retry_after"] == 1.5
    assert inner["availability"]["retryable"] is True
    metadata = inner["metadata"]
    assert (metadata["provider_name"], metadata["raw"]) == ("Liquid", "slow down")
    assert metadata["retry_after_seconds"] == 2
    assert metadata["retry_after_seconds_raw"] == 1.5
    assert metadata["headers"]["Retry-After"] == "1.5"
    reset = int(metadata["headers"]["X-RateLimit-Reset"]) / 1000
    assert 0 < reset - time.time() < 2
    assert made.json["user_id"] == "user_x"
    assert made.status == 429


def test_a_wait_may_be_a_date_or_nonsense() -> None:
    """An HTTP date counts from now; a string goes out as it is."""
    dated = error_reply(503, retry_after=60, hints=("header_date",))
    odd = error_reply(503, retry_after="soon", hints=("header", "reset"))
    bare = error_reply(503, retry_after=1, hints=("availability",))

    assert (dated.headers or {})["Retry-After"].endswith("GMT")
    assert (odd.headers or {})["Retry-After"] == "soon"
    assert bare.json["error"]["availability"] == {"retry_after": 1}


@pytest.mark.parametrize(
    ("form", "keys"),
    [
        ("error", {"error"}),
        ("user_id", {"error", "user_id"}),
        ("id", {"error", "id"}),
        ("no_choices", {"error", "choices"}),
        ("whitespace", {"error"}),
    ],
)
async def test_a_200_can_be_a_failure(
    loop_server: LocalOpenRouter,
    http: aiohttp.ClientSession,
    form: ErrorIn200Form,
    keys: set[str],
) -> None:
    """Each form of protocol 6.4 can be made."""
    loop_server.reply(error_in_200(form, 429, "no", error_type="rate_limit_exceeded"))

    async with http.post("chat/completions", json=HELLO) as response:
        raw = await response.read()

    assert response.status == 200
    assert set(json.loads(raw)) == keys
    assert json.loads(raw)["error"]["metadata"] == {"error_type": "rate_limit_exceeded"}
    assert raw.startswith(b"\n ") == (form == "whitespace")


async def test_a_200_can_fail_in_its_choice_or_silently(
    loop_server: LocalOpenRouter, http: aiohttp.ClientSession
) -> None:
    """An error in the choice, no choices, and an empty cold start."""
    loop_server.reply(error_in_200("choice", text="par")).then(error_in_200("nothing"))
    loop_server.reply(error_in_200("empty"))

    choice = (await ask(http))["choices"][0]
    assert (choice["finish_reason"], choice["error"]["code"]) == ("error", 502)
    assert choice["message"]["content"] == "par"
    assert (await ask(http))["choices"] == []
    empty = (await ask(http))["choices"][0]
    assert (empty["finish_reason"], empty["message"]["content"]) == (None, "")
