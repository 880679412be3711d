"""
Writer of the table of faults.

`python tests/faults/contents.py` writes `README.md` in the same folder. A test fails if
the file is out of date.
"""

import sys
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Final

from attrs import frozen
from covers import COVERED
from fault_rows import Result
from matrix import ROWS

README: Final = Path(__file__).with_name("README.md")
MODULES: Final[Sequence[str]] = (
    "test_fault_network",
    "test_fault_calls",
    "test_hostile_servers",
    "test_cancellation_points",
    "test_fork",
)
NUMBERS: Final[Sequence[str]] = tuple(f"F{n:02d}" for n in range(1, 84))

UNTESTED: Final[dict[str, str]] = {}
"""Faults without a test in this folder, with the reason."""

_HEAD: Final = """\
# Faults and their outcomes

The faults that a call can meet, and how the call ends. `python tests/faults/contents.py` writes
this file from the tests in this folder; do not edit it.

After every fault, the tests also check that no slot is in use, that no task, file descriptor
or warning is left, and that the next call of the same client succeeds. They use real sockets
on the loopback interface; the server in `script.py` sends exactly the bytes that a test
names.

- *sent*: number of requests of which the server received the whole head; 3 attempts are
  allowed.
- *billing*: `error.attempts[n].billing` of each attempt.
- *partial*: the text in `error.partial`, of "hello".
- *connection*: `pooled` if it is back in the pool, else `closed`.

| fault | description | call | outcome | sent | billing | partial | connection |
| --- | --- | --- | --- | --- | --- | --- | --- |
"""
_MIDDLE: Final = """
## Faults with tests of their own

| fault | description | outcome | test |
| --- | --- | --- | --- |
"""


@frozen
class Line:
    """One line of the first table: the number of the fault, and the other cells."""

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
            yield Line(row.fault, (row.description, kind, *_cells(result)))


def _cells(result: Result) -> Sequence[str]:
    if result.raises is None:
        outcome = "the response"
    else:
        phase = f" ({result.phase})" if result.phase else ""
        outcome = f"`{result.raises.__name__}`{phase}"
    billings = list(result.billing)
    billing = (
        f"{len(billings)} x {billings[0]}"
        if len(billings) > 1 and len(set(billings)) == 1
        else None
    )
    return (
        outcome,
        str(result.sent),
        billing or ", ".join(billings),
        f'"{result.partial}"' if result.partial else "",
        result.connection,
    )


def _table(rows: Iterator[Sequence[str]]) -> str:
    return "".join(
        f"| {' | '.join(cell.replace('|', '/') for cell in row)} |\n" for row in rows
    )


def contents() -> str:
    """Return the text of the table."""
    for name in MODULES:
        import_module(name)
    first = sorted(_lines(), key=lambda line: line.fault)
    own = sorted(COVERED, key=lambda covered: (covered.fault, covered.description))
    return (
        _HEAD
        + _table((line.fault, *line.cells) for line in first)
        + _MIDDLE
        + _table((c.fault, c.description, c.outcome, f"`{c.test}`") for c in own)
    )


def missing() -> list[str]:
    """Return the numbers of the faults without a test or a reason."""
    contents()
    known = {row.fault for row in ROWS} | {c.fault for c in COVERED} | set(UNTESTED)
    return [number for number in NUMBERS if number not in known]


if __name__ == "__main__":
    README.write_text(contents(), encoding="utf-8")
    sys.stdout.write(f"{README.name}: {len(ROWS)} rows, {len(COVERED)} tests.\n")
