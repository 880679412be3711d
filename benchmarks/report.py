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
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmarks.case import RATIO, Job, Sample
from benchmarks.cases import find
from benchmarks.contender import BARE, HANDWRITTEN, OURS
from benchmarks.results import CaseResults, MarkOutcome, Result, spread
from benchmarks.settings import Setting

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


def describe(outcome: MarkOutcome) -> str:
    """Describe an outcome in words."""
    mark = outcome.mark
    name = f"ratio to {mark.baseline}" if mark.of == RATIO else mark.of
    if mark.contender != OURS:
        name = f"{mark.contender}: {name}"
    value = "no figures" if outcome.value is None else f"{outcome.value:.2f}"
    return (
        f"{name} {value} (at most {mark.limit:g}, {mark.setting.name}): "
        f"{outcome.status}"
    )


def brief(figure: float) -> str:
    """Format a figure with three significant digits."""
    if figure >= 1000:
        return f"{figure:,.0f}"
    return f"{figure:.3g}" if figure < 100 else f"{figure:.0f}"


def median(figures: Sequence[float]) -> str:
    """Format the median of some figures; "-" if there are none."""
    return brief(statistics.median(figures)) if figures else "-"


def with_spread(figures: Sequence[float]) -> str:
    """Format the median, the lowest and the highest figure; "-" if there are none."""
    if not figures:
        return "-"
    of = spread(figures)
    return f"{brief(of.median)} ({brief(of.lowest)} to {brief(of.highest)})"


def table(found: CaseResults) -> Table:
    """Return the table of one case."""
    drawn = Table(
        title=f"[bold]{found.case.name}[/bold]: {escape(found.case.work)}",
        caption="\n".join(escape(describe(outcome)) for outcome in found.outcomes()),
        title_justify="left",
        caption_justify="left",
    )
    drawn.add_column("contender", no_wrap=True)
    drawn.add_column(found.case.figure, justify="right")
    drawn.add_column(f"to {HANDWRITTEN}", justify="right")
    drawn.add_column(f"to {BARE}", justify="right")
    drawn.add_column("wall, s", justify="right")
    drawn.add_column("units a round", justify="right")
    drawn.add_column("further")
    setting = None
    for result in found.results:
        if result.setting != setting:
            setting = result.setting
            drawn.add_section()
            drawn.add_row(f"[italic]{setting.name}[/italic]")
        drawn.add_row(result.contender, *_cells(found, result))
    return drawn


def _cells(found: CaseResults, result: Result) -> list[str]:
    if not result.samples:
        return ["-", "-", "-", "-", "-", escape(result.note)]
    further = [
        f"{name} {median([sample.extras[name] for sample in result.samples])}"
        for name in result.samples[0].extras
    ]
    if result.note:
        further.append(result.note)
    return [
        with_spread(result.figures),
        with_spread(found.ratios(result)),
        median(found.ratios(result, BARE)),
        median([sample.wall for sample in result.samples]),
        f"{result.samples[0].units:,}",
        escape(", ".join(further)),
    ]


def machine(job: Job, rounds: int) -> dict[str, Any]:
    """Return a description of the machine and the versions."""
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
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
        f"{facts['python']}, {facts['rounds']} rounds"
        + (", QUICK: figures are not meaningful" if facts["quick"] else "")
    )
    versions = (f"{name} {version}" for name, version in facts["packages"].items())
    console.print(", ".join(versions), highlight=False)


def write_json(path: Path, facts: dict[str, Any], found: Sequence[CaseResults]) -> None:
    """Write all samples with the machine and the outcomes."""
    cases = [
        {
            "name": one.case.name,
            "work": one.case.work,
            "figure": one.case.figure,
            "marks": [
                attrs.asdict(outcome) | {"status": outcome.status}
                for outcome in one.outcomes()
            ],
            "results": [
                attrs.asdict(result) | {"ratios": one.ratios(result)}
                for result in one.results
            ],
        }
        for one in found
    ]
    text = json.dumps({"machine": facts, "cases": cases}, indent=2)
    path.write_text(text + "\n", encoding="utf-8")


def read_json(path: Path) -> tuple[dict[str, Any], list[CaseResults]]:
    """Read what `write_json` wrote."""
    content = json.loads(path.read_text(encoding="utf-8"))
    found = [
        CaseResults(find(one["name"]), [_result(result) for result in one["results"]])
        for one in content["cases"]
    ]
    return content["machine"], found


def _result(fields: dict[str, Any]) -> Result:
    return Result(
        fields["contender"],
        setting=Setting(**fields["setting"]),
        samples=[Sample(**sample) for sample in fields["samples"]],
        note=fields["note"],
        versions=fields["versions"],
    )
