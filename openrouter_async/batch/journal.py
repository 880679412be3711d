"""
The journal of a run: its output file, from which an interrupted run is resumed.

`out.jsonl` has one line for each row that succeeded. `out.errors.jsonl` has the rows
that failed, as items that can be sent again. A line is passed to the operating system
before the caller sees its result, so `kill -9` loses no result. Lines are flushed to
the disk within a second; a power cut loses later ones.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ..errors import JournalError, MalformedResponseError
from ..extras import require
from ..protocol.decode import as_object, decode
from .jsonl import JsonLinesFile
from .rows.hash_index import HashMap64, HashSet64
from .rows.items import EXTENSION_KEY, name_key
from .rows.results import BatchResult, is_journal_line

if TYPE_CHECKING:
    from filelock import BaseFileLock

_ROW_STARTS: Final = (b'{"id":',)
_FAILURE_STARTS: Final = (b'{"custom_id":',)


def errors_path(path: Path) -> Path:
    """Return the path of a journal's failures file: `out.errors.jsonl`."""
    return path.with_name(path.name.removesuffix(".jsonl") + ".errors.jsonl")


def read_journal(path: str | os.PathLike[str]) -> Iterator[BatchResult]:
    """
    Read the results in a journal, from all runs, oldest first.

    Raises:
        JournalError: If the file is not a journal.
        OSError: If the file cannot be read.
    """
    with Path(path).open("rb") as file:
        for line in _journal_lines(Path(path), file):
            yield BatchResult.from_line(line)


