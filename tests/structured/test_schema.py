"""Types as JSON Schemas: valid, closed, and as strict as others make them."""

# Types are made here as the tests go on.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownLambdaType=false
# ruff: noqa: D101 -- a docstring would become part of the schema

import collections
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from typing import (
    Annotated,
    Any,
    Generic,
    Literal,
    NamedTuple,
    NewType,
    NotRequired,
    TypedDict,
    TypeVar,
)
from uuid import UUID

import attrs
import jsonschema  # type: ignore[import-untyped]
import pytest
import typing_extensions
from attrs import define

from openrouter_async import json_schema_format
from openrouter_async.structured.docstrings import describe
from openrouter_async.structured.fields import Field
from openrouter_async.structured.schema import parameters_schema, schema_of
from openrouter_async.testing.schema_examples import example_value

Draft202012Validator: Any = jsonschema.Draft202012Validator


T = TypeVar("T")


class Colour(Enum):
    """A colour."""

    RED = "red"
    BLUE = "blue"


class Level(IntEnum):
    LOW = 1
    HIGH = 2


@dataclass
class Line:
    """
    One line.

    Attributes:
        price: What it costs,
            in euros.
        colour (Colour): Its colour.
    """

    price: float
    amount: Annotated[int, "How many."] = 1
    colour: Colour = Colour.RED


@define
class Invoice:
    """
    An invoice.

    Said in two paragraphs.
    """

    lines: list[Line]
    best: Annotated[Line, "The best of them."]
    day: date | None
    kind: Literal["a", "b"]
    follows: "Invoice | None" = None
    note: str = attrs.field(default="", metadata={"description": "Any remark."})
    hidden: int = attrs.field(init=False, default=0)


class Note(TypedDict):
    text: str
    by: NotRequired[str]


class Point(NamedTuple):
    x: int
    y: int = 0


@define
class Box(Generic[T]):
    value: T
    others: list[T]


@dataclass
class Knot:
    again: Annotated["Knot", "Itself."] | None = None
    made: list[int] = field(default_factory=list[int])
    late: int = field(init=False, default=0)


@define
class Crate(Generic[T]):
    value: T
    others: list[T]
    amount: int


Name = NewType("Name", str)
make_alias: Any = typing_extensions.TypeAliasType
Word = make_alias("Word", str)

TYPES: list[Any] = [
    *(Invoice, Line, Note, Point, Box[int], Box[Line], Knot, Colour, Level, Name),
    *(bool, int, float, str, None, Decimal, UUID, datetime, date, time, timedelta),
    *(list[Line], tuple[int, ...], tuple[int, str], tuple[()], set[int], Sequence[str]),
    *(frozenset[str], collections.deque[int], list, tuple, dict, object, Any),
    *(dict[str, int], Mapping[str, Line], dict[Name, int], Line | Note | None),
    *(Literal["a"], Literal["a", "b"], Literal[1, True, "a"], Literal[Colour.RED]),
    *(int | str, int | int, Annotated[list[Line], "Many."], Box[T], T),  # type: ignore[valid-type]
    *(Annotated[str, typing_extensions.Doc("A word.")], typing_extensions.Any),
    *(Word, dict[Word, Word], Crate[Line]),  # type: ignore[valid-type]
]  # fmt: skip


@pytest.mark.parametrize("kind", TYPES, ids=str)
def test_a_schema_is_one(kind: Any) -> None:
    """Each is valid by the meta-schema, an object, and of the type that is asked for."""
    made = schema_of(kind)

    Draft202012Validator.check_schema(made.document)
    assert made.document["type"] == "object"
    Draft202012Validator(made.document).validate(example_value(made.document))
    assert made.name.isascii()
    assert 1 <= len(made.name) <= 64


def objects(node: Any) -> list[dict[str, Any]]:
    """Every schema of an object with properties."""
    if isinstance(node, list):
        return [found for each in node for found in objects(each)]
    if not isinstance(node, dict):
        return []
    found = [found for each in node.values() for found in objects(each)]
    return [*found, node] if isinstance(node.get("properties"), dict) else found


@pytest.mark.parametrize("kind", TYPES, ids=str)
def test_objects_are_closed(kind: Any) -> None:
    """All members are asked for and no others allowed; nothing stands beside a $ref."""
    document = schema_of(kind).document

    for each in objects(document):
        assert each["additionalProperties"] is False
        assert each["required"] == list(each["properties"])
        for member in each["properties"].values():
            assert "$ref" not in member or len(member) == 1
            assert "default" not in member


def test_descriptions_come_from_where_they_are_written() -> None:
    """Docstrings, `Annotated` and metadata; the nearest one wins."""
    document = schema_of(Invoice).document
    best = document["properties"]["best"]
    line = document["$defs"]["Line"]["properties"]

    assert document["description"] == "An invoice."
    assert document["properties"]["note"]["description"] == "Any remark."
    assert (best["description"], best["required"]) == (
        "The best of them.",
        ["price", "amount", "colour"],
    )
    assert line["price"]["description"] == "What it costs, in euros."
    assert line["amount"]["description"] == "How many."
    assert line["colour"]["description"] == "Its colour."
    assert "hidden" not in document["properties"]
    assert schema_of(Annotated[str, typing_extensions.Doc("A word.")]).document[
        "properties"
    ]["value"] == {"type": "string", "description": "A word."}


def value_of(kind: Any) -> Any:
    """The schema of what is wrapped."""
    return schema_of(kind).document["properties"]["value"]


