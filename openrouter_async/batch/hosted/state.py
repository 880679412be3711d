"""
The state file of hosted batches: `out.batches.jsonl`, beside the journal.

It has one line per event of a batch, which is on the disk before the next step:

    intent     its rows, before it is submitted
    submitted  its id
    ended      its status and cost
    collected  its results are in the journal, or it was rejected and has none

A batch without `collected` is open: its rows are not submitted again. The lock of the
journal protects the file.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, cast

from attrs import define, field

from ...errors import JournalError, MalformedResponseError
from ...protocol.decode import as_object, decode
from ...protocol.encode import encode
from ..jsonl import JsonLinesFile
from ..rows.items import row_name
from .plan import wire_name

_STARTS: Final = (b'{"event":',)


def state_path(journal: Path) -> Path:
    """Return the path of the state file of a journal."""
    return journal.with_name(journal.name.removesuffix(".jsonl") + ".batches.jsonl")


def spool_path(journal: Path, number: int) -> Path:
    """Return the path of the file with the submission of a batch."""
    return journal.with_name(
        f"{journal.name.removesuffix('.jsonl')}.batches.{number}.json"
    )


@define
class RowEntry:
    """
    A row of a batch.

    Attributes:
        index: Index of the row in the input.
        custom_id: The caller's name; None if it has none.
        fingerprint: Fingerprint of its request.
        tries: Number of batches that it was submitted in.
        reserved: US dollars reserved for it; not stored.
    """

    index: int
    custom_id: str | None
    fingerprint: int
    tries: int = 1
    reserved: float = 0.0

    @property
    def name(self) -> str:
        """The name of the row."""
        return row_name(self.index) if self.custom_id is None else self.custom_id

    @property
    def wire_name(self) -> str:
        """The name of the row in a submission."""
        return wire_name(
            self.name, self.fingerprint if self.custom_id is None else None
        )


@define(eq=False)
class HostedBatch:
    """
    A batch of a run.

    Attributes:
        number: Number of the batch, from 1, unique in the state file.
        model: Model as the caller named it.
        provider: `provider` of the batch, as JSON text; None without one.
        rows: Its rows by their name in the submission.
        size: Bytes of the submission.
        reserved: US dollars reserved for its rows.
        time: Unix time of the intent.
        id: Its id at OpenRouter; None as long as it is not known.
        status: Its last known status; None before the first.
        cost: Its cost in US dollars; None if it is not known.
        expires_at: Unix time at which it expires; None if it is not known.
        absences: Times of the looks since the list last contained it.
        slug: Form of the model's slug that is submitted; None for `model` itself.
        wrong_ids: Ids that looked like it, but have other rows.
    """

    number: int
    model: str
    provider: str | None
    rows: dict[str, RowEntry] = field(repr=False)
    size: int = 0
    reserved: float = 0.0
    time: float = 0.0
    id: str | None = None
    status: str | None = None
    cost: float | None = None
    expires_at: int | None = None
    absences: list[float] = field(factory=list[float])
    slug: str | None = None
    wrong_ids: set[str] = field(factory=set[str])


@define
class BatchSummary:
    """
    A batch in a state file, without its rows.

    Attributes:
        number: Number of the batch in the file.
        model: Its model.
        rows: Number of its rows.
        time: Unix time of the intent.
        id: Its id at OpenRouter; None if it is not known.
        status: Its last known status; None before the first.
        cost: Its cost in US dollars; None if it is not known.
        is_collected: If True, its results are in the journal.
    """

    number: int
    model: str
    rows: int
    time: float
    id: str | None = None
    status: str | None = None
    cost: float | None = None
    is_collected: bool = False


class StateFile:
    """
    The state file of one run; every method blocks.

    Attributes:
        open_batches: The batches that are not collected, by number.
        known_ids: Ids of all batches that were ever submitted.
        lost: US dollars charged for batches whose rows brought no result.
    """

    def __init__(self, journal: Path) -> None:
        self._journal = journal
        self._file: JsonLinesFile | None = None
        self._last_number = 0
        self.open_batches: dict[int, HostedBatch] = {}
        self.known_ids: set[str] = set()
        self.lost = 0.0

    def open(self) -> None:
        """
        Open the file and read the batches that are open.

        Raises:
            JournalError: If it is not a state file, or cannot be read.
        """
        path = state_path(self._journal)
        try:
            self._file = JsonLinesFile(path, _STARTS)
            for event in _events(path, self._file.read()):
                self._apply(event)
        except OSError as error:
            raise _state_error(path, error) from error

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def new_number(self) -> int:
        """Return the number of the next batch."""
        self._last_number += 1
        return self._last_number

    def intend(self, batch: HostedBatch) -> None:
        """Record that a batch is about to be submitted."""
        rows = [
            [
                row.name,
                f"{row.fingerprint:016x}",
                row.index,
                row.custom_id is not None,
                row.tries,
            ]
            for row in batch.rows.values()
        ]
        self.open_batches[batch.number] = batch
        self._append(
            "intent",
            batch,
            t=batch.time,
            model=batch.model,
            provider=batch.provider,
            rows=rows,
            bytes=batch.size,
            reserved=batch.reserved,
        )

    def submitted(self, batch: HostedBatch) -> None:
        """Record the id of a batch; None, if it turned out to be another's."""
        if batch.id is not None:
            self.known_ids.add(batch.id)
        self._append("submitted", batch, id=batch.id)

    def ended(self, batch: HostedBatch) -> None:
        """Record the status and the cost of a batch that has ended."""
        self._append("ended", batch, status=batch.status, cost=batch.cost)

    def collected(self, batch: HostedBatch, *, lost: float = 0.0) -> None:
        """
        Record that the results of a batch are in the journal, and on the disk.

        Args:
            batch: The batch.
            lost: Its cost in US dollars, if no row in the journal has a share of it.
        """
        del self.open_batches[batch.number]
        self.lost += lost
        self._append("collected", batch, lost=lost)

    def _append(self, event: str, batch: HostedBatch, **fields: Any) -> None:
        file = cast("JsonLinesFile", self._file)
        line = encode({"event": event, "n": batch.number, **fields})
        try:
            file.append(line + b"\n")
            file.sync()
        except OSError as error:
            raise _state_error(file.path, error) from error

    def _apply(self, event: Mapping[str, Any]) -> None:
        number = int(event["n"])
        self._last_number = max(self._last_number, number)
        if event["event"] == "intent":
            self.open_batches[number] = HostedBatch(
                number,
                event["model"],
                event.get("provider"),
                dict(_entries(event["rows"])),
                event["bytes"],
                event["reserved"],
                event["t"],
            )
            return
        if event["event"] == "collected":
            self.open_batches.pop(number, None)
            self.lost += event.get("lost") or 0.0
            return
        batch = self.open_batches[number]
        if event["event"] == "submitted":
            batch.id = event["id"]
            if batch.id is not None:
                self.known_ids.add(batch.id)
        else:
            batch.status, batch.cost = event["status"], event["cost"]


