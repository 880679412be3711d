"""
What shapes offer and floors above carry out: reading files, JSON, functions.

Those floors enter themselves here when the package is imported.
"""

from collections.abc import Callable, Coroutine
from typing import Any, Final, Protocol


class PathLike(Protocol):
    """A path of any kind, such as a `pathlib.Path`."""

    def __fspath__(self) -> str: ...


class Above:
    """
    The places to enter oneself.

    Attributes:
        load: Reads a file, in base64; what it gives is for `build`.
        parse_call: Reads the arguments of a tool call as a type.
        make_tool: Makes a tool of a function.
    """

    __slots__ = ("load", "make_tool", "parse_call")

    load: Callable[
        [str | PathLike, str | None, int, Callable[[str, str, str], Any]],
        Coroutine[Any, Any, Any],
    ]
    parse_call: Callable[[Any, Any], Any]
    make_tool: Callable[..., Any]


above: Final = Above()
