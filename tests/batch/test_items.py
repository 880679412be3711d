"""What a row may be given as, and the lines that rows come to."""

import ast
import json
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
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
    batch,
)
from openrouter_async.batch.rows.items import (
    Broken,
    fingerprint,
    name_key,
    read_item,
)
from openrouter_async.batch.rows.results import failure_line, result_line
from openrouter_async.batch.source import END, open_source
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


@pytest.mark.parametrize(
    "module",
    ["items", "results", "control", "budget", "verdict", "index", "stats"],
)
def test_what_decides_knows_no_machine(module: str) -> None:
    """Other engines use these: no asyncio, no clock, no file, no randomness."""
    path = Path(batch.__file__).with_name(f"{module}.py")
    found = {
        name.partition(".")[0]
        for node in ast.walk(ast.parse(path.read_bytes()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        and not getattr(node, "level", 0)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
        )
    }

    assert found <= {
        *("array", "attrs", "collections", "hashlib", "re", "typing"),
        "typing_extensions",
    }


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


async def test_a_file_that_is_cut_off_while_it_is_read_ends_there(
    tmp_path: Path,
) -> None:
    """What was read of it is still given; the torn line says that it is no JSON."""
    path = tmp_path / "in.jsonl"
    line = json.dumps("x" * 1000) + "\n"
    path.write_text(line * 400)
    with ThreadPoolExecutor(1) as threads:
        source = open_source(path, threads)
        pulled = [await source.pull()]
        path.write_text("")
        while (found := await source.pull()) is not END:
            pulled.append(found)
        await source.aclose()

    assert source.total == 400
    *whole, torn = pulled
    assert whole == ["x" * 1000] * 261
    assert isinstance(torn, Broken)
    assert torn.text == line[: 256 * 1024 - 261 * len(line)]
    assert "in.jsonl, line 262" in str(torn.fault)


async def test_rows_that_have_ended_stay_ended() -> None:
    """Several workers may ask; a generator is asked until it ends, and then let be."""
    asked = 0

    async def rows() -> AsyncIterator[str]:
        nonlocal asked
        asked += 1
        yield "a"

    with ThreadPoolExecutor(1) as threads:
        source = open_source(rows(), threads)
        pulled = [await source.pull() for _ in range(3)]
        await source.aclose()

    assert pulled == ["a", END, END]
    assert asked == 1
