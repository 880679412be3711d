"""
The journal of a run: its output file, from which an interrupted run is resumed.

`out.jsonl` has one line for each row that succeeded. `out.errors.jsonl` has the rows
that failed, as items that can be sent again. A line is passed to the operating system
before the caller sees its result, so `kill -9` loses no result. Lines are flushed to
the disk within a second; a power cut loses later ones.
"""

import collections
import errno
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from ..errors import ConfigurationError, JournalError, MalformedResponseError
from ..extras import require
from ..protocol.decode import as_object, decode
from .jsonl import JsonLinesFile
from .rows.hash_index import HashMap64, HashSet64
from .rows.items import EXTENSION_KEY, name_key
from .rows.results import (
    BatchResult,
    failure_key,
    is_journal_line,
    keys_of_row,
    messages_key,
)

if TYPE_CHECKING:
    from filelock import BaseFileLock

_ROW_STARTS: Final = (b'{"id":',)
_FAILURE_STARTS: Final = (b'{"custom_id":',)
_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")

_ERRORS: Final = ".errors.jsonl"


def errors_path(path: Path) -> Path:
    """
    Return the path of a journal's failures file.

    It is `out.errors.jsonl` for `out.jsonl`, and `out.ndjson.errors.jsonl` for
    `out.ndjson`.
    """
    return path.with_name(path.name.removesuffix(".jsonl") + _ERRORS)


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


def local_path(journal: str | os.PathLike[str]) -> str | os.PathLike[str]:
    """
    Return a path unchanged.

    Raises:
        ConfigurationError: If it is a URL: nothing can be appended to an object.
    """
    # A `Path` of a URL has one slash. A drive on Windows has one letter.
    if _URL.match(os.fspath(journal)):
        raise ConfigurationError(
            f"journal must be a file on this machine or on a shared mount, not a URL "
            f"({os.fspath(journal)!r})."
        )
    return journal


def journals_of(path: Path) -> list[Path]:
    """Return the journals that may have a failures file of this path."""
    stem = path.name.removesuffix(_ERRORS)
    if stem == path.name:
        return []
    names = [f"{stem}.jsonl", stem] if stem else [".jsonl"]
    return [path.with_name(name) for name in names]


def count_failures(path: Path) -> collections.Counter[str]:
    """
    Count the failed rows of a journal by the type of their error.

    A row that failed several times is counted once, and one that has a response by now
    is not counted: a run that was killed has not removed it from the failures file.

    Raises:
        JournalError: If the file is not a journal.
        OSError: If a file cannot be read.
    """
    failed: dict[int, str] = {}
    failures = errors_path(path)
    if failures.exists():
        with failures.open("rb") as file:
            for line in file:
                entry = _object(line)
                error_type = as_object(entry.get("error")).get("type")
                if isinstance(error_type, str):
                    failed[_line_key(entry, line)] = error_type
    if failed:
        with path.open("rb") as file:
            for row in _journal_lines(path, file):
                for key in _done_keys(row):
                    failed.pop(key, None)
    return collections.Counter(failed.values())


class DoneRows(Protocol):
    """A map from the hash of a row's name to the fingerprint of its request."""

    def __len__(self) -> int: ...

    def get(self, key: int, /) -> int | None:
        """Return the fingerprint of a row; None if the row is not done."""
        raise NotImplementedError


class RunJournal(Protocol):
    """
    The journal of one run, as its engine sees it; `Journal` keeps it in files.

    `open`, `write`, `sync` and `close` block, so the same thread calls them all.

    Attributes:
        spent: Cost in US dollars of the rows that succeeded in earlier runs.
        has_unsynced: True if `sync` has something to do.
    """

    spent: float
    has_unsynced: bool

    @property
    def done(self) -> DoneRows:
        """Rows that succeeded in earlier runs, or elsewhere in this one."""
        ...

    def open(self) -> None:
        """Prepare the journal, and read the rows that are done."""

    def cancel_open(self) -> None:
        """Make an `open` in progress on the journal's thread return early."""

    def failed_before(self, name: str, fingerprint: int, index: int) -> bool:
        """Return True if a row failed in an earlier run."""
        raise NotImplementedError

    def mark_succeeded(
        self, name: str, fingerprint: int, index: int, body: bytes
    ) -> None:
        """Record that a row has a response."""

    def write(self, rows: bytes, failures: bytes) -> None:
        """Store lines of rows that succeeded, and of rows that failed."""

    def sync(self) -> None:
        """Make the lines that were written safe from a power cut."""

    def close(self) -> None:
        """Release the journal."""


