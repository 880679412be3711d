"""Runs: turns, calls side by side, results, errors, and the way out."""

import asyncio
import json
import threading
from typing import Any

import pytest
from attrs import define
from tool_call_fragments import FRAGMENTED_CALLS, fragment

from openrouter_async import (
    AsyncOpenRouter,
    BadRequestError,
    ChatGenerationParams,
    ClosedError,
    ConfigurationError,
    FunctionTool,
    ImagePart,
    MaxTurnsError,
    OutputValidationError,
    ParsedResponse,
    ReasoningDelta,
    TextDelta,
    TextPart,
    ToolArgumentsError,
    ToolCall,
    ToolCallArguments,
    ToolCallFinished,
    ToolCallStarted,
    ToolCallTruncatedError,
    ToolResult,
    ToolRun,
    ToolStream,
    TurnFinished,
    UserMessage,
    tool,
)
from openrouter_async.testing import (
    LocalOpenRouter,
    Reply,
    completion,
    tool_call,
)

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


def calls(*made: tuple[str, Any], **more: Any) -> dict[str, Any]:
    """A reply that calls tools."""
    listed = [tool_call(name, given, index=n) for n, (name, given) in enumerate(made)]
    return completion(tool_calls=listed, **more)


async def finished(
    run: ToolRun[Any] | ToolStream[Any],
) -> ToolRun[Any] | ToolStream[Any]:
    """Take a run of either form to its end."""
    if isinstance(run, ToolStream):
        async with run:
            async for _ in run:
                pass
        return run
    return await run


def sent(server: LocalOpenRouter, turn: int = -1) -> list[dict[str, Any]]:
    """The messages of a request."""
    messages: list[dict[str, Any]] = server.requests[turn].json["messages"]
    return messages


def results(server: LocalOpenRouter) -> list[Any]:
    """What the model was told of its calls in the last request."""
    told = [each["content"] for each in sent(server) if each["role"] == "tool"]
    return [json.loads(each) if each[:1] in '{["' else each for each in told]


both = pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])


@both
async def test_a_run_ends_with_the_answer(
    server: LocalOpenRouter, client: AsyncOpenRouter, *, stream: bool
) -> None:
    """Two calls of one turn, their results in order, then the answer."""
    server.reply(calls(("add", {"a": 1, "b": 2}), ("shout", {"word": "hey"}))).then(
        "3!"
    )

    run = await finished(
        client.chat.run_tools(messages=MESSAGES, tools=TOOLS, model="m", stream=stream)
    )

    assert run.response.text == "3!"
    assert [each["role"] for each in sent(server)] == [
        "user",
        "assistant",
        "tool",
        "tool",
    ]
    assert results(server) == ["3", "HEY"]
    assert [each["tool_call_id"] for each in sent(server)[2:]] == [
        "call_add_0",
        "call_shout_1",
    ]
    assert [len(request.json["tools"]) for request in server.requests] == [3, 3]
    assert len(run.messages) == 5
    assert run.messages[-1] == run.response.message
    assert [turn.finish_reason for turn in run.turns] == ["tool_calls", "stop"]
    assert {str(result.content) for result in run.results} == {"3", "HEY"}
    assert run.cost == pytest.approx(sum(turn.usage.cost or 0 for turn in run.turns))
    assert "2 turns" in repr(run)


