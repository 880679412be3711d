"""The arguments of tool calls: typed, validated, with the paths of errors."""

# Some functions have no annotations.
# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportUnknownVariableType=false

import re
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Literal

import pytest
from attrs import define

from openrouter_async import (
    FunctionTool,
    ToolArgumentsError,
    ToolCall,
    tool,
)
from openrouter_async.types import ToolCallFunction


@define
class City:
    """A class as a parameter."""

    name: str
    country: str = "France"


@tool
async def weather(
    city: City,
    day: Annotated[date, "The day."],
    unit: Literal["c", "f"] = "c",
    *,
    hourly: bool = False,
) -> None:
    """Tell the weather."""


def call(arguments: str) -> ToolCall:
    return ToolCall(id="call_1", function=ToolCallFunction("weather", arguments))


def test_arguments_have_the_types_of_the_annotations() -> None:
    """Parameters that are left out keep the defaults of the function."""
    given = '{"city": {"name": "Nice"}, "day": "2026-01-02", "hourly": true}'

    assert weather.arguments_of(call(given)) == (
        [],
        {"city": City("Nice"), "day": date(2026, 1, 2), "hourly": True},
    )


def test_parameter_without_an_annotation_accepts_any_value() -> None:
    untyped = FunctionTool.from_function(lambda value: value, name="untyped")

    assert untyped.arguments_of(call('{"value": [1]}')) == ([], {"value": [1]})


def test_positional_only_parameters_end_at_the_first_that_is_left_out() -> None:
    """Those after it cannot be passed, and keep their defaults."""

    @tool
    def order(a: int, b: int = 2, c: int = 3, /, d: int = 4) -> list[int]:
        return [a, b, c, d]

    assert order.arguments_of(call('{"a": 1, "c": 9, "d": 5}')) == ([1], {"d": 5})
    assert order.arguments_of(call('{"a": 1, "b": 5}')) == ([1, 5], {})


MISSING = "a required argument is missing"


@pytest.mark.parametrize(
    ("arguments", "errors"),
    [
        ("[1]", ["$: expected an object, got an array"]),
        ('"5"', ["$: expected an object, got a number"]),
        ("null", [f"$.city: {MISSING}", f"$.day: {MISSING}"]),
        ("", [f"$.city: {MISSING}", f"$.day: {MISSING}"]),
        (
            '{"city": {}, "day": "2026-01-02"}',
            ["$.city.name: a required field is missing"],
        ),
        (
            '{"city": {"name": 5}, "day": 5, "when": 1}',
            [
                "$.city.name: expected a string, got a number",
                "$.day: expected a date, got a number",
                "$.*: unknown argument; known are: city, day, unit, hourly",
            ],
        ),
    ],
)
def test_every_invalid_argument_is_reported(arguments: str, errors: list[str]) -> None:
    with pytest.raises(ToolArgumentsError) as caught:
        weather.arguments_of(call(arguments))

    error = caught.value
    assert error.errors == errors
    assert error.path == errors[0].partition(":")[0]
    assert error.call.function.arguments == arguments
    assert error.message == f"Invalid arguments for weather: {'; '.join(errors)}"


@dataclass
class Search:
    """Arguments as a class."""

    terms: list[str]
    limit: int = 10


def test_call_is_parsed_as_json_or_as_a_type() -> None:
    arguments = call('{"terms": ["a"]}')

    assert arguments.parse() == {"terms": ["a"]}
    assert arguments.parse(Search) == Search(["a"])


def test_call_without_arguments_has_an_empty_object() -> None:
    assert call("").parse() == {}
    assert call(" \n").parse() == {}


@pytest.mark.parametrize("arguments", ["null", " null\n", '"null"'])
def test_null_arguments_are_no_arguments(arguments: str) -> None:
    """Models write them for tools without parameters."""

    @tool
    def tick(count: int = 1) -> int:
        return count

    assert tick.arguments_of(call(arguments)) == ([], {})
    assert call(arguments).parse() == {}


BIG = 340282366920938463463374607431768211457


@pytest.mark.parametrize(
    "arguments",
    [
        f'{{"account": {BIG}, "amount": 71828182845904523.53, "note": "a\nb"}}',
        f'"{{\\"account\\": {BIG}, \\"amount\\": 71828182845904523.53, \\"note\\": \\"a\\\\nb\\"}}"',
    ],
    ids=["object", "encoded twice"],
)  # fmt: skip
def test_every_digit_reaches_the_function(arguments: str) -> None:
    """Line breaks in strings too, which models do not always escape."""

    @tool
    def transfer(account: int, amount: Decimal, note: str, rate: float = 0) -> None: ...

    amount = Decimal("71828182845904523.53")
    expected = {"account": BIG, "amount": amount, "note": "a\nb"}
    plain = call(arguments).parse()

    assert transfer.arguments_of(call(arguments)) == ([], expected)
    assert plain == {"account": BIG, "amount": float(amount), "note": "a\nb"}
    assert type(plain["amount"]) is float


def test_error_quotes_neither_the_name_nor_the_arguments_of_a_call() -> None:
    given = ToolCall(function=ToolCallFunction("Jane", '{"Doe": "Roe", "terms": 1}'))

    for parse in (lambda: given.parse(Search), lambda: weather.arguments_of(given)):
        with pytest.raises(ToolArgumentsError) as caught:
            parse()

        assert not re.search("Jane|Doe|Roe", f"{caught.value} {caught.value.errors}")


def test_arguments_that_were_encoded_twice_are_decoded_twice() -> None:
    assert call('"{\\"terms\\": []}"').parse(Search) == Search([])


@pytest.mark.parametrize(
    ("arguments", "kind", "path"),
    [
        ('{"terms": ["a"', dict[str, Any], "$"),
        ('"no JSON"', dict[str, Any], "$"),
        ('{"terms": ["a", 5]}', Search, "$.terms[1]"),
        ('{"limit": 5}', Search, "$.terms"),
        ("5", Search, "$"),
    ],
)
def test_call_that_cannot_be_parsed_raises_with_path_and_call(
    arguments: str, kind: Any, path: str
) -> None:
    given = call(arguments)

    with pytest.raises(ToolArgumentsError) as caught:
        given.parse(kind)

    assert caught.value.path == path
    assert caught.value.call is given
    assert arguments not in str(caught.value)
    assert arguments not in str(caught.value.cause)
