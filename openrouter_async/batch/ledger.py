"""
The ledger of a run with several processes: the journal, the money and the rate.

One process has the `Ledger`; the others call it through any object with the methods of
`LedgerCalls`. Each call takes a group of rows, so that the time of a message is shared
by many of them. This module does not depend on how the processes are connected.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, Protocol

from attrs import define, evolve, frozen

from ..errors import BatchStoppedError, JournalError, OpenRouterError
from ..protocol.budget import Budget
from ..protocol.budget_level import BudgetKind
from ..protocol.decode import as_object, decode
from .journal import Journal
from .rows.items import EXTENSION_KEY, name_key
from .rows.stats import BatchStats, RunCounters, StopReason

# Start times that are granted at once: a worker that dies takes at most these along.
_MAX_STARTS: Final = 8
# A portion is at most the highest cost of so many requests: money that was granted to
# a worker that died is not spent again by others.
_MAX_REQUESTS: Final = 64
# Workers report once a second. One that has missed several has nothing in flight.
_SILENT_SECONDS: Final = 5.0
# A row that was being sent when so many workers died is not sent again.
_MAX_DEATHS: Final = 4
# An error names at most so many of these rows.
_NAMED_ROWS: Final = 3


@frozen
class KnownRows:
    """
    The ledger's knowledge of a group of rows.

    Attributes:
        lines: The journal's lines of the rows that are done, by name.
        failed: Names of the other rows that failed in earlier runs.
    """

    lines: Mapping[str, bytes]
    failed: frozenset[str]


@frozen
class Grant:
    """
    A portion of the rate and of the money.

    Attributes:
        delays: Seconds from now at which one request each may start.
        dollars: US dollars; 0.0 if there are none left.
    """

    delays: tuple[float, ...] = ()
    dollars: float = 0.0


class LedgerCalls(Protocol):
    """The calls of a ledger, as a worker makes them. Threads may make them at once."""

    def join(self, worker: str, actor: str) -> None:
        """Start a worker; an earlier worker of the same actor has died."""

    def known(self, names: Sequence[str], worker: str = "") -> KnownRows:
        """Return which rows need not be sent; the worker sends the others."""
        ...

    def put(self, rows: bytes, failures: bytes) -> None:
        """Store lines of rows that succeeded, and of rows that failed."""

    def grant(
        self, worker: str, *, starts: bool = False, dollars: float | None = None
    ) -> Grant:
        """Return a portion of the rate, of the money, or of both."""
        ...

    def report(self, worker: str, stats: BatchStats, *, is_idle: bool = False) -> None:
        """Store the progress of a worker."""

    def fail(self, error: OpenRouterError) -> None:
        """Store the error that ended a worker's run."""


class StartTimes:
    """
    The start times of requests at an even rate, from one virtual clock.

    A few unused start times may be made up for, because the next portion is asked for
    when the last one is used up.
    """

    def __init__(self, per_minute: float) -> None:
        self._interval = 60.0 / per_minute
        # At low rates, one worker must not hold the start times of a whole minute.
        self._count = max(1, min(_MAX_STARTS, int(per_minute / 60.0)))
        self._next: float | None = None

    def take(self, now: float) -> tuple[float, ...]:
        """Return the next start times, as seconds from now."""
        interval, count = self._interval, self._count
        first = now if self._next is None else self._next
        first = max(first, now - (count - 1) * interval)
        self._next = first + count * interval
        return tuple(
            max(0.0, first + number * interval - now) for number in range(count)
        )


@define(eq=False)
class WorkerAccount:
    """
    One worker, as the ledger sees it.

    Attributes:
        granted: The money that it was granted; None if it has none.
        spent: US dollars that it has spent, by its last report.
        stats: Its last report; None before the first.
        seen_at: Time of the last report.
        has_died: If True, another worker has taken its place.
    """

    granted: Budget | None = None
    spent: float = 0.0
    stats: BatchStats | None = None
    seen_at: float = 0.0
    has_died: bool = False

    def grant(self, budget: Budget, least: float) -> float:
        """Return the size of another portion of a budget; 0.0 if too little is left."""
        most = _MAX_REQUESTS * least if least else None
        if self.granted is not None:
            return self.granted.extend(least, most=most) or 0.0
        self.granted = budget.grant(least, most=most)
        return 0.0 if self.granted is None else self.granted.limit

    def spend(self, budget: Budget, spent: float) -> None:
        """Count what the worker has spent since its last report."""
        source = budget if self.granted is None else self.granted
        source.spend(spent - self.spent)
        self.spent = spent

    def give_back(self) -> None:
        """Return what was granted and is neither spent nor reserved."""
        if self.granted is not None:
            self.granted.close()
            self.granted = None


