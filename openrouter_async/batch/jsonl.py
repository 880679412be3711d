"""An append-only file of JSON lines that survives a crash at any moment."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from ..errors import JournalError, MalformedResponseError
from ..protocol.decode import decode

_BLOCK_BYTES: Final = 256 * 1024
# Most lines are shorter.
_LINE_BYTES: Final = 4096


def is_json_object(line: bytes) -> bool:
    """Return True if a line is a JSON object, and so was not cut short."""
    try:
        return isinstance(decode(line), dict)
    except MalformedResponseError:
        return False


class JsonLinesFile:
    """
    A file to which whole lines are appended.

    All methods block, so they run on a thread.

    Attributes:
        path: The path of the file.
        size: Length in bytes of its whole lines.
    """

    def __init__(
        self,
        path: Path,
        starts: tuple[bytes, ...],
        is_line: Callable[[bytes], bool] = is_json_object,
    ) -> None:
        """
        Open or create the file, and truncate a last line that a crash cut short.

        A last line that is complete except for its newline, which editors remove, gets
        its newline.

        Args:
            path: The path of the file.
            starts: The possible beginnings of a line. An incomplete last line that
                begins otherwise was not written by this class, and is left alone.
            is_line: Returns True if a line without a newline is complete.

        Raises:
            JournalError: If the last line is incomplete and begins otherwise.
            OSError: If the file cannot be opened.
        """
        self.path = path
        self._has_unsynced = False
        # O_APPEND: a write goes to the end even if the file was truncated meanwhile.
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND
        self._file = os.open(path, flags | getattr(os, "O_BINARY", 0), 0o666)
        try:
            self.size = self._repair(starts, is_line)
        except BaseException:
            os.close(self._file)
            raise

    def _repair(
        self, starts: tuple[bytes, ...], is_line: Callable[[bytes], bool]
    ) -> int:
        end = os.lseek(self._file, 0, os.SEEK_END)
        size = self._last_line_end(end)
        if size == end:
            return end
        os.lseek(self._file, size, os.SEEK_SET)
        with open(self._file, "rb", closefd=False) as file:
            tail = file.read(end - size)
        if not tail.strip() or is_line(tail):
            os.write(self._file, b"\n")
            return end + 1
        head = tail[:64]
        if not any(head.startswith(s[: len(head)]) for s in starts):
            raise JournalError(
                f"{self.path} ends with an incomplete line that was not written by a "
                "run. The file was not changed.",
                hint="Check the path, or complete the last line of the file.",
            )
        os.ftruncate(self._file, size)
        return size

    def _last_line_end(self, end: int) -> int:
        """Return the offset after the last newline; 0 if there is none."""
        while end > 0:
            start = max(0, end - _BLOCK_BYTES)
            os.lseek(self._file, start, os.SEEK_SET)
            found = os.read(self._file, end - start).rfind(b"\n")
            if found >= 0:
                return start + found + 1
            end = start
        return 0

    def read(self) -> Iterator[bytes]:
        """Read the lines with their newlines; this needs no further descriptor."""
        os.lseek(self._file, 0, os.SEEK_SET)
        with open(self._file, "rb", _BLOCK_BYTES, closefd=False) as file:
            yield from file

    def line_at(self, offset: int) -> bytes:
        """Return the line that begins at an offset, with its newline."""
        line = b""
        while not line.endswith(b"\n"):
            os.lseek(self._file, offset + len(line), os.SEEK_SET)
            block = os.read(self._file, _LINE_BYTES)
            if not block:
                break
            end = block.find(b"\n") + 1
            line += block[:end] if end else block
        return line

    def append(self, data: bytes) -> None:
        """
        Pass whole lines to the operating system, which keeps them if this process dies.

        Raises:
            OSError: If they cannot be written, such as on a full disk. The file then
                ends where it ended before.
        """
        view = memoryview(data)
        self._has_unsynced = True
        try:
            while view:
                # `os.write` may write only a part.
                view = view[os.write(self._file, view) :]
        except OSError:
            os.ftruncate(self._file, self.size)
            raise
        self.size += len(data)

    def sync(self) -> None:
        """Flush new lines to the disk, where they survive a power cut."""
        if self._has_unsynced:
            # Cleared first, so that a write during the flush sets it again.
            self._has_unsynced = False
            os.fsync(self._file)

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)
