"""
`send_many`: many calls at bounded concurrency; no result is lost or paid for twice.

A row passes the modules in this order: `source`, `jobs`, `workers` (with
`row_limiter`), `journal_writer` (with `journal` and `jsonl`), `result_buffer`.
`run` is the caller's handle, `engine` wires the parts. The modules in
`rows` are pure: data and decisions without asyncio, clock or files.
"""

from ..protocol.settings import Concurrency
from ..transport.concurrency_limiter import LimiterStats
from ..transport.limiter import LimiterRegistry
from .journal import errors_path, read_journal
from .options import BatchOptions, Items, OnError, Progress
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
