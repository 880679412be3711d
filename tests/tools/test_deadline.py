"""Limits in time: of a whole run, and of one call of a tool."""

import asyncio
import pickle
import threading
from typing import Any

import pytest
from tool_runs import (
    MESSAGES,
    add,
    both,
    calls,
    finish,
    sent_messages,
    sent_results,
)

from openrouter_async import (
    APITimeoutError,
    AsyncOpenRouter,
    ConfigurationError,
    FunctionTool,
    ToolCall,
    ToolError,
    ToolRunTimeoutError,
    ToolTimeoutError,
    tool,
)
from openrouter_async.testing import LocalOpenRouter, Reply


@tool
async def wait() -> None:
    """Wait for a long time."""
    await asyncio.sleep(60)


@both
async def test_deadline_names_the_tools_that_have_not_returned(
    server: LocalOpenRouter, client: AsyncOpenRouter, *, stream: bool
) -> None:
    """Of async and plain tools; one that only waits for its turn is not named."""
    end = threading.Event()

    @tool
    def block() -> None:
        end.wait(60)

    server.reply(calls(("add", {"a": 1}))).then(
        calls(("wait", {}), ("add", {"a": 2}), ("block", {}), ("add", {"a": 3}))
    )
    run = client.chat.run_tools(
        messages=MESSAGES,
        tools=[add, wait, block],
        stream=stream,
        deadline=2.0,
        max_parallel_tools=2,
    )
    started = asyncio.get_running_loop().time()

    with pytest.raises(ToolRunTimeoutError) as caught:
        await finish(run)

    end.set()
    assert asyncio.get_running_loop().time() - started < 6.6
    error = caught.value
    assert isinstance(error, TimeoutError)
    assert (error.tools, error.seconds) == (("wait", "block"), 2.0)
    assert error.message == (
        "The run did not end within deadline=2 seconds: "
        "the tools 'wait', 'block' had not returned."
    )
    assert len(error.messages) == len(run.messages) == 3
    assert len(error.response.tool_calls) == 4
    copy: ToolRunTimeoutError = pickle.loads(pickle.dumps(error))
    assert (copy.tools, copy.message) == (error.tools, error.message)


