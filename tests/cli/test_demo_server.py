import asyncio
import multiprocessing
import os
import threading
import urllib.error

import pytest
from commands import post

from openrouter_async import AsyncOpenRouter, UserMessage
from openrouter_async.cli.demo_server import (
    CONCURRENT_PROMPT,
    HELLO,
    ServerAddress,
    run_demo_server,
    serve_demo,
)
from openrouter_async.cli.exit_codes import CommandError


def test_demo_server_runs_until_the_block_is_left() -> None:
    with run_demo_server() as address:
        status, body = post(
            address.url,
            address.key,
            {
                "model": "openai/gpt-4o-mini",
                "messages": [{"role": "user", "content": HELLO}],
            },
        )

    assert status == 200
    assert b"Hello from your own machine" in body
    with pytest.raises(urllib.error.URLError):
        post(address.url, address.key, {})


def test_demo_server_rejects_one_prompt_in_forty_at_first() -> None:
    ours, theirs = multiprocessing.Pipe()
    thread = threading.Thread(target=serve_demo, args=(theirs,))
    thread.start()
    address = ours.recv()
    assert isinstance(address, ServerAddress)

    async def call() -> list[tuple[str, int]]:
        async with AsyncOpenRouter(address.key, base_url=address.url) as client:
            responses = await asyncio.gather(
                *(
                    client.chat.send(
                        model="openai/gpt-4o-mini",
                        messages=[UserMessage(f"{CONCURRENT_PROMPT} {number}")],
                    )
                    for number in range(40)
                )
            )
        return [(response.text, len(response.http.attempts)) for response in responses]

    results = asyncio.run(call())
    ours.close()
    thread.join()
    theirs.close()

    assert sorted(results) == [("Yes.", 1)] * 39 + [("Yes.", 2)]


def test_demo_server_that_does_not_start_is_reported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ours, theirs = multiprocessing.Pipe()
    with ours, theirs:
        serve_demo(theirs, "192.0.2.1")

        assert "192.0.2.1" in ours.recv()
    monkeypatch.setattr("openrouter_async.cli.demo_server.serve_demo", os.getpid)
    with pytest.raises(CommandError, match="did not start: its process ended"):
        run_demo_server().__enter__()
