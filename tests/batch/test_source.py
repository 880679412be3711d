"""Input rows from iterables, JSON-lines files and stdin."""

# pyright: reportPrivateUsage=false

import bz2
import gzip
import json
import lzma
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from openrouter_async import BatchItem, ConfigurationError
from openrouter_async.batch.rows.items import InvalidLine
from openrouter_async.batch.source import (
    END,
    JsonLinesSource,
    Source,
    _is_json,
    check_items,
    open_source,
)

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
    assert "line 4 has no value in the field 'text'" in str(fourth.error)


@pytest.mark.parametrize(
    ("template", "message"),
    [("{", "brace twice"), ("{}", "has no name"), ("a {0} b", "has no name")],
)
def test_invalid_template_is_rejected_at_once(
    path: Path, template: str, message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        JsonLinesSource(path, template=template)


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


# --- values of a template -----------------------------------------------------------


@pytest.mark.parametrize("value", ["null", "NaN", "-Infinity", "1e999"])
async def test_template_field_without_a_value_fails_the_row_with_its_name(
    path: Path, value: str
) -> None:
    path.write_text(f'{{"custom_id": 12, "row": {{"city": {value}}}}}\n')
    source = JsonLinesSource(path, template="In {row[city]}")
    (row,) = await pull_all(source)
    await source.aclose()

    assert isinstance(row, InvalidLine)
    assert "line 1 has no value in the field 'row[city]'" in str(row.error)
    assert row.custom_id == "12"


async def test_template_field_that_is_not_used_may_have_no_value(path: Path) -> None:
    path.write_text(
        '{"a": 0, "b": false, "c": "", "d": 18446744073709551617, "custom_id": NaN, '
        '"x": NaN}\n'
    )
    source = JsonLinesSource(path, template="{a}|{b}|{c}|{d}")
    (row,) = await pull_all(source)
    await source.aclose()

    content = "0|False||18446744073709551617"
    assert row == BatchItem(None, {"messages": [{"role": "user", "content": content}]})


@pytest.mark.parametrize(
    ("value", "name"),
    [("7", "7"), ("1.5", "1.5"), ("true", "true"), ('["é"]', '["é"]')],
)
async def test_custom_id_of_a_template_row_may_have_any_type(
    path: Path, value: str, name: str
) -> None:
    path.write_text(f'{{"custom_id": {value}, "text": "x"}}\n')
    source = JsonLinesSource(path, template="{text}")
    (row,) = await pull_all(source)
    await source.aclose()

    assert row.custom_id == name


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"text": ', "Invalid JSON: Expecting value"),
        ('{"text": ' + "9" * 5000 + "}", "Invalid JSON: "),
        ('{"text": ' + "[" * 100_000, "Invalid JSON: "),
        ('{"text": [1]}', "does not fit the template"),
    ],
    ids=["cut", "digits", "nested", "format"],
)
async def test_line_that_does_not_fit_a_template_fails(
    path: Path, line: str, message: str
) -> None:
    path.write_text(line + '\n{"text": "fine"}\n')
    source = JsonLinesSource(path, template="{text:>5}")
    bad, good = await pull_all(source)
    await source.aclose()

    assert message in str(bad.error)
    assert isinstance(good, BatchItem)


# --- formats ------------------------------------------------------------------------


async def test_line_that_is_not_utf8_fails_with_its_number(path: Path) -> None:
    lines = ['"plain"', '"naïve"', '"\ufffd"', '"Ж"']
    path.write_bytes("\n".join(lines).encode("utf-8").replace(b"\xc3\xaf", b"\xef"))
    source = JsonLinesSource(path)
    rows = await pull_all(source)
    await source.aclose()

    assert [rows[0], *rows[2:]] == ["plain", "\ufffd", "Ж"]
    assert "line 2 is not valid UTF-8: byte 0xef at position 3" in str(rows[1].error)


@pytest.mark.parametrize(
    ("content", "name", "command"),
    [
        (gzip.compress(b'"a"\n', mtime=0), "gzip", "gunzip -c"),
        (b"\x28\xb5\x2f\xfd\x24\x03", "zstd", "zstd -d"),
        (bz2.compress(b'"a"\n'), "bzip2", "bunzip2"),
        (lzma.compress(b'"a"\n'), "xz", "xz -d"),
        (b"PK\x03\x04\x14", "ZIP", "unzip -p"),
        (b"PAR1\x15\x04", "Parquet", "read_parquet"),
        ('{"a": 1}\n'.encode("utf-16"), "UTF-16", "-f UTF-16 -t"),
        ('\ufeff{"a": 1}\n'.encode("utf-16-be"), "UTF-16", "-f UTF-16 -t"),
        ('{"a": 1}\n'.encode("utf-16-le"), "UTF-16", "-f UTF-16LE"),
        ('{"a": 1}\n'.encode("utf-16-be"), "UTF-16", "-f UTF-16BE"),
        ('{"a": 1}\n'.encode("utf-32"), "UTF-32", "-f UTF-32"),
        (b"id,text\n1,Hello\n", "CSV", "csv.DictReader"),
        (b'\xef\xbb\xbf"id";"the text"\n', "CSV", "csv.DictReader"),
        (b"\nid\ttext\n", "CSV", "csv.DictReader"),
        (b'{\n  "messages": []\n}\n', "indented JSON", "jq -c"),
    ],
    ids=[
        "gzip",
        "zstd",
        "bzip2",
        "xz",
        "zip",
        "parquet",
        "utf-16",
        "utf-16-be with a mark",
        "utf-16-le",
        "utf-16-be",
        "utf-32",
        "csv with commas",
        "csv with semicolons",
        "csv with tabs",
        "indented",
    ],
)
async def test_other_format_is_refused_with_the_command_that_converts_it(
    path: Path, content: bytes, name: str, command: str
) -> None:
    path.write_bytes(content)
    source = JsonLinesSource(path)

    with pytest.raises(ConfigurationError) as caught:
        await source.pull()
    await source.aclose()

    assert f"its format is {name}" in str(caught.value)
    assert command in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("text", ["nope", "hello", '"a, b"', "{", '{"a":'])
