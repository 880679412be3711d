"""
Run the benchmarks: `python -m benchmarks [NAME ...]`.

All cases take about 10 minutes, with `--quick` about one; `README.md` in this folder
tells what each does not measure.
"""

import argparse
from pathlib import Path

from rich.console import Console

from benchmarks import harness, report
from benchmarks.case import Case, Job
from benchmarks.cases import CASES, NAMES, named


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--json", type=Path, metavar="FILE", help="all samples")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="a PNG or SVG")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="a tenth, one round")
    parser.add_argument("--long", action="store_true", help="the soak as well")
    parser.add_argument("--uvloop", action="store_true", help="contenders on uvloop")
    found = parser.parse_args()
    unknown = set(found.names) - {case.name for case in CASES} - set(NAMES)
    if unknown:
        parser.error(f"no such case: {', '.join(sorted(unknown))}")
    return found


def chosen(names: list[str], *, long: bool) -> list[type[Case]]:
    """The cases to run; a long one only where `long` allows it."""
    cases = [case for name in names for case in named(name)] or list(CASES)
    return [case for case in cases if long or not case.long]


def main() -> None:
    """Run what is asked for, each table as soon as it is there."""
    asked = arguments()
    # A pipe has no width; a table of 80 columns cannot be read.
    console = Console()
    if not console.is_terminal:
        console = Console(width=130)
    rounds = 1 if asked.quick else asked.rounds
    core, _ = harness.cores()
    found: list[tuple[type[Case], list[harness.Result]]] = []
    with harness.server() as port:
        job = Job(port=port, quick=asked.quick, uvloop=asked.uvloop, core=core)
        facts = report.machine(job, rounds)
        report.show_machine(console, facts)
        for case in chosen(asked.names, long=asked.long):
            with console.status(case.name) as status:
                # The soak is long enough to be done once.
                results = harness.run(
                    case, job, 1 if case.long else rounds, status.update
                )
            found.append((case, results))
            console.print(report.table(case, results))
    if asked.json is not None:
        report.write_json(asked.json, facts, found)
    if asked.plot is not None:
        caption = (
            f"{facts['cpu']}, {facts['python']}, {facts['loop']}; bars: median of "
            f"{rounds} rounds, lines: least to most"
        )
        # Slow to import, and few ask for a picture.
        from benchmarks import picture  # noqa: PLC0415

        picture.plot(asked.plot, found, caption)


if __name__ == "__main__":
    main()