class Journal:
    """
    The journal of one run.

    `open`, `write`, `sync` and `close` block, so the same thread calls them all.

    Attributes:
        path: The path of the output file.
        done: Rows that succeeded in earlier runs: the fingerprints of their requests,
            by the hash of the row's name.
        spent: Cost of these rows in US dollars.
        has_unsynced: True if written lines were not flushed to the disk yet.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.done = HashMap64()
        self.spent = 0.0
        self.has_unsynced = False
        self._is_cancelled = False
        # Hashes of the names of rows that failed in earlier runs, and of those among
        # them that have succeeded in this run.
        self._failed = HashSet64()
        self._recovered = HashSet64()
        self._lock: BaseFileLock | None = None
        self._rows: JsonLinesFile | None = None
        self._failures: JsonLinesFile | None = None

    def open(self) -> None:
        """
        Lock the journal, truncate incomplete lines, and read the rows that are done.

        Raises:
            JournalError: If it is in use, is not a journal, or cannot be opened.
            ConfigurationError: If filelock is not installed.
        """
        filelock = require("filelock", "batch", "journal=")
        lock = filelock.FileLock(f"{self.path}.lock")
        if not self.path.parent.is_dir():
            # filelock would create the missing directories.
            raise JournalError(
                f"The directory {self.path.parent} does not exist.",
                hint="Create it, or correct journal=.",
            )
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            raise JournalError(
                f"{self.path} is in use by another run.",
                hint="Wait until it has ended, or use another journal.",
            ) from None
        except OSError as error:
            raise _journal_error(self.path, error) from error
        self._lock = lock
        try:
            self._rows = JsonLinesFile(self.path, _ROW_STARTS)
            if errors_path(self.path).exists():
                for line in self._open_failures().read():
                    self._failed.add(_row_key(line))
            self._read_done(self._rows)
        except OSError as error:
            self._release()
            raise _journal_error(self.path, error) from error
        except BaseException:
            self._release()
            raise

    def cancel_open(self) -> None:
        """Make an `open` that is running on the thread return early."""
        self._is_cancelled = True

    def failed_before(self, key: int) -> bool:
        """Return True if a row failed in an earlier run; `key` hashes its name."""
        return key in self._failed

    def mark_succeeded(self, key: int) -> None:
        """Record that a row has succeeded; `key` is the hash of its name."""
        if key in self._failed:
            self._recovered.add(key)

    def write(self, rows: bytes, failures: bytes) -> None:
        """
        Pass lines to the operating system.

        Args:
            rows: Lines of rows that succeeded.
            failures: Lines of rows that failed.

        Raises:
            JournalError: If they cannot be written.
        """
        assert self._rows is not None
        try:
            if rows:
                self._rows.append(rows)
            if failures:
                (self._failures or self._open_failures()).append(failures)
        except OSError as error:
            raise _journal_error(self.path, error) from error
        finally:
            self.has_unsynced = True

    def sync(self) -> None:
        """
        Flush written lines to the disk.

        Raises:
            JournalError: If they cannot be flushed.
        """
        # Cleared first, so that a write during the flush sets it again.
        self.has_unsynced = False
        try:
            for file in (self._rows, self._failures):
                if file is not None:
                    file.sync()
        except OSError as error:
            raise _journal_error(self.path, error) from error

    def close(self) -> None:
        """
        Flush to the disk, compact the failures file, and release files and lock.

        Raises:
            JournalError: If the files cannot be written.
        """
        if self._lock is None:
            return
        try:
            self.sync()
            if self._failures is not None:
                self._compact(self._failures)
        except OSError as error:
            raise _journal_error(self.path, error) from error
        finally:
            self._release()

    def _open_failures(self) -> JsonLinesFile:
        self._failures = JsonLinesFile(errors_path(self.path), _FAILURE_STARTS)
        return self._failures

    def _read_done(self, rows: JsonLinesFile) -> None:
        for line in _journal_lines(rows.path, rows.read()):
            if self._is_cancelled:
                return
            extension = line[EXTENSION_KEY]
            key = name_key(line["custom_id"])
            # Files that were concatenated may have a row twice; it was paid once.
            if key not in self.done:
                self.done.put(key, int(extension["fp"], 16))
                self.spent += extension.get("cost") or 0.0

    def _compact(self, failures: JsonLinesFile) -> None:
        """Keep the last line of each row that has not succeeded since."""
        last = HashMap64()
        for number, line in enumerate(failures.read()):
            last.put(_row_key(line), number)
        # The lock protects this path too. A crash may have left an older file there.
        compacted = failures.path.with_name(failures.path.name + ".tmp")
        try:
            kept = 0
            with compacted.open("wb") as file:
                for number, line in enumerate(failures.read()):
                    key = _row_key(line)
                    succeeded = key in self._recovered or key in self.done
                    if last.get(key) == number and not succeeded:
                        kept += 1
                        file.write(line)
                file.flush()
                os.fsync(file.fileno())
            # Windows does not replace an open file.
            failures.close()
            self._failures = None
            if kept:
                compacted.replace(failures.path)
            else:
                failures.path.unlink()
        finally:
            compacted.unlink(missing_ok=True)

    def _release(self) -> None:
        for file in (self._rows, self._failures):
            if file is not None:
                file.close()
        self._rows = self._failures = None
        assert self._lock is not None
        self._lock.release()
        self._lock = None


def _journal_lines(path: Path, lines: Iterator[bytes]) -> Iterator[Mapping[str, Any]]:
    for number, line in enumerate(lines, 1):
        if not line.endswith(b"\n"):
            # Incomplete: a run is writing it, or a crash has cut it short.
            return
        entry = _object(line)
        if not is_journal_line(entry):
            raise JournalError(
                f"{path} is not a journal: line {number} was not written by a run.",
                hint="Check the path, or remove the line.",
            )
        yield entry


def _object(line: bytes) -> Mapping[str, Any]:
    try:
        return as_object(decode(line))
    except MalformedResponseError:
        return {}


def _row_key(line: bytes) -> int:
    """
    Return the hash of the row's name in a line of the failures file.

    A line that is not a failure is hashed itself, so that compaction keeps it.
    """
    name = _object(line).get("custom_id")
    return name_key(name if isinstance(name, str) else line.decode("latin-1"))


def _journal_error(path: Path, error: OSError) -> JournalError:
    return JournalError(f"Cannot use the journal {path}: {error.strerror or error}.")
