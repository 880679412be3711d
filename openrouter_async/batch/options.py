"""The options of `send_many`, checked before the run starts."""

import os
from collections.abc import AsyncIterable, Callable, Iterable
from pathlib import Path
from typing import Final, Literal, Protocol

from attrs import frozen

from ..errors import ConfigurationError
from ..protocol.budget import Budget
from ..protocol.settings import Concurrency, check_concurrency
from .journal import RunJournal, local_path
from .row_limiter import RateLimiter
from .rows.items import Item
from .rows.stats import BatchStats
from .source import check_items

Items = Iterable[Item] | AsyncIterable[Item] | os.PathLike[str]
"""The rows: any iterable or async iterable, or the path of a JSON-lines file."""

Progress = Callable[[BatchStats], object] | bool
"""A function that is called twice per second, or True for a line on stderr."""

OnError = Literal["capture", "raise"]
"""The effect of a row that fails: "capture" returns a result with an `error`, "raise"
ends the run with the error."""

STALL_TIMEOUT: Final = 900.0
"""15 minutes. A pause ends after at most 2 minutes, so it is tried 7 times."""


class BudgetSource(Protocol):
    """
    Money of a run that is granted in portions.

    Attributes:
        budget: The money that was granted so far, and what was spent of it.
    """

    budget: Budget

    async def extend(self, highest_cost: float | None) -> bool:
        """
        Ask for another portion, because a request does not fit into the budget.

        Args:
            highest_cost: US dollars that the request costs at most; None if unknown.

        Returns:
            True if the budget has grown.
        """
        raise NotImplementedError


@frozen
class BatchOptions:
    """
    The options of a run; `Chat.send_many` documents them.

    Some of them are for engines whose rows are sent by several processes:

    Attributes:
        journal: A path, or any object with the methods of a journal.
        rate_limiter: A rate that is granted in portions, in place of `rpm`.
        budget_source: Money that is granted in portions, in place of `max_cost`.
        check_names: If False, rows may have the same name. An engine that gets the
            same rows again, as Ray does after a failure, uses this.
    """

    items: Items
    concurrency: Concurrency = "auto"
    ordered: bool = False
    on_error: OnError = "capture"
    max_cost: float | None = None
    journal: str | os.PathLike[str] | RunJournal | None = None
    progress: Progress | None = None
    rpm: float | None = None
    stall_timeout: float = STALL_TIMEOUT
    check_names: bool = True
    rate_limiter: RateLimiter | None = None
    budget_source: BudgetSource | None = None

    def __attrs_post_init__(self) -> None:
        check_items(self.items)
        check_concurrency(self.concurrency)
        _check_positive("max_cost", self.max_cost)
        _check_positive("rpm", self.rpm)
        _check_positive("stall_timeout", self.stall_timeout)
        if self.on_error not in ("capture", "raise"):
            raise ConfigurationError(
                f"on_error must be 'capture' or 'raise', not {self.on_error!r}."
            )
        items, journal = self.items, self.journal
        if not isinstance(journal, str | os.PathLike):
            return
        journal = local_path(journal)
        if not isinstance(items, os.PathLike):
            return
        if Path(items).absolute() == Path(journal).absolute():
            raise ConfigurationError(
                f"{journal} is both the input and the journal. "
                "Give journal= a different path."
            )

    @property
    def fixed_concurrency(self) -> int | None:
        """The fixed number of requests in flight; None if it adapts."""
        return None if self.concurrency == "auto" else self.concurrency


def _check_positive(name: str, value: object) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be a number, not {value!r}.")
    if not 0 < value < float("inf"):
        raise ConfigurationError(
            f"{name} must be greater than 0 and finite, not {value!r}."
        )
