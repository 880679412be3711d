"""
Conversion of scalars: str, int, date, UUID, enums, literals.

cattrs calls `int("3")` and `bool("no")`. Here a value must have the JSON type that its
Python type asks for; only exact conversions are made (1 -> 1.0, 3.0 -> 3).

The messages never contain the value: they end up in logs, and the value is text that a
model wrote.
"""

# Annotations are values here, and pyright knows the types of only some of them.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Any, Final, get_args
from uuid import UUID

from .exact_json import ExactFloat, plain_float, plain_value
from .invalid_value import InvalidValueError
from .type_hints import ANY_TYPES, literal_values

Hook = Callable[[Any, Any], Any]
"""Makes a value of a type from a JSON value: `hook(value, kind)`."""

_JSON_TYPES: Final[Mapping[type[Any], str]] = {
    type(None): "null",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    ExactFloat: "a number",
    str: "a string",
    list: "an array",
    dict: "an object",
}
_NUMBERS: Final = (int, float, ExactFloat)
_OTHER_FORM: Final = "a string in another format"

# ISO 8601, with weeks and days combined as `datetime.timedelta` allows. A string, not a
# compiled pattern: most programs never use it, and `re` caches.
_DURATION: Final = (
    r"(?P<sign>[+-])?P(?:(?P<weeks>\d+)W)?(?:(?P<days>\d+(?:\.\d+)?)D)?"
    r"(?:T(?:(?P<hours>\d+)H)?(?:(?P<minutes>\d+)M)?(?:(?P<seconds>\d+(?:\.\d+)?)S)?)?"
)


def mismatch(expected: str, value: Any) -> InvalidValueError:
    """Return the error for a value of another JSON type than expected."""
    return InvalidValueError(f"expected {expected}, got {_JSON_TYPES[type(value)]}")


def check_type(value: Any, cls: type[Any]) -> None:
    """
    Check that a JSON value is of exactly this class.

    Raises:
        InvalidValueError: If the value is of another class.
    """
    if value.__class__ is not cls:
        raise mismatch(_JSON_TYPES[cls], value)


def _string(value: Any, _: Any) -> str:
    check_type(value, str)
    return str(value)


def _boolean(value: Any, _: Any) -> bool:
    check_type(value, bool)
    return bool(value)


def _null(value: Any, _: Any) -> None:
    check_type(value, type(None))


def _integer(value: Any, _: Any) -> int:
    integer = as_integer(value)
    if integer.__class__ is int:
        return int(integer)
    if isinstance(value, float):
        raise InvalidValueError("expected an integer, got a fraction")
    raise mismatch("an integer", value)


def as_integer(value: Any) -> Any:
    """Return a number without a fraction as an int, and anything else unchanged."""
    if value.__class__ is ExactFloat:
        integer = value.as_integer()
        return value if integer is None else integer
    if value.__class__ is float and value.is_integer():
        return int(value)
    return value


def _float(value: Any, _: Any) -> float:
    if value.__class__ not in _NUMBERS:
        raise mismatch("a number", value)
    return plain_float(value)


def _decimal(value: Any, _: Any) -> Decimal:
    if value.__class__ not in (*_NUMBERS, str):
        raise mismatch("a decimal number", value)
    try:
        # By way of `str`: that of an `ExactFloat` is the digits that were received, and
        # `Decimal(1.1)` has 51 digits.
        decimal = Decimal(value if value.__class__ is int else str(value))
    except InvalidOperation:
        decimal = Decimal("NaN")
    if not decimal.is_finite():
        raise InvalidValueError(
            "expected a decimal number, got a string in another format"
        )
    return decimal


def decimal_to_json(value: Decimal) -> float | int | str:
    """Return a decimal as a number, or as a string if a float would lose digits."""
    number = float(value)
    if not value.is_finite() or Decimal(repr(number)) == value:
        return number
    return int(value) if value == value.to_integral_value() else str(value)


def _parsed(parse: Callable[[str], Any], expected: str) -> Hook:
    """Return the hook of a type whose JSON value is a string in a certain form."""

    def structure(value: Any, _: Any) -> Any:
        if value.__class__ is not str:
            raise mismatch(expected, value)
        try:
            return parse(value)
        except ValueError:
            pass  # The context of the error would contain the value.
        raise InvalidValueError(f"expected {expected}, got {_OTHER_FORM}")

    return structure


def _parse_duration(text: str) -> timedelta:
    match = re.fullmatch(_DURATION, text)
    parts = {} if match is None else match.groupdict()
    sign = parts.pop("sign", None)
    numbers = {name: float(number) for name, number in parts.items() if number}
    if not numbers:
        raise ValueError(text)
    try:
        duration = timedelta(**numbers)
    except OverflowError as error:
        raise ValueError(text) from error
    return -duration if sign == "-" else duration


def format_duration(value: timedelta) -> str:
    """Return a timedelta as an ISO 8601 duration."""
    sign, length = ("-", -value) if value < timedelta(0) else ("", value)
    fraction = f".{length.microseconds:06}" if length.microseconds else ""
    return f"{sign}P{length.days}DT{length.seconds}{fraction}S"


def literal_hook(kind: Any) -> Hook:
    """Return the hook of a `Literal`."""
    return _choice(zip(get_args(kind), literal_values(kind), strict=True))


@lru_cache(maxsize=256)
def enum_hook(kind: Any) -> Hook:
    """Return the hook of an `Enum`."""
    return _choice((member, member.value) for member in kind)


def _choice(members: Iterable[tuple[Any, Any]]) -> Hook:
    """Return the hook that finds the member with a JSON value."""
    # 1 == 1.0 == True in Python, but a boolean is another JSON value than a number.
    known = [(isinstance(value, bool), value, member) for member, value in members]

    def structure(value: Any, _: Any) -> Any:
        value = as_integer(value)
        for is_bool, each, member in known:
            if each == value and is_bool is (value.__class__ is bool):
                return member
        allowed = ", ".join(repr(each) for _, each, _ in known)
        raise InvalidValueError(f"expected one of {allowed}")

    return structure


def _any(value: Any, _: Any) -> Any:
    return plain_value(value)


SCALARS: Final[Mapping[Any, Hook]] = {
    str: _string,
    bool: _boolean,
    int: _integer,
    float: _float,
    Decimal: _decimal,
    UUID: _parsed(UUID, "a UUID"),
    datetime: _parsed(datetime.fromisoformat, "a date and time"),
    date: _parsed(date.fromisoformat, "a date"),
    time: _parsed(time.fromisoformat, "a time"),
    timedelta: _parsed(_parse_duration, "a duration such as PT1H30M"),
    None: _null,
    type(None): _null,
    **dict.fromkeys(ANY_TYPES, _any),
}
"""The hooks of the types that have no parts."""
