"""All cases, in the order in which they run."""

from benchmarks.calls import Complete
from benchmarks.case import Case
from benchmarks.imports import Import
from benchmarks.large import Fold, Giant1K, Giant64K
from benchmarks.request import Request
from benchmarks.rows import Rows
from benchmarks.soak import Soak
from benchmarks.streams import Paced, Stream, Wide

CASES: tuple[type[Case], ...] = (
    Stream,
    Paced,
    Complete,
    Fold,
    Wide,
    Rows,
    Request,
    Giant64K,
    Giant1K,
    Import,
    Soak,
)

NAMES = tuple(dict.fromkeys(case.name.partition("/")[0] for case in CASES))


def find(name: str) -> type[Case]:
    """Return the case with this name."""
    return next(case for case in CASES if case.name == name)


def named(name: str) -> list[type[Case]]:
    """Return the cases with this name or in the group with this name."""
    return [case for case in CASES if name in (case.name, case.name.partition("/")[0])]
