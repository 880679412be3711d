"""Execution of calls: threads, concurrency, return values, and exceptions."""

import asyncio
import json
import threading
from typing import Any

import pytest
from tool_runs import (
    MESSAGES,
    TOOLS,
    both,
    calls,
    fail,
    finish,
    sent_messages,
    sent_results,
)

from openrouter_async import (
    AsyncOpenRouter,
    FunctionTool,
    ImagePart,
    TextPart,
    ToolArgumentsError,
    ToolCall,
    tool,
)
from openrouter_async.testing import LocalOpenRouter


@pytest.mark.parametrize(("max_parallel_tools", "expected"), [(8, 5), (2, 2)])
async def test_calls_of_a_turn_run_in_parallel_up_to_the_limit(
    server: LocalOpenRouter,
    client: AsyncOpenRouter,
    max_parallel_tools: int,
    expected: int,
) -> None:
    """Results are sent in the order of the calls, not of their ends."""
    counts: list[int] = []
    running = 0

    @tool
    async def slow(number: int) -> int:
        nonlocal running
        running += 1
        counts.append(running)
        await asyncio.sleep(0.001 * (5 - number))
        running -= 1
        return number

    server.reply(calls(*(("slow", {"number": n}) for n in range(5)))).then("ok")

    await client.chat.run_tools(
        messages=MESSAGES, tools=[slow], max_parallel_tools=max_parallel_tools
    )

    assert sent_results(server) == ["0", "1", "2", "3", "4"]
    assert max(counts) == expected


