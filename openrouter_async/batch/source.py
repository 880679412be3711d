"""Input rows of a run: from an iterable, a JSON-lines file or stdin, read lazily."""

import asyncio
import os
import stat
import string
import sys
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping
from operator import length_hint
from pathlib import Path
from typing import Any, BinaryIO, Final, Protocol, Self, cast

from ..errors import ConfigurationError, MalformedResponseError
from ..protocol.decode import decode
from ..threads import FILE_THREADS
from ..types import ChatGenerationParams
from .rows.items import BatchItem, InvalidLine, Item

_BLOCK_BYTES: Final = 256 * 1024
# A row may contain base64 images.
_MAX_PIPE_LINE_BYTES: Final = 256 * 1024 * 1024

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
        TypeError: If the items are a string, a single request, or not iterable.
    """
    kind = type(items).__name__
    if isinstance(items, str | bytes | bytearray | Mapping | ChatGenerationParams):
        raise TypeError(
            f"send_many() takes many items, not a single {kind}. Pass a list of "
            "prompts, an iterable of requests, or pathlib.Path('in.jsonl')."
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


class JsonLinesSource:
    """
    The rows in a JSON-lines file or in stdin.

    A file is read in blocks on a thread, up to the size that it has at the first
    `pull`. Lines that are appended later are ignored: when a failures file is the
    input, they are failures of the run itself.

    Attributes:
        total: Number of lines; None before the first `pull`, and for a pipe.
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
            ConfigurationError: If the template is not a valid format string.
        """
        if template is not None:
            _check_template(template)
        self.total: int | None = None
        self._path = path
        self._template = template
        self._limit = limit
        self._reader: _LineReader | None = None
        self._lines: deque[bytes] = deque()
        self._number = 0
        self._returned = 0
        self._lock = asyncio.Lock()

    async def pull(self) -> object:
        """
        Return the next row, or `END`.

        Raises:
            OSError: If the file cannot be read.
        """
        while self._limit is None or self._returned < self._limit:
            while self._lines:
                line = self._lines.popleft()
                self._number += 1
                if line.strip():
                    self._returned += 1
                    return self._parse(line)
            async with self._lock:
                # Another worker may have read the next block during the wait.
                if not self._lines and not await self._read_block():
                    break
        return END

    async def aclose(self) -> None:
        """Close the file."""
        if self._reader is not None:
            self._reader.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Item:
        row = await self.pull()
        if row is END:
            raise StopAsyncIteration
        return cast("Item", row)

    async def _read_block(self) -> bool:
        """Read more lines; return False at the end of the input."""
        if self._reader is None:
            self._reader = await self._open()
        lines = await self._reader.read()
        count = self._reader.count
        if count is not None:
            self.total = count if self._limit is None else min(count, self._limit)
        self._lines.extend(lines)
        return bool(lines)

    async def _open(self) -> "_LineReader":
        if self._path is not None:
            # Opened on the event loop, because a thread that is still opening it
            # when the task is cancelled would leave a file that nobody closes.
            return _FileReader(self._path.open("rb"), close_file=True)
        if stat.S_ISREG(os.fstat(sys.stdin.fileno()).st_mode):
            return _FileReader(sys.stdin.buffer, close_file=False)
        return await _open_pipe(sys.stdin.buffer)

    def _parse(self, line: bytes) -> object:
        try:
            value = decode(line)
        except MalformedResponseError as error:
            return self._invalid(line, f": {error.message}")
        if self._template is None:
            return value
        fields = cast(
            "Mapping[str, Any]", value if isinstance(value, dict) else {"text": value}
        )
        try:
            prompt = self._template.format_map(fields)
        except KeyError as error:
            return self._invalid(line, f" has no field {error}; the template uses it.")
        except (LookupError, ValueError, TypeError, AttributeError) as error:
            return self._invalid(line, f" does not fit the template: {error}.")
        name = fields.get("custom_id")
        body = {"messages": [{"role": "user", "content": prompt}]}
        return BatchItem(name if isinstance(name, str) else None, body)

    def _invalid(self, line: bytes, problem: str) -> InvalidLine:
        name = "stdin" if self._path is None else self._path
        error = ConfigurationError(f"{name}, line {self._number}{problem}")
        return InvalidLine(line.decode("utf-8", "replace").rstrip("\r\n"), error)


def _check_template(template: str) -> None:
    try:
        names = list(_field_names(template))
    except ValueError as error:
        raise ConfigurationError(
            f"Invalid prompt template: {error}. "
            "Write a literal brace twice: '{{' or '}}'."
        ) from error
    for name in names:
        if not name or name[0].isdecimal():
            raise ConfigurationError(
                f"Invalid prompt template: the field {{{name}}} has no name. "
                "Name a field of the rows, such as {text}; write a literal brace "
                "twice: '{{' or '}}'."
            )


def _field_names(template: str) -> Iterator[str]:
    """Yield the names of a template's fields, also of those in their formats."""
    for _, name, form, _ in string.Formatter().parse(template):
        if name is not None:
            yield name
            yield from _field_names(form or "")


class _LineReader(Protocol):
    """Lines of a file or pipe; `count` is their number, None if unknown."""

    count: int | None

    async def read(self) -> list[bytes]:
        """Return the next lines; [] at the end."""
        ...

    def close(self) -> None: ...


class _FileReader:
    def __init__(self, file: BinaryIO, *, close_file: bool) -> None:
        self.count: int | None = None
        self._file = file
        self._close_file = close_file
        self._bytes_left = 0

    async def read(self) -> list[bytes]:
        return await FILE_THREADS.run(self._read)

    def close(self) -> None:
        if self._close_file:
            self._file.close()

    def _read(self) -> list[bytes]:
        if self.count is None:
            self._measure()
        lines = self._file.readlines(_BLOCK_BYTES) if self._bytes_left > 0 else []
        self._bytes_left -= sum(map(len, lines))
        # Drop the lines that begin after the measured size.
        while lines and self._bytes_left + len(lines[-1]) <= 0:
            self._bytes_left += len(lines.pop())
        return lines

    def _measure(self) -> None:
        start = self._file.tell()
        count = 0
        last = b"\n"
        while block := self._file.read(_BLOCK_BYTES):
            count += block.count(b"\n")
            self._bytes_left += len(block)
            last = block[-1:]
        self.count = count + (last != b"\n")
        self._file.seek(start)


class _PipeReader:
    """
    Lines of a pipe, read by the event loop.

    A thread that is blocked in `read` could not be interrupted: Ctrl-C would wait for
    the next line.
    """

    count: int | None = None

    def __init__(
        self, stream: asyncio.StreamReader, transport: asyncio.ReadTransport
    ) -> None:
        self._stream = stream
        self._transport = transport

    async def read(self) -> list[bytes]:
        line = await self._stream.readline()
        return [line] if line else []

    def close(self) -> None:
        self._transport.close()


async def _open_pipe(pipe: BinaryIO) -> _PipeReader:
    stream = asyncio.StreamReader(limit=_MAX_PIPE_LINE_BYTES)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(stream), pipe
    )
    return _PipeReader(stream, transport)
