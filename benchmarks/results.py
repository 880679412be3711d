"""
The results of a case: samples, ratios and the comparison with the marks.

This module is not run directly, and it measures nothing.
"""

import statistics
from collections.abc import Sequence

from attrs import define, field, frozen

from benchmarks.case import RATIO, Case, Mark, Sample
from benchmarks.contender import HANDWRITTEN
from benchmarks.settings import AS_INSTALLED, Setting


@define
class Result:
    """
    The samples of one contender in one case and setting.

    Attributes:
        samples: One per round.
        note: The reason if samples are missing.
        versions: Versions of Python and of the contender's packages.
    """

    contender: str
    setting: Setting = AS_INSTALLED
    samples: list[Sample] = field(factory=list[Sample])
    note: str = ""
    versions: dict[str, str] = field(factory=dict[str, str])

    @property
    def figures(self) -> list[float]:
        """The figure of each round."""
        return [sample.figure for sample in self.samples]


@frozen
class Spread:
    """The median of some figures, with the lowest and the highest of them."""

    median: float
    lowest: float
    highest: float


def spread(figures: Sequence[float]) -> Spread:
    """Return the spread of one or more figures."""
    return Spread(statistics.median(figures), min(figures), max(figures))


@frozen
class MarkOutcome:
    """
    The comparison of a result with a mark.

    Attributes:
        value: The median; None if there are no figures.
    """

    mark: Mark
    value: float | None

    @property
    def status(self) -> str:
        """Either "met", "MISSED" or "unknown"."""
        if self.value is None:
            return "unknown"
        return "met" if self.value <= self.mark.limit else "MISSED"


@frozen
class CaseResults:
    """The results of all participants of one case."""

    case: type[Case]
    results: list[Result]

    def find(self, contender: str, setting: Setting = AS_INSTALLED) -> Result | None:
        """Return the result of a contender in a setting, if it took part."""
        for result in self.results:
            if result.contender == contender and result.setting == setting:
                return result
        return None

    def ratios(self, result: Result, baseline: str = HANDWRITTEN) -> list[float]:
        """Return the ratios to a baseline in the same setting, round by round."""
        other = self.find(baseline, result.setting)
        if other is None:
            return []
        pairs = zip(result.figures, other.figures, strict=False)
        return [figure / base for figure, base in pairs]

    def outcomes(self) -> list[MarkOutcome]:
        """Compare the results with the marks in the settings that were run."""
        settings = [result.setting for result in self.results]
        return [
            MarkOutcome(mark, self._value(mark))
            for mark in self.case.marks
            if mark.setting in settings
        ]

    def _value(self, mark: Mark) -> float | None:
        result = self.find(mark.contender, mark.setting)
        if result is None or not result.samples:
            return None
        if mark.of == RATIO:
            figures = self.ratios(result, mark.baseline)
        else:
            figures = [sample.extras[mark.of] for sample in result.samples]
        return statistics.median(figures) if figures else None