async def test_deadline_with_one_tool_left_names_it(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    server.reply(calls(("add", {"a": 1}), ("wait", {})))

    with pytest.raises(ToolRunTimeoutError, match=r"the tool 'wait' had not") as caught:
        await client.chat.run_tools(messages=MESSAGES, tools=[add, wait], deadline=0.2)

    assert caught.value.tools == ("wait",)


@both
async def test_deadline_ends_a_request(
    server: LocalOpenRouter, client: AsyncOpenRouter, *, stream: bool
) -> None:
    server.reply(calls(("add", {"a": 1}))).then(Reply("late", delay=60))
    run = client.chat.run_tools(
        messages=MESSAGES, tools=[add], stream=stream, deadline=0.3
    )

    with pytest.raises(ToolRunTimeoutError, match="the model had not resp") as caught:
        await finish(run)

    assert caught.value.tools == ()
    assert caught.value.response.tool_calls
    assert len(run.messages) == 3
    assert client.stats.in_use == 0


async def test_deadline_ends_a_stream_and_keeps_the_part_that_arrived(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    server.reply(Reply("The first half and the second", stop="silence", stop_after=3))
    run = client.chat.run_tools(messages=MESSAGES, stream=True, deadline=0.3)

    with pytest.raises(ToolRunTimeoutError) as caught:
        await finish(run)

    error = caught.value
    assert error.partial is not None
    assert error.partial.text
    assert error.response.choices == []
    assert client.stats.in_use == 0


@both
async def test_run_within_its_deadline_is_not_changed(
    server: LocalOpenRouter, client: AsyncOpenRouter, *, stream: bool
) -> None:
    server.reply(calls(("add", {"a": 1}))).then("ok")

    run = await finish(
        client.chat.run_tools(
            messages=MESSAGES, tools=[add], stream=stream, deadline=60
        )
    )

    assert run.response.text == "ok"
    assert sent_results(server) == ["1"]


async def test_timeouts_still_apply_to_each_request(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    server.reply(Reply("late", delay=60))

    with pytest.raises(APITimeoutError):
        await client.chat.run_tools(messages=MESSAGES, timeouts=0.1, deadline=60)


@pytest.mark.parametrize("deadline", [0, -1.5, float("nan")])
async def test_deadline_that_is_not_positive_is_rejected(
    client: AsyncOpenRouter, deadline: float
) -> None:
    with pytest.raises(ConfigurationError, match="Invalid deadline="):
        client.chat.run_tools(messages=MESSAGES, deadline=deadline)


# --- one call ----------------------------------------------------------------------


@both
@pytest.mark.parametrize("plain", [False, True], ids=["async", "in a thread"])
async def test_timeout_of_a_tool_fails_one_call(
    server: LocalOpenRouter, client: AsyncOpenRouter, *, plain: bool, stream: bool
) -> None:
    end = threading.Event()

    def block(seconds: float) -> str:
        return "slow" if end.wait(seconds) else "fast"

    async def pause(seconds: float) -> str:
        await asyncio.sleep(seconds)
        return "fast"

    function: Any = block if plain else pause
    slow = FunctionTool.from_function(function, name="slow", timeout=0.1)
    server.reply(calls(("slow", {"seconds": 60}), ("slow", {"seconds": 0}))).then("ok")

    run = await finish(
        client.chat.run_tools(messages=MESSAGES, tools=[slow], stream=stream)
    )

    end.set()
    message = "The tool 'slow' did not return within 0.1 seconds."
    assert sent_results(server) == [{"error": f"ToolTimeoutError: {message}"}, "fast"]
    (error,) = [each.error for each in run.results if each.error]
    assert isinstance(error, ToolTimeoutError)
    assert isinstance(error, TimeoutError)
    assert (error.tool, error.seconds) == ("slow", 0.1)


async def test_timeout_is_raised_if_errors_are(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    slow = tool(timeout=0.05)(wait.wrapped)
    server.reply(calls(("wait", {})))

    with pytest.raises(ToolTimeoutError, match="'wait' did not return"):
        await client.chat.run_tools(
            messages=MESSAGES, tools=[slow], on_tool_error="raise"
        )


async def test_timeout_error_of_the_function_itself_is_its_own(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    @tool(timeout=60)
    async def ask() -> None:
        raise TimeoutError("upstream")

    server.reply(calls(("ask", {}))).then("ok")

    await client.chat.run_tools(messages=MESSAGES, tools=[ask])

    assert sent_results(server) == [{"error": "TimeoutError: upstream"}]


@pytest.mark.parametrize("timeout", [0, -1, float("nan")])
def test_timeout_that_is_not_positive_is_rejected(timeout: float) -> None:
    with pytest.raises(ValueError, match="Invalid timeout="):
        tool(timeout=timeout)(wait.wrapped)


# --- tools with a schema, and errors for the model ---------------------------------

SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}}


@both
async def test_tool_with_a_schema_gets_the_arguments_as_one_dict(
    server: LocalOpenRouter, client: AsyncOpenRouter, *, stream: bool
) -> None:
    async def show(arguments: dict[str, Any]) -> str:
        return f"{arguments}"

    shown = FunctionTool.from_schema(
        show, name="show", description="Show.", parameters=SCHEMA, timeout=60
    )
    big = 2**70 + 1
    server.reply(
        calls(("show", f'{{"n": {big}, "more": 1.50}}'), ("show", ""), ("show", "[1]"))
    ).then("ok")

    await finish(client.chat.run_tools(messages=MESSAGES, tools=[shown], stream=stream))

    first, second, third = (
        each["content"] for each in sent_messages(server) if each["role"] == "tool"
    )
    assert first == f"{{'n': {big}, 'more': 1.5}}"
    assert second == "{}"
    assert "$: expected an object, got an array" in third
    assert server.requests[0].json["tools"] == [
        {
            "type": "function",
            "function": {"name": "show", "description": "Show.", "parameters": SCHEMA},
        }
    ]
    assert await shown({"n": 1}) == "{'n': 1}"
    assert shown.timeout == 60


def test_invalid_name_of_a_tool_with_a_schema_is_rejected() -> None:
    with pytest.raises(TypeError, match=r"Invalid tool name 'a\.b'"):
        FunctionTool.from_schema(str, name="a.b", description="", parameters={})


def no(_call: ToolCall, _error: Exception) -> str:
    return "no"


@both
@pytest.mark.parametrize("on_tool_error", ["report", "raise", no])
async def test_text_of_a_tool_error_reaches_the_model_unchanged(
    server: LocalOpenRouter,
    client: AsyncOpenRouter,
    on_tool_error: Any,
    *,
    stream: bool,
) -> None:
    @tool
    def look() -> None:
        raise ToolError("Nothing there:\n- ask for another place")

    server.reply(calls(("look", {}))).then("ok")

    run = await finish(
        client.chat.run_tools(
            messages=MESSAGES, tools=[look], on_tool_error=on_tool_error, stream=stream
        )
    )

    assert sent_messages(server)[-1]["content"] == (
        "Nothing there:\n- ask for another place"
    )
    assert isinstance(run.results[0].error, ToolError)


async def test_deadline_ends_the_next_wait_of_a_stream_that_is_not_read(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    server.reply(calls(("wait", {})))

    async with client.chat.run_tools(
        messages=MESSAGES, tools=[wait], stream=True, deadline=0.1
    ) as run:
        await anext(run)
        await asyncio.sleep(0.2)
        with pytest.raises(ToolRunTimeoutError):
            _ = [event async for event in run]
