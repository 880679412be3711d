"""JSON Schemas of types: valid, closed, and with the right descriptions."""

# The types are created at run time.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownLambdaType=false
# ruff: noqa: D101 - a docstring would become part of the schema

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
        price: The price,
            in euros.
        colour (Colour): The colour.
    """

    price: float
    amount: Annotated[int, "The number of units."] = 1
    colour: Colour = Colour.RED


@define
class Invoice:
    """
    An invoice.

    The description is only the first paragraph.
    """

    lines: list[Line]
    best: Annotated[Line, "The best line."]
    day: date | None
    kind: Literal["a", "b"]
    previous: "Invoice | None" = None
    note: str = attrs.field(default="", metadata={"description": "A remark."})
    hidden: int = attrs.field(init=False, default=0)


class Note(TypedDict):
    text: str
    author: NotRequired[str]


class Point(NamedTuple):
    x: int
    y: int = 0


@define
class Box(Generic[T]):
    value: T
    others: list[T]


@dataclass
class Knot:
    again: Annotated["Knot", "The same class."] | None = None
    items: list[int] = field(default_factory=list[int])
    computed: int = field(init=False, default=0)


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
    *(int | str, int | int, Annotated[list[Line], "All lines."], Box[T], T),  # type: ignore[valid-type]
    *(Annotated[str, typing_extensions.Doc("A word.")], typing_extensions.Any),
    *(Word, dict[Word, Word], Crate[Line]),  # type: ignore[valid-type]
]  # fmt: skip


@pytest.mark.parametrize("kind", TYPES, ids=str)
def test_schema_is_a_valid_object_schema(kind: Any) -> None:
    schema = schema_of(kind)

    Draft202012Validator.check_schema(schema.document)
    assert schema.document["type"] == "object"
    Draft202012Validator(schema.document).validate(example_value(schema.document))
    assert schema.name.isascii()
    assert 1 <= len(schema.name) <= 64


def objects(node: Any) -> list[dict[str, Any]]:
    """Return every schema of an object with properties."""
    if isinstance(node, list):
        return [found for each in node for found in objects(each)]
    if not isinstance(node, dict):
        return []
    found = [found for each in node.values() for found in objects(each)]
    return [*found, node] if isinstance(node.get("properties"), dict) else found


@pytest.mark.parametrize("kind", TYPES, ids=str)
def test_schema_has_the_strict_form(kind: Any) -> None:
    """Objects are closed, every property is required, a `$ref` stands alone."""
    document = schema_of(kind).document

    for each in objects(document):
        assert each["additionalProperties"] is False
        assert each["required"] == list(each["properties"])
        for schema in each["properties"].values():
            assert "$ref" not in schema or len(schema) == 1
            assert "default" not in schema


def test_descriptions_come_from_docstrings_annotations_and_metadata() -> None:
    document = schema_of(Invoice).document
    best = document["properties"]["best"]
    line = document["$defs"]["Line"]["properties"]

    assert document["description"] == "An invoice."
    assert document["properties"]["note"]["description"] == "A remark."
    assert (best["description"], best["required"]) == (
        "The best line.",
        ["price", "amount", "colour"],
    )
    assert line["price"]["description"] == "The price, in euros."
    assert line["amount"]["description"] == "The number of units."
    assert line["colour"]["description"] == "The colour."
    assert "hidden" not in document["properties"]
    assert schema_of(Annotated[str, typing_extensions.Doc("A word.")]).document[
        "properties"
    ]["value"] == {"type": "string", "description": "A word."}


def value_of(kind: Any) -> Any:
    """Return the schema inside the wrapper object."""
    return schema_of(kind).document["properties"]["value"]


def test_annotation_without_a_text_is_ignored() -> None:
    kind = Annotated[int, "A count.", attrs.validators.gt(0)]

    assert value_of(kind) == {"type": "integer", "description": "A count."}


def test_union_of_types_with_equal_schemas_is_merged() -> None:
    assert value_of(Name | str) == {"type": "string"}
    assert value_of(Name | int | str) == {"anyOf": [{"type": "string"}, {"type": "integer"}]}  # fmt: skip


def test_tuple_schema_has_the_length_of_the_type() -> None:
    assert value_of(tuple) == {"type": "array", "items": {}}
    assert value_of(tuple[()])["maxItems"] == 0
    assert value_of(tuple[int, str])["maxItems"] == 2


def test_type_variables_are_replaced_by_the_arguments() -> None:
    properties = schema_of(Crate[str]).document["properties"]

    assert properties == {
        "value": {"type": "string"},
        "others": {"type": "array", "items": {"type": "string"}},
        "amount": {"type": "integer"},
    }


def test_recursive_class_ends_in_a_reference() -> None:
    document = schema_of(Knot).document

    assert document["$defs"].keys() == {"Knot"}
    again = document["properties"]["again"]["anyOf"]
    assert again[0]["description"] == "The same class."
    assert again[0]["properties"]["again"]["anyOf"][0] == {"$ref": "#/$defs/Knot"}


def test_classes_with_one_name_get_different_definitions() -> None:

    def other() -> Any:
        @define
        class Line:
            text: str

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
def test_strict_is_false_for_open_schemas(kind: Any, *, strict: bool) -> None:
    assert schema_of(kind).strict is strict
    assert json_schema_format(kind)["json_schema"].get("strict") is strict
    assert json_schema_format(kind, strict=False, name="x")["json_schema"] == {
        **json_schema_format(kind)["json_schema"],
        "name": "x",
        "strict": False,
    }


class Opaque:
    """A class without known fields."""


@pytest.mark.parametrize(
    "kind",
    [
        bytes,
        Opaque,
        Callable[[], int],
        dict[int, str],
        list[Opaque],
        Literal[b"x"],
        "later",
    ],
    ids=str,
)
def test_type_without_a_schema_is_rejected(kind: Any) -> None:
    with pytest.raises(TypeError, match="Unsupported"):
        schema_of(kind)


def test_annotation_with_an_unknown_name_is_rejected() -> None:
    @define
    class Lost:
        there: "Nowhere"  # type: ignore[name-defined]  # noqa: F821 - meant  # pyright: ignore[reportUndefinedVariable]

    with pytest.raises(
        TypeError, match=r"^Cannot resolve the annotations of Lost: .*Nowhere"
    ):
        schema_of(Lost)


def test_recursive_alias_is_rejected() -> None:
    # Stands for `type endless = list[endless]`, which Python 3.11 cannot parse.
    class TypeAliasType:
        __value__: Any

    endless = TypeAliasType()
    endless.__value__ = list[endless]  # type: ignore[valid-type]

    with pytest.raises(TypeError, match="recursive"):
        schema_of(endless)


def test_schema_of_an_alias_has_its_name() -> None:
    assert schema_of(Word).name == "Word"


def test_only_a_strict_schema_requires_parameters_with_defaults() -> None:
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


def test_strict_schema_of_an_untyped_parameter_is_rejected() -> None:
    with pytest.raises(TypeError, match="strict"):
        parameters_schema([Field("a", Any)], strict=True)


class Mixed(Enum):
    TEXT = "a"
    NUMBER = 1.5


def test_enum_of_strings_and_fractions_has_no_type() -> None:
    assert value_of(Mixed) == {"enum": ["a", 1.5]}
