"""
Fan-out: many calls at bounded concurrency, nothing lost, nothing paid twice.

`items`, `results`, `control`, `budget` and `verdict` decide and know nothing of asyncio
or of this machine; `crew` and `run` do.
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
