"""Conversion of JSON to typed values and back."""

# The types are created at run time.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownLambdaType=false
# ruff: noqa: D101 - a docstring would become part of the schema

import json
from collections import deque
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, make_dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Annotated, Any, Literal, NamedTuple, NewType, NotRequired, TypedDict
from uuid import UUID

import attrs
import jsonschema  # type: ignore[import-untyped]
import pytest
import typing_extensions
from attrs import define, make_class
from hypothesis import given
from hypothesis import strategies as st

from openrouter_async import ConfigurationError
from openrouter_async.protocol.decode import decode
from openrouter_async.structured.converter import converter
from openrouter_async.structured.invalid_value import InvalidValueError
from openrouter_async.structured.schema import schema_of

Draft202012Validator: Any = jsonschema.Draft202012Validator


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Level(IntEnum):
    LOW = 1
    HIGH = 2


@define
class Line:
    price: float
    amount: int = attrs.field(default=1, validator=attrs.validators.gt(0))
    _private: str = "p"


@dataclass
class Node:
    name: str
    children: "list[Node]"


class Note(TypedDict):
    text: str
    author: NotRequired[str]


class Point(NamedTuple):
    x: int
    y: int = 0


@define
class Cat:
    kind: Literal["cat"]
    lives: int


@define
class Dog:
    kind: Literal["dog"]
    lives: int


@define
class Order:
    lines: list[Line]
    notes: dict[str, Note]


Count = NewType("Count", int)
make_alias: Any = typing_extensions.TypeAliasType
Word = make_alias("Word", str)
ID = "00000000-0000-0000-0000-000000000003"

VALID: list[tuple[Any, Any, Any]] = [
    (Count, 3, 3),
    (Annotated[int, "How many"], 3, 3),
    (Word, "a", "a"),
    (Annotated[dict[Word, Word], "Words"], {"a": "b"}, {"a": "b"}),  # type: ignore[valid-type]
    (list[int], [1, 2.0], [1, 2]),
    (Sequence[int], [1], [1]),
    (tuple[int, ...], [1, 2], (1, 2)),
    (tuple[int, str], [1, "a"], (1, "a")),
    (tuple[()], [], ()),
    (tuple, [1, "a"], (1, "a")),
    (set[int], [1, 1], {1}),
    (AbstractSet[int], [1, 1], {1}),
    (frozenset[int], [1], frozenset({1})),
    (deque[int], [1], deque([1])),
    (list, [1, "a"], [1, "a"]),
    (dict, {"a": 1}, {"a": 1}),
    (Mapping[str, Point], {"a": {"x": 1}}, {"a": Point(1)}),
    (Line, {"price": 1, "unknown": 2}, Line(1.0)),
    (Line, {"price": 1, "_private": "q"}, Line(1.0, 1, "q")),
    (Node, {"name": "a", "children": [{"name": "b", "children": []}]}, Node("a", [Node("b", [])])),
    (Note, {"text": "a"}, {"text": "a"}),
    (int | str | None, None, None),
    (int | float, 1, 1),
    (int | float, 1.5, 1.5),
    (float | str, 1, 1.0),
    (date | str, "2026-01-02", date(2026, 1, 2)),
    (date | str, "soon", "soon"),
    (str | Literal["a"], "a", "a"),  # noqa: PYI051 - the literal is tried first
    (list[int] | dict[str, int], {"a": 1}, {"a": 1}),
    (Cat | Dog, {"kind": "dog", "lives": 1}, Dog("dog", 1)),
    (Line | Note, {"text": "a"}, {"text": "a"}),
    (Line | Note | dict[str, int], {"text": 1}, {"text": 1}),
    (Line | Any, "x", "x"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "value", "expected"), VALID, ids=str)
def test_structured_value_has_exactly_the_type(
    kind: Any, value: Any, expected: Any
) -> None:
    structured = converter.structure(value, kind)

    assert structured == expected
    assert type(structured) is type(expected)


