"""Functions as tools: their schema, their arguments, and the tool itself."""

# Types are made here as the tests go on.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownLambdaType=false
# ruff: noqa: D101 -- a docstring would become part of the schema

import copy
import functools
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any, Literal

import jsonschema  # type: ignore[import-untyped]
import pytest
from attrs import define

from openrouter_async import FunctionTool, Tool, ToolArgumentsError, ToolCall, tool
from openrouter_async.protocol.decode import decode
from openrouter_async.protocol.encode import encode
from openrouter_async.types import ToolCallFunction

Draft202012Validator: Any = jsonschema.Draft202012Validator


@define
class Place:
    city: str
    country: str = "France"


@tool
async def weather(  # noqa: D417 -- two are described where they are declared
    place: Place,
    day: Annotated[date, "Which day."],
    unit: Literal["c", "f"] = "c",
    *,
    hourly: bool = False,
) -> str:
    """
    Tell the weather of a place.

    Further words are not for the model.

    Args:
        unit: Celsius or Fahrenheit.
    """
    return f"{place.city} {day} {unit} {hourly}"


def call(arguments: str, name: str = "weather") -> ToolCall:
    return ToolCall(id="call_1", function=ToolCallFunction(name, arguments))


def test_a_function_becomes_a_tool() -> None:
    """Name, words and schema come from the function."""
    sent = decode(encode(weather))

    assert sent == {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "Tell the weather of a place.",
            "parameters": {
                "type": "object",
                "properties": {
                    "place": {"$ref": "#/$defs/Place"},
                    "day": {
                        "type": "string",
                        "format": "date",
                        "description": "Which day.",
                    },
                    "unit": {
                        "type": "string",
                        "enum": ["c", "f"],
                        "description": "Celsius or Fahrenheit.",
                        "default": "c",
                    },
                    "hourly": {"type": "boolean", "default": False},
                },
                "required": ["place", "day"],
                "additionalProperties": False,
                "$defs": {
                    "Place": {
                        "type": "object",
                        "properties": {
                            "city": {"type": "string"},
                            "country": {"type": "string", "default": "France"},
                        },
                        "required": ["city"],
                        "additionalProperties": False,
                    }
                },
            },
        },
    }
    Draft202012Validator.check_schema(sent["function"]["parameters"])


async def test_a_tool_is_still_its_function() -> None:
    """It can be called, named and compared."""
    said = await weather(Place("Nice"), date(2026, 1, 2), hourly=True)

    assert said == "Nice 2026-01-02 c True"
    assert weather.__name__ == weather.name == "weather"
    assert isinstance(weather, Tool)
    assert isinstance(weather, FunctionTool)
    assert weather == copy.copy(weather)


def test_all_of_it_can_be_said_otherwise() -> None:
    """A name, words, strictness and a mark for the cache."""

    @tool(
        name="look-up",
        description="Find it.",
        strict=True,
        cache_control={"type": "ephemeral"},
    )
    def find(key: str, deep: bool = False) -> str:  # noqa: FBT002
        """Look a key up."""
        return key * (2 if deep else 1)

    sent = decode(encode(find))
    assert find("a", deep=True) == "aa"
    assert sent["cache_control"] == {"type": "ephemeral"}
    assert sent["function"]["name"] == "look-up"
    assert sent["function"]["description"] == "Find it."
    assert sent["function"]["strict"] is True
    assert sent["function"]["parameters"]["required"] == ["key", "deep"]


def test_methods_partials_and_others() -> None:
    """Whatever can be called can be a tool, if it has a name."""

    class Store:
        def get(self, key: str, /) -> str:
            return key

    method = FunctionTool.from_function(Store().get)
    part = functools.partial(Store().get)

    assert method.name == "get"
    assert method.arguments_of(call('{"key": "a"}')) == (["a"], {})
    assert "description" not in method.function
    assert FunctionTool.from_function(part, name="get_part")("b") == "b"
    with pytest.raises(TypeError, match="name="):
        FunctionTool.from_function(part)


