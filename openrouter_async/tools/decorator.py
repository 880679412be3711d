"""The decorator that makes a tool of a function."""

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, ParamSpec, TypeVar, overload

from ..types import CacheControl, FunctionDefinition, Tool, ToolCall
from .arguments import Parameters, parse_arguments

P = ParamSpec("P")
R = TypeVar("R")

_NAME: Final = r"[A-Za-z0-9_-]{1,64}"


@overload
def tool(function: Callable[P, R], /) -> Tool[P, R]: ...


@overload
def tool(
    *,
    name: str | None = None,
    description: str | None = None,
    strict: bool | None = None,
    cache_control: CacheControl | None = None,
    timeout: float | None = None,
) -> Callable[[Callable[P, R]], Tool[P, R]]: ...


def tool(function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """
    Make a tool of a plain or async function: `@tool`, or `@tool(strict=True)`.

    The schema comes from the function's annotations, the descriptions from its
    docstring or from strings in `Annotated[str, "..."]`. The tool can still be called
    like the function. A run calls a plain function in a thread.

    Args:
        function: The function.
        name: The name for the model; defaults to the function's name.
        description: The description for the model; defaults to the first paragraph of
            the docstring.
        strict: If True, the provider must hold the model to the schema, in which every
            parameter is required, even one with a default.
        cache_control: The end of a cached prefix, after this tool (Anthropic).
        timeout: Maximum seconds of one call in a run; None for no limit. A call that
            takes longer fails with `ToolTimeoutError`. An async function is cancelled;
            a plain one continues in its thread, and its result is dropped.
        **options: `name`, `description`, `strict`, `cache_control` and `timeout`.

    Raises:
        TypeError: If a parameter's type has no JSON Schema, or the name is invalid.
        ValueError: If the timeout is not positive.
    """
    if function is None:
        return partial(make_tool, **options)
    return make_tool(function, **options)


def make_tool(
    function: Callable[P, R],
    *,
    name: str | None = None,
    description: str | None = None,
    strict: bool | None = None,
    cache_control: CacheControl | None = None,
    timeout: float | None = None,
) -> Tool[P, R]:
    """Make a tool of a function; the arguments are those of `tool`."""
    tool_name = _checked_name(name or getattr(function, "__name__", ""))
    parameters = Parameters(function, tool_name, strict=bool(strict))
    definition: FunctionDefinition = {"name": tool_name}
    text = description or parameters.summary
    if text:
        definition["description"] = text
    definition["parameters"] = parameters.schema
    if strict is not None:
        definition["strict"] = strict
    return Tool(function, definition, parameters.parse, cache_control, timeout)


def make_schema_tool(
    function: Callable[[dict[str, Any]], R],
    *,
    name: str,
    description: str,
    parameters: Mapping[str, Any],
    timeout: float | None = None,
) -> Tool[[dict[str, Any]], R]:
    """Make a tool; the arguments are those of `FunctionTool.from_schema`."""
    definition: FunctionDefinition = {
        "name": _checked_name(name),
        "description": description,
        "parameters": parameters,
    }

    def arguments_of(call: ToolCall) -> tuple[list[Any], dict[str, Any]]:
        return [parse_arguments(call, dict[str, Any])], {}

    return Tool(function, definition, arguments_of, timeout=timeout)


def _checked_name(name: object) -> str:
    if not isinstance(name, str) or not re.fullmatch(_NAME, name):
        raise TypeError(
            f"Invalid tool name {name!r}: pass name= with 1 to 64 letters, "
            "digits, '_' or '-'."
        )
    return name
