"""
JSON that a model wrote, decoded exactly.

`protocol.decode` is for what servers write. Text in which a model wrote a value that
the caller acts on (an output, the arguments of a call) is decoded here, with two
differences:

1. Every digit is kept. An integer has any size, and any other number remembers its
   digits, so that a `Decimal` or an `int` can be made of them. A float has 17 digits.
2. Control characters in strings are accepted. Models write line breaks as they are,
   instead of as an escape.
"""

import json
import math
import re
from decimal import Decimal, InvalidOperation
from typing import Any, Final, NoReturn, Self

from ..protocol.decode import decode_strictly
from .invalid_value import InvalidValueError

# The number of digits that Python converts from text to an int (and Python's limit by
# default): more of them take quadratic time.
_MAX_INTEGER_DIGITS: Final = 4300

# Strings, not compiled patterns: most programs never use them, and `re` caches.
_STRING: Final = r'(?s)"(?:[^"\\]|\\.)*"?'
# A number that may lose digits as a float or in 64 bits: it has more than 15 digits, an
# exponent, or a zero at the end of its fraction. In a string, it does no harm.
_LOSSY_NUMBER: Final = r"[0-9](?:[eE]|[0-9.]{15}|\.[0-9]*0(?![0-9]))"
_CONTROL: Final = r"[\x00-\x1f]"


class ExactFloat(float):
    """
    A number with a fraction or an exponent, and the digits that were received.

    Copies and pickles are plain floats.

    Attributes:
        literal: The number as it was written.
    """

    __slots__ = ("literal",)

    literal: str

    def __new__(cls, literal: str) -> Self:
        """Make a number of its literal."""
        self = super().__new__(cls, literal)
        self.literal = literal
        return self

    def __repr__(self) -> str:
        return self.literal

    # pydantic makes a Decimal of this text.
    __str__ = __repr__

    def __reduce__(self) -> tuple[type[float], tuple[float]]:
        return float, (float(self),)

    def as_decimal(self) -> Decimal:
        """Return the number with all its digits; NaN if its exponent is too large."""
        try:
            return Decimal(self.literal)
        except InvalidOperation:
            return Decimal("NaN")

    def as_integer(self) -> int | None:
        """Return the number as an int; None if it has a fraction, or is too large."""
        number = self.as_decimal()
        if not number.is_finite() or number.adjusted() >= _MAX_INTEGER_DIGITS:
            return None
        integer = int(number)
        return integer if integer == number else None

    def is_exact(self) -> bool:
        """Return True if the float has the same value as the literal."""
        return Decimal(repr(float(self))) == self.as_decimal()


def decode_exact(text: str) -> Any:
    """
    Return the JSON value in a text.

    A number with a fraction or an exponent is a float if that has its digits, and an
    `ExactFloat` otherwise.

    Raises:
        InvalidJSONError: If it is not valid JSON.
    """
    text = text.strip().removeprefix("\ufeff").lstrip()
    if not re.search(_LOSSY_NUMBER, text):
        try:
            return decode_strictly(text)
        except ValueError:
            # It may have control characters, or it is invalid.
            pass
    value, end = decode_prefix(text, 0)
    if end != len(text):
        raise InvalidJSONError(f"extra data at character {end}", end)
    return value


def decode_prefix(text: str, start: int) -> tuple[Any, int]:
    """
    Return the JSON value at a position of a text, and the position of its end.

    Raises:
        InvalidJSONError: If there is no valid JSON at the position.
    """
    try:
        return _decoder.raw_decode(text, start)
    except json.JSONDecodeError as error:
        problem, position = f"{error.msg} at character {error.pos}", error.pos
    except ValueError:
        problem, position = "a number is not finite or has too many digits", start
    except RecursionError:
        problem, position = "it is nested too deeply", None
    # Raised outside the except blocks, so that its context does not hold the text.
    raise InvalidJSONError(problem, position)


class InvalidJSONError(ValueError):
    """
    Text that is not valid JSON; the message does not quote it.

    Attributes:
        position: The character at which it is invalid; None if it is nested too deeply.
    """

    def __init__(self, problem: str, position: int | None) -> None:
        super().__init__(f"invalid JSON: {problem}")
        self.position = position


def plain_value(value: Any) -> Any:
    """
    Return a decoded value with plain floats.

    Raises:
        InvalidValueError: If a number is too large for a float.
    """
    cls: Any = value.__class__
    if cls is dict:
        return {key: plain_value(each) for key, each in value.items()}
    if cls is list:
        return [plain_value(each) for each in value]
    return plain_float(value) if cls is ExactFloat else value


def nearly_plain_value(value: Any) -> Any:
    """Return a decoded value with plain floats, except where these lose digits."""
    cls: Any = value.__class__
    if cls is dict:
        return {key: nearly_plain_value(each) for key, each in value.items()}
    if cls is list:
        return [nearly_plain_value(each) for each in value]
    return float(value) if cls is ExactFloat and value.is_exact() else value


def plain_float(value: float) -> float:
    """
    Return a number as a float.

    Raises:
        InvalidValueError: If it is too large for a float.
    """
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if math.isinf(number):
        raise InvalidValueError("the number is too large for a float")
    return number


def escape_control_characters(text: str) -> str:
    """Return a JSON text with the control characters in its strings escaped."""
    if not re.search(_CONTROL, text):
        return text
    return re.sub(_STRING, lambda match: re.sub(_CONTROL, _escape, match[0]), text)


def _escape(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"


def _reject(literal: str) -> NoReturn:
    raise ValueError(literal)


_decoder: Final = json.JSONDecoder(
    parse_float=ExactFloat, parse_constant=_reject, strict=False
)
