"""Text that a model wrote -> the value that was asked for."""

# Types are values here, and what pyright knows of them it knows in part.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false

import json
import re
from functools import lru_cache
from typing import Any, Final, Generic, TypeVar, cast

from ..errors import (
    MalformedResponseError,
    OutputRefusedError,
    OutputTruncatedError,
    OutputValidationError,
)
from ..extras import require
from ..protocol.decode import decode
from ..types import ChatResponse
from .converter import converter
from .invalid_value import InvalidValueError
from .schema import Schema, schema_of

T = TypeVar("T")

# Compiled at first use.
_FENCE: Final = r"(?s)```[\w-]*[ \t]*\n?(.*?)```"
_START: Final = r"[\[{]"
# A number at the end may go on: 12 may become 125, and 1 may become 1.5.
_NUMBER: Final = r"(?<=[:,\[\s])-?\d[\d.eE+-]*$"


class OutputParser(Generic[T]):
    """
    Reads values of one type.

    Attributes:
        kind: The type.
        schema: Its schema.
    """

    def __init__(self, kind: Any) -> None:
        self.kind = kind
        self.schema: Schema = schema_of(kind)

    def parse(self, reply: ChatResponse) -> T:
        """
        Return the value that a reply's text is.

        Raises:
            OutputRefusedError: The model would not, or was stopped.
            OutputTruncatedError: It was cut off.
            OutputValidationError: The text is no JSON, or does not fit.
        """
        refusal = reply.message.refusal
        if refusal or reply.finish_reason == "content_filter":
            why = f": {refusal}" if refusal else "; a filter stopped the answer."
            raise OutputRefusedError(
                f"The model did not answer{why}", response=reply, refusal=refusal
            )
        if reply.finish_reason == "length":
            raise OutputTruncatedError(
                "The answer is cut off at the token limit.",
                response=reply,
                hint="Raise max_completion_tokens, or ask for less.",
            )
        return self._value(reply)

    def _value(self, reply: ChatResponse) -> T:
        if reply.tool_calls and not reply.text.strip():
            raise _misfit(
                reply, [("$", "the model called tools in place of an answer")]
            )
        try:
            value = extract_json(reply.text)
        except ValueError as error:
            raise _misfit(reply, [("$", str(error))]) from None
        try:
            found: T = converter.structure(self._unwrapped(value), self.kind)
        except InvalidValueError as error:
            faults = [(f"${path}", message) for path, message in error.inner]
            # The cause is there for the classes' own exceptions.
            raise _misfit(reply, faults) from error.__cause__
        return found

    def _unwrapped(self, value: Any) -> Any:
        """Take the value out of its wrapper; models may have left that out."""
        if self.schema.wrapped and isinstance(value, dict):
            fields = cast("dict[str, Any]", value)
            if fields.keys() == {"value"}:
                return fields["value"]
        return value

    def partial(self, text: str) -> Any:
        """
        Return what the beginning of an answer says so far; None if nothing yet.

        Raises:
            ConfigurationError: If jiter, the incremental parser, is missing.
        """
        found = re.search(_START, text)
        if found is None:
            return None
        try:
            value = require("jiter", "output", "partials()").from_json(
                re.sub(_NUMBER, "", text[found.start() :]).encode("utf-8", "replace"),
                partial_mode="trailing-strings",
            )
        except ValueError:
            # It goes on behind the value, or is no JSON; the end will tell.
            try:
                value = extract_json(text)
            except ValueError:
                return None
        if self.schema.wrapped and isinstance(value, dict):
            fields = cast("dict[str, Any]", value)
            if fields.keys() <= {"value"}:
                return fields.get("value")
        return value


@lru_cache(maxsize=256)
def reader_of(kind: Any) -> OutputParser[Any]:
    """
    Return the reader of a type.

    Raises:
        TypeError: JSON has nothing for the type.
    """
    return OutputParser(kind)


def extract_json(text: str) -> Any:
    """
    Return the JSON value in a text: all of it, in a fence, or with words around it.

    Raises:
        ValueError: There is none, or more than one.
    """
    text = text.strip().removeprefix("\ufeff")
    if not text:
        raise ValueError("the answer is empty")
    value = _decoded(text)
    if value is not _NOTHING:
        return value
    fenced = re.findall(_FENCE, text)
    if len(fenced) == 1:
        value = _decoded(fenced[0].strip())
        if value is not _NOTHING:
            return value
    found = re.search(_START, text)
    if found is None:
        raise ValueError(f"the answer is no JSON: {_beginning(text)}")
    try:
        _, end = json.JSONDecoder().raw_decode(text, found.start())
    except (ValueError, RecursionError) as error:
        fault = error.msg if isinstance(error, json.JSONDecodeError) else "too deep"
        raise ValueError(
            f"the answer is no JSON ({fault}): {_beginning(text)}"
        ) from None
    value = _decoded(text[found.start() : end])
    if value is _NOTHING or re.search(_START, text[end:]):
        raise ValueError(f"the answer is more than one JSON: {_beginning(text)}")
    return value


_NOTHING: Final = object()


def _decoded(text: str) -> Any:
    try:
        return decode(text)
    except MalformedResponseError:
        return _NOTHING


def _beginning(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:57]}...")  # noqa: PLR2004


def _misfit(
    reply: ChatResponse, faults: list[tuple[str, str]]
) -> OutputValidationError:
    return OutputValidationError(
        "The answer does not fit: "
        + "; ".join(f"{path}: {message}" for path, message in faults),
        response=reply,
        path=faults[0][0],
        errors=[f"{path}: {message}" for path, message in faults],
    )
