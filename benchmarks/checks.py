"""
The checks of each client: `python -m benchmarks.checks [CONTENDER ...]`.

Each contender reads responses in which something is wrong, in a process of its own with
its own server. It prints a Markdown table of the exceptions, "-" if there is none. It
does not measure time, and it does not cover faults of the network.
"""

import argparse
import asyncio
import json
import subprocess
from collections.abc import Awaitable, Callable

from benchmarks import inputs
from benchmarks.contender import (
    BARE,
    HANDWRITTEN,
    OURS,
    PEERS,
    Contender,
    entry,
    load,
)
from benchmarks.environments import ROOT, python_of
from benchmarks.server import EVENT_STREAM, JSON, written

# Seconds for one contender; those with retries repeat some of the requests.
TIMEOUT = 120.0

CREATED = b'"created":%d,' % inputs.CREATED
ERROR = {"code": 402, "message": "Insufficient credits"}


def faulty_responses() -> dict[str, bytes]:
    """Return the faulty responses; those to plain calls begin with "call"."""
    texts = inputs.text_events(3)
    error = inputs.event(inputs.chunk({"content": ""}, "error", error=ERROR))
    complete = [*inputs.text_stream(5), inputs.DONE]

    def stream(events: list[bytes]) -> bytes:
        return b"".join(written([b"".join(events)], EVENT_STREAM))

    def call(body: bytes) -> bytes:
        return b"".join(written([body], JSON))

    return {
        "stream, error event": stream([*texts, error, inputs.DONE]),
        "stream, cut off": stream(texts),
        "stream, no `created`": stream([e.replace(CREATED, b"") for e in complete]),
        "call, error with status 200": call(inputs.compact({"error": ERROR})),
        "call, no `created`": call(inputs.completion().replace(CREATED, b"")),
    }


async def check(kind: type[Contender]) -> dict[str, str]:
    """Return the name of the exception for each fault, "-" if there was none."""
    found: dict[str, str] = {}
    for fault, response in faulty_responses().items():
        server = await asyncio.start_server(respond_with(response), "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server:
            client = kind(f"http://127.0.0.1:{port}/api/v1", 1)
            read = client.complete if fault.startswith("call") else client.stream
            try:
                await read()
            except Exception as error:  # noqa: BLE001 - this is what is asked for
                found[fault] = type(error).__name__
            else:
                found[fault] = "-"
            await client.aclose()
    return found


def respond_with(
    response: bytes,
) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    """Return a handler that sends `response` and closes the connection."""

    async def respond(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        request = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = request.partition(b"content-length:")[2].partition(b"\r\n")[0]
        await reader.readexactly(int(length))
        writer.write(response)
        await writer.drain()
        writer.close()

    return respond


def run_child(name: str) -> str:
    """Return the cells of a contender, from a process in its environment."""
    python = python_of(entry(name).environment)
    done = subprocess.run(
        [python, "-m", "benchmarks.checks", "--child", name],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    if done.returncode:
        return done.stderr.strip().splitlines()[-1]
    found: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    return " | ".join(found.values())


def main() -> None:
    """Print the table; in the process of a contender, print its cells as JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.checks")
    parser.add_argument("names", nargs="*", metavar="CONTENDER")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(asyncio.run(check(load(options.child)))))
        return
    header = ["client", *faulty_responses()]
    print("| " + " | ".join(header) + " |")
    print("| --- " * len(header) + "|")
    for name in options.names or (BARE, HANDWRITTEN, OURS, *PEERS):
        print(f"| {name} | {run_child(name)} |", flush=True)


if __name__ == "__main__":
    main()
