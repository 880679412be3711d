"""
A bar chart of what the cases gave.

Not run by itself; `python -m benchmarks --plot FILE` asks for it.
"""

# matplotlib leaves its keywords untyped.
# pyright: reportUnknownMemberType=false

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from benchmarks.case import Case
from benchmarks.contender import HAND, OFFICIAL, OPENAI, OPENAI_AIOHTTP, OURS
from benchmarks.harness import Result
from benchmarks.report import by_hand, ratios, spread

COLOURS = {
    HAND: "#888888",
    OURS: "#1b6ca8",
    OPENAI: "#d98c3f",
    OPENAI_AIOHTTP: "#e3b778",
    OFFICIAL: "#b5484e",
}


def plot(
    path: Path, found: Sequence[tuple[type[Case], Sequence[Result]]], caption: str
) -> None:
    """A bar for each contender of each case: how many times hand, on a log scale."""
    shown = [
        (case, [result for result in results if ratios(result, by_hand(results))])
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
            of = spread(ratios(result, by_hand(results)))
            axes.barh(
                at,
                of.median,
                height=0.86,
                color=COLOURS[name],
                label=None if name in labelled else name,
                xerr=[[of.median - of.least], [of.most - of.median]],
                error_kw={"lw": 0.8, "ecolor": "#333333"},
            )
            axes.text(of.most * 1.06, at, f"{of.median:.3g}", va="center", fontsize=7.5)
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
    axes.set_xlabel("times the hand-written loop (log scale, less is better)")
    axes.set_title("Cost beside aiohttp + orjson written by hand", fontsize=11)
    axes.legend(fontsize=8, loc="lower right")
    axes.spines[["top", "right"]].set_visible(False)
    figure.text(0.01, 0.004, caption, fontsize=6.5, color="#555555")
    figure.savefig(path, dpi=150)
