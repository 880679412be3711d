"""Where rows come from: any iterable, plain or async, or a file; pulled lazily."""

import asyncio
import os
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping
from concurrent.futures import Executor
from operator import length_hint
from pathlib import Path
from typing import BinaryIO, Final, Protocol

from ..errors import ConfigurationError, MalformedResponseError
from ..protocol.decode import decode
from ..types import ChatGenerationParams
from .rows.items import Broken, Item

_BLOCK: Final = 256 * 1024


END: Final = object()
"""What a source gives when there are no more rows."""


class Source(Protocol):
    """Gives the rows one after the other."""

    @property
    def total(self) -> int | None:
        """How many there are; None if that is not known."""

    async def pull(self) -> object:
        """Return the next one, as it was given; `END`: there is no more."""

    async def aclose(self) -> None:
        """Let go of it."""


def check_items(items: object) -> None:
    """
    Refuse what looks like rows and is not.

    Raises:
        TypeError: It is a string, a single request, or can not be iterated.
    """
    kind = type(items).__name__
    if isinstance(items, str | bytes | bytearray | Mapping | ChatGenerationParams):
        raise TypeError(
            f"send_many() takes many items, not one {kind}: a list of "
            "prompts, any iterable of requests, or pathlib.Path('in.jsonl')."
        )
    if not isinstance(items, Iterable | AsyncIterable | os.PathLike):
        raise TypeError(f"send_many() takes an iterable or a path, not a {kind}.")


def open_source(
    items: Iterable[Item] | AsyncIterable[Item] | os.PathLike[str], threads: Executor
) -> Source:
    """
    Return the source of some items.

    Args:
        items: They were checked.
        threads: Where files are read.
    """
    if isinstance(items, os.PathLike):
        return _File(Path(items), threads)
    if isinstance(items, AsyncIterable):
        return _Async(items)
    return _Plain(items)


def _total(items: object) -> int | None:
    """Return how many there are, where the items tell."""
    count = length_hint(items, -1)
    return None if count < 0 else count


class _Plain:
    def __init__(self, items: Iterable[Item]) -> None:
        self.total = _total(items)
        self._items: Iterator[object] = iter(items)

    async def pull(self) -> object:
        return next(self._items, END)

    async def aclose(self) -> None:
        """Leave the iterator to its owner."""


class _Async:
    def __init__(self, items: AsyncIterable[Item]) -> None:
        self.total = _total(items)
        self._items: AsyncIterator[object] = aiter(items)
        # A generator can not be asked by two at once.
        self._turn = asyncio.Lock()
        self._over = False

    async def pull(self) -> object:
        async with self._turn:
            if self._over:
                return END
            try:
                return await anext(self._items)
            except StopAsyncIteration:
                self._over = True
                return END

    async def aclose(self) -> None:
        # Only generators have it; what we began is ours to end.
        close = getattr(self._items, "aclose", None)
        if close is not None:
            await close()


class _File:
    """
    JSON lines, read in blocks on a thread, to where the file ended at first.

    What is appended meanwhile is not read: it may be the run's own failures.
    """

    def __init__(self, path: Path, threads: Executor) -> None:
        self._path = path
        self._threads = threads
        self._file: BinaryIO | None = None
        self._lines: deque[bytes] = deque()
        self._rest = b""
        self._left = 0
        self._number = 0
        self._turn = asyncio.Lock()
        self.total: int | None = None

    async def pull(self) -> object:
        while True:
            while self._lines:
                line = self._lines.popleft()
                self._number += 1
                if line.strip():
                    return self._parse(line)
            async with self._turn:
                # Somebody else may have read on meanwhile.
                if not self._lines and not await self._read_on():
                    return END

    async def _read_on(self) -> bool:
        """Read the next block; False: there is no more."""
        loop = asyncio.get_running_loop()
        if self._file is None:
            await loop.run_in_executor(self._threads, self._open)
        if not self._left and not self._rest:
            return False
        block = await loop.run_in_executor(self._threads, self._block)
        lines = (self._rest + block).split(b"\n")
        self._rest = lines.pop() if self._left else b""
        self._lines.extend(lines)
        return True

    def _open(self) -> None:
        file = self._path.open("rb")
        count = 0
        last = b"\n"
        while block := file.read(_BLOCK):
            count += block.count(b"\n")
            self._left += len(block)
            last = block[-1:]
        self.total = count + (last != b"\n")
        file.seek(0)
        self._file = file

    def _block(self) -> bytes:
        assert self._file is not None  # noqa: S101
        block = self._file.read(min(_BLOCK, self._left))
        self._left -= len(block)
        if not block:
            # It was cut off while we read it.
            self._left = 0
        return block

    def _parse(self, line: bytes) -> object:
        try:
            return decode(line)
        except MalformedResponseError as error:
            where = f"{self._path.name}, line {self._number}"
            fault = ConfigurationError(f"{where}: {error.message}")
            return Broken(line.decode("utf-8", "replace"), fault)

    async def aclose(self) -> None:
        if self._file is not None:
            self._file.close()
