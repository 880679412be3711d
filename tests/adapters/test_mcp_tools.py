"""mcp_tools, with sessions that have the attribute names of mcp 1 or mcp 2."""

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from openrouter_async import (
    AsyncOpenRouter,
    ConfigurationError,
    FunctionTool,
    ToolCall,
    ToolError,
    UserMessage,
)
from openrouter_async.adapters.mcp import mcp_tools
from openrouter_async.testing import LocalOpenRouter, completion
from openrouter_async.types import ImagePart, TextPart, ToolCallFunction

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}


def tool(name: str, description: str | None = None, **more: Any) -> Any:
    """Return a tool as mcp 1 lists it."""
    fields = {"inputSchema": SCHEMA, "title": None, **more}
    return SimpleNamespace(name=name, description=description, **fields)


def text(value: str) -> Any:
    return SimpleNamespace(type="text", text=value)


def result(*content: Any) -> Any:
    """Return the result of a call as mcp 1 does."""
    return SimpleNamespace(content=list(content), isError=False, structuredContent=None)


class Session:
    """A session of mcp 1, with one tool on each page."""

    def __init__(self, *tools: Any, result: Any = None) -> None:
        self.tools = tools
        self.result = result
        self.calls: list[tuple[str, dict[str, Any]]] = []

    async def list_tools(self, cursor: str | None = None) -> Any:
        first = int(cursor or 0)
        more = str(first + 1) if first + 1 < len(self.tools) else None
        return SimpleNamespace(tools=self.tools[first : first + 1], nextCursor=more)

    async def call_tool(self, name: str, arguments: dict[str, Any]) -> Any:
        self.calls.append((name, arguments))
        return self.result


async def call(session: Session, **options: Any) -> Any:
    """Call the only tool of a session."""
    (made,) = await mcp_tools(session, **options)
    function: Any = made
    return await function({"city": "Rome"})


def names(tools: list[FunctionTool]) -> list[str]:
    return [str(each.function["name"]) for each in tools]


async def test_tools_of_all_pages_are_returned() -> None:
    session = Session(tool("a", "Do it."), tool("b", title="B"), tool("c"))

    tools = await mcp_tools(session)

    assert [each.function for each in tools] == [
        {"name": "a", "description": "Do it.", "parameters": SCHEMA},
        {"name": "b", "description": "B", "parameters": SCHEMA},
        {"name": "c", "description": "", "parameters": SCHEMA},
    ]