def read_summaries(journal: str | os.PathLike[str]) -> list[BatchSummary]:
    """
    Return the batches in the state file of a journal; [] if there is none.

    Raises:
        JournalError: If the file is not a state file.
        OSError: If it cannot be read.
    """
    path = state_path(Path(journal))
    found: dict[int, BatchSummary] = {}
    if not path.exists():
        return []
    with path.open("rb") as file:
        for event in _events(path, file):
            number = int(event["n"])
            if event["event"] == "intent":
                rows: list[Any] = event["rows"]
                found[number] = BatchSummary(
                    number, event["model"], len(rows), event["t"]
                )
                continue
            summary = found[number]
            summary.id = event.get("id", summary.id)
            summary.status = event.get("status", summary.status)
            summary.cost = event.get("cost", summary.cost)
            summary.is_collected = event["event"] == "collected"
    return list(found.values())


def _events(path: Path, lines: Iterable[bytes]) -> Iterator[Mapping[str, Any]]:
    """Yield the events in the complete lines of a state file."""
    for number, line in enumerate(lines, 1):
        if not line.endswith(b"\n"):
            return
        try:
            event = as_object(decode(line))
        except MalformedResponseError:
            event = {}
        if not isinstance(event.get("event"), str) or not isinstance(
            event.get("n"), int
        ):
            raise JournalError(f"{path}, line {number}, is not a line of a state file.")
        yield event


def _entries(rows: Iterable[Any]) -> Iterator[tuple[str, RowEntry]]:
    for name, fingerprint, index, is_named, tries in rows:
        custom_id = name if is_named else None
        entry = RowEntry(index, custom_id, int(fingerprint, 16), tries)
        yield entry.wire_name, entry


def _state_error(path: Path, error: OSError) -> JournalError:
    return JournalError(f"{path} cannot be used: {error.strerror or error}.")
