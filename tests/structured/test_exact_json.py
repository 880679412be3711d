"""JSON that a model wrote: every digit, any control character, no quotations."""

import copy
import pickle
from decimal import Decimal
from enum import IntEnum
from typing import Any, Literal

import pytest
from attrs import define
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from openrouter_async.structured.converter import converter
from openrouter_async.structured.exact_json import (
    ExactFloat,
    InvalidJSONError,
    decode_exact,
    escape_control_characters,
)
from openrouter_async.structured.invalid_value import InvalidValueError

HUGE = 7_900_000_000_000_000_000_000_000_000_000_000_000_000_000_000_000_001


@define
class Transfer:
    """Numbers of every kind."""

    account: int
    amount: Decimal
    rate: float
    more: Any = None


@pytest.mark.parametrize(
    ("text", "account"),
    [
        ("36893488147419103233", 36893488147419103233),
        ("-9223372036854775809", -9223372036854775809),
        (str(HUGE), HUGE),
        ("36893488147419103233.00", 36893488147419103233),
        ("3.6893488147419103233e19", 36893488147419103233),
        ("9007199254740993.0", 9007199254740993),
    ],
)
def test_integer_of_any_size_is_exact(text: str, account: int) -> None:
    value = decode_exact(f'{{"account": {text}, "amount": {text}, "rate": {text}}}')

    transfer = converter.structure(value, Transfer)

    assert transfer.account == account
    assert transfer.amount == account
    assert transfer.rate == float(account)
    assert type(transfer.account) is int
    assert type(transfer.rate) is float


@pytest.mark.parametrize("text", ["98765432109876543.21", "12.50", "-0.10", "1e400"])
def test_decimal_has_the_digits_that_were_received(text: str) -> None:
    decimal = converter.structure(decode_exact(text), Decimal)

    assert decimal.as_tuple() == Decimal(text).as_tuple()


@given(
    st.one_of(
        st.integers(),
        st.decimals(allow_nan=False, allow_infinity=False, places=3),
        st.floats(allow_nan=False, allow_infinity=False),
    ).map(str)
)
def test_number_is_never_changed(text: str) -> None:
    """The fast decoder is used only where it keeps the digits."""
    decimal = converter.structure(decode_exact(f'{{"x": {text}}}')["x"], Decimal)

    assert decimal == Decimal(text)
    if decimal == decimal.to_integral_value():
        assert converter.structure(decode_exact(text), int) == int(decimal)


def test_value_of_any_type_has_plain_floats() -> None:
    value = decode_exact('{"a": [1.50, 2], "b": {"c": 1e2}}')

    plain = converter.structure(value, Any)

    assert plain == {"a": [1.5, 2], "b": {"c": 100.0}}
    assert type(plain["a"][0]) is type(plain["b"]["c"]) is float


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ("1e400", float, "the number is too large for a float"),
        ("1e400", Any, "the number is too large for a float"),
        ("1" * 400, float, "the number is too large for a float"),
        ("1.5", int, "expected an integer, got a fraction"),
        ("1e99999", int, "expected an integer, got a fraction"),
        ("1e" + "9" * 30, int, "expected an integer, got a fraction"),
        ("1e" + "9" * 30, Decimal, "expected a decimal number, got a string in"),
        ("1.5", str, "expected a string, got a number"),
        ("1.5", bool | str, "expected bool | str, got a number"),
    ],
)
def test_number_that_does_not_fit_is_an_error(
    text: str, kind: Any, message: str
) -> None:
    with pytest.raises(InvalidValueError) as caught:
        converter.structure(decode_exact(text), kind)

    ((path, problem),) = caught.value.errors
    assert path == ""
    assert problem.startswith(message)


class Size(IntEnum):
    """Sizes that a float cannot tell apart."""

    SMALL = 2**53
    LARGE = 2**53 + 1


def test_choices_and_unions_compare_exact_numbers() -> None:
    assert converter.structure(decode_exact("9007199254740993.0"), Size) is Size.LARGE
    assert converter.structure(decode_exact("3.0"), Literal[3]) == 3
    assert converter.structure(decode_exact("0.10"), float | str) == 0.1
    assert converter.structure(decode_exact("2.0"), int | str) == 2


class Invoice(BaseModel):
    """The same with pydantic."""

    number: int
    total: Decimal
    rate: float
    more: Any = None


def test_pydantic_models_get_all_digits() -> None:
    value = decode_exact(
        f'{{"number": {HUGE}, "total": 98765432109876543.21, "rate": 0.10,'
        ' "more": [0.50]}'
    )

    invoice = converter.structure(value, Invoice)

    assert invoice == Invoice(
        number=HUGE, total=Decimal("98765432109876543.21"), rate=0.1, more=[0.5]
    )
    assert type(invoice.rate) is type(invoice.more[0]) is float


def test_copies_and_pickles_of_exact_floats_are_plain() -> None:
    number = ExactFloat("1.10")

    assert (repr(number), str(number)) == ("1.10", "1.10")
    for plain in (copy.deepcopy(number), pickle.loads(pickle.dumps(number))):
        assert type(plain) is float
        assert plain == 1.1


# --- text --------------------------------------------------------------------------


@pytest.mark.parametrize("character", ["\n", "\r\n", "\t", "\x00", "\x1b", "\x7f"])
def test_control_characters_in_strings_are_accepted(character: str) -> None:
    assert decode_exact(f'{{"a": "x{character}y"}}') == {"a": f"x{character}y"}


def test_byte_order_mark_and_white_space_are_skipped() -> None:
    assert decode_exact('\ufeff {"a": "\\ud83d"}\n') == {"a": "\ud83d"}


@pytest.mark.parametrize(
    ("text", "message", "position"),
    [
        ("", "Expecting value at character 0", 0),
        ('{"secret": }', "Expecting value at character 11", 11),
        ('{"secret": 1} 2', "extra data at character 13", 13),
        ("NaN", "a number is not finite or has too many digits", 0),
        ("[-Infinity]", "a number is not finite or has too many digits", 0),
        ("1" * 5000, "a number is not finite or has too many digits", 0),
        ("[" * 100_000, "it is nested too deeply", None),
    ],
)
def test_invalid_json_is_an_error_that_quotes_nothing(
    text: str, message: str, position: int | None
) -> None:
    with pytest.raises(InvalidJSONError) as caught:
        decode_exact(text)

    assert str(caught.value) == f"invalid JSON: {message}"
    assert caught.value.position == position
    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ('{"a":\n 1.50}', '{"a":\n 1.50}'),
        ('{"a\t":\n "x\ny", "b": "\\"\n"}', '{"a\\u0009":\n "x\\u000ay", "b": "\\"\\u000a"}'),
        ('{"a": "not\nclosed', '{"a": "not\\u000aclosed'),
    ],
)  # fmt: skip
def test_only_control_characters_in_strings_are_escaped(
    text: str, escaped: str
) -> None:
    assert escape_control_characters(text) == escaped
