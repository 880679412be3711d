"""The types of structured outputs, tools and runs, checked and run."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypedDict, assert_type

from attrs import define

from openrouter_async import (
    AsyncOpenRouter,
    ChatResponse,
    FunctionTool,
    ParsedResponse,
    ParsedStream,
    Tool,
    ToolCall,
    ToolEvent,
    ToolRun,
    ToolStream,
    UserMessage,
    tool,
)


@define
class Invoice:
    """An invoice."""

    number: str
    total: float


@dataclass
class Receipt:
    """A receipt."""

    paid: bool


class Note(TypedDict):
    """A note."""

    text: str


@tool
def add(a: int, b: int = 0) -> int:
    """Add two numbers."""
    return a + b


@tool(name="look_up", strict=True)
async def find(key: str) -> list[str]:
    """Look up a key."""
    return [key]


def plain(name: str) -> str:
    """Return the name."""
    return name


MESSAGES = [UserMessage("hi")]


async def outputs(client: AsyncOpenRouter) -> None:
    """The result of a plain call with `output=`."""
    send = client.chat.send

    assert_type(await send(messages=MESSAGES), ChatResponse)
    response = await send(messages=MESSAGES, output=Invoice)
    assert_type(response, ParsedResponse[Invoice])
    assert_type(response.output, Invoice)
    assert_type((await send(messages=MESSAGES, output=Receipt)).output, Receipt)
    assert_type((await send(messages=MESSAGES, output=Note)).output, Note)
    listed = await send(messages=MESSAGES, output=list[Invoice])
    assert_type(listed.output, list[Invoice])
    either = await send(messages=MESSAGES, output=Invoice | Receipt | None)
    assert_type(either.output, Invoice | Receipt | None)
    literal = await send(messages=MESSAGES, output=Literal["yes", "no"])
    assert_type(literal.output, Literal["yes", "no"])
    described = await send(messages=MESSAGES, output=Annotated[Invoice, "the newest"])
    assert_type(described.output, Invoice)


async def streams(client: AsyncOpenRouter, *, flag: bool) -> None:
    """The result of a stream with `output=`."""
    send = client.chat.send

    async with send(messages=MESSAGES, output=Invoice, stream=True) as stream:
        assert_type(stream, ParsedStream[Invoice])
        async for _ in stream.partials():
            pass
    assert_type(stream.output, Invoice)
    awaited = await send(messages=MESSAGES, output=Invoice, stream=True)
    assert_type(await awaited.collect(), ParsedResponse[Invoice])
    either = await send(messages=MESSAGES, output=Invoice, stream=flag)
    assert_type(either, ParsedResponse[Invoice] | ParsedStream[Invoice])
    if isinstance(either, ParsedStream):
        await either.aclose()


async def tools() -> None:
    """Tools, called as functions."""
    assert_type(add(1, b=2), int)
    assert_type(await find("a"), list[str])
    named: Callable[[str], str] = FunctionTool.from_function(plain)
    made: FunctionTool = FunctionTool.from_function(plain, name="say")
    assert_type(named("a"), str)
    assert isinstance(made, Tool)

    call = ToolCall()
    call.function.arguments = '{"paid": true}'
    assert_type(call.parse(), dict[str, Any])
    assert_type(call.parse(Receipt), Receipt)
    assert_type(call.parse(dict[str, bool]), dict[str, bool])


async def runs(client: AsyncOpenRouter, *, flag: bool) -> None:
    """The result of a run of tools, awaited and streamed."""
    run_tools = client.chat.run_tools

    run = await run_tools(messages=MESSAGES, tools=[add, find])
    assert_type(run, ToolRun[ChatResponse])
    assert_type(run.response, ChatResponse)
    parsed = await run_tools(messages=MESSAGES, tools=[add], output=Invoice)
    assert_type(parsed.response.output, Invoice)
    async with run_tools(messages=MESSAGES, tools=[add], stream=True) as stream:
        assert_type(stream, ToolStream[ChatResponse])
        async for event in stream:
            assert_type(event, ToolEvent)
    async with run_tools(
        messages=MESSAGES, tools=[add], output=Invoice, stream=True
    ) as both:
        async for _ in both:
            pass
    assert_type(both.response.output, Invoice)
    either = run_tools(messages=MESSAGES, tools=[add], stream=flag)
    assert_type(either, ToolRun[ChatResponse] | ToolStream[ChatResponse])
    if isinstance(either, ToolRun):
        await either
    else:
        await either.aclose()