class Journal:
    """
    The journal of one run.

    `open`, `write`, `sync` and `close` block, so the same thread calls them all.

    Attributes:
        path: The path of the output file.
        done: Rows that succeeded in earlier runs: the fingerprints of their requests,
            by the hash of the row's name; or the offsets of their lines.
        spent: Cost of these rows in US dollars.
        has_unsynced: True if written lines were not flushed to the disk yet.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        keep_offsets: bool = False,
        lock_timeout: float = 0.0,
    ) -> None:
        """
        Create the journal; no file is opened yet.

        Args:
            path: The path of the output file.
            keep_offsets: If True, `done` has the offsets of lines, for `line_at`.
            lock_timeout: Seconds to wait for another run to release the journal.
        """
        self.path = Path(path)
        self._keep_offsets = keep_offsets
        self._lock_timeout = lock_timeout
        self.done = HashMap64()
        self.spent = 0.0
        self.has_unsynced = False
        self._is_cancelled = False
        # Keys of the lines in the failures file when the journal was opened, and of
        # those among them whose row has a response.
        self._failed = HashSet64()
        self._failed_names = HashSet64()
        self._recovered = HashSet64()
        self._lock: BaseFileLock | None = None
        self._rows: JsonLinesFile | None = None
        self._failures: JsonLinesFile | None = None
        self._spare: int | None = None

    def open(self) -> None:
        """
        Lock the journal, truncate incomplete lines, and read the rows that are done.

        Raises:
            JournalError: If it is in use, is not a journal, or cannot be opened.
            ConfigurationError: If filelock is not installed.
        """
        filelock = require("filelock", "batch", "journal=")
        self._check_path()
        lock = filelock.FileLock(f"{self.path}.lock")
        try:
            lock.acquire(timeout=self._lock_timeout)
        except filelock.Timeout:
            raise JournalError(
                f"{self.path} is in use by another run.",
                hint="Wait until it has ended, or use another journal.",
            ) from None
        except NotImplementedError:
            raise _lock_error(self.path) from None
        except OSError as error:
            if error.errno == errno.ENOLCK:
                raise _lock_error(self.path) from error
            raise _journal_error(self.path, error) from error
        self._lock = lock
        try:
            self._rows = JsonLinesFile(self.path, _ROW_STARTS, is_row_line)
            # Opened now, although no row may fail: later, requests in flight may take
            # all file descriptors that this process is allowed to have.
            self._failures = JsonLinesFile(
                errors_path(self.path), _FAILURE_STARTS, _is_failure
            )
            self._spare = os.open(os.devnull, os.O_RDONLY)
            for line in self._failures.read():
                entry = _object(line)
                self._failed.add(_line_key(entry, line))
                self._failed_names.add(name_key(str(entry.get("custom_id"))))
            self._read_done(self._rows)
        except OSError as error:
            self._release()
            raise _journal_error(self.path, error) from error
        except BaseException:
            self._release()
            raise

    def cancel_open(self) -> None:
        """Make an `open` in progress on the journal's thread return early."""
        self._is_cancelled = True

    def _check_path(self) -> None:
        """
        Check that the files can be created, before a lock is.

        Raises:
            JournalError: If they cannot.
        """
        path = self.path
        if not path.parent.is_dir():
            # filelock would create the missing directories.
            raise JournalError(
                f"The directory {path.parent} does not exist.",
                hint="Create it, or correct journal=.",
            )
        try:
            # The longest of the names, which is needed only at the end of the run.
            _compacted_path(path).is_symlink()
            mode = path.stat().st_mode
        except FileNotFoundError:
            return
        except OSError as error:
            raise _journal_error(path, error) from error
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            raise JournalError(
                f"Cannot use the journal {path}: it is not a regular file.",
                hint="Use a file: a pipe or a device cannot be searched for rows.",
            )

    def failed_before(self, name: str, fingerprint: int, index: int) -> bool:
        """Return True if a row failed in an earlier run."""
        if not self._failed:
            return False
        return any(key in self._failed for key in keys_of_row(name, fingerprint, index))

    def mark_succeeded(
        self, name: str, fingerprint: int, index: int, body: bytes
    ) -> None:
        """
        Record that a row has a response, so that its failures can be removed.

        A row is known by its name and its request: another row with the same name may
        have failed. A line without a fingerprint is an invalid row, known by its index.
        """
        if name_key(name) not in self._failed_names:
            return
        self._recover((*keys_of_row(name, fingerprint, index), name_key(name)))
        messages = messages_key(name, index, _object(body))
        if messages is not None:
            self._recovered.add(messages)

    def _recover(self, keys: Iterable[int]) -> None:
        for key in keys:
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
        assert self._failures is not None
        try:
            if rows:
                self._rows.append(rows)
            if failures:
                self._failures.append(failures)
        except OSError as error:
            raise _journal_error(self.path, error) from error
        finally:
            self.has_unsynced = True

    @property
    def size(self) -> int:
        """Length in bytes of the output file."""
        assert self._rows is not None
        return self._rows.size

    def line_at(self, offset: int) -> bytes:
        """
        Return the line of a row.

        Raises:
            JournalError: If it cannot be read.
        """
        assert self._rows is not None
        try:
            return self._rows.line_at(offset)
        except OSError as error:
            raise _journal_error(self.path, error) from error

    def has_failure_of(self, name: str) -> bool:
        """Return True if a row with this name failed in an earlier run."""
        return bool(self._failed_names) and name_key(name) in self._failed_names

    def sync(self) -> None:
        """
        Flush written lines to the disk.

        Raises:
            JournalError: If they cannot be flushed.
        """
        # Cleared first, so that a write during the flush sets it again.
        self.has_unsynced = False
        assert self._rows is not None
        assert self._failures is not None
        try:
            self._rows.sync()
            self._failures.sync()
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
            assert self._failures is not None
            self._compact(self._failures)
        except OSError as error:
            raise _journal_error(self.path, error) from error
        finally:
            self._release()

    def _read_done(self, rows: JsonLinesFile) -> None:
        for offset, line in _lines_at(rows.path, rows.read()):
            if self._is_cancelled:
                return
            extension = line[EXTENSION_KEY]
            key = name_key(line["custom_id"])
            if self._failed:
                self._recover(_done_keys(line))
            # Files that were concatenated may have a row twice; it was paid once.
            if key not in self.done:
                value = offset if self._keep_offsets else int(extension["fp"], 16)
                self.done.put(key, value)
                self.spent += extension.get("cost") or 0.0

    def _compact(self, failures: JsonLinesFile) -> None:
        """Keep the last line of each row that has not succeeded since."""
        if not failures.size:
            failures.close()
            self._failures = None
            failures.path.unlink()
            return
        last = HashMap64()
        for number, line in enumerate(failures.read()):
            last.put(_line_key(_object(line), line), number)
        # The lock protects this path too. A crash may have left an older file there.
        compacted = _compacted_path(self.path)
        self._close_spare()
        try:
            kept = 0
            with compacted.open("wb") as file:
                for number, line in enumerate(failures.read()):
                    entry = _object(line)
                    key = _line_key(entry, line)
                    if last.get(key) == number and not self._is_resolved(entry, key):
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

    def _is_resolved(self, entry: Mapping[str, Any], key: int) -> bool:
        """Return True if the row of a line in the failures file has a response."""
        if key in self._recovered:
            return True
        index = as_object(entry.get(EXTENSION_KEY)).get("i")
        if not isinstance(index, int) or not len(self._recovered):
            return False
        messages = messages_key(str(entry["custom_id"]), index, entry.get("body"))
        return messages is not None and messages in self._recovered

    def _close_spare(self) -> None:
        if self._spare is not None:
            os.close(self._spare)
            self._spare = None

    def _release(self) -> None:
        self._close_spare()
        for file in (self._rows, self._failures):
            if file is not None:
                file.close()
        self._rows = self._failures = None
        assert self._lock is not None
        self._lock.release()
        self._lock = None


