"""Typed outputs: from the text of a response to a value of the requested type."""

# Annotations are values here, and pyright knows the types of only some of them.
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
from .invalid_value import InvalidValueError, PathErrors
from .schema import Schema, schema_of

T = TypeVar("T")

# Strings, not compiled patterns: most programs never use them, and `re` caches.
_FENCE: Final = r"(?s)```[\w-]*[ \t]*\n?(.*?)```"
_START: Final = r"[\[{]"
# A number at the end of a partial text may continue: 12 may become 125 or 12.5.
_LAST_NUMBER: Final = r"(?<=[:,\[\s])-?\d[\d.eE+-]*$"

_NOT_JSON: Final = object()


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
            OutputTruncatedError: If the text was cut off at the token limit.
            OutputValidationError: If the text is not valid JSON, or the value does not
                match the type.
        """
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
        if response.finish_reason == "length":
            raise OutputTruncatedError(
                "The response was cut off at the token limit.",
                response=response,
                hint="Raise max_completion_tokens, or ask for a shorter output.",
            )
        if response.tool_calls and not response.text.strip():
            raise self._invalid(response, (("", "expected text, got tool calls"),))
        try:
            value = extract_json(response.text)
        except ValueError as error:
            raise self._invalid(response, (("", str(error)),)) from None
        try:
            output: T = converter.structure(self._unwrap(value), self.kind)
        except InvalidValueError as error:
            # The cause has the exceptions that the caller's own classes raised.
            raise self._invalid(response, error.errors) from error.__cause__
        return output

    def parse_partial(self, text: str) -> Any:
        """
        Return the JSON value that the beginning of a text contains so far.

        Returns:
            Plain JSON values, which are not validated; None if there is nothing yet.

        Raises:
            ConfigurationError: If jiter, a parser of partial JSON, is not installed.
        """
        start = re.search(_START, text)
        if start is None:
            return None
        jiter = require("jiter", "output", "partials()")
        try:
            value = jiter.from_json(
                re.sub(_LAST_NUMBER, "", text[start.start() :]).encode(
                    "utf-8", "replace"
                ),
                partial_mode="trailing-strings",
            )
        except ValueError:
            # Text follows the value, or this is not JSON, which `parse` reports.
            try:
                value = extract_json(text)
            except ValueError:
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


@lru_cache(maxsize=256)
def parser_of(kind: Any) -> OutputParser[Any]:
    """
    Return the parser of a type; it is cached.

    Raises:
        TypeError: If the type has no JSON Schema.
    """
    return OutputParser(kind)


def extract_json(text: str) -> Any:
    """
    Return the one JSON value in a text.

    1. The whole text is JSON.
    2. The text has one fenced block, and this is JSON.
    3. The text has one object or array, with prose around it.

    Raises:
        ValueError: If there is no JSON value, or more than one.
    """
    text = text.strip().removeprefix("\ufeff")
    if not text:
        raise ValueError("the text is empty")
    value = _decode(text)
    if value is not _NOT_JSON:
        return value
    blocks = re.findall(_FENCE, text)
    if len(blocks) == 1:
        value = _decode(blocks[0].strip())
        if value is not _NOT_JSON:
            return value
    start = re.search(_START, text)
    if start is None:
        raise ValueError("the text contains no JSON object or array")
    try:
        _, end = json.JSONDecoder().raw_decode(text, start.start())
    except json.JSONDecodeError as error:
        raise ValueError(
            f"the text is not valid JSON: {error.msg} at character {error.pos}"
        ) from None
    except (ValueError, RecursionError):
        raise ValueError(
            "the JSON in the text is nested too deeply, or a number in it is too long"
        ) from None
    # Decoded again, because `raw_decode` accepts NaN.
    value = _decode(text[start.start() : end])
    if value is _NOT_JSON:
        raise ValueError("the text is not valid JSON: a number is not finite")
    if re.search(_START, text[end:]):
        raise ValueError("the text contains more than one JSON value")
    return value


def _decode(text: str) -> Any:
    try:
        return decode(text)
    except MalformedResponseError:
        return _NOT_JSON
