"""
Command line of the benchmarks: `python -m benchmarks [NAME ...]`.

All cases take about 10 minutes, or one minute with `--quick`. `README.md` in this
folder says what each case measures and does not measure.
"""

import argparse
from pathlib import Path

from rich.console import Console

from benchmarks import harness, report
from benchmarks.case import Case, Job
from benchmarks.cases import CASES, NAMES, named


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all samples")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw a PNG or SVG")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--quick", action="store_true", help="a tenth of the work, one round"
    )
    parser.add_argument("--long", action="store_true", help="also run the soak")
    parser.add_argument(
        "--uvloop", action="store_true", help="run the clients on uvloop"
    )
    found = parser.parse_args()
    unknown = set(found.names) - {case.name for case in CASES} - set(NAMES)
    if unknown:
        parser.error(f"unknown case: {', '.join(sorted(unknown))}")
    return found


def chosen(names: list[str], *, long: bool) -> list[type[Case]]:
    """Return the cases to run; long cases only if `long` is True."""
    cases = [case for name in names for case in named(name)] or list(CASES)
    return [case for case in cases if long or not case.long]


def main() -> None:
    """Run the requested cases and print the table of each when it is done."""
    options = arguments()
    # rich assumes 80 columns for a pipe, which is too narrow for the tables.
    console = Console()
    if not console.is_terminal:
        console = Console(width=130)
    rounds = 1 if options.quick else options.rounds
    core, _ = harness.cores()
    found: list[tuple[type[Case], list[harness.Result]]] = []
    with harness.server() as port:
        job = Job(port=port, quick=options.quick, uvloop=options.uvloop, core=core)
        facts = report.machine(job, rounds)
        report.show_machine(console, facts)
        for case in chosen(options.names, long=options.long):
            with console.status(case.name) as status:
                # A soak takes long enough for a single round.
                results = harness.run(
                    case, job, 1 if case.long else rounds, status.update
                )
            found.append((case, results))
            console.print(report.table(case, results))
    if options.json is not None:
        report.write_json(options.json, facts, found)
    if options.plot is not None:
        caption = (
            f"{facts['cpu']}, {facts['python']}, {facts['loop']}; bars: median of "
            f"{rounds} rounds, lines: lowest to highest"
        )
        from benchmarks import picture  # noqa: PLC0415 - matplotlib is slow to import

        picture.plot(options.plot, found, caption)


if __name__ == "__main__":
    main()
