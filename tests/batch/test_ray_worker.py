"""A worker with a ledger in the same process, as any engine may use them."""

# Tests look at private attributes.
# pyright: reportPrivateUsage=false

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest
from support import until

from openrouter_async import (
    AsyncOpenRouter,
    AuthenticationError,
    BatchResult,
    BatchStoppedError,
    ConfigurationError,
    JournalError,
    OutputValidationError,
    read_journal,
)
from openrouter_async.batch import BatchOptions, BatchRun
from openrouter_async.batch.ledger import Grant, KnownRows, Ledger
from openrouter_async.batch.ray_worker import BatchWorker
from openrouter_async.batch.rows.items import InvalidLine
from openrouter_async.testing import LocalOpenRouter, Reply, error_reply

MakeWorker = Callable[..., BatchWorker]


def row(name: str | None, text: str | None = None) -> dict[str, Any]:
    content = text or f"say {name}"
    body = {"messages": [{"role": "user", "content": content}]}
    return {"custom_id": name, "body": body}


def rows(count: int) -> list[Any]:
    return [row(f"r{number}") for number in range(count)]


def journaled(path: Path) -> list[str]:
    return sorted(result.custom_id or "" for result in read_journal(path))


def texts(results: Sequence[BatchResult | None]) -> list[str | None]:
    return [None if result is None else result.text for result in results]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "out.jsonl"


@pytest.fixture
def ledger(path: Path) -> Iterator[Ledger]:
    ledger = Ledger(path)
    ledger.open()
    yield ledger
    ledger.close()


@pytest.fixture
def make_worker(server: LocalOpenRouter) -> Iterator[MakeWorker]:
    """Start workers; they are closed after the test."""
    workers: list[BatchWorker] = []

    def make(
        ledger: Any, *, output: Any = None, report_interval: float = 60.0, **more: Any
    ) -> BatchWorker:
        fields = {"model": "openai/gpt-4o-mini", "max_tokens": 20}
        key = more.pop("key", server.api_key)

        @contextlib.asynccontextmanager
        async def open_run(options: BatchOptions) -> AsyncGenerator[BatchRun[Any]]:
            client = AsyncOpenRouter(key, base_url=server.url)
            async with client, client.chat.run_of(options, output, fields) as run:
                yield run

        options = {"concurrency": 8, **more}
        worker = BatchWorker(ledger, open_run, options, report_interval=report_interval)
        workers.append(worker)
        return worker

    yield make

    for worker in workers:
        worker.close()


