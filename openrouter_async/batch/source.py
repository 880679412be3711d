"""Input rows of a run: from an iterable, a JSON-lines file or stdin, read lazily."""

import asyncio
import os
import shlex
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping
from operator import length_hint
from pathlib import Path
from typing import Any, Final, Protocol, Self, cast

from attrs import frozen

from ..errors import ConfigurationError, MalformedResponseError
from ..protocol.decode import decode_finite
from ..protocol.encode import encode
from ..types import ChatGenerationParams
from .line_readers import LineReader, open_lines
from .rows.formats import foreign_format
from .rows.items import InvalidLine, Item, is_conversation
from .rows.template import InvalidFieldsError, PromptTemplate

# An array is decoded as a whole, which takes several times its size.
_MAX_ARRAY_BYTES: Final = 1024 * 1024 * 1024

END: Final = object()
"""Returned by `Source.pull` when there are no more rows."""


class Source(Protocol):
    """The input rows of a run, one after the other."""

    @property
    def total(self) -> int | None:
        """Number of rows; None as long as it is unknown."""

    async def pull(self) -> object:
        """Return the next row as it was given, or `END`."""

    async def aclose(self) -> None:
        """Release what the source opened."""


def check_items(items: object) -> None:
    """
    Check the type of the items before a run starts.

    Raises:
        TypeError: If the items are a string, a single request, a table, or not
            iterable.
    """
    kind = type(items).__name__
    if isinstance(items, str | bytes | bytearray | Mapping | ChatGenerationParams):
        raise TypeError(
            f"send_many() takes many items, not a single {kind}. Pass a list of "
            "prompts, an iterable of requests, or pathlib.Path('in.jsonl')."
        )
    columns = getattr(items, "columns", None)
    if hasattr(items, "itertuples") or not (columns is None or callable(columns)):
        raise TypeError(
            f"send_many() cannot take a {kind}: iterating over a table gives its "
            "columns, not its rows. Pass one column, such as table['text'], or a "
            "request for each row."
        )
    if not isinstance(items, Iterable | AsyncIterable | os.PathLike):
        raise TypeError(f"send_many() takes an iterable or a path, not a {kind}.")


def open_source(
    items: Iterable[Item] | AsyncIterable[Item] | os.PathLike[str],
) -> Source:
    """Return the source that reads some items; `check_items` has accepted them."""
    if isinstance(items, JsonLinesSource):
        return items
    if isinstance(items, os.PathLike):
        return JsonLinesSource(Path(items))
    if isinstance(items, AsyncIterable):
        return _AsyncSource(items)
    return _IterableSource(items)


def _length(items: object) -> int | None:
    length = length_hint(items, -1)
    return None if length < 0 else length


class _IterableSource:
    def __init__(self, items: Iterable[Item]) -> None:
        self.total = _length(items)
        self._iterator: Iterator[object] = iter(items)

    async def pull(self) -> object:
        return next(self._iterator, END)

    async def aclose(self) -> None:
        """Leave the iterator to the caller, who may read on from it."""


class _AsyncSource:
    def __init__(self, items: AsyncIterable[Item]) -> None:
        self.total = _length(items)
        self._iterator: AsyncIterator[object] = aiter(items)
        # An async generator raises RuntimeError if two workers await it at once.
        self._lock = asyncio.Lock()
        self._ended = False

    async def pull(self) -> object:
        async with self._lock:
            if self._ended:
                return END
            try:
                return await anext(self._iterator)
            except StopAsyncIteration:
                self._ended = True
                return END

    async def aclose(self) -> None:
        # Only generators have `aclose`. One that was started must be closed: its
        # `finally` blocks would otherwise run whenever it is garbage collected.
        close = getattr(self._iterator, "aclose", None)
        if close is not None:
            await close()


@frozen
class _Member:
    """A member of an array of rows, and its number from 1."""

    number: int
    value: Any


