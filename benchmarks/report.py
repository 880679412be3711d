"""
Tables and JSON of what the cases gave.

Not run by itself; `python -m benchmarks --json FILE` asks for it.
"""

import importlib.metadata
import json
import os
import platform
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
from attrs import frozen
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmarks.case import RATIO, Case, Job, Mark
from benchmarks.contender import HAND, OURS
from benchmarks.harness import Result

PACKAGES = (
    "openrouter_async",
    "aiohttp",
    "attrs",
    "cattrs",
    "orjson",
    "uvloop",
    "openai",
    "openrouter",
)


@frozen
class Spread:
    """The median of some figures, and the least and the greatest of them."""

    median: float
    least: float
    most: float


@frozen
class Verdict:
    """Whether a mark is met: "aim met", "met", "MISSED"; "unknown": no figures."""

    mark: Mark
    value: float | None
    word: str


def spread(figures: Sequence[float]) -> Spread:
    """The spread of one figure or more."""
    return Spread(statistics.median(figures), min(figures), max(figures))


def ratios(result: Result, hand: Result | None) -> list[float]:
    """The figures over those of the hand-written one, round by round."""
    if hand is None:
        return []
    return [
        mine.figure / theirs.figure
        for mine, theirs in zip(result.samples, hand.samples, strict=False)
    ]


def by_hand(results: Sequence[Result]) -> Result | None:
    """The result of the hand-written one."""
    return next((result for result in results if result.contender == HAND), None)


def judge(case: type[Case], results: Sequence[Result]) -> list[Verdict]:
    """Which marks openrouter_async meets."""
    ours = next(result for result in results if result.contender == OURS)
    verdicts: list[Verdict] = []
    for mark in case.marks:
        if mark.of == RATIO:
            figures = ratios(ours, by_hand(results))
        else:
            figures = [sample.extras[mark.of] for sample in ours.samples]
        if not figures:
            verdicts.append(Verdict(mark, None, "unknown"))
            continue
        value = statistics.median(figures)
        if mark.aim is not None and value <= mark.aim:
            word = "aim met"
        else:
            word = "met" if value <= mark.limit else "MISSED"
        verdicts.append(Verdict(mark, value, word))
    return verdicts


def told(verdict: Verdict) -> str:
    """A verdict in words."""
    mark = verdict.mark
    what = "ratio to hand" if mark.of == RATIO else mark.of
    aim = "" if mark.aim is None else f", aim {mark.aim:g}"
    value = "no figures" if verdict.value is None else f"{verdict.value:.2f}"
    return f"{what} {value} (at most {mark.limit:g}{aim}): {verdict.word}"


def brief(figure: float) -> str:
    """Three digits that matter."""
    if figure >= 1000:
        return f"{figure:,.0f}"
    return f"{figure:.3g}" if figure < 100 else f"{figure:.0f}"


def table(case: type[Case], results: Sequence[Result]) -> Table:
    """One case as a table."""
    verdicts = judge(case, results)
    drawn = Table(
        title=f"[bold]{case.name}[/bold]: {escape(case.work)}",
        caption="\n".join(escape(told(verdict)) for verdict in verdicts),
        title_justify="left",
        caption_justify="left",
    )
    drawn.add_column("contender", no_wrap=True)
    drawn.add_column(case.figure, justify="right")
    drawn.add_column("ratio to hand", justify="right")
    drawn.add_column("wall, s", justify="right")
    drawn.add_column("units a round", justify="right")
    drawn.add_column("further")
    for result in results:
        drawn.add_row(result.contender, *_cells(result, by_hand(results)))
    return drawn


def _cells(result: Result, hand: Result | None) -> list[str]:
    if not result.samples:
        return ["-", "-", "-", "-", escape(result.note)]
    cells = [
        _cell([sample.figure for sample in result.samples]),
        _cell(ratios(result, hand)),
        brief(statistics.median(sample.wall for sample in result.samples)),
        f"{result.samples[0].units:,}",
    ]
    further = [
        f"{name} {brief(statistics.median(s.extras[name] for s in result.samples))}"
        for name in result.samples[0].extras
    ]
    if result.note:
        further.append(result.note)
    return [*cells, escape(", ".join(further))]


def _cell(figures: Sequence[float]) -> str:
    if not figures:
        return "-"
    of = spread(figures)
    return f"{brief(of.median)} ({brief(of.least)} to {brief(of.most)})"


def machine(job: Job, rounds: int) -> dict[str, Any]:
    """Where this was measured, and with what."""
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "loop": "uvloop" if job.uvloop else "asyncio",
        "rounds": rounds,
        "quick": job.quick,
        "packages": {package: _version(package) for package in PACKAGES},
    }


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2] for line in lines if line.startswith("model name")]
    return names[0].strip() if names else platform.machine()


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def show_machine(console: Console, facts: dict[str, Any]) -> None:
    """Two lines on the machine and the versions."""
    console.print(
        f"{facts['cpu']}, {facts['cores']} cores, {facts['system']}, "
        f"{facts['python']}, {facts['loop']}, {facts['rounds']} rounds"
        + (", QUICK: not for figures" if facts["quick"] else "")
    )
    versions = (f"{name} {version}" for name, version in facts["packages"].items())
    console.print(", ".join(versions), highlight=False)


def write_json(
    path: Path,
    facts: dict[str, Any],
    found: Sequence[tuple[type[Case], Sequence[Result]]],
) -> None:
    """All samples, with the machine and the verdicts."""
    cases = [
        {
            "name": case.name,
            "work": case.work,
            "figure": case.figure,
            "marks": [attrs.asdict(verdict) for verdict in judge(case, results)],
            "results": [
                attrs.asdict(result) | {"ratios": ratios(result, by_hand(results))}
                for result in results
            ],
        }
        for case, results in found
    ]
    text = json.dumps({"machine": facts, "cases": cases}, indent=2)
    path.write_text(text + "\n", encoding="utf-8")
