"""A file of JSON lines that only grows, and survives whatever ends the process."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from ..errors import JournalError

_BLOCK: Final = 256 * 1024


class JsonLinesFile:
    """
    Lines that are appended whole; what a crash left of a last one is cut off.

    Blocking: for a thread.

    Attributes:
        path: Where it is.
        size: Bytes, all of them whole lines.
    """

    def __init__(self, path: Path, starts: tuple[bytes, ...]) -> None:
        """
        Open it, or make it.

        Args:
            path: Where it is.
            starts: How a line of ours can begin. A tail that begins otherwise is not
                ours to cut off.

        Raises:
            JournalError: It is no such file.
            OSError: It can not be opened.
        """
        self.path = path
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND
        self._file = os.open(path, flags | getattr(os, "O_BINARY", 0), 0o666)
        try:
            self.size = self._repair(starts)
        except BaseException:
            os.close(self._file)
            raise

    def _repair(self, starts: tuple[bytes, ...]) -> int:
        end = os.lseek(self._file, 0, os.SEEK_END)
        whole = self._last_line_end(end)
        if whole == end:
            return end
        os.lseek(self._file, whole, os.SEEK_SET)
        head = os.read(self._file, 64)
        if not any(head.startswith(s[: len(head)]) for s in starts):
            raise JournalError(
                f"{self.path} ends in the middle of a line that is none of a journal; "
                "it is left as it is."
            )
        os.ftruncate(self._file, whole)
        return whole

    def _last_line_end(self, end: int) -> int:
        """Return the offset behind the last newline; 0 if there is none."""
        while end > 0:
            start = max(0, end - _BLOCK)
            os.lseek(self._file, start, os.SEEK_SET)
            found = os.read(self._file, end - start).rfind(b"\n")
            if found >= 0:
                return start + found + 1
            end = start
        return 0

    def read(self) -> Iterator[bytes]:
        """Read the lines, newlines included."""
        with self.path.open("rb", buffering=_BLOCK) as file:
            yield from file

    def append(self, data: bytes) -> None:
        """
        Hand lines to the operating system: from then on no crash of ours loses them.

        Raises:
            OSError: The disk is full, say; nothing of it stays.
        """
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._file, view) :]
        except OSError:
            os.ftruncate(self._file, self.size)
            raise
        self.size += len(data)

    def sync(self) -> None:
        """Hand them to the disk: from then on no power cut loses them."""
        os.fsync(self._file)

    def close(self) -> None:
        """Close it."""
        os.close(self._file)
