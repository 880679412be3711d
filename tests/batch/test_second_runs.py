"""What one run leaves to the next: rows by their names, failures, what was learnt."""

import asyncio
import json
import time
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from support import MakeClient

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
from openrouter_async.testing import Clock, LocalOpenRouter, error_reply


async def read(run: BatchRun) -> list[BatchResult]:
    async with run:
        return [result async for result in run]


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out.jsonl"


# --- failures ----------------------------------------------------------------------


@pytest.mark.parametrize("change", ["model", "request"])
async def test_a_row_that_is_changed_to_succeed_is_the_same_row(
    server: LocalOpenRouter, client: AsyncOpenRouter, out: Path, change: str
) -> None:
    """It keeps its place and its name, and the rows it came from go on as ever."""
    prompts = [f"prompt {number}" for number in range(6)]
    server.reply(error_reply(400), when="prompt 4", times=None)
    first = client.chat.send_many(prompts, model="m", journal=out)
    assert sum(result.ok for result in await read(first)) == 5

    server.clear()
    failures = errors_path(out)
    options: dict[str, Any] = {"extra_body": {"model": "another"}}
    if change == "request":
        options = {}
        failures.write_bytes(failures.read_bytes().replace(b"prompt 4", b"easier"))
    (again,) = await read(client.chat.send_many(failures, journal=out, **options))
    assert (again.index, again.custom_id, again.ok) == (4, None, True)

    last = client.chat.send_many(prompts, model="m", journal=out)
    assert await read(last) == []
    assert last.stats.resumed == 6
    known = {(result.index, result.custom_id) for result in read_journal(out)}
    assert known == {(number, None) for number in range(6)}


@pytest.mark.parametrize(
    "ours", [7, {"i": "1", "fp": "xyz"}, {"i": 5, "named": False, "fp": 3}, {"i": 9}]
)
async def test_what_is_said_of_a_row_may_be_nonsense(
    client: AsyncOpenRouter, ours: Any
) -> None:
    """A file may be edited by hand; the name is what counts."""
    row = {"custom_id": "a", "body": {"messages": "hi"}, "x_openrouter": ours}
    (result,) = await read(client.chat.send_many([row], model="m"))

    assert result.custom_id == "a"


async def test_a_line_that_is_no_json_is_kept(
    client: AsyncOpenRouter, out: Path
) -> None:
    """What failed can be mended where it is."""
    source = out.with_name("in.jsonl")
    source.write_text('"a"\n{"messages": [\n')
    await read(client.chat.send_many(source, model="m", journal=out))

    (failure,) = lines(errors_path(out))
    assert failure["body"] == '{"messages": ['
    assert failure["custom_id"] == "row-1"


