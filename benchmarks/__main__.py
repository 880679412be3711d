"""
Command line of the benchmarks: `python -m benchmarks [NAME ...]`.

All cases in all settings take about 10 minutes, or 2 minutes with `--quick`.
`README.md` in this folder says what each case measures and does not measure.
"""

import argparse
import time
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks import harness, markdown, report
from benchmarks.case import Case, Job
from benchmarks.cases import CASES, NAMES, named
from benchmarks.results import CaseResults
from benchmarks.settings import SETTINGS, Setting


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(NAMES))
    parser.add_argument(
        "--settings",
        metavar="NAME,...",
        help="run the cases in these settings only: "
        + ", ".join(setting.name for setting in SETTINGS),
    )
    parser.add_argument(
        "--peers",
        action="store_true",
        help="other clients take part in all cases, not only in the short ones",
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--quick", action="store_true", help="a tenth of the work, one round"
    )
    parser.add_argument("--long", action="store_true", help="also run the soak")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all samples")
    parser.add_argument(
        "--read",
        type=Path,
        metavar="FILE",
        help="take the samples from a file that --json wrote, and measure nothing",
    )
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw a PNG or SVG")
    parser.add_argument(
        "--markdown",
        type=Path,
        metavar="FILE",
        help="replace the tables in this file, between its two markers",
    )
    found = parser.parse_args()
    unknown = set(found.names) - {case.name for case in CASES} - set(NAMES)
    if unknown:
        parser.error(f"unknown case: {', '.join(sorted(unknown))}")
    names = found.settings.split(",") if found.settings else None
    found.settings = [s for s in SETTINGS if names is None or s.name in names]
    if names is not None and len(found.settings) != len(names):
        parser.error(f"unknown setting in {names}")
    return found


def chosen(names: list[str], *, long: bool) -> list[type[Case]]:
    """Return the cases to run; long cases only if `long` is True."""
    cases = [case for name in names for case in named(name)] or list(CASES)
    return [case for case in cases if long or not case.long]


def plan(options: argparse.Namespace) -> list[CaseResults]:
    """Return the cases to run with their participants, without samples."""
    planned: list[CaseResults] = []
    for case in chosen(options.names, long=options.long):
        settings: list[Setting] = [s for s in case.settings if s in options.settings]
        results = harness.participants(case, settings, peers=options.peers)
        if results:
            planned.append(CaseResults(case, results))
    return planned


def measure(
    console: Console, options: argparse.Namespace
) -> tuple[dict[str, Any], list[CaseResults]]:
    """Run the requested cases and print the table of each when it is done."""
    rounds = 1 if options.quick else options.rounds
    core, _ = harness.cores()
    planned = plan(options)
    started = time.monotonic()
    with harness.server() as port:
        job = Job(port=port, quick=options.quick, core=core)
        facts = report.machine(job, rounds)
        report.show_machine(console, facts)
        if not options.quick:
            with console.status("compiling") as status:
                harness.compile_files(planned, job, status.update)
        for found in planned:
            with console.status(found.case.name) as status:
                # A soak takes long enough for a single round.
                harness.run(found, job, 1 if found.case.long else rounds, status.update)
            console.print(report.table(found))
    facts["minutes"] = round((time.monotonic() - started) / 60, 1)
    return facts, planned


def main() -> None:
    """Measure or read the results, and write what was asked for."""
    options = arguments()
    # rich assumes 80 columns for a pipe, which is too narrow for the tables.
    console = Console()
    if not console.is_terminal:
        console = Console(width=140)
    if options.read is not None:
        facts, found = report.read_json(options.read)
        for one in found:
            console.print(report.table(one))
    else:
        facts, found = measure(console, options)
    if options.json is not None:
        report.write_json(options.json, facts, found)
    if options.markdown is not None:
        markdown.fill(options.markdown, facts, found)
    if options.plot is not None:
        caption = (
            f"{facts['cpu']}, {facts['python']}; bars: median of {facts['rounds']} "
            "rounds, lines: lowest to highest; diamonds: with equal malloc"
        )
        from benchmarks import picture  # noqa: PLC0415 - matplotlib is slow to import

        picture.plot(options.plot, found, caption)


if __name__ == "__main__":
    main()