async def test_plain_functions_run_in_threads(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    # It opens only if both calls run at the same time.
    barrier = threading.Barrier(2, timeout=5)

    @tool
    def wait(number: int) -> int:
        barrier.wait()
        return number

    server.reply(calls(("wait", {"number": 1}), ("wait", {"number": 2}))).then("ok")

    await client.chat.run_tools(messages=MESSAGES, tools=[wait])

    assert sent_results(server) == ["1", "2"]


async def test_awaitable_objects_and_results_are_awaited(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    class AsyncCallable:
        __name__ = "by_object"

        async def __call__(self, number: int) -> int:
            return number

    def by_result(number: int) -> Any:
        return AsyncCallable()(number)

    tools = [FunctionTool.from_function(AsyncCallable()), tool(by_result)]
    server.reply(
        calls(("by_object", {"number": 3}), ("by_result", {"number": 4}))
    ).then("ok")

    await client.chat.run_tools(messages=MESSAGES, tools=tools)

    assert sent_results(server) == ["3", "4"]


@pytest.mark.parametrize(
    ("value", "content"),
    [
        ("text", "text"),
        (None, "null"),
        ({"a": [1]}, '{"a":[1]}'),
        ([], "[]"),
        ([1, TextPart("x")], '[1,{"type":"text","text":"x"}]'),
        (TextPart("x"), [{"type": "text", "text": "x"}]),
        (
            [TextPart("x"), ImagePart("https://x.test/a.png")],
            [
                {"type": "text", "text": "x"},
                {"type": "image_url", "image_url": {"url": "https://x.test/a.png"}},
            ],
        ),
    ],
    ids=str,
)
async def test_return_value_is_sent_as_text_parts_or_json(
    server: LocalOpenRouter, client: AsyncOpenRouter, value: Any, content: Any
) -> None:
    @tool
    async def give() -> Any:
        return value

    server.reply(calls(("give", {}))).then("ok")

    run = await client.chat.run_tools(messages=MESSAGES, tools=[give])

    assert run.results[0].value is value
    assert sent_messages(server)[-1]["content"] == content


# --- errors ------------------------------------------------------------------------


@both
async def test_unknown_tool_and_invalid_arguments_are_sent_to_the_model(
    server: LocalOpenRouter, client: AsyncOpenRouter, *, stream: bool
) -> None:
    """The calls that are sent back have arguments that are JSON objects."""
    server.reply(
        calls(
            ("nothing", {}), ("add", '{"a": '), ("add", {"a": "x"}), ("add", {"a": 1})
        )
    ).then("ok")

    run = await finish(
        client.chat.run_tools(messages=MESSAGES, tools=TOOLS, stream=stream)
    )

    unknown, malformed, invalid, valid = sent_results(server)
    assert unknown["error"] == ("Unknown tool. Available tools: add, shout, fail.")
    assert malformed["error"].startswith("Invalid arguments for add: $: invalid JSON")
    assert invalid["error"] == (
        "Invalid arguments for add: $.a: expected an integer, got a string"
    )
    assert valid == "1"
    assert [
        json.loads(call["function"]["arguments"])
        for call in sent_messages(server)[1]["tool_calls"]
    ] == [{}, {}, {"a": "x"}, {"a": 1}]
    assert {type(result.error) for result in run.results} == {
        LookupError,
        ToolArgumentsError,
        type(None),
    }


@both
async def test_exception_is_sent_to_the_model_by_default(
    server: LocalOpenRouter, client: AsyncOpenRouter, *, stream: bool
) -> None:
    server.reply(calls(("fail", {"word": "way"}))).then("ok")

    run = await finish(
        client.chat.run_tools(messages=MESSAGES, tools=TOOLS, stream=stream)
    )

    assert sent_results(server) == [{"error": "ValueError: no way"}]
    (result,) = run.results
    assert isinstance(result.error, ValueError)
    assert result.value is None


@both
async def test_raised_exception_has_a_note_and_cancels_other_tools(
    server: LocalOpenRouter, client: AsyncOpenRouter, *, stream: bool
) -> None:
    cancelled: list[str] = []

    @tool
    async def wait() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            cancelled.append("wait")

    server.reply(calls(("wait", {}), ("fail", {"word": "way"}), ("fail", {})))
    run = client.chat.run_tools(
        messages=MESSAGES, tools=[wait, fail], on_tool_error="raise", stream=stream
    )

    with pytest.raises(ValueError, match="no way") as caught:
        await finish(run)

    assert caught.value.__notes__ == [
        "Raised by the tool 'fail', in the call 'call_fail_1'."
    ]
    assert cancelled == ["wait"]
    assert run.messages == MESSAGES


async def test_error_function_returns_the_text_for_the_model_or_raises(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    def on_error(call: ToolCall, error: Exception) -> str:
        if "bad" in str(error):
            raise PermissionError(call.id)
        return f"{call.function.name} failed"

    server.reply(calls(("fail", {"word": "luck"}))).then(
        calls(("fail", {"word": "bad"}))
    )

    with pytest.raises(PermissionError, match="call_fail_0"):
        await client.chat.run_tools(
            messages=MESSAGES, tools=TOOLS, on_tool_error=on_error
        )

    assert sent_results(server) == ["fail failed"]


@tool
def stop() -> None:
    raise StopIteration


@tool
async def cancelled() -> None:
    raise asyncio.CancelledError


@tool
def opaque() -> object:
    return object()


@pytest.mark.parametrize(
    ("function", "error"),
    [
        (
            stop,
            (
                "RuntimeError: The tool raised StopIteration, which a thread cannot pass "
                "on: raise another exception."
            ),
        ),
        (cancelled, "RuntimeError: The tool raised CancelledError, but"),
        (opaque, "ConfigurationError: "),
    ],
    ids=["StopIteration", "CancelledError", "no JSON form"],
)
async def test_unusual_failure_is_an_error_like_any_other(
    server: LocalOpenRouter, client: AsyncOpenRouter, function: Any, error: str
) -> None:
    """The run neither hangs nor looks cancelled."""
    server.reply(calls((function.name, {}))).then("ok")

    run = await client.chat.run_tools(messages=MESSAGES, tools=[function])

    assert run.response.text == "ok"
    assert sent_results(server)[0]["error"].startswith(error)
