"""The events of a run that is streamed."""

import json
from typing import Any

import pytest
from tool_call_fragments import FRAGMENTED_CALLS, fragment
from tool_runs import (
    MESSAGES,
    TOOLS,
    calls,
    finish,
    sent_messages,
    streamed,
)

from openrouter_async import (
    AsyncOpenRouter,
    FunctionTool,
    ReasoningDelta,
    StreamInterruptedError,
    TextDelta,
    ToolCallArguments,
    ToolCallFinished,
    ToolCallStarted,
    ToolCallTruncatedError,
    ToolResult,
    TurnFinished,
    tool,
)
from openrouter_async.testing import LocalOpenRouter, Reply
from openrouter_async.tools import CitationReceived, EventBuilder, ImageReceived
from openrouter_async.types import ToolCall, ToolCallFunction


async def test_events_are_yielded_in_order(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """All calls of a turn are finished before the first result."""
    first = calls(
        ("add", {"a": 1}), ("shout", {"word": "hey"}), reasoning="Let me see."
    )
    server.reply(first).then("All done.")

    async with client.chat.run_tools(
        messages=MESSAGES, tools=TOOLS, stream=True, max_parallel_tools=1
    ) as run:
        events = [event async for event in run]

    types = [type(event) for event in events]
    assert list(dict.fromkeys(types)) == [
        ReasoningDelta,
        ToolCallStarted,
        ToolCallArguments,
        ToolCallFinished,
        ToolResult,
        TurnFinished,
        TextDelta,
    ]
    last_arguments = len(types) - 1 - types[::-1].index(ToolCallArguments)
    assert types.index(ToolCallFinished) > last_arguments
    names = [e.name for e in events if isinstance(e, ToolCallStarted)]
    assert names == ["add", "shout"]
    assert [e.turn for e in events if isinstance(e, TurnFinished)] == [1, 2]
    reasoning = [e.text for e in events if isinstance(e, ReasoningDelta)]
    assert "".join(reasoning) == "Let me see."
    text = [e.text for e in events if isinstance(e, TextDelta)]
    assert "".join(text) == "All done."
    deltas = [e for e in events if isinstance(e, ToolCallArguments)]
    arguments = ["".join(e.text for e in deltas if e.index == n) for n in (0, 1)]
    assert [json.loads(each) for each in arguments] == [{"a": 1}, {"word": "hey"}]
    results = [e for e in events if isinstance(e, ToolResult)]
    assert [(e.call.function.name, e.content) for e in results] == [
        ("add", "1"),
        ("shout", "HEY"),
    ]
    assert events[-1] == TurnFinished(2, run.response)


async def test_other_choices_have_no_events(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    choices = [{"index": n, "delta": {"content": f"{n}"}} for n in (1, 0)]
    ends: list[dict[str, Any]] = [
        {"index": n, "delta": {}, "finish_reason": "stop"} for n in (0, 1)
    ]
    server.reply(Reply(chunks=[{"choices": choices}, {"choices": ends}]))

    async with client.chat.run_tools(messages=MESSAGES, stream=True) as run:
        events = [event async for event in run]

    assert [e.text for e in events if isinstance(e, TextDelta)] == ["0"]
    assert [choice.message.content for choice in run.response.choices] == ["0", "1"]


def is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


# A call without a name and arguments is none; see the tests of the loop.
NAMED_CALLS = [
    name
    for name, (_, expected) in FRAGMENTED_CALLS.items()
    if all(tool_name for _, tool_name, _ in expected)
]


@pytest.mark.parametrize("name", NAMED_CALLS)
async def test_fragmented_calls_are_executed_once_each(
    server: LocalOpenRouter, client: AsyncOpenRouter, name: str
) -> None:
    """Whatever rules the provider breaks, each call has one result in the next turn."""
    fragments, expected = FRAGMENTED_CALLS[name]
    executed: list[tuple[str, Any]] = []

    def make(tool_name: str) -> Any:
        async def run(x: Any = None, a: Any = None) -> str:
            executed.append((tool_name, x if a is None else a))
            return "ok"

        return FunctionTool.from_function(run, name=tool_name)

    server.reply(streamed(*({"tool_calls": each} for each in fragments))).then("done")
    async with client.chat.run_tools(
        messages=MESSAGES, tools=[make(each) for each in "fgh"], stream=True
    ) as run:
        events = [event async for event in run]

    assert run.response.text == "done"
    finished = [e for e in events if isinstance(e, ToolCallFinished)]
    assert [(e.call.function.name, e.call.function.arguments) for e in finished] == [
        (tool_name, arguments) for _, tool_name, arguments in expected
    ]
    assert executed == [
        (tool_name, next(iter(json.loads(arguments).values()), None))
        for _, tool_name, arguments in expected
        if tool_name in {"f", "g", "h"} and is_object(arguments)
    ]
    sent = sent_messages(server)
    sent_calls = sent[1]["tool_calls"]
    call_ids = [call["id"] for call in sent_calls]
    assert [m["tool_call_id"] for m in sent if m["role"] == "tool"] == call_ids
    assert len(set(call_ids)) == len(expected)
    assert all(is_object(call["function"]["arguments"]) for call in sent_calls)
    started = {e.index: e.id for e in events if isinstance(e, ToolCallStarted)}
    assert started == {e.index: e.call.id for e in finished}
    assert sorted(started.values()) == sorted(call_ids)
    for end in finished:
        reported = "".join(
            e.text
            for e in events
            if isinstance(e, ToolCallArguments) and e.index == end.index
        )
        # Arguments that are replaced at the end are not reported twice.
        arguments = end.call.function.arguments
        assert arguments.startswith(reported) or is_object(arguments)


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (
            streamed(
                {"tool_calls": [fragment(0, "a", "count", '{"a": 1}')]}, finish="length"
            ),
            ToolCallTruncatedError,
        ),
        (
            Reply(
                calls(("count", {"a": 1})),
                finish=False,
                done=False,
                stop="end",
                stop_after=9,
            ),
            StreamInterruptedError,
        ),
    ],
    ids=["token limit", "interrupted"],
)
async def test_calls_of_an_incomplete_stream_are_not_executed(
    server: LocalOpenRouter, client: AsyncOpenRouter, reply: Reply, error: Any
) -> None:
    executed: list[int] = []

    @tool
    def count(a: int = 0) -> None:
        executed.append(a)

    server.reply(reply)

    with pytest.raises(error):
        await finish(
            client.chat.run_tools(messages=MESSAGES, tools=[count], stream=True)
        )

    assert executed == []


