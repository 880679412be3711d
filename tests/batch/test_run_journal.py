"""A run whose journal is another object than the one that keeps files."""

from typing import Any

import orjson
import pytest
from support import MakeClient

from openrouter_async import BatchResult, BatchRun
from openrouter_async.batch import BatchOptions, LimiterRegistry, RequestBuilder
from openrouter_async.batch.journal import RunJournal
from openrouter_async.batch.rows.hash_index import HashMap64
from openrouter_async.batch.rows.items import name_key
from openrouter_async.testing import LocalOpenRouter


class MemoryJournal:
    """A journal in memory, which another process could hold as well."""

    def __init__(self) -> None:
        self.done = HashMap64()
        self.spent = 0.0
        self.has_unsynced = False
        self.lines: list[dict[str, Any]] = []
        self.failures: set[tuple[str, int, int]] = set()
        self.is_open = False

    def open(self) -> None:
        self.is_open = True

    def cancel_open(self) -> None:
        raise NotImplementedError

    def failed_before(self, name: str, fingerprint: int, index: int) -> bool:
        return (name, fingerprint, index) in self.failures

    def mark_succeeded(
        self, name: str, fingerprint: int, index: int, body: bytes
    ) -> None:
        assert body
        self.failures.discard((name, fingerprint, index))

    def write(self, rows: bytes, failures: bytes) -> None:
        for text in rows.splitlines():
            line = orjson.loads(text)
            fingerprint = int(line["x_openrouter"]["fp"], 16)
            self.done.put(name_key(line["custom_id"]), fingerprint)
            self.lines.append(line)
        for text in failures.splitlines():
            assert orjson.loads(text)["error"]

    def sync(self) -> None:
        raise NotImplementedError

    def close(self) -> None:
        self.is_open = False


async def send(
    make_client: MakeClient, journal: RunJournal, rows: list[Any], **options: Any
) -> list[BatchResult]:
    async with make_client() as client:
        builder = RequestBuilder(
            client._settings,  # pyright: ignore[reportPrivateUsage]
            client._transport,  # pyright: ignore[reportPrivateUsage]
            {"model": "m"},
            extra=None,
            query=None,
        )
        batch_options = BatchOptions(items=rows, journal=journal, **options)
        async with BatchRun[Any](batch_options, builder, LimiterRegistry()) as run:
            assert isinstance(journal, MemoryJournal)
            assert journal.is_open
            return [result async for result in run]


async def test_journal_is_any_object_with_its_methods(
    server: LocalOpenRouter, make_client: MakeClient
) -> None:
    journal = MemoryJournal()
    first = await send(make_client, journal, ["a", "b"])
    second = await send(make_client, journal, ["a", "b", "c"])

    assert (len(first), [result.index for result in second]) == (2, [2])
    assert {line["custom_id"] for line in journal.lines} == {"row-0", "row-1", "row-2"}
    assert not journal.is_open
    assert server.stats.requests == 3


@pytest.mark.parametrize("check_names", [True, False])
async def test_repeated_names_are_checked_only_if_asked_for(
    server: LocalOpenRouter, make_client: MakeClient, check_names: bool
) -> None:
    row = {"custom_id": "x", "body": {"messages": [{"role": "user", "content": "a"}]}}
    results = await send(
        make_client, MemoryJournal(), [row, row], check_names=check_names
    )

    assert [result.ok for result in results].count(True) == (1 if check_names else 2)
