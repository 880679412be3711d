"""Spans and metrics of calls and tools, read from the SDK's in-memory exporters."""

import asyncio
import gc
from typing import Any

import opentelemetry_content
import opentelemetry_tracing
import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.semconv._incubating.attributes import (  # pyright: ignore[reportMissingTypeStubs]
    error_attributes,
    gen_ai_attributes,
    server_attributes,
)
from opentelemetry.semconv._incubating.metrics import gen_ai_metrics  # pyright: ignore[reportMissingTypeStubs]
from opentelemetry.trace import SpanKind, StatusCode
from support import HELLO, MakeClient, until
from telemetry import Telemetry, attributes, call_of

from openrouter_async import (
    APITimeoutError,
    AsyncOpenRouter,
    BadRequestError,
    Retries,
    Timeouts,
    UserMessage,
    tool,
)
from openrouter_async.otel import NAMES, OpenTelemetry
from openrouter_async.testing import (
    LocalOpenRouter,
    Reply,
    completion,
    error_reply,
)

# Names of the development version of the conventions, and our own.
NOT_RELEASED = {
    "gen_ai.usage.cache_write.input_tokens",
    "gen_ai.request.reasoning.level",
    "gen_ai.execute_tool.duration",
    # The module has no names of events.
    "gen_ai.client.inference.operation.details",
}


@pytest.fixture
def telemetry() -> Telemetry:
    return Telemetry()


@pytest.fixture
def client(make_client: MakeClient, telemetry: Telemetry) -> AsyncOpenRouter:
    return make_client(observer=telemetry.observer())


def parent(span: ReadableSpan) -> int | None:
    return span.parent.span_id if span.parent else None


def identity(span: Any) -> int:
    found: int = span.get_span_context().span_id
    return found


@tool
async def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def test_names_are_those_of_the_conventions() -> None:
    modules = (error_attributes, gen_ai_attributes, server_attributes, gen_ai_metrics)
    known = {
        value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, str)
    }
    ours = {name for name in NAMES.values() if name.startswith("openrouter.")}

    assert set(NAMES.values()) - known - ours == NOT_RELEASED


class TestParents:
    """The parent of a span is the span that was current where the call began."""

    @pytest.mark.parametrize("stream", [False, True])
    async def test_call_and_stream(
        self,
        client: AsyncOpenRouter,
        telemetry: Telemetry,
        stream: bool,
    ) -> None:
        with telemetry.tracer.start_as_current_span("caller") as caller:
            if stream:
                async with client.chat.send(HELLO, stream=True) as opened:
                    await opened.collect()
            else:
                await client.chat.send(HELLO)

        assert parent(telemetry.span()) == identity(caller)

    async def test_retry_is_one_span_with_an_event(
        self, server: LocalOpenRouter, client: AsyncOpenRouter, telemetry: Telemetry
    ) -> None:
        server.reply(error_reply(429, "secret text")).then("ok")
        with telemetry.tracer.start_as_current_span("caller") as caller:
            await client.chat.send(HELLO)

        span = telemetry.span()
        assert parent(span) == identity(caller)
        (event,) = span.events
        found = dict(event.attributes or {})
        assert (event.name, found["error.type"], found["status"]) == (
            "openrouter.attempt",
            "RateLimitError",
            429,
        )
        assert attributes(span)["openrouter.attempts"] == 2
        assert "secret text" not in span.to_json()

    async def test_idle_timeout_among_other_requests(
        self, server: LocalOpenRouter, make_client: MakeClient, telemetry: Telemetry
    ) -> None:
        timeouts = Timeouts(idle=0.05)
        client = make_client(
            observer=telemetry.observer(), timeouts=timeouts, clock=None
        )
        server.reply(["a", "b"], stop="silence", stop_after=1, comments=0).then("x")
        with telemetry.tracer.start_as_current_span("first") as first:
            stream = await client.chat.send(HELLO, stream=True)
        with telemetry.tracer.start_as_current_span("second") as second:
            await client.chat.send(HELLO)
            with pytest.raises(APITimeoutError):
                await stream.collect()

        by_parent = {parent(span): span for span in telemetry.spans()}
        assert by_parent.keys() == {identity(first), identity(second)}
        timed_out = by_parent[identity(first)]
        assert attributes(timed_out)["error.type"] == "APITimeoutError"

    async def test_stream_that_another_task_closes(
        self, server: LocalOpenRouter, client: AsyncOpenRouter, telemetry: Telemetry
    ) -> None:
        server.reply(["a", "b"], stop="silence", stop_after=1, comments=0)
        with telemetry.tracer.start_as_current_span("opener") as opener:
            stream = await client.chat.send(HELLO, stream=True)

        async def close() -> None:
            with telemetry.tracer.start_as_current_span("closer"):
                await stream.aclose()

        await asyncio.create_task(close())

        span = telemetry.span()
        assert parent(span) == identity(opener)
        assert attributes(span)["openrouter.outcome"] == "closed"
        assert span.status.status_code is StatusCode.UNSET

    @pytest.mark.parametrize("stream", [False, True])
    async def test_tools(
        self,
        server: LocalOpenRouter,
        client: AsyncOpenRouter,
        telemetry: Telemetry,
        stream: bool,
    ) -> None:
        server.reply(call_of("add", {"a": 1, "b": 2})).then("3")
        with telemetry.tracer.start_as_current_span("caller") as caller:
            if stream:
                async with client.chat.run_tools(
                    messages=HELLO.messages, tools=[add], stream=True
                ) as run:
                    async for _ in run:
                        pass
            else:
                await client.chat.run_tools(messages=HELLO.messages, tools=[add])

        spans = [*telemetry.spans("chat"), telemetry.span("execute_tool add")]
        assert [parent(span) for span in spans] == [identity(caller)] * 3


