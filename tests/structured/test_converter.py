"""JSON as typed values: exactly, with the place of what does not fit, and back."""

# Types are made here as the tests go on.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownLambdaType=false
# ruff: noqa: D101 -- a docstring would become part of the schema

import json
import re
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
from hypothesis import given, settings
from hypothesis import strategies as st

from openrouter_async import ConfigurationError
from openrouter_async.protocol.decode import decode
from openrouter_async.structured.converter import converter
from openrouter_async.structured.invalid_value import InvalidValueError
from openrouter_async.structured.output_parser import extract_json
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
    below: "list[Node]"


class Note(TypedDict):
    text: str
    by: NotRequired[str]


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

FITTING: list[tuple[Any, Any, Any]] = [
    (int, 3.0, 3),
    (float, 1, 1.0),
    (bool, True, True),
    (None, None, None),
    (str, "", ""),
    (Any, {"a": [1]}, {"a": [1]}),
    (object, "x", "x"),
    (Count, 3, 3),
    (Annotated[int, "How many"], 3, 3),
    (Word, "a", "a"),
    (Annotated[dict[Word, Word], "Words"], {"a": "b"}, {"a": "b"}),  # type: ignore[valid-type]
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
    (Node, {"name": "a", "below": [{"name": "b", "below": []}]}, Node("a", [Node("b", [])])),
    (Note, {"text": "a"}, {"text": "a"}),
    (int | str | None, None, None),
    (int | float, 1, 1),
    (int | float, 1.5, 1.5),
    (float | str, 1, 1.0),
    (date | str, "2026-01-02", date(2026, 1, 2)),
    (date | str, "soon", "soon"),
    (str | Literal["a"], "a", "a"),  # noqa: PYI051
    (list[int] | dict[str, int], {"a": 1}, {"a": 1}),
    (Cat | Dog, {"kind": "dog", "lives": 1}, Dog("dog", 1)),
    (Line | Note, {"text": "a"}, {"text": "a"}),
    (Line | Note | dict[str, int], {"text": 1}, {"text": 1}),
    (Line | Any, "x", "x"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "value", "expected"), FITTING, ids=str)
def test_what_fits_is_read(kind: Any, value: Any, expected: Any) -> None:
    """Each is of the very class that was asked for."""
    found = converter.structure(value, kind)

    assert found == expected
    assert type(found) is type(expected)


NOT_FITTING: list[tuple[Any, Any, dict[str, str]]] = [
    (int, "3", {"": "'3' is not a whole number"}),
    (int, True, {"": "True is not a whole number"}),
    (int, 1.5, {"": "1.5 is not a whole number"}),
    (float, "1.5", {"": "'1.5' is not a number"}),
    (float, 10**400, {"": "it is too large a number"}),
    (bool, "no", {"": "'no' is not a boolean"}),
    (bool, 1, {"": "1 is not a boolean"}),
    (str, None, {"": "null is not a string"}),
    (str, "x" * 100, {}),
    (int, "x" * 100, {"": f"'{'x' * 76}... is not a whole number"}),
    (None, 1, {"": "1 is not null"}),
    (Decimal, "much", {"": "'much' is not a number"}),
    (Decimal, "NaN", {"": "'NaN' is not a number"}),
    (Decimal, [], {"": "an array is not a number"}),
    (UUID, "x", {"": "'x' is not a UUID"}),
    (date, 5, {"": "5 is not a date"}),
    (timedelta, "P", {"": "'P' is not a duration such as PT1H30M"}),
    (timedelta, f"P{10**12}D", {"": f"'P{10**12}D' is not a duration such as PT1H30M"}),
    (Colour, "green", {"": "'green' is not one of 'red', 'blue'"}),
    (Literal[1], True, {"": "True is not one of 1"}),
    (list[str], "abc", {"": "'abc' is not an array"}),
    (list[int], {"a": 1}, {"": "an object is not an array"}),
    (tuple[int, str], [1], {"": "it has 1 items, not 2"}),
    (tuple[()], [1], {"": "it has 1 items, not 0"}),
    (dict[str, int], {"a b": "x"}, {"['a b']": "'x' is not a whole number"}),
    (Line, [], {"": "an array is not an object"}),
    (Line, {}, {".price": "it is missing"}),
    (Line, {"price": 1, "amount": 0}, {"": "'amount' must be > 0: 0"}),
    (
        Order,
        {"lines": [{"price": 1}, {"price": "x"}, 3], "notes": {"a": {"by": 1}}},
        {
            ".lines[1].price": "'x' is not a number",
            ".lines[2]": "3 is not an object",
            ".notes.a.by": "1 is not a string",
            ".notes.a.text": "it is missing",
        },
    ),
    (Node, {"name": "a", "below": [{"name": 1}]}, {".below[0].name": "1 is not a string", ".below[0].below": "it is missing"}),
    (int | None, "x", {"": "'x' is none of int, NoneType"}),
    (Line | None, {"price": "x"}, {".price": "'x' is not a number"}),
    (list[int] | None, [1, "x"], {"[1]": "'x' is not a whole number"}),
    (Cat | Dog, {"kind": "dog", "lives": "x"}, {}),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "value", "faults"), NOT_FITTING, ids=str)
