"""`send_many` against the local server."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from support import prompts, read_results

from openrouter_async import (
    AsyncOpenRouter,
    BatchItem,
    ChatGenerationParams,
    ConfigurationError,
    UserMessage,
)
from openrouter_async.testing import (
    LocalOpenRouter,
)

# --- rows and options ------------------------------------------------------------


async def test_each_row_gets_one_result_with_its_index_response_and_cost(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    run = client.chat.send_many(prompts(50), model="openai/gpt-4o-mini")
    results = await read_results(run)

    assert sorted(result.index for result in results) == list(range(50))
    assert all(f'"prompt {result.index}"' in result.text for result in results)
    assert all(r.ok and r.attempts == 1 and r.latency > 0 for r in results)
    assert sorted(seen.prompt for seen in server.requests) == sorted(prompts(50))
    stats = run.stats
    assert (stats.total, stats.done, stats.ok, stats.failed) == (50, 50, 50, 0)
    assert stats.cost == pytest.approx(server.stats.cost)
    assert stats.spent == stats.cost
    assert stats.prompt_tokens > 0
    assert stats.completion_tokens > 0
    assert stats.providers == {"OpenAI": 50}
    assert stats.is_over
    assert stats.stop_reason is None


async def in_turn(items: list[Any]) -> AsyncIterator[Any]:
    for item in items:
        await asyncio.sleep(0)
        yield item


@pytest.mark.parametrize("kind", ["list", "generator", "async", "file"])
async def test_rows_are_read_from_any_iterable_or_a_file(
    server: LocalOpenRouter, client: AsyncOpenRouter, kind: str, tmp_path: Path
) -> None:
    """The accepted forms of an item may be mixed."""
    message = {"role": "user", "content": "b"}
    body = {"messages": [message], "temperature": 0.5}
    rows: list[Any] = ["a", [message], {"custom_id": "named", "body": body}]
    path = tmp_path / "in.jsonl"
    path.write_text("\n\n".join(json.dumps(row) for row in rows))
    items: Any = {
        "list": [rows[0], [UserMessage("b")], BatchItem("named", body)],
        "generator": (row for row in rows),
        "async": in_turn(rows),
        "file": path,
    }[kind]

    results = await read_results(client.chat.send_many(items, model="m", ordered=True))

    assert [r.custom_id for r in results] == [None, None, "named"]
    assert [r.error for r in results] == [None] * 3
    assert sorted(seen.prompt for seen in server.requests) == ["a", "b", "b"]
    assert {seen.model for seen in server.requests} == {"m"}


@pytest.mark.parametrize(
    "items", ["one prompt", b"bytes", {"messages": []}, ChatGenerationParams(), 5]
)
def test_items_that_are_a_single_value_are_rejected(
    client: AsyncOpenRouter, items: Any
) -> None:
    """A string would otherwise be sent letter by letter."""
    with pytest.raises(TypeError, match="send_many"):
        client.chat.send_many(items)


def test_unknown_keyword_is_rejected_with_a_suggestion(client: AsyncOpenRouter) -> None:
    unknown: Any = {"modell": "m"}
    with pytest.raises(TypeError, match=r"send_many\(\) .* Did you mean 'model'\?"):
        client.chat.send_many(["a"], **unknown)


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"concurrency": 0}, ConfigurationError),
        ({"concurrency": "all"}, ConfigurationError),
        ({"concurrency": True}, ConfigurationError),
        ({"on_error": "ignore"}, ConfigurationError),
        ({"max_cost": 0}, ConfigurationError),
        ({"max_cost": "5"}, TypeError),
        ({"rpm": float("nan")}, ConfigurationError),
        ({"rpm": True}, TypeError),
        ({"stall_timeout": 0}, ConfigurationError),
        ({"temprature": 1}, TypeError),
        ({"base_url": "https://elsewhere.test/api"}, ConfigurationError),
    ],
)
def test_invalid_option_is_rejected_before_the_run_starts(
    client: AsyncOpenRouter, options: dict[str, Any], kind: type[Exception]
) -> None:
    with pytest.raises(kind):
        client.chat.send_many(["a"], **options)


async def test_fields_of_a_row_override_the_keywords_of_the_run(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    rows: list[Any] = [
        ChatGenerationParams(model="own", messages=[UserMessage("a")]),
        {"messages": [{"role": "user", "content": "b"}], "temperature": 0},
        "c",
    ]
    run = client.chat.send_many(
        rows,
        ordered=True,
        model="common",
        temperature=1,
        extra_headers={"X-Mine": "1"},
        extra_body={"new": True},
        extra_query={"q": "1"},
    )
    results = await read_results(run)

    assert [r.ok for r in results] == [True] * 3
    sent = {seen.prompt: seen for seen in server.requests}
    assert sent["a"].model == "own"
    assert sent["b"].model == "common"
    assert [sent[p].json["temperature"] for p in "abc"] == [1, 0, 1]
    assert all(seen.json["new"] is True for seen in sent.values())
    assert all(seen.headers["X-Mine"] == "1" for seen in sent.values())
    assert all(seen.query["q"] == "1" for seen in sent.values())


async def test_api_key_of_the_run_is_sent_with_each_row(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    results = await read_results(
        client.chat.send_many(["a", "b"], model="m", api_key="own")
    )

    assert [result.ok for result in results] == [True] * 2
    assert [seen.headers["Authorization"] for seen in server.requests] == [
        "Bearer own"
    ] * 2


async def test_run_that_was_not_entered_reads_and_sends_nothing(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    pulled: list[int] = []

    def rows() -> Iterator[str]:
        pulled.append(1)
        yield "a"

    run = client.chat.send_many(rows(), model="m")
    await asyncio.sleep(0.01)
    assert repr(run) == "<BatchRun new 0 ok, 0 failed>"
    with pytest.raises(ConfigurationError, match="async with"):
        await anext(run)
    assert run.stats.done == 0
    assert run.limiters == {}
    await run.stop()
    await run.aclose()

    assert pulled == []
    assert server.requests == []


async def test_rows_are_read_only_when_a_request_can_be_sent(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """One more than are in flight may have been read."""
    server.capacity.latency = 5
    pulled = 0

    def rows() -> Iterator[str]:
        nonlocal pulled
        while True:
            pulled += 1
            yield "a"

    async with client.chat.send_many(rows(), model="m", concurrency=4) as run:
        await server.until(requests=4)
        await asyncio.sleep(0.02)
        assert pulled <= 5
        assert run.stats.in_flight == 4


async def test_full_result_buffer_stops_the_reading_of_rows(
    server: LocalOpenRouter, client: AsyncOpenRouter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("openrouter_async.batch.engine._MIN_BUFFER_SIZE", 4)
    pulled = 0

    def rows() -> Iterator[str]:
        nonlocal pulled
        for prompt in prompts(9):
            pulled += 1
            yield prompt

    async with client.chat.send_many(rows(), model="m", concurrency=1) as run:
        while run.stats.done < 4:  # noqa: ASYNC110 - no event is set for it
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.02)
        unread = pulled
        results = [result async for result in run]

    assert unread == 4
    assert [result.index for result in results] == list(range(9))


class Steps:
    """An async iterator that is not a generator; exceptions among its items are raised."""

    def __init__(self, items: list[Any]) -> None:
        self._items = items

    def __aiter__(self) -> "Steps":
        return self

    async def __anext__(self) -> Any:
        """Return the next item, or raise it."""
        if not self._items:
            raise StopAsyncIteration
        item = self._items.pop(0)
        if isinstance(item, Exception):
            raise item
        return item


class Closing(Steps):
    """Rows whose `aclose` fails."""

    async def aclose(self) -> None:
        """Fail."""
        raise OSError


async def test_async_iterator_without_aclose_is_accepted(
    client: AsyncOpenRouter,
) -> None:
    run = client.chat.send_many(Steps(prompts(3)), model="m")

    assert len(await read_results(run)) == 3
    assert run.stats.stop_reason is None


async def test_error_of_the_items_takes_precedence_over_an_error_of_aclose(
    client: AsyncOpenRouter,
) -> None:
    both = client.chat.send_many(Closing([ZeroDivisionError()]), model="m")
    with pytest.raises(ZeroDivisionError):
        await read_results(both)
    last = client.chat.send_many(Closing([]), model="m")
    with pytest.raises(OSError):  # noqa: PT011 - it has no message
        await read_results(last)

    assert both.stats.stop_reason == last.stats.stop_reason == "input"


async def test_run_can_be_entered_only_once(client: AsyncOpenRouter) -> None:
    run = client.chat.send_many(["a"], model="m")
    async with run:
        pass
    with pytest.raises(ConfigurationError, match="only be entered once"):
        await run.__aenter__()
    assert [result async for result in run] == []


async def test_second_task_that_iterates_is_rejected(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    server.capacity.latency = 0.2
    async with client.chat.send_many(["a"], model="m") as run:
        first = asyncio.ensure_future(anext(run))
        await asyncio.sleep(0)
        with pytest.raises(ConfigurationError, match="Two tasks"):
            await anext(run)
        assert (await first).ok