INVALID: list[tuple[Any, Any, dict[str, str]]] = [
    (list[str], "abc", {"": "expected an array, got a string"}),
    (list[int], {"a": 1}, {"": "expected an array, got an object"}),
    (tuple[int, str], [1], {"": "expected 2 items, got 1"}),
    (tuple[()], [1], {"": "expected 0 items, got 1"}),
    (dict[str, int], {"a b": "x"}, {".*": "expected an integer, got a string"}),
    (Line, [], {"": "expected an object, got an array"}),
    (Line, {}, {".price": "a required field is missing"}),
    (Line, {"price": 1, "amount": 0}, {"": "'amount' must be > ...: ..."}),
    (
        Order,
        {"lines": [{"price": 1}, {"price": "x"}, 3], "notes": {"a": {"author": 1}}},
        {
            ".lines[1].price": "expected a number, got a string",
            ".lines[2]": "expected an object, got a number",
            ".notes.*.author": "expected a string, got a number",
            ".notes.*.text": "a required field is missing",
        },
    ),
    (
        Node,
        {"name": "a", "children": [{"name": 1}]},
        {
            ".children[0].name": "expected a string, got a number",
            ".children[0].children": "a required field is missing",
        },
    ),
    (int | None, "x", {"": "expected int | None, got a string"}),
    (Literal["a"] | date, "x", {"": "expected typing.Literal['a'] | date, got a string"}),
    (Line | None, {"price": "x"}, {".price": "expected a number, got a string"}),
    (list[int] | None, [1, "x"], {"[1]": "expected an integer, got a string"}),
    # Of classes that are equally likely, the errors of the first one are reported.
    (
        Cat | Dog,
        {"kind": "dog", "lives": "x"},
        {".kind": "expected one of 'cat'", ".lives": "expected an integer, got a string"},
    ),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "value", "errors"), INVALID, ids=str)
def test_every_error_is_reported_with_its_path(
    kind: Any, value: Any, errors: dict[str, str]
) -> None:
    with pytest.raises(InvalidValueError) as caught:
        converter.structure(value, kind)

    assert dict(caught.value.errors) == errors
    assert len(caught.value.errors) == len(errors)


def test_path_of_a_key_that_is_no_identifier_is_quoted() -> None:
    kind = TypedDict("kind", {"a b": int})

    with pytest.raises(InvalidValueError) as caught:
        converter.structure({"a b": "x"}, kind)

    assert caught.value.errors == (("['a b']", "expected an integer, got a string"),)


def test_exception_of_a_constructor_is_reported_with_its_path() -> None:
    @define
    class Even:
        number: int

        def __attrs_post_init__(self) -> None:
            if self.number % 2:
                raise LookupError

    with pytest.raises(InvalidValueError) as caught:
        converter.structure([{"number": 2}, {"number": 1}], list[Even])

    assert caught.value.errors == (("[1]", "LookupError"),)


def test_deep_nesting_raises_in_both_directions() -> None:
    value: dict[str, Any] = {"name": "x", "children": []}
    for _ in range(5000):
        value = {"name": "x", "children": [value]}

    with pytest.raises(InvalidValueError):
        converter.structure(value, Node)
    with pytest.raises(ConfigurationError):
        converter.to_text(value)


def test_string_is_its_own_text() -> None:
    assert converter.to_text("as it is") == "as it is"


def test_typed_values_become_json_text() -> None:
    value = {
        "line": Line(1),
        "node": Node("a", []),
        "point": Point(1),
        "colour": Colour.RED,
        "dates": [date(2026, 1, 2), datetime(2026, 1, 2, tzinfo=UTC), time(3)],
        "duration": timedelta(hours=1, microseconds=5),
        "cost": Decimal("1.5"),
        "id": UUID(ID),
        "arrays": [{1}, frozenset({2}), deque([3]), (4,)],
    }

    assert converter.to_text(None) == "null"
    assert json.loads(converter.to_text(value)) == {
        "line": {"price": 1, "amount": 1, "_private": "p"},
        "node": {"name": "a", "children": []},
        "point": {"x": 1, "y": 0},
        "colour": "red",
        "dates": ["2026-01-02", "2026-01-02T00:00:00+00:00", "03:00:00"],
        "duration": "P0DT3600.000005S",
        "cost": 1.5,
        "id": ID,
        "arrays": [[1], [2], [3], [4]],
    }


def test_value_without_a_json_form_has_no_text() -> None:
    with pytest.raises(ConfigurationError):
        converter.to_text({"a": object()})


