"""Scalars: the JSON values of str, int, date, UUID, enums and literals."""

# Types are values here, and what pyright knows of them it knows in part.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, Final, get_args
from uuid import UUID

from .invalid_value import InvalidValueError
from .type_hints import ANYTHING, literal_values

Hook = Callable[[Any, Any], Any]

_JSON_NAMES: Final[Mapping[type[Any], str]] = {
    type(None): "null",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    str: "a string",
    list: "an array",
    dict: "an object",
}

# Compiled at first use, which most programs never come to.
_DURATION: Final = (
    r"(?P<sign>[+-])?P(?:(?P<weeks>\d+)W)?(?:(?P<days>\d+(?:\.\d+)?)D)?"
    r"(?:T(?:(?P<hours>\d+)H)?(?:(?P<minutes>\d+)M)?(?:(?P<seconds>\d+(?:\.\d+)?)S)?)?"
)


def check(value: Any, cls: type[Any]) -> None:
    """
    Check the class of a JSON value.

    Raises:
        InvalidValueError: If the value is of another class.
    """
    if value.__class__ is not cls:
        raise InvalidValueError(f"{shown(value)} is not {_JSON_NAMES[cls]}")


def shown(value: Any) -> str:
    """Show a value that came, in short."""
    if isinstance(value, list | dict):
        return _JSON_NAMES[type(value)]
    text = "null" if value is None else repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."  # noqa: PLR2004


def _string(value: Any, _: Any) -> str:
    check(value, str)
    return str(value)


def _boolean(value: Any, _: Any) -> bool:
    check(value, bool)
    return bool(value)


def _null(value: Any, _: Any) -> None:
    if value is not None:
        raise InvalidValueError(f"{shown(value)} is not null")


def _integer(value: Any, _: Any) -> int:
    if value.__class__ is float and value.is_integer():
        return int(value)
    if value.__class__ is not int:
        raise InvalidValueError(f"{shown(value)} is not a whole number")
    return int(value)


def _number(value: Any, _: Any) -> float:
    if value.__class__ not in (int, float):
        raise InvalidValueError(f"{shown(value)} is not a number")
    try:
        return float(value)
    except OverflowError:
        raise InvalidValueError("it is too large a number") from None


def _decimal(value: Any, _: Any) -> Decimal:
    if value.__class__ in (int, float, str):
        try:
            found = Decimal(str(value))
        except InvalidOperation:
            pass
        else:
            if found.is_finite():
                return found
    raise InvalidValueError(f"{shown(value)} is not a number")


def _parsed(parse: Callable[[str], Any], what: str) -> Hook:
    def structure(value: Any, _: Any) -> Any:
        try:
            if value.__class__ is str:
                return parse(value)
        except ValueError:
            pass
        raise InvalidValueError(f"{shown(value)} is not {what}")

    return structure


def _timedelta(text: str) -> timedelta:
    found = re.fullmatch(_DURATION, text)
    parts = {} if found is None else found.groupdict()
    sign = parts.pop("sign", None)
    numbers = {name: float(number) for name, number in parts.items() if number}
    if not numbers:
        raise ValueError(text)
    try:
        length = timedelta(**numbers)
    except OverflowError as error:
        raise ValueError(text) from error
    return -length if sign == "-" else length


def duration(value: timedelta) -> str:
    """Write a timedelta as an ISO 8601 duration."""
    sign, length = ("-", -value) if value < timedelta(0) else ("", value)
    fraction = f".{length.microseconds:06}" if length.microseconds else ""
    return f"{sign}P{length.days}DT{length.seconds}{fraction}S"


def literal(kind: Any) -> Hook:
    """Make the hook of a `Literal`."""
    return _one_of(zip(get_args(kind), literal_values(kind), strict=True))


def enumeration(kind: Any) -> Hook:
    """Make the hook of an `Enum`."""
    return _one_of((member, member.value) for member in kind)


def _one_of(values: Iterable[tuple[Any, Any]]) -> Hook:
    # 1, 1.0 and True are equal, but not the same JSON.
    known = [(isinstance(value, bool), value, member) for member, value in values]

    def structure(value: Any, _: Any) -> Any:
        for is_bool, each, member in known:
            if each == value and is_bool is (value.__class__ is bool):
                return member
        listed = ", ".join(repr(each) for _, each, _ in known)
        raise InvalidValueError(f"{shown(value)} is not one of {listed}")

    return structure


def _anything(value: Any, _: Any) -> Any:
    return value


SCALARS: Final[Mapping[Any, Hook]] = {
    str: _string,
    bool: _boolean,
    int: _integer,
    float: _number,
    Decimal: _decimal,
    UUID: _parsed(UUID, "a UUID"),
    datetime: _parsed(datetime.fromisoformat, "a date and time"),
    date: _parsed(date.fromisoformat, "a date"),
    time: _parsed(time.fromisoformat, "a time"),
    timedelta: _parsed(_timedelta, "a duration such as PT1H30M"),
    None: _null,
    type(None): _null,
    **dict.fromkeys(ANYTHING, _anything),
}
