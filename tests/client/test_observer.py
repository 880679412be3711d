"""`observer=`: the steps of calls, chunks and tools, and its own failures."""

import asyncio
import contextvars
import logging
from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest
from support import HELLO, MakeClient

from openrouter_async import (
    BadRequestError,
    CallInfo,
    CallObservation,
    CallRecord,
    ChatResponse,
    ClosedError,
    ToolCall,
    ToolError,
    ToolObservation,
    ToolResult,
    UserMessage,
    tool,
)
from openrouter_async.testing import (
    LocalOpenRouter,
    completion,
    error_reply,
    tool_call,
)

CURRENT: contextvars.ContextVar[str] = contextvars.ContextVar("CURRENT", default="-")


@contextmanager
def current(name: str) -> Generator[None]:
    token = CURRENT.set(name)
    try:
        yield
    finally:
        CURRENT.reset(token)


class Recorder:
    """An observer that writes down everything; it raises in the step `fails_in`."""

    def __init__(self, fails_in: str = "", *, chunks: bool = True) -> None:
        self.fails_in = fails_in
        self.chunks = chunks
        self.infos: list[CallInfo] = []
        self.steps: list[str] = []
        self.ends: list[tuple[CallRecord, ChatResponse | None]] = []
        self.results: list[ToolResult] = []
        self.members: Mapping[str, Any] | None = None

    def step(self, name: str) -> None:
        self.steps.append(name)
        if name == self.fails_in:
            raise LookupError(name)

    def call_started(self, call: CallInfo) -> CallObservation | None:
        self.infos.append(call)
        if self.members is not None:
            call.add_to_body(self.members)
        self.step("started")
        return Observed(self)

    def tool_started(self, call: ToolCall, turn: int) -> ToolObservation | None:
        self.step(f"tool {call.function.name} {turn}")
        return ObservedTool(self)


class Ignoring(Recorder):
    """An observer that observes nothing."""

    def call_started(self, call: CallInfo) -> None:
        self.step(f"started {call.model}")

    def tool_started(self, call: ToolCall, turn: int) -> None:
        self.step(f"tool {call.function.name} {turn}")


class Observed:
    """The observation of a call."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self.chunk: Callable[[], object] | None = None
        if recorder.chunks:
            self.chunk = lambda: recorder.step("chunk")

    def active(self) -> AbstractContextManager[object]:
        self.recorder.step("active")
        return self._active()

    @contextmanager
    def _active(self) -> Generator[None]:
        with current("call"):
            self.recorder.step("enter")
            yield
        self.recorder.step("exit")

    def first_chunk(self) -> None:
        self.recorder.step("first")

    def finished(self, record: CallRecord, response: ChatResponse | None) -> None:
        self.recorder.ends.append((record, response))
        self.recorder.step("finished")


class ObservedTool:
    """The observation of a tool."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder

    def active(self) -> AbstractContextManager[object]:
        self.recorder.step("tool active")
        return current("tool")

    def finished(self, result: ToolResult) -> None:
        self.recorder.results.append(result)
        self.recorder.step("tool finished")


def calling(name: str, arguments: Any) -> dict[str, Any]:
    return completion(tool_calls=[tool_call(name, arguments)])


