"""What a row may be given as, and the lines that rows come to."""

import json
from types import SimpleNamespace
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
    Broken,
    fingerprint,
    name_key,
    read_item,
)
from openrouter_async.batch.rows.results import failure_line, result_line
from openrouter_async.protocol.decode import read_response
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
        (SimpleNamespace(custom_id="a", body={"model": "m"}), "a", {"model": "m"}),
    ],
)
def test_a_row_has_many_forms(
    item: object, custom_id: str | None, params: object
) -> None:
    """Prompts, messages, requests, lines of batch files, classes of that shape."""
    row = read_item(item, 7)

    assert row.index == 7
    assert row.custom_id == custom_id
    assert row.params == params
    assert row.name == (custom_id or "row-7")


@pytest.mark.parametrize(
    ("item", "words"),
    [
        (5, "Row 7 is no prompt"),
        (b"hi", "Row 7 is no prompt"),
        (None, "Row 7 is no prompt"),
        ({}, "it has nothing"),
        ({"text": "hi"}, "it has 'text'"),
        ({"custom_id": 5, "body": {"model": "m"}}, "custom_id is a string"),
        ({"custom_id": "a", "body": "hi"}, "body is a request, not a str"),
        ({"body": {}, "url": "/v1/embeddings"}, "only chat completions"),
        (Broken("{", ConfigurationError("line 7")), "line 7"),
    ],
)
def test_what_is_no_row_says_why(item: object, words: str) -> None:
    """With its place."""
    with pytest.raises(ConfigurationError, match=words):
        read_item(item, 7)


def test_names_and_requests_have_numbers() -> None:
    """64 bits, alike for what is alike, and never 0 for a name."""
    assert name_key("a") == name_key("a") != name_key("b")
    assert 0 < name_key("\ud800") < 2**64
    assert fingerprint(b"a") == fingerprint(b"a") != fingerprint(b"b")


def reply(**fields: Any) -> Any:
    return read_response(dict(completion("hello", model="m", id="gen-1", **fields)))


def test_a_result_knows_what_its_reply_says() -> None:
    """Text, model and provider are the reply's; nothing without one."""
    result = BatchResult(0, response=reply())

    assert result.ok
    assert result.text == "hello"
    assert result.model == "m"
    assert result.provider

    failed = BatchResult(0, error=ConfigurationError("no"))
    assert not failed.ok
    assert (failed.text, failed.model, failed.provider) == ("", None, None)


@pytest.mark.parametrize("custom_id", ["a", None])
def test_a_line_is_a_batch_result_and_comes_back(custom_id: str | None) -> None:
    """The line is OpenAI's and OpenRouter's, with ours under one key."""
    response = reply()
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
    assert line["custom_id"] == custom_id or "row-3"
    assert line["response"]["status_code"] == 200
    assert line["response"]["body"] == response.raw
    assert line["error"] is None
    ours = {"v": 1, "i": 3, "fp": "00000000000000ab", "attempts": 2, "ms": 812}
    assert ours.items() <= line["x_openrouter"].items()
    assert BatchResult.from_line(json.loads(json.dumps(line))) == result


def test_a_failure_is_a_row_to_be_sent() -> None:
    """The line has the request, and why it failed."""
    error = BadRequestError("no", status_code=400)
    body = {"model": "m", "messages": MESSAGES}
    line = failure_line(BatchResult(1, "a", error=error, attempts=1), "a", body)

    assert line["error"]["type"] == "BadRequestError"
    assert line["error"]["code"] == 400
    assert line["attempts"] == 1
    row = read_item(line, 0)
    assert row.custom_id == "a"
    assert row.params == body
