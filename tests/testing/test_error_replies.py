import json
import time
from typing import Any

import aiohttp
import pytest
from raw_client import BODY, complete

from openrouter_async.testing import LocalOpenRouter, error_in_200, error_reply
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
def test_error_reply_has_the_body_of_its_shape(
    shape: ErrorShape, expected: dict[str, Any]
) -> None:
    assert error_reply(429, "m", shape=shape, error_type="t").json == expected


def test_error_reply_can_be_html_a_validation_error_or_empty() -> None:
    page = error_reply(524, shape="html", headers={"cf-ray": "1"})
    zod = error_reply(400, shape="zod").json

    assert page.text is not None
    assert "Error code 524" in page.text
    assert (page.content_type, page.headers) == ("text/html", {"cf-ray": "1"})
    assert "error code 529" in (error_reply(529, shape="html").text or "").lower()
    assert zod["success"] is False
    assert json.loads(zod["error"]["message"])
    assert error_reply(502, shape="empty").body == b""


def test_retry_after_is_sent_in_every_location() -> None:
    reply = error_reply(
        429,
        provider_name="Liquid",
        raw="slow down",
        availability={"code": "capacity_exhausted", "retryable": True},
        user_id="user_x",
        retry_after=1.5,
        hints=("header", "header_ms", "availability", "metadata", "metadata_raw", "metadata_header", "reset"),
    )  # fmt: skip
    inner, headers = reply.json["error"], dict(reply.headers or {})

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
    assert reply.json["user_id"] == "user_x"
    assert reply.status == 429


def test_retry_after_can_be_a_date_or_any_string() -> None:
    dated = error_reply(503, retry_after=60, hints=("header_date",))
    text = error_reply(503, retry_after="soon", hints=("header", "reset"))
    member = error_reply(503, retry_after=1, hints=("availability",))

    assert (dated.headers or {})["Retry-After"].endswith("GMT")
    assert (text.headers or {})["Retry-After"] == "soon"
    assert member.json["error"]["availability"] == {"retry_after": 1}


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
async def test_error_in_200_has_the_members_of_its_form(
    loop_server: LocalOpenRouter,
    http: aiohttp.ClientSession,
    form: ErrorIn200Form,
    keys: set[str],
) -> None:
    loop_server.reply(error_in_200(form, 429, "no", error_type="rate_limit_exceeded"))

    async with http.post("chat/completions", json=BODY) as response:
        raw = await response.read()

    assert response.status == 200
    assert set(json.loads(raw)) == keys
    assert json.loads(raw)["error"]["metadata"] == {"error_type": "rate_limit_exceeded"}
    assert raw.startswith(b"\n ") == (form == "whitespace")


async def test_error_in_200_can_be_in_the_choice_or_missing(
    loop_server: LocalOpenRouter, http: aiohttp.ClientSession
) -> None:
    loop_server.reply(error_in_200("choice", text="par")).then(error_in_200("nothing"))
    loop_server.reply(error_in_200("empty"))

    choice = (await complete(http))["choices"][0]
    assert (choice["finish_reason"], choice["error"]["code"]) == ("error", 502)
    assert choice["message"]["content"] == "par"
    assert (await complete(http))["choices"] == []
    empty = (await complete(http))["choices"][0]
    assert (empty["finish_reason"], empty["message"]["content"]) == (None, "")
