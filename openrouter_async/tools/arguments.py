"""The parameters of a function, and the arguments in a tool call."""

import functools
import inspect
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final, cast

from ..errors import ToolArgumentsError
from ..structured.converter import converter
from ..structured.docstrings import parse_docstring
from ..structured.exact_json import (
    InvalidJSONError,
    decode_exact,
    escape_control_characters,
)
from ..structured.fields import NO_DEFAULT, Field
from ..structured.invalid_value import ANY_KEY, InvalidValueError, PathErrors, path_step
from ..structured.scalars import mismatch
from ..structured.schema import parameters_schema
from ..structured.type_hints import resolve_hints
from ..types import ToolCall

# The name in a call is not quoted in errors, because the model wrote it.
_A_TOOL: Final = "a tool"


class Parameters:
    """
    The parameters of a function.

    Attributes:
        fields: The parameters, in order.
        schema: The JSON Schema of the arguments.
        summary: The first paragraph of the function's docstring; "" if none.
    """

    def __init__(
        self, function: Callable[..., Any], name: str, *, strict: bool = False
    ) -> None:
        """
        Inspect a function.

        Args:
            function: The function.
            name: The name of the tool, for errors.
            strict: If True, every parameter is required in the schema.
        """
        self._name = name
        docstring = parse_docstring(function)
        self.summary = docstring.summary
        self.fields, self._positional_only = _parameters(function, docstring.entries)
        self.schema = parameters_schema(self.fields, strict=strict)

    def parse(self, call: ToolCall) -> tuple[list[Any], dict[str, Any]]:
        """
        Return the positional and the keyword arguments of a call.

        Raises:
            ToolArgumentsError: If the arguments are not a JSON object, or do not match
                the parameters.
        """
        given = _decoded(call, self._name)[1]
        keywords: dict[str, Any] = {}
        errors: list[tuple[str, str]] = []
        for field in self.fields:
            path = path_step(field.name)
            if field.name in given:
                try:
                    value = converter.structure(given[field.name], field.kind)
                except InvalidValueError as error:
                    errors += ((path + rest, message) for rest, message in error.errors)
                else:
                    keywords[field.name] = value
            elif field.required:
                errors.append((path, "a required argument is missing"))
        known = [field.name for field in self.fields]
        if not given.keys() <= {*known}:
            # The name is not quoted: the model wrote it, and errors end up in logs.
            names = ", ".join(known) or "none"
            errors.append((path_step(ANY_KEY), f"unknown argument; known are: {names}"))
        if errors:
            raise _invalid(call, tuple(errors), self._name)
        positional: list[Any] = []
        for name in self._positional_only:
            if name not in keywords:
                # Those after it keep their defaults too: Python has no way to pass
                # a positional-only argument without the ones before it.
                break
            positional.append(keywords[name])
        return positional, {
            name: value
            for name, value in keywords.items()
            if name not in self._positional_only
        }


def parse_json_arguments(call: ToolCall) -> dict[str, Any]:
    """
    Return the arguments of a call as JSON values, with all digits of their numbers.

    A call without arguments, or with the arguments `null`, has an empty object.
    Arguments that the model encoded twice, as a JSON string that contains JSON, are
    decoded twice.

    Raises:
        ToolArgumentsError: If the arguments are not a JSON object.
    """
    return _decoded(call)[1]


def sendable_arguments(call: ToolCall) -> str:
    """
    Return the arguments of a call as the text of a JSON object.

    Valid arguments are returned as received, with all their digits, except that
    control characters are escaped. Others become an empty object.
    """
    with suppress(ToolArgumentsError):
        return _decoded(call)[0]
    return "{}"


def _decoded(call: ToolCall, name: str = _A_TOOL) -> tuple[str, dict[str, Any]]:
    """Return the JSON text of a call's arguments, and the object in it."""
    text = call.function.arguments
    if not text.strip():
        return "{}", {}
    try:
        value = decode_exact(text)
        if isinstance(value, str):
            text = value
            value = decode_exact(text)
    except InvalidJSONError as error:
        problem = str(error)
    else:
        if value is None:
            return "{}", {}
        if isinstance(value, dict):
            text = escape_control_characters(text.removeprefix("\ufeff"))
            return text, cast("dict[str, Any]", value)
        problem = str(mismatch("an object", value))
    # Raised outside the except block, so that its context does not hold the text.
    raise _invalid(call, (("", problem),), name)


def parse_arguments(call: ToolCall, kind: Any) -> Any:
    """
    Return the arguments of a call as a value of a type.

    Raises:
        ToolArgumentsError: If the arguments are not a JSON object, or do not match the
            type.
    """
    value = parse_json_arguments(call)
    try:
        return converter.structure(value, kind)
    except InvalidValueError as error:
        raise _invalid(call, error.errors) from error.__cause__


def _parameters(
    function: Callable[..., Any], descriptions: Mapping[str, str]
) -> tuple[list[Field], list[str]]:
    """Return the parameters, and the names of those that are positional-only."""
    annotated: Any = inspect.unwrap(function)
    while isinstance(annotated, functools.partial):
        annotated = cast("Any", annotated).func
    if not inspect.isroutine(annotated):
        # An object with a `__call__` method: its annotations are there.
        annotated = type(annotated).__call__
    hints = resolve_hints(annotated)
    fields: list[Field] = []
    positional_only: list[str] = []
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise TypeError(
                f"Unsupported parameter {parameter} of {function!r}: the parameters "
                "of a tool must be named."
            )
        if parameter.kind is parameter.POSITIONAL_ONLY:
            positional_only.append(name)
        required = parameter.default is parameter.empty
        fields.append(
            Field(
                name,
                hints.get(name, Any),
                required,
                NO_DEFAULT if required else parameter.default,
                descriptions.get(name, ""),
            )
        )
    return fields, positional_only


def _invalid(
    call: ToolCall, errors: PathErrors, name: str = _A_TOOL
) -> ToolArgumentsError:
    messages = [f"${path}: {message}" for path, message in errors]
    return ToolArgumentsError(
        f"Invalid arguments for {name}: {'; '.join(messages)}",
        call=call,
        path=f"${errors[0][0]}",
        errors=messages,
    )
