"""pydantic models, where pydantic is installed; and strictness as openai has it."""

# Types are made here as the tests go on.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownLambdaType=false
# ruff: noqa: D101 -- a docstring would become part of the schema

import importlib
from dataclasses import dataclass
from datetime import date
from enum import Enum
from typing import Any, Generic, Literal, TypeVar

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
from openrouter_async.structured.pydantic_schema import strictly
from openrouter_async.structured.schema import schema_of
from openrouter_async.testing import LocalOpenRouter

pydantic = pytest.importorskip("pydantic", reason="pydantic is not installed")
from pydantic import BaseModel, Field  # noqa: E402

Draft202012Validator: Any = jsonschema.Draft202012Validator


T = TypeVar("T")


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Line(BaseModel):
    price: float
    amount: int = Field(default=1, description="How many.")
    colour: Colour = Colour.RED


class Node(BaseModel):
    name: str
    below: list["Node"] = []


class Invoice(BaseModel):
    lines: list[Line]
    best: Line = Field(description="The best.")
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
    below: list["OurNode"]


@define
class OurInvoice:
    lines: list[OurLine]
    best: OurLine
    day: date | None
    kind: Literal["a", "b"]
    one: Literal["x"]
    either: OurLine | OurNode | int


def bare(node: Any, root: dict[str, Any], trail: tuple[str, ...] = ()) -> Any:
    """Only what a value is held to: no words, no defaults, and references followed."""
    if isinstance(node, list):
        return [bare(each, root, trail) for each in node]
    if not isinstance(node, dict):
        return node
    reference = node.get("$ref")
    if isinstance(reference, str):
        if reference in trail:
            return {"again": len(trail) - trail.index(reference)}
        target = root["$defs"][reference.removeprefix("#/$defs/")]
        return bare(target, root, (*trail, reference))
    words = {"title", "description", "default", "$defs"}
    return {
        key: {name: bare(each, root, trail) for name, each in value.items()}
        if key == "properties"
        else bare(value, root, trail)
        for key, value in node.items()
        if key not in words
    }


@pytest.mark.parametrize(
    ("model", "ours"), [(Invoice, OurInvoice), (Line, OurLine), (Node, OurNode)]
)
def test_as_strict_as_openai(model: Any, ours: Any) -> None:
    """For the same types, openai-python holds a model to the same."""
    pytest.importorskip(
        "openai", reason="openai is not installed: pip install '.[interop]'"
    )
    theirs = importlib.import_module("openai.lib._pydantic").to_strict_json_schema(
        model
    )

    for kind in (model, ours):
        document = schema_of(kind).document
        assert bare(document, document) == bare(theirs, theirs)


@pytest.mark.parametrize(
    "kind", [Invoice, Node, Line, Box[Line], list[Node], Line | None, Box[Box[int]]]
)
def test_a_model_has_a_schema(kind: Any) -> None:
    """At the top and inside others, made of itself or not."""
    made = schema_of(kind)

    Draft202012Validator.check_schema(made.document)
    assert made.strict


def test_names_do_not_clash() -> None:
    """A model and a class of ours may have one name."""

    def other() -> Any:
        @define
        class Line:
            words: str

        return Line

    document = schema_of(tuple[other(), Invoice]).document  # type: ignore[misc]

    assert {"Line", "Line_2"} <= document["$defs"].keys()


def test_open_models_are_not_strict() -> None:
    """What pydantic leaves open cannot be held to."""

    class Free(BaseModel):
        anything: Any
        some: dict[str, int]

    assert not schema_of(Free).strict


def test_a_model_is_told_by_its_members() -> None:
    """Among several, the one whose members are most like what came."""
    kind = Line | Node | Box[int]

    assert converter.structure({"name": "a", "below": []}, kind) == Node(name="a")
    assert converter.structure({"value": 1}, kind) == Box[int](value=1)


class Cat(BaseModel):
    kind: Literal["cat"]


class Dog(BaseModel):
    kind: Literal["dog"]


class Owner(BaseModel):
    pet: Cat | Dog = Field(discriminator="kind")


def test_a_discriminator_is_left_out() -> None:
    """It says again what the branches say, in words that strict forms do not know."""
    made = schema_of(Owner)

    assert Owner.model_json_schema()["properties"]["pet"]["discriminator"]
    assert "discriminator" not in made.document["properties"]["pet"]
    assert made.strict


def test_what_is_all_of_one_is_that_one() -> None:
    """As pydantic wrote it up to 2.8; what stands beside goes before."""
    inner = {"type": "string", "description": "Any word."}
    both = {"allOf": [{"type": "string"}, {"minLength": 1}]}

    assert strictly({"allOf": [inner], "description": "A word."}, {}, strict=True) == (
        {"type": "string", "description": "A word."},
        False,
    )
    assert strictly(both, {}, strict=True) == (both, False)


async def test_a_model_is_the_output(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """Pydantic reads it, and tells where it does not fit."""
    reply = await client.chat.send(messages=[UserMessage("hi")], output=Invoice)
    assert isinstance(reply.output, Invoice)

    server.reply('[{"price": 1}, {"price": "much"}]')
    with pytest.raises(OutputValidationError) as caught:
        await client.chat.send(messages=[UserMessage("hi")], output=list[Line])
    assert caught.value.path == "$[1].price"


def test_a_model_is_an_argument_and_a_result() -> None:
    """Tools take models, and return them."""

    @tool
    def keep(line: Line) -> Line:
        return line

    sent: Any = keep.function
    assert sent["parameters"]["$defs"]["Line"]["required"] == ["price"]
    assert (
        converter.text([Line(price=1)]) == '[{"price":1.0,"amount":1,"colour":"red"}]'
    )
