"""
Fan-out: many calls at bounded concurrency, nothing lost, nothing paid twice.

`items`, `results`, `control`, `budget`, `verdict` and `stats` decide, and know nothing
of asyncio or of this machine. What does, in the order that a row passes it: `source`,
`intake`, `crew`, `sender` (`cashier`, `gate`, `door`), `scribe` (`journal`, `lines`),
`shelf`. `run` is what the caller holds, `running` what is inside of it.
"""

from ..transport.limiter import LimiterRegistry, LimiterStats
from .journal import errors_path, read_journal
from .options import (
    BatchOptions,
    Concurrency,
    Items,
    OnError,
    Progress,
)
from .request_builder import RequestBuilder
from .rows.items import BatchItem, Item
from .rows.results import BatchResult
from .rows.stats import BatchStats, StopReason
from .run import BatchRun

__all__ = [
    "BatchItem",
    "BatchOptions",
    "BatchResult",
    "BatchRun",
    "BatchStats",
    "Concurrency",
    "Item",
    "Items",
    "LimiterRegistry",
    "LimiterStats",
    "OnError",
    "Progress",
    "RequestBuilder",
    "StopReason",
    "errors_path",
    "read_journal",
]