async def test_first_line_that_is_cut_is_a_row_that_fails_alone(
    path: Path, text: str
) -> None:
    path.write_text(f'{text} \n"fine"\n' if text != "{" else '{"\n"fine"\n')
    source = JsonLinesSource(path)
    first, second = await pull_all(source)
    await source.aclose()

    assert isinstance(first, InvalidLine) or first == "a, b"
    assert second == "fine"


ROWS: list[Any] = [
    {"custom_id": "p", "messages": []},
    "two",
    {"body": {"messages": []}},
]


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("before", ["", "\ufeff", "\n \n"], ids=ascii)
async def test_array_is_read_as_its_rows(
    path: Path, indent: int | None, before: str
) -> None:
    path.write_text(before + json.dumps(ROWS, indent=indent) + "\n", encoding="utf-8")
    source = JsonLinesSource(path, limit=9)
    rows = await pull_all(source)
    await source.aclose()

    assert rows == ROWS
    assert source.total == 3


async def test_array_of_several_blocks_is_read(path: Path) -> None:
    path.write_text("[\n" + LINE.replace("\n", ",\n") * 600 + "[]]")
    source = JsonLinesSource(path)
    rows = await pull_all(source)
    await source.aclose()

    assert len(rows) == source.total == 601


async def test_empty_array_has_no_rows(path: Path) -> None:
    path.write_text("[]\n")
    source = JsonLinesSource(path)

    assert await pull_all(source) == []
    assert source.total == 0
    await source.aclose()


async def test_array_of_objects_fills_a_template(path: Path) -> None:
    path.write_text('[{"role": "cook", "text": "a"}, {"text": null}]')
    source = JsonLinesSource(path, template="{text}")
    first, second = await pull_all(source)
    await source.aclose()

    assert first.body == {"messages": [{"role": "user", "content": "a"}]}
    assert "row 2 of the array has no value in the field 'text'" in str(second.error)


@pytest.mark.parametrize("indent", [None, 1])
async def test_conversation_is_one_row(path: Path, indent: int | None) -> None:
    talk = [{"role": "user", "content": "hi"}]
    path.write_text(json.dumps(talk, indent=indent) + "\n" + '"next"\n' * (not indent))
    source = JsonLinesSource(path)
    rows = await pull_all(source)
    await source.aclose()

    assert rows == [talk, *["next"] * (not indent)]


async def test_array_that_is_cut_is_refused(path: Path) -> None:
    path.write_text('[\n"a",\n"b"\n')
    source = JsonLinesSource(path)
    with pytest.raises(ConfigurationError, match="begins like a JSON array"):
        await source.pull()
    await source.aclose()


async def test_array_that_is_not_utf8_is_refused(path: Path) -> None:
    path.write_bytes(b'[\n"a",\n"caf\xe9"]\n')
    source = JsonLinesSource(path)
    with pytest.raises(ConfigurationError, match="not valid UTF-8"):
        await source.pull()
    await source.aclose()


async def test_array_beyond_the_limit_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("openrouter_async.batch.source._MAX_ARRAY_BYTES", 300_000)
    path.write_text("[\n" + LINE.replace("\n", ",\n") * 400 + "1]")
    source = JsonLinesSource(path)
    with pytest.raises(ConfigurationError, match="jq -c"):
        await source.pull()
    await source.aclose()


async def test_line_that_begins_an_array_and_is_cut_fails_alone(path: Path) -> None:
    path.write_text('[{"role": "user", "cont\n"fine"\n')
    source = JsonLinesSource(path)
    first, second = await pull_all(source)
    await source.aclose()

    assert isinstance(first, InvalidLine)
    assert second == "fine"


async def test_blank_lines_are_not_counted(path: Path) -> None:
    path.write_text("\n1\n  \n2\n\n\n")
    source = JsonLinesSource(path)

    assert await pull_all(source) == [1, 2]
    assert source.total == 2
    await source.aclose()


# --- tables -------------------------------------------------------------------------


class Frame:
    """The parts of a table that matter here."""

    def __iter__(self) -> Iterator[str]:
        return iter(["id", "text"])


class PandasLike(Frame):
    """Rows are named tuples."""

    def itertuples(self) -> Iterator[tuple[str, str]]:
        return iter([("1", "a")])


class PolarsLike(Frame):
    """Columns are an attribute."""

    columns = ("id", "text")


class NotATable(Frame):
    """Columns are a method, as in the results of SQLAlchemy."""

    def columns(self) -> None:
        """Select columns."""


@pytest.mark.parametrize(
    "table", [PandasLike(), PolarsLike()], ids=["pandas", "polars"]
)
def test_table_is_refused(table: Any) -> None:
    with pytest.raises(TypeError, match="Pass one column"):
        check_items(table)


def test_object_with_a_columns_method_is_accepted() -> None:
    check_items(NotATable())


def test_line_is_json_or_not() -> None:
    assert _is_json(b'"a", "b"') is False
    assert _is_json(b'["a", "b"]') is True
