"""Effects of a run on the next one: failures, custom ids, limiters."""

import asyncio
import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from support import MakeClient, prompts, read_results

from openrouter_async import (
    APITimeoutError,
    AsyncOpenRouter,
    BatchResult,
    BatchRun,
    BatchStoppedError,
    Retries,
    read_journal,
)
from openrouter_async.batch import errors_path
from openrouter_async.cli import app
from openrouter_async.testing import (
    Clock,
    LocalOpenRouter,
    SeenRequest,
    error_reply,
)


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out.jsonl"


# --- failures ----------------------------------------------------------------------


@pytest.mark.parametrize("change", ["model", "request"])
async def test_failed_row_that_was_edited_keeps_its_index_and_name(
    server: LocalOpenRouter, client: AsyncOpenRouter, out: Path, change: str
) -> None:
    server.reply(error_reply(400), when="prompt 4", times=None)
    first = client.chat.send_many(prompts(6), model="m", journal=out)
    assert sum(result.ok for result in await read_results(first)) == 5

    server.clear()
    failures = errors_path(out)
    options: dict[str, Any] = {"extra_body": {"model": "another"}}
    if change == "request":
        options = {}
        failures.write_bytes(failures.read_bytes().replace(b"prompt 4", b"easier"))
    (again,) = await read_results(
        client.chat.send_many(failures, journal=out, **options)
    )
    assert (again.index, again.custom_id, again.ok) == (4, None, True)

    last = client.chat.send_many(prompts(6), model="m", journal=out)
    assert await read_results(last) == []
    assert last.stats.resumed == 6
    known = {(result.index, result.custom_id) for result in read_journal(out)}
    assert known == {(number, None) for number in range(6)}


@pytest.mark.parametrize(
    "extension",
    [7, {"i": "1", "fp": "xyz"}, {"i": 5, "named": False, "fp": 3}, {"i": 9}],
)
async def test_invalid_extension_of_an_item_is_ignored(
    client: AsyncOpenRouter, extension: Any
) -> None:
    """People edit failures files."""
    row = {"custom_id": "a", "body": {"messages": "hi"}, "x_openrouter": extension}
    (result,) = await read_results(client.chat.send_many([row], model="m"))

    assert result.custom_id == "a"


async def test_line_that_is_not_json_is_kept_in_the_failures_file(
    client: AsyncOpenRouter, out: Path
) -> None:
    source = out.with_name("in.jsonl")
    source.write_text('"a"\n{"messages": [\n')
    await read_results(client.chat.send_many(source, model="m", journal=out))

    (failure,) = lines(errors_path(out))
    assert failure["body"] == '{"messages": ['
    assert failure["custom_id"] == "row-1"


