"""
The results as Markdown: `python -m benchmarks --markdown FILE`.

It replaces the text between two markers in the file. A table without results is left
out. It measures nothing.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.case import RATIO
from benchmarks.contender import BARE, HANDWRITTEN, PEERS, entry
from benchmarks.report import median, with_spread
from benchmarks.results import CaseResults, Result
from benchmarks.settings import AS_INSTALLED, EQUAL_MALLOC, INTERPRETERS, Setting

BEGIN = "<!-- table: begin -->"
END = "<!-- table: end -->"


def fill(path: Path, facts: dict[str, Any], found: Sequence[CaseResults]) -> None:
    """
    Replace the text between the markers in a file by the tables.

    Raises:
        ValueError: If the file does not contain both markers, each once.
    """
    text = path.read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise ValueError(f"{path} needs the lines {BEGIN} and {END}, each once")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    tables = render(facts, found)
    path.write_text(f"{before}{BEGIN}\n{tables}\n{END}{after}", encoding="utf-8")


def render(facts: dict[str, Any], found: Sequence[CaseResults]) -> str:
    """Return all tables."""
    parts = [
        _introduction(facts),
        _cost(found),
        _marks(found),
        _interpreters(found),
        _peers(found),
    ]
    return "\n\n".join(part for part in parts if part)


def _introduction(facts: dict[str, Any]) -> str:
    packages = facts["packages"]
    versions = [f"{name} {packages[name]}" for name in ("aiohttp", "orjson", "uvloop")]
    machine = [
        facts["cpu"],
        f"{facts['cores']} cores",
        facts["system"],
        facts["python"],
        *versions,
        f"{facts['rounds']} rounds in {facts['minutes']:g} minutes",
    ]
    quick = " **Quick run: the figures are not meaningful.**" if facts["quick"] else ""
    return (
        f"{', '.join(machine)}. Figures are medians; in parentheses the lowest and the "
        f"highest ratio.{quick}"
    )


def _cost(found: Sequence[CaseResults]) -> str:
    """Return the table of the contenders that are not peers."""
    settings = AS_INSTALLED, EQUAL_MALLOC
    header = ["case, unit", "contender"]
    for setting in settings:
        header += [setting.name, "ratio", f"to {BARE}"]
    rows: list[list[str]] = []
    for one in found:
        name = f"`{one.case.name}`, {one.case.figure}"
        for contender in one.case.contenders:
            results = [one.find(contender, setting) for setting in settings]
            if not any(results):
                continue
            cells = [cell for result in results for cell in _figures(one, result)]
            rows.append([name, contender, *cells])
            name = ""
    return _titled("Each case by `python -m benchmarks NAME`:", header, rows)


def _figures(found: CaseResults, result: Result | None) -> list[str]:
    if result is None:
        return ["", "", ""]
    if not result.samples:
        return [result.note, "", ""]
    ratios = found.ratios(result)
    return [
        median(result.figures),
        "1" if result.contender == HANDWRITTEN else with_spread(ratios),
        "1" if result.contender == BARE else median(found.ratios(result, BARE)),
    ]


def _marks(found: Sequence[CaseResults]) -> str:
    header = ["case", "contender", "setting", "figure", "must be", "is", "status"]
    rows: list[list[str]] = []
    for one in found:
        for outcome in one.outcomes():
            mark = outcome.mark
            rows.append(
                [
                    f"`{one.case.name}`",
                    mark.contender,
                    mark.setting.name,
                    f"ratio to {mark.baseline}" if mark.of == RATIO else mark.of,
                    f"<= {mark.limit:g}",
                    "-" if outcome.value is None else f"{outcome.value:.2f}",
                    outcome.status,
                ]
            )
    return _titled("The marks:", header, rows)


def _interpreters(found: Sequence[CaseResults]) -> str:
    """Return the table of the event loops and versions of Python."""
    settings = [
        setting
        for setting in INTERPRETERS
        if any(result.setting == setting for one in found for result in one.results)
    ]
    if not settings:
        return ""
    settings.insert(0, AS_INSTALLED)
    rows: list[list[str]] = []
    for one in found:
        if not set(settings[1:]) & {result.setting for result in one.results}:
            continue
        name = f"`{one.case.name}`, {one.case.figure}"
        for contender in _contenders(one, settings[1:]):
            cells = [_with_ratio(one, contender, setting) for setting in settings]
            rows.append([name, contender, *cells])
            name = ""
    names = ",".join(setting.name for setting in settings[1:])
    header = ["case, unit", "contender", *(_title(found, each) for each in settings)]
    return _titled(
        f'Each by `python -m benchmarks NAME --settings "{names}"`; in parentheses the '
        "ratio to the hand-written contender in the same column:",
        header,
        rows,
    )


def _contenders(found: CaseResults, settings: Iterable[Setting]) -> list[str]:
    names = [r.contender for r in found.results if r.setting in settings]
    return list(dict.fromkeys(names))


def _title(found: Sequence[CaseResults], setting: Setting) -> str:
    """Return the title of a column: the event loop, and the version of Python."""
    versions = [
        result.versions["Python"]
        for one in found
        for result in one.results
        if result.setting == setting and result.versions
    ]
    loop = "uvloop" if setting.uvloop else "asyncio"
    return f"{loop}, {versions[0]}" if versions else setting.name


def _with_ratio(found: CaseResults, contender: str, setting: Setting) -> str:
    result = found.find(contender, setting)
    if result is None:
        return ""
    if not result.samples:
        return result.note
    return f"{median(result.figures)} ({median(found.ratios(result))})"


def _peers(found: Sequence[CaseResults]) -> str:
    """Return the table of the other clients, one row each."""
    cases = [one for one in found if set(PEERS) & {r.contender for r in one.results}]
    rows: list[list[str]] = []
    for peer in PEERS:
        if not any(one.find(peer) for one in cases):
            continue
        cells = [_with_ratio(one, peer, AS_INSTALLED) for one in cases]
        rows.append([peer, _versions(cases, peer), *cells, entry(peer).does])
    header = [
        "client",
        "versions",
        *(f"`{one.case.name}`, {one.case.figure}" for one in cases),
        "what it does in that time",
    ]
    return _titled(
        'Each by `python -m benchmarks NAME --settings "as installed"`; in parentheses '
        "the ratio to the hand-written contender:",
        header,
        rows,
    )


def _versions(cases: Iterable[CaseResults], peer: str) -> str:
    for one in cases:
        result = one.find(peer)
        if result is not None and result.versions:
            versions = result.versions.items()
            return ", ".join(f"{n} {v}" for n, v in versions if n != "Python")
    return "-"


def _titled(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join([title, "", *("| " + " | ".join(line) + " |" for line in lines)])
