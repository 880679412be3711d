"""Processes that are killed in the middle of a run with hosted batches."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hosted_runs import cost_in, files, hosted, journaled, named, prompts
from support import MakeClient

from openrouter_async.testing import LocalOpenRouter

pytestmark = pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")

# Kills its own process when a line is appended to a file: url, journal, end of the
# file's name, number of the line, and if the line is written before.
PROGRAM = """
import asyncio, os, signal, sys
from attrs import evolve
from openrouter_async import AsyncOpenRouter
from openrouter_async.batch.hosted.intervals import HostedIntervals
from openrouter_async.batch.jsonl import JsonLinesFile

url, journal, name, number, is_written = sys.argv[1:]
append = JsonLinesFile.append
count = 0

def kill(file, data):
    global count
    if file.path.name.endswith(name):
        count += 1
        if count == int(number):
            if is_written == "written":
                append(file, data)
            os.kill(os.getpid(), signal.SIGKILL)
    append(file, data)

JsonLinesFile.append = kill

async def main():
    async with AsyncOpenRouter("key", base_url=url) as client:
        run = client.batches.run(
            [f"row {n}." for n in range(120)],
            model="openai/gpt-4o-mini",
            max_tokens=60,
            journal=journal,
            intervals=evolve(HostedIntervals().scaled(0.001), fill=60.0),
        )
        async with run:
            async for _ in run:
                pass

asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("name", "number", "moment"),
    [
        # Around the submission: intent, submitted, ended, collected.
        (".batches.jsonl", 1, "written"),
        (".batches.jsonl", 2, "lost"),
        (".batches.jsonl", 4, "lost"),
        # In the middle of the collection.
        ("out.jsonl", 2, "written"),
    ],
)
async def test_killed_process_loses_and_repeats_nothing(
    server: LocalOpenRouter,
    make_client: MakeClient,
    tmp_path: Path,
    name: str,
    number: int,
    moment: str,
) -> None:
    script = server.batches.script
    script.validating = script.running = 0.0
    journal = tmp_path / "out.jsonl"
    command = [sys.executable, "-c", PROGRAM, server.url, str(journal), name]
    killed = subprocess.run(  # noqa: ASYNC221 - the server has its own thread
        [*command, str(number), moment], check=False, timeout=60
    )
    async with make_client() as client:
        _, stats = await hosted(client, journal, prompts(120))

    assert killed.returncode == -signal.SIGKILL
    assert journaled(journal) == named(120)
    assert server.batches.stats.stored == 1
    assert stats.spent == pytest.approx(server.stats.cost, abs=1e-9)
    assert cost_in(journal) == pytest.approx(server.stats.cost, abs=1e-9)
    assert files(journal) == {"out.jsonl", "out.batches.jsonl"}
