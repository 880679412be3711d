"""The decorator that makes a tool of a function."""

import re
from collections.abc import Callable
from functools import partial
from typing import Any, Final, ParamSpec, TypeVar, overload

from ..types import CacheControl, FunctionDefinition, Tool
from .arguments import Parameters

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
) -> Callable[[Callable[P, R]], Tool[P, R]]: ...


def tool(function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """
    Make a tool of a plain or async function: `@tool`, or `@tool(strict=True)`.

    Its annotations become the schema, its docstring the descriptions; a string in
    `Annotated[str, "..."]` describes a parameter too. Called, the tool is the function.
    In a run, a plain function is called in a thread.

    Args:
        function: What is called.
        name: The function's own unless given.
        description: The first paragraph of its docstring unless given.
        strict: Whether the provider must hold to the schema; all parameters are then
            asked for, those with defaults too.
        cache_control: Ends a cached prefix after this tool (Anthropic).
        **options: All but `function`.

    Raises:
        TypeError: JSON has nothing for a parameter's type, or the name is none that
            providers take.
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
) -> Tool[P, R]:
    """Make the tool; `tool` tells how."""
    called = str(name or getattr(function, "__name__", ""))
    if not re.fullmatch(_NAME, called):
        raise TypeError(
            f"{called!r} is no name for a tool: at most 64 of a-z, A-Z, 0-9, _ and -. "
            "Give name=."
        )
    parameters = Parameters(function, strict=bool(strict))
    definition: FunctionDefinition = {"name": called}
    words = description or parameters.summary
    if words:
        definition["description"] = words
    definition["parameters"] = parameters.schema
    if strict is not None:
        definition["strict"] = strict
    return Tool(function, definition, parameters.read, cache_control)
