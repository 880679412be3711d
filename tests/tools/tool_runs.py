"""Tools, replies with tool calls, and views of what a run has sent."""

import json
from typing import Any

import pytest

from openrouter_async import FunctionTool, ToolRun, ToolStream, UserMessage, tool
from openrouter_async.testing import LocalOpenRouter, Reply, completion, tool_call

MESSAGES = [UserMessage("hi")]


@tool
async def add(a: int, b: int = 0) -> int:
    """Add two numbers."""
    return a + b


@tool
def shout(word: str) -> str:
    """Say it louder."""
    return word.upper()


@tool
async def fail(word: str = "") -> str:
    """Fail."""
    raise ValueError(f"no {word}")


TOOLS: list[FunctionTool] = [add, shout, fail]

both = pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])


def calls(*named: tuple[str, Any], **options: Any) -> dict[str, Any]:
    """Return a completion that calls tools: (name, arguments) of each."""
    return completion(
        tool_calls=[
            tool_call(name, arguments, index=index)
            for index, (name, arguments) in enumerate(named)
        ],
        **options,
    )


def streamed(*deltas: dict[str, Any], finish: str = "tool_calls") -> Reply:
    """Return a stream of these deltas."""
    choices: list[dict[str, Any]] = [
        {"delta": delta, "finish_reason": None} for delta in deltas
    ]
    choices.append({"delta": {}, "finish_reason": finish})
    return Reply(
        chunks=[
            {"id": "gen-17-AbC", "choices": [{"index": 0, **choice}]}
            for choice in choices
        ]
    )


async def finish(
    run: ToolRun[Any] | ToolStream[Any],
) -> ToolRun[Any] | ToolStream[Any]:
    """Execute a run of either form to its end."""
    if isinstance(run, ToolStream):
        async with run:
            async for _ in run:
                pass
        return run
    return await run


def sent_messages(server: LocalOpenRouter) -> list[dict[str, Any]]:
    """Return the messages of the last request."""
    messages: list[dict[str, Any]] = server.requests[-1].json["messages"]
    return messages


def sent_results(server: LocalOpenRouter) -> list[Any]:
    """Return the contents of the tool messages in the last request."""
    contents = [
        message["content"]
        for message in sent_messages(server)
        if message["role"] == "tool"
    ]
    return [json.loads(each) if each[:1] in '{["' else each for each in contents]
