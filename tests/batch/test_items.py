"""Accepted forms of an item, results, and their lines in the journal's files."""

import json
from typing import Any

import pytest

from openrouter_async import (
    BadRequestError,
    BatchItem,
    BatchResult,
    ChatGenerationParams,
    ConfigurationError,
    UserMessage,
)
from openrouter_async.batch.rows.items import (
    InvalidLine,
    fingerprint_of,
    identify_item,
    name_key,
    read_item,
)
from openrouter_async.batch.rows.results import failure_line, result_line
from openrouter_async.protocol.response_objects import read_response
from openrouter_async.testing import completion

MESSAGES = [{"role": "user", "content": "hi"}]


@pytest.mark.parametrize(
    ("item", "custom_id", "params"),
    [
        ("hi", None, {"messages": [UserMessage("hi")]}),
        (MESSAGES, None, {"messages": MESSAGES}),
        ((UserMessage("hi"),), None, {"messages": (UserMessage("hi"),)}),
        (ChatGenerationParams(model="m"), None, ChatGenerationParams(model="m")),
        ({"messages": MESSAGES}, None, {"messages": MESSAGES}),
        (
            {"custom_id": "a", "messages": MESSAGES},
            "a",
            {"messages": MESSAGES},
        ),
        (
            {"custom_id": "a", "body": {"messages": MESSAGES}},
            "a",
            {"messages": MESSAGES},
        ),
        (
            {
                "custom_id": "a",
                "method": "POST",
                "url": "/v1/chat/completions",
                "body": {"messages": MESSAGES},
            },
            "a",
            {"messages": MESSAGES},
        ),
        ({"body": {"model": "m"}}, None, {"model": "m"}),
        (
            BatchItem("a", ChatGenerationParams(model="m")),
            "a",
            ChatGenerationParams(model="m"),
        ),
    ],
)
def test_item_may_be_a_prompt_messages_a_request_or_a_batch_line(
    item: object, custom_id: str | None, params: object
) -> None:
    row = read_item(item, 7)

    assert row.index == 7
    assert row.custom_id == custom_id
    assert row.params == params
    assert row.name == (custom_id or "row-7")


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (5, "Row 7 is not a prompt"),
        (b"hi", "Row 7 is not a prompt"),
        (None, "Row 7 is not a prompt"),
        ({}, "its keys: none"),
        ({"text": "hi"}, "its keys: 'text'"),
        ({"custom_id": 5, "body": {"model": "m"}}, "custom_id must be a string"),
        ({"custom_id": "a", "body": "hi"}, "body must be a request, not a str"),
        ({"body": {}, "url": "/v1/embeddings"}, "Only requests for chat completions"),
        (InvalidLine("{", ConfigurationError("line 7")), "line 7"),
    ],
)
def test_invalid_item_is_rejected_with_its_index(item: object, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        read_item(item, 7)


def test_names_and_requests_are_hashed_to_64_bits() -> None:
    assert name_key("a") == name_key("a") != name_key("b")
    assert 0 < name_key("\ud800") < 2**64
    assert fingerprint_of(b"a") == fingerprint_of(b"a") != fingerprint_of(b"b")


def make_response(**fields: Any) -> Any:
    return read_response(dict(completion("hello", model="m", id="gen-1", **fields)))


def test_result_has_the_text_model_and_provider_of_its_response() -> None:
    result = BatchResult(0, response=make_response())

    assert result.ok
    assert result.text == "hello"
    assert result.model == "m"
    assert result.provider

    failed = BatchResult(0, error=ConfigurationError("no"))
    assert not failed.ok
    assert (failed.text, failed.model, failed.provider) == ("", None, None)


@pytest.mark.parametrize("custom_id", ["a", None])
def test_result_line_is_a_batch_line_that_is_read_back(custom_id: str | None) -> None:
    response = make_response()
    result = BatchResult(
        3,
        custom_id,
        response,
        cost=response.usage.cost,
        usage=response.usage,
        attempts=2,
        latency=0.812,
    )
    line = result_line(result, custom_id or "row-3", 0xAB, 1795368000.1234)

    assert list(line) == ["id", "custom_id", "response", "error", "x_openrouter"]
    assert line["id"] == "gen-1"
    assert line["custom_id"] == (custom_id or "row-3")
    assert line["response"]["status_code"] == 200
    assert line["response"]["body"] == response.raw
    assert line["error"] is None
    extension = {"v": 1, "i": 3, "fp": "00000000000000ab", "attempts": 2, "ms": 812}
    assert extension.items() <= line["x_openrouter"].items()
    assert BatchResult.from_line(json.loads(json.dumps(line))) == result


def test_failure_line_with_its_request_is_an_item() -> None:
    error = BadRequestError("no", status_code=400)
    body = {"model": "m", "messages": MESSAGES}
    result = BatchResult(1, "a", error=error, attempts=1)
    line = {**failure_line(result, "a", 0xAB), "body": body}

    assert line["error"]["type"] == "BadRequestError"
    assert line["error"]["code"] == 400
    assert line["attempts"] == 1
    row = read_item(line, 0)
    assert row.custom_id == "a"
    assert row.params == body
    assert row.index == 1
    assert row.fingerprint == 0xAB


NOT_MESSAGES: list[tuple[Any, str]] = [
    ((0, "text"), "tuple with a int in it"),
    (["a", "b"], "list with a str in it"),
    ([None], "NoneType"),
    ([[]], "list with a list in it"),
    ([{"custom_id": "a", "body": {}}], "a list of rows"),
    ([{"messages": []}], "a list of rows"),
]


@pytest.mark.parametrize(("item", "message"), NOT_MESSAGES, ids=str)
def test_list_that_is_not_a_conversation_is_rejected(item: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        read_item(item, 3)


def test_line_that_is_invalid_keeps_its_name() -> None:
    line = InvalidLine("{", ConfigurationError("no"), "cafe")

    assert identify_item(line, 2).name == "cafe"