class TestCalls:
    """The steps of a call that an observer is told."""

    async def test_plain_call_is_started_active_and_finished(
        self, server: LocalOpenRouter, make_client: MakeClient
    ) -> None:
        """The context spans all attempts, and the key function runs inside it."""
        seen: list[str] = []
        recorder = Recorder()

        def key() -> str:
            seen.append(CURRENT.get())
            return server.api_key

        server.reply(error_reply(500)).then("hello")
        response = await make_client(observer=recorder, api_key=key).chat.send(HELLO)

        assert recorder.steps == ["started", "active", "enter", "exit", "finished"]
        ((record, received),) = recorder.ends
        assert (record.outcome, len(record.http.attempts)) == ("ok", 2)
        assert received is response
        assert seen == ["call", "call"]
        assert CURRENT.get() == "-"

    async def test_info_has_the_request(
        self, server: LocalOpenRouter, make_client: MakeClient
    ) -> None:
        recorder = Recorder()
        messages = [UserMessage("hi")]
        await make_client(observer=recorder).chat.send(
            model="a/b", messages=messages, temperature=0.5
        )

        (info,) = recorder.infos
        assert (info.model, info.stream, info.host) == ("a/b", False, "127.0.0.1")
        assert str(info.port) in server.url
        assert info.body is not None
        assert info.body["messages"] is messages
        assert info.body["temperature"] == 0.5
        with pytest.raises(TypeError):
            info.body["x"] = 1  # type: ignore[index] # pyright: ignore[reportIndexIssue]
        assert repr(info) == f"<CallInfo a/b 127.0.0.1:{info.port}>"

    async def test_members_are_added_to_the_body(
        self, server: LocalOpenRouter, make_client: MakeClient
    ) -> None:
        recorder = Recorder()
        recorder.members = {"trace": {"trace_id": "t"}}
        await make_client(observer=recorder).chat.send(HELLO)

        sent = server.requests[0].json
        assert sent["trace"] == {"trace_id": "t"}
        assert sent["messages"][0]["content"] == "Say hello"

    async def test_call_without_a_json_object_has_no_body(
        self, make_client: MakeClient
    ) -> None:
        recorder = Recorder()
        await make_client(observer=recorder).request("GET", "/models")

        assert (recorder.infos[0].body, recorder.infos[0].model) == (None, None)
        assert recorder.ends[0][1] is None

    @pytest.mark.parametrize("chunks", [True, False])
    async def test_stream_reports_its_chunks(
        self, server: LocalOpenRouter, make_client: MakeClient, chunks: bool
    ) -> None:
        """`chunk` is called for each one after the first, but not for `[DONE]`."""
        recorder = Recorder(chunks=chunks)
        server.reply(["a", "b", "c"])
        count = 0
        client = make_client(observer=recorder)
        async with client.chat.send(HELLO, stream=True) as stream:
            assert recorder.steps[-1] == "first"
            assert CURRENT.get() == "-"
            async for _ in stream:
                count += 1

        assert recorder.steps.count("chunk") == (count - 1 if chunks else 0)
        assert recorder.steps[-1] == "finished"
        ((record, response),) = recorder.ends
        assert (record.stream, record.outcome) == (True, "ok")
        assert response is not None
        assert response.text == "abc"

    async def test_each_outcome_is_finished_once(
        self, server: LocalOpenRouter, make_client: MakeClient
    ) -> None:
        recorder = Recorder()
        client = make_client(observer=recorder)
        server.reply(error_reply(400))
        with pytest.raises(BadRequestError) as refused:
            await client.chat.send(HELLO)
        server.reply(["a", "b"])
        async with client.chat.send(HELLO, stream=True) as stream:
            await anext(stream)
        server.reply("a", stop="silence", stop_after=0, comments=0)
        task = asyncio.create_task(client.chat.send(HELLO, stream=True))
        await server.until(requests=3)
        task.cancel()
        await asyncio.wait([task])

        assert [record.outcome for record, _ in recorder.ends] == [
            "error",
            "closed",
            "cancelled",
        ]
        assert recorder.ends[0][0].error is refused.value
        partial = recorder.ends[1][1]
        assert partial is not None
        assert partial.text == "a"

    async def test_clients_of_with_options_share_the_observer(
        self, make_client: MakeClient
    ) -> None:
        recorder = Recorder()
        await make_client(observer=recorder).with_options(timeouts=9).chat.send(HELLO)

        assert len(recorder.ends) == 1

    async def test_observer_and_on_call_get_the_same_record(
        self,
        make_client: MakeClient,
        records: list[CallRecord],
    ) -> None:
        recorder = Recorder()
        await make_client(observer=recorder).chat.send(HELLO)

        assert records == [recorder.ends[0][0]]

    async def test_observer_may_ignore_calls_and_tools(
        self, server: LocalOpenRouter, make_client: MakeClient
    ) -> None:
        @tool
        async def add(a: int) -> int:
            """Add."""
            return a

        recorder = Ignoring()
        server.reply(calling("add", {"a": 1})).then("ok")
        client = make_client(observer=recorder)
        run = await client.chat.run_tools(messages=HELLO.messages, tools=[add])

        assert run.response.text == "ok"
        assert recorder.steps == ["started None", "tool add 1", "started None"]

    @pytest.mark.parametrize("stream", [False, True])
    @pytest.mark.parametrize(
        "step", ["started", "active", "enter", "exit", "first", "chunk", "finished"]
    )
    async def test_exception_of_an_observer_is_logged_only(
        self,
        server: LocalOpenRouter,
        make_client: MakeClient,
        records: list[CallRecord],
        caplog: pytest.LogCaptureFixture,
        step: str,
        stream: bool,
    ) -> None:
        """A stream whose `chunk` raises is logged once, not once for each chunk."""
        server.reply(["a", "b", "c"])
        client = make_client(observer=Recorder(step))
        if stream:
            async with client.chat.send(HELLO, stream=True) as opened:
                response = await opened.collect()
        else:
            response = await client.chat.send(HELLO)

        assert response.text == "abc"
        assert [record.outcome for record in records] == ["ok"]
        errors = [each for each in caplog.records if each.levelno == logging.ERROR]
        is_raised = stream or step not in {"first", "chunk"}
        assert len(errors) == is_raised
        assert (f"LookupError: {step}" in caplog.text) == is_raised

    async def test_error_of_a_call_is_not_logged_as_that_of_the_observer(
        self,
        server: LocalOpenRouter,
        make_client: MakeClient,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        server.reply(error_reply(400))
        with pytest.raises(BadRequestError):
            await make_client(observer=Recorder()).chat.send(HELLO)

        assert [each for each in caplog.records if each.levelno == logging.ERROR] == []


@tool
async def where() -> str:
    """Say where it runs."""
    return CURRENT.get()


@tool
def where_in_a_thread() -> str:
    """Say where it runs."""
    return CURRENT.get()


@tool
async def fail() -> str:
    """Fail."""
    raise ValueError("no")


@tool
async def refuse() -> str:
    """Refuse."""
    raise ToolError("not today")


@tool
async def wait() -> None:
    """Wait."""
    await asyncio.Event().wait()


TOOLS = [where, where_in_a_thread, fail, refuse, wait]


class TestTools:
    """The steps of a tool that an observer is told."""

    @pytest.mark.parametrize("name", ["where", "where_in_a_thread"])
    async def test_function_runs_in_the_context_of_its_observation(
        self, server: LocalOpenRouter, make_client: MakeClient, name: str
    ) -> None:
        recorder = Recorder()
        server.reply(calling(name, {})).then("ok")
        client = make_client(observer=recorder)
        await client.chat.run_tools(messages=HELLO.messages, tools=TOOLS)

        (result,) = recorder.results
        assert (result.value, result.error, result.turn) == ("tool", None, 1)
        at = recorder.steps.index(f"tool {name} 1")
        assert recorder.steps[at + 1 : at + 3] == ["tool active", "tool finished"]

    @pytest.mark.parametrize(
        ("name", "arguments", "error"),
        [
            ("fail", {}, "ValueError"),
            ("refuse", {}, "ToolError"),
            ("nobody", {}, "LookupError"),
            ("where", "{", "ToolArgumentsError"),
        ],
    )
    async def test_error_is_reported_as_the_run_reports_it(
        self,
        server: LocalOpenRouter,
        make_client: MakeClient,
        name: str,
        arguments: Any,
        error: str,
    ) -> None:
        recorder = Recorder()
        server.reply(calling(name, arguments)).then("ok")
        client = make_client(observer=recorder)
        run = await client.chat.run_tools(messages=HELLO.messages, tools=TOOLS)

        assert recorder.results == run.results
        assert type(recorder.results[0].error).__name__ == error

    async def test_error_that_ends_the_run_is_reported(
        self, server: LocalOpenRouter, make_client: MakeClient
    ) -> None:
        recorder = Recorder()
        server.reply(calling("fail", {}))
        client = make_client(observer=recorder)
        with pytest.raises(ValueError, match="no") as raised:
            await client.chat.run_tools(
                messages=HELLO.messages, tools=TOOLS, on_tool_error="raise"
            )

        assert [result.error for result in recorder.results] == [raised.value]

    async def test_cancelled_tool_is_reported_as_closed(
        self, server: LocalOpenRouter, make_client: MakeClient
    ) -> None:
        recorder = Recorder()
        server.reply(calling("wait", {}))
        client = make_client(observer=recorder)
        run = client.chat.run_tools(messages=HELLO.messages, tools=TOOLS)
        task = asyncio.create_task(run)
        async with asyncio.timeout(5):
            while "tool active" not in recorder.steps:  # noqa: ASYNC110 - no event
                await asyncio.sleep(0.001)
        task.cancel()
        await asyncio.wait([task])

        (result,) = recorder.results
        assert isinstance(result.error, ClosedError)

    @pytest.mark.parametrize("step", ["tool where 1", "tool active", "tool finished"])
    async def test_exception_of_an_observer_is_logged_only(
        self,
        server: LocalOpenRouter,
        make_client: MakeClient,
        caplog: pytest.LogCaptureFixture,
        step: str,
    ) -> None:
        server.reply(calling("where", {})).then("ok")
        client = make_client(observer=Recorder(step))
        run = await client.chat.run_tools(messages=HELLO.messages, tools=TOOLS)

        assert run.response.text == "ok"
        assert f"LookupError: {step}" in caplog.text
