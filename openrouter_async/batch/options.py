"""How a run goes about it: its options, checked."""

import os
from collections.abc import AsyncIterable, Callable, Iterable
from pathlib import Path
from typing import Literal

from attrs import frozen

from ..errors import ConfigurationError
from .rows.items import Item
from .rows.stats import BatchStats
from .source import check_items

Items = Iterable[Item] | AsyncIterable[Item] | os.PathLike[str]
"""Rows: any iterable, plain or async, or the path of a file of JSON lines."""

Progress = Callable[[BatchStats], object] | bool
"""A function that is called twice a second; True: a line on stderr."""

Concurrency = int | Literal["auto"]
"""Requests in flight; "auto" finds out how many are taken."""

OnError = Literal["capture", "raise"]
"""What becomes of a row that fails: a result with an error, or the end of the run."""


@frozen
class BatchOptions:
    """What `Chat.send_many` was given, but for what each call is."""

    items: Items
    concurrency: Concurrency = "auto"
    ordered: bool = False
    on_error: OnError = "capture"
    max_cost: float | None = None
    journal: str | os.PathLike[str] | None = None
    progress: Progress | None = None
    rpm: float | None = None
    stall_timeout: float = 900.0

    def __attrs_post_init__(self) -> None:
        check_items(self.items)
        _check_concurrency(self.concurrency)
        _check_positive("max_cost", self.max_cost)
        _check_positive("rpm", self.rpm)
        _check_positive("stall_timeout", self.stall_timeout)
        if self.on_error not in ("capture", "raise"):
            raise ConfigurationError(
                f"on_error is 'capture' or 'raise', not {self.on_error!r}."
            )
        items, journal = self.items, self.journal
        if journal is None or not isinstance(items, os.PathLike):
            return
        if Path(items).absolute() == Path(journal).absolute():
            raise ConfigurationError("The journal can not be the file of rows as well.")

    @property
    def fixed(self) -> int | None:
        """The fixed number of requests in flight; None: it adapts."""
        return None if self.concurrency == "auto" else self.concurrency


def _check_concurrency(value: object) -> None:
    if value != "auto" and (
        not isinstance(value, int) or isinstance(value, bool) or value < 1
    ):
        raise ConfigurationError(f"concurrency is 'auto' or 1 or more, not {value!r}.")


def _check_positive(name: str, value: object) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} is a number, not {value!r}.")
    if not 0 < value < float("inf"):
        raise ConfigurationError(f"{name} must be more than 0, not {value!r}.")
