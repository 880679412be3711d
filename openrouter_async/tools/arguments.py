"""The parameters of a function, and the arguments in a tool call."""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, cast

from ..errors import MalformedResponseError, ToolArgumentsError
from ..protocol.decode import decode
from ..structured.converter import converter
from ..structured.docstrings import parse_docstring
from ..structured.fields import NO_DEFAULT, Field
from ..structured.invalid_value import InvalidValueError, PathErrors, path_step
from ..structured.scalars import mismatch
from ..structured.schema import parameters_schema
from ..structured.type_hints import resolve_hints
from ..types import ToolCall


class Parameters:
    """
    The parameters of a function.

    Attributes:
        fields: The parameters, in order.
        schema: The JSON Schema of the arguments.
        summary: The first paragraph of the function's docstring; "" if none.
    """

    def __init__(self, function: Callable[..., Any], *, strict: bool = False) -> None:
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
        given = parse_json_arguments(call)
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
        known = {field.name for field in self.fields}
        errors += (
            (path_step(name), "unknown argument") for name in given if name not in known
        )
        if errors:
            raise _invalid(call, tuple(errors))
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
    Return the arguments of a call as plain JSON values.

    A call without arguments has an empty object. Arguments that the model encoded
    twice, as a JSON string that contains JSON, are decoded twice.

    Raises:
        ToolArgumentsError: If the arguments are not a JSON object.
    """
    text = call.function.arguments
    if not text.strip():
        return {}
    try:
        value = decode(text)
        if isinstance(value, str):
            value = decode(value)
    except MalformedResponseError as error:
        raise _invalid(call, (("", error.message),)) from None
    if not isinstance(value, dict):
        raise _invalid(call, mismatch("an object", value).errors)
    return cast("dict[str, Any]", value)


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


def _invalid(call: ToolCall, errors: PathErrors) -> ToolArgumentsError:
    messages = [f"${path}: {message}" for path, message in errors]
    name = call.function.name or "a tool"
    return ToolArgumentsError(
        f"Invalid arguments for {name}: {'; '.join(messages)}",
        call=call,
        path=f"${errors[0][0]}",
        errors=messages,
    )