def test_what_has_no_annotation_is_anything() -> None:
    """It is passed on as it came."""
    anything = FunctionTool.from_function(lambda value: value, name="anything")

    assert anything.arguments_of(call('{"value": [1]}')) == ([], {"value": [1]})


@pytest.mark.parametrize("name", ["", "a b", "é", "x" * 65])
def test_names_that_providers_refuse(name: str) -> None:
    """They are told when the tool is made."""
    with pytest.raises(TypeError, match="name"):
        FunctionTool.from_function(lambda: 0, name=name)


def test_functions_that_cannot_be_tools() -> None:
    """What they take must have names, and be something that JSON has."""

    def many(*args: str) -> None: ...

    def free(**kwargs: str) -> None: ...

    def binary(data: bytes) -> None: ...

    functions: list[Any] = [many, free, binary]
    for function in functions:
        with pytest.raises(TypeError):
            tool(function)
    with pytest.raises(TypeError, match="strict"):
        tool(name="f", strict=True)(lambda anything: anything)


# --- Arguments. ---


def test_arguments_are_typed() -> None:
    """Each is what the annotation says; defaults are the function's own."""
    given = '{"place": {"city": "Nice"}, "day": "2026-01-02", "hourly": true}'

    assert weather.arguments_of(call(given)) == (
        [],
        {"place": Place("Nice"), "day": date(2026, 1, 2), "hourly": True},
    )


def test_positional_parameters_keep_their_places() -> None:
    """One that is left out leaves those behind it to their defaults."""

    def order(a: int, b: int = 2, c: int = 3, /, d: int = 4) -> list[int]:
        return [a, b, c, d]

    made = tool(order)

    assert made.arguments_of(call('{"a": 1, "c": 9, "d": 5}')) == ([1], {"d": 5})
    assert made.arguments_of(call('{"a": 1, "b": 5}')) == ([1, 5], {})


@pytest.mark.parametrize(
    ("arguments", "path", "faults"),
    [
        ("{", "$", 1),
        ("[1]", "$", 1),
        ('"words"', "$", 1),
        ("null", "$", 1),
        ("", "$.place", 2),
        ('{"place": {}, "day": "2026-01-02"}', "$.place.city", 1),
        ('{"place": {"city": 5}, "day": 5, "when": 1}', "$.place.city", 3),
    ],
)
def test_arguments_that_do_not_fit(arguments: str, path: str, faults: int) -> None:
    """The error has the place, every fault, and what came."""
    with pytest.raises(ToolArgumentsError) as caught:
        weather.arguments_of(call(arguments))

    assert caught.value.path == path
    assert len(caught.value.errors) == faults
    assert caught.value.call.function.arguments == arguments
    assert "weather" in str(caught.value)


@dataclass
class Search:
    words: list[str]
    most: int = 10


def test_a_call_is_parsed() -> None:
    """As JSON, or as a type; none at all are an empty object."""
    given = call('{"words": ["a"]}')

    assert given.parse() == {"words": ["a"]}
    assert given.parse(Search) == Search(["a"])
    assert call("").parse() == {}
    assert call(" \n").parse() == {}
    assert call('"{\\"words\\": []}"').parse(Search) == Search([])


@pytest.mark.parametrize(
    ("arguments", "kind", "path"),
    [
        ('{"words": ["a"', dict[str, Any], "$"),
        ('{"words": ["a", 5]}', Search, "$.words[1]"),
        ('{"most": 5}', Search, "$.words"),
        ("5", Search, "$"),
    ],
)
def test_a_call_that_cannot_be_parsed(arguments: str, kind: Any, path: str) -> None:
    """It is told where, and what came."""
    given = call(arguments)

    with pytest.raises(ToolArgumentsError) as caught:
        given.parse(kind)

    assert caught.value.path == path
    assert caught.value.call is given
    assert caught.value.__context__ is None or arguments not in str(caught.value.cause)
