"""
The server of the measurements of hosted batches: a LocalOpenRouter in its own process.

`benchmarks.hosted` starts it. It prints its URL, and then reads one command per line
of its standard input, a JSON array of a name and arguments, and prints the result.
"""

import asyncio
import json
import sys
import threading
from collections import Counter
from typing import Any

import attrs

from openrouter_async.testing import BatchScript, LocalOpenRouter
from openrouter_async.testing.hosted_batches import SubmissionFault


class Commands:
    """The commands; each is a method with the arguments of the JSON array."""

    def __init__(self, server: LocalOpenRouter) -> None:
        self._server = server
        self._batches = server.batches

    def script(self, fields: dict[str, Any]) -> None:
        """Set attributes of the script."""
        for key, value in fields.items():
            setattr(self._batches.script, key, value)

    def fail(self, fault: SubmissionFault, times: int) -> None:
        """Let the next submissions fail."""
        self._batches.fail_next(fault, times=times)

    def end(self, status: str, done: float, results: str) -> None:
        """End all batches that are running; results are "kept" or "lost"."""
        for batch in self._batches.all:
            if not batch.is_ended:
                kept = results == "kept"
                self._batches.end(batch.id, status, done=done, results=kept)

    def withhold(self) -> None:
        """Withhold the results of all batches."""
        for batch in self._batches.all:
            self._batches.withhold(batch.id)

    def release(self) -> None:
        """Release the results of all batches."""
        for batch in self._batches.all:
            self._batches.release(batch.id)

    def stats(self) -> dict[str, Any]:
        """Return counters, the times of submissions, and those of list requests."""
        batches = self._batches
        runs = Counter(row["custom_id"] for batch in batches.all for row in batch.rows)
        return {
            **attrs.asdict(batches.stats),
            "total_cost": self._server.stats.cost,
            "repeated": sum(count > 1 for count in runs.values()),
            "started": [batch.started for batch in batches.all],
            "reads": [
                seen.time
                for seen in self._server.requests
                if seen.method == "GET" and seen.path.endswith("/batches")
            ],
        }


async def serve(size: int) -> None:
    """Serve until standard input ends."""
    loop = asyncio.get_running_loop()
    closed = asyncio.Event()
    default = "x" * size if size else None
    async with LocalOpenRouter(default=default, batches=BatchScript()) as server:
        commands = Commands(server)
        print(server.url, flush=True)

        def listen() -> None:
            for line in sys.stdin:
                name, *arguments = json.loads(line)
                found = getattr(commands, name)(*arguments)
                print(json.dumps(found), flush=True)
            loop.call_soon_threadsafe(closed.set)

        threading.Thread(target=listen, daemon=True).start()
        await closed.wait()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]) if len(sys.argv) > 1 else 0))
