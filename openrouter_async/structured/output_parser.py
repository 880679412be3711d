"""Typed outputs: from the text of a response to a value of the requested type."""

# Annotations are values here, and pyright knows the types of only some of them.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false

import re
from functools import lru_cache
from typing import Any, Final, Generic, TypeVar, cast

from ..errors import (
    OutputRefusedError,
    OutputTruncatedError,
    OutputValidationError,
)
from ..extras import require
from ..protocol.accumulator.choices import CUT_OFF
from ..types import ChatResponse
from .converter import converter
from .exact_json import escape_control_characters, plain_value
from .invalid_value import InvalidValueError, PathErrors
from .json_search import extract_json, find_candidates, incomplete_json
from .schema import Schema, schema_of

T = TypeVar("T")

# A number at the end of a partial text may continue: 12 may become 125 or 12.5.
# Not a compiled pattern: most programs never use it, and `re` caches.
_LAST_NUMBER: Final = r"(?<=[:,\[\s])-?\d[\d.eE+-]*$"


class OutputParser(Generic[T]):
    """
    Parser of the responses to requests for one output type.

    Attributes:
        kind: The type.
        schema: The JSON Schema of the type.
    """

    def __init__(self, kind: Any) -> None:
        self.kind = kind
        self.schema: Schema = schema_of(kind)

    def parse(self, response: ChatResponse) -> T:
        """
        Return the value in the text of a response.

        Raises:
            OutputRefusedError: If the model refused, or a content filter stopped it.
            OutputTruncatedError: If the text was cut off.
            OutputValidationError: If the text is not valid JSON, or the value does not
                match the type.
        """
        _check_complete(response)
        if response.tool_calls and not response.text.strip():
            raise self._invalid(response, (("", "expected text, got tool calls"),))
        try:
            candidates = find_candidates(response.text)
        except ValueError as error:
            raise self._invalid(response, (("", str(error)),)) from None
        return self._fitting(candidates, response)

    def _fitting(self, candidates: list[Any], response: ChatResponse) -> T:
        """Return the value of the one candidate that fits the type."""
        outputs: dict[str, T] = {}
        failure: InvalidValueError | None = None
        for value in candidates:
            try:
                outputs[repr(value)] = converter.structure(
                    self._unwrap(value), self.kind
                )
            except InvalidValueError as error:
                failure = error
        if failure is not None and not outputs:
            # The cause has the exceptions that the caller's own classes raised.
            raise self._invalid(response, failure.errors) from failure.__cause__
        if len(outputs) > 1:
            problem = "the text contains more than one JSON value that fits the type"
            raise self._invalid(response, (("", problem),))
        return outputs.popitem()[1]

    def parse_partial(self, text: str) -> Any:
        """
        Return the JSON value that the beginning of a text contains so far.

        Returns:
            Plain JSON values, which are not validated; None if there is nothing yet.

        Raises:
            ConfigurationError: If jiter, a parser of partial JSON, is not installed.
        """
        start = incomplete_json(text)
        if start is None:
            return None
        jiter = require("jiter", "output", "partials()")
        try:
            value = jiter.from_json(
                escape_control_characters(re.sub(_LAST_NUMBER, "", start)).encode(
                    "utf-8", "replace"
                ),
                partial_mode="trailing-strings",
            )
        except ValueError:
            # Text follows the value, or this is not JSON, which `parse` reports.
            try:
                value = plain_value(extract_json(text))
            except (ValueError, InvalidValueError):
                return None
        if self.schema.wrapped and isinstance(value, dict):
            fields = cast("dict[str, Any]", value)
            # {} is a wrapper whose only key has not arrived.
            if fields.keys() <= {"value"}:
                return fields.get("value")
        return value

    def _unwrap(self, value: Any) -> Any:
        """Return the value in the wrapper object, which models sometimes omit."""
        if self.schema.wrapped and isinstance(value, dict):
            fields = cast("dict[str, Any]", value)
            if fields.keys() == {"value"}:
                return fields["value"]
        return value

    def _invalid(
        self, response: ChatResponse, errors: PathErrors
    ) -> OutputValidationError:
        messages = [f"${path}: {message}" for path, message in errors]
        return OutputValidationError(
            f"The response does not match the output type {self.schema.name}: "
            + "; ".join(messages),
            response=response,
            path=f"${errors[0][0]}",
            errors=messages,
            hint="Send error.errors to the model in another request.",
        )


def _check_complete(response: ChatResponse) -> None:
    """Raise if the model refused, or the text was cut off."""
    refusal = response.message.refusal
    if refusal:
        raise OutputRefusedError(
            "The model refused to respond; error.refusal has its explanation.",
            response=response,
            refusal=refusal,
        )
    if response.finish_reason == "content_filter":
        raise OutputRefusedError(
            "A content filter stopped the response.",
            response=response,
            refusal=None,
        )
    # Even if the text is valid JSON by chance, more of it was to come.
    if response.finish_reason == "error":
        raise OutputTruncatedError(
            "The response was cut off by an error of the provider.",
            response=response,
        )
    if response.finish_reason in CUT_OFF:
        raise OutputTruncatedError(
            "The response was cut off at the token limit.",
            response=response,
            hint="Raise max_completion_tokens, or ask for a shorter output.",
        )


@lru_cache(maxsize=256)
def parser_of(kind: Any) -> OutputParser[Any]:
    """
    Return the parser of a type; it is cached.

    Raises:
        TypeError: If the type has no JSON Schema.
    """
    return OutputParser(kind)