async def test_params_are_passed_to_a_session_without_cursor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As `ClientSession` of mcp 2, whose attributes are in snake case."""
    module = ModuleType("mcp.types")
    vars(module)["PaginatedRequestParams"] = SimpleNamespace
    monkeypatch.setitem(sys.modules, "mcp", ModuleType("mcp"))
    monkeypatch.setitem(sys.modules, "mcp.types", module)

    class Session2(Session):
        async def list_tools(self, *, params: Any = None) -> Any:  # type: ignore[override]
            if params is None:
                first = SimpleNamespace(
                    name="a", description="A", title=None, input_schema=SCHEMA
                )
                return SimpleNamespace(tools=[first], next_cursor="2")
            assert params.cursor == "2"
            return SimpleNamespace(tools=[tool("b")], next_cursor=None)

    assert names(await mcp_tools(Session2())) == ["a", "b"]


async def test_list_without_an_end_is_rejected() -> None:
    class Endless(Session):
        async def list_tools(self, cursor: str | None = None) -> Any:
            return SimpleNamespace(tools=[], nextCursor=f"after {cursor}")

    with pytest.raises(ConfigurationError, match="more than 100 pages"):
        await mcp_tools(Endless())


async def test_names_are_made_valid() -> None:
    session = Session(tool("files.read"), tool("x" * 70))

    tools = await mcp_tools(session, prefix="fs/")

    assert names(tools) == ["fs_files_read", "fs_" + "x" * 61]


async def test_two_tools_of_one_name_are_rejected() -> None:
    session = Session(tool("a.b"), tool("a_b"))

    with pytest.raises(ConfigurationError, match=r"'a.b' and 'a_b' .* named 'a_b'"):
        await mcp_tools(session)


async def test_only_is_the_list_of_allowed_tools() -> None:
    session = Session(tool("a.b"), tool("a_b"), tool("c"))

    assert names(await mcp_tools(session, only=["c", "a.b"])) == ["a_b", "c"]
    with pytest.raises(ConfigurationError, match=r"only=: 'd'. .* 'a.b', 'a_b', 'c'"):
        await mcp_tools(session, only={"d"})
    with pytest.raises(ConfigurationError, match="has: none"):
        await mcp_tools(Session(), only={"d"})


async def test_limit_below_one_is_rejected() -> None:
    with pytest.raises(ConfigurationError, match="limit_chars must be 1 or more"):
        await mcp_tools(Session(), limit_chars=0)


async def test_call_passes_the_servers_name_and_the_arguments() -> None:
    session = Session(tool("a.b"), result=result(text("x"), text("y")))

    assert await call(session) == "x\ny"
    assert session.calls == [("a.b", {"city": "Rome"})]


async def test_image_is_an_image_part_between_texts() -> None:
    content = [
        text("before"),
        SimpleNamespace(type="image", data="QQ==", mimeType="image/png"),
        SimpleNamespace(type="image", data="Qg==", mime_type="image/gif"),
        text("after"),
    ]

    assert await call(Session(tool("a"), result=result(*content))) == [
        TextPart("before"),
        ImagePart.from_url("data:image/png;base64,QQ=="),
        ImagePart.from_url("data:image/gif;base64,Qg=="),
        TextPart("after"),
    ]


async def test_resource_is_its_text_and_other_content_is_its_kind() -> None:
    content = [
        SimpleNamespace(type="resource", resource=SimpleNamespace(text="of a file")),
        SimpleNamespace(type="resource", resource=SimpleNamespace(blob="QQ==")),
        SimpleNamespace(type="audio", data="QQ==", mimeType="audio/wav"),
    ]

    found = await call(Session(tool("a"), result=result(*content)))

    assert found == "of a file\n[resource]\n[audio]"


async def test_structured_content_is_sent_if_there_is_no_other() -> None:
    structured = SimpleNamespace(
        content=[], is_error=False, structured_content={"n": 1}
    )

    assert await call(Session(tool("a"), result=structured)) == '{"n":1}'
    assert await call(Session(tool("a"), result=result())) == ""


async def test_text_is_cut_off_at_the_limit() -> None:
    image = SimpleNamespace(type="image", data="QQ==", mimeType="image/png")
    session = Session(tool("a"), result=result(text("abc"), image, text("def")))
    note = "[The result was cut off at 4 characters.]"

    assert await call(session, limit_chars=4) == [
        TextPart("abc"),
        ImagePart.from_url("data:image/png;base64,QQ=="),
        TextPart("d"),
        TextPart(note),
    ]
    assert await call(session, limit_chars=3) == [
        TextPart("abc"),
        ImagePart.from_url("data:image/png;base64,QQ=="),
        TextPart(note.replace("4", "3")),
    ]
    session.result = result(text("abcdef"))
    assert await call(session, limit_chars=4) == f"abcd\n{note}"
    assert await call(session, limit_chars=6) == "abcdef"


async def test_error_result_raises_the_servers_text() -> None:
    image = SimpleNamespace(type="image", data="QQ==", mime_type="image/png")
    failed = SimpleNamespace(content=[text("no disk"), image], is_error=True)

    with pytest.raises(ToolError) as caught:
        await call(Session(tool("a"), result=failed))

    assert caught.value.content == "no disk\n[image]"


async def test_tools_are_called_by_a_run(
    client: AsyncOpenRouter, server: LocalOpenRouter
) -> None:
    session = Session(tool("a.b"), result=result(text("sunny")))
    called = ToolCall("c", function=ToolCallFunction("a_b", '{"city":"Rome"}'))
    server.reply(completion(tool_calls=[called.as_request()])).then("done")

    run = await client.chat.run_tools(
        model="m",
        messages=[{"role": "user", "content": "hi"}],
        tools=await mcp_tools(session),
    )

    assert run.response.text == "done"
    assert server.requests[1].json["messages"][-1]["content"] == "sunny"
    assert session.calls == [("a.b", {"city": "Rome"})]


async def test_same_tool_of_two_servers_is_rejected_by_the_run(
    client: AsyncOpenRouter,
) -> None:
    tools = [*await mcp_tools(Session(tool("a"))), *await mcp_tools(Session(tool("a")))]

    with pytest.raises(ConfigurationError, match="or pass prefix= to mcp_tools"):
        await client.chat.run_tools(
            model="m", messages=[UserMessage("hi")], tools=tools
        )
