"""
Writes the table of contents of the fault matrix.

`python tests/faults/contents.py` writes `README.md` beside it; a test fails when that
is stale.
"""

import sys
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Final

from attrs import frozen
from covers import COVERED
from matrix import ROWS, Result

PLACE: Final = Path(__file__).with_name("README.md")
MODULES: Final[Sequence[str]] = (
    "test_fault_network",
    "test_fault_calls",
    "test_hostile_servers",
    "test_cancelled_anywhere",
    "test_forked",
)
NUMBERS: Final[Sequence[str]] = tuple(f"F{n:02d}" for n in range(1, 84))

ELSEWHERE: Final[dict[str, str]] = {}
"""Faults that have no test in here, and why."""

_HEAD: Final = """\
# What happens when

Every fault that a call can meet on its way, and what it comes to. Written by
`python tests/faults/contents.py` from the tests in this folder; do not edit.

After every fault, the tests also check that no slot is held, no task, descriptor or
warning is left, and that the next call on the same client succeeds. All of it runs
against real sockets on the loopback interface: `script.py` is a server that does, byte
by byte, what it is told.

*sent*: how often the server saw the whole head of the request, of 3 attempts allowed.
*cost*: what each attempt may have cost, as in `error.attempts[n].billing`. *keeps*: the
text that is in `error.partial`, of "hello". *connection*: whether it went back to the
pool.

| fault | what happens | call | comes to | sent | cost | keeps | connection |
| --- | --- | --- | --- | --- | --- | --- | --- |
"""
_MIDDLE: Final = """
## With tests of their own

| fault | what happens | comes to | test |
| --- | --- | --- | --- |
"""


@frozen
class Line:
    """One line of the first table."""

    fault: str
    cells: Sequence[str]


def _lines() -> Iterator[Line]:
    for row in ROWS:
        if row.plain is not None and row.plain == row.stream:
            pairs = [("both", row.plain)]
        else:
            pairs = [
                (kind, result)
                for kind, result in (("plain", row.plain), ("stream", row.stream))
                if result is not None
            ]
        for kind, result in pairs:
            yield Line(row.fault, (row.what, kind, *_cells(result)))


def _cells(result: Result) -> Sequence[str]:
    if result.raises is None:
        comes_to = "the response"
    else:
        phase = f" ({result.phase})" if result.phase else ""
        comes_to = f"`{result.raises.__name__}`{phase}"
    costs = list(result.billing)
    cost = (
        f"{len(costs)} x {costs[0]}"
        if len(costs) > 1 and len(set(costs)) == 1
        else None
    )
    return (
        comes_to,
        str(result.sent),
        cost or ", ".join(costs),
        f'"{result.partial}"' if result.partial else "",
        result.connection,
    )


def _table(rows: Iterator[Sequence[str]]) -> str:
    return "".join(
        f"| {' | '.join(cell.replace('|', '/') for cell in row)} |\n" for row in rows
    )


def contents() -> str:
    """Return the table of contents."""
    for name in MODULES:
        import_module(name)
    first = sorted(_lines(), key=lambda line: line.fault)
    own = sorted(COVERED, key=lambda covered: (covered.fault, covered.what))
    return (
        _HEAD
        + _table((line.fault, *line.cells) for line in first)
        + _MIDDLE
        + _table((c.fault, c.what, c.comes_to, f"`{c.where}`") for c in own)
    )


def missing() -> list[str]:
    """Return the faults that nothing covers."""
    contents()
    known = {row.fault for row in ROWS} | {c.fault for c in COVERED} | set(ELSEWHERE)
    return [number for number in NUMBERS if number not in known]


if __name__ == "__main__":
    PLACE.write_text(contents(), encoding="utf-8")
    sys.stdout.write(f"{PLACE.name}: {len(ROWS)} rows, {len(COVERED)} tests.\n")
