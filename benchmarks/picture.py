"""A bar chart of the results: `python -m benchmarks --plot FILE`."""

# The keywords of matplotlib are not typed.
# pyright: reportUnknownMemberType=false

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from benchmarks.case import Case
from benchmarks.contender import HANDWRITTEN, OFFICIAL, OPENAI, OPENAI_AIOHTTP, OURS
from benchmarks.harness import Result
from benchmarks.report import handwritten_result, ratios, spread

COLOURS = {
    HANDWRITTEN: "#888888",
    OURS: "#1b6ca8",
    OPENAI: "#d98c3f",
    OPENAI_AIOHTTP: "#e3b778",
    OFFICIAL: "#b5484e",
}


def plot(
    path: Path, found: Sequence[tuple[type[Case], Sequence[Result]]], caption: str
) -> None:
    """Draw the ratio of each contender to the hand-written one, on a log scale."""
    shown = [
        (
            case,
            [
                result
                for result in results
                if ratios(result, handwritten_result(results))
            ],
        )
        for case, results in found
    ]
    shown = [(case, results) for case, results in shown if results]
    rows = sum(len(results) for _, results in shown)
    height = 1.4 + 0.24 * rows + 0.12 * len(shown)
    figure = Figure(figsize=(9, height), layout="constrained")
    axes = figure.add_subplot()
    at = 0.0
    ticks: list[tuple[float, str]] = []
    labelled: set[str] = set()
    for case, results in shown:
        top = at
        for result in results:
            name = result.contender
            of = spread(ratios(result, handwritten_result(results)))
            axes.barh(
                at,
                of.median,
                height=0.86,
                color=COLOURS[name],
                label=None if name in labelled else name,
                xerr=[[of.median - of.lowest], [of.highest - of.median]],
                error_kw={"lw": 0.8, "ecolor": "#333333"},
            )
            axes.text(
                of.highest * 1.06, at, f"{of.median:.3g}", va="center", fontsize=7.5
            )
            labelled.add(name)
            at += 1
        ticks.append(((top + at - 1) / 2, f"{case.name}\n{case.figure}"))
        at += 0.7
    axes.set_yticks([y for y, _ in ticks], [label for _, label in ticks], fontsize=8)
    axes.margins(y=0.01)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.axvline(1, color="#333333", lw=0.8)
    low, high = axes.get_xlim()
    axes.set_xlim(min(0.8, low), high * 1.4)
    axes.set_xlabel("ratio to hand-written code (log scale, less is better)")
    axes.set_title(
        "Cost relative to hand-written code on aiohttp and orjson", fontsize=11
    )
    axes.legend(fontsize=8, loc="lower right")
    axes.spines[["top", "right"]].set_visible(False)
    figure.supxlabel(caption, x=0.01, ha="left", fontsize=6.5, color="#555555")
    figure.savefig(path, dpi=150)
