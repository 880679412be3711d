"""Results of a run, how it ends, and the errors that stop it."""

import asyncio
import json
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
    BatchResult,
    BatchRun,
    BatchStoppedError,
    CallRecord,
    ClosedError,
    ConfigurationError,
    OutputValidationError,
    PaymentRequiredError,
    RateLimitError,
    Retries,
)
from openrouter_async.testing import (
    LocalOpenRouter,
    completion,
    error_reply,
)

# --- results and endings ---------------------------------------------------------


async def read_into(results: list[BatchResult], run: BatchRun) -> None:
    """Read results into a list, which keeps them if the run raises."""
    async with run:
        async for result in run:
            results.append(result)


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
