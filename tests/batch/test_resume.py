"""Runs with a journal: what is done stays done, what is missing is sent."""

import asyncio
import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from openrouter_async import (
    AsyncOpenRouter,
    BadRequestError,
    BatchItem,
    BatchResult,
    BatchRun,
    ConfigurationError,
    JournalError,
    OutputValidationError,
    read_journal,
)
from openrouter_async.batch import errors_path
from openrouter_async.protocol.encode import canonical
from openrouter_async.testing import LocalOpenRouter, completion, error_reply


async def read(run: BatchRun) -> list[BatchResult]:
    async with run:
        return [result async for result in run]


def names(path: Path) -> list[str]:
    return [json.loads(line)["custom_id"] for line in path.read_bytes().splitlines()]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out.jsonl"


async def test_a_rerun_sends_only_what_is_missing(
    server: LocalOpenRouter, client: AsyncOpenRouter, out: Path
) -> None:
    """Equal prompts are different rows; what is done is counted, not yielded."""
    prompts = ["same"] * 10 + ["other"] * 5
    async with client.chat.send_many(
        prompts, model="m", journal=out, concurrency=2
    ) as run:
        for _ in range(4):
            await anext(run)
        await run.stop()
    done = len(names(out))
    assert 4 <= done < 15
    before = len(server.requests)

    again = client.chat.send_many(prompts, model="m", journal=str(out))
    results = await read(again)

    assert len(results) == 15 - done
    assert len(server.requests) - before == 15 - done
    assert again.stats.resumed == done
    assert sorted(names(out)) == sorted(f"row-{number}" for number in range(15))
    assert sorted(r.index for r in read_journal(out)) == list(range(15))
    assert again.stats.spent == pytest.approx(server.stats.cost)

    last = client.chat.send_many(prompts, model="m", journal=out, ordered=True)
    assert await read(last) == []
    assert last.stats.resumed == 15


async def test_a_result_that_is_seen_is_written(
    server: LocalOpenRouter, client: AsyncOpenRouter, out: Path
) -> None:
    """Before it is yielded; whatever the reader does then."""
    rows = [BatchItem(f"r{n}", {"prompt": "a", "messages": []}) for n in range(30)]
    run = client.chat.send_many(rows, model="m", journal=out)
    seen: list[str | None] = []
    server.reply("good", times=None)
    async with run:
        async for result in run:
            seen.append(result.custom_id)
            assert result.custom_id in names(out)

    assert sorted(map(str, seen)) == sorted(names(out))


def nested(depth: int) -> bytes:
    """A reply of 3 tokens and $0.5 that no writer of JSON follows to its end."""
    usage = {"prompt_tokens": 2, "completion_tokens": 3, "cost": 0.5}
    reply = completion("fine", usage=usage)
    deep = b'{"in":' * depth + b"0" + b"}" * depth
    return json.dumps(reply).encode()[:-1] + b',"trace":' + deep + b"}"


async def test_a_reply_beyond_writing_is_kept_by_what_counts(
    server: LocalOpenRouter, client: AsyncOpenRouter, out: Path
) -> None:
    """Its words and its cost; it was paid for, and the others have their lines too."""
    server.reply(body=nested(1010), when="two")
    run = client.chat.send_many(["one", "two", "three"], model="m", journal=out)
    results = await read(run)

    assert all(result.ok for result in results)
    assert sorted(names(out)) == ["row-0", "row-1", "row-2"]
    (kept,) = [result for result in read_journal(out) if result.index == 1]
    assert kept.text == "fine"
    assert kept.cost == 0.5
    assert kept.usage is not None
    assert kept.usage.completion_tokens == 3
    again = client.chat.send_many(["one", "two", "three"], model="m", journal=out)
    assert await read(again) == []


