"""Runs with a journal: resuming, failures, fingerprints, disk errors."""

import asyncio
import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import custom_ids, prompts, read_results

from openrouter_async import (
    AsyncOpenRouter,
    BadRequestError,
    BatchItem,
    BatchResult,
    BatchRun,
    ConfigurationError,
    JournalError,
    OutputValidationError,
    UserMessage,
    read_journal,
)
from openrouter_async.batch import errors_path
from openrouter_async.protocol.encode import canonical
from openrouter_async.testing import LocalOpenRouter, completion, error_reply


def nested_list(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth - 1):
        value = [value]
    return value


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out.jsonl"


async def test_second_run_sends_only_the_rows_that_are_missing(
    server: LocalOpenRouter, client: AsyncOpenRouter, out: Path
) -> None:
    """Equal prompts are different rows."""
    rows = ["same"] * 10 + ["other"] * 5
    async with client.chat.send_many(
        rows, model="m", journal=out, concurrency=2
    ) as run:
        for _ in range(4):
            await anext(run)
        await run.stop()
    done = len(custom_ids(out))
    assert 4 <= done < 15
    before = len(server.requests)

    again = client.chat.send_many(rows, model="m", journal=str(out))
    results = await read_results(again)

    assert len(results) == 15 - done
    assert len(server.requests) - before == 15 - done
    assert again.stats.resumed == done
    assert sorted(custom_ids(out)) == sorted(f"row-{number}" for number in range(15))
    assert sorted(r.index for r in read_journal(out)) == list(range(15))
    assert again.stats.spent == pytest.approx(server.stats.cost)

    last = client.chat.send_many(rows, model="m", journal=out, ordered=True)
    assert await read_results(last) == []
    assert last.stats.resumed == 15


async def test_result_is_in_the_journal_before_it_is_returned(
    server: LocalOpenRouter, client: AsyncOpenRouter, out: Path
) -> None:
    rows = [BatchItem(f"r{n}", {"prompt": "a", "messages": []}) for n in range(30)]
    run = client.chat.send_many(rows, model="m", journal=out)
    seen: list[str | None] = []
    server.reply("good", times=None)
    async with run:
        async for result in run:
            seen.append(result.custom_id)
            assert result.custom_id in custom_ids(out)

    assert sorted(map(str, seen)) == sorted(custom_ids(out))


def nested(depth: int) -> bytes:
    """Return a response of 3 tokens and $0.5 that is nested too deeply to be encoded."""
    usage = {"prompt_tokens": 2, "completion_tokens": 3, "cost": 0.5}
    reply = completion("fine", usage=usage)
    deep = b'{"in":' * depth + b"0" + b"}" * depth
    return json.dumps(reply).encode()[:-1] + b',"trace":' + deep + b"}"


async def test_response_that_cannot_be_encoded_is_kept_as_a_summary(
    server: LocalOpenRouter, client: AsyncOpenRouter, out: Path
) -> None:
    server.reply(body=nested(1010), when="two")
    run = client.chat.send_many(["one", "two", "three"], model="m", journal=out)
    results = await read_results(run)

    assert all(result.ok for result in results)
    assert sorted(custom_ids(out)) == ["row-0", "row-1", "row-2"]
    (kept,) = [result for result in read_journal(out) if result.index == 1]
    assert kept.text == "fine"
    assert kept.cost == 0.5
    assert kept.usage is not None
    assert kept.usage.completion_tokens == 3
    again = client.chat.send_many(["one", "two", "three"], model="m", journal=out)
    assert await read_results(again) == []


async def test_failure_whose_response_cannot_be_encoded_can_be_sent_again(
    server: LocalOpenRouter, client: AsyncOpenRouter, out: Path
) -> None:
    server.reply(body=nested(1010))
    run = client.chat.send_many(["one"], model="m", journal=out, output=int)
    (result,) = await read_results(run)
    assert isinstance(result.error, OutputValidationError)

    line = json.loads(errors_path(out).read_bytes())
    assert line["response"]["body"]["choices"][0]["message"]["content"] == "fine"
    assert line["body"]["messages"] == [{"role": "user", "content": "one"}]


