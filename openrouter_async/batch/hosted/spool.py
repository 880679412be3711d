"""Spool files: the submission of a batch on the disk, one row per line."""

import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from ...errors import JournalError
from ...protocol.decode import as_object, decode
from .plan import CHAT_ENDPOINT, BatchGroup, submission_head

_BUFFER_BYTES: Final = 256 * 1024
_END: Final = b"\n]}"


class SpoolWriter:
    """
    Writes a submission row by row, so that no batch is in memory as a whole.

    Attributes:
        path: The file.
        size: Bytes written so far.
        count: Rows written so far.
    """

    def __init__(self, path: Path, group: BatchGroup, callback_url: str | None) -> None:
        """
        Create the file and write what precedes the rows.

        Raises:
            JournalError: If the file cannot be written, as do `add` and `finish`.
        """
        self.path = path
        with _checked(path):
            self._file = path.open("wb", buffering=_BUFFER_BYTES)
        head = submission_head(
            CHAT_ENDPOINT,
            group.model,
            callback_url=callback_url,
            provider=group.provider,
        )
        self._write(head)
        self.size = len(head) + len(_END)
        self.count = 0

    def add(self, line: bytes) -> None:
        """Write a row."""
        self._write(b",\n" + line if self.count else line)
        self.size += len(line) + 2
        self.count += 1

    def finish(self) -> None:
        """Complete the file, and flush it to the disk."""
        self._write(_END)
        with _checked(self.path):
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()

    def discard(self) -> None:
        """Close and delete the file."""
        # It writes what it has buffered, which fails again on a full disk.
        with suppress(OSError):
            self._file.close()
        self.path.unlink(missing_ok=True)

    def _write(self, data: bytes) -> None:
        with _checked(self.path):
            self._file.write(data)


@contextmanager
def _checked(path: Path) -> Generator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise JournalError(
            f"{path}, the next submission, cannot be written: {reason}."
        ) from error


def read_spool(path: Path) -> Iterator[bytes]:
    """Yield the rows of a submission, as JSON; nothing if the file is gone."""
    if not path.exists():
        return
    with path.open("rb", buffering=_BUFFER_BYTES) as file:
        next(file)
        for line in file:
            row = line.rstrip(b",\n")
            if row != b"]}":
                yield row


def replace_head(path: Path, group: BatchGroup, callback_url: str | None) -> None:
    """Write a submission again, for another form of the model's slug."""
    other = SpoolWriter(path.with_name(path.name + ".tmp"), group, callback_url)
    for row in read_spool(path):
        other.add(row)
    other.finish()
    other.path.replace(path)


def name_in(row: bytes) -> str:
    """Return the `custom_id` of a line of a submission: the name of its row."""
    return str(as_object(decode(row)).get("custom_id"))


def request_in(row: bytes, group: BatchGroup) -> dict[str, Any]:
    """Return the whole request of a row, as a call would send it."""
    body: dict[str, Any] = {
        "model": group.model,
        **as_object(decode(row)).get("body", {}),
    }
    if group.provider is not None:
        body["provider"] = decode(group.provider)
    return body
