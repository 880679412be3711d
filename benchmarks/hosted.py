"""
Acceptance measurements of hosted batches, against a local server in its own process.

    python -m benchmarks.hosted                 # all, about 5 minutes
    python -m benchmarks.hosted crash budget    # some
    python -m benchmarks.hosted --quick         # smaller inputs; no figures

Each case prints one line of figures, with the target. The intervals are scaled, so the
time of a run says nothing about the service. The client runs in a process of its own,
which can be killed.
"""

import argparse
import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from attrs import evolve

from openrouter_async import AsyncOpenRouter, read_journal
from openrouter_async.batch.hosted.intervals import HostedIntervals
from openrouter_async.batch.jsonl import JsonLinesFile

MODEL = "openai/gpt-4o-mini"
MEBIBYTE = 1024 * 1024


# --- the client's process -------------------------------------------------------------


def make_rows(
    count: int, kind: str, size: int, run: str = "r"
) -> Iterator[dict[str, Any]]:
    """
    Yield rows, each with its own text.

    Their names differ from run to run: a batch whose submission was not answered is
    recognised by them.
    """
    models = (MODEL, "anthropic/claude-haiku-4.5", "google/gemini-2.5-flash")
    for number in range(count):
        body: dict[str, Any] = {
            "messages": [{"role": "user", "content": f"row {number} " + "y" * size}]
        }
        if kind == "models":
            part = number * 4 // count
            body["model"] = models[min(part, 2)]
            if part >= 2:
                body["response_format"] = {
                    "type": "json_schema",
                    "json_schema": {"name": f"s{part}", "schema": {"type": "object"}},
                }
        if kind == "invalid" and number == count // 3:
            url = {"url": "https://example.com/data:"}
            body["messages"][0]["content"] = [{"type": "image_url", "image_url": url}]
        yield {"custom_id": f"{run}-{number}", "body": body}