async def test_failures_file_can_be_sent_and_rows_that_succeed_leave_it(
    server: LocalOpenRouter, client: AsyncOpenRouter, out: Path
) -> None:
    script = server.reply(error_reply(400), when="two", times=None)
    rows: list[Any] = ["one", "two", b"three", {"custom_id": "x", "body": {}}]
    run = client.chat.send_many(rows, model="m", journal=out)
    results = await read_results(run)
    assert sum(r.ok for r in results) == 1

    failures = errors_path(out)
    assert sorted(custom_ids(failures)) == ["row-1", "row-2", "x"]
    lines = dict(
        zip(custom_ids(failures), failures.read_bytes().splitlines(), strict=True)
    )
    two = json.loads(lines["row-1"])
    assert two["error"]["type"] == BadRequestError.__name__
    assert two["body"] == {
        "model": "m",
        "messages": [{"role": "user", "content": "two"}],
    }
    assert "three" in json.loads(lines["row-2"])["body"]

    script.when = "never"
    retried = client.chat.send_many(failures, journal=out)
    results = await read_results(retried)

    known = {(r.index, r.custom_id, r.ok) for r in results}
    assert known == {(1, None, True), (2, None, False), (3, "x", False)}
    assert sorted(custom_ids(failures)) == ["row-2", "x"]
    assert sorted(custom_ids(out)) == ["row-0", "row-1"]


@pytest.mark.parametrize("change", ["prompt", "parameter"])
async def test_changed_rows_or_parameters_are_rejected_by_the_journal(
    server: LocalOpenRouter, client: AsyncOpenRouter, out: Path, change: str
) -> None:
    await read_results(client.chat.send_many(["a", "b"], model="m", journal=out))
    rows = ["a", "c"] if change == "prompt" else ["a", "b"]
    model = "m" if change == "prompt" else "n"
    run = client.chat.send_many(rows, model=model, journal=out)
    with pytest.raises(JournalError, match="different request for 'row-"):
        await read_results(run)

    assert run.stats.stop_reason == "journal"
    assert len(custom_ids(out)) == 2


async def test_rows_with_their_keys_in_another_order_are_done(
    client: AsyncOpenRouter, out: Path
) -> None:
    body = {"messages": [{"role": "user", "content": "a"}], "seed": 1}
    await read_results(client.chat.send_many([body], model="m", journal=out))
    again = client.chat.send_many(
        [dict(reversed(body.items()))], model="m", journal=out
    )
    await read_results(again)

    assert again.stats.resumed == 1


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"b": 1, "a": {"d": 2, "c": 3}}, b'{"a":{"c":3,"d":2},"b":1}'),
        ({"b": {50256: 1}, "a": "\u00e9"}, '{"a":"\u00e9","b":{"50256":1}}'.encode()),
        ({"m": [UserMessage("hi")]}, b'{"m":[{"content":"hi","role":"user"}]}'),
        # Only the standard library encodes these.
        ({"b": "\ud800", "a": 1}, b'{"a": 1, "b": "\\ud800"}'),
        (
            {"b": nested_list(400), "a": 1},
            b'{"a": 1, "b": ' + b"[" * 400 + b"]" * 400 + b"}",
        ),
    ],
)
def test_canonical_json_has_sorted_keys(value: Any, expected: bytes) -> None:
    assert canonical(value) == expected


