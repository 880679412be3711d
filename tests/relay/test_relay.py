"""Relays of real streams and runs: what is sent, and how failures are."""

import logging
from collections.abc import Mapping
from typing import Any

import pytest
from relay_support import (
    FAILURE,
    KEEP_ALIVE,
    Ends,
    add,
    read,
    read_until,
    run,
    stream,
)
from support import HELLO, MakeClient
from ui_stream_rules import UIStreamRules, read_events

from openrouter_async import (
    AsyncOpenRouter,
    ChatResponse,
    ConfigurationError,
    OpenRouterError,
    Retries,
)
from openrouter_async.relay import (
    AISDKFormat,
    PublicError,
    Relay,
    SSEFormat,
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

pytestmark = pytest.mark.usefixtures("no_errors_are_logged")


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

    @pytest.mark.parametrize(
        ("name", "end"),
        [
            (
                "sse",
                (
                    b'data: {"text":"he"}\n\n'
                    + FAILURE
                    + b'data: {"code":"unavailable",'
                    b'"message":"The service is unavailable at the moment.",'
                    b'"retryable":true,"retry_after":null}\n\n'
                ),
            ),
            (
                "ai-sdk",
                (
                    b'data: {"type":"text-delta","id":"1","delta":"he"}\n\n'
                    b'data: {"type":"text-end","id":"1"}\n\n'
                    b'data: {"type":"error",'
                    b'"errorText":"The service is unavailable at the moment."}\n\n'
                    b"data: [DONE]\n\n"
                ),
            ),
            (
                "openai",
                (
                    b'data: {"error":{"message":'
                    b'"The service is unavailable at the moment.",'
                    b'"type":"unavailable","code":"unavailable","param":null}}\n\n'
                    b"data: [DONE]\n\n"
                ),
            ),
        ],
    )
    async def test_stream_that_is_cut_off_ends_with_an_error(
        self, server: LocalOpenRouter, client: AsyncOpenRouter, name: Any, end: bytes
    ) -> None:
        """Otherwise, a client would take the text for complete."""
        server.reply(Reply(["he", "llo"], stop="end", stop_after=1))
        data = await read(Relay(stream(client), name))

        assert data.endswith(end)

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