class JsonLinesSource:
    """
    The rows in a JSON-lines file, in a pipe, or in stdin.

    A regular file is read up to the size that it has at the first `pull`. Lines that
    are appended later are ignored: when a failures file is the input, they are failures
    of the run itself. Anything else is read once, as its data arrives.

    An input that begins with a JSON array of rows is read as these rows.

    Attributes:
        total: Number of rows; None before the first `pull`, and for a pipe.
    """

    def __init__(
        self,
        path: Path | None,
        *,
        template: str | None = None,
        limit: int | None = None,
    ) -> None:
        """
        Create the source; nothing is opened yet.

        Args:
            path: The file; None reads stdin.
            template: A format string that becomes the prompt of each row, with the
                fields of the line filled in. None: each line is a row itself.
            limit: Number of rows after which the source ends. None: no limit.

        Raises:
            ConfigurationError: If the template is not valid.
        """
        self.total: int | None = None
        self._path = path
        self._template = None if template is None else PromptTemplate(template)
        self._limit = limit
        self._reader: LineReader | None = None
        # Lines, and the members of an array that were decoded with it.
        self._rows: deque[bytes | _Member] = deque()
        self._number = 0
        self._returned = 0
        self._has_begun = False
        self._lock = asyncio.Lock()

    async def pull(self) -> object:
        """
        Return the next row, or `END`.

        Raises:
            ConfigurationError: If the input has another format, or stdin is closed.
            OSError: If the input cannot be read.
        """
        while self._limit is None or self._returned < self._limit:
            while self._rows:
                row = self._rows.popleft()
                if isinstance(row, _Member):
                    self._returned += 1
                    return self._member(row)
                self._number += 1
                if not row.isspace():
                    self._returned += 1
                    return self._parse(row)
            async with self._lock:
                # Another worker may have read the next block during the wait.
                if not self._rows and not await self._read_block():
                    break
        return END

    async def aclose(self) -> None:
        """Close the input."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None
            self._limit = 0

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Item:
        row = await self.pull()
        if row is END:
            raise StopAsyncIteration
        return cast("Item", row)

    @property
    def _name(self) -> str:
        return "stdin" if self._path is None else str(self._path)

    async def _read_block(self) -> bool:
        """Read more rows; return False at the end of the input."""
        reader = self._reader
        if reader is None:
            reader = self._reader = open_lines(self._path)
        lines = await reader.read()
        total = reader.count
        self._rows.extend(lines)
        if not self._has_begun:
            first = next((line for line in lines if not line.isspace()), None)
            if first is not None:
                self._has_begun = True
                total = await self._begin(reader, first)
        elif isinstance(self.total, int):
            total = self.total
        if total is not None:
            self.total = total if self._limit is None else min(total, self._limit)
        return bool(lines)

    async def _begin(self, reader: LineReader, first: bytes) -> int | None:
        """
        Check the format of the input, and expand an array of rows.

        Args:
            reader: The input.
            first: The first line that is not blank.

        Returns:
            The number of rows; None if unknown.
        """
        found = foreign_format(first)
        if found is not None and not _is_json(first):
            name, command = found
            source = shlex.quote("FILE" if self._path is None else str(self._path))
            raise ConfigurationError(
                f"{self._name} is not a file of JSON lines; its format is {name}. "
                f"Convert it first: {command.format(source)}"
            )
        text = first.removeprefix(b"\xef\xbb\xbf").strip()
        if not text.startswith(b"["):
            return reader.count
        if text.endswith((b"[", b",", b"{")):
            return await self._read_array(reader)
        try:
            value = decode_finite(first)
        except MalformedResponseError:
            return reader.count
        if self._template is None and is_conversation(value):
            return reader.count
        while self._rows[0] is not first:
            self._rows.popleft()
            self._number += 1
        self._rows.popleft()
        self._number += 1
        self._put_members(value)
        return None if reader.count is None else reader.count - 1 + len(value)

    async def _read_array(self, reader: LineReader) -> int:
        """Read an array of rows that is written on several lines, to its end."""
        lines = [row for row in self._rows if isinstance(row, bytes)]
        size = sum(map(len, lines))
        while block := await reader.read():
            lines += block
            size += sum(map(len, block))
            if size > _MAX_ARRAY_BYTES:
                raise ConfigurationError(
                    f"{self._name} is a JSON array of more than {_MAX_ARRAY_BYTES} "
                    "bytes. Write one row on each line: jq -c '.[]'"
                )
        self._rows.clear()
        data = b"".join(lines)
        problem = _utf8_problem(data)
        if problem is not None:
            raise ConfigurationError(f"{self._name}{problem}")
        try:
            value = decode_finite(data)
        except MalformedResponseError as error:
            raise ConfigurationError(
                f"{self._name} begins like a JSON array of rows, but is not one: "
                f"{error.message}"
            ) from None
        if self._template is None and is_conversation(value):
            value = [value]
        self._put_members(value)
        return len(value)

    def _put_members(self, members: list[Any]) -> None:
        self._rows.extendleft(
            _Member(number, value)
            for number, value in reversed(list(enumerate(members, 1)))
        )

    def _parse(self, line: bytes) -> object:
        problem = _utf8_problem(line)
        if problem is not None:
            return self._invalid(line, problem)
        template = self._template
        if template is not None:
            return self._fill(template, line)
        try:
            return decode_finite(line)
        except MalformedResponseError as error:
            return self._invalid(line, f": {error.message}")

    def _member(self, member: _Member) -> object:
        if self._template is None:
            return member.value
        return self._fill(self._template, encode(member.value), member.number)

    def _fill(
        self, template: PromptTemplate, line: bytes, member: int | None = None
    ) -> object:
        try:
            return template.item(line)
        except InvalidFieldsError as error:
            return self._invalid(line, str(error), member, error.custom_id)

    def _invalid(
        self,
        line: bytes,
        problem: str,
        member: int | None = None,
        custom_id: str | None = None,
    ) -> InvalidLine:
        at = f"line {self._number}" if member is None else f"row {member} of the array"
        error = ConfigurationError(f"{self._name}, {at}{problem}")
        text = line.decode("utf-8", "replace").rstrip("\r\n")
        return InvalidLine(text, error, custom_id)


def _is_json(line: bytes) -> bool:
    try:
        decode_finite(line)
    except MalformedResponseError:
        return False
    return True


def _utf8_problem(line: bytes) -> str | None:
    """
    Return the reason why a line is not UTF-8; None if it is.

    Responses are decoded leniently, because they were paid for. A row would be sent
    with other characters than the file has.
    """
    if line.isascii():
        return None
    try:
        line.decode()
    except UnicodeDecodeError as error:
        byte = line[error.start]
        return (
            f" is not valid UTF-8: byte 0x{byte:02x} at position {error.start}. "
            "Convert the file to UTF-8, such as with iconv."
        )
    return None