def test_notes_that_are_no_words_are_passed_over() -> None:
    """What others keep beside a type, a validator say, describes nothing."""
    kind = Annotated[int, "How many.", attrs.validators.gt(0)]

    assert value_of(kind) == {"type": "integer", "description": "How many."}


def test_types_that_are_one_in_json_are_told_once() -> None:
    """A union of them is no union there."""
    assert value_of(Name | str) == {"type": "string"}
    assert value_of(Name | int | str) == {"anyOf": [{"type": "string"}, {"type": "integer"}]}  # fmt: skip


def test_a_tuple_has_the_length_of_its_type() -> None:
    """One of no items is not one of any items."""
    assert value_of(tuple) == {"type": "array", "items": {}}
    assert value_of(tuple[()])["maxItems"] == 0
    assert value_of(tuple[int, str])["maxItems"] == 2


def test_a_generic_class_is_filled() -> None:
    """Its variables get their types; members of other types keep theirs."""
    members = schema_of(Crate[str]).document["properties"]

    assert members == {
        "value": {"type": "string"},
        "others": {"type": "array", "items": {"type": "string"}},
        "amount": {"type": "integer"},
    }


def test_a_type_of_itself_is_referred_to() -> None:
    """Recursion ends in a reference, with a description too."""
    document = schema_of(Knot).document

    assert document["$defs"].keys() == {"Knot"}
    again = document["properties"]["again"]["anyOf"]
    assert again[0]["description"] == "Itself."
    assert again[0]["properties"]["again"]["anyOf"][0] == {"$ref": "#/$defs/Knot"}


def test_two_classes_of_one_name_stay_two() -> None:
    """The second gets a name of its own."""

    def other() -> Any:
        @define
        class Line:
            words: str

        return Line

    document = schema_of(tuple[Line, other()]).document  # type: ignore[misc]

    assert document["$defs"].keys() == {"Line", "Line_2"}


@pytest.mark.parametrize(
    ("kind", "strict"),
    [
        (Invoice, True),
        (list[Line], True),
        (dict[str, int], False),
        (list[Any], False),
        (Box[object], False),
    ],
)
def test_what_is_open_is_not_called_strict(kind: Any, strict: bool) -> None:  # noqa: FBT001
    """A model cannot be held to a mapping with free keys, nor to anything at all."""
    assert schema_of(kind).strict is strict
    assert json_schema_format(kind)["json_schema"].get("strict") is strict
    assert json_schema_format(kind, strict=False, name="x")["json_schema"] == {
        **json_schema_format(kind)["json_schema"],
        "name": "x",
        "strict": False,
    }


class Nobody:
    """A class that tells nothing."""


@pytest.mark.parametrize(
    "kind",
    [
        bytes,
        Nobody,
        Callable[[], int],
        dict[int, str],
        list[Nobody],
        Literal[b"x"],
        "later",
    ],
    ids=str,
)
def test_what_json_has_nothing_for_is_refused(kind: Any) -> None:
    """It is told before anything is sent."""
    with pytest.raises(TypeError):
        schema_of(kind)


def test_an_annotation_that_leads_nowhere_is_told() -> None:
    """A name that is known nowhere is a TypeError that says so."""

    @define
    class Lost:
        there: "Nowhere"  # type: ignore[name-defined]  # noqa: F821  # pyright: ignore[reportUndefinedVariable]

    with pytest.raises(TypeError, match="Nowhere"):
        schema_of(Lost)


def test_an_alias_of_itself_is_told() -> None:
    """Without a class in between there is no end."""
    make: Any = typing_extensions.TypeAliasType

    class TypeAliasType:
        __value__: Any

    endless = TypeAliasType()
    endless.__value__ = list[endless]  # type: ignore[valid-type]

    assert schema_of(make("Word", str)).name == "Word"
    with pytest.raises(TypeError, match="made of itself"):
        schema_of(endless)


def test_optional_arguments_may_be_left_out() -> None:
    """Unless it is to be strict; plain defaults are told."""
    parameters = [
        Field("a", int),
        Field("b", int, required=False, default=3),
        Field("c", list[int], required=False, default=[]),
    ]

    loose = parameters_schema(parameters, strict=False)
    strict = parameters_schema(parameters, strict=True)

    assert loose["required"] == ["a"]
    assert loose["properties"]["b"] == {"type": "integer", "default": 3}
    assert "default" not in loose["properties"]["c"]
    assert strict["required"] == ["a", "b", "c"]
    assert strict["properties"]["b"] == {"type": "integer"}
    with pytest.raises(TypeError, match="strict"):
        parameters_schema([Field("a", Any)], strict=True)


def documented() -> None:
    """
    Do a thing.

    :param a: The first,
        told at length.
    :param int b: The second.

    Args:
        c: The third.
            Further words: they belong to it.
        *rest: The others.

    Returns:
        d: Nothing.
    """


def test_docstrings_are_read_in_both_forms() -> None:
    """Google's sections and reST's fields; nothing else is taken for a name."""
    told = describe(documented)

    assert told.summary == "Do a thing."
    assert told.names == {
        "a": "The first, told at length.",
        "b": "The second.",
        "c": "The third. Further words: they belong to it.",
        "rest": "The others.",
    }
    assert describe(Point) == ("", {})
    assert describe(Nobody()).summary == "A class that tells nothing."
    assert describe(lambda: 0) == ("", {})
