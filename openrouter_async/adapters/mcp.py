"""mcp_tools: the tools of an MCP server, for `run_tools`."""

import inspect
import re
from collections.abc import Awaitable, Callable, Collection
from importlib import import_module
from typing import Any, Final, Protocol

from ..errors import ConfigurationError, ToolError
from ..protocol.encode import encode
from ..types import FunctionTool, ImagePart, TextPart

# Providers reject other names.
_INVALID_CHARACTERS: Final = r"[^A-Za-z0-9_-]"
_MAX_NAME: Final = 64

# A list without an end would otherwise fill the memory. Servers have 10 to 1,000 tools
# on each page.
_MAX_PAGES: Final = 100


class MCPSession(Protocol):
    """The methods used of an MCP session: a `ClientSession`, or a `Client` of mcp 2."""

    @property
    def list_tools(self) -> Callable[..., Awaitable[Any]]:
        """The method that returns a page of tools."""
        ...

    @property
    def call_tool(self) -> Callable[..., Awaitable[Any]]:
        """The method that calls a tool."""
        ...


async def mcp_tools(
    session: MCPSession,
    *,
    prefix: str = "",
    only: Collection[str] | None = None,
    limit_chars: int = 100_000,
) -> list[FunctionTool]:
    """
    Return the tools of an MCP server, to be passed to `run_tools`.

    The descriptions and results of a server are input to the model: of a server that
    you do not trust, choose the tools with `only=`. Characters that a tool's name may
    not have become "_".

    Texts and images of a result reach the model; another content is replaced by its
    kind, such as "[audio]". An error result is sent as the server phrased it. If the
    run is cancelled, a server of mcp 1 is not notified.

    Args:
        session: An initialized session. It must be open while the tools are used.
        prefix: Text to put in front of each name, for tools of several servers.
        only: The tools to return, by the server's names; None for all.
        limit_chars: Maximum characters of the text of one result; the rest is cut off.
            Images are not counted.

    Raises:
        ConfigurationError: If `only` has an unknown name, `limit_chars` is not
            positive, two tools have the same name, or the list of tools has too many
            pages.
    """
    if limit_chars < 1:
        raise ConfigurationError(f"limit_chars must be 1 or more, not {limit_chars!r}.")
    listed = await _list_tools(session)
    if only is not None:
        _check_only(only, [tool.name for tool in listed])
        listed = [tool for tool in listed if tool.name in only]
    tools: dict[str, FunctionTool] = {}
    originals: dict[str, str] = {}
    for tool in listed:
        name = re.sub(_INVALID_CHARACTERS, "_", f"{prefix}{tool.name}")[:_MAX_NAME]
        if name in tools:
            raise ConfigurationError(
                f"The tools {originals[name]!r} and {tool.name!r} of the server would "
                f"both be named {name!r}. Pass a shorter prefix= if the name is cut "
                "off, or leave one of them out with only=."
            )
        originals[name] = tool.name
        tools[name] = FunctionTool.from_schema(
            _caller(session, tool.name, limit_chars),
            name=name,
            description=tool.description or tool.title or "",
            parameters=_either(tool, "input_schema", "inputSchema"),
        )
    return list(tools.values())


async def _list_tools(session: MCPSession) -> list[Any]:
    """Return the tools of all pages."""
    page = await session.list_tools()
    tools = [*page.tools]
    for _ in range(_MAX_PAGES):
        cursor = _either(page, "next_cursor", "nextCursor")
        if not cursor:
            return tools
        page = await session.list_tools(**_page_arguments(session, cursor))
        tools += page.tools
    raise ConfigurationError(
        f"The server's list of tools has more than {_MAX_PAGES} pages."
    )


def _page_arguments(session: MCPSession, cursor: str) -> dict[str, Any]:
    """Return the keywords for a further page, whose form depends on the version."""
    if "cursor" in inspect.signature(session.list_tools).parameters:
        return {"cursor": cursor}
    # `ClientSession` of mcp 2. It is installed, because the session is one of its own.
    types = import_module("mcp.types")
    return {"params": types.PaginatedRequestParams(cursor=cursor)}


def _check_only(only: Collection[str], names: list[str]) -> None:
    unknown = [name for name in only if name not in names]
    if unknown:
        raise ConfigurationError(
            f"Unknown tools in only=: {', '.join(map(repr, unknown))}. The server "
            f"has: {', '.join(map(repr, names)) or 'none'}."
        )


def _caller(
    session: MCPSession, name: str, limit_chars: int
) -> Callable[[dict[str, Any]], Awaitable[str | list[TextPart | ImagePart]]]:
    """Return the function that calls a tool of the server."""

    async def call(arguments: dict[str, Any]) -> str | list[TextPart | ImagePart]:
        result = await session.call_tool(name, arguments)
        parts = _parts(result, limit_chars)
        if _either(result, "is_error", "isError"):
            # The content of a tool's error is a text.
            raise ToolError(_joined(parts))
        if any(isinstance(part, ImagePart) for part in parts):
            return parts
        return _joined(parts)

    return call


def _parts(result: Any, limit_chars: int) -> list[TextPart | ImagePart]:
    """Return the content of a result: images, and the texts between them joined."""
    parts: list[TextPart | ImagePart] = []
    texts: list[str] = []
    rest = limit_chars
    is_cut = False

    def add_text() -> None:
        nonlocal rest, is_cut
        text = "\n".join(texts)
        texts.clear()
        kept = text[:rest]
        rest -= len(kept)
        is_cut = is_cut or len(kept) < len(text)
        if kept:
            parts.append(TextPart(kept))

    for item in result.content:
        if item.type == "image":
            add_text()
            media_type = _either(item, "mime_type", "mimeType")
            parts.append(ImagePart.from_url(f"data:{media_type};base64,{item.data}"))
        else:
            texts.append(_text(item))
    structured = _either(result, "structured_content", "structuredContent")
    if not result.content and structured is not None:
        texts.append(encode(structured).decode())
    add_text()
    if is_cut:
        parts.append(TextPart(f"[The result was cut off at {limit_chars} characters.]"))
    return parts


def _text(item: Any) -> str:
    """Return the text of a content that is not an image, or its kind."""
    if item.type == "text":
        return str(item.text)
    # A resource is a text, or bytes that a model cannot read.
    text = getattr(getattr(item, "resource", None), "text", None)
    return f"[{item.type}]" if text is None else str(text)


def _joined(parts: list[TextPart | ImagePart]) -> str:
    return "\n".join(
        part.text if isinstance(part, TextPart) else "[image]" for part in parts
    )


def _either(value: Any, name: str, camel_case_name: str) -> Any:
    """Return an attribute, whose name is in camel case in mcp 1."""
    found = getattr(value, name, None)
    return getattr(value, camel_case_name, None) if found is None else found
