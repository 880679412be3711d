"""Opening and closing relays: however they end, the source is closed."""

import asyncio
import threading
from contextlib import suppress
from typing import Any

import pytest
from relay_support import (
    CLOSE_SECONDS,
    Ends,
    read,
    read_until,
    run,
    stream,
)
from support import MakeClient, until

from openrouter_async import (
    AsyncOpenRouter,
    ConfigurationError,
    RateLimitError,
    Retries,
    tool,
)
from openrouter_async.relay import (
    Relay,
    RelayResult,
    public_error,
)
from openrouter_async.testing import (
    LocalOpenRouter,
    Reply,
    StreamError,
    completion,
    error_reply,
    tool_call,
)

pytestmark = pytest.mark.usefixtures("no_errors_are_logged")


class TestOpen:
    """`open()`, before the response is returned."""

    async def test_error_in_time_is_raised_with_its_status(
        self,
        server: LocalOpenRouter,
        make_client: MakeClient,
        ends: Ends,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        server.reply(error_reply(429, retry_after=7))
        client = make_client(retries=Retries(max_attempts=1))
        relay = Relay(stream(client), on_end=ends)
        with pytest.raises(RateLimitError) as caught:
            await relay.open()

        assert public_error(caught.value).status == 429
        assert ends.outcomes == ["error"]
        assert not [each for each in caplog.records if each.name == "openrouter_async"]

    async def test_later_error_is_an_event(
        self, server: LocalOpenRouter, client: AsyncOpenRouter
    ) -> None:
        server.reply(error_reply(400, delay=0.1))
        relay = Relay(stream(client))
        await relay.open(within=0.02)

        assert b'"code":"invalid_request"' in await read(relay)

    async def test_open_stream_is_read_to_its_end(
        self, server: LocalOpenRouter, client: AsyncOpenRouter
    ) -> None:
        server.reply("hi", times=2)
        relay = Relay(stream(client), "text")
        await relay.open()
        await relay.open()

        assert await read(relay) == b"hi"
        tools = Relay(run(client), "text")
        await tools.open()
        assert await read(tools) == b"hi"

    async def test_error_of_an_open_stream_is_logged(
        self,
        server: LocalOpenRouter,
        client: AsyncOpenRouter,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        server.reply(["a", "b"], error=StreamError(), error_after=1)
        relay = Relay(stream(client))
        await relay.open()
        await read(relay)

        assert "The source of a relay failed" in caplog.text

    async def test_cancelled_handler_closes_the_stream(
        self, server: LocalOpenRouter, client: AsyncOpenRouter, ends: Ends
    ) -> None:
        server.reply("hi", delay=30)
        relay = Relay(stream(client), on_end=ends)
        opening = asyncio.create_task(relay.open(within=30))
        await server.until(requests=1)
        opening.cancel()
        with suppress(asyncio.CancelledError):
            await opening

        await server.until(closed=1, timeout=CLOSE_SECONDS)
        await relay.aclose()
        assert ends.outcomes == ["cancelled"]

    async def test_closed_relay_is_not_opened(
        self, server: LocalOpenRouter, client: AsyncOpenRouter
    ) -> None:
        relay = Relay(stream(client))
        await relay.aclose()
        await relay.open()

        assert await read(relay) == b""
        assert server.stats.requests == 0


class TestClosing:
    """However a relay ends, its source is closed and `on_end` is called once."""

    async def open_relay(
        self, server: LocalOpenRouter, client: AsyncOpenRouter, ends: Ends
    ) -> Relay:
        server.reply(["he", "llo"], chunk_delay=30)
        relay = Relay(stream(client), on_end=ends)
        await read_until(relay, b"he")
        return relay

    async def check(
        self, server: LocalOpenRouter, client: AsyncOpenRouter, ends: Ends, outcome: str
    ) -> None:
        await server.until(closed=1, timeout=CLOSE_SECONDS)
        await until(lambda: ends.results and client.stats.in_use == 0)
        assert ends.outcomes == [outcome]

    async def test_cancelled_reader_closes_the_stream(
        self, server: LocalOpenRouter, client: AsyncOpenRouter, ends: Ends
    ) -> None:
        relay = await self.open_relay(server, client, ends)
        reader = asyncio.create_task(read(relay))
        await asyncio.sleep(0)
        reader.cancel()

        await self.check(server, client, ends, "cancelled")
        assert ends.results[0].response is not None
        assert ends.results[0].response.text == "he"
        assert await read(relay) == b""

    @pytest.mark.parametrize("fault", [{"delay": 30}, {"before_token": 30}])
    async def test_cancelled_reader_closes_a_stream_that_opens(
        self,
        server: LocalOpenRouter,
        client: AsyncOpenRouter,
        ends: Ends,
        fault: Any,
    ) -> None:
        server.reply(Reply("hi", **fault))
        relay = Relay(stream(client), on_end=ends)
        reader = asyncio.create_task(read(relay))
        await server.until(requests=1)
        await asyncio.sleep(0.02)
        reader.cancel()

        await self.check(server, client, ends, "cancelled")
        assert ends.results[0].response is None

    async def test_leaving_the_block_closes_the_stream(
        self, server: LocalOpenRouter, client: AsyncOpenRouter, ends: Ends
    ) -> None:
        async with await self.open_relay(server, client, ends) as relay:
            assert repr(relay) == "<Relay open>"

        assert ends.outcomes == ["closed"]
        assert repr(relay) == "<Relay ended>"
        await self.check(server, client, ends, "closed")

    async def test_block_of_a_cancelled_task_closes_the_stream(
        self, server: LocalOpenRouter, client: AsyncOpenRouter, ends: Ends
    ) -> None:
        relay = await self.open_relay(server, client, ends)

        async def write_slowly() -> None:
            async with relay:
                await asyncio.sleep(30)

        writer = asyncio.create_task(write_slowly())
        await asyncio.sleep(0)
        writer.cancel()

        await self.check(server, client, ends, "cancelled")

    async def test_closing_twice_and_from_another_task_ends_the_reader(
        self, server: LocalOpenRouter, client: AsyncOpenRouter, ends: Ends
    ) -> None:
        relay = await self.open_relay(server, client, ends)
        reader = asyncio.create_task(read(relay))
        await asyncio.sleep(0)
        await asyncio.gather(relay.aclose(), relay.aclose())
        await relay.close()

        assert await reader == b""
        await self.check(server, client, ends, "closed")

    async def test_close_need_not_be_awaited(
        self, server: LocalOpenRouter, client: AsyncOpenRouter, ends: Ends
    ) -> None:
        """Django calls it as a plain function, in a thread."""
        relay = await self.open_relay(server, client, ends)
        await asyncio.to_thread(relay.close)

        await self.check(server, client, ends, "closed")

    async def test_dropped_relay_closes_the_stream(
        self, server: LocalOpenRouter, client: AsyncOpenRouter, ends: Ends
    ) -> None:
        relay = await self.open_relay(server, client, ends)
        del relay

        await self.check(server, client, ends, "closed")

    async def test_relay_that_is_dropped_in_a_thread_closes_the_stream(
        self, server: LocalOpenRouter, client: AsyncOpenRouter, ends: Ends
    ) -> None:
        held = [await self.open_relay(server, client, ends)]
        await asyncio.to_thread(held.clear)

        await self.check(server, client, ends, "closed")

    async def test_relay_dropped_while_opening_closes_the_stream(
        self, server: LocalOpenRouter, client: AsyncOpenRouter, ends: Ends
    ) -> None:
        server.reply("hi", delay=30)
        relay = Relay(stream(client), on_end=ends)
        await anext(relay)
        await server.until(requests=1)
        del relay

        await self.check(server, client, ends, "closed")

    @pytest.mark.parametrize("how", ["drop", "close", "thread"])
    async def test_unused_relay_sends_nothing(
        self, server: LocalOpenRouter, client: AsyncOpenRouter, ends: Ends, how: str
    ) -> None:
        """And nobody warns of a stream that was never awaited."""
        relay = Relay(stream(client), on_end=ends)
        assert repr(relay) == "<Relay waiting>"
        if how == "close":
            await relay.aclose()
        elif how == "thread":
            await asyncio.to_thread(relay.close)
        del relay
        await until(lambda: ends.results)

        assert ends.outcomes == ["closed"]
        assert server.stats.requests == 0

    async def test_unused_relay_closes_an_open_stream(
        self, server: LocalOpenRouter, client: AsyncOpenRouter, ends: Ends
    ) -> None:
        server.reply(["he", "llo"], chunk_delay=30)
        relay = Relay(await stream(client), on_end=ends)
        await relay.aclose()

        await self.check(server, client, ends, "closed")

    async def test_unused_relay_of_a_run_is_closed(
        self, server: LocalOpenRouter, client: AsyncOpenRouter, ends: Ends
    ) -> None:
        await Relay(run(client), on_end=ends).aclose()

        assert ends.outcomes == ["closed"]
        assert server.stats.requests == 0

    async def test_relay_stopped_before_its_first_step_is_closed(
        self, server: LocalOpenRouter, client: AsyncOpenRouter, ends: Ends
    ) -> None:
        relay = Relay(stream(client), on_end=ends)
        reader = asyncio.ensure_future(anext(relay))
        opening = asyncio.create_task(relay.open())
        await asyncio.sleep(0)
        # The task of the pump was created, and has not run.
        relay.close()
        await opening
        with pytest.raises(StopAsyncIteration):
            await reader

        assert ends.outcomes == ["closed"]
        assert server.stats.requests == 0

    async def test_cancelled_run_cancels_its_tool(
        self, server: LocalOpenRouter, client: AsyncOpenRouter, ends: Ends
    ) -> None:
        started, ended = asyncio.Event(), asyncio.Event()

        @tool
        async def wait() -> str:
            """Wait."""
            started.set()
            try:
                await asyncio.sleep(30)
            finally:
                ended.set()
            return ""

        server.reply(completion("Let me see.", tool_calls=[tool_call("wait")]))
        relay = Relay(run(client, tools=[wait]), on_end=ends)
        await read_until(relay, b'"tool"')
        await started.wait()
        await relay.aclose()

        assert ended.is_set()
        assert ends.outcomes == ["closed"]
        assert ends.results[0].response is not None
        assert ends.results[0].response.text == "Let me see."

    async def test_run_closed_within_a_turn_has_its_part(
        self, server: LocalOpenRouter, client: AsyncOpenRouter, ends: Ends
    ) -> None:
        server.reply(["he", "llo"], chunk_delay=30)
        relay = Relay(run(client), on_end=ends)
        await read_until(relay, b"he")
        await relay.aclose()

        assert ends.results[0].response is not None
        assert ends.results[0].response.text == "he"
        await self.check(server, client, ends, "closed")

    async def test_run_closed_before_its_first_event_has_no_response(
        self, server: LocalOpenRouter, client: AsyncOpenRouter, ends: Ends
    ) -> None:
        server.reply("hi", delay=30)
        relay = Relay(run(client), on_end=ends)
        await anext(relay)
        await server.until(requests=1)
        await relay.aclose()

        assert ends.results[0].response is None
        await self.check(server, client, ends, "closed")

    async def test_second_reader_is_rejected(
        self, server: LocalOpenRouter, client: AsyncOpenRouter, ends: Ends
    ) -> None:
        relay = await self.open_relay(server, client, ends)
        reader = asyncio.create_task(read(relay))
        await asyncio.sleep(0)
        with pytest.raises(ConfigurationError, match="Two tasks read one Relay"):
            await anext(relay)
        await relay.aclose()

        assert await reader == b""
        await self.check(server, client, ends, "closed")

    async def test_on_end_may_close_the_relay(
        self, server: LocalOpenRouter, client: AsyncOpenRouter
    ) -> None:
        server.reply("hi")
        closed: list[object] = []

        def close(_: RelayResult) -> None:
            closing = relay.close()
            closed.append(closing)

        relay = Relay(stream(client), "text", on_end=close)
        await relay.open()
        await until(lambda: closed)
        await asyncio.sleep(0)

        assert len(closed) == 1

    async def test_close_awaited_by_its_own_task_does_not_block(
        self, server: LocalOpenRouter, client: AsyncOpenRouter, ends: Ends
    ) -> None:
        """A tool that closes its relay is cancelled, not stuck."""
        relays: list[Relay] = []

        @tool
        async def stop() -> str:
            """Stop."""
            await relays[0].aclose()
            return ""

        server.reply(completion(tool_calls=[tool_call("stop")]))
        relays.append(Relay(run(client, tools=[stop]), on_end=ends))

        async with asyncio.timeout(5):
            await read(relays[0])
        assert ends.outcomes == ["closed"]

    def test_relay_of_a_thread_without_a_loop_can_be_closed(
        self, server: LocalOpenRouter, ends: Ends
    ) -> None:
        client = AsyncOpenRouter(server.api_key, base_url=server.url)
        Relay(stream(client), on_end=ends).close()
        relay = Relay(stream(client), on_end=ends)
        del relay

        assert ends.outcomes == ["closed", "closed"]

    def test_relay_outlives_its_loop(self, server: LocalOpenRouter, ends: Ends) -> None:
        server.reply(["he", "llo"], chunk_delay=30, times=2)
        client = AsyncOpenRouter(server.api_key, base_url=server.url)
        kept: list[Relay] = []

        async def main() -> None:
            kept.append(Relay(stream(client), on_end=ends))
            kept.append(Relay(stream(client), on_end=ends))
            kept.append(Relay(run(client), on_end=ends))
            await read_until(kept[1], b"he")

        asyncio.run(main())
        server.wait(connections=0)
        assert ends.outcomes == ["cancelled"]
        kept.clear()

        assert ends.outcomes == ["cancelled", "closed", "closed"]

    async def test_task_cancelled_before_its_first_step_closes_the_stream(
        self, server: LocalOpenRouter, client: AsyncOpenRouter, ends: Ends
    ) -> None:
        """As `asyncio.run` does at its end."""
        relay = Relay(stream(client), on_end=ends)
        opening = asyncio.create_task(relay.open())
        await asyncio.sleep(0)
        (pump,) = asyncio.all_tasks() - {opening, asyncio.current_task()}
        pump.cancel()
        await opening

        assert ends.outcomes == ["cancelled"]
        assert await read(relay) == b""
        assert server.stats.requests == 0

    def test_relay_created_without_a_loop_is_read_on_one(
        self, server: LocalOpenRouter, ends: Ends
    ) -> None:
        """As by a plain function of FastAPI, which runs in a thread."""
        server.reply("hi")

        async def main() -> None:
            async with AsyncOpenRouter(server.api_key, base_url=server.url) as client:
                made: list[Relay] = []
                thread = threading.Thread(
                    target=lambda: made.append(
                        Relay(stream(client), "text", on_end=ends)
                    )
                )
                thread.start()
                thread.join()
                assert await read(made[0]) == b"hi"

        asyncio.run(main())

        assert ends.outcomes == ["ok"]