def _journal_lines(path: Path, lines: Iterator[bytes]) -> Iterator[Mapping[str, Any]]:
    return (entry for _, entry in _lines_at(path, lines))


def _lines_at(
    path: Path, lines: Iterator[bytes]
) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Yield the lines of a journal, each with its offset in the file."""
    end = 0
    for number, line in enumerate(lines, 1):
        offset, end = end, end + len(line)
        if line.isspace():
            continue
        entry = _object(line)
        if not entry and not line.endswith(b"\n"):
            # Incomplete: a run is writing it, or a crash has cut it short.
            return
        if not is_journal_line(entry):
            raise JournalError(
                f"{path} is not a journal: line {number} was not written by a run.",
                hint="Check the path, or remove the line.",
            )
        yield offset, entry


def _object(line: bytes) -> Mapping[str, Any]:
    try:
        return as_object(decode(line))
    except MalformedResponseError:
        return {}


def is_row_line(line: bytes) -> bool:
    """Return True if a line is that of a row in a journal."""
    return is_journal_line(_object(line))


def _is_failure(line: bytes) -> bool:
    return isinstance(_object(line).get("custom_id"), str)


def _line_key(entry: Mapping[str, Any], line: bytes) -> int:
    """
    Return the key of a line in the failures file.

    A line that is not a failure is hashed itself, so that compaction keeps it.
    """
    key = failure_key(entry)
    return name_key(line.decode("latin-1")) if key is None else key


def _done_keys(line: Mapping[str, Any]) -> tuple[int, int]:
    """Return the keys of the failures that a line of the journal resolves."""
    extension = line[EXTENSION_KEY]
    index = int(extension.get("i") or 0)
    return keys_of_row(line["custom_id"], int(extension["fp"], 16), index)


def _compacted_path(path: Path) -> Path:
    failures = errors_path(path)
    return failures.with_name(failures.name + ".tmp")


def _lock_error(path: Path) -> JournalError:
    return JournalError(
        f"Cannot lock the journal {path}: its file system does not support locks.",
        hint="Use a file on a local disk.",
    )


def _journal_error(path: Path, error: OSError) -> JournalError:
    return JournalError(f"Cannot use the journal {path}: {error.strerror or error}.")
