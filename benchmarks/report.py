"""The tables of the results, and their JSON: `python -m benchmarks --json FILE`."""

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
from benchmarks.contender import HANDWRITTEN, OURS
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
    """The median of some figures, with the lowest and the highest of them."""

    median: float
    lowest: float
    highest: float


@frozen
class MarkOutcome:
    """
    The comparison of a result with a mark.

    Attributes:
        status: "aim met", "met" or "MISSED"; "unknown" if there are no figures.
    """

    mark: Mark
    value: float | None
    status: str


def spread(figures: Sequence[float]) -> Spread:
    """Return the spread of one or more figures."""
    return Spread(statistics.median(figures), min(figures), max(figures))


def ratios(result: Result, baseline: Result | None) -> list[float]:
    """Return the ratios to the hand-written contender, round by round."""
    if baseline is None:
        return []
    return [
        mine.figure / theirs.figure
        for mine, theirs in zip(result.samples, baseline.samples, strict=False)
    ]


def handwritten_result(results: Sequence[Result]) -> Result | None:
    """Return the result of the hand-written contender."""
    return next((result for result in results if result.contender == HANDWRITTEN), None)


def check_marks(case: type[Case], results: Sequence[Result]) -> list[MarkOutcome]:
    """Compare the result of openrouter_async with the marks of a case."""
    ours = next(result for result in results if result.contender == OURS)
    outcomes: list[MarkOutcome] = []
    for mark in case.marks:
        if mark.of == RATIO:
            figures = ratios(ours, handwritten_result(results))
        else:
            figures = [sample.extras[mark.of] for sample in ours.samples]
        if not figures:
            outcomes.append(MarkOutcome(mark, None, "unknown"))
            continue
        value = statistics.median(figures)
        if mark.aim is not None and value <= mark.aim:
            status = "aim met"
        else:
            status = "met" if value <= mark.limit else "MISSED"
        outcomes.append(MarkOutcome(mark, value, status))
    return outcomes


def describe(outcome: MarkOutcome) -> str:
    """Describe an outcome in words."""
    mark = outcome.mark
    name = "ratio to hand-written" if mark.of == RATIO else mark.of
    aim = "" if mark.aim is None else f", aim {mark.aim:g}"
    value = "no figures" if outcome.value is None else f"{outcome.value:.2f}"
    return f"{name} {value} (at most {mark.limit:g}{aim}): {outcome.status}"


def brief(figure: float) -> str:
    """Format a figure with three significant digits."""
    if figure >= 1000:
        return f"{figure:,.0f}"
    return f"{figure:.3g}" if figure < 100 else f"{figure:.0f}"


def table(case: type[Case], results: Sequence[Result]) -> Table:
    """Return the table of one case."""
    outcomes = check_marks(case, results)
    drawn = Table(
        title=f"[bold]{case.name}[/bold]: {escape(case.work)}",
        caption="\n".join(escape(describe(outcome)) for outcome in outcomes),
        title_justify="left",
        caption_justify="left",
    )
    drawn.add_column("contender", no_wrap=True)
    drawn.add_column(case.figure, justify="right")
    drawn.add_column("ratio", justify="right")
    drawn.add_column("wall, s", justify="right")
    drawn.add_column("units a round", justify="right")
    drawn.add_column("further")
    for result in results:
        drawn.add_row(result.contender, *_cells(result, handwritten_result(results)))
    return drawn


def _cells(result: Result, baseline: Result | None) -> list[str]:
    if not result.samples:
        return ["-", "-", "-", "-", escape(result.note)]
    cells = [
        _cell([sample.figure for sample in result.samples]),
        _cell(ratios(result, baseline)),
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
    return f"{brief(of.median)} ({brief(of.lowest)} to {brief(of.highest)})"


def machine(job: Job, rounds: int) -> dict[str, Any]:
    """Return a description of the machine and the versions."""
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
    """Print two lines about the machine and the versions."""
    console.print(
        f"{facts['cpu']}, {facts['cores']} cores, {facts['system']}, "
        f"{facts['python']}, {facts['loop']}, {facts['rounds']} rounds"
        + (", QUICK: figures are not meaningful" if facts["quick"] else "")
    )
    versions = (f"{name} {version}" for name, version in facts["packages"].items())
    console.print(", ".join(versions), highlight=False)


def write_json(
    path: Path,
    facts: dict[str, Any],
    found: Sequence[tuple[type[Case], Sequence[Result]]],
) -> None:
    """Write all samples with the machine and the outcomes."""
    cases = [
        {
            "name": case.name,
            "work": case.work,
            "figure": case.figure,
            "marks": [attrs.asdict(outcome) for outcome in check_marks(case, results)],
            "results": [
                attrs.asdict(result)
                | {"ratios": ratios(result, handwritten_result(results))}
                for result in results
            ],
        }
        for case, results in found
    ]
    text = json.dumps({"machine": facts, "cases": cases}, indent=2)
    path.write_text(text + "\n", encoding="utf-8")
