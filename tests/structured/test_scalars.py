"""Conversion of scalars, enums and literals: exact, with errors that name the type."""

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Any, Literal
from uuid import UUID

import pytest

from openrouter_async.structured.converter import converter
from openrouter_async.structured.invalid_value import InvalidValueError
from openrouter_async.structured.scalars import format_duration


class Colour(Enum):
    """An enum of strings."""

    RED = "red"
    BLUE = "blue"


class Level(IntEnum):
    """An enum of integers."""

    LOW = 1
    HIGH = 2


ID = "00000000-0000-0000-0000-000000000003"

VALID: list[tuple[Any, Any, Any]] = [
    (int, 3.0, 3),
    (int, 10**30, 10**30),
    (float, 1, 1.0),
    (bool, True, True),
    (None, None, None),
    (str, "", ""),
    (str, "x" * 100, "x" * 100),
    (Any, {"a": [1]}, {"a": [1]}),
    (object, "x", "x"),
    (Decimal, 1.25, Decimal("1.25")),
    (Decimal, "12345678901234567890.5", Decimal("12345678901234567890.5")),
    (UUID, ID, UUID(ID)),
    (datetime, "2026-01-02T03:04:05Z", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
    (date, "2026-01-02", date(2026, 1, 2)),
    (time, "03:04:05", time(3, 4, 5)),
    (timedelta, "PT1H30M", timedelta(hours=1.5)),
    (timedelta, "-P1W2DT3.5S", -timedelta(weeks=1, days=2, seconds=3.5)),
    (Colour, "red", Colour.RED),
    (Level, 2, Level.HIGH),
    (Literal[1, True, "a"], True, True),
    (Literal[Colour.RED, "x"], "red", Colour.RED),
]


@pytest.mark.parametrize(("kind", "value", "expected"), VALID, ids=str)
def test_scalar_has_exactly_the_type(kind: Any, value: Any, expected: Any) -> None:
    structured = converter.structure(value, kind)

    assert structured == expected
    assert type(structured) is type(expected)


OTHER_FORM = "got a string in another format"

INVALID: list[tuple[Any, Any, str]] = [
    (int, "3", "expected an integer, got a string"),
    (int, True, "expected an integer, got a boolean"),
    (int, 1.5, "expected an integer, got a fraction"),
    (float, "1.5", "expected a number, got a string"),
    (float, 10**400, "the number is too large for a float"),
    (bool, "no", "expected a boolean, got a string"),
    (bool, 1, "expected a boolean, got a number"),
    (str, None, "expected a string, got null"),
    (None, 1, "expected null, got a number"),
    (Decimal, "much", f"expected a decimal number, {OTHER_FORM}"),
    (Decimal, "NaN", f"expected a decimal number, {OTHER_FORM}"),
    (Decimal, [], "expected a decimal number, got an array"),
    (UUID, "x", f"expected a UUID, {OTHER_FORM}"),
    (date, 5, "expected a date, got a number"),
    (timedelta, "P", f"expected a duration such as PT1H30M, {OTHER_FORM}"),
    (timedelta, f"P{10**12}D", f"expected a duration such as PT1H30M, {OTHER_FORM}"),
    (Colour, "green", "expected one of 'red', 'blue'"),
    (Literal[1], True, "expected one of 1"),
]


@pytest.mark.parametrize(("kind", "value", "message"), INVALID, ids=str)
def test_invalid_scalar_is_reported_without_its_value(
    kind: Any, value: Any, message: str
) -> None:
    with pytest.raises(InvalidValueError) as caught:
        converter.structure(value, kind)

    assert caught.value.errors == (("", message),)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (timedelta(hours=1, microseconds=5), "P0DT3600.000005S"),
        (timedelta(days=-1, hours=23), "-P0DT3600S"),
        (timedelta(), "P0DT0S"),
    ],
)
def test_duration_is_written_as_iso_8601(value: timedelta, text: str) -> None:
    assert format_duration(value) == text
    assert converter.structure(text, timedelta) == value


@pytest.mark.parametrize(
    ("decimal", "text"),
    [
        ("1.10", "1.1"),
        ("20", "20.0"),
        ("31415926535897932384626", "31415926535897932384626"),
        ("31415926535897932.38", '"31415926535897932.38"'),
    ],
)
def test_decimal_in_a_result_keeps_its_digits(decimal: str, text: str) -> None:
    assert converter.to_text([Decimal(decimal)]) == f"[{text}]"
