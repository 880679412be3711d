"""
Lines of an input of any kind: a regular file, a pipe, a terminal, a device.

A regular file is read on a thread, twice: its rows are counted first. Anything else can
be read only once, when the event loop reports that it has data. Opening never blocks
the loop: no signal is handled while it is blocked, so Ctrl-C would have no effect.
"""

import asyncio
import io
import os
import re
import stat
import sys
from pathlib import Path
from typing import BinaryIO, Final, Protocol

from ..errors import ConfigurationError
from ..threads import FILE_THREADS

_BLOCK_BYTES: Final = 256 * 1024
# A row may contain base64 images.
_MAX_LINE_BYTES: Final = 256 * 1024 * 1024
_DESCRIPTOR: Final = re.compile(r"/dev/(?:stdin|fd/(\d+))|/proc/self/fd/(\d+)")


class LineReader(Protocol):
    """
    The lines of an input, with their newlines.

    Attributes:
        count: Number of lines that are not blank; None if it is unknown.
    """

    count: int | None

    async def read(self) -> list[bytes]:
        """Return the next lines; [] at the end."""
        ...

    def close(self) -> None:
        """Release what was opened."""


def open_lines(path: Path | None) -> LineReader:
    """
    Open an input without waiting for its data; None opens stdin.

    stdin, `/dev/stdin` and `/dev/fd/N` continue where the descriptor stands, even if
    another program has read the lines before.

    Raises:
        ConfigurationError: If stdin is closed.
        OSError: If the input cannot be opened.
    """
    if path is None:
        return _open_stdin()
    named = _DESCRIPTOR.fullmatch(str(path))
    if named is not None and os.name == "posix":
        # Linux would open a file anew, at its beginning, and cannot open a socket.
        return _open_descriptor(os.dup(int(named[1] or named[2] or 0)))
    # O_NONBLOCK: opening a FIFO would otherwise block until it has a writer.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)
    return _open_descriptor(os.open(path, flags | getattr(os, "O_BINARY", 0)))


def check_stdin() -> None:
    """
    Check that there is a stdin.

    Raises:
        ConfigurationError: If it is closed.
    """
    if sys.stdin is None or sys.stdin.closed:
        raise ConfigurationError(
            "stdin is closed. Redirect a file or a pipe to it, or pass the path of a "
            "file."
        )


def _open_stdin() -> LineReader:
    check_stdin()
    try:
        descriptor = os.dup(sys.stdin.fileno())
    except io.UnsupportedOperation:
        # A program has replaced sys.stdin by an object in memory.
        return _StreamReader(sys.stdin.buffer, close_stream=False)
    reader = _open_descriptor(descriptor)
    if isinstance(reader, _FileReader):
        # The program itself may have read lines, and Python reads ahead.
        reader.seek(sys.stdin.buffer.tell())
    return reader


def _open_descriptor(descriptor: int) -> LineReader:
    """Return the reader of a descriptor, which it owns from now on."""
    try:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode) and _can_be_polled(descriptor):
            return _PolledReader(descriptor)
        file = os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise
    if stat.S_ISREG(mode):
        return _FileReader(file)
    return _StreamReader(file, close_stream=True)


def _can_be_polled(descriptor: int) -> bool:
    loop = asyncio.get_running_loop()
    try:
        loop.add_reader(descriptor, lambda: None)
    except (NotImplementedError, PermissionError):
        # The event loop of Windows; a device that always has data, such as /dev/null.
        return False
    loop.remove_reader(descriptor)
    return True


class _FileReader:
    """Lines of a regular file, up to the size that it has at the first `read`."""

    def __init__(self, file: BinaryIO) -> None:
        self.count: int | None = None
        self._file = file
        self._bytes_left = 0

    def seek(self, position: int) -> None:
        """Continue at a position of the file."""
        self._file.seek(position)

    async def read(self) -> list[bytes]:
        return await FILE_THREADS.run(self._read)

    def close(self) -> None:
        self._file.close()

    def _read(self) -> list[bytes]:
        if self.count is None:
            self.count = self._measure()
        lines = self._file.readlines(_BLOCK_BYTES) if self._bytes_left > 0 else []
        self._bytes_left -= sum(map(len, lines))
        # Drop the lines that begin after the measured size.
        while lines and self._bytes_left + len(lines[-1]) <= 0:
            self._bytes_left += len(lines.pop())
        return lines

    def _measure(self) -> int:
        start = self._file.tell()
        count = 0
        while lines := self._file.readlines(_BLOCK_BYTES):
            count += len(lines) - sum(map(bytes.isspace, lines))
            self._bytes_left += sum(map(len, lines))
        self._file.seek(start)
        return count


class _StreamReader:
    """Lines of an input that cannot be polled, read on a thread."""

    count: int | None = None

    def __init__(self, stream: BinaryIO, *, close_stream: bool) -> None:
        self._stream = stream
        self._close_stream = close_stream

    async def read(self) -> list[bytes]:
        line = await FILE_THREADS.run(self._stream.readline, _MAX_LINE_BYTES)
        return [line] if line else []

    def close(self) -> None:
        if self._close_stream:
            self._stream.close()


class _PolledReader:
    """
    Lines of a pipe, a terminal or a socket, read when it has data.

    The descriptor stays blocking if it was: other programs share it, such as the shell
    whose terminal this is.
    """

    count: int | None = None

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        # The beginning of a line whose end has not arrived yet.
        self._parts: list[bytes] = []
        self._size = 0

    async def read(self) -> list[bytes]:
        while True:
            await self._wait()
            try:
                data = os.read(self._descriptor, _BLOCK_BYTES)
            except BlockingIOError:
                # Another process has read the data meanwhile.
                continue
            whole, newline, rest = data.rpartition(b"\n")
            if not data:
                line = b"".join(self._parts)
                self._parts.clear()
                return [line] if line else []
            if newline:
                lines = b"".join((*self._parts, whole)).split(b"\n")
                self._parts = [rest] if rest else []
                self._size = len(rest)
                return [line + b"\n" for line in lines]
            self._parts.append(data)
            self._size += len(data)
            if self._size > _MAX_LINE_BYTES:
                raise ConfigurationError(
                    f"A line of the input is longer than {_MAX_LINE_BYTES} bytes. "
                    "Write each row on a line of its own."
                )

    def close(self) -> None:
        os.close(self._descriptor)

    async def _wait(self) -> None:
        loop = asyncio.get_running_loop()
        readable = asyncio.Event()
        loop.add_reader(self._descriptor, readable.set)
        try:
            await readable.wait()
        finally:
            loop.remove_reader(self._descriptor)