def test_call_without_an_event_is_reported_as_a_whole_at_the_end() -> None:
    call = ToolCall("a", function=ToolCallFunction("f", "{}"))

    assert EventBuilder(3).finish([call]) == [
        ToolCallStarted(0, "f", 3, "a"),
        ToolCallArguments(0, "{}", 3),
        ToolCallFinished(0, call, 3),
    ]


async def test_events_are_built_from_any_stream(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """An id that arrives after the event of a call does not change the reported one."""
    page = {"type": "url_citation", "url_citation": {"url": "https://x.test/a"}}
    other = {"type": "url_citation", "url_citation": {"url": "https://x.test/b"}}
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
    server.reply(
        streamed(
            {"content": "See", "annotations": [page]},
            {"content": " it.", "annotations": [page, other], "images": [image]},
            {"tool_calls": [fragment(0, None, "f", '{"a"')]},
            {"tool_calls": [fragment(0, "late", arguments=": 1}")]},
        )
    )
    builder = EventBuilder()

    async with client.chat.send(messages=MESSAGES, stream=True) as stream:
        events = [event async for chunk in stream for event in builder.feed(chunk)]
    (end,) = builder.finish(stream.response.tool_calls)

    citations = [e.annotation.raw for e in events if isinstance(e, CitationReceived)]
    assert citations == [page, other]
    assert [e.image for e in events if isinstance(e, ImageReceived)] == [image]
    assert [e.text for e in events if isinstance(e, TextDelta)] == ["See", " it."]
    (start,) = [e for e in events if isinstance(e, ToolCallStarted)]
    assert isinstance(end, ToolCallFinished)
    assert start == ToolCallStarted(0, "f", 1, end.call.id)
    assert stream.response.tool_calls[0].id == "late"
    assert end.call.function.arguments == '{"a": 1}'
