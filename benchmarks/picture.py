"""A bar chart of the results: `python -m benchmarks --plot FILE`."""

# The keywords of matplotlib are not typed.
# pyright: reportUnknownMemberType=false

from collections.abc import Sequence
from pathlib import Path

from attrs import frozen
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.contender import (
    BARE,
    HANDWRITTEN,
    LANGCHAIN,
    LITELLM,
    OFFICIAL,
    OPENAI,
    OPENAI_AIOHTTP,
    OURS,
    OURS_CHOICES,
    OURS_JOURNAL,
    OURS_RAW,
    PYDANTIC_AI,
)
from benchmarks.results import CaseResults, Spread, spread
from benchmarks.settings import AS_INSTALLED, EQUAL_MALLOC

COLOURS = {
    BARE: "#bbbbbb",
    HANDWRITTEN: "#888888",
    OURS: "#1b6ca8",
    OURS_CHOICES: "#4a90c4",
    OURS_RAW: "#8ab8dc",
    OURS_JOURNAL: "#4a90c4",
    OPENAI: "#d98c3f",
    OPENAI_AIOHTTP: "#e3b778",
    OFFICIAL: "#b5484e",
    LITELLM: "#6f9e57",
    PYDANTIC_AI: "#8a6bb0",
    LANGCHAIN: "#b98aa5",
}


@frozen
class Bar:
    """
    The bar of one contender.

    Attributes:
        ratio: Ratio to the hand-written contender, as installed.
        equal_malloc: Median of the same ratio with equal malloc; None if not measured.
    """

    contender: str
    ratio: Spread
    equal_malloc: float | None


def plot(path: Path, found: Sequence[CaseResults], caption: str) -> None:
    """Draw the ratio of each contender to the hand-written one, on a log scale."""
    groups = [(one, bars) for one in found if (bars := _bars(one))]
    count = sum(len(bars) for _, bars in groups)
    height = 1.4 + 0.24 * count + 0.12 * len(groups)
    figure = Figure(figsize=(9, height), layout="constrained")
    axes = figure.add_subplot()
    at = 0.0
    ticks: list[tuple[float, str]] = []
    for one, bars in groups:
        ticks.append((at + (len(bars) - 1) / 2, f"{one.case.name}\n{one.case.figure}"))
        for bar in bars:
            _draw(axes, at, bar)
            at += 1
        at += 0.7
    axes.set_yticks([y for y, _ in ticks], [label for _, label in ticks], fontsize=8)
    axes.margins(y=0.01)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.axvline(1, color="#333333", lw=0.8)
    low, high = axes.get_xlim()
    axes.set_xlim(min(0.5, low), high * 4)
    axes.set_xlabel("ratio to hand-written code (log scale, less is better)")
    axes.set_title(
        "Cost relative to hand-written code on aiohttp and orjson", fontsize=11
    )
    axes.spines[["top", "right"]].set_visible(False)
    figure.supxlabel(caption, x=0.01, ha="left", fontsize=6.5, color="#555555")
    figure.savefig(path, dpi=150)


def _bars(found: CaseResults) -> list[Bar]:
    bars: list[Bar] = []
    for result in found.results:
        ratios = found.ratios(result)
        if result.setting != AS_INSTALLED or not ratios:
            continue
        equal = found.find(result.contender, EQUAL_MALLOC)
        equal_ratios = [] if equal is None else found.ratios(equal)
        median = spread(equal_ratios).median if equal_ratios else None
        bars.append(Bar(result.contender, spread(ratios), median))
    return bars


def _draw(axes: Axes, at: float, bar: Bar) -> None:
    of = bar.ratio
    axes.barh(
        at,
        of.median,
        height=0.86,
        color=COLOURS[bar.contender],
        xerr=[[of.median - of.lowest], [of.highest - of.median]],
        error_kw={"lw": 0.8, "ecolor": "#333333"},
    )
    if bar.equal_malloc is not None:
        axes.plot(
            bar.equal_malloc,
            at,
            marker="D",
            markersize=4,
            markerfacecolor="white",
            markeredgecolor="#333333",
        )
    end = max(of.highest, bar.equal_malloc or 0)
    text = f"{of.median:.3g}  {bar.contender}"
    axes.text(end * 1.1, at, text, va="center", fontsize=7.5)
