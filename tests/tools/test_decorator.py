"""Functions as tools: the definition for the model, and the tool as a function."""

# Some functions have no annotations.
# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportUnknownVariableType=false

import copy
import functools
from datetime import date
from typing import Annotated, Any, Literal

import jsonschema  # type: ignore[import-untyped]
import pytest
from attrs import define

from openrouter_async import FunctionTool, Tool, ToolCall, tool
from openrouter_async.protocol.decode import decode
from openrouter_async.protocol.encode import encode
from openrouter_async.types import ToolCallFunction

Draft202012Validator: Any = jsonschema.Draft202012Validator


@define
class City:  # noqa: D101 - a docstring would become part of the schema
    name: str
    country: str = "France"


@tool
async def weather(  # noqa: D417 - `day` is described by its annotation
    city: City,
    day: Annotated[date, "The day."],
    unit: Literal["c", "f"] = "c",
    *,
    hourly: bool = False,
) -> str:
    """
    Tell the weather in a city.

    This paragraph is not sent to the model.

    Args:
        unit: Celsius or Fahrenheit.
    """
    return f"{city.name} {day} {unit} {hourly}"


def test_definition_comes_from_the_function() -> None:
    sent = decode(encode(weather))

    assert sent == {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "Tell the weather in a city.",
            "parameters": {
                "type": "object",
                "properties": {
                    "city": {"$ref": "#/$defs/City"},
                    "day": {
                        "type": "string",
                        "format": "date",
                        "description": "The day.",
                    },
                    "unit": {
                        "type": "string",
                        "enum": ["c", "f"],
                        "description": "Celsius or Fahrenheit.",
                        "default": "c",
                    },
                    "hourly": {"type": "boolean", "default": False},
                },
                "required": ["city", "day"],
                "additionalProperties": False,
                "$defs": {
                    "City": {
                        "type": "object",
                        "properties": {
                            "name": {"type": "string"},
                            "country": {"type": "string", "default": "France"},
                        },
                        "required": ["name"],
                        "additionalProperties": False,
                    }
                },
            },
        },
    }
    Draft202012Validator.check_schema(sent["function"]["parameters"])


async def test_tool_can_be_called_like_its_function() -> None:
    result = await weather(City("Nice"), date(2026, 1, 2), hourly=True)

    assert result == "Nice 2026-01-02 c True"
    assert weather.__name__ == weather.name == "weather"
    assert isinstance(weather, Tool)
    assert isinstance(weather, FunctionTool)
    assert weather == copy.copy(weather)


def test_options_override_the_function() -> None:
    @tool(
        name="look-up",
        description="Find it.",
        strict=True,
        cache_control={"type": "ephemeral"},
    )
    def find(key: str, *, deep: bool = False) -> str:
        """Look a key up."""
        return key * (2 if deep else 1)

    sent = decode(encode(find))
    assert find("a", deep=True) == "aa"
    assert sent["cache_control"] == {"type": "ephemeral"}
    assert sent["function"]["name"] == "look-up"
    assert sent["function"]["description"] == "Find it."
    assert sent["function"]["strict"] is True
    assert sent["function"]["parameters"]["required"] == ["key", "deep"]


class Store:
    """A class with a method."""

    def get(self, key: str, /) -> str:
        return key


def test_method_becomes_a_tool() -> None:
    method = FunctionTool.from_function(Store().get)
    call = ToolCall(function=ToolCallFunction("get", '{"key": "a"}'))

    assert method.name == "get"
    assert method.arguments_of(call) == (["a"], {})
    assert "description" not in method.function


def test_callable_without_a_name_becomes_a_tool_if_one_is_passed() -> None:
    callable_ = functools.partial(Store().get)

    assert FunctionTool.from_function(callable_, name="get_part")("b") == "b"
    with pytest.raises(TypeError, match="pass name="):
        FunctionTool.from_function(callable_)


@pytest.mark.parametrize("name", ["", "a b", "é", "x" * 65])
def test_invalid_name_is_rejected(name: str) -> None:
    with pytest.raises(TypeError, match="Invalid tool name"):
        FunctionTool.from_function(lambda: 0, name=name)


def many(*args: str) -> None: ...


def free(**kwargs: str) -> None: ...


def binary(data: bytes) -> None: ...


@pytest.mark.parametrize(
    ("function", "match"),
    [
        (many, r"Unsupported parameter \*args"),
        (free, r"Unsupported parameter \*\*kwargs"),
        (binary, "Unsupported type bytes"),
    ],
)
def test_unsupported_parameter_is_rejected(function: Any, match: str) -> None:
    with pytest.raises(TypeError, match=match):
        tool(function)


def test_strict_tool_with_an_untyped_parameter_is_rejected() -> None:
    with pytest.raises(TypeError, match="strict"):
        tool(name="f", strict=True)(lambda anything: anything)
