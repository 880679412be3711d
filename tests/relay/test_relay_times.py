"""Heartbeats and slow readers."""

import asyncio
import time
from typing import Any

import pytest
from relay_support import (
    CLOSE_SECONDS,
    KEEP_ALIVE,
    Ends,
    read,
    read_until,
    run,
    stream,
)
from support import until

from openrouter_async import AsyncOpenRouter, UserMessage, tool
from openrouter_async.relay import Relay
from openrouter_async.testing import LocalOpenRouter, Reply, completion, tool_call

pytestmark = pytest.mark.usefixtures("no_errors_are_logged")


async def until_full(relay: Relay) -> None:
    """Wait until the source waits for the reader of a relay."""
    pump: Any = relay._pump  # pyright: ignore[reportPrivateUsage]
    del relay
    # The future is done, but still there, until the source goes on.
    await until(lambda: pump._space is not None and not pump._space.done())


class TestTimes:
    """Heartbeats and slow readers."""

    @pytest.mark.parametrize(
        "silence", [{"delay": 0.5}, {"before_token": 0.5}, {"chunk_delay": 0.5}]
    )
    async def test_comment_is_sent_after_each_silence(
        self, server: LocalOpenRouter, client: AsyncOpenRouter, silence: Any
    ) -> None:
        server.reply(Reply(["he", "llo"], finish=False, **silence))
        relay = Relay(stream(client), heartbeat=0.1)
        started = time.monotonic()
        data = await read(relay)
        seconds = time.monotonic() - started

        # A busy machine sends fewer comments, but never more. The first one is sent at once.
        assert 1 <= data.count(KEEP_ALIVE) - 1 <= seconds / 0.1
        assert data.replace(KEEP_ALIVE, b"").startswith(b'data: {"text":"he"}\n\n')

    async def test_comment_is_sent_while_a_tool_runs(
        self, server: LocalOpenRouter, client: AsyncOpenRouter
    ) -> None:
        comments = 0

        @tool
        async def wait() -> str:
            """Wait until comments were sent."""
            called = comments
            await until(lambda: comments >= called + 3)
            return "done"

        server.reply(completion(tool_calls=[tool_call("wait")])).then("hi")
        relay = Relay(run(client, tools=[wait]), "ai-sdk", heartbeat=0.02)
        data = b""
        async for each in relay:
            data += each
            # The first comment is sent before anything else.
            comments = data.count(KEEP_ALIVE) - 1

        waited = data[data.index(b"tool-input-available") :]
        assert waited[: waited.index(b"tool-output-available")].count(KEEP_ALIVE) >= 1
        assert b'"delta":"hi"' in data

    async def test_no_comment_is_sent_while_data_flows(
        self, server: LocalOpenRouter, client: AsyncOpenRouter
    ) -> None:
        server.reply(["x"] * 30, chunk_delay=0.01)
        relay = Relay(stream(client), heartbeat=2.0, reader_timeout=None)
        data = await read(relay)

        assert data.count(KEEP_ALIVE) == 1

    async def test_no_comment_is_added_to_what_the_reader_has_not_taken(
        self, server: LocalOpenRouter, client: AsyncOpenRouter
    ) -> None:
        server.reply(["he", "llo"], chunk_delay=0.3)
        relay = Relay(stream(client), heartbeat=0.02)
        await relay.open()
        await asyncio.sleep(0.1)

        assert (await anext(relay)).count(KEEP_ALIVE) == 1
        await relay.aclose()

    @pytest.mark.parametrize("name", ["text", "sse"])
    async def test_none_disables_both_timers(
        self, server: LocalOpenRouter, client: AsyncOpenRouter, name: Any
    ) -> None:
        server.reply("hi", delay=0.05)
        relay = Relay(stream(client), name, heartbeat=None, reader_timeout=None)

        assert (await read(relay)).count(KEEP_ALIVE) == (name == "sse")

    async def test_reader_that_takes_nothing_ends_the_stream(
        self,
        server: LocalOpenRouter,
        client: AsyncOpenRouter,
        ends: Ends,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        server.reply(["he", "llo"], chunk_delay=30)
        relay = Relay(stream(client), reader_timeout=0.1, on_end=ends)
        await read_until(relay, b"he")
        await asyncio.sleep(0.15)

        # Nothing waits for the reader: a stream that is silent is not its fault.
        assert ends.outcomes == []
        await relay.aclose()
        server.reply(["he", *["llo"] * 999], chunk_delay=0.02)
        slow = Relay(stream(client), reader_timeout=0.1, on_end=ends)
        await slow.open()
        await server.until(closed=2, timeout=CLOSE_SECONDS)
        await until(lambda: len(ends.results) == 2)

        assert ends.outcomes == ["closed", "closed"]
        data = await read(slow)
        assert data.startswith(KEEP_ALIVE + b'data: {"text":"he"}\n\n')
        assert data.endswith(b'"retryable":true,"retry_after":null}\n\n')
        assert "its reader took no data for 0.1 s" in caplog.text

    async def test_slow_reader_of_text_gets_an_exception(
        self, server: LocalOpenRouter, client: AsyncOpenRouter, ends: Ends
    ) -> None:
        server.reply(["he", "llo"], chunk_delay=30)
        relay = Relay(stream(client), "text", reader_timeout=0.05, on_end=ends)
        await relay.open()
        await server.until(closed=1, timeout=CLOSE_SECONDS)

        assert await anext(relay) == b"he"
        with pytest.raises(TimeoutError, match=r"took no data for 0\.05 s"):
            await anext(relay)
        assert ends.outcomes == ["closed"]

    @pytest.mark.parametrize("tools", [False, True])
    async def test_source_waits_for_a_slow_reader(
        self,
        server: LocalOpenRouter,
        client: AsyncOpenRouter,
        tools: bool,
    ) -> None:
        """The buffer holds 64 KiB and one read."""
        texts = ["x" * 1000] * 3000
        server.reply(texts)
        relay = Relay(run(client) if tools else stream(client), "text")
        await relay.open()
        await until_full(relay)
        first = await anext(relay)
        await until_full(relay)
        second = await anext(relay)

        assert 64 * 1024 <= len(first) < 1024 * 1024
        assert 64 * 1024 <= len(second) < 1024 * 1024
        assert len(first) + len(second) + len(await read(relay)) == 3_000_000

    async def test_full_buffer_is_closed_at_once(
        self, server: LocalOpenRouter, client: AsyncOpenRouter, ends: Ends
    ) -> None:
        server.reply(["x" * 1000] * 3000, chunk_delay=0.0001)
        relay = Relay(stream(client), "text", on_end=ends)
        await relay.open()
        await until_full(relay)
        del relay

        await server.until(closed=1, timeout=CLOSE_SECONDS)
        await until(lambda: ends.results)
        assert ends.outcomes == ["closed"]


async def test_heartbeat_of_a_prompt_reader_is_not_late(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """`UserMessage` is accepted as by `send`."""
    server.reply("hi", delay=0.1)
    pending = client.chat.send(model="m", messages=[UserMessage("hi")], stream=True)
    assert await read(Relay(pending, "text", heartbeat=0.01)) == b"hi"
