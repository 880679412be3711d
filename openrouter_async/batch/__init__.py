"""
Fan-out: many calls at bounded concurrency, nothing lost, nothing paid twice.

`items`, `results`, `control`, `budget`, `verdict` and `stats` decide, and know nothing
of asyncio or of this machine. What does, in the order that a row passes it: `source`,
`intake`, `crew`, `sender` (`cashier`, `gate`, `door`), `scribe` (`journal`, `lines`),
`shelf`. `run` is what the caller holds, `running` what is inside of it.
"""

from .calls import Calls
from .door import LimitStats, Scopes
from .items import BatchItem, Item, ItemLike
from .journal import errors_path, read_journal
from .plan import Concurrency, Items, OnError, Plan, Progress
from .results import BatchResult
from .run import BatchRun
from .stats import RunStats, StopReason

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