class TestSpans:
    """The attributes of spans, and their ends."""

    async def test_attributes_of_a_call(
        self, client: AsyncOpenRouter, telemetry: Telemetry
    ) -> None:
        response = await client.chat.send(
            model="a/b",
            messages=[UserMessage("private")],
            temperature=0.5,
            max_completion_tokens=50,
            stop=["x", "y"],
            reasoning={"effort": "low"},
            response_format={"type": "json_object"},
            session_id="s",
            extra_body={"n": 2},
        )

        span = telemetry.span()
        found = attributes(span)
        assert (span.name, span.kind) == ("chat a/b", SpanKind.CLIENT)
        expected = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "openrouter",
            "gen_ai.request.model": "a/b",
            "server.address": "127.0.0.1",
            "gen_ai.request.temperature": 0.5,
            "gen_ai.request.max_tokens": 50,
            "gen_ai.request.stop_sequences": ("x", "y"),
            "gen_ai.request.choice.count": 2,
            "gen_ai.request.reasoning.level": "low",
            "gen_ai.output.type": "json",
            "gen_ai.conversation.id": "s",
            "gen_ai.response.id": response.http.generation_id,
            "gen_ai.response.model": response.model,
            "gen_ai.usage.input_tokens": response.usage.prompt_tokens,
            "gen_ai.usage.output_tokens": response.usage.completion_tokens,
            "openrouter.usage.cost": response.usage.cost,
            "openrouter.outcome": "ok",
        }
        assert {name: found.get(name) for name in expected} == expected
        assert found["openrouter.usage.cost"] > 0
        assert "gen_ai.request.stream" not in found
        assert "private" not in span.to_json()
        assert response.text not in span.to_json()

    @pytest.mark.parametrize(
        ("fields", "output_type", "stop"),
        [
            ({"modalities": ["image", "text"], "stop": "x"}, "image", ("x",)),
            ({"modalities": ["audio"]}, "speech", None),
            ({}, None, None),
        ],
    )
    async def test_output_type(
        self,
        client: AsyncOpenRouter,
        telemetry: Telemetry,
        fields: dict[str, Any],
        output_type: str | None,
        stop: tuple[str] | None,
    ) -> None:
        await client.chat.send(messages=[UserMessage("hi")], **fields)

        found = attributes(telemetry.span())
        assert telemetry.span().name == "chat"
        assert found.get("gen_ai.output.type") == output_type
        assert found.get("gen_ai.request.stop_sequences") == stop

    async def test_each_outcome_ends_one_span(
        self, server: LocalOpenRouter, client: AsyncOpenRouter, telemetry: Telemetry
    ) -> None:
        server.reply(error_reply(400, "secret text"))
        with pytest.raises(BadRequestError):
            await client.chat.send(HELLO)
        server.reply("a", stop="silence", stop_after=0, comments=0)
        task = asyncio.create_task(client.chat.send(HELLO, stream=True))
        await server.until(requests=2)
        task.cancel()
        await asyncio.wait([task])
        server.reply(["a", "b"], stop="silence", stop_after=1, comments=0)
        dropped: list[Any] = [await client.chat.send(HELLO, stream=True)]
        dropped.append(dropped)
        del dropped
        with pytest.warns(ResourceWarning):
            gc.collect()
        await until(lambda: len(telemetry.spans()) == 3)

        failed, cancelled, collected = telemetry.spans()
        assert failed.status.status_code is StatusCode.ERROR
        assert failed.status.description is None
        assert attributes(failed)["error.type"] == "BadRequestError"
        assert "secret text" not in failed.to_json()
        assert attributes(cancelled)["openrouter.outcome"] == "cancelled"
        assert attributes(collected)["openrouter.outcome"] == "closed"
        assert attributes(collected)["gen_ai.request.stream"] is True
        assert {cancelled.status.status_code, collected.status.status_code} == {
            StatusCode.UNSET
        }

    async def test_error_of_a_key_function_has_no_class(
        self, make_client: MakeClient, telemetry: Telemetry
    ) -> None:
        def key() -> str:
            raise LookupError

        client = make_client(observer=telemetry.observer(), api_key=key)
        with pytest.raises(LookupError):
            await client.chat.send(HELLO)

        assert attributes(telemetry.span())["error.type"] == "_OTHER"

    async def test_other_endpoints_have_no_span(
        self, client: AsyncOpenRouter, telemetry: Telemetry
    ) -> None:
        await client.request("GET", "/models")

        assert telemetry.spans("") == []

    async def test_error_of_a_tool(
        self, server: LocalOpenRouter, client: AsyncOpenRouter, telemetry: Telemetry
    ) -> None:
        server.reply(call_of("add", {"a": "private"})).then("3")
        await client.chat.run_tools(messages=HELLO.messages, tools=[add])

        span = telemetry.span("execute_tool")
        assert attributes(span)["error.type"] == "ToolArgumentsError"
        assert span.status.status_code is StatusCode.ERROR
        assert "private" not in span.to_json()

    async def test_broadcast_adds_the_ids_of_the_span(
        self, server: LocalOpenRouter, make_client: MakeClient, telemetry: Telemetry
    ) -> None:
        client = make_client(observer=telemetry.observer(broadcast=True))
        await client.chat.send(HELLO)
        await client.chat.send(HELLO, trace={"trace_id": "own"})

        first, second = (seen.json["trace"] for seen in server.requests)
        context = telemetry.spans()[0].get_span_context()
        assert context is not None
        assert first == {
            "trace_id": f"{context.trace_id:032x}",
            "parent_span_id": f"{context.span_id:016x}",
        }
        assert second["trace_id"] == "own"

    async def test_broken_connection_and_partial_usage(
        self, server: LocalOpenRouter, make_client: MakeClient, telemetry: Telemetry
    ) -> None:
        """Unknown values are left out."""
        body = {**completion("hi"), "usage": {"completion_tokens": 3}}
        server.reply("x", stop="reset").then(Reply(json=body))
        client = make_client(
            observer=telemetry.observer(), retries=Retries(ambiguous=True)
        )
        await client.chat.send(HELLO)

        found = attributes(telemetry.span())
        (event,) = telemetry.span().events
        assert "status" not in (event.attributes or {})
        assert found["gen_ai.usage.output_tokens"] == 3
        assert "gen_ai.usage.input_tokens" not in found
        assert len(telemetry.metrics()["gen_ai.client.token.usage"]) == 1

    async def test_without_an_sdk_calls_are_unaffected(
        self, server: LocalOpenRouter, make_client: MakeClient
    ) -> None:
        client = make_client(observer=OpenTelemetry(broadcast=True))

        assert (await client.chat.send(HELLO)).text
        assert "trace" not in server.requests[0].json