async def test_a_failure_beyond_writing_can_be_sent_again(
    server: LocalOpenRouter, client: AsyncOpenRouter, out: Path
) -> None:
    """Its request is whole, and of what came its words are kept."""
    server.reply(body=nested(1010))
    run = client.chat.send_many(["one"], model="m", journal=out, output=int)
    (result,) = await read(run)
    assert isinstance(result.error, OutputValidationError)

    line = json.loads(errors_path(out).read_bytes())
    assert line["response"]["body"]["choices"][0]["message"]["content"] == "fine"
    assert line["body"]["messages"] == [{"role": "user", "content": "one"}]


async def test_failures_go_to_a_file_that_can_be_sent(
    server: LocalOpenRouter, client: AsyncOpenRouter, out: Path
) -> None:
    """And leave it when they succeed."""
    script = server.reply(error_reply(400), when="two", times=None)
    rows: list[Any] = ["one", "two", b"three", {"custom_id": "x", "body": {}}]
    run = client.chat.send_many(rows, model="m", journal=out)
    results = await read(run)
    assert sum(r.ok for r in results) == 1

    failures = errors_path(out)
    assert sorted(names(failures)) == ["row-1", "row-2", "x"]
    lines = dict(zip(names(failures), failures.read_bytes().splitlines(), strict=True))
    two = json.loads(lines["row-1"])
    assert two["error"]["type"] == BadRequestError.__name__
    assert two["body"] == {
        "model": "m",
        "messages": [{"role": "user", "content": "two"}],
    }
    assert "three" in json.loads(lines["row-2"])["body"]

    script.when = "never"
    retried = client.chat.send_many(failures, journal=out)
    results = await read(retried)

    known = {(r.index, r.custom_id, r.ok) for r in results}
    assert known == {(1, None, True), (2, None, False), (3, "x", False)}
    assert sorted(names(failures)) == ["row-2", "x"]
    assert sorted(names(out)) == ["row-0", "row-1"]


@pytest.mark.parametrize("change", ["prompt", "parameter"])
async def test_other_rows_are_noticed(
    server: LocalOpenRouter, client: AsyncOpenRouter, out: Path, change: str
) -> None:
    """A journal belongs to its rows and their parameters."""
    await read(client.chat.send_many(["a", "b"], model="m", journal=out))
    rows = ["a", "c"] if change == "prompt" else ["a", "b"]
    model = "m" if change == "prompt" else "n"
    run = client.chat.send_many(rows, model=model, journal=out)
    with pytest.raises(JournalError, match="another request as 'row-"):
        await read(run)

    assert run.stats.stop_reason == "journal"
    assert len(names(out)) == 2


async def test_the_order_of_keys_is_no_change(
    client: AsyncOpenRouter, out: Path
) -> None:
    """A request is its JSON, not its bytes."""
    body = {"messages": [{"role": "user", "content": "a"}], "seed": 1}
    await read(client.chat.send_many([body], model="m", journal=out))
    again = client.chat.send_many(
        [dict(reversed(body.items()))], model="m", journal=out
    )
    await read(again)

    assert again.stats.resumed == 1


def test_canonical_json_is_sorted() -> None:
    """Also where only the standard library reads it."""
    assert canonical(b'{"b":1,"a":{"d":2,"c":3}}') == b'{"a":{"c":3,"d":2},"b":1}'
    assert canonical(b'{"b": "\\ud800", "a": 1}') == b'{"a": 1, "b": "\\ud800"}'
    deep = b"[" * 400 + b"]" * 400
    assert canonical(b'{"b": ' + deep + b', "a": 1}') == b'{"a": 1, "b": ' + deep + b"}"


async def test_a_name_is_used_once(
    server: LocalOpenRouter, client: AsyncOpenRouter, out: Path
) -> None:
    """The second row of a name is a failure, and not sent."""
    rows: list[Any] = [{"custom_id": "a", "prompt": "x", "messages": []}] * 2
    server.reply("good", times=None)
    run = client.chat.send_many(rows, model="m", journal=out, ordered=True)
    results = await read(run)

    assert [r.ok for r in results] == [True, False]
    assert isinstance(results[1].error, ConfigurationError)
    assert names(out) == ["a"]
    assert len(server.requests) == 1


