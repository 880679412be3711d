"""The ledger as the parts of a worker's run see it: a journal, a rate and money."""

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from ..protocol.budget import Budget
from .ledger import LedgerCalls
from .rows.items import name_key

# Calls of the ledger that wait at once: known rows, portions, and a report.
_LEDGER_THREADS: Final = 4


class LedgerJournal:
    """
    The journal of a worker's run, which is the ledger.

    Attributes:
        spent: 0.0: the ledger counts what earlier runs spent.
        has_unsynced: False: the ledger flushes its files.
        done: Fingerprints of the rows in the queue that are done, by the hash of the
            name.
        failed: Names of rows in the queue that failed in earlier runs.
        failure: The error of the first write that failed.
    """

    def __init__(self, ledger: LedgerCalls, restored: Callable[[str], object]) -> None:
        """
        Create the journal.

        Args:
            ledger: The ledger.
            restored: Called with the name of a row when the run finds it done.
        """
        self._ledger = ledger
        self._restored = restored
        self.spent = 0.0
        self.has_unsynced = False
        self.done: dict[int, int] = {}
        self.failed: set[str] = set()
        self.failure: Exception | None = None

    def open(self) -> None:
        """Do nothing: the ledger is open."""

    def cancel_open(self) -> None:
        """Do nothing: opening takes no time."""

    def failed_before(self, name: str, fingerprint: int, index: int) -> bool:  # noqa: ARG002 - the protocol's parameters
        """Return True if a row failed in an earlier run."""
        return name in self.failed

    def mark_succeeded(
        self,
        name: str,
        fingerprint: int,  # noqa: ARG002 - the protocol's parameter
        index: int,  # noqa: ARG002 - the protocol's parameter
        body: bytes,  # noqa: ARG002 - the protocol's parameter
    ) -> None:
        """Return the result of a row that is done to the task that waits for it."""
        if self.done and name_key(name) in self.done:
            self._restored(name)

    def write(self, rows: bytes, failures: bytes) -> None:
        """
        Store lines in the ledger.

        Raises:
            JournalError: If the ledger cannot store them.
        """
        try:
            self._ledger.put(rows, failures)
        except Exception as error:
            self.failure = error
            raise

    def sync(self) -> None:
        """Do nothing: the ledger flushes its files."""

    def close(self) -> None:
        """Do nothing: the ledger stays open."""


class GrantedRate:
    """A `RateLimiter` whose start times are granted by the ledger."""

    def __init__(self, ledger: "LedgerThreads", worker: str) -> None:
        self._ledger = ledger
        self._worker = worker
        self._starts: deque[float] = deque()
        self._lock = asyncio.Lock()
        self._loop = asyncio.get_running_loop()

    async def acquire(self, amount: float = 1) -> None:  # noqa: ARG002 - always one request
        """Wait until the next start time."""
        async with self._lock:
            if not self._starts:
                grant = await self._ledger.call("grant", self._worker, starts=True)
                now = self._loop.time()
                self._starts.extend(now + delay for delay in grant.delays)
            start = self._starts.popleft()
            wait = start - self._loop.time()
            if wait > 0:
                await asyncio.sleep(wait)


class GrantedBudget:
    """
    A `BudgetSource` whose portions are granted by the ledger.

    Attributes:
        budget: The portions so far, and what was spent of them.
        lock: Held while portions are asked for or given back: the ledger must not get
            the two in another order than they were sent in.
    """

    def __init__(self, ledger: "LedgerThreads", worker: str) -> None:
        self._ledger = ledger
        self._worker = worker
        self._is_denied = False
        self.lock = asyncio.Lock()
        self.budget = Budget(0.0)

    async def extend(self, highest_cost: float | None) -> bool:
        """Ask for a portion; return True if the budget has grown."""
        limit = self.budget.limit
        async with self.lock:
            if self.budget.limit > limit:
                # Another request has asked meanwhile.
                return True
            if self._is_denied and not self.budget.is_idle:
                # Money comes back first from the requests in flight here.
                return False
            amount = self.budget.refuse(highest_cost).estimate
            left = self.budget.left
            if left > 0.0 and amount <= left:
                # It waits for the first costs, not for money.
                return False
            grant = await self._ledger.call("grant", self._worker, dollars=amount)
            self._is_denied = not grant.dollars
            self.budget.enlarge(grant.dollars)
            return not self._is_denied

    def give_back(self) -> bool:
        """Remove what is not spent, so that others can have it, if nothing is sent."""
        budget = self.budget
        if not budget.is_idle:
            return False
        budget.enlarge(-max(0.0, budget.left))
        self._is_denied = False
        return True


class LedgerThreads:
    """The calls of a ledger, for an event loop: each waits on a thread."""

    def __init__(self, ledger: LedgerCalls) -> None:
        self._ledger = ledger
        self._executor = ThreadPoolExecutor(
            _LEDGER_THREADS, thread_name_prefix="openrouter-ledger"
        )

    async def call(self, name: str, /, *arguments: Any, **options: Any) -> Any:
        """Call a method of the ledger."""
        method = getattr(self._ledger, name)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(
            self._executor, lambda: method(*arguments, **options)
        )

    def close(self) -> None:
        """End the threads when their calls have returned."""
        self._executor.shutdown(wait=False)