async def test_a_run_needs_no_script(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """The local server calls tools by their schemas, and answers by the output's."""

    @define
    class Sum:
        total: int

    messages = [UserMessage("Please add, and shout.")]
    run = await client.chat.run_tools(messages=messages, tools=TOOLS, output=Sum)

    assert isinstance(run.response, ParsedResponse)
    assert run.response.output == Sum(1)
    assert [result.error for result in run.results] == [None, None]
    assert server.requests[0].json["response_format"]["type"] == "json_schema"
    assert server.requests[0].json["provider"] == {"require_parameters": True}


@both
async def test_the_final_answer_may_not_fit(
    server: LocalOpenRouter, client: AsyncOpenRouter, *, stream: bool
) -> None:
    """The error is that of `send`; the run keeps what was said."""
    server.reply(calls(("add", {"a": 1}))).then("no number")
    run = client.chat.run_tools(
        messages=MESSAGES, tools=TOOLS, output=int, stream=stream
    )

    with pytest.raises(OutputValidationError) as caught:
        await finished(run)

    assert caught.value.response.text == "no number"
    assert len(run.messages) == 4
    with pytest.raises(ConfigurationError):
        _ = run.response


async def test_reasoning_goes_back_as_it_came(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """The assistant's message is echoed key for key."""
    details = [{"type": "reasoning.encrypted", "data": "X", "id": "r", "odd": [None]}]
    answer = calls(("add", {"a": 1}), reasoning_details=details)
    answer["choices"][0]["message"]["tool_calls"][0]["extra_content"] = {"g": "s"}
    server.reply(answer).then("ok")

    await client.chat.run_tools(messages=MESSAGES, tools=TOOLS)

    assert sent(server)[1] == answer["choices"][0]["message"]


async def test_the_request_may_be_a_class_or_a_mapping(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """With keywords over it, as in `send`."""
    params = ChatGenerationParams(model="m", messages=MESSAGES, tools=[add])
    server.reply(calls(("add", {"a": 1}))).then("one")
    first = await client.chat.run_tools(params, temperature=0.5, api_key=server.api_key)
    server.reply(calls(("add", {"a": 1}))).then("two")
    second = await client.chat.run_tools({"messages": MESSAGES, "tools": [add]})

    assert (first.response.text, second.response.text) == ("one", "two")
    assert [r.json.get("temperature") for r in server.requests] == [
        0.5,
        0.5,
        None,
        None,
    ]
    assert [UserMessage("hi")] == MESSAGES


async def test_a_forced_call_is_forced_once(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """Else the model could never answer; "none" stays."""
    forced = {"type": "function", "function": {"name": "add"}}
    for choice in (forced, "required", "none", None):
        server.reply(calls(("add", {"a": 1}))).then("ok")
        await client.chat.run_tools(messages=MESSAGES, tools=TOOLS, tool_choice=choice)

    given = [request.json.get("tool_choice") for request in server.requests]
    assert given == [forced, "auto", "required", "auto", "none", "none", None, None]


# --- What does not fit. ---


@both
async def test_unknown_tools_and_broken_arguments_are_answered(
    server: LocalOpenRouter, client: AsyncOpenRouter, *, stream: bool
) -> None:
    """The model is told; what goes back is JSON, and ids are what they were."""
    server.reply(
        calls(
            ("nothing", {}), ("add", '{"a": '), ("add", {"a": "x"}), ("add", {"a": 1})
        )
    ).then("ok")

    run = await finished(
        client.chat.run_tools(messages=MESSAGES, tools=TOOLS, stream=stream)
    )

    told = results(server)
    assert told[0] == {
        "error": "There is no tool 'nothing'. There are: add, shout, fail."
    }
    assert "do not fit: $: " in told[1]["error"]
    assert "$.a: expected an integer, got a string" in told[2]["error"]
    assert told[3] == "1"
    echoed = [each["function"]["arguments"] for each in sent(server)[1]["tool_calls"]]
    assert [json.loads(each) for each in echoed] == [{}, {}, {"a": "x"}, {"a": 1}]
    errors = {type(result.error) for result in run.results}
    assert errors == {LookupError, ToolArgumentsError, type(None)}


async def test_ids_that_are_missing_or_twice_are_made(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """Each result refers to one call, in all turns of a run."""
    first = calls(("add", {"a": 1}), ("add", {"a": 2}), ("add", '"{\\"a\\": 3}"'))
    for call, ident in zip(
        first["choices"][0]["message"]["tool_calls"], ["x", "x", None], strict=True
    ):
        call["id"] = ident
    second = calls(("add", {"a": 4}))
    second["choices"][0]["message"]["tool_calls"][0]["id"] = "x"
    bare = completion(tool_calls=[{"id": "y", "function": {"name": "fail"}}])
    server.reply(first).then(second).then(bare).then("ok")

    await client.chat.run_tools(messages=MESSAGES, tools=TOOLS)

    made = [
        (call["id"], call["function"]["arguments"])
        for message in sent(server)
        for call in message.get("tool_calls", ())
    ]
    answered = [m["tool_call_id"] for m in sent(server) if m["role"] == "tool"]
    assert answered == [ident for ident, _ in made]
    assert len(set(answered)) == 5
    assert [json.loads(arguments) for _, arguments in made] == [
        *({"a": number} for number in (1, 2, 3, 4)),
        {},
    ]
    assert results(server)[:4] == ["1", "2", "3", "4"]


@both
async def test_a_call_that_is_cut_off_is_not_executed(
    server: LocalOpenRouter, client: AsyncOpenRouter, *, stream: bool
) -> None:
    """Its arguments may be JSON by chance; the reply and the conversation are kept."""
    ran: list[int] = []

    @tool
    def count(a: int) -> None:
        ran.append(a)

    server.reply(calls(("count", {"a": 1}))).then(
        calls(("count", {"a": 22}), finish_reason="length")
    )
    run = client.chat.run_tools(messages=MESSAGES, tools=[count], stream=stream)

    with pytest.raises(ToolCallTruncatedError) as caught:
        await finished(run)

    assert ran == [1]
    assert caught.value.response.finish_reason == "length"
    assert len(caught.value.messages) == len(run.messages) == 3
    assert len(run.turns) == 2


async def test_turns_are_limited(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """The calls of the last turn are not executed; a further run can go on."""
    again = calls(("add", {"a": 1}))
    server.reply(again).then(again).then(again)

    with pytest.raises(MaxTurnsError) as caught:
        await client.chat.run_tools(messages=MESSAGES, tools=TOOLS, max_turns=3)

    error = caught.value
    assert len(server.requests) == 3
    assert len(error.messages) == 5
    assert error.response.tool_calls
    server.reply("done")
    run = await client.chat.run_tools(messages=error.messages, tools=TOOLS)
    assert run.response.text == "done"


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "no function"),
        ({"tools": [FunctionTool({"name": "f"})]}, "no function"),
        ({"tools": [add, add]}, "Two tools"),
        ({"max_turns": 0}, "max_turns"),
        ({"max_parallel_tools": 0}, "max_parallel_tools"),
        ({"messages": []}, "nothing to send"),
    ],
)
async def test_what_cannot_be_run_is_refused(
    server: LocalOpenRouter, client: AsyncOpenRouter, options: Any, match: str
) -> None:
    """Before anything is sent."""
    asked: dict[str, Any] = {"messages": MESSAGES, **options}
    with pytest.raises(ConfigurationError, match=match):
        await client.chat.run_tools(**asked)
    with pytest.raises(TypeError):
        await client.chat.run_tools(messages="hi")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

    assert len(server.requests) == 0


async def test_server_tools_are_sent_along(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """OpenRouter runs them; here they are only passed on."""
    server.reply("ok")

    await client.chat.run_tools(
        messages=MESSAGES, tools=[add, {"type": "openrouter:web_search"}]
    )

    assert server.requests[0].json["tools"][1] == {"type": "openrouter:web_search"}


# --- Exceptions of tools. ---


@both
async def test_the_model_is_told_of_exceptions(
    server: LocalOpenRouter, client: AsyncOpenRouter, *, stream: bool
) -> None:
    """By default a failure is a result like any other."""
    server.reply(calls(("fail", {"word": "way"}))).then("ok")

    run = await finished(
        client.chat.run_tools(messages=MESSAGES, tools=TOOLS, stream=stream)
    )

    assert results(server) == [{"error": "ValueError: no way"}]
    (result,) = run.results
    assert isinstance(result.error, ValueError)
    assert result.value is None


@both
async def test_exceptions_may_leave_the_run(
    server: LocalOpenRouter, client: AsyncOpenRouter, *, stream: bool
) -> None:
    """As they are, with a note; the other tools are cancelled."""
    ended: list[str] = []

    @tool
    async def wait() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append("cancelled")

    server.reply(calls(("wait", {}), ("fail", {"word": "way"}), ("fail", {})))
    run = client.chat.run_tools(
        messages=MESSAGES, tools=[wait, fail], on_tool_error="raise", stream=stream
    )

    with pytest.raises(ValueError, match="no way") as caught:
        await finished(run)

    assert caught.value.__notes__ == ["In the tool 'fail', called as 'call_fail_1'."]
    assert ended == ["cancelled"]
    assert run.messages == MESSAGES


async def test_the_caller_may_say_what_is_told(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """Or raise, of one's own."""

    def choose(call: ToolCall, error: Exception) -> str:
        if "bad" in str(error):
            raise PermissionError(call.id)
        return f"{call.function.name} failed"

    server.reply(calls(("fail", {"word": "luck"}))).then(
        calls(("fail", {"word": "bad"}))
    )

    with pytest.raises(PermissionError, match="call_fail_0"):
        await client.chat.run_tools(
            messages=MESSAGES, tools=TOOLS, on_tool_error=choose
        )

    assert results(server) == ["fail failed"]


@tool
def stop() -> None:
    raise StopIteration


@tool
async def cancelled() -> None:
    raise asyncio.CancelledError


@tool
def opaque() -> object:
    return object()


@pytest.mark.parametrize("function", [stop, cancelled, opaque], ids=lambda f: f.name)
async def test_odd_failures_are_failures(
    server: LocalOpenRouter, client: AsyncOpenRouter, function: Any
) -> None:
    """Neither hangs, nor looks like a cancelled run."""
    server.reply(calls((function.name, {}))).then("ok")

    run = await client.chat.run_tools(messages=MESSAGES, tools=[function])

    assert run.response.text == "ok"
    assert "error" in results(server)[0]


async def test_a_request_that_fails_keeps_the_conversation(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """What was paid for is in the run."""
    server.reply(calls(("add", {"a": 1}))).then(status=400)
    run = client.chat.run_tools(messages=MESSAGES, tools=TOOLS)

    with pytest.raises(BadRequestError):
        await run

    assert len(run.messages) == 3
    assert len(run.turns) == 1
    server.reply("ok")
    again = await client.chat.run_tools(messages=run.messages, tools=TOOLS)
    assert again.response.text == "ok"


# --- How tools are run. ---


async def test_calls_run_side_by_side(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """At most so many at once; results keep the order of the calls."""
    at_once: list[int] = []
    running = 0

    @tool
    async def slow(number: int) -> int:
        nonlocal running
        running += 1
        at_once.append(running)
        await asyncio.sleep(0.001 * (5 - number))
        running -= 1
        return number

    for concurrency, most in ((8, 5), (2, 2)):
        at_once.clear()
        server.reply(calls(*(("slow", {"number": n}) for n in range(5)))).then("ok")
        await client.chat.run_tools(
            messages=MESSAGES, tools=[slow], max_parallel_tools=concurrency
        )

        assert results(server) == ["0", "1", "2", "3", "4"]
        assert max(at_once) == most


async def test_plain_functions_run_in_threads(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """So that they do not stop the loop, and one waits for another."""
    meet = threading.Barrier(2, timeout=5)

    @tool
    def wait(number: int) -> int:
        meet.wait()
        return number

    class Later:
        __name__ = "later"

        async def __call__(self, number: int) -> int:
            return number

    def awaited(number: int) -> Any:
        return Later()(number)

    tools = [wait, FunctionTool.from_function(Later()), tool(awaited)]
    server.reply(
        calls(*(("wait", {"number": n}) for n in (1, 2)), *((n, {"number": 3}) for n in ("later", "awaited")))
    ).then("ok")  # fmt: skip

    await client.chat.run_tools(messages=MESSAGES, tools=tools)

    assert results(server) == ["1", "2", "3", "3"]


@pytest.mark.parametrize(
    ("value", "content"),
    [
        ("words", "words"),
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
async def test_what_a_tool_returns(
    server: LocalOpenRouter, client: AsyncOpenRouter, value: Any, content: Any
) -> None:
    """Text as it is, parts as parts, anything else as JSON."""

    @tool
    async def give() -> Any:
        return value

    server.reply(calls(("give", {}))).then("ok")

    run = await client.chat.run_tools(messages=MESSAGES, tools=[give])

    assert run.results[0].value is value
    assert sent(server)[-1]["content"] == content


# --- Leaving. ---


@define
class Waiting:
    """A tool that waits, and what became of it."""

    begun: asyncio.Event
    ended: list[str]

    def make(self) -> Any:
        """Make the tool."""

        @tool
        async def wait() -> None:
            self.begun.set()
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                self.ended.append("cancelled")
                raise

        return wait


@pytest.fixture
def waiting() -> Waiting:
    return Waiting(asyncio.Event(), [])


@both
async def test_cancelling_a_run_cancels_its_tools(
    server: LocalOpenRouter, client: AsyncOpenRouter, waiting: Waiting, *, stream: bool
) -> None:
    """And nothing stays behind."""
    server.reply(calls(("wait", {})))
    run = client.chat.run_tools(
        messages=MESSAGES, tools=[waiting.make()], stream=stream
    )
    task = asyncio.create_task(finished(run))
    await waiting.begun.wait()

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert waiting.ended == ["cancelled"]
    assert run.messages == MESSAGES


async def test_a_run_can_be_a_task(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """It is a coroutine; given up before it began, it sends nothing."""
    server.reply("ok")
    run = client.chat.run_tools(messages=MESSAGES)
    assert (await asyncio.create_task(run)) is run
    other = client.chat.run_tools(messages=MESSAGES)
    other.close()
    with pytest.raises(KeyError):
        client.chat.run_tools(messages=MESSAGES).throw(KeyError("x"))

    assert len(server.requests) == 1


async def test_leaving_the_block_cancels_the_tools(
    server: LocalOpenRouter, client: AsyncOpenRouter, waiting: Waiting
) -> None:
    """Whichever event it is left at."""
    server.reply(calls(("wait", {}), ("add", {"a": 1})))

    async with client.chat.run_tools(
        messages=MESSAGES, tools=[waiting.make(), add], stream=True
    ) as run:
        async for event in run:
            if isinstance(event, ToolResult):
                break

    assert waiting.ended == ["cancelled"]
    assert run.results[0].content == "1"
    with pytest.raises(ClosedError):
        await anext(run)


async def test_leaving_the_block_closes_the_stream(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """In the middle of a text the server sees it at once."""
    server.reply(Reply("word " * 50, chunk_delay=0.02))

    async with client.chat.run_tools(messages=MESSAGES, stream=True) as run:
        async for _ in run:
            break

    await server.until(closed=1)
    assert client.stats.in_use == 0


@pytest.mark.parametrize("moment", ["opening", "reading", "tools"])
async def test_closing_from_another_task(
    server: LocalOpenRouter, client: AsyncOpenRouter, waiting: Waiting, moment: str
) -> None:
    """The reader gets a ClosedError, wherever it waits."""
    replies = {
        "opening": Reply("x", delay=60),
        "reading": Reply("x y", chunk_delay=60),
        "tools": Reply(calls(("wait", {}))),
    }
    server.reply(replies[moment])
    run = client.chat.run_tools(messages=MESSAGES, tools=[waiting.make()], stream=True)
    reader = asyncio.create_task(finished(run))
    if moment == "tools":
        await waiting.begun.wait()
    else:
        await server.until(requests=1)
        await asyncio.sleep(0.05)
    with pytest.raises(ConfigurationError, match="Two tasks"):
        await anext(run)

    await run.close()
    with pytest.raises(ClosedError):
        await reader
    await run.aclose()

    assert waiting.ended == (["cancelled"] if moment == "tools" else [])


async def test_a_reader_that_is_cancelled_as_its_stream_opens(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """The stream was opened for nobody, and is closed."""
    server.reply(Reply("x y", chunk_delay=60))
    run = client.chat.run_tools(messages=MESSAGES, stream=True)
    reader = asyncio.create_task(finished(run))
    await asyncio.sleep(0)
    (opening,) = run._loop.busy  # pyright: ignore[reportPrivateUsage]
    while not opening.done():  # noqa: ASYNC110 -- the very moment is meant
        await asyncio.sleep(0)
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader

    await server.until(closed=1)
    assert client.stats.in_use == 0
    assert run.turns == []


async def test_a_run_that_is_not_begun_closes_nothing(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """No request, no error; and nothing can be read from it."""
    run = client.chat.run_tools(messages=MESSAGES, stream=True)
    await run.aclose()

    with pytest.raises(ClosedError):
        await anext(run)
    assert len(server.requests) == 0


# --- Events. ---


async def test_events_come_in_order(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """Calls are finished when their turn is, and only then are there results."""
    first = calls(
        ("add", {"a": 1}), ("shout", {"word": "hey"}), reasoning="Let me see."
    )
    server.reply(first).then("All done.")

    async with client.chat.run_tools(
        messages=MESSAGES, tools=TOOLS, stream=True, max_parallel_tools=1
    ) as run:
        events = [event async for event in run]

    shape = [type(event) for event in events]
    assert list(dict.fromkeys(shape)) == [
        ReasoningDelta,
        ToolCallStarted,
        ToolCallArguments,
        ToolCallFinished,
        ToolResult,
        TurnFinished,
        TextDelta,
    ]
    assert shape.index(ToolCallFinished) > len(shape) - 1 - shape[::-1].index(
        ToolCallArguments
    )
    assert [e.name for e in events if isinstance(e, ToolCallStarted)] == [
        "add",
        "shout",
    ]
    assert [e.turn for e in events if isinstance(e, TurnFinished)] == [1, 2]
    thought = [e.text for e in events if isinstance(e, ReasoningDelta)]
    said = [e.text for e in events if isinstance(e, TextDelta)]
    assert ("".join(thought), "".join(said)) == ("Let me see.", "All done.")
    arguments = [e for e in events if isinstance(e, ToolCallArguments)]
    written = {n: "".join(e.text for e in arguments if e.index == n) for n in (0, 1)}
    assert [json.loads(written[n]) for n in (0, 1)] == [{"a": 1}, {"word": "hey"}]
    results = [e for e in events if isinstance(e, ToolResult)]
    assert [(e.call.function.name, e.content) for e in results] == [
        ("add", "1"),
        ("shout", "HEY"),
    ]
    assert events[-1] == TurnFinished(2, run.response)


def streamed(*deltas: dict[str, Any], finish: str = "tool_calls") -> Reply:
    """A stream of these deltas."""
    listed: list[dict[str, Any]] = [*deltas, {}]
    return Reply(
        chunks=[
            {
                "id": "gen-17-AbC",
                "choices": [
                    {
                        "index": 0,
                        "delta": delta,
                        "finish_reason": finish if delta is listed[-1] else None,
                    }
                ],
            }
            for delta in listed
        ]
    )


async def test_only_the_first_choice_is_followed(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """What a model says besides is in the reply, and no event."""
    choices = [{"index": n, "delta": {"content": f"{n}"}} for n in (1, 0)]
    ends: list[dict[str, Any]] = [
        {"index": n, "delta": {}, "finish_reason": "stop"} for n in (0, 1)
    ]
    server.reply(Reply(chunks=[{"choices": choices}, {"choices": ends}]))

    async with client.chat.run_tools(messages=MESSAGES, stream=True) as run:
        events = [event async for event in run]

    assert [e.text for e in events if isinstance(e, TextDelta)] == ["0"]
    assert [choice.message.content for choice in run.response.choices] == ["0", "1"]


async def test_a_run_that_is_over_stays_over(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """Asked again it has no more events, and the same reply."""
    async with client.chat.run_tools(messages=MESSAGES, stream=True) as run:
        assert [event async for event in run]
        reply = run.response
        again = [event async for event in run]

    assert again == []
    assert run.response is reply


@pytest.mark.parametrize("name", FRAGMENTED_CALLS)
async def test_broken_streams_through_a_run(
    server: LocalOpenRouter, client: AsyncOpenRouter, name: str
) -> None:
    """However the fragments break the rules: each call once, whole, and answered."""
    fragments, expected = FRAGMENTED_CALLS[name]
    seen: list[tuple[str, Any]] = []

    def make(called: str) -> Any:
        async def run(x: Any = None, a: Any = None) -> str:
            seen.append((called, x if a is None else a))
            return "ok"

        return FunctionTool.from_function(run, name=called)

    server.reply(streamed(*({"tool_calls": each} for each in fragments))).then("done")
    events: list[Any] = []
    async with client.chat.run_tools(
        messages=MESSAGES, tools=[make(each) for each in "fgh"], stream=True
    ) as run:
        async for event in run:
            events.append(event)

    assert run.response.text == "done"
    ended = [e.call for e in events if isinstance(e, ToolCallFinished)]
    assert [(c.function.name, c.function.arguments) for c in ended] == [
        (called, arguments) for _, called, arguments in expected
    ]
    wanted = [
        (called, next(iter(json.loads(arguments).values()), None))
        for _, called, arguments in expected
        if called in {"f", "g", "h"} and is_object(arguments)
    ]
    assert seen == wanted
    answered = [each for each in sent(server) if each["role"] == "tool"]
    made = sent(server)[1]["tool_calls"]
    assert [each["tool_call_id"] for each in answered] == [each["id"] for each in made]
    assert len({each["id"] for each in made}) == len(expected)
    assert all(is_object(each["function"]["arguments"]) for each in made)
    told = [e.index for e in events if isinstance(e, ToolCallStarted)]
    assert sorted(told) == sorted(
        e.index for e in events if isinstance(e, ToolCallFinished)
    )
    for index in set(told):
        texts = [
            e.text
            for e in events
            if isinstance(e, ToolCallArguments) and e.index == index
        ]
        whole = next(
            e.call
            for e in events
            if isinstance(e, ToolCallFinished) and e.index == index
        )
        assert whole.function.arguments.startswith("".join(texts)) or is_object(
            whole.function.arguments
        )


def is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


async def test_a_stream_that_is_cut_off_executes_nothing(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """A call that parses by chance is executed only after its turn has ended."""
    seen: list[int] = []

    @tool
    def count(a: int = 0) -> None:
        seen.append(a)

    whole = fragment(0, "a", "count", '{"a": 1}')
    server.reply(streamed({"tool_calls": [whole]}, finish="length"))
    server.reply(Reply(calls(("count", {"a": 1})), finish=False, done=False, stop="end", stop_after=9))  # fmt: skip
    for error in (ToolCallTruncatedError, Exception):
        with pytest.raises(error):
            await finished(
                client.chat.run_tools(messages=MESSAGES, tools=[count], stream=True)
            )

    assert seen == []