def resident() -> float:
    """Return the resident memory of this process in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / MEBIBYTE


def kill_after(event: int, *, before: bool) -> None:
    """Kill this process at an event of the state file, counted from 1."""
    original = JsonLinesFile.append
    count = 0

    def append(self: JsonLinesFile, data: bytes) -> None:
        nonlocal count
        is_event = self.path.name.endswith(".batches.jsonl")
        count += is_event
        if is_event and before and count == event:
            os.kill(os.getpid(), signal.SIGKILL)
        original(self, data)
        if is_event and count == event:
            os.kill(os.getpid(), signal.SIGKILL)

    JsonLinesFile.append = append  # type: ignore[method-assign]


async def client_run(task: dict[str, Any]) -> dict[str, Any]:
    """Run once, and return statistics and memory."""
    run_name = Path(task["journal"]).stem
    made = make_rows(task["rows"], task["kind"], task["size"], run_name)
    figures: dict[str, float] = {"before": resident(), "peak": 0.0}
    async with AsyncOpenRouter("k", base_url=task["url"]) as client:
        options: dict[str, Any] = {
            "model": MODEL,
            "max_tokens": 20,
            "journal": task["journal"],
            "max_cost": task.get("max_cost"),
        }
        source = made if task.get("stream") else list(made)
        if task.get("calls"):
            run = client.chat.send_many(source, **options)
        else:
            run = client.batches.run(
                source,
                wait=task.get("wait", True),
                batch_rows=task.get("batch_rows", 5000),
                # `fill` is not scaled: a process that is slow to fill a batch would
                # submit a part of it.
                intervals=evolve(
                    HostedIntervals().scaled(task.get("scale", 0.02)), fill=60.0
                ),
                **options,
            )

        async def watch() -> None:
            while True:
                now = resident()
                figures["peak"] = max(figures["peak"], now)
                if run.stats.attempts >= task["rows"]:
                    figures.setdefault("submitted", now)
                await asyncio.sleep(0.02)

        watching = asyncio.create_task(watch())
        ok = 0
        error = ""
        try:
            async with run:
                async for result in run:
                    ok += result.ok
        except Exception as failure:  # noqa: BLE001 - reported
            error = repr(failure)
        watching.cancel()
        stats = run.stats
    return {
        "ok": ok,
        "failed": stats.failed,
        "spent": stats.spent,
        "budget": stats.budget,
        "reason": stats.stop_reason,
        "seconds": stats.seconds,
        "ended": time.monotonic(),
        "after": resident(),
        "error": error,
        **figures,
    }


# --- this process ---------------------------------------------------------------------


class Bench:
    """A server process, and the runs against it."""

    def __init__(self, size: int = 0, **script: Any) -> None:
        command = [sys.executable, "-m", "benchmarks.hosted_server", str(size)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().strip()
        self.folder = tempfile.TemporaryDirectory()
        self.number = 0
        self.tell("script", {"validating": 0.0, "running": 0.05, **script})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
        self.folder.cleanup()

    def tell(self, *command: Any) -> Any:
        """Send a command to the server and return its answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def new_journal(self) -> Path:
        """Return the path of a journal that does not exist."""
        self.number += 1
        return Path(self.folder.name) / f"{self.number}.jsonl"

    def start(
        self, journal: Path, rows: int, kind: str = "", size: int = 0, **more: Any
    ) -> "subprocess.Popen[str]":
        """Start a client process."""
        task = {
            "url": self.url,
            "journal": str(journal),
            "rows": rows,
            "kind": kind,
            "size": size,
            **more,
        }
        command = [sys.executable, "-m", "benchmarks.hosted", "--client"]
        return subprocess.Popen(
            [*command, json.dumps(task)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def run(self, journal: Path, rows: int, kind: str = "", **more: Any) -> Any:
        """Run a client process to its end and return what it prints."""
        out, _ = self.start(journal, rows, kind, **more).communicate()
        return json.loads(out) if out else None


def names(journal: Path) -> list[str]:
    """Return the names of the rows in a journal, which may have rows twice."""
    return [str(result.custom_id) for result in read_journal(journal)]


def cost(journal: Path) -> float:
    """Return the sum of the costs in a journal."""
    return sum(result.cost or 0.0 for result in read_journal(journal))


def is_complete(journal: Path, rows: int) -> bool:
    """Return True if a journal has every row exactly once."""
    found = names(journal)
    return len(found) == len(set(found)) == rows


def report(name: str, *, passed: bool, text: str) -> None:
    """Print the figures of a case."""
    print(f"{'ok  ' if passed else 'MISS'} {name}: {text}", flush=True)


def case_rows(count: int) -> None:
    """20,000 rows, 4 batches, 3 models, one of them with two schemas."""
    with Bench(running=1.0) as bench:
        journal = bench.new_journal()
        run = bench.run(journal, count, "models", scale=0.02)
        stats = bench.tell("stats")
        last_end = max(stats["started"]) + 1.0
        looks = sum(read > last_end for read in stats["reads"])
        passed = is_complete(journal, count) and stats["submissions"] == 4
        passed = passed and stats["batch_reads"] <= 4 and looks <= 2
        report(
            "1 rows",
            passed=passed,
            text=f"{run['ok']} of {count} once; {stats['submissions']} POSTs, "
            f"{stats['stored']} batches, {stats['batch_reads']} GETs of a batch, "
            f"{looks} looks after the last end (targets 4, 4, <= 4, <= 2); "
            f"{run['seconds']:.1f} s",
        )


def case_memory(count: int) -> None:
    """10 KB in and 4 KB out; and one batch of 200 MB without pages."""
    with Bench(4000) as bench:
        run = bench.run(bench.new_journal(), count, size=10_000, stream=True)
        submitted = run["submitted"] - run["before"]
        collected = run["after"] - run["before"]
        report(
            "2 memory",
            passed=submitted <= 80 and collected <= 80 and run["ok"] == count,
            text=f"{run['ok']} rows; {submitted:+.0f} MiB at the end of submission, "
            f"{collected:+.0f} at the end, peak {run['peak'] - run['before']:+.0f} "
            "(target <= 80)",
        )
    rows = min(5000, count)
    with Bench(1_000_000_000 // 5000 // 5, paged=False) as bench:
        journal = bench.new_journal()
        run = bench.run(journal, rows, stream=True)
        size = journal.stat().st_size / 1e6
        report(
            "2 inline",
            passed=run["after"] - run["before"] <= 30 and run["ok"] == rows,
            text=f"{size:.0f} MB of results; {run['after'] - run['before']:+.0f} MiB "
            f"at the end, peak {run['peak'] - run['before']:+.0f} (target <= 30)",
        )


def case_crash(kills: int) -> None:
    """SIGKILL at random moments, and between every two steps."""
    chance = random.Random(11)
    rows, needed = 300, 3
    for name, lag in (("3 crash", 0.0), ("3 crash, late list", 60 * 0.004)):
        count = kills if not lag else max(1, kills // 4)
        bad = extra = lost = killed = repeated = 0
        while killed < count:
            with Bench(running=0.2, list_lag=lag) as bench:
                journal = bench.new_journal()
                options: dict[str, Any] = {"batch_rows": 100, "scale": 0.004}
                process = bench.start(journal, rows, **options)
                while not journal.exists():
                    time.sleep(0.01)
                time.sleep(chance.uniform(0, 0.6))
                is_alive = process.poll() is None
                process.kill()
                process.communicate()
                if not is_alive:
                    # It had ended: another run is killed in its place.
                    continue
                killed += 1
                bench.run(journal, rows, **options)
                bad += not is_complete(journal, rows)
                lost += rows - len(set(names(journal)))
                stats = bench.tell("stats")
                extra = max(extra, stats["stored"] - needed)
                repeated += stats["repeated"]
        report(
            name,
            passed=not bad and not lost and extra <= (1 if lag else 0),
            text=f"{killed} kills; {bad} incomplete, {lost} rows lost, "
            f"at most {extra} additional batches (target 0, 0, {1 if lag else 0}), "
            f"{repeated} rows in two batches",
        )
    bad = extra = steps = 0
    for event in range(1, 5):
        for before in (True, False):
            with Bench() as bench:
                journal = bench.new_journal()
                bench.run(journal, 50, scale=0.004, kill=[event, before])
                bench.run(journal, 50, scale=0.004)
                bad += not is_complete(journal, 50)
                extra += bench.tell("stats")["stored"] - 1
                steps += 1
    report(
        "3 steps",
        passed=not bad and not extra,
        text=f"{steps} kills between two steps; {bad} incomplete, {extra} additional "
        "batches (target 0, 0)",
    )


def case_lost(count: int) -> None:
    """Responses to submissions that are lost."""
    for fault in ("stored_reset", "stored_502", "lost_502"):
        with Bench() as bench:
            missing = 0
            for _ in range(count):
                journal = bench.new_journal()
                bench.tell("fail", fault, 1)
                bench.run(journal, 20, batch_rows=10, scale=0.004)
                missing += 20 - len(set(names(journal)))
            extra = bench.tell("stats")["stored"] - 2 * count
            report(
                f"4 {fault}",
                passed=not missing and not extra,
                text=f"{count} times; {extra} additional batches, {missing} rows lost "
                "(target 0, 0)",
            )


def case_invalid(count: int) -> None:
    """One invalid row in a batch."""
    for names_row, most in ((True, 2), (False, 27)):
        with Bench(names_row=names_row) as bench:
            journal = bench.new_journal()
            run = bench.run(journal, count, "invalid")
            stats = bench.tell("stats")
            billed = stats["rows_run"] - (count - 1)
            report(
                f"5 invalid row, {'named' if names_row else 'not named'}",
                passed=run["ok"] == count - 1
                and stats["submissions"] <= most
                and not billed,
                text=f"{run['ok']} ok in {stats['submissions']} submissions, {billed} "
                f"refused rows billed (target {count - 1}, <= {most}, 0)",
            )


def case_ends(count: int) -> None:
    """Ends other than completed, and results that are withheld."""
    for status in ("expired", "cancelled", "failed"):
        for results in (True, False):
            with Bench(running=1000) as bench:
                journal = bench.new_journal()
                bench.run(journal, count, wait=False)
                bench.tell("end", status, 0.6, "kept" if results else "lost")
                bench.tell("script", {"running": 0.0})
                bench.run(journal, count)
                stats = bench.tell("stats")
                expected = count if results else count + round(count * 0.6)
                report(
                    f"6 {status}, results {'kept' if results else 'lost'}",
                    passed=is_complete(journal, count)
                    and stats["rows_run"] == expected,
                    text=f"{len(names(journal))} of {count}; {stats['rows_run']} rows "
                    f"run, {stats['stored']} batches",
                )
    with Bench(running=1000) as bench:
        journal = bench.new_journal()
        bench.run(journal, count, wait=False)
        bench.tell("end", "completed", 1.0, "kept")
        bench.tell("withhold")
        refused = bench.run(journal, count)
        bench.tell("release")
        bench.run(journal, count)
        stats = bench.tell("stats")
        report(
            "6 withheld (402)",
            passed=is_complete(journal, count) and stats["rows_run"] == count,
            text=f"the run without credits: {refused['reason']!r}; then "
            f"{len(names(journal))} of {count}, {stats['repeated']} rows sent twice "
            "(target 0)",
        )


def case_mixed(count: int) -> None:
    """Hosted, then calls, then hosted again, on one journal."""
    with Bench() as bench:
        journal = bench.new_journal()
        bench.run(journal, count)
        bench.run(journal, count * 2, calls=True)
        run = bench.run(journal, count * 3)
        difference = abs(run["spent"] - bench.tell("stats")["total_cost"])
        report(
            "7 mixed",
            passed=is_complete(journal, count * 3) and difference < 1e-9,
            text=f"{len(names(journal))} of {count * 3} rows; spent differs by "
            f"{difference:.1e} dollars, the journal by "
            f"{abs(cost(journal) - run['spent']):.1e} (target < 1e-9)",
        )


def case_budget(count: int) -> None:
    """Guaranteed budgets, and Ctrl-C."""
    exceeded = guaranteed = 0
    with Bench(running=0.0) as bench:
        options: dict[str, Any] = {"budget_runs": count, "scale": 0.002}
        runs = bench.run(bench.new_journal(), 0, **options)
        exceeded, guaranteed = runs["exceeded"], runs["guaranteed"]
    report(
        "8 budget",
        passed=not exceeded and guaranteed == count,
        text=f"{count} runs, {guaranteed} guaranteed, {exceeded} exceeded (target 0)",
    )
    with Bench(running=1000) as bench:
        journal = bench.new_journal()
        source = journal.with_suffix(".in")
        lines = (json.dumps(row) + "\n" for row in make_rows(100, "", 0))
        source.write_text("".join(lines))
        command = [sys.executable, "-m", "openrouter_async", "batch", "run"]
        command += [str(source), "-o", str(journal), "--hosted", "-m", MODEL]
        environment = {
            **os.environ,
            "OPENROUTER_BASE_URL": bench.url,
            "OPENROUTER_API_KEY": "k",
        }
        process = subprocess.Popen(
            [*command, "--poll", "0.1"], env=environment, stderr=subprocess.DEVNULL
        )
        while not bench.tell("stats")["list_reads"]:
            time.sleep(0.05)
        begin = time.monotonic()
        process.send_signal(signal.SIGINT)
        code = process.wait()
        seconds = time.monotonic() - begin
        bench.tell("script", {"running": 0.0})
        again = subprocess.run(
            [*command, "--poll", "0.1"],
            env=environment,
            stderr=subprocess.DEVNULL,
            check=False,
        )
        report(
            "8 Ctrl-C",
            passed=seconds <= 2 and code == 130 and is_complete(journal, 100),
            text=f"returned {code} after {seconds:.2f} s; the same command returned "
            f"{again.returncode} with {len(names(journal))} of 100 (target 2 s)",
        )


async def budget_runs(task: dict[str, Any]) -> dict[str, Any]:
    """Run with many random budgets; count those that were exceeded."""
    exceeded = guaranteed = 0
    async with AsyncOpenRouter("k", base_url=task["url"]) as client:
        for seed in range(task["budget_runs"]):
            chance = random.Random(seed)
            limit = 10 ** chance.uniform(-5, -2)
            journal = Path(task["journal"]).with_suffix(f".{seed}.jsonl")
            run = client.batches.run(
                make_rows(chance.randint(1, 60), "", 0),
                model=MODEL,
                max_tokens=chance.randint(5, 50),
                journal=journal,
                max_cost=limit,
                batch_rows=chance.randint(1, 30),
                max_open=chance.randint(1, 4),
                intervals=HostedIntervals().scaled(task["scale"]),
            )
            async with run:
                async for _ in run:
                    pass
            exceeded += run.stats.spent > limit
            guaranteed += run.stats.budget == "guaranteed"
    return {"exceeded": exceeded, "guaranteed": guaranteed}


CASES = {
    "rows": (case_rows, 20_000, 400),
    "memory": (case_memory, 20_000, 400),
    "crash": (case_crash, 25, 2),
    "lost": (case_lost, 10, 2),
    "invalid": (case_invalid, 5000, 50),
    "ends": (case_ends, 200, 20),
    "mixed": (case_mixed, 500, 20),
    "budget": (case_budget, 200, 5),
}


def main() -> None:
    """Run the cases that the command line names; all of them by default."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="*", choices=[*CASES, []], help="default: all")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--client", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.client:
        task = json.loads(arguments.client)
        if "kill" in task:
            event, before = task["kill"]
            kill_after(event, before=before)
        work = budget_runs if "budget_runs" in task else client_run
        with suppress(BrokenPipeError):
            print(json.dumps(asyncio.run(work(task))), flush=True)
        return
    for name, (case, full, quick) in CASES.items():
        if not arguments.cases or name in arguments.cases:
            case(quick if arguments.quick else full)


if __name__ == "__main__":
    main()
