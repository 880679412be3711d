"""Processes of Ray below this one, for measurements and tests that kill them."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from attrs import define


@define
class Deadly:
    """An answer whose construction may kill the process."""

    text: str

    def __attrs_post_init__(self) -> None:
        if self.text == "die":
            os.kill(os.getpid(), signal.SIGKILL)


def parents() -> dict[int, int]:
    """The parent of each process on this machine."""
    found: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            # The name of the process, in parentheses, may contain anything.
            fields = path.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        found[int(path.parent.name)] = int(fields[1])
    return found


def descendants(title: str, root: int | None = None) -> list[int]:
    """Processes below a process, or below this one, whose title has a text."""
    parent_of, top = parents(), root or os.getpid()
    found: list[int] = []
    for pid in parent_of:
        above = pid
        while above in parent_of and above != top:
            above = parent_of[above]
        if above != top or pid == top:
            continue
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if title.encode() in command:
            found.append(pid)
    return sorted(found)


def cpu_seconds(pid: int) -> float:
    """CPU time of a process; 0.0 if it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def stage_workers(root: int | None = None) -> list[int]:
    """The actors that send rows."""
    return descendants("ray::MapWorker(MapBatches(SendStage))", root)


def ledgers(root: int | None = None) -> list[int]:
    """The actors that hold a journal."""
    return descendants("ray::LedgerActor", root)


def wait_for(condition: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait until a condition is true; starting a process of Ray takes seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(0.02)
