"""
Structured outputs and tools, compared with openai-python: `python -m benchmarks.typed`.

It counts the lines of code that a user writes (`typed_tasks.py`, between the markers,
without blank lines and imports), and measures CPU time per extraction and per tool loop
of two requests. The clients take turns in one process, one call at a time, over the
loopback interface; the server is a separate process. It does not measure TLS, opening
connections or concurrent calls.
"""

import argparse
import asyncio
import platform
import statistics
import subprocess
import sys
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import orjson
from aiohttp import web

from benchmarks import typed_tasks as tasks
from benchmarks.case import cpu_seconds
from openrouter_async.testing import completion, tool_call

INVOICE = (
    '{"lines":[{"what":"chair","price":49.9},{"what":"lamp","price":20}],"paid":false}'
)
FINAL_TEXT = "It is 21.5 degrees in Nice, where 4000 people live."
CALLS = [
    tool_call("get_weather", {"city": "Nice"}),
    tool_call("get_population", {"city": "Nice"}),
]
TASKS: dict[str, tuple[float | str, dict[str, Callable[[Any], Awaitable[Any]]]]] = {
    "extraction": (
        69.9,
        {"openrouter_async": tasks.our_extraction, "openai": tasks.their_extraction},
    ),
    "two tools": (
        FINAL_TEXT,
        {"openrouter_async": tasks.our_loop, "openai": tasks.their_loop},
    ),
}


def serve() -> None:
    """Serve prebuilt responses, selected by the request."""
    extracted = orjson.dumps(completion(INVOICE))
    called = orjson.dumps(completion(tool_calls=CALLS))
    final = orjson.dumps(completion(FINAL_TEXT))

    async def respond(request: web.Request) -> web.Response:
        params = await request.json(loads=orjson.loads)
        body = called if params.get("tools") else extracted
        if params["messages"][-1]["role"] == "tool":
            body = final
        return web.Response(body=body, content_type="application/json")

    async def main() -> None:
        app = web.Application()
        app.router.add_post("/api/v1/chat/completions", respond)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        print(runner.addresses[0][1], flush=True)
        await asyncio.Event().wait()

    asyncio.run(main())


def lines_of(contender: str, task: str) -> int:
    """Count the lines of code that a user writes for a task."""
    source = Path(tasks.__file__).read_text("utf-8")
    _, _, rest = source.partition(f"# {contender}, {task}: begin")
    body, _, _ = rest.partition(f"# {contender}, {task}: end")
    return sum(1 for line in body.splitlines() if line.strip())


async def measure(url: str, calls: int, rounds: int) -> dict[tuple[str, str], Any]:
    """Return the CPU time per call of each round, by task and client."""
    clients: dict[str, Any] = {
        "openrouter_async": tasks.make_ours(url),
        "openai": tasks.make_theirs(url),
        "openai (aiohttp)": tasks.make_theirs_on_aiohttp(url),
    }
    found: dict[tuple[str, str], list[float]] = {}
    for number in range(rounds + 1):
        for task, (expected, functions) in TASKS.items():
            for name, client in clients.items():
                function = functions[name.partition(" ")[0]]
                started = cpu_seconds()
                for _ in range(calls):
                    assert await function(client) == expected
                # The first round is the warm-up.
                if number:
                    spent = (cpu_seconds() - started) / calls
                    found.setdefault((task, name), []).append(spent)
    for client in clients.values():
        await client.close()
    return found


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.typed")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--calls", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    if options.serve:
        serve()
        return
    command = [sys.executable, "-m", "benchmarks.typed", "--serve"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        url = f"http://127.0.0.1:{server.stdout.readline().strip()}/api/v1"
        try:
            found = asyncio.run(measure(url, options.calls, options.rounds))
        finally:
            server.terminate()
    print(f"CPython {platform.python_version()}, openai {version('openai')}; ", end="")
    print(f"{options.calls} calls per round, {options.rounds} rounds; ", end="")
    print("median [lowest, highest]")
    print("| task | | lines of code | us of CPU | ratio |")
    print("|---|---|---|---|---|")
    for (task, name), spent in found.items():
        ours = found[task, "openrouter_async"]
        ratio = statistics.median(a / b for a, b in zip(spent, ours, strict=True))
        micro = sorted(round(each * 1e6) for each in spent)
        middle = round(statistics.median(micro))
        lines = lines_of(name.partition(" ")[0], task)
        print(
            f"| {task} | {name} | {lines} | {middle} [{micro[0]}, {micro[-1]}] "
            f"| {ratio:.2f} |"
        )


if __name__ == "__main__":
    main()
