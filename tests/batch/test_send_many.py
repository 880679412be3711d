"""`send_many` against a real server: rows in, results out, and everything between."""

import asyncio
import gc
import io
import json
import logging
import sys
import weakref
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest
from attrs import define

from openrouter_async import (
    APIConnectionError,
    AsyncOpenRouter,
    AuthenticationError,
    BadRequestError,
    BatchItem,
    BatchResult,
    BatchRun,
    BatchStats,
    BatchStoppedError,
    CallRecord,
    ChatGenerationParams,
    ClosedError,
    ConfigurationError,
    OutputValidationError,
    PaymentRequiredError,
    RateLimitError,
    Retries,
    Timeouts,
    UserMessage,
)
from openrouter_async.testing import (
    Capacity,
    Clock,
    LocalOpenRouter,
    Reply,
    completion,
    error_reply,
)


class MakeClient(Protocol):
    """Makes a client of `server`."""

    def __call__(self, **options: Any) -> AsyncOpenRouter:
        """Make one."""
        ...


async def read(run: BatchRun) -> list[BatchResult]:
    async with run:
        return [result async for result in run]


async def read_into(results: list[BatchResult], run: BatchRun) -> None:
    """Keep what came before it raises."""
    async with run:
        async for result in run:
            results.append(result)


def prompts(count: int) -> list[str]:
    return [f"prompt {number}" for number in range(count)]


# --- rows in ---------------------------------------------------------------------


