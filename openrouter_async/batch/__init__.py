"""
Fan-out: many calls at bounded concurrency, nothing lost, nothing paid twice.

`items`, `results`, `control`, `budget`, `verdict` and `stats` decide, and know nothing
of asyncio or of this machine. What does, in the order that a row passes it: `source`,
`intake`, `crew`, `sender` (`cashier`, `gate`, `door`), `scribe` (`journal`, `lines`),
`shelf`. `run` is what the caller holds, `running` what is inside of it.
"""

from ..transport.limiter import LimitStats, Scopes
from .journal import errors_path, read_journal
from .options import (
    Concurrency,
    Items,
    OnError,
    Plan,
    Progress,
)
from .request_builder import Calls
from .rows.items import BatchItem, Item, ItemLike
from .rows.results import BatchResult
from .rows.stats import RunStats, StopReason
from .run import BatchRun

__all__ = [
    "BatchItem",
    "BatchResult",
    "BatchRun",
    "Calls",
    "Concurrency",
    "Item",
    "ItemLike",
    "Items",
    "LimitStats",
    "OnError",
    "Plan",
    "Progress",
    "RunStats",
    "Scopes",
    "StopReason",
    "errors_path",
    "read_journal",
]
