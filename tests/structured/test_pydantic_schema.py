"""pydantic models as output types and parameters; skipped without pydantic."""

# The types are created at run time.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownLambdaType=false
# ruff: noqa: D101 - a docstring would become part of the schema

import importlib
from dataclasses import dataclass
from datetime import date
from enum import Enum
from typing import Any, Generic, Literal, TypeVar

import attrs
import jsonschema  # type: ignore[import-untyped]
import pytest
from attrs import define

from openrouter_async import (
    AsyncOpenRouter,
    OutputValidationError,
    UserMessage,
    tool,
)
from openrouter_async.structured.converter import converter
from openrouter_async.structured.pydantic_schema import to_strict
from openrouter_async.structured.schema import schema_of
from openrouter_async.testing import LocalOpenRouter

pydantic = pytest.importorskip("pydantic", reason="pydantic is not installed")
from pydantic import BaseModel, Field  # noqa: E402 - after the check that it is installed

Draft202012Validator: Any = jsonschema.Draft202012Validator


T = TypeVar("T")


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Line(BaseModel):
    price: float
    amount: int = Field(default=1, description="The number of units.")
    colour: Colour = Colour.RED


class Node(BaseModel):
    name: str
    children: list["Node"] = []


class Invoice(BaseModel):
    lines: list[Line]
    best: Line = Field(description="The best line.")
    day: date | None
    kind: Literal["a", "b"]
    one: Literal["x"]
    either: Line | Node | int


class Box(BaseModel, Generic[T]):
    value: T


@define
class OurLine:
    price: float
    amount: int
    colour: Colour


@dataclass
class OurNode:
    name: str
    children: list["OurNode"]


@define
class OurInvoice:
    lines: list[OurLine]
    best: OurLine
    day: date | None
    kind: Literal["a", "b"]
    one: Literal["x"]
    either: OurLine | OurNode | int


def constraints(schema: Any, root: dict[str, Any], path: tuple[str, ...] = ()) -> Any:
    """Return a schema without annotations, and with its references replaced."""
    if isinstance(schema, list):
        return [constraints(each, root, path) for each in schema]
    if not isinstance(schema, dict):
        return schema
    reference = schema.get("$ref")
    if isinstance(reference, str):
        if reference in path:
            return {"recursion": len(path) - path.index(reference)}
        target = root["$defs"][reference.removeprefix("#/$defs/")]
        return constraints(target, root, (*path, reference))
    annotations = {"title", "description", "default", "$defs"}
    return {
        key: {name: constraints(each, root, path) for name, each in value.items()}
        if key == "properties"
        else constraints(value, root, path)
        for key, value in schema.items()
        if key not in annotations
    }


@pytest.mark.parametrize(
    ("model", "ours"), [(Invoice, OurInvoice), (Line, OurLine), (Node, OurNode)]
)
def test_schema_has_the_constraints_of_openai_python(model: Any, ours: Any) -> None:
    pytest.importorskip(
        "openai", reason="openai is not installed: pip install '.[interop]'"
    )
    theirs = importlib.import_module("openai.lib._pydantic").to_strict_json_schema(
        model
    )

    for kind in (model, ours):
        document = schema_of(kind).document
        assert constraints(document, document) == constraints(theirs, theirs)


@pytest.mark.parametrize(
    "kind", [Invoice, Node, Line, Box[Line], list[Node], Line | None, Box[Box[int]]]
)
def test_model_has_a_valid_strict_schema(kind: Any) -> None:
    schema = schema_of(kind)

    Draft202012Validator.check_schema(schema.document)
    assert schema.strict


# An attrs class with the name of the model `Line`.
OtherLine: Any = attrs.make_class("Line", {"text": attrs.field(type=str)})


def test_model_and_class_with_one_name_get_different_definitions() -> None:
    document = schema_of(tuple[OtherLine, Invoice]).document

    assert {"Line", "Line_2"} <= document["$defs"].keys()


def test_number_in_a_definition_name_is_not_used_twice() -> None:
    second: Any = pydantic.create_model("Line_2", text=(str, ...))
    both: Any = pydantic.create_model("Both", first=(Line, ...), second=(second, ...))

    document = schema_of(tuple[OtherLine, both]).document

    assert document["$defs"].keys() == {"Both", "Colour", "Line", "Line_2", "Line_2_2"}


def test_schema_of_a_model_with_open_fields_is_not_strict() -> None:

    class Free(BaseModel):
        anything: Any
        some: dict[str, int]

    assert not schema_of(Free).strict


def test_union_of_models_is_structured_by_field_names() -> None:
    kind = Line | Node | Box[int]

    assert converter.structure({"name": "a", "children": []}, kind) == Node(name="a")
    assert converter.structure({"value": 1}, kind) == Box[int](value=1)


class Cat(BaseModel):
    kind: Literal["cat"]


class Dog(BaseModel):
    kind: Literal["dog"]


class Owner(BaseModel):
    pet: Cat | Dog = Field(discriminator="kind")


def test_discriminator_is_removed() -> None:
    schema = schema_of(Owner)

    assert Owner.model_json_schema()["properties"]["pet"]["discriminator"]
    assert "discriminator" not in schema.document["properties"]["pet"]
    assert schema.strict


def test_all_of_with_one_schema_is_merged() -> None:
    """Pydantic 2.8 and older write it; keywords beside it win."""
    inner = {"type": "string", "description": "Any word."}
    both = {"allOf": [{"type": "string"}, {"minLength": 1}]}

    assert to_strict({"allOf": [inner], "description": "A word."}, {}, strict=True) == (
        {"type": "string", "description": "A word."},
        False,
    )
    assert to_strict(both, {}, strict=True) == (both, False)


async def test_model_as_output_type_reports_errors_with_paths(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    response = await client.chat.send(messages=[UserMessage("hi")], output=Invoice)
    assert isinstance(response.output, Invoice)

    server.reply('[{"price": 1}, {"price": "much"}]')
    with pytest.raises(OutputValidationError) as caught:
        await client.chat.send(messages=[UserMessage("hi")], output=list[Line])
    assert caught.value.path == "$[1].price"


def test_model_as_tool_parameter_and_result() -> None:
    @tool
    def keep(line: Line) -> Line:
        return line

    sent: Any = keep.function
    assert sent["parameters"]["$defs"]["Line"]["required"] == ["price"]
    assert (
        converter.to_text([Line(price=1)])
        == '[{"price":1.0,"amount":1,"colour":"red"}]'
    )