# --- generated types ---------------------------------------------------------------

TEXTS = st.text(st.characters(codec="utf-8"), max_size=8)
# Early times of day cannot be converted to UTC in year 1.
DATETIMES = st.datetimes(min_value=datetime(1, 1, 2), timezones=st.just(UTC))  # noqa: DTZ001 - hypothesis adds the zone
Typed = tuple[Any, st.SearchStrategy[Any]]
"""A type, and a strategy of its values."""

SCALARS: list[Typed] = [
    (bool, st.booleans()),
    (int, st.integers(-(2**53), 2**53)),
    (float, st.floats(allow_nan=False, allow_infinity=False)),
    (str, TEXTS),
    (None, st.none()),
    (date, st.dates()),
    (datetime, DATETIMES),
    (time, st.times()),
    (timedelta, st.timedeltas()),
    (UUID, st.uuids()),
    (Decimal, st.decimals(-(10**9), 10**9, places=3)),
    (Colour, st.sampled_from(Colour)),
    (Level, st.sampled_from(Level)),
    (Literal["a", 1, True], st.sampled_from(["a", 1, True])),
]
# A value of a union of these belongs to exactly one member.
DISTINCT = [SCALARS[0], SCALARS[1], SCALARS[3], SCALARS[4]]
NAMES = st.sampled_from(["a", "b", "name", "class_", "x1"])


def class_with(form: int, kinds: dict[str, Any]) -> Any:
    """Return a class of one of four forms with these fields."""
    dynamic: Any = NamedTuple if form == 2 else TypedDict
    if form == 0:
        fields = {name: attrs.field(type=kind) for name, kind in kinds.items()}
        return make_class("Made", fields)
    if form == 1:
        return make_dataclass("Made", kinds.items())
    return dynamic("Made", list(kinds.items()) if form == 2 else kinds)


def containers(inner: st.SearchStrategy[Typed]) -> st.SearchStrategy[Typed]:
    """Return a strategy of the types that contain types of another strategy."""

    @st.composite
    def classes(draw: st.DrawFn) -> Typed:
        fields = draw(st.dictionaries(NAMES, inner, max_size=4))
        values = {name: value for name, (_, value) in fields.items()}
        kinds = {name: kind for name, (kind, _) in fields.items()}
        cls = class_with(draw(st.integers(0, 3)), kinds)
        return cls, st.builds(lambda given: cls(**given), st.fixed_dictionaries(values))

    def forms(pair: Typed) -> list[Typed]:
        kind: Any
        kind, value = pair
        return [
            (list[kind], st.lists(value, max_size=3)),
            (tuple[kind, ...], st.lists(value, max_size=3).map(tuple)),
            (tuple[kind, int], st.tuples(value, st.integers(0, 9))),
            (dict[str, kind], st.dictionaries(TEXTS, value, max_size=3)),
            (Annotated[kind, "A description."], value),
            *([] if kind is None else [(kind | None, value | st.none())]),
        ]

    unions = st.lists(
        st.sampled_from(DISTINCT), min_size=2, max_size=3, unique_by=id
    ).map(
        lambda found: (
            union_of([kind for kind, _ in found]),
            st.one_of([value for _, value in found]),
        )
    )
    return st.one_of(
        classes(), unions, inner.flatmap(lambda pair: st.sampled_from(forms(pair)))
    )


def union_of(kinds: list[Any]) -> Any:
    union = kinds[0]
    for kind in kinds[1:]:
        # `None | None` is not defined.
        union = union | kind if union is not None else kind | union
    return union


TYPED = st.recursive(st.sampled_from(SCALARS), containers, max_leaves=8)


@given(st.data())
def test_generated_types_round_trip(data: st.DataObject) -> None:
    """The JSON of a value is valid by its type's schema, and converts back to it."""
    kind, values = data.draw(TYPED)
    schema = schema_of(kind)
    Draft202012Validator.check_schema(schema.document)
    value = data.draw(values)

    (plain,) = decode(converter.to_text([value]))

    Draft202012Validator(schema.document).validate(
        {"value": plain} if schema.wrapped else plain
    )
    assert converter.structure(plain, kind) == value