def test_status_does_not_count_failures_that_succeeded_later(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run that was killed has not compacted the failures file."""

    def failure(name: str, kind: str) -> str:
        extension = {"i": 0}
        line = {
            "custom_id": name,
            "error": {"type": kind},
            "x_openrouter": extension,
        }
        return json.dumps(line) + "\n"

    extension = {"fp": "0", "i": 0}
    out.write_text(json.dumps({"custom_id": "a", "x_openrouter": extension}) + "\n")
    errors_path(out).write_text(
        failure("a", "X") + failure("b", "X") + failure("b", "Y") + "what?\n"
    )
    assert app.run(["batch", "status", str(out)]) == 0

    status = json.loads(capsys.readouterr().out)
    assert (status["ok"], status["failed"], status["errors"]) == (1, 1, {"Y": 1})


async def test_failures_of_an_earlier_run_do_not_stop_the_next_one(
    server: LocalOpenRouter, client: AsyncOpenRouter, out: Path
) -> None:
    for number in range(25):
        server.reply(error_reply(403), when=f"bad {number}.", times=None)
    rows = ["good", *(f"bad {number}." for number in range(25))]
    await read_results(client.chat.send_many(rows, model="m", journal=out))
    rows += [f"good {number}" for number in range(20)]
    again = client.chat.send_many(rows, model="m", journal=out, concurrency=4)
    results = await read_results(again)

    assert again.stats.stop_reason is None
    assert sum(result.ok for result in results) == 20
    assert (
        len(await read_results(client.chat.send_many(errors_path(out), journal=out)))
        == 25
    )

    server.reply(error_reply(404), times=None)
    rows += [f"later {number}" for number in range(40)]
    with pytest.raises(BatchStoppedError, match="first 20 rows"):
        await read_results(
            client.chat.send_many(rows, model="m", journal=out, concurrency=4)
        )


async def test_equal_failures_stop_a_run_with_more_requests_in_flight(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """Those finish and are results too; a success among them comes too late."""
    server.capacity.latency = 0.3
    server.reply("good", when="prompt 40", delay=0.3)
    server.reply(error_reply(404), times=None)
    results: list[BatchResult] = []

    async def consume() -> None:
        async with run:
            async for result in run:
                results.append(result)

    run = client.chat.send_many(prompts(500), model="m", concurrency=64)
    with pytest.raises(BatchStoppedError, match="first 20 rows"):
        await consume()

    assert 40 < len(results) == len(server.requests) <= 64 + 20
    assert sum(result.ok for result in results) == 1


async def test_one_success_among_the_first_rows_keeps_the_run_going(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    server.reply("good", when="prompt 10")
    server.reply(error_reply(400), times=None)
    run = client.chat.send_many(prompts(60), model="m", concurrency=4)

    assert len(await read_results(run)) == 60


# --- limiters ----------------------------------------------------------------------


async def test_stall_of_an_earlier_run_does_not_count_for_the_next_one(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    server.reply(error_reply(429, retry_after=0.05), times=None)
    run = client.chat.send_many(["a"], model="m", stall_timeout=0.3)
    with pytest.raises(BatchStoppedError, match="refused every request"):
        await read_results(run)

    server.clear()
    server.capacity.latency = 0.8
    again = client.chat.send_many(["a"], model="m", stall_timeout=0.3)
    (result,) = await read_results(again)

    assert result.ok


async def test_concurrent_runs_share_limits_only_for_the_same_model(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    server.reply(error_reply(429, retry_after=1.5), when="slow 0")
    slow = client.chat.send_many([f"slow {n}" for n in range(20)], model="slow")
    quick = client.chat.send_many([f"quick {n}" for n in range(50)], model="quick")
    started = time.monotonic()

    async def timed(run: BatchRun) -> float:
        results = await read_results(run)
        assert all(result.ok for result in results)
        return time.monotonic() - started

    took = await asyncio.gather(timed(slow), timed(quick))
    assert took[0] > 1.4
    assert slow.limiters["slow"].refusals >= 1
    assert quick.limiters["quick"].refusals == 0
    assert set(slow.limiters) == {"slow"}
    assert set(quick.limiters) == {"quick"}

    server.capacity.latency = 3
    async with (
        client.chat.send_many([f"{n}" for n in range(99)], model="m") as one,
        client.chat.send_many([f"{n}" for n in range(99)], model="m") as two,
    ):
        while one.stats.in_flight + two.stats.in_flight < 8:  # noqa: ASYNC110 - no event is set for it
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        assert one.stats.in_flight + two.stats.in_flight == 8
        assert one.limiters["m"].in_flight == two.limiters["m"].in_flight == 8


async def test_overload_errors_do_not_count_towards_the_total_timeout(
    server: LocalOpenRouter, make_client: MakeClient
) -> None:
    client = make_client(clock=Clock(time.monotonic, asyncio.sleep, lambda: 0.999))
    server.reply(error_reply(429), times=3).then("at last")
    patient = Retries(base=0.05, cap=0.3)
    run = client.chat.send_many(["a"], model="m", timeouts=0.25, retries=patient)
    (result,) = await read_results(run)
    assert result.text == "at last"

    server.capacity.latency = 5
    (slow,) = await read_results(client.chat.send_many(["a"], model="m", timeouts=0.1))
    assert isinstance(slow.error, APITimeoutError)


# --- order -------------------------------------------------------------------------


async def test_slow_first_row_of_an_ordered_run_holds_back_a_bounded_number(
    server: LocalOpenRouter, client: AsyncOpenRouter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("openrouter_async.batch.engine._MIN_BUFFER_SIZE", 16)
    pulled = 0

    def rows() -> Any:
        nonlocal pulled
        for number in range(100):
            pulled += 1
            yield f"prompt {number}."

    released = threading.Event()

    async def respond_late(_: SeenRequest) -> str:
        await asyncio.to_thread(released.wait, 30)
        return "first"

    server.reply(respond_late, when="prompt 0.")
    run = client.chat.send_many(rows(), model="m", ordered=True, concurrency=4)
    async with run:
        async with asyncio.timeout(20):
            while run.stats.done < 15:  # noqa: ASYNC110 - no event is set for it
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        held_back = (pulled, run.stats.done)
        released.set()
        indexes = [result.index async for result in run]

    assert held_back == (16, 15)

    assert indexes == list(range(100))
