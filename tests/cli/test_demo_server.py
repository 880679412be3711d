import asyncio
import multiprocessing
import os
import threading
import urllib.error
import urllib.request

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


def test_the_backdrop_is_a_process_of_its_own() -> None:
    """It is there inside the block, and gone after it."""
    with run_demo_server() as place:
        status, body = post(
            place.url,
            place.key,
            {
                "model": "openai/gpt-4o-mini",
                "messages": [{"role": "user", "content": HELLO}],
            },
        )

    assert status == 200
    assert b"Hello from your own machine" in body
    with pytest.raises(urllib.error.URLError):
        post(place.url, place.key, {})


def test_the_backdrop_refuses_one_in_forty_at_first() -> None:
    """Every call is answered in the end, and one took two attempts."""
    ours, theirs = multiprocessing.Pipe()
    thread = threading.Thread(target=serve_demo, args=(theirs,))
    thread.start()
    place = ours.recv()
    assert isinstance(place, ServerAddress)

    async def ask() -> list[tuple[str, int]]:
        async with AsyncOpenRouter(place.key, base_url=place.url) as client:
            replies = await asyncio.gather(
                *(
                    client.chat.send(
                        model="openai/gpt-4o-mini",
                        messages=[UserMessage(f"{CONCURRENT_PROMPT} {number}")],
                    )
                    for number in range(40)
                )
            )
        return [(reply.text, len(reply.http.attempts)) for reply in replies]

    answers = asyncio.run(ask())
    ours.close()
    thread.join()
    theirs.close()

    assert sorted(answers) == [("Yes.", 1)] * 39 + [("Yes.", 2)]


def test_a_backdrop_that_does_not_start_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whether it says why or dies, the demo ends with a line."""
    ours, theirs = multiprocessing.Pipe()
    with ours, theirs:
        serve_demo(theirs, "192.0.2.1")

        assert "192.0.2.1" in ours.recv()
    monkeypatch.setattr("openrouter_async.cli.demo_server.serve_demo", os.getpid)
    with pytest.raises(CommandError, match="did not start: its process ended"):
        run_demo_server().__enter__()