class Ledger:
    """
    The journal, the budget and the rate of a run whose rows are sent by workers.

    Each row is in the journal once, whichever workers send it: of several lines with
    the same name, the first is kept. The sum of the portions of money never exceeds
    `max_cost`. Threads may share it.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        max_cost: float | None = None,
        rpm: float | None = None,
        lock_timeout: float = 0.0,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Create the ledger; no file is opened yet.

        Args:
            path: The journal.
            max_cost: Maximum cost in US dollars, with what the journal's rows cost.
            rpm: Maximum number of requests per minute.
            lock_timeout: Seconds to wait for another run to release the journal.
            now: The clock, in seconds.
        """
        self._journal = Journal(path, keep_offsets=True, lock_timeout=lock_timeout)
        self._max_cost = max_cost
        self._budget: Budget | None = None
        self._starts = None if rpm is None else StartTimes(rpm)
        self._now = now
        self._lock = threading.Lock()
        self._workers: dict[str, WorkerAccount] = {}
        self._workers_of_actors: dict[str, str] = {}
        # The worker that sends a row, and how many have died of it, by the row's key.
        self._begun: dict[int, str] = {}
        self._deaths: dict[int, int] = {}
        self._counters = RunCounters()
        self._attempts = 0
        self._started = now()
        self._seconds: float | None = None
        self._failure: OpenRouterError | None = None

    def open(self) -> None:
        """
        Lock the journal, and read the names of its rows.

        Raises:
            JournalError: If it is in use, is not a journal, or cannot be opened.
            ConfigurationError: If filelock is not installed.
        """
        self._journal.open()
        if self._max_cost is not None:
            self._budget = Budget(self._max_cost, self._journal.spent)

    # --- the calls of workers --------------------------------------------------------

    def join(self, worker: str, actor: str) -> None:
        """
        Start a worker.

        Args:
            worker: The worker.
            actor: The id of its actor, which the engine restarts when the process dies.
                An earlier worker of the same actor has died.
        """
        with self._lock:
            before = self._workers_of_actors.get(actor)
            self._workers_of_actors[actor] = worker
            if before is None:
                return
            self._account(before).has_died = True
            for key in [k for k, name in self._begun.items() if name == before]:
                del self._begun[key]
                self._deaths[key] = self._deaths.get(key, 0) + 1

    def known(self, names: Sequence[str], worker: str = "") -> KnownRows:
        """
        Return which rows need not be sent.

        Args:
            names: The rows.
            worker: The worker that sends the others; "" if they are not sent.

        Raises:
            JournalError: If the journal cannot be read.
            BatchStoppedError: If several workers have died while they sent one of the
                rows.
        """
        journal = self._journal
        lines: dict[str, bytes] = {}
        failed: list[str] = []
        begun: list[int] = []
        deadly: list[str] = []
        with self._lock:
            for name in names:
                key = name_key(name)
                offset = journal.done.get(key)
                if offset is not None:
                    lines[name] = journal.line_at(offset)
                    continue
                if journal.has_failure_of(name):
                    failed.append(name)
                if self._deaths.get(key, 0) >= _MAX_DEATHS:
                    deadly.append(name)
                begun.append(key)
            if deadly:
                raise _deadly_rows(deadly)
            if worker:
                self._begun.update(dict.fromkeys(begun, worker))
        return KnownRows(lines, frozenset(failed))

    def put(self, rows: bytes, failures: bytes) -> None:
        """
        Store lines, unless the journal has a line with the same name.

        Args:
            rows: Lines of rows that succeeded.
            failures: Lines of rows that failed.

        Raises:
            JournalError: If they cannot be written, or if the journal has a different
                request under the same name.
        """
        with self._lock:
            kept: list[bytes] = []
            positions: list[tuple[int, int]] = []
            new: set[int] = set()
            position = self._journal.size
            for text in rows.splitlines(keepends=True):
                line = as_object(decode(text))
                key = name_key(line["custom_id"])
                self._count(line)
                if key in new or key in self._journal.done:
                    self._check_repeated(key, line, kept, positions)
                    continue
                new.add(key)
                self._end(key)
                kept.append(text)
                positions.append((key, position))
                position += len(text)
                self._succeeded(line)
            failed: list[bytes] = []
            for text in failures.splitlines(keepends=True):
                key = name_key(as_object(decode(text))["custom_id"])
                self._end(key)
                if key not in new and key not in self._journal.done:
                    failed.append(text)
            self._journal.write(b"".join(kept), b"".join(failed))
            for key, offset in positions:
                self._journal.done.put(key, offset)
            self._counters.ok += len(kept)
            self._counters.failed += len(failed)

    def grant(
        self, worker: str, *, starts: bool = False, dollars: float | None = None
    ) -> Grant:
        """
        Return a portion of the rate, of the money, or of both.

        Args:
            worker: The worker.
            starts: If True, the portion has start times.
            dollars: US dollars that the next request may cost; 0.0 if that is unknown,
                None if no money is asked for.
        """
        with self._lock:
            delays: tuple[float, ...] = ()
            if starts and self._starts is not None:
                delays = self._starts.take(self._now())
            portion = 0.0
            if dollars is not None and self._budget is not None:
                portion = self._account(worker).grant(self._budget, dollars)
            return Grant(delays, portion)

    def report(self, worker: str, stats: BatchStats, *, is_idle: bool = False) -> None:
        """
        Store the progress of a worker.

        Args:
            worker: The worker.
            stats: Its statistics.
            is_idle: If True, it has returned all money that it has not spent.
        """
        with self._lock:
            account = self._account(worker)
            if self._budget is not None:
                account.spend(self._budget, stats.spent)
            if is_idle:
                account.give_back()
            account.stats = stats
            account.seen_at = self._now()

    def fail(self, error: OpenRouterError) -> None:
        """Store the error that ended a worker's run; the first one is kept."""
        with self._lock:
            self._failure = self._failure or error

    # --- the calls of the driver -----------------------------------------------------

    def failure(self) -> OpenRouterError | None:
        """Return the first error that ended a worker's run; None if there was none."""
        return self._failure

    def tick(self) -> BatchStats:
        """
        Flush lines to the disk, and return a snapshot; to be called twice a second.

        Raises:
            JournalError: If the lines cannot be flushed.
        """
        with self._lock:
            if self._journal.has_unsynced:
                self._journal.sync()
            return self._stats()

    def in_flight(self) -> dict[str, int]:
        """Return the requests in flight of each worker that reports."""
        with self._lock:
            return {
                name: account.stats.in_flight
                for name, account in self._workers.items()
                if account.stats is not None and self._is_live(account)
            }

    def close(self) -> BatchStats:
        """
        Compact the failures file, release the journal, and return the last snapshot.

        Raises:
            JournalError: If the files cannot be written.
        """
        with self._lock:
            self._seconds = self._now() - self._started
            self._journal.close()
            return self._stats()

    # --- inside ----------------------------------------------------------------------

    def _is_live(self, account: WorkerAccount) -> bool:
        is_silent = self._now() - account.seen_at >= _SILENT_SECONDS
        return not account.has_died and not is_silent

    def _account(self, worker: str) -> WorkerAccount:
        return self._workers.setdefault(worker, WorkerAccount())

    def _count(self, line: Mapping[str, Any]) -> None:
        """Count the cost of a line, also of one that is not kept: it was paid."""
        extension = line[EXTENSION_KEY]
        self._counters.cost += extension.get("cost") or 0.0
        self._attempts += extension.get("attempts") or 1

    def _succeeded(self, line: Mapping[str, Any]) -> None:
        extension = as_object(line[EXTENSION_KEY])
        fingerprint, index = int(extension["fp"], 16), int(extension["i"])
        self._journal.mark_succeeded(line["custom_id"], fingerprint, index, b"")
        counters = self._counters
        body = as_object(as_object(line.get("response")).get("body"))
        provider = body.get("provider")
        if isinstance(provider, str):
            counters.providers[provider] = counters.providers.get(provider, 0) + 1
        usage = as_object(body.get("usage"))
        for name in ("prompt_tokens", "completion_tokens"):
            count = usage.get(name)
            if isinstance(count, int):
                setattr(counters, name, getattr(counters, name) + count)

    def _end(self, key: int) -> None:
        """Forget which worker sends a row."""
        self._begun.pop(key, None)
        self._deaths.pop(key, None)

    def _check_repeated(
        self,
        key: int,
        line: Mapping[str, Any],
        kept: list[bytes],
        positions: list[tuple[int, int]],
    ) -> None:
        """
        Check that a line which is not kept is of the same request as the one that is.

        Raises:
            JournalError: If it is not.
        """
        offset = self._journal.done.get(key)
        if offset is None:
            number = [known for known, _ in positions].index(key)
            text = kept[number]
        else:
            text = self._journal.line_at(offset)
        first = as_object(decode(text))
        if first[EXTENSION_KEY]["fp"] != line[EXTENSION_KEY]["fp"]:
            raise different_request(line["custom_id"])

    def _stats(self) -> BatchStats:
        now = self._now()
        counters, earlier = self._counters, self._journal.spent
        workers = [w for w in self._workers.values() if w.stats is not None]
        reports = [w.stats for w in workers if w.stats is not None]
        live = [w.stats for w in workers if w.stats is not None and self._is_live(w)]
        seconds = self._seconds
        counters.in_flight = (
            0 if seconds is not None else sum(s.in_flight for s in live)
        )
        counters.resumed = sum(s.resumed for s in reports)
        # A worker that died has not reported its last second.
        counters.attempts = max(self._attempts, sum(s.attempts for s in reports))
        counters.refusals = sum(s.refusals for s in reports)
        counters.abandoned = sum(s.abandoned for s in reports)
        reasons: Iterator[StopReason] = (
            s.stop_reason for s in reports if s.stop_reason is not None
        )
        stats = counters.stats(
            total=None,
            waiting=0 if seconds is not None else sum(s.waiting for s in live),
            budget=None,
            earlier_cost=earlier,
            seconds=now - self._started if seconds is None else seconds,
            is_over=seconds is not None,
            stop_reason=next(reasons, None),
        )
        if self._budget is None:
            return stats
        return self._with_budget(stats, reports, self._budget.spent)

    def _with_budget(
        self, stats: BatchStats, reports: Sequence[BatchStats], spent: float
    ) -> BatchStats:
        is_estimate = any(report.budget == "estimated" for report in reports)
        kind: BudgetKind = "estimated" if is_estimate else "guaranteed"
        overshoots = [report.overshoot for report in reports]
        known = [overshoot for overshoot in overshoots if overshoot is not None]
        return evolve(
            stats,
            # Reports are up to a second old.
            spent=max(stats.spent, spent),
            budget=kind,
            overshoot=sum(known) if len(known) == len(overshoots) else None,
        )


def different_request(name: str) -> JournalError:
    """Return the error for a row whose name belongs to another request."""
    return JournalError(
        f"The journal has a different request for {name!r}: the rows or the parameters "
        "have changed since it was written, or two rows have the same name.",
        hint="Use a new journal, or the original rows and parameters, and give each "
        "row its own name.",
    )


def _deadly_rows(names: Sequence[str]) -> BatchStoppedError:
    named = ", ".join(repr(name) for name in names[:_NAMED_ROWS])
    more = len(names) - _NAMED_ROWS
    return BatchStoppedError(
        f"{_MAX_DEATHS} workers died while they sent the "
        f"{'row' if len(names) == 1 else 'rows'} {named}"
        f"{f' and {more} others' if more > 0 else ''}. One of them may have more than "
        "a worker can hold in memory.",
        reason="deaths",
        hint="Find out why the processes ended, or run the program again without these "
        "rows and with the same journal.",
    )