async def test_a_budget_spans_runs(
    server: LocalOpenRouter, client: AsyncOpenRouter, out: Path
) -> None:
    """A higher one goes on, without a repeat."""
    prompts = [f"prompt {number}" for number in range(60)]

    def run(max_cost: float) -> BatchRun:
        return client.chat.send_many(
            prompts,
            model="openai/gpt-4o-mini",
            max_tokens=40,
            max_cost=max_cost,
            journal=out,
        )

    first = run(0.0005)
    await read(first)
    assert first.stats.stop_reason == "budget"
    second = run(0.0005)
    assert await read(second) == []
    assert second.stats.stop_reason == "budget"
    third = run(1.0)
    await read(third)

    assert third.stats.stop_reason is None
    assert len(names(out)) == len(server.requests) - 3 == 60


async def test_a_journal_is_for_one_run(client: AsyncOpenRouter, out: Path) -> None:
    """The second one fails at once, and the first goes on."""
    async with client.chat.send_many(["a"], model="m", journal=out) as first:
        with pytest.raises(JournalError, match="in use"):
            await read(client.chat.send_many(["a"], model="m", journal=out))
        assert [result.ok async for result in first] == [True]


async def test_the_rows_are_not_the_journal(client: AsyncOpenRouter, out: Path) -> None:
    """That would be the end of the rows."""
    with pytest.raises(ConfigurationError, match="file of rows"):
        client.chat.send_many(out, model="m", journal=out)


async def test_a_disk_that_is_full_ends_the_run(
    server: LocalOpenRouter,
    client: AsyncOpenRouter,
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What was paid for is still read."""
    run = client.chat.send_many(["a", "b"], model="m", journal=out, concurrency=1)

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    results: list[BatchResult] = []

    async def consume() -> None:
        async with run:
            monkeypatch.setattr("openrouter_async.batch.jsonl.os.write", full)
            async for result in run:
                results.append(result)
                monkeypatch.undo()

    with pytest.raises(JournalError, match="No space left"):
        await consume()

    assert results[0].ok
    assert run.stats.stop_reason == "journal"


async def test_closing_that_fails_is_told(
    client: AsyncOpenRouter, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the last result."""

    def broken(_: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", broken)
    run = client.chat.send_many(["a"], model="m", journal=out)
    with pytest.raises(JournalError, match="Input/output error"):
        await read(run)
    assert run.stats.ok == 1


@pytest.mark.parametrize("option", ["rpm", "journal"])
async def test_what_is_missing_is_named(
    client: AsyncOpenRouter,
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
    option: str,
) -> None:
    """With the command that installs it; nothing else needs it."""

    def missing(name: str) -> Any:
        raise ModuleNotFoundError(name=name)

    monkeypatch.setattr("importlib.import_module", missing)
    options: dict[str, Any] = {option: 60 if option == "rpm" else out}
    with pytest.raises(ConfigurationError, match=r"pip install 'openrouter_async\[ba"):
        await read(client.chat.send_many(["a"], model="m", **options))

    assert (await read(client.chat.send_many(["a"], model="m")))[0].ok


async def test_rows_that_are_done_leave_the_loop_to_others(
    client: AsyncOpenRouter, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many there are, no more than a few hundred are passed over at once."""
    monkeypatch.setattr("openrouter_async.batch.jobs._PASSED_OVER", 5)
    prompts = [f"prompt {number}" for number in range(20)]
    await read(client.chat.send_many(prompts, model="m", journal=out))
    turns: list[int] = []

    def rows() -> Iterator[str]:
        for prompt in prompts:
            turns.append(turn)
            yield prompt

    turn = 0
    async with client.chat.send_many(rows(), model="m", journal=out) as run:
        while not run.stats.is_over:
            turn += 1
            await asyncio.sleep(0)

    assert run.stats.resumed == 20
    assert max(Counter(turns).values()) == 5