class LedgerProxy:
    """Passes calls to a ledger, and counts them; a test may replace methods."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.reports = 0
        self.idle_reports = 0

    def join(self, worker: str, actor: str) -> None:
        self.ledger.join(worker, actor)

    def known(self, names: Sequence[str], worker: str = "") -> KnownRows:
        return self.ledger.known(names, worker)

    def put(self, rows: bytes, failures: bytes) -> None:
        self.ledger.put(rows, failures)

    def grant(
        self, worker: str, *, starts: bool = False, dollars: float | None = None
    ) -> Grant:
        return self.ledger.grant(worker, starts=starts, dollars=dollars)

    def report(self, worker: str, stats: Any, *, is_idle: bool = False) -> None:
        self.reports += 1
        self.idle_reports += is_idle
        self.ledger.report(worker, stats, is_idle=is_idle)

    def fail(self, error: Any) -> None:
        self.ledger.fail(error)


def test_results_are_in_the_order_of_the_rows(
    make_worker: MakeWorker, ledger: Ledger, path: Path, server: LocalOpenRouter
) -> None:
    worker = make_worker(ledger)

    results = worker.send(rows(50))

    assert [result and result.custom_id for result in results] == [
        f"r{number}" for number in range(50)
    ]
    assert all(result is not None and result.ok for result in results)
    assert len(journaled(path)) == 50
    assert ledger.tick().ok == 50
    assert worker.send([]) == []


def test_rows_in_the_ledger_are_not_sent_again(
    make_worker: MakeWorker, ledger: Ledger, server: LocalOpenRouter
) -> None:
    first = make_worker(ledger).send(rows(5))
    second = make_worker(ledger).send(rows(7))

    assert texts(second[:5]) == texts(first)
    assert server.stats.requests == 7
    assert ledger.tick().resumed == 5


def test_rows_without_a_name_are_named_by_their_requests(
    make_worker: MakeWorker, ledger: Ledger, path: Path, server: LocalOpenRouter
) -> None:
    worker = make_worker(ledger)

    results = worker.send([row(None, "a"), row(None, "b"), row(None, "a")])

    assert texts(results)[0] == texts(results)[2]
    assert server.stats.requests == 2
    assert all(name is not None and len(name) == 16 for name in journaled(path))


def test_rows_that_are_on_their_way_are_not_sent_twice(
    make_worker: MakeWorker, ledger: Ledger, server: LocalOpenRouter
) -> None:
    """Ray may start a task again on the same actor."""
    server.capacity.latency = 0.1
    worker = make_worker(ledger)

    async def send_twice() -> tuple[list[BatchResult | None], ...]:
        return await asyncio.gather(worker.asend(rows(4)), worker.asend(rows(4)))

    first, second = asyncio.run(send_twice())

    assert texts(first) == texts(second)
    assert server.stats.requests == 4


def test_other_row_with_the_same_name_is_an_error(
    make_worker: MakeWorker, ledger: Ledger, server: LocalOpenRouter
) -> None:
    server.capacity.latency = 0.1
    worker = make_worker(ledger)

    with pytest.raises(JournalError, match="different request for 'a'"):
        worker.send([row("a", "one"), row("a", "two")])

    assert isinstance(ledger.failure(), JournalError)


def test_changed_row_ends_the_worker(
    make_worker: MakeWorker, ledger: Ledger, server: LocalOpenRouter
) -> None:
    make_worker(ledger).send([row("a", "one")])
    worker = make_worker(ledger)

    with pytest.raises(JournalError, match="different request for 'a'"):
        worker.send([row("a", "two")])
    with pytest.raises(JournalError, match="different request for 'a'"):
        worker.send([row("b")])

    assert server.stats.requests == 1


def test_failed_rows_are_results(
    make_worker: MakeWorker, ledger: Ledger, path: Path, server: LocalOpenRouter
) -> None:
    server.reply(error_reply(400, "no"))
    invalid = InvalidLine("{}", ConfigurationError("no prompt"), "line")
    unnamed = InvalidLine("{", ConfigurationError("not JSON"))
    worker = make_worker(ledger, concurrency=1)

    results = worker.send(
        [row("a"), row("b"), invalid, unnamed, {"custom_id": None, "body": {"x": 1}}]
    )

    kinds = [type(result.error).__name__ for result in results if result is not None]
    assert kinds == ["BadRequestError", "NoneType", *["ConfigurationError"] * 3]
    lines = path.with_name("out.errors.jsonl").read_bytes().splitlines()
    assert orjson.loads(lines[0])["custom_id"] == "a"
    assert len(lines) == 4


def test_rows_that_failed_before_do_not_end_a_run(
    make_worker: MakeWorker, path: Path, server: LocalOpenRouter
) -> None:
    """Twenty equal failures at the start end a run, unless they are old."""
    server.reply(error_reply(400, "no"), times=None)
    ledger = Ledger(path)
    ledger.open()
    with pytest.raises(Exception, match="no"):
        make_worker(ledger).send(rows(30))
    ledger.close()
    ledger.open()

    worker = make_worker(ledger)
    results = worker.send(rows(8))

    assert all(result is not None and not result.ok for result in results)
    worker.close()
    ledger.close()


def test_account_error_fails_every_row(
    make_worker: MakeWorker, ledger: Ledger, server: LocalOpenRouter
) -> None:
    server.reply(error_reply(401, "No auth credentials found."), times=None)
    worker = make_worker(ledger)

    with pytest.raises(AuthenticationError):
        worker.send(rows(3))

    assert isinstance(ledger.failure(), AuthenticationError)
    # While the thread ends, and after that.
    for _ in range(100):
        with pytest.raises(AuthenticationError):
            worker.send(rows(3))


def test_invalid_option_is_an_error_at_the_start(
    make_worker: MakeWorker, ledger: Ledger
) -> None:
    with pytest.raises(ConfigurationError, match="an integer of 1 or more"):
        make_worker(ledger, concurrency=0)


# --- the ledger fails -----------------------------------------------------------------


def test_results_that_the_ledger_does_not_have_are_not_returned(
    make_worker: MakeWorker, ledger: Ledger, path: Path
) -> None:
    proxy = LedgerProxy(ledger)

    def put(rows: bytes, failures: bytes) -> None:
        raise JournalError("The ledger of the run has ended.")

    def fail(error: Any) -> None:
        raise JournalError("The ledger of the run has ended.")

    proxy.put = put  # type: ignore[method-assign]
    proxy.fail = fail  # type: ignore[method-assign]
    worker = make_worker(proxy)

    with pytest.raises(JournalError, match="has ended"):
        worker.send(rows(3))

    assert journaled(path) == []


def test_worker_stops_when_its_report_fails(
    make_worker: MakeWorker, ledger: Ledger, server: LocalOpenRouter
) -> None:
    proxy = LedgerProxy(ledger)
    called = threading.Event()

    def report(worker: str, stats: Any, *, is_idle: bool = False) -> None:
        called.wait(5)
        raise JournalError("The ledger of the run did not respond.")

    proxy.report = report  # type: ignore[method-assign]
    server.reply(Reply(delay=60.0), times=None)
    worker = make_worker(proxy, report_interval=0.01)
    sending = worker._submit(rows(3))
    deadline = time.monotonic() + 5.0
    while not server.stats.requests and time.monotonic() < deadline:
        time.sleep(0.001)
    called.set()

    with pytest.raises(JournalError, match="did not respond"):
        sending.result(5)


def test_last_report_that_fails_is_raised(
    make_worker: MakeWorker, ledger: Ledger
) -> None:
    proxy = LedgerProxy(ledger)

    def report(worker: str, stats: Any, *, is_idle: bool = False) -> None:
        raise JournalError("The ledger of the run did not respond.")

    proxy.report = report  # type: ignore[method-assign]

    with pytest.raises(JournalError, match="did not respond"):
        make_worker(proxy).send(rows(1))


def test_unknown_rows_are_not_sent_if_the_ledger_fails(
    make_worker: MakeWorker, ledger: Ledger, server: LocalOpenRouter
) -> None:
    proxy = LedgerProxy(ledger)

    def known(names: Sequence[str], worker: str = "") -> KnownRows:
        raise JournalError("The ledger of the run has ended.")

    proxy.known = known  # type: ignore[method-assign]

    with pytest.raises(JournalError, match="has ended"):
        make_worker(proxy).send(rows(1))

    assert server.stats.requests == 0


def test_error_that_is_not_ours_is_raised_too(
    make_worker: MakeWorker, ledger: Ledger
) -> None:
    proxy = LedgerProxy(ledger)

    def known(names: Sequence[str], worker: str = "") -> KnownRows:
        raise RuntimeError("broken")

    proxy.known = known  # type: ignore[method-assign]

    with pytest.raises(RuntimeError, match="broken"):
        make_worker(proxy).send(rows(1))


# --- money and rate -------------------------------------------------------------------


def test_exhausted_budget_leaves_rows_unsent(
    make_worker: MakeWorker, path: Path, server: LocalOpenRouter
) -> None:
    ledger = Ledger(path, max_cost=0.001)
    ledger.open()
    worker = make_worker(ledger, has_budget=True)

    results = worker.send(rows(200))
    again = worker.send(rows(200))

    sent = [result for result in results if result is not None]
    assert 0 < len(sent) < 200
    assert all(result.ok for result in sent)
    # What is in the journal is returned all the same, and nothing more is sent.
    assert texts(again) == texts(results)
    assert server.capacity.admitted == len(sent)
    final = ledger.close()
    assert final.stop_reason == "budget"
    assert final.spent == pytest.approx(server.stats.cost)
    assert final.spent <= 0.001


def test_idle_worker_gives_its_money_back(make_worker: MakeWorker, path: Path) -> None:
    ledger = Ledger(path, max_cost=1.0)
    ledger.open()
    proxy = LedgerProxy(ledger)
    worker = make_worker(proxy, has_budget=True)
    worker.send(rows(3))

    assert proxy.idle_reports == 1
    assert ledger.grant("other", dollars=0.99995).dollars == 0.99995
    assert worker.send(rows(4))[3] is None
    ledger.close()


def test_budget_of_requests_without_a_bound_is_estimated(
    make_worker: MakeWorker, path: Path, server: LocalOpenRouter
) -> None:
    ledger = Ledger(path, max_cost=0.0002)
    ledger.open()
    worker = make_worker(ledger, has_budget=True, concurrency=20)
    unbounded = [
        {"custom_id": f"{n}", "body": {**row(f"{n}")["body"], "models": ["m"]}}
        for n in range(60)
    ]

    results = worker.send(unbounded)

    final = ledger.close()
    assert final.budget == "estimated"
    assert 8 <= len([result for result in results if result is not None]) < 60
    assert final.spent == pytest.approx(server.stats.cost)


def test_requests_start_at_the_times_of_the_ledger(
    make_worker: MakeWorker, ledger: Ledger
) -> None:
    proxy = LedgerProxy(ledger)
    granted: list[float] = []

    def grant(
        worker: str, *, starts: bool = False, dollars: float | None = None
    ) -> Grant:
        assert starts
        granted.append(time.monotonic())
        return Grant((0.0, 0.02))

    proxy.grant = grant  # type: ignore[method-assign]
    worker = make_worker(proxy, has_rate=True)

    results = worker.send(rows(6))

    assert len(results) == 6
    assert len(granted) == 3
    assert granted[2] - granted[0] >= 0.04


# --- outputs --------------------------------------------------------------------------


def test_outputs_are_parsed_from_responses_and_from_lines(
    make_worker: MakeWorker, ledger: Ledger, server: LocalOpenRouter
) -> None:
    server.reply("[1, 2]").then('"no list"')
    worker = make_worker(ledger, output=list[int], concurrency=1)
    first = worker.send([row("a")])
    with_text = make_worker(ledger).send([row("b")])
    assert with_text[0] is not None

    again = make_worker(ledger, output=list[int]).send([row("a")])

    assert [result and result.output for result in (*first, *again)] == [[1, 2]] * 2
    assert server.stats.requests == 2


def test_line_that_is_not_of_the_output_type_is_a_failed_row(
    make_worker: MakeWorker, ledger: Ledger, server: LocalOpenRouter
) -> None:
    """The journal may have been written by a program with another output type."""
    server.reply("[1, 2]")
    # As `output` would add them, so that both requests are the same.
    more = {
        "response_format": {"type": "json_object"},
        "provider": {"require_parameters": True},
    }
    item = {"custom_id": "a", "body": {**row("a")["body"], **more}}
    make_worker(ledger).send([item])

    (result,) = make_worker(ledger, output=dict[str, int]).send([item])

    assert result is not None
    assert isinstance(result.error, OutputValidationError)
    assert (result.response, server.stats.requests) == (None, 1)


# --- the end --------------------------------------------------------------------------


def test_closed_worker_refuses_rows(make_worker: MakeWorker, ledger: Ledger) -> None:
    with make_worker(ledger) as worker:
        worker.send(rows(1))

    with pytest.raises(BatchStoppedError, match="worker was closed"):
        worker.send(rows(2))
    worker.close()


async def test_closing_a_worker_ends_those_who_wait(
    make_worker: MakeWorker, ledger: Ledger, server: LocalOpenRouter
) -> None:
    server.reply(Reply(delay=60.0), times=None)
    worker = make_worker(ledger)
    waiting = asyncio.create_task(worker.asend(rows(3)))
    await until(lambda: server.stats.requests)
    worker.close()

    with pytest.raises(BatchStoppedError, match="worker was closed"):
        await waiting


def test_closing_a_worker_ends_its_calls_of_the_ledger(
    make_worker: MakeWorker, ledger: Ledger
) -> None:
    proxy, release, called = LedgerProxy(ledger), threading.Event(), threading.Event()

    def known(names: Sequence[str], worker: str = "") -> KnownRows:
        called.set()
        release.wait(10)
        return ledger.known(names, worker)

    proxy.known = known  # type: ignore[method-assign]
    worker = make_worker(proxy)
    sending = worker._submit(rows(1))
    assert called.wait(10)
    worker.close()
    release.set()

    with pytest.raises(BatchStoppedError, match="worker was closed"):
        sending.result(5)


async def test_caller_that_is_cancelled_leaves_the_rows_to_the_journal(
    make_worker: MakeWorker, ledger: Ledger, server: LocalOpenRouter, path: Path
) -> None:
    server.capacity.latency = 0.05
    worker = make_worker(ledger)
    first = asyncio.create_task(worker.asend([row("a")]))
    second = asyncio.create_task(worker.asend([row("b")]))
    await until(lambda: server.stats.requests == 2)
    first.cancel()

    assert (await second)[0] is not None
    await until(lambda: len(journaled(path)) == 2)
    third = asyncio.create_task(worker.asend([row("c")]))
    await until(lambda: server.stats.requests == 3)
    third.cancel()
    await asyncio.wait({first, third})
    worker.close()


async def test_caller_that_is_cancelled_is_not_told_of_an_error(
    make_worker: MakeWorker, ledger: Ledger
) -> None:
    proxy, release, called = LedgerProxy(ledger), threading.Event(), threading.Event()

    def known(names: Sequence[str], worker: str = "") -> KnownRows:
        called.set()
        release.wait(10)
        raise JournalError("The ledger of the run has ended.")

    proxy.known = known  # type: ignore[method-assign]
    worker = make_worker(proxy)
    waiting = asyncio.create_task(worker.asend(rows(1)))
    await until(called.is_set)
    waiting.cancel()
    await asyncio.wait({waiting})
    release.set()
    await until(lambda: ledger.failure() is not None)
    await until(lambda: not worker._tasks)
    worker.close()

    assert waiting.cancelled()


async def test_group_that_ends_first_does_not_wait_for_others(
    make_worker: MakeWorker, ledger: Ledger, server: LocalOpenRouter
) -> None:
    server.reply(Reply(delay=60.0), when="say slow", times=None)
    worker = make_worker(ledger)
    slow = asyncio.create_task(worker.asend([row("slow")]))
    await until(lambda: server.stats.requests)

    (result,) = await worker.asend([row("fast")])

    assert result is not None
    assert not slow.done()
    worker.close()
    await asyncio.wait({slow})
    assert isinstance(slow.exception(), BatchStoppedError)