async def test_second_row_with_the_same_custom_id_fails(
    server: LocalOpenRouter, client: AsyncOpenRouter, out: Path
) -> None:
    rows: list[Any] = [{"custom_id": "a", "prompt": "x", "messages": []}] * 2
    server.reply("good", times=None)
    run = client.chat.send_many(rows, model="m", journal=out, ordered=True)
    results = await read_results(run)

    assert [r.ok for r in results] == [True, False]
    assert isinstance(results[1].error, ConfigurationError)
    assert custom_ids(out) == ["a"]
    assert len(server.requests) == 1


async def test_budget_includes_the_cost_of_earlier_runs(
    server: LocalOpenRouter, client: AsyncOpenRouter, out: Path
) -> None:

    def run(max_cost: float) -> BatchRun:
        return client.chat.send_many(
            prompts(60),
            model="openai/gpt-4o-mini",
            max_tokens=40,
            max_cost=max_cost,
            journal=out,
        )

    first = run(0.0005)
    await read_results(first)
    assert first.stats.stop_reason == "budget"
    second = run(0.0005)
    assert await read_results(second) == []
    assert second.stats.stop_reason == "budget"
    third = run(1.0)
    await read_results(third)

    assert third.stats.stop_reason is None
    assert len(custom_ids(out)) == len(server.requests) - 3 == 60


async def test_journal_in_use_is_rejected_and_the_first_run_goes_on(
    client: AsyncOpenRouter, out: Path
) -> None:
    async with client.chat.send_many(["a"], model="m", journal=out) as first:
        with pytest.raises(JournalError, match="in use"):
            await read_results(client.chat.send_many(["a"], model="m", journal=out))
        assert [result.ok async for result in first] == [True]


async def test_journal_that_is_the_input_file_is_rejected(
    client: AsyncOpenRouter, out: Path
) -> None:
    with pytest.raises(ConfigurationError, match="both the input and the journal"):
        client.chat.send_many(out, model="m", journal=out)


async def test_journal_at_a_url_is_rejected(client: AsyncOpenRouter) -> None:
    for journal in ("s3://bucket/out.jsonl", Path("s3://bucket/out.jsonl")):
        with pytest.raises(ConfigurationError, match="shared mount, not a URL"):
            client.chat.send_many(["a"], model="m", journal=journal)


async def test_full_disk_ends_the_run_after_results_that_were_paid(
    server: LocalOpenRouter,
    client: AsyncOpenRouter,
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
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


async def test_journal_error_on_closing_is_raised_after_the_last_result(
    client: AsyncOpenRouter, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    def broken(_: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", broken)
    run = client.chat.send_many(["a"], model="m", journal=out)
    with pytest.raises(JournalError, match="Input/output error"):
        await read_results(run)
    assert run.stats.ok == 1


@pytest.mark.parametrize("option", ["rpm", "journal"])
async def test_missing_library_is_reported_with_the_command_that_installs_it(
    client: AsyncOpenRouter,
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
    option: str,
) -> None:

    def missing(name: str) -> Any:
        raise ModuleNotFoundError(name=name)

    monkeypatch.setattr("importlib.import_module", missing)
    options: dict[str, Any] = {option: 60 if option == "rpm" else out}
    with pytest.raises(ConfigurationError, match=r"pip install 'openrouter_async\[ba"):
        await read_results(client.chat.send_many(["a"], model="m", **options))

    assert (await read_results(client.chat.send_many(["a"], model="m")))[0].ok


async def test_skipping_done_rows_lets_other_tasks_run(
    client: AsyncOpenRouter, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("openrouter_async.batch.jobs._MAX_SKIPPED_AT_ONCE", 5)
    await read_results(client.chat.send_many(prompts(20), model="m", journal=out))
    turns: list[int] = []

    def rows() -> Iterator[str]:
        for prompt in prompts(20):
            turns.append(turn)
            yield prompt

    turn = 0
    async with client.chat.send_many(rows(), model="m", journal=out) as run:
        while not run.stats.is_over:
            turn += 1
            await asyncio.sleep(0)

    assert run.stats.resumed == 20
    assert max(Counter(turns).values()) == 5
