"""`send_many` against the local server."""

import asyncio
import gc
import io
import json
import logging
import sys
import weakref
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import define
from support import MakeClient, prompts, read_results

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


async def read_into(results: list[BatchResult], run: BatchRun) -> None:
    """Read results into a list, which keeps them if the run raises."""
    async with run:
        async for result in run:
            results.append(result)


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


# --- results and endings ---------------------------------------------------------


async def test_ordered_run_returns_results_in_input_order(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """A run that is not ordered returns them as they finish."""
    server.reply(when="prompt 0", delay=0.1)
    ordered = await read_results(
        client.chat.send_many(prompts(30), model="m", ordered=True, concurrency=8)
    )
    server.reply(when="prompt 0", delay=0.1)
    usual = await read_results(
        client.chat.send_many(prompts(30), model="m", concurrency=8)
    )

    assert [r.index for r in ordered] == list(range(30))
    assert [r.index for r in usual] != list(range(30))


async def test_failed_and_invalid_rows_are_results_with_an_error(
    server: LocalOpenRouter, client: AsyncOpenRouter, records: list[CallRecord]
) -> None:
    server.reply(error_reply(400), when="prompt 1", times=None)
    rows: list[Any] = ["prompt 0", "prompt 1", 5, {"messages": "x"}, {"messages": []}]
    run = client.chat.send_many(rows, model="m", ordered=True)
    results = await read_results(run)

    kinds = [type(r.error) for r in results]
    assert kinds == [type(None), BadRequestError, *[ConfigurationError] * 3]
    assert [r.attempts for r in results] == [1, 1, 0, 0, 0]
    assert (run.stats.ok, run.stats.failed) == (1, 4)
    assert [record.outcome for record in records] == ["ok", "error"]


async def test_on_error_raise_raises_the_first_error_and_cancels_the_rest(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    server.capacity.latency = 0.05
    server.reply(error_reply(400), when="prompt 3")
    run = client.chat.send_many(prompts(500), model="m", on_error="raise")
    with pytest.raises(BadRequestError):
        await read_results(run)

    assert len(server.requests) < 100
    assert run.stats.stop_reason == "stopped"


async def test_leaving_the_block_cancels_requests_and_waits_for_them(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """No task and no slot is left."""
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


async def test_cancelled_reader_cancels_its_run(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    server.capacity.latency = 5
    task = asyncio.create_task(
        read_results(client.chat.send_many(prompts(9), model="m", concurrency=9))
    )
    await server.until(requests=9)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await server.until(closed=9)

    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_leaving_the_block_closes_items_that_are_awaited(
    client: AsyncOpenRouter,
) -> None:
    ended: list[str] = []

    async def rows() -> AsyncIterator[str]:
        try:
            yield "a"
            await asyncio.Event().wait()
        finally:
            ended.append("closed")

    async with client.chat.send_many(rows(), model="m") as run:
        result = await anext(run)

    assert result.ok
    assert ended == ["closed"]
    assert run.stats.stop_reason == "stopped"


async def test_drain_finishes_requests_in_flight_and_sends_no_others(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
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


async def test_drain_cancels_requests_in_flight_at_its_timeout(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    server.capacity.latency = 5
    async with client.chat.send_many(prompts(99), model="m", concurrency=9) as run:
        await server.until(requests=9)
        await run.stop(timeout=0.05)
        assert [result async for result in run] == []

    assert run.stats.abandoned == 9


async def test_stop_after_the_last_row_changes_nothing(client: AsyncOpenRouter) -> None:
    async with client.chat.send_many(["a"], model="m") as run:
        results = [result async for result in run]
        await run.stop()

    assert len(results) == 1
    assert run.stats.stop_reason is None


async def test_run_ends_when_all_tasks_of_the_loop_are_cancelled(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """Frameworks do this at shutdown. The task that uses the run goes on."""
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


async def test_closing_the_client_ends_the_run_with_closed_error(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    server.capacity.latency = 5
    async with client.chat.send_many(prompts(99), model="m", concurrency=9) as run:
        await server.until(requests=9)
        await client.aclose()
        with pytest.raises(ClosedError):
            await anext(run)


async def test_error_raised_by_the_items_ends_the_run(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:

    def rows() -> Iterator[str]:
        yield "a"
        raise ZeroDivisionError

    results: list[BatchResult] = []
    run = client.chat.send_many(rows(), model="m")
    with pytest.raises(ZeroDivisionError):
        await read_into(results, run)

    assert len(results) <= 1
    assert run.stats.stop_reason == "input"


async def test_missing_input_file_raises_file_not_found(
    client: AsyncOpenRouter, tmp_path: Path
) -> None:
    with pytest.raises(FileNotFoundError):
        await read_results(client.chat.send_many(tmp_path / "in.jsonl", model="m"))


async def test_line_that_is_not_json_is_a_result_with_its_line_number(
    client: AsyncOpenRouter, tmp_path: Path
) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text('"a"\n{nope\n\n"b"')
    run = client.chat.send_many(path, model="m", ordered=True)
    results = await read_results(run)

    assert [r.ok for r in results] == [True, False, True]
    assert "in.jsonl, line 2" in str(results[1].error)


async def test_input_line_may_be_longer_than_a_block(
    client: AsyncOpenRouter, tmp_path: Path
) -> None:
    path = tmp_path / "in.jsonl"
    long = "x" * 300_000
    path.write_text("".join(json.dumps(f"{n} {long}") + "\n" for n in range(5)))
    run = client.chat.send_many(path, model="m", ordered=True)
    results = await read_results(run)

    assert [r.ok for r in results] == [True] * 5
    assert run.stats.total == 5


@define
class City:
    """An output type."""

    name: str
    size: int


async def test_output_type_is_parsed_and_a_mismatch_is_an_error_that_was_paid(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    bad = completion("no city", prompt_tokens=100)
    server.reply(bad, when="prompt 1")
    run = client.chat.send_many(prompts(3), model="m", output=City, ordered=True)
    results = await read_results(run)

    assert [type(r.output) for r in results] == [City, type(None), City]
    assert isinstance(results[1].error, OutputValidationError)
    assert results[1].cost == bad["usage"]["cost"]
    assert results[1].response is None
    assert server.requests[0].json["response_format"]["type"] == "json_schema"
    assert run.stats.cost == pytest.approx(server.stats.cost)


# --- errors that stop the run ----------------------------------------------------


@pytest.mark.parametrize(
    ("status", "kind"), [(401, AuthenticationError), (402, PaymentRequiredError)]
)
async def test_account_error_stops_the_run_after_requests_in_flight(
    server: LocalOpenRouter,
    client: AsyncOpenRouter,
    status: int,
    kind: type[Exception],
) -> None:
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


async def test_401_of_a_provider_fails_one_row_only(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """Another provider may respond to the next row."""
    server.reply(error_reply(401, provider_name="Them"), when="prompt 1")
    results = await read_results(
        client.chat.send_many(prompts(3), model="m", ordered=True)
    )

    assert [r.ok for r in results] == [True, False, True]


async def test_daily_limit_stops_the_run(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    cap = error_reply(429, metadata={"limit_source": "openrouter_free_tier_daily"})
    server.reply(cap, times=None)
    with pytest.raises(RateLimitError):
        await read_results(client.chat.send_many(prompts(99), model="m"))

    assert len(server.requests) < 20


async def test_missing_key_stops_the_run_before_a_request(
    server: LocalOpenRouter, make_client: MakeClient
) -> None:
    client = make_client(api_key=None)
    with pytest.raises(ConfigurationError, match="No API key"):
        await read_results(client.chat.send_many(prompts(9), model="m"))

    assert server.requests == []


async def test_exception_of_the_key_function_ends_the_run(
    make_client: MakeClient,
) -> None:

    def key() -> str:
        raise ZeroDivisionError

    run = make_client(api_key=key).chat.send_many(prompts(9), model="m")
    with pytest.raises(ZeroDivisionError):
        await read_results(run)
    assert run.stats.stop_reason == "error"


async def test_twenty_equal_failures_at_the_start_stop_the_run(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    server.reply(error_reply(404), times=None)
    results: list[BatchResult] = []
    run = client.chat.send_many(prompts(500), model="m", concurrency=4)
    with pytest.raises(
        BatchStoppedError, match="first 20 rows all failed with the same error"
    ) as caught:
        await read_into(results, run)

    assert caught.value.reason == run.stats.stop_reason == "repeated_failure"
    assert isinstance(caught.value.__cause__, Exception)
    assert 20 <= len(results) <= 24


async def test_different_failures_or_one_success_do_not_stop_the_run(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    server.reply(error_reply(404), when="prompt 1", times=None)
    server.reply(error_reply(400), times=None)
    results = await read_results(client.chat.send_many(prompts(60), model="m"))
    assert len(results) == 60

    server.clear()
    server.reply("good").then(error_reply(400), times=None)
    run = client.chat.send_many(prompts(60), model="m", concurrency=1)
    assert len(await read_results(run)) == 60


async def test_connection_errors_count_as_equal_failures(
    make_client: MakeClient,
) -> None:
    client = make_client(base_url="http://127.0.0.1:9/api/v1", retries=Retries(1))
    run = client.chat.send_many(prompts(500), model="m")
    with pytest.raises(BatchStoppedError) as caught:
        await read_results(run)

    assert isinstance(caught.value.__cause__, APIConnectionError)


# --- overload, retries, pauses, limits -------------------------------------------


async def test_overload_errors_do_not_use_up_attempts(
    server: LocalOpenRouter, client: AsyncOpenRouter, records: list[CallRecord]
) -> None:
    """All attempts belong to one call."""
    server.reply(error_reply(429), times=7).then("at last")
    run = client.chat.send_many(["a"], model="m")
    (result,) = await read_results(run)

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
async def test_overload_errors_are_counted_as_refusals(
    server: LocalOpenRouter, client: AsyncOpenRouter, refusal: Reply
) -> None:
    server.reply(refusal, times=5).then("at last")
    run = client.chat.send_many(["a"], model="m")
    (result,) = await read_results(run)

    assert result.ok
    assert run.stats.refusals == 5


async def test_other_retryable_errors_use_up_attempts(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    server.reply(error_reply(502), times=3)
    run = client.chat.send_many(["a"], model="m")
    (result,) = await read_results(run)

    assert result.attempts == 3
    assert not result.ok
    assert run.stats.refusals == 0


async def test_row_that_waits_for_a_retry_does_not_hold_a_slot(
    server: LocalOpenRouter, make_client: MakeClient
) -> None:
    retry_now = asyncio.Event()

    async def sleep(seconds: float) -> None:
        await retry_now.wait()

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
                retry_now.set()

    assert sorted(results[:4]) == [1, 2, 3, 4]
    assert results[4] == 0


async def test_number_of_rows_that_wait_for_a_retry_is_bounded(
    server: LocalOpenRouter, make_client: MakeClient
) -> None:
    """The bound is twice the concurrency limit and 256."""
    waiting = 0
    retry_now = asyncio.Event()

    async def sleep(_: float) -> None:
        nonlocal waiting
        waiting += 1
        await retry_now.wait()

    client = make_client(clock=Clock(lambda: 0.0, sleep, lambda: 0.5))
    server.reply(error_reply(502, retry_after=1), times=None)
    run = client.chat.send_many(prompts(300), model="m", concurrency=1)
    async with run:
        while waiting < 258:  # noqa: ASYNC110 - no event is set for it
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        assert run.stats.waiting == 258

    assert (waiting, len(server.requests)) == (258, 258)


async def test_retry_after_pauses_all_rows_and_then_paces_them(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
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
    delays = [seen.time - refused.closed for seen in server.requests]
    assert [delay for delay in delays if 0.2 < delay < 0.5] == []
    first = min(delay for delay in delays if delay >= 0.5)
    assert sum(first <= delay < first + 0.1 for delay in delays) <= 8 * 0.1 + 2


async def test_pause_does_not_count_towards_the_timeouts(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    server.reply(error_reply(429, retry_after=1.2)).then("good")
    run = client.chat.send_many(["a"], model="m", timeouts=Timeouts(total=1.0))
    (result,) = await read_results(run)

    assert result.text == "good"
    assert result.attempts == 2


async def test_drain_does_not_wait_for_rows_that_a_pause_holds_back(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    server.reply(error_reply(429, retry_after=100), times=None)
    async with client.chat.send_many(prompts(9), model="m", concurrency=9) as run:
        while not run.stats.waiting:  # noqa: ASYNC110 - no event is set for it
            await asyncio.sleep(0.01)
        assert run.limiters["m"].paused > 90
        async with asyncio.timeout(1):
            await run.stop()
        assert [result async for result in run] == []


async def test_run_stops_when_every_request_was_refused_for_stall_timeout(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    server.reply(error_reply(429, retry_after=0.05), times=None)
    run = client.chat.send_many(prompts(3), model="m", stall_timeout=0.3)
    with pytest.raises(BatchStoppedError, match="refused every request") as caught:
        await read_results(run)

    assert caught.value.reason == run.stats.stop_reason == "stalled"


async def test_error_about_a_single_row_ends_a_stall(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """A 400 shows that the server is not overloaded."""
    server.reply(error_reply(429), times=2).then(error_reply(400)).then("good")
    run = client.chat.send_many(
        prompts(2), model="m", concurrency=1, stall_timeout=1e-9
    )
    results = await read_results(run)

    assert len(results) == 2


async def test_auto_concurrency_adapts_to_the_capacity_of_the_server(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    server.capacity.limit = 12
    server.capacity.latency = 0.15
    run = client.chat.send_many(prompts(250), model="m")
    results = await read_results(run)

    assert all(result.ok for result in results)
    assert server.capacity.peak == 12
    assert run.stats.refusals == server.capacity.refused > 0
    assert run.stats.refusals < 60
    limiter = run.limiters["m"]
    assert 4 <= limiter.limit < 100
    assert limiter.latency is not None


async def test_runs_share_a_limiter_by_base_url_key_and_model(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """A fixed concurrency belongs to one run."""
    server.capacity.latency = 0.01
    first = client.chat.send_many(prompts(50), model="m")
    await read_results(first)
    limit = first.limiters["m"].limit
    assert limit > 8

    second = client.with_options().chat.send_many(prompts(1), model="m")
    await read_results(second)
    assert second.limiters["m"].limit >= limit
    for other in (
        client.with_options(api_key="another").chat.send_many(["a"], model="m"),
        client.chat.send_many(["a"], model="n"),
    ):
        await read_results(other)
        (limiter,) = other.limiters.values()
        assert limiter.limit <= 9
    fixed = client.chat.send_many(prompts(1), model="m", concurrency=3)
    await read_results(fixed)
    assert fixed.limiters["m"].limit == 3


async def test_fixed_concurrency_is_not_exceeded(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    server.capacity.latency = 0.1
    await read_results(client.chat.send_many(prompts(28), model="m", concurrency=7))

    assert server.capacity.peak == 7


async def test_rpm_spaces_requests_evenly(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    run = client.chat.send_many(prompts(6), model="m", rpm=600)
    await read_results(run)

    assert len(server.requests) == 6
    assert run.stats.seconds >= 0.49


async def test_all_rows_succeed_at_a_server_with_a_token_bucket(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    server.capacity = Capacity(per_minute=900, burst=5, retry_after=0.05)
    run = client.chat.send_many(prompts(20), model="m")
    results = await read_results(run)

    assert all(result.ok for result in results)
    assert server.capacity.admitted == 20
    assert server.capacity.refused == run.stats.refusals > 0


# --- budgets ---------------------------------------------------------------------


async def test_guaranteed_budget_is_not_exceeded(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    run = client.chat.send_many(
        prompts(500),
        model="openai/gpt-4o-mini",
        max_tokens=40,
        max_cost=0.001,
        concurrency=20,
    )
    results = await read_results(run)

    assert run.stats.budget == "guaranteed"
    assert run.stats.stop_reason == "budget"
    assert run.stats.overshoot == 0.0
    assert 0.0009 < run.stats.spent <= 0.001
    assert server.stats.cost <= 0.001
    assert len(results) > 10


async def test_budget_without_max_tokens_is_estimated(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    run = client.chat.send_many(
        prompts(500), model="openai/gpt-4o-mini", max_cost=0.001, concurrency=20
    )
    results = await read_results(run)
    mean = run.stats.cost / len(results)

    assert run.stats.budget == "estimated"
    assert run.stats.stop_reason == "budget"
    assert run.stats.spent <= 0.001 + 1.5 * mean * 20


async def test_budget_without_a_price_is_estimated(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    server.reply(error_reply(404), path="/endpoints")
    run = client.chat.send_many(["a"], model="m", max_tokens=5, max_cost=1)
    await read_results(run)
    assert run.stats.budget == "estimated"

    server.reply(json={"data": {}}, path="/endpoints")
    again = client.chat.send_many(["a"], model="m", max_tokens=5, max_cost=1)
    await read_results(again)
    assert again.stats.budget == "estimated"


async def test_budget_with_ambiguous_retries_is_estimated(
    client: AsyncOpenRouter,
) -> None:
    """A request might be billed twice."""
    run = client.chat.send_many(
        ["a"],
        model="openai/gpt-4o-mini",
        max_tokens=5,
        max_cost=1,
        retries=Retries(ambiguous=True),
    )
    await read_results(run)

    assert run.stats.budget == "estimated"


async def test_attempt_that_may_be_billed_counts_towards_the_budget(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    server.reply(stop="close", stop_at=20)
    run = client.chat.send_many(
        ["a"], model="openai/gpt-4o-mini", max_tokens=5, max_cost=1
    )
    (result,) = await read_results(run)

    assert not result.ok
    assert run.stats.cost == 0.0
    assert 0 < run.stats.spent < 0.001


async def test_cancelled_request_counts_towards_the_budget(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    server.reply("late", delay=5)
    async with client.chat.send_many(
        ["a"], model="openai/gpt-4o-mini", max_tokens=5, max_cost=1
    ) as run:
        while not run.stats.in_flight:  # noqa: ASYNC110 - no event is set for it
            await asyncio.sleep(0.01)

    assert run.stats.abandoned == 1
    assert 0 < run.stats.spent < 0.001
    assert run.stats.overshoot == 0.0


# --- progress and resources ------------------------------------------------------


async def test_progress_is_called_twice_a_second_and_at_the_end(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    server.capacity.latency = 0.3
    snapshots: list[BatchStats] = []
    run = client.chat.send_many(
        prompts(3), model="m", concurrency=1, progress=snapshots.append
    )
    await read_results(run)

    assert len(snapshots) >= 2
    assert snapshots[-1].is_over
    assert snapshots[-1].done == 3
    assert not snapshots[0].is_over


async def test_exception_of_progress_is_logged(
    client: AsyncOpenRouter, caplog: pytest.LogCaptureFixture
) -> None:

    def progress(_: BatchStats) -> None:
        raise ZeroDivisionError

    with caplog.at_level(logging.ERROR):
        results = await read_results(
            client.chat.send_many(["a"], model="m", progress=progress)
        )

    assert results[0].ok
    assert "progress function raised" in caplog.text


async def test_progress_line_that_cannot_be_written_is_logged(
    client: AsyncOpenRouter,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:

    class Gone(io.StringIO):
        def isatty(self) -> bool:
            return True

        def write(self, _: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stderr", Gone())

    async with asyncio.timeout(5):
        results = await read_results(
            client.chat.send_many(["a"], model="m", progress=True)
        )

    assert results[0].ok
    assert "progress function raised" in caplog.text


async def test_progress_true_writes_a_line_to_stderr(
    client: AsyncOpenRouter, capsys: pytest.CaptureFixture[str]
) -> None:
    await read_results(client.chat.send_many(["a"], model="m", progress=True))

    assert "1/1 100%" in capsys.readouterr().err


async def test_memory_does_not_grow_with_the_number_of_rows(
    server: LocalOpenRouter, make_client: MakeClient
) -> None:
    client = make_client(on_call=None)
    alive: weakref.WeakSet[Any] = weakref.WeakSet()

    class Prompt(list[Any]):
        """A row that a weak reference can refer to."""

        __hash__ = object.__hash__  # type: ignore[assignment]

    def rows() -> Iterator[Any]:
        for number in range(150):
            row = Prompt([{"role": "user", "content": f"{number}"}])
            alive.add(row)
            yield row

    highest = 0
    async with client.chat.send_many(rows(), model="m", concurrency=4) as run:
        async for _ in run:
            highest = max(highest, len(alive))
    del run
    gc.collect()

    assert highest < 40
    assert len(alive) == 0


async def test_number_of_tasks_follows_the_concurrency_limit(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    server.capacity.latency = 0.02
    highest = 0
    async with client.chat.send_many(prompts(60), model="m", concurrency=5) as run:
        async for _ in run:
            workers = [
                t
                for t in asyncio.all_tasks()
                if "WorkerPool._run" in repr(t.get_coro())
            ]
            highest = max(highest, len(workers))

    assert 5 <= highest <= 7


async def test_budget_for_rows_without_a_model_is_estimated(
    client: AsyncOpenRouter,
) -> None:
    """The account's default model, and its price, are unknown."""
    run = client.chat.send_many(["a", "b"], max_tokens=5, max_cost=1.0)

    results = await read_results(run)

    assert [result.ok for result in results] == [True, True]
    assert run.stats.budget == "estimated"
