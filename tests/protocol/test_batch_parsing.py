"""Bodies of the routes of hosted batches."""

import json
from typing import Any

import pytest

from openrouter_async import (
    APIError,
    BadRequestError,
    ChatResponse,
    MalformedResponseError,
    OpenRouterError,
    ProviderOverloadedError,
    RateLimitError,
    ServiceUnavailableError,
)
from openrouter_async.protocol.batch_parsing import (
    batch_of,
    objects_in,
    read_batch,
    read_batch_json,
    read_row,
)
from openrouter_async.types import Exchange

BODY = {"id": "gen-batch-1", "choices": [{"message": {"content": "hi"}}]}


def row(status: int = 200, body: Any = None, error: Any = None) -> dict[str, Any]:
    response = None if error else {"status_code": status, "body": body}
    return {"id": "x", "custom_id": "a", "response": response, "error": error}


def test_row_with_choices_is_a_response() -> None:
    found = read_row(row(body=BODY))

    assert isinstance(found, ChatResponse)
    assert found.text == "hi"
    assert found.http.status == 200
    assert found.http.generation_id == "gen-batch-1"
    assert found.usage.cost is None


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (row(429, {"error": {"message": "slow"}}), RateLimitError),
        (row(400, '{"error": {"message": "bad"}}'), BadRequestError),
        (row(503, "{broken"), APIError),
        (row(500), APIError),
        (row(body={"error": {"code": 429, "message": "x"}}), RateLimitError),
        (row(body={**BODY, "error": {"code": 400}}), BadRequestError),
        (row(body={"id": "x", "choices": []}), MalformedResponseError),
        (row(body=None), MalformedResponseError),
        ({"custom_id": "a"}, MalformedResponseError),
        (
            row(error={"message": "m", "error_type": "rate_limit_exceeded"}),
            RateLimitError,
        ),
        (row(error={"message": "m", "type": "invalid_request_error"}), BadRequestError),
        (
            row(error={"message": "m", "type": "overloaded_error"}),
            ServiceUnavailableError,
        ),
        (row(error={"message": "m", "code": 529}), ProviderOverloadedError),
        (row(error={"message": "m"}), APIError),
    ],
)
def test_row_that_failed_is_the_error_of_a_call(
    given: dict[str, Any], expected: type[OpenRouterError]
) -> None:
    assert isinstance(read_row(given), expected)


def test_row_with_an_error_beside_choices_keeps_them() -> None:
    found = read_row(row(body={**BODY, "error": {"code": 400}}))

    assert isinstance(found, BadRequestError)
    assert found.partial is not None
    assert found.partial.text == "hi"


def test_message_of_a_row_in_json_text_is_read() -> None:
    found = read_row(row(400, '{"error": {"message": "too long"}}'))

    assert "too long" in str(found)


def test_batch_has_typed_attributes() -> None:
    batch = batch_of(
        {
            "id": "batch-1",
            "status": "completed",
            "request_counts": {"total": 3, "completed": 2, "failed": 1},
            "usage": {"cost": 0.5, "prompt_tokens": 7},
            "expires_at": "soon",
        }
    )

    assert batch.is_ended
    assert (batch.counts.total, batch.counts.completed) == (3, 2)
    assert batch.cost == 0.5
    assert batch.expires_at is None
    assert batch.raw["expires_at"] == "soon"


@pytest.mark.parametrize("status", ["validating", "cancelling", "paused", None])
def test_unknown_status_is_not_the_end(status: str | None) -> None:
    batch = batch_of({"id": "b", "status": status})

    assert not batch.is_ended
    assert batch.cost is None


def test_error_of_a_failed_batch_is_part_of_it() -> None:
    body = json.dumps({"id": "b", "status": "failed", "error": {"message": "row 1"}})

    batch = read_batch(body.encode(), Exchange(), 0.0)

    assert batch.error == {"message": "row 1"}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"error": {"code": 404, "message": "x"}}', APIError),
        (b"[]", MalformedResponseError),
        (b"{}", MalformedResponseError),
        (b'{"id": ', MalformedResponseError),
        (b"[" * 100_000, MalformedResponseError),
    ],
)
def test_body_that_is_not_a_batch_raises(
    body: bytes, expected: type[OpenRouterError]
) -> None:
    with pytest.raises(expected):
        read_batch(body, Exchange(), 0.0)


def test_numbers_that_are_not_finite_become_null() -> None:
    body = b'{"id": "b", "x": NaN, "y": -Infinity, "z": 1.5}'

    assert read_batch_json(body, Exchange(), 0.0) == {
        "id": "b",
        "x": None,
        "y": None,
        "z": 1.5,
    }


def test_objects_in_leaves_out_other_values() -> None:
    assert objects_in([{"a": 1}, 2, None]) == [{"a": 1}]
    assert objects_in({"a": 1}) == []