async def test_every_row_comes_to_a_result(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """Once, with its place, its reply and its cost."""
    run = client.chat.send_many(prompts(50), model="openai/gpt-4o-mini")
    results = await read(run)

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
async def test_rows_come_from_anything(
    server: LocalOpenRouter, client: AsyncOpenRouter, kind: str, tmp_path: Path
) -> None:
    """Any iterable, plain or async, or a file of JSON lines; forms may be mixed."""
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

    results = await read(client.chat.send_many(items, model="m", ordered=True))

    assert [r.custom_id for r in results] == [None, None, "named"]
    assert [r.error for r in results] == [None] * 3
    assert sorted(seen.prompt for seen in server.requests) == ["a", "b", "b"]
    assert {seen.model for seen in server.requests} == {"m"}


@pytest.mark.parametrize(
    "items", ["one prompt", b"bytes", {"messages": []}, ChatGenerationParams(), 5]
)
def test_what_is_not_many_is_refused(client: AsyncOpenRouter, items: Any) -> None:
    """Above all a string, which would be sent letter by letter."""
    with pytest.raises(TypeError, match="send_many"):
        client.chat.send_many(items)


def test_a_keyword_that_there_is_not_is_named(client: AsyncOpenRouter) -> None:
    """With the one that may have been meant, as in `send`."""
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
def test_impossible_options_are_refused(
    client: AsyncOpenRouter, options: dict[str, Any], kind: type[Exception]
) -> None:
    """Before anything is read."""
    with pytest.raises(kind):
        client.chat.send_many(["a"], **options)


async def test_keywords_fill_what_a_row_leaves_open(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """A row's own fields win; options of the call are those of `send`."""
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
    results = await read(run)

    assert [r.ok for r in results] == [True] * 3
    sent = {seen.prompt: seen for seen in server.requests}
    assert sent["a"].model == "own"
    assert sent["b"].model == "common"
    assert [sent[p].json["temperature"] for p in "abc"] == [1, 0, 1]
    assert all(seen.json["new"] is True for seen in sent.values())
    assert all(seen.headers["X-Mine"] == "1" for seen in sent.values())
    assert all(seen.query["q"] == "1" for seen in sent.values())


async def test_a_run_may_have_a_key_of_its_own(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """All its calls are sent with it."""
    results = await read(client.chat.send_many(["a", "b"], model="m", api_key="own"))

    assert [result.ok for result in results] == [True] * 2
    assert [seen.headers["Authorization"] for seen in server.requests] == [
        "Bearer own"
    ] * 2


async def test_nothing_is_read_or_sent_before_the_block(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """And nothing is sent without it."""
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


async def test_rows_are_pulled_as_there_is_room(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """Not more than are out and one."""
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


async def test_rows_wait_for_a_reader_that_is_late(
    server: LocalOpenRouter, client: AsyncOpenRouter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only so many are pulled as may lie unread; each that is read makes room."""
    monkeypatch.setattr("openrouter_async.batch.engine._WINDOW", 4)
    pulled = 0

    def rows() -> Iterator[str]:
        nonlocal pulled
        for prompt in prompts(9):
            pulled += 1
            yield prompt

    async with client.chat.send_many(rows(), model="m", concurrency=1) as run:
        while run.stats.done < 4:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.02)
        unread = pulled
        results = [result async for result in run]

    assert unread == 4
    assert [result.index for result in results] == list(range(9))


class Steps:
    """Rows of a class of its own: an iterator, and no generator."""

    def __init__(self, items: list[Any]) -> None:
        self._items = items

    def __aiter__(self) -> "Steps":
        return self

    async def __anext__(self) -> Any:
        """Give the next; the caller's own exception at its place."""
        if not self._items:
            raise StopAsyncIteration
        item = self._items.pop(0)
        if isinstance(item, Exception):
            raise item
        return item


class Closing(Steps):
    """Rows that can not even be let go of."""

    async def aclose(self) -> None:
        """Fail."""
        raise OSError


async def test_an_iterator_need_not_be_a_generator(client: AsyncOpenRouter) -> None:
    """What can not be closed is left to its owner."""
    run = client.chat.send_many(Steps(prompts(3)), model="m")

    assert len(await read(run)) == 3
    assert run.stats.stop_reason is None


async def test_the_first_failure_of_the_rows_counts(client: AsyncOpenRouter) -> None:
    """Rows that raise at their end are the reason, unless there is one before it."""
    both = client.chat.send_many(Closing([ZeroDivisionError()]), model="m")
    with pytest.raises(ZeroDivisionError):
        await read(both)
    last = client.chat.send_many(Closing([]), model="m")
    with pytest.raises(OSError):  # noqa: PT011 -- it has no words
        await read(last)

    assert both.stats.stop_reason == last.stats.stop_reason == "input"


async def test_a_run_runs_once(client: AsyncOpenRouter) -> None:
    """The second time it is an error, and the results are gone after the block."""
    run = client.chat.send_many(["a"], model="m")
    async with run:
        pass
    with pytest.raises(ConfigurationError, match="runs once"):
        await run.__aenter__()
    assert [result async for result in run] == []


async def test_two_readers_are_refused(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """As of a stream."""
    server.capacity.latency = 0.2
    async with client.chat.send_many(["a"], model="m") as run:
        first = asyncio.ensure_future(anext(run))
        await asyncio.sleep(0)
        with pytest.raises(ConfigurationError, match="Two tasks"):
            await anext(run)
        assert (await first).ok


# --- results out -----------------------------------------------------------------


async def test_in_order_they_come_in_order(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """However long the first ones take."""
    server.reply(when="prompt 0", delay=0.1)
    ordered = await read(
        client.chat.send_many(prompts(30), model="m", ordered=True, concurrency=8)
    )
    server.reply(when="prompt 0", delay=0.1)
    usual = await read(client.chat.send_many(prompts(30), model="m", concurrency=8))

    assert [r.index for r in ordered] == list(range(30))
    assert [r.index for r in usual] != list(range(30))


async def test_a_row_that_fails_is_a_result(
    server: LocalOpenRouter, client: AsyncOpenRouter, records: list[CallRecord]
) -> None:
    """Of those that can not be sent at all, too; the others go on."""
    server.reply(error_reply(400), when="prompt 1", times=None)
    rows: list[Any] = ["prompt 0", "prompt 1", 5, {"messages": "x"}, {"messages": []}]
    run = client.chat.send_many(rows, model="m", ordered=True)
    results = await read(run)

    kinds = [type(r.error) for r in results]
    assert kinds == [type(None), BadRequestError, *[ConfigurationError] * 3]
    assert [r.attempts for r in results] == [1, 1, 0, 0, 0]
    assert (run.stats.ok, run.stats.failed) == (1, 4)
    assert [record.outcome for record in records] == ["ok", "error"]


async def test_raise_raises_the_first(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """And cancels the rest."""
    server.capacity.latency = 0.05
    server.reply(error_reply(400), when="prompt 3")
    run = client.chat.send_many(prompts(500), model="m", on_error="raise")
    with pytest.raises(BadRequestError):
        await read(run)

    assert len(server.requests) < 100
    assert run.stats.stop_reason == "stopped"


async def test_leaving_early_cancels_and_awaits(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """No task, no slot, no call is left."""
    server.capacity.latency = 0.05
    server.reply(when="prompt 0", times=None)
    server.capacity.latency = 5
    async with client.chat.send_many(prompts(99), model="m", concurrency=9) as run:
        await server.until(requests=9)

    assert client.stats.in_use == 0
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert run.stats.abandoned == 9
    assert run.stats.stop_reason == "stopped"
    assert repr(run) == "<BatchRun stopped 0 ok, 0 failed>"
    await server.until(closed=9)


async def test_being_cancelled_is_leaving_early(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """The same from outside."""
    server.capacity.latency = 5
    task = asyncio.create_task(
        read(client.chat.send_many(prompts(9), model="m", concurrency=9))
    )
    await server.until(requests=9)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await server.until(closed=9)

    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_leaving_does_not_wait_for_the_rows(client: AsyncOpenRouter) -> None:
    """Rows that come from elsewhere may not come for long; they are let go of."""
    ended: list[str] = []

    async def rows() -> AsyncIterator[str]:
        try:
            yield "a"
            await asyncio.Event().wait()
        finally:
            ended.append("let go of")

    async with client.chat.send_many(rows(), model="m") as run:
        result = await anext(run)

    assert result.ok
    assert ended == ["let go of"]
    assert run.stats.stop_reason == "stopped"


async def test_draining_brings_home_what_is_out(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """Nothing new is sent; what is out is still read."""
    server.capacity.latency = 0.3
    results: list[BatchResult] = []
    async with client.chat.send_many(prompts(99), model="m", concurrency=9) as run:
        await server.until(requests=9)
        await run.stop()
        assert run.stats.is_over
        results = [result async for result in run]

    assert 9 <= len(results) == len(server.requests) < 40
    assert run.stats.abandoned == 0
    assert run.stats.stop_reason == "stopped"


async def test_draining_has_an_end(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """After its timeout what is out is cancelled."""
    server.capacity.latency = 5
    async with client.chat.send_many(prompts(99), model="m", concurrency=9) as run:
        await server.until(requests=9)
        await run.stop(timeout=0.05)
        assert [result async for result in run] == []

    assert run.stats.abandoned == 9


async def test_a_run_that_is_over_can_be_stopped(client: AsyncOpenRouter) -> None:
    """Nothing is left to stop, and nothing was: it came to its end."""
    async with client.chat.send_many(["a"], model="m") as run:
        results = [result async for result in run]
        await run.stop()

    assert len(results) == 1
    assert run.stats.stop_reason is None


async def test_a_shutdown_that_cancels_every_task_ends_the_run(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """As frameworks do at their end; whoever waits for the run goes on."""
    server.capacity.latency = 5
    async with client.chat.send_many(prompts(9), model="m", concurrency=9) as run:
        await server.until(requests=9)
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await run.stop()
        results = [result async for result in run]

    assert results == []
    assert run.stats.is_over
    await server.until(closed=9)


async def test_a_closed_client_ends_the_run(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """With what it says to any call."""
    server.capacity.latency = 5
    async with client.chat.send_many(prompts(99), model="m", concurrency=9) as run:
        await server.until(requests=9)
        await client.aclose()
        with pytest.raises(ClosedError):
            await anext(run)


async def test_items_that_raise_end_the_run(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """After what came before them."""

    def rows() -> Iterator[str]:
        yield "a"
        raise ZeroDivisionError

    results: list[BatchResult] = []
    run = client.chat.send_many(rows(), model="m")
    with pytest.raises(ZeroDivisionError):
        await read_into(results, run)

    assert len(results) <= 1
    assert run.stats.stop_reason == "input"


async def test_a_file_that_is_not_there_says_so(
    client: AsyncOpenRouter, tmp_path: Path
) -> None:
    """As `open` would."""
    with pytest.raises(FileNotFoundError):
        await read(client.chat.send_many(tmp_path / "in.jsonl", model="m"))


async def test_a_line_that_is_no_json_is_a_result(
    client: AsyncOpenRouter, tmp_path: Path
) -> None:
    """With its number."""
    path = tmp_path / "in.jsonl"
    path.write_text('"a"\n{nope\n\n"b"')
    run = client.chat.send_many(path, model="m", ordered=True)
    results = await read(run)

    assert [r.ok for r in results] == [True, False, True]
    assert "in.jsonl, line 2" in str(results[1].error)


async def test_a_large_file_is_read_in_blocks(
    client: AsyncOpenRouter, tmp_path: Path
) -> None:
    """A line may be longer than a block."""
    path = tmp_path / "in.jsonl"
    long = "x" * 300_000
    path.write_text("".join(json.dumps(f"{n} {long}") + "\n" for n in range(5)))
    run = client.chat.send_many(path, model="m", ordered=True)
    results = await read(run)

    assert [r.ok for r in results] == [True] * 5
    assert run.stats.total == 5


@define
class City:
    """A place."""

    name: str
    size: int


async def test_rows_may_be_values(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """Of the type that is asked for; what does not fit is an error, and was paid."""
    bad = completion("no city", prompt_tokens=100)
    server.reply(bad, when="prompt 1")
    run = client.chat.send_many(prompts(3), model="m", output=City, ordered=True)
    results = await read(run)

    assert [type(r.output) for r in results] == [City, type(None), City]
    assert isinstance(results[1].error, OutputValidationError)
    assert results[1].cost == bad["usage"]["cost"]
    assert results[1].response is None
    assert server.requests[0].json["response_format"]["type"] == "json_schema"
    assert run.stats.cost == pytest.approx(server.stats.cost)


# --- errors that are more than a row's -------------------------------------------


@pytest.mark.parametrize(
    ("status", "kind"), [(401, AuthenticationError), (402, PaymentRequiredError)]
)
async def test_account_errors_stop_it_at_once(
    server: LocalOpenRouter,
    client: AsyncOpenRouter,
    status: int,
    kind: type[Exception],
) -> None:
    """What is out comes home, and nothing more is sent."""
    server.capacity.latency = 0.02
    server.reply(error_reply(status), when="prompt 30", times=None)
    results: list[BatchResult] = []
    run = client.chat.send_many(prompts(500), model="m", concurrency=8)
    with pytest.raises(kind):
        await read_into(results, run)

    assert all(result.ok for result in results)
    assert 20 <= len(results) < 60
    assert len(server.requests) < 60
    assert run.stats.stop_reason == "account"
    assert run.stats.failed == 0


async def test_a_providers_401_is_a_rows(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """Another provider may answer the next one."""
    server.reply(error_reply(401, provider_name="Them"), when="prompt 1")
    results = await read(client.chat.send_many(prompts(3), model="m", ordered=True))

    assert [r.ok for r in results] == [True, False, True]


async def test_a_daily_cap_stops_it(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """No wait of ours outlasts it."""
    cap = error_reply(429, metadata={"limit_source": "openrouter_free_tier_daily"})
    server.reply(cap, times=None)
    with pytest.raises(RateLimitError):
        await read(client.chat.send_many(prompts(99), model="m"))

    assert len(server.requests) < 20


async def test_no_key_stops_it(
    server: LocalOpenRouter, make_client: MakeClient
) -> None:
    """Before anything is sent."""
    client = make_client(api_key=None)
    with pytest.raises(ConfigurationError, match="No API key"):
        await read(client.chat.send_many(prompts(9), model="m"))

    assert server.requests == []


async def test_a_key_function_that_raises_ends_it(make_client: MakeClient) -> None:
    """With the caller's own exception."""

    def key() -> str:
        raise ZeroDivisionError

    run = make_client(api_key=key).chat.send_many(prompts(9), model="m")
    with pytest.raises(ZeroDivisionError):
        await read(run)
    assert run.stats.stop_reason == "error"


async def test_twenty_alike_are_enough(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """A wrong model, say, fails them all; the first twenty are told, then it is over."""
    server.reply(error_reply(404), times=None)
    results: list[BatchResult] = []
    run = client.chat.send_many(prompts(500), model="m", concurrency=4)
    with pytest.raises(
        BatchStoppedError, match="first 20 rows all failed alike"
    ) as caught:
        await read_into(results, run)

    assert caught.value.reason == run.stats.stop_reason == "repeated_failure"
    assert isinstance(caught.value.__cause__, Exception)
    assert 20 <= len(results) <= 24


async def test_twenty_that_differ_are_not(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """Nor are failures after the first success."""
    server.reply(error_reply(404), when="prompt 1", times=None)
    server.reply(error_reply(400), times=None)
    results = await read(client.chat.send_many(prompts(60), model="m"))
    assert len(results) == 60

    server.clear()
    server.reply("good").then(error_reply(400), times=None)
    run = client.chat.send_many(prompts(60), model="m", concurrency=1)
    assert len(await read(run)) == 60


async def test_nobody_there_is_alike_too(make_client: MakeClient) -> None:
    """A wrong address is found out after twenty."""
    client = make_client(base_url="http://127.0.0.1:9/api/v1", retries=Retries(1))
    run = client.chat.send_many(prompts(500), model="m")
    with pytest.raises(BatchStoppedError) as caught:
        await read(run)

    assert isinstance(caught.value.__cause__, APIConnectionError)


# --- refusals, repeats, pauses ---------------------------------------------------


async def test_refusals_do_not_eat_attempts(
    server: LocalOpenRouter, client: AsyncOpenRouter, records: list[CallRecord]
) -> None:
    """A row may be refused more often than it may be sent again; it is one call."""
    server.reply(error_reply(429), times=7).then("at last")
    run = client.chat.send_many(["a"], model="m")
    (result,) = await read(run)

    assert result.text == "at last"
    assert result.attempts == 8
    assert run.stats.refusals == 7
    assert len(records) == 1
    assert [a.status for a in records[0].http.attempts] == [429] * 7 + [200]


@pytest.mark.parametrize(
    "refusal",
    [
        error_reply(429),
        error_reply(529),
        error_reply(503, error_type="provider_overloaded"),
        error_reply(503, retry_after=0),
        error_reply(402, metadata={"limit_source": "openrouter_in_flight_budget"}),
    ],
)
async def test_what_a_refusal_is(
    server: LocalOpenRouter, client: AsyncOpenRouter, refusal: Reply
) -> None:
    """429, 529, 503 of an overloaded provider or with a wait, 402 in flight."""
    server.reply(refusal, times=5).then("at last")
    run = client.chat.send_many(["a"], model="m")
    (result,) = await read(run)

    assert result.ok
    assert run.stats.refusals == 5


async def test_other_failures_eat_attempts(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """The rules of repeating are those of any call."""
    server.reply(error_reply(502), times=3)
    run = client.chat.send_many(["a"], model="m")
    (result,) = await read(run)

    assert result.attempts == 3
    assert not result.ok
    assert run.stats.refusals == 0


async def test_a_row_that_waits_leaves_its_room(
    server: LocalOpenRouter, make_client: MakeClient
) -> None:
    """With one at a time, the others pass while the first waits for its repeat."""
    gate = asyncio.Event()

    async def sleep(seconds: float) -> None:
        await gate.wait()

    client = make_client(clock=Clock(lambda: 0.0, sleep, lambda: 0.5))
    server.reply(error_reply(502), when="prompt 0").then("late")
    results: list[int] = []
    run = client.chat.send_many(prompts(5), model="m", concurrency=1)
    async with run:
        async for result in run:
            results.append(result.index)
            assert result.ok
            if len(results) == 4:
                assert run.stats.waiting == 1
                gate.set()

    assert sorted(results[:4]) == [1, 2, 3, 4]
    assert results[4] == 0


async def test_rows_that_wait_are_bounded(
    server: LocalOpenRouter, make_client: MakeClient
) -> None:
    """Twice the most in flight and 256 wait for their repeat; then nobody begins."""
    waiting = 0
    gate = asyncio.Event()

    async def sleep(_: float) -> None:
        nonlocal waiting
        waiting += 1
        await gate.wait()

    client = make_client(clock=Clock(lambda: 0.0, sleep, lambda: 0.5))
    server.reply(error_reply(502, retry_after=1), times=None)
    run = client.chat.send_many(prompts(300), model="m", concurrency=1)
    async with run:
        while waiting < 258:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        assert run.stats.waiting == 258

    assert (waiting, len(server.requests)) == (258, 258)


async def test_a_wait_that_is_named_holds_for_all(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """From the refusal on until it is over nobody sends; then they come one by one."""
    server.capacity.latency = 0.01
    server.reply(error_reply(429, retry_after=0.5), when="prompt 40")
    run = client.chat.send_many(prompts(100), model="m", concurrency=8)
    results: list[BatchResult] = []
    async with run:
        async for result in run:
            results.append(result)
            if run.stats.refusals and len(results) < 60:
                assert run.limiters["m"].refusals == 1
    assert len(results) == 100
    assert all(result.ok for result in results)
    (refused,) = [seen for seen in server.requests if seen.status == 429]
    assert refused.closed is not None
    shut = [seen.time - refused.closed for seen in server.requests]
    assert [wait for wait in shut if 0.2 < wait < 0.5] == []
    first = min(wait for wait in shut if wait >= 0.5)
    assert len([wait for wait in shut if first <= wait < first + 0.1]) <= 8 * 0.1 + 2


async def test_a_pause_is_no_time_of_the_call(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """Its clocks stand still while it waits before the door."""
    server.reply(error_reply(429, retry_after=0.15)).then("good")
    run = client.chat.send_many(["a"], model="m", timeouts=Timeouts(total=0.1))
    (result,) = await read(run)

    assert result.text == "good"
    assert result.attempts == 2


async def test_draining_does_not_wait_for_a_pause(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """What waits at the door is left to the next run."""
    server.reply(error_reply(429, retry_after=100), times=None)
    async with client.chat.send_many(prompts(9), model="m", concurrency=9) as run:
        while not run.stats.waiting:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        assert run.limiters["m"].paused > 90
        async with asyncio.timeout(1):
            await run.stop()
        assert [result async for result in run] == []


async def test_nothing_but_refusals_is_a_stall(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """For as long as it is given, then the run gives up."""
    server.reply(error_reply(429, retry_after=0.05), times=None)
    run = client.chat.send_many(prompts(3), model="m", stall_timeout=0.3)
    with pytest.raises(BatchStoppedError, match="Nothing but refusals") as caught:
        await read(run)

    assert caught.value.reason == run.stats.stop_reason == "stalled"


async def test_a_no_is_no_stall(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """Whoever says no to a row is there."""
    server.reply(error_reply(429), times=2).then(error_reply(400)).then("good")
    run = client.chat.send_many(
        prompts(2), model="m", concurrency=1, stall_timeout=1e-9
    )
    results = await read(run)

    assert len(results) == 2


async def test_it_finds_a_hidden_limit(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """With hardly a refusal, and without a lost row."""
    server.capacity.limit = 12
    server.capacity.latency = 0.15
    run = client.chat.send_many(prompts(250), model="m")
    results = await read(run)

    assert all(result.ok for result in results)
    assert server.capacity.peak == 12
    assert run.stats.refusals == server.capacity.refused > 0
    assert run.stats.refusals < 60
    limits = run.limiters["m"]
    assert 4 <= limits.limit < 100
    assert limits.latency is not None


async def test_runs_of_a_client_share_what_they_learn(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """By base URL, key and model; a fixed number is the run's own."""
    server.capacity.latency = 0.01
    first = client.chat.send_many(prompts(50), model="m")
    await read(first)
    learnt = first.limiters["m"].limit
    assert learnt > 8

    second = client.with_options().chat.send_many(prompts(1), model="m")
    await read(second)
    assert second.limiters["m"].limit >= learnt
    for other in (
        client.with_options(api_key="another").chat.send_many(["a"], model="m"),
        client.chat.send_many(["a"], model="n"),
    ):
        await read(other)
        (limits,) = other.limiters.values()
        assert limits.limit <= 9
    fixed = client.chat.send_many(prompts(1), model="m", concurrency=3)
    await read(fixed)
    assert fixed.limiters["m"].limit == 3


async def test_a_fixed_number_is_kept(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """Not one more in flight."""
    server.capacity.latency = 0.1
    await read(client.chat.send_many(prompts(28), model="m", concurrency=7))

    assert server.capacity.peak == 7


async def test_a_rate_is_kept(server: LocalOpenRouter, client: AsyncOpenRouter) -> None:
    """600 a minute are ten a second, evenly."""
    run = client.chat.send_many(prompts(6), model="m", rpm=600)
    await read(run)

    assert len(server.requests) == 6
    assert run.stats.seconds >= 0.49


async def test_a_rate_limit_with_a_bucket_is_met(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """What is refused comes again when the server says; all rows are done."""
    server.capacity = Capacity(per_minute=900, burst=5, retry_after=0.05)
    run = client.chat.send_many(prompts(20), model="m")
    results = await read(run)

    assert all(result.ok for result in results)
    assert server.capacity.admitted == 20
    assert server.capacity.refused == run.stats.refusals > 0


# --- money -----------------------------------------------------------------------


async def test_a_budget_is_a_promise(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """With `max_tokens`, text and a known price it is not exceeded, whatever is out."""
    run = client.chat.send_many(
        prompts(500),
        model="openai/gpt-4o-mini",
        max_tokens=40,
        max_cost=0.001,
        concurrency=20,
    )
    results = await read(run)

    assert run.stats.budget == "guaranteed"
    assert run.stats.stop_reason == "budget"
    assert run.stats.overshoot == 0.0
    assert 0.0009 < run.stats.spent <= 0.001
    assert server.stats.cost <= 0.001
    assert len(results) > 10


async def test_a_budget_is_an_estimate(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """Without `max_tokens` it is told as one, and nearly kept."""
    run = client.chat.send_many(
        prompts(500), model="openai/gpt-4o-mini", max_cost=0.001, concurrency=20
    )
    results = await read(run)
    mean = run.stats.cost / len(results)

    assert run.stats.budget == "estimated"
    assert run.stats.stop_reason == "budget"
    assert run.stats.spent <= 0.001 + 1.5 * mean * 20


async def test_a_price_that_is_not_told_makes_it_an_estimate(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """Asking for prices may fail, and the run goes on."""
    server.reply(error_reply(404), path="/endpoints")
    run = client.chat.send_many(["a"], model="m", max_tokens=5, max_cost=1)
    await read(run)
    assert run.stats.budget == "estimated"

    server.reply(json={"data": {}}, path="/endpoints")
    again = client.chat.send_many(["a"], model="m", max_tokens=5, max_cost=1)
    await read(again)
    assert again.stats.budget == "estimated"


async def test_what_is_sent_again_after_silence_makes_it_an_estimate(
    client: AsyncOpenRouter,
) -> None:
    """It might be billed twice, and no price tells of that."""
    run = client.chat.send_many(
        ["a"],
        model="openai/gpt-4o-mini",
        max_tokens=5,
        max_cost=1,
        retries=Retries(ambiguous=True),
    )
    await read(run)

    assert run.stats.budget == "estimated"


async def test_silence_after_sending_counts_against_the_budget(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """It may have been billed."""
    server.reply(stop="close", stop_at=20)
    run = client.chat.send_many(
        ["a"], model="openai/gpt-4o-mini", max_tokens=5, max_cost=1
    )
    (result,) = await read(run)

    assert not result.ok
    assert run.stats.cost == 0.0
    assert 0 < run.stats.spent < 0.001


async def test_what_is_called_back_counts_against_the_budget(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """It may have been billed, as dear as it could be."""
    server.reply("late", delay=5)
    async with client.chat.send_many(
        ["a"], model="openai/gpt-4o-mini", max_tokens=5, max_cost=1
    ) as run:
        while not run.stats.in_flight:  # noqa: ASYNC110
            await asyncio.sleep(0.01)

    assert run.stats.abandoned == 1
    assert 0 < run.stats.spent < 0.001
    assert run.stats.overshoot == 0.0


# --- being watched ---------------------------------------------------------------


async def test_progress_is_told(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """Twice a second, and when it is over."""
    server.capacity.latency = 0.3
    told: list[BatchStats] = []
    run = client.chat.send_many(
        prompts(3), model="m", concurrency=1, progress=told.append
    )
    await read(run)

    assert len(told) >= 2
    assert told[-1].is_over
    assert told[-1].done == 3
    assert not told[0].is_over


async def test_progress_that_raises_is_logged(
    client: AsyncOpenRouter, caplog: pytest.LogCaptureFixture
) -> None:
    """The run itself is not affected."""

    def progress(_: BatchStats) -> None:
        raise ZeroDivisionError

    with caplog.at_level(logging.ERROR):
        results = await read(client.chat.send_many(["a"], model="m", progress=progress))

    assert results[0].ok
    assert "progress raised" in caplog.text


async def test_a_line_that_can_not_be_written_holds_nothing_up(
    client: AsyncOpenRouter,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A terminal that is gone is logged; the run ends, and its results are read."""

    class Gone(io.StringIO):
        def isatty(self) -> bool:
            return True

        def write(self, _: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stderr", Gone())

    async with asyncio.timeout(5):
        results = await read(client.chat.send_many(["a"], model="m", progress=True))

    assert results[0].ok
    assert "progress raised" in caplog.text


async def test_progress_true_is_a_line(
    client: AsyncOpenRouter, capsys: pytest.CaptureFixture[str]
) -> None:
    """On stderr."""
    await read(client.chat.send_many(["a"], model="m", progress=True))

    assert "1/1 100%" in capsys.readouterr().err


async def test_memory_does_not_grow_with_the_rows(
    server: LocalOpenRouter, make_client: MakeClient
) -> None:
    """A result that was read is gone."""
    client = make_client(on_call=None)
    alive: weakref.WeakSet[Any] = weakref.WeakSet()

    class Prompt(list[Any]):
        """A row that can be watched."""

        __hash__ = object.__hash__  # type: ignore[assignment]

    def rows() -> Iterator[Any]:
        for number in range(150):
            row = Prompt([{"role": "user", "content": f"{number}"}])
            alive.add(row)
            yield row

    most = 0
    async with client.chat.send_many(rows(), model="m", concurrency=4) as run:
        async for _ in run:
            most = max(most, len(alive))
    del run
    gc.collect()

    assert most < 40
    assert len(alive) == 0


async def test_there_is_no_task_for_each_row(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """A worker for each that is in flight, and a few."""
    server.capacity.latency = 0.02
    most = 0
    async with client.chat.send_many(prompts(60), model="m", concurrency=5) as run:
        async for _ in run:
            ours = [
                t
                for t in asyncio.all_tasks()
                if "WorkerPool._work" in repr(t.get_coro())
            ]
            most = max(most, len(ours))

    assert 5 <= most <= 7


async def test_a_budget_for_rows_without_a_model_is_an_estimate(
    client: AsyncOpenRouter,
) -> None:
    """Which model the account falls back on, and what it costs, is not known."""
    run = client.chat.send_many(["a", "b"], max_tokens=5, max_cost=1.0)

    results = await read(run)

    assert [result.ok for result in results] == [True, True]
    assert run.stats.budget == "estimated"