class TestMetrics:
    """The histograms."""

    @pytest.mark.parametrize("chunk_metrics", [False, True])
    async def test_stream_records_its_histograms(
        self,
        make_client: MakeClient,
        telemetry: Telemetry,
        chunk_metrics: bool,
    ) -> None:
        observer = telemetry.observer(chunk_metrics=chunk_metrics)
        async with make_client(observer=observer).chat.send(
            HELLO, stream=True
        ) as stream:
            await stream.collect()

        found = telemetry.metrics()
        expected = {
            "gen_ai.client.operation.duration",
            "gen_ai.client.operation.time_to_first_chunk",
            "gen_ai.client.token.usage",
        }
        if chunk_metrics:
            expected.add("gen_ai.client.operation.time_per_output_chunk")
        assert found.keys() == expected
        kinds = {
            point.attributes["gen_ai.token.type"]
            for point in found["gen_ai.client.token.usage"]
        }
        assert kinds == {"input", "output"}
        (point,) = found["gen_ai.client.operation.duration"]
        assert point.explicit_bounds[:3] == (0.01, 0.02, 0.04)
        assert point.attributes["gen_ai.response.model"]

    async def test_error_and_tool_have_durations(
        self, server: LocalOpenRouter, client: AsyncOpenRouter, telemetry: Telemetry
    ) -> None:
        server.reply(call_of("add", {"a": 1, "b": 2})).then(error_reply(400))
        with pytest.raises(BadRequestError):
            await client.chat.run_tools(messages=HELLO.messages, tools=[add])

        found = telemetry.metrics()
        classes = {
            point.attributes.get("error.type")
            for point in found["gen_ai.client.operation.duration"]
        }
        assert classes == {None, "BadRequestError"}
        assert len(found["gen_ai.execute_tool.duration"]) == 1


async def test_example_prints_the_spans(
    server: LocalOpenRouter,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("OPENROUTER_BASE_URL", server.url)
    monkeypatch.setenv("OPENROUTER_API_KEY", server.api_key)
    server.reply(call_of("get_weather", {"city": "Oslo"})).then("Sunny.")
    await opentelemetry_tracing.main()

    printed = capsys.readouterr().out
    names = ("question", "chat openai/gpt-4o-mini", "execute_tool get_weather")
    assert all(f'"name": "{name}"' in printed for name in names)


async def test_example_prints_the_messages(
    server: LocalOpenRouter,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("OPENROUTER_BASE_URL", server.url)
    monkeypatch.setenv("OPENROUTER_API_KEY", server.api_key)
    server.reply("Good morning.")
    await opentelemetry_content.main()

    printed = capsys.readouterr().out
    assert '"content": "Hello"' in printed
    assert '"content": "Good morning."' in printed