def test_what_does_not_fit_is_told_by_its_place(
    kind: Any, value: Any, faults: dict[str, str]
) -> None:
    """Nothing is guessed, and every fault is told, not only the first."""
    if not faults and isinstance(value, str):
        assert converter.structure(value, kind) == value
        return
    with pytest.raises(InvalidValueError) as caught:
        converter.structure(value, kind)

    assert faults.items() <= dict(caught.value.inner).items()
    assert not faults or len(faults) == len(caught.value.inner)


def test_a_class_may_raise_what_it_likes() -> None:
    """What a class has to say against its members is a fault like any other."""

    @define
    class Even:
        number: int

        def __attrs_post_init__(self) -> None:
            if self.number % 2:
                raise LookupError

    with pytest.raises(InvalidValueError) as caught:
        converter.structure([{"number": 2}, {"number": 1}], list[Even])

    assert dict(caught.value.inner) == {"[1]": "LookupError"}


def test_depth_is_no_crash() -> None:
    """JSON nested beyond reason does not fit."""
    value: dict[str, Any] = {"name": "x", "below": []}
    for _ in range(5000):
        value = {"name": "x", "below": [value]}

    with pytest.raises(InvalidValueError):
        converter.structure(value, Node)
    with pytest.raises(ConfigurationError):
        converter.text(value)


def test_values_are_told_as_json() -> None:
    """What a tool returns becomes text: a string as it is, the rest as JSON."""
    rich = {
        "line": Line(1),
        "node": Node("a", []),
        "point": Point(1),
        "colour": Colour.RED,
        "when": [date(2026, 1, 2), datetime(2026, 1, 2, tzinfo=UTC), time(3)],
        "long": timedelta(hours=1, microseconds=5),
        "cost": Decimal("1.5"),
        "id": UUID(ID),
        "some": [{1}, frozenset({2}), deque([3]), (4,)],
    }

    assert converter.text("as it is") == "as it is"
    assert converter.text(None) == "null"
    assert json.loads(converter.text(rich)) == {
        "line": {"price": 1, "amount": 1, "_private": "p"},
        "node": {"name": "a", "below": []},
        "point": {"x": 1, "y": 0},
        "colour": "red",
        "when": ["2026-01-02", "2026-01-02T00:00:00+00:00", "03:00:00"],
        "long": "P0DT3600.000005S",
        "cost": 1.5,
        "id": ID,
        "some": [[1], [2], [3], [4]],
    }
    with pytest.raises(ConfigurationError):
        converter.text({"a": object()})


# --- Finding it. ---

FOUND = {
    "plain": '{"a": 1}',
    "padded": '\n\n  {"a": 1}\t\n',
    "byte order mark": '\ufeff{"a": 1}',
    "fenced": '```json\n{"a": 1}\n```',
    "fenced, no language": '```\n{"a": 1}```',
    "fenced, with words": 'Here it is:\n\n```json\n{"a": 1}\n```\nAnything else?',
    "fence left open": '```json\n{"a": 1}',
    "fence around words": '```\nHere it is: {"a": 1}\n```',
    "words before": 'Here it is: {"a": 1}',
    "words behind": '{"a": 1} I hope that helps.',
}


@pytest.mark.parametrize("name", FOUND)
def test_json_is_found(name: str) -> None:
    """Models put fences and words around it."""
    assert extract_json(FOUND[name]) == {"a": 1}


def test_a_fence_in_a_string_is_text() -> None:
    """What is JSON as it stands is taken as it stands."""
    assert extract_json('{"a": "```json\\n{}\\n```"}') == {"a": "```json\n{}\n```"}
    assert extract_json('"words"') == "words"


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "empty"),
        (" \n", "empty"),
        ("I do not know.", "no JSON"),
        ('{"a": ', "no JSON"),
        ('{"a": 1}{"a": 2}', "more than one"),
        ("```\n{}\n```\n```\n{}\n```", "more than one"),
        ('{"a": NaN}', "more than one|no JSON"),
        ("x " + "[" * 100_000, "too deep"),
        ("x" * 100, re.escape("...")),
    ],
)
def test_no_json_is_told(text: str, match: str) -> None:
    """None, half of one, or several: it is told which."""
    with pytest.raises(ValueError, match=match):
        extract_json(text)