def test_what_failed_and_was_mended_counts_as_done(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run that was killed has tidied nothing up."""

    def failure(name: str, kind: str) -> str:
        return json.dumps({"custom_id": name, "error": {"type": kind}}) + "\n"

    ours = {"fp": "0", "i": 0}
    out.write_text(json.dumps({"custom_id": "a", "x_openrouter": ours}) + "\n")
    errors_path(out).write_text(
        failure("a", "X") + failure("b", "X") + failure("b", "Y") + "what?\n"
    )
    assert app.run(["batch", "status", str(out)]) == 0

    told = json.loads(capsys.readouterr().out)
    assert (told["ok"], told["failed"], told["errors"]) == (1, 1, {"Y": 1})


async def test_rows_that_failed_before_are_no_sign(
    server: LocalOpenRouter, client: AsyncOpenRouter, out: Path
) -> None:
    """They come first when all before them is done, and would end every run after."""
    for number in range(25):
        server.reply(error_reply(403), when=f"bad {number}.", times=None)
    rows = ["good", *(f"bad {number}." for number in range(25))]
    await read(client.chat.send_many(rows, model="m", journal=out))
    rows += [f"good {number}" for number in range(20)]
    again = client.chat.send_many(rows, model="m", journal=out, concurrency=4)
    results = await read(again)

    assert again.stats.stop_reason is None
    assert sum(result.ok for result in results) == 20
    assert len(await read(client.chat.send_many(errors_path(out), journal=out))) == 25

    server.reply(error_reply(404), times=None)
    rows += [f"later {number}" for number in range(40)]
    with pytest.raises(BatchStoppedError, match="first 20 rows"):
        await read(client.chat.send_many(rows, model="m", journal=out, concurrency=4))


async def test_first_rows_that_are_alike_end_it_however_many_are_out(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """Those come home and are results, too; a reply among them comes too late."""
    server.capacity.latency = 0.3
    server.reply("good", when="prompt 40", delay=0.3)
    server.reply(error_reply(404), times=None)
    results: list[BatchResult] = []

    async def consume() -> None:
        async with run:
            async for result in run:
                results.append(result)

    prompts = [f"prompt {number}" for number in range(500)]
    run = client.chat.send_many(prompts, model="m", concurrency=64)
    with pytest.raises(BatchStoppedError, match="first 20 rows"):
        await consume()

    assert 40 < len(results) == len(server.requests) <= 64 + 20
    assert sum(result.ok for result in results) == 1


async def test_one_reply_among_the_first_is_enough(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """Whatever the others come to."""
    server.reply("good", when="prompt 10")
    server.reply(error_reply(400), times=None)
    prompts = [f"prompt {number}" for number in range(60)]
    run = client.chat.send_many(prompts, model="m", concurrency=4)

    assert len(await read(run)) == 60


# --- what was learnt ---------------------------------------------------------------


async def test_an_earlier_runs_stall_is_not_the_next_ones(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """It has all the time that it is given."""
    server.reply(error_reply(429, retry_after=0.05), times=None)
    run = client.chat.send_many(["a"], model="m", stall_timeout=0.3)
    with pytest.raises(BatchStoppedError, match="Nothing but refusals"):
        await read(run)

    server.clear()
    server.capacity.latency = 0.8
    again = client.chat.send_many(["a"], model="m", stall_timeout=0.3)
    (result,) = await read(again)

    assert result.ok


async def test_two_runs_at_once_keep_to_their_models(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """A pause of one is none of the other's; two of one model share their room."""
    server.reply(error_reply(429, retry_after=1.5), when="slow 0")
    slow = client.chat.send_many([f"slow {n}" for n in range(20)], model="slow")
    quick = client.chat.send_many([f"quick {n}" for n in range(50)], model="quick")
    started = time.monotonic()

    async def timed(run: BatchRun) -> float:
        results = await read(run)
        assert all(result.ok for result in results)
        return time.monotonic() - started

    took = await asyncio.gather(timed(slow), timed(quick))
    assert took[0] > 1.4 > took[1]
    assert set(slow.limiters) == {"slow"}
    assert set(quick.limiters) == {"quick"}

    server.capacity.latency = 3
    async with (
        client.chat.send_many([f"{n}" for n in range(99)], model="m") as one,
        client.chat.send_many([f"{n}" for n in range(99)], model="m") as two,
    ):
        while one.stats.in_flight + two.stats.in_flight < 8:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        assert one.stats.in_flight + two.stats.in_flight == 8
        assert one.limiters["m"].in_flight == two.limiters["m"].in_flight == 8


async def test_refusals_do_not_eat_the_time_of_a_row(
    server: LocalOpenRouter, make_client: MakeClient
) -> None:
    """`total` is for the call, and to be refused is no fault of it."""
    client = make_client(clock=Clock(time.monotonic, asyncio.sleep, lambda: 0.999))
    server.reply(error_reply(429), times=3).then("at last")
    patient = Retries(base=0.05, cap=0.3)
    run = client.chat.send_many(["a"], model="m", timeouts=0.25, retries=patient)
    (result,) = await read(run)
    assert result.text == "at last"

    server.capacity.latency = 5
    (slow,) = await read(client.chat.send_many(["a"], model="m", timeouts=0.1))
    assert isinstance(slow.error, APITimeoutError)


# --- order -------------------------------------------------------------------------


async def test_a_slow_first_row_holds_up_a_bounded_number(
    server: LocalOpenRouter, client: AsyncOpenRouter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In order, those after it wait for it; no more are pulled than have room."""
    monkeypatch.setattr("openrouter_async.batch.engine._WINDOW", 16)
    pulled = 0

    def rows() -> Any:
        nonlocal pulled
        for number in range(100):
            pulled += 1
            yield f"prompt {number}."

    server.reply("first", when="prompt 0.", delay=0.5)
    run = client.chat.send_many(rows(), model="m", ordered=True, concurrency=4)
    async with run:
        await asyncio.sleep(0.3)
        assert (pulled, run.stats.done) == (16, 15)
        indexes = [result.index async for result in run]

    assert indexes == list(range(100))


class Named(NamedTuple):
    """A row of the caller's own making, which happens to be a sequence."""

    custom_id: str
    body: dict[str, Any]


async def test_a_named_tuple_is_a_row(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """A class of that shape, not a list of messages."""
    body = {"messages": [{"role": "user", "content": "hi"}]}
    (result,) = await read(client.chat.send_many([Named("a", body)], model="m"))

    assert (result.custom_id, result.ok) == ("a", True)
    assert [seen.prompt for seen in server.requests] == ["hi"]
