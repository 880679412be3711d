"""Relays of real streams: lifetime, errors, heartbeats, slow readers."""

import asyncio
import gc
import logging
import threading
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from typing import Any

import pytest
from support import HELLO, MakeClient
from ui_stream_rules import UIStreamRules, read_events

from openrouter_async import (
    AsyncOpenRouter,
    ChatResponse,
    ConfigurationError,
    OpenRouterError,
    PendingStream,
    RateLimitError,
    Retries,
    ToolStream,
    UserMessage,
    tool,
)
from openrouter_async.relay import (
    AISDKFormat,
    PublicError,
    Relay,
    RelayResult,
    SSEFormat,
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
from openrouter_async.tools import ToolEvent

KEEP_ALIVE = b": keep-alive\n\n"
FAILURE = b"event: failure\n"
# Time for an upstream to notice that its client has left, in seconds.
SOON = 0.5


@tool
async def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@tool
async def fail() -> str:
    """Fail."""
    raise ValueError("secret")


class Ends:
    """The results that `on_end` was called with."""

    def __init__(self) -> None:
        self.results: list[RelayResult] = []

    def __call__(self, result: RelayResult) -> None:
        self.results.append(result)

    @property
    def outcomes(self) -> list[str]:
        return [result.outcome for result in self.results]


@pytest.fixture
def ends() -> Ends:
    return Ends()


@pytest.fixture(autouse=True)
async def no_errors_are_logged(
    caplog: pytest.LogCaptureFixture,
) -> AsyncIterator[None]:
    """Fail if asyncio reports an exception that nobody has retrieved."""
    yield
    await asyncio.sleep(0)
    # Young objects only: a full collection takes longer than a test.
    gc.collect(1)
    await asyncio.sleep(0)
    assert [each for each in caplog.records if each.name == "asyncio"] == [
        each for each in caplog.records if "took" in each.getMessage()
    ]


def stream(client: AsyncOpenRouter, **options: Any) -> PendingStream[Any]:
    send: Any = client.chat.send
    pending: PendingStream[Any] = send(HELLO, stream=True, **options)
    return pending


def run(client: AsyncOpenRouter, **options: Any) -> ToolStream[Any]:
    options = {"tools": [add, fail], "stream": True, **options}
    run_tools: Any = client.chat.run_tools
    made: ToolStream[Any] = run_tools(HELLO, **options)
    return made


async def read(relay: Relay) -> bytes:
    return b"".join([data async for data in relay])


async def read_until(relay: Relay, part: bytes) -> bytes:
    data = b""
    while part not in data:
        data += await anext(relay)
    return data


class TestFormats:
    """Whole relays, from the socket to the bytes for the client."""

    @pytest.mark.parametrize(
        ("name", "expected"),
        [
            (
                "sse",
                (
                    b'data: {"text":"he"}\n\ndata: {"text":"llo"}\n\nevent: done\n'
                    b'data: {"finish_reason":"stop","usage":null}\n\n'
                ),
            ),
            ("text", b"hello"),
            (
                "ai-sdk",
                (
                    b'data: {"type":"start"}\n\ndata: {"type":"start-step"}\n\n'
                    b'data: {"type":"text-start","id":"1"}\n\n'
                    b'data: {"type":"text-delta","id":"1","delta":"he"}\n\n'
                    b'data: {"type":"text-delta","id":"1","delta":"llo"}\n\n'
                    b'data: {"type":"text-end","id":"1"}\n\n'
                    b'data: {"type":"finish-step"}\n\n'
                    b'data: {"type":"finish","finishReason":"stop"}\n\ndata: [DONE]\n\n'
                ),
            ),
        ],
    )
    async def test_stream_is_relayed(
        self,
        server: LocalOpenRouter,
        client: AsyncOpenRouter,
        ends: Ends,
        name: Any,
        expected: bytes,
    ) -> None:
        server.reply(["he", "llo"])

        comment = b"" if name == "text" else KEEP_ALIVE
        assert await read(Relay(stream(client), name, on_end=ends)) == (
            comment + expected
        )
        (result,) = ends.results
        assert (result.outcome, result.error) == ("ok", None)
        assert result.response is not None
        assert result.response.text == "hello"

    async def test_openai_chunks_are_passed_on(
        self, server: LocalOpenRouter, client: AsyncOpenRouter
    ) -> None:
        server.reply(["he", "llo"])
        events = read_events(await read(Relay(stream(client), "openai")))

        texts = [each["choices"][0]["delta"]["content"] for each in events]
        assert "".join(texts) == "hello"
        (completion_id,) = {each["id"] for each in events}
        assert completion_id.startswith("chatcmpl-")
        assert all("usage" not in each for each in events)

    @pytest.mark.parametrize("name", ["sse", "ai-sdk", "text"])
    @pytest.mark.parametrize("size", [1, 50, 333])
    async def test_bytes_do_not_depend_on_the_reads(
        self,
        server: LocalOpenRouter,
        client: AsyncOpenRouter,
        name: Any,
        size: int,
    ) -> None:
        content = completion("Hé, hello", reasoning="hm", tool_calls=[tool_call("f")])
        server.reply(content).then(content, write_bytes=size)
        whole = await read(Relay(stream(client), name))

        assert await read(Relay(stream(client), name)) == whole

    async def test_open_and_parsed_streams_are_relayed(
        self, server: LocalOpenRouter, client: AsyncOpenRouter
    ) -> None:
        server.reply("1").then("2")
        opened = await stream(client)
        parsed = stream(client, output=int)

        assert await read(Relay(opened, "text")) == b"1"
        assert await read(Relay(parsed, "text")) == b"2"

    @pytest.mark.parametrize("name", ["sse", "ai-sdk", "openai", "text"])
    async def test_run_of_tools_is_relayed(
        self,
        server: LocalOpenRouter,
        client: AsyncOpenRouter,
        ends: Ends,
        name: Any,
    ) -> None:
        calls = [tool_call("add", {"a": 1, "b": 2}), tool_call("fail", index=1)]
        server.reply(completion(tool_calls=calls)).then("three")
        data = await read(Relay(run(client), name, on_end=ends))

        assert b"three" in data
        assert b"secret" not in data
        assert ends.outcomes == ["ok"]
        assert ends.results[0].response is not None
        assert ends.results[0].response.text == "three"
        if name == "ai-sdk":
            rules = UIStreamRules()
            rules.accept(read_events(data))
            assert set(rules.calls.values()) == {"finished"}

    async def test_calls_of_a_plain_stream_are_complete(
        self, server: LocalOpenRouter, client: AsyncOpenRouter
    ) -> None:
        """For tools that the browser executes."""
        server.reply(completion(tool_calls=[tool_call("add", {"a": 1, "b": 2})]))
        events = read_events(await read(Relay(stream(client), "ai-sdk")))

        (call,) = [each for each in events if each["type"] == "tool-input-available"]
        assert call["input"] == {"a": 1, "b": 2}
        assert events[-1]["finishReason"] == "tool-calls"

    async def test_usage_is_what_the_function_returns(
        self, server: LocalOpenRouter, client: AsyncOpenRouter
    ) -> None:
        server.reply("hi")

        def usage(response: ChatResponse) -> Mapping[str, Any]:
            return {"tokens": response.usage.total_tokens}

        data = await read(Relay(stream(client), usage=usage))

        assert b'"usage":{"tokens":' in data

    async def test_own_format_may_wrap_another(
        self, server: LocalOpenRouter, client: AsyncOpenRouter
    ) -> None:
        class WithTitle(AISDKFormat):
            def begin(self) -> bytes:
                title = b'data: {"type":"data-title","data":"Hi"}\n\n'
                return super().begin() + title

        server.reply("hi")
        data = await read(Relay(stream(client), WithTitle("m1")))

        assert data.startswith(
            KEEP_ALIVE + b'data: {"type":"start","messageId":"m1"}\n\n'
            b'data: {"type":"data-title"'
        )

    async def test_headers_may_be_extended(self, client: AsyncOpenRouter) -> None:
        async with Relay(stream(client)) as first, Relay(stream(client)) as second:
            first.headers["X-Chat"] = "1"

            assert "X-Chat" not in second.headers

    async def test_invalid_arguments_are_rejected(
        self, client: AsyncOpenRouter
    ) -> None:
        """The stream, which nobody awaits, is closed without a warning."""
        with pytest.raises(ConfigurationError, match='"sse", "ai-sdk", "openai"'):
            Relay(stream(client), "xml")  # type: ignore[arg-type]
        with pytest.raises(ConfigurationError, match="heartbeat=0"):
            Relay(run(client), heartbeat=0)
        tools = client.chat.run_tools(HELLO, tools=[add])
        with pytest.raises(TypeError, match="type ToolRun"):
            Relay(tools)  # type: ignore[arg-type]
        tools.close()


class TestErrors:
    """Failures are the last event, and contain nothing private."""

    async def test_error_before_the_first_chunk_is_an_event(
        self,
        server: LocalOpenRouter,
        client: AsyncOpenRouter,
        ends: Ends,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        server.reply(error_reply(400, "secret"))

        data = await read(Relay(stream(client), on_end=ends))
        assert data == (
            KEEP_ALIVE + FAILURE + b'data: {"code":"invalid_request","message":'
            b'"The request could not be processed.","retryable":false,'
            b'"retry_after":null}\n\n'
        )
        assert ends.outcomes == ["error"]
        assert ends.results[0].response is None
        (record,) = [
            each
            for each in caplog.records
            if each.levelname == "WARNING" and each.name == "openrouter_async"
        ]
        assert record.levelno == logging.WARNING
        assert "BadRequestError, status 400" in record.message
        assert "secret" not in record.message

    async def test_retry_after_is_sent(
        self, server: LocalOpenRouter, make_client: MakeClient
    ) -> None:
        server.reply(error_reply(429, retry_after=7))
        client = make_client(retries=Retries(max_attempts=1))

        data = await read(Relay(stream(client)))
        assert b'"code":"rate_limited"' in data
        assert b'"retry_after":7' in data

    @pytest.mark.parametrize(
        "fault",
        [
            {"error": StreamError(message="secret"), "error_after": 2},
            {"stop": "end", "stop_after": 2},
        ],
    )
    async def test_error_does_not_overtake_the_text_before_it(
        self,
        server: LocalOpenRouter,
        client: AsyncOpenRouter,
        ends: Ends,
        fault: Any,
    ) -> None:
        server.reply(Reply(["he", "llo", "!"], **fault))

        data = await read(Relay(stream(client), on_end=ends))
        assert data.startswith(
            KEEP_ALIVE + b'data: {"text":"he"}\n\ndata: {"text":"llo"}\n\n' + FAILURE
        )
        assert b"secret" not in data
        assert ends.outcomes == ["error"]
        assert ends.results[0].response is not None
        assert ends.results[0].response.text == "hello"

    async def test_text_ends_with_the_exception(
        self, server: LocalOpenRouter, client: AsyncOpenRouter, ends: Ends
    ) -> None:
        """So that the server does not complete the body."""
        server.reply(["he", "llo"], error=StreamError(), error_after=1)
        relay = Relay(stream(client), "text", on_end=ends)

        assert await anext(relay) == b"he"
        with pytest.raises(OpenRouterError):
            await anext(relay)
        assert await read(relay) == b""
        assert ends.outcomes == ["error"]

    async def test_exception_of_a_tool_is_an_internal_error(
        self,
        server: LocalOpenRouter,
        client: AsyncOpenRouter,
        ends: Ends,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        server.reply(completion(tool_calls=[tool_call("fail")]))
        relay = Relay(run(client, on_tool_error="raise"), "ai-sdk", on_end=ends)
        events = read_events(await read(relay))

        assert events[-1] == {
            "type": "error",
            "errorText": "An internal error occurred.",
        }
        assert isinstance(ends.results[0].error, ValueError)
        (record,) = [
            each
            for each in caplog.records
            if each.levelname == "WARNING" and each.name == "openrouter_async"
        ]
        assert record.exc_info is not None

    async def test_error_in_a_second_turn_keeps_the_first(
        self, server: LocalOpenRouter, client: AsyncOpenRouter, ends: Ends
    ) -> None:
        call = completion(tool_calls=[tool_call("add", {"a": 1, "b": 2})])
        server.reply(call).then(error_reply(400))
        await read(Relay(run(client), on_end=ends))

        assert ends.results[0].response is not None
        assert ends.results[0].response.finish_reason == "tool_calls"

    async def test_closed_client_is_reported_to_the_browser(
        self, server: LocalOpenRouter, client: AsyncOpenRouter, ends: Ends
    ) -> None:
        server.reply(["he", "llo"], chunk_delay=30)
        relay = Relay(stream(client), on_end=ends)
        await read_until(relay, b"he")
        await client.aclose()

        assert b'"code":"unavailable"' in await read(relay)
        assert ends.outcomes == ["closed"]

    async def test_functions_of_the_caller_that_raise_are_logged(
        self,
        server: LocalOpenRouter,
        client: AsyncOpenRouter,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        def broken(_: object) -> Any:
            raise ValueError("mine")

        server.reply("hi").then(error_reply(400))
        options: Any = {"usage": broken, "on_error": broken, "on_end": broken}

        assert b"event: done" in await read(Relay(stream(client), **options))
        assert b'"code":"invalid_request"' in await read(
            Relay(stream(client), **options)
        )
        names = [each.message.split("=")[0] for each in caplog.records if each.exc_info]
        assert names == ["usage", "on_end", "on_error", "on_end"]

    async def test_own_error_is_sent(
        self, server: LocalOpenRouter, client: AsyncOpenRouter
    ) -> None:
        server.reply(error_reply(400))

        def describe(error: BaseException) -> PublicError:
            return PublicError("mine", type(error).__name__)

        data = await read(Relay(stream(client), on_error=describe))

        assert b'{"code":"mine","message":"BadRequestError"' in data

    async def test_format_that_raises_ends_the_relay(
        self, server: LocalOpenRouter, client: AsyncOpenRouter, ends: Ends
    ) -> None:
        class Broken(SSEFormat):
            def event(self, event: ToolEvent) -> bytes:
                raise ValueError("mine", event)

        class VeryBroken(Broken):
            def error(self, error: PublicError) -> bytes:
                raise ValueError("mine too", error)

        server.reply("hi", times=2)

        assert b'"code":"internal"' in await read(
            Relay(stream(client), Broken(), on_end=ends)
        )
        with pytest.raises(ValueError, match="'mine', TextDelta"):
            await read(Relay(stream(client), VeryBroken(), on_end=ends))
        assert ends.outcomes == ["error", "error"]


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
        assert "relay" not in caplog.text

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

        await server.until(closed=1, timeout=SOON)
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
        await server.until(closed=1, timeout=SOON)
        await asyncio.sleep(0.01)
        assert ends.outcomes == [outcome]
        assert client.stats.in_use == 0

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
        await asyncio.sleep(0.01)

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
        await asyncio.sleep(0.05)

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
        assert 3 <= data.count(KEEP_ALIVE) - 1 <= seconds / 0.1
        assert data.replace(KEEP_ALIVE, b"").startswith(b'data: {"text":"he"}\n\n')

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
        server.reply(["he", *["llo"] * 9], chunk_delay=0.02)
        slow = Relay(stream(client), reader_timeout=0.1, on_end=ends)
        await slow.open()
        await server.until(closed=2, timeout=5)
        await asyncio.sleep(0.01)

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
        await server.until(closed=1, timeout=1)

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
        await asyncio.sleep(0.2)
        first = await anext(relay)
        await asyncio.sleep(0.05)
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
        await asyncio.sleep(0.2)
        del relay

        await server.until(closed=1, timeout=SOON)
        await asyncio.sleep(0)
        assert ends.outcomes == ["closed"]


async def test_heartbeat_of_a_prompt_reader_is_not_late(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """`UserMessage` is accepted as by `send`."""
    server.reply("hi", delay=0.1)
    pending = client.chat.send(model="m", messages=[UserMessage("hi")], stream=True)
    assert await read(Relay(pending, "text", heartbeat=0.01)) == b"hi"