# --- Any type there is. ---

WORDS = st.text(st.characters(codec="utf-8"), max_size=8)
MOMENTS = st.datetimes(min_value=datetime(1, 1, 2), timezones=st.just(UTC))  # noqa: DTZ001
PLAIN: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (bool, st.booleans()),
    (int, st.integers(-(2**53), 2**53)),
    (float, st.floats(allow_nan=False, allow_infinity=False)),
    (str, WORDS),
    (None, st.none()),
    (date, st.dates()),
    (datetime, MOMENTS),
    (time, st.times()),
    (timedelta, st.timedeltas()),
    (UUID, st.uuids()),
    (Decimal, st.decimals(-(10**9), 10**9, places=3)),
    (Colour, st.sampled_from(Colour)),
    (Level, st.sampled_from(Level)),
    (Literal["a", 1, True], st.sampled_from(["a", 1, True])),
]
# Of these any two can be told apart by their JSON.
APART = [PLAIN[0], PLAIN[1], PLAIN[3], PLAIN[4]]
NAMES = st.sampled_from(["a", "b", "name", "class_", "x1"])
Typed = tuple[Any, st.SearchStrategy[Any]]


def made(form: int, kinds: dict[str, Any]) -> Any:
    """A class of one of four forms with these members."""
    dynamic: Any = NamedTuple if form == 2 else TypedDict
    if form == 0:
        members = {name: attrs.field(type=kind) for name, kind in kinds.items()}
        return make_class("Made", members)
    if form == 1:
        return make_dataclass("Made", kinds.items())
    return dynamic("Made", list(kinds.items()) if form == 2 else kinds)


def containers(inner: st.SearchStrategy[Typed]) -> st.SearchStrategy[Typed]:
    """Types made of types, each with the values that it has."""

    @st.composite
    def classes(draw: st.DrawFn) -> Typed:
        members = draw(st.dictionaries(NAMES, inner, max_size=4))
        values = {name: value for name, (_, value) in members.items()}
        kinds = {name: kind for name, (kind, _) in members.items()}
        form = draw(st.integers(0, 3))
        cls = made(form, kinds)
        return cls, st.builds(lambda given: cls(**given), st.fixed_dictionaries(values))

    def several(pair: Typed) -> list[Typed]:
        kind: Any
        kind, value = pair
        return [
            (list[kind], st.lists(value, max_size=3)),
            (tuple[kind, ...], st.lists(value, max_size=3).map(tuple)),
            (tuple[kind, int], st.tuples(value, st.integers(0, 9))),
            (dict[str, kind], st.dictionaries(WORDS, value, max_size=3)),
            (Annotated[kind, "Some words."], value),
            *([] if kind is None else [(kind | None, value | st.none())]),
        ]

    unions = st.lists(st.sampled_from(APART), min_size=2, max_size=3, unique_by=id).map(
        lambda found: (
            _either([kind for kind, _ in found]),
            st.one_of([value for _, value in found]),
        )
    )
    return st.one_of(
        classes(), unions, inner.flatmap(lambda pair: st.sampled_from(several(pair)))
    )


def _either(kinds: list[Any]) -> Any:
    made = kinds[0]
    for kind in kinds[1:]:
        made = made | kind if made is not None else kind | made
    return made


TYPED = st.recursive(st.sampled_from(PLAIN), containers, max_leaves=8)


def round_trip(data: st.DataObject) -> None:
    kind, values = data.draw(TYPED)
    made = schema_of(kind)
    Draft202012Validator.check_schema(made.document)
    value = data.draw(values)

    text = converter.text([value])
    (plain,) = decode(text)

    wrapped = {"value": plain} if made.wrapped else plain
    Draft202012Validator(made.document).validate(wrapped)
    assert converter.structure(plain, kind) == value


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_generated_types_round_trip(data: st.DataObject) -> None:
    """A value as JSON fits its type's schema, and is read as what it was."""
    round_trip(data)


def test_many_generated_types_round_trip(pytestconfig: pytest.Config) -> None:
    """With `--long`, 3,000 of them."""
    if not pytestconfig.getoption("--long"):
        pytest.skip("only with --long")

    settings(max_examples=2000, deadline=None)(given(st.data())(round_trip))()
