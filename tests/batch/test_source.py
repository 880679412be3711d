"""Input rows from iterables, JSON-lines files and stdin."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from openrouter_async import BatchItem, ConfigurationError
from openrouter_async.batch.rows.items import InvalidLine
from openrouter_async.batch.source import END, JsonLinesSource, Source, open_source

LINE = json.dumps("x" * 1000) + "\n"


async def pull_all(source: Source) -> list[Any]:
    rows: list[Any] = []
    while (row := await source.pull()) is not END:
        rows.append(row)
    return rows


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "in.jsonl"


@pytest.mark.parametrize(
    ("text", "total"),
    [("", 0), ("1\n2\n", 2), ("1\n2\n3", 3), ("1" * 256 * 1024, 1)],
)
async def test_file_source_counts_a_last_line_without_newline(
    path: Path, text: str, total: int
) -> None:
    path.write_text(text)
    source = JsonLinesSource(path)
    assert source.total is None

    rows = await pull_all(source)
    await source.aclose()

    assert source.total == len(rows) == total


async def test_file_source_ignores_lines_appended_after_the_first_pull(
    path: Path,
) -> None:
    path.write_text(LINE * 400)
    source = open_source(path)
    rows = [await source.pull()]
    with path.open("a") as file:
        file.write(LINE * 5)
    rows += await pull_all(source)
    await source.aclose()

    assert len(rows) == source.total == 400


async def test_file_source_returns_the_whole_of_a_last_line_that_grows(
    path: Path,
) -> None:
    path.write_text(LINE * 300 + '"begin')
    source = open_source(path)
    rows = [await source.pull()]
    with path.open("a") as file:
        file.write('end"\n' + LINE)
    rows += await pull_all(source)
    await source.aclose()

    assert len(rows) == source.total == 301
    assert rows[-1] == "beginend"


async def test_file_source_ends_where_the_file_was_truncated(path: Path) -> None:
    path.write_text(LINE * 400)
    source = open_source(path)
    rows = [await source.pull()]
    path.write_text("")
    rows += await pull_all(source)
    await source.aclose()

    assert source.total == 400
    *whole, torn = rows
    assert whole == ["x" * 1000] * len(whole)
    assert 250 < len(whole) < 300
    assert isinstance(torn, InvalidLine)
    assert LINE.startswith(torn.text)
    assert f"in.jsonl, line {len(whole) + 1}: " in str(torn.error)


async def test_file_source_with_a_limit_stays_at_its_end(path: Path) -> None:
    path.write_text("1\n\n2\n3\n")
    source = JsonLinesSource(path, limit=2)
    rows = await pull_all(source)

    assert rows == [1, 2]
    assert source.total == 2
    assert await source.pull() is END
    await source.aclose()


async def test_file_source_is_iterable_and_opens_nothing_before_the_first_row(
    path: Path,
) -> None:
    source = JsonLinesSource(path)
    await source.aclose()
    path.write_text("1\n2\n")

    assert [row async for row in source] == [1, 2]
    await source.aclose()


async def test_template_is_filled_with_the_fields_of_each_line(path: Path) -> None:
    lines = [{"text": "a", "custom_id": "r1"}, "b", {"other": 1}, {"text": None}]
    path.write_text("\n".join(map(json.dumps, lines)))
    source = JsonLinesSource(path, template="Say {text:>3}!")
    first, second, third, fourth = await pull_all(source)
    await source.aclose()

    messages = [{"role": "user", "content": "Say   a!"}]
    assert first == BatchItem("r1", {"messages": messages})
    messages = [{"role": "user", "content": "Say   b!"}]
    assert second == BatchItem(None, {"messages": messages})
    assert third.text == '{"other": 1}'
    assert "line 3 has no field 'text'" in str(third.error)
    assert "line 4 does not fit the template: " in str(fourth.error)


def test_invalid_template_is_rejected_at_once(path: Path) -> None:
    with pytest.raises(ConfigurationError, match="Write a literal brace twice"):
        JsonLinesSource(path, template="{")


@pytest.mark.parametrize("template", ["{}", "Say {0}", "{text:{}}", "{0.name}"])
def test_template_with_a_field_without_a_name_is_rejected(
    path: Path, template: str
) -> None:
    with pytest.raises(ConfigurationError, match="has no name"):
        JsonLinesSource(path, template=template)


async def test_async_source_does_not_await_an_iterator_that_has_ended() -> None:
    started = 0

    async def rows() -> AsyncIterator[str]:
        nonlocal started
        started += 1
        yield "a"

    source = open_source(rows())
    pulled = [await source.pull() for _ in range(3)]
    await source.aclose()

    assert pulled == ["a", END, END]
    assert started == 1
