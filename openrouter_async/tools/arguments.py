"""A function's parameters, and the arguments that a model wrote for them."""

import functools
import inspect
from collections.abc import Callable
from typing import Any, cast

from ..errors import MalformedResponseError, ToolArgumentsError
from ..protocol.decode import decode
from ..structured.converter import converter
from ..structured.docstrings import parse_docstring
from ..structured.fields import NO_DEFAULT, Field
from ..structured.invalid_value import InvalidValueError, path_step
from ..structured.schema import parameters_schema
from ..structured.type_hints import resolve_hints
from ..types import ToolCall


class Parameters:
    """
    What a function takes.

    Attributes:
        members: Its parameters, in order.
        schema: The JSON Schema of them.
        summary: What the first paragraph of its docstring says.
    """

    def __init__(self, function: Callable[..., Any], *, strict: bool = False) -> None:
        told = parse_docstring(function)
        self.summary = told.summary
        self.members, self._positional = _members(function, told.entries)
        self.schema = parameters_schema(self.members, strict=strict)

    def read(self, call: ToolCall) -> tuple[list[Any], dict[str, Any]]:
        """
        Return the positional and the keyword arguments that a call makes.

        Raises:
            ToolArgumentsError: They are no JSON object, or do not fit.
        """
        given = json_arguments(call)
        read: dict[str, Any] = {}
        faults: list[tuple[str, str]] = []
        for member in self.members:
            path = "$" + path_step(member.name)
            if member.name in given:
                try:
                    value = converter.structure(given[member.name], member.kind)
                except InvalidValueError as error:
                    faults += ((path + rest, message) for rest, message in error.errors)
                else:
                    read[member.name] = value
            elif member.required:
                faults.append((path, "it is missing"))
        known = {member.name for member in self.members}
        faults += (
            ("$" + path_step(name), "there is no such parameter")
            for name in given
            if name not in known
        )
        if faults:
            raise _misfit(call, faults)
        first: list[Any] = []
        for name in self._positional:
            if name not in read:
                # What follows keeps its default too: there is no other way.
                break
            first.append(read.pop(name))
        return first, {k: v for k, v in read.items() if k not in self._positional}


def json_arguments(call: ToolCall) -> dict[str, Any]:
    """
    Return a call's arguments as they came, parsed.

    None at all are an empty object; what was encoded twice is read twice.

    Raises:
        ToolArgumentsError: They are no JSON object.
    """
    text = call.function.arguments
    if not text.strip():
        return {}
    try:
        value = decode(text)
        if isinstance(value, str):
            value = decode(value)
    except MalformedResponseError as error:
        raise _misfit(call, [("$", error.message)]) from None
    if not isinstance(value, dict):
        raise _misfit(call, [("$", f"it is no object, but {value!r:.60}")])
    return cast("dict[str, Any]", value)


def read_arguments(call: ToolCall, kind: Any) -> Any:
    """
    Return a call's arguments as a value of a type.

    Raises:
        ToolArgumentsError: They are no JSON object, or do not fit.
    """
    value = json_arguments(call)
    try:
        return converter.structure(value, kind)
    except InvalidValueError as error:
        faults = [(f"${path}", message) for path, message in error.errors]
        raise _misfit(call, faults) from error.__cause__


def _members(function: Callable[..., Any], told: Any) -> tuple[list[Field], list[str]]:
    """List the parameters, and the names of those that have no keyword."""
    written: Any = inspect.unwrap(function)
    while isinstance(written, functools.partial):
        written = cast("Any", written).func
    if not inspect.isroutine(written):
        # An object that can be called.
        written = type(written).__call__
    hints = resolve_hints(written)
    found: list[Field] = []
    positional: list[str] = []
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise TypeError(
                f"{function!r} takes {parameter}; a tool names what it takes."
            )
        if parameter.kind is parameter.POSITIONAL_ONLY:
            positional.append(name)
        required = parameter.default is parameter.empty
        found.append(
            Field(
                name,
                hints.get(name, Any),
                required,
                NO_DEFAULT if required else parameter.default,
                told.get(name, ""),
            )
        )
    return found, positional


def _misfit(call: ToolCall, faults: list[tuple[str, str]]) -> ToolArgumentsError:
    written = [f"{path}: {message}" for path, message in faults]
    name = call.function.name or "a tool"
    return ToolArgumentsError(
        f"The arguments of {name} do not fit: {'; '.join(written)}",
        call=call,
        path=faults[0][0],
        errors=written,
    )
