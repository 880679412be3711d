"""
The output file of a run, which is also its memory.

`out.jsonl` has the rows that succeeded, each once, ever; `out.errors.jsonl` those that
failed, as rows that can be sent again. A row is handed to the operating system before
anybody sees its result, so `kill -9` loses none, and within a second to the disk: a
power cut loses what came since.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from ..errors import JournalError, MalformedResponseError
from ..extras import require
from ..protocol.decode import decode
from .jsonl import JsonLinesFile
from .rows.hash_index import HashMap64, HashSet64
from .rows.items import OURS, name_key
from .rows.results import BatchResult, is_line

if TYPE_CHECKING:
    from filelock import BaseFileLock

_STARTS: Final = (b'{"id":',)
_ERROR_STARTS: Final = (b'{"custom_id":',)


def errors_path(path: Path) -> Path:
    """Return where the failures of a journal are: `out.errors.jsonl` of `out.jsonl`."""
    return path.with_name(path.name.removesuffix(".jsonl") + ".errors.jsonl")


def read_journal(path: str | os.PathLike[str]) -> Iterator[BatchResult]:
    """
    Read the results of a journal, those of earlier runs included, oldest first.

    Raises:
        JournalError: It is none.
        OSError: It can not be read.
    """
    with Path(path).open("rb") as file:
        for line in _entries(Path(path), file):
            yield BatchResult.from_line(line)


class Journal:
    """
    One run's journal. `open`, `write`, `sync` and `close` block: one thread does them.

    Attributes:
        path: The file of successes.
        done: The names of rows that succeeded in earlier runs, with the fingerprints
            of their requests.
        spent: US dollars that these cost.
        is_behind: Whether rows were written that are not handed to the disk yet.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.done = HashMap64()
        self.spent = 0.0
        self.is_behind = False
        self._given_up = False
        # Of earlier runs, and which of these have succeeded in this one.
        self._failed = HashSet64()
        self._healed = HashSet64()
        self._lock: BaseFileLock | None = None
        self._rows: JsonLinesFile | None = None
        self._errors: JsonLinesFile | None = None

    def open(self) -> None:
        """
        Lock it, cut off what a crash left of a line, and read what is done.

        Raises:
            JournalError: It is in use, or no journal, or can not be opened.
        """
        filelock = require("filelock", "batch", "journal=")
        lock = filelock.FileLock(f"{self.path}.lock")
        if not self.path.parent.is_dir():
            # The lock's library would make the folders.
            raise JournalError(f"There is no folder {self.path.parent}.")
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            raise JournalError(
                f"{self.path} is in use by another run.",
                hint="One run at a time writes a journal.",
            ) from None
        except OSError as error:
            raise _unusable(self.path, error) from error
        self._lock = lock
        try:
            self._rows = JsonLinesFile(self.path, _STARTS)
            if errors_path(self.path).exists():
                for line in self._open_errors().read():
                    self._failed.add(_key_of(line))
            self._scan(self._rows)
        except OSError as error:
            self._let_go()
            raise _unusable(self.path, error) from error
        except BaseException:
            self._let_go()
            raise

    def give_up(self) -> None:
        """Let `open` on the other thread end soon: nothing is to be sent."""
        self._given_up = True

    def has_failed(self, key: int) -> bool:
        """Tell whether a row failed in an earlier run; `key` is its name's."""
        return key in self._failed

    def _open_errors(self) -> JsonLinesFile:
        self._errors = JsonLinesFile(errors_path(self.path), _ERROR_STARTS)
        return self._errors

    def _scan(self, rows: JsonLinesFile) -> None:
        for line in _entries(rows.path, rows.read()):
            if self._given_up:
                return
            ours = line[OURS]
            key = name_key(line["custom_id"])
            if key not in self.done:
                self.done.put(key, int(ours["fp"], 16))
                self.spent += ours.get("cost") or 0.0

    def succeeded(self, key: int) -> None:
        """Note that a row has a reply now; `key` is its name's."""
        if key in self._failed:
            self._healed.add(key)

    def write(self, rows: bytes, errors: bytes) -> None:
        """
        Hand lines to the operating system.

        Args:
            rows: Lines of rows that succeeded.
            errors: Lines of rows that failed.

        Raises:
            JournalError: They can not be written.
        """
        assert self._rows is not None
        try:
            if rows:
                self._rows.append(rows)
            if errors:
                (self._errors or self._open_errors()).append(errors)
        except OSError as error:
            raise _unusable(self.path, error) from error
        finally:
            self.is_behind = True

    def sync(self) -> None:
        """
        Hand to the disk what was written.

        Raises:
            JournalError: It can not be.
        """
        # What is written meanwhile is behind again.
        self.is_behind = False
        try:
            for file in (self._rows, self._errors):
                if file is not None:
                    file.sync()
        except OSError as error:
            raise _unusable(self.path, error) from error

    def close(self) -> None:
        """
        Hand all to the disk, tidy the failures, and let go of the files.

        Raises:
            JournalError: They can not be written.
        """
        if self._lock is None:
            return
        try:
            self.sync()
            if self._errors is not None:
                self._tidy(self._errors)
        except OSError as error:
            raise _unusable(self.path, error) from error
        finally:
            self._let_go()

    def _tidy(self, errors: JsonLinesFile) -> None:
        """Leave one line, the last, for each row that has not succeeded since."""
        last = HashMap64()
        for number, line in enumerate(errors.read()):
            last.put(_key_of(line), number)
        # The lock makes the name ours; what a crash left there is written over.
        tidy = errors.path.with_name(errors.path.name + ".tmp")
        try:
            kept = 0
            with tidy.open("wb") as file:
                for number, line in enumerate(errors.read()):
                    key = _key_of(line)
                    healed = key in self._healed or key in self.done
                    if last.get(key) == number and not healed:
                        kept += 1
                        file.write(line)
                file.flush()
                os.fsync(file.fileno())
            errors.close()
            self._errors = None
            if kept:
                tidy.replace(errors.path)
            else:
                errors.path.unlink()
        finally:
            tidy.unlink(missing_ok=True)

    def _let_go(self) -> None:
        for file in (self._rows, self._errors):
            if file is not None:
                file.close()
        self._rows = self._errors = None
        assert self._lock is not None
        self._lock.release()
        self._lock = None


def _entries(path: Path, lines: Iterator[bytes]) -> Iterator[Mapping[str, Any]]:
    """Read the lines of a journal; a torn last one is passed over."""
    for number, line in enumerate(lines, 1):
        if not line.endswith(b"\n"):
            return
        entry = _object(line)
        if not is_line(entry):
            raise JournalError(f"{path}, line {number}, is no line of a journal.")
        yield entry


def _object(line: bytes) -> Mapping[str, Any]:
    try:
        entry = decode(line)
    except MalformedResponseError:
        return {}
    return cast("Mapping[str, Any]", entry) if isinstance(entry, Mapping) else {}


def _key_of(line: bytes) -> int:
    """Return the key of a failure's row; of a line that is none, its own."""
    name = _object(line).get("custom_id")
    return name_key(name if isinstance(name, str) else line.decode("latin-1"))


def _unusable(path: Path, error: OSError) -> JournalError:
    return JournalError(f"{path} can not be used: {error.strerror or error}.")
