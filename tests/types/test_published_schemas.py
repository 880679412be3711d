"""
Every field of OpenRouter's published schemas can be sent, or read, typed.

The schemas are not part of this repository: `OPENROUTER_WIRE` names a folder with
`schema/chat-*.schema.json`.
"""

import importlib.util
import json
import os
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import (
    Any,
    Literal,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

import attrs
import pytest

from openrouter_async.types import (
    ChatResponse,
    ChatStreamingResponseChunk,
    Null,
    request,
)

FOLDER = os.environ.get("OPENROUTER_WIRE")

pytestmark = pytest.mark.skipif(
    not FOLDER, reason="OPENROUTER_WIRE names no folder of schemas"
)

LEAVES: Mapping[str, tuple[type[Any], ...]] = {
    "string": (str,),
    "integer": (int, float),
    "number": (float,),
    "boolean": (bool,),
}

SENT = (".request", ".messages", ".parts", ".routing")
"""The modules of classes that are only ever sent."""

ELSEWHERE = {
    "stream": "an argument of `send`, not a field",
    "tools[].ChatDynamicServerTool": "any other tool is a plain mapping",
    "choices[].message.content[]": "parts are read as their words",
}
"""What the schemas have and the classes mean to leave out."""


LITTLE = Literal["a"] | str  # noqa: PYI051 -- as the classes have it.


def as_checked() -> Any:
    """The class of requests as type checkers see it; at run time much is a mapping."""
    spec = importlib.util.spec_from_file_location(request.__name__, request.__file__)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(typing, "TYPE_CHECKING", True)
        spec.loader.exec_module(module)
    return module.ChatGenerationParams


REQUEST: Any = as_checked()


class Walk:
    """A walk through a schema beside the annotations; collects what is missing."""

    def __init__(self, schema: dict[str, Any]) -> None:
        self.schema = schema
        self.steps = 0
        self.used: set[str] = set()

    def alternatives(self, schema: Any) -> list[dict[str, Any]]:
        """Return what a schema may be, references and unions resolved."""
        if "$ref" in schema:
            return self.alternatives(
                self.schema["$defs"][schema["$ref"].removeprefix("#/$defs/")]
            )
        for union in ("anyOf", "oneOf"):
            if union in schema:
                return [
                    one for each in schema[union] for one in self.alternatives(each)
                ]
        return [schema]

    def missing(self, schema: Any, annotation: Any, place: str) -> list[str]:
        """Return the places under `place` that the annotation has no room for."""
        self.steps += 1
        if place in ELSEWHERE:
            self.used.add(place)
            return []
        found: list[str] = []
        for one in self.alternatives(schema):
            title = one.get("title", "")
            if title.startswith("Unknown") or one.get("type") == "null":
                continue
            if f"{place}.{title}" in ELSEWHERE:
                self.used.add(f"{place}.{title}")
            elif one.get("properties"):
                found += self.object_missing(one, members(annotation), place)
            elif one.get("type") == "array":
                found += self.array_missing(one, members(annotation), place)
            elif not takes(members(annotation), one):
                found.append(f"{place}: {annotation} is no {one}")
        return found

    def array_missing(
        self, schema: dict[str, Any], annotations: list[Any], place: str
    ) -> list[str]:
        """Check the items against what a list may hold."""
        place += "[]"
        if place in ELSEWHERE:
            self.used.add(place)
            return []
        items = [
            argument
            for each in annotations
            if get_origin(each) in {list, Sequence}
            for argument in get_args(each)
        ]
        if not items:
            return [] if Any in annotations or not schema["items"] else [place]
        return self.missing(schema["items"], Union[tuple(items)], place)  # noqa: UP007

    def object_missing(
        self, schema: dict[str, Any], annotations: list[Any], place: str
    ) -> list[str]:
        """Check against the class that fits best."""
        tried = [
            self.class_missing(schema, fields(each), each, place)
            for each in annotations
            if attrs.has(each) or is_typeddict(each)
        ]
        tried += [
            self.class_missing(
                schema, dict.fromkeys(schema["properties"], value), each, place
            )
            for each in annotations
            if get_origin(each) is Mapping and (value := get_args(each)[1]) is not Any
        ]
        return min(tried, key=len, default=[f"{place}: no class for {schema['title']}"])

    def class_missing(
        self, schema: dict[str, Any], known: dict[str, Any], shape: Any, place: str
    ) -> list[str]:
        """Check each property against the field of its name."""
        found: list[str] = []
        for name, member in schema["properties"].items():
            inner = f"{place}.{name}".removeprefix(".")
            if inner in ELSEWHERE:
                self.used.add(inner)
            elif name not in known:
                found.append(f"{inner}: not in {shape}")
            else:
                found += self.missing(member, known[name], inner)
                null = nothing(shape)
                if (
                    "OptionalNullable" in str(member.get("$ref"))
                    and null is not Any
                    and null not in members(known[name])
                ):
                    found.append(f"{inner}: cannot be null")
        return found


def members(annotation: Any) -> list[Any]:
    """Return the members of a union, or the one type that it is."""
    if get_origin(annotation) in {Union, UnionType}:
        return [one for each in get_args(annotation) for one in members(each)]
    return [annotation]


def nothing(shape: Any) -> Any:
    """Return what null is in a class; in a reply, lists and objects are empty."""
    if is_typeddict(shape):
        return NoneType
    return Null if shape.__module__.endswith(SENT) else Any


def fields(shape: Any) -> dict[str, Any]:
    """Return the fields of a class with their types."""
    if attrs.has(shape):
        return {field.name: field.type for field in attrs.fields(shape)}
    return get_type_hints(shape)


def takes(annotations: list[Any], schema: dict[str, Any]) -> bool:
    """Tell whether a leaf, or an object of any keys, has room in one of the types."""
    words = {word for each in annotations for word in literals(each)}
    allowed = set(schema.get("enum", [schema["const"]] if "const" in schema else []))
    kind = schema.get("type", "string" if allowed else None)
    if kind == "object":
        return any(
            get_origin(each) in {Mapping, dict} or is_typeddict(each) or each is Any
            for each in annotations
        )
    if allowed:
        # Known words are named, not only let through.
        return allowed <= words or (not words and str in annotations)
    return any(leaf in annotations for leaf in LEAVES.get(str(kind), ())) or (
        kind is None or Any in annotations
    )


def literals(annotation: Any) -> tuple[Any, ...]:
    """Return the words of a `Literal`."""
    return get_args(annotation) if get_origin(annotation) is Literal else ()


@pytest.mark.parametrize(
    ("name", "shape", "least"),
    [
        ("chat-request", REQUEST, 500),
        ("chat-result", ChatResponse, 100),
        ("chat-stream-chunk", ChatStreamingResponseChunk, 80),
    ],
)
def test_every_documented_field_has_a_place(name: str, shape: Any, least: int) -> None:
    """A field of the schema that no class has, or with another type, is a failure."""
    path = Path(FOLDER or ".") / "schema" / f"{name}.schema.json"
    walk = Walk(json.loads(path.read_text()))

    assert walk.missing(walk.schema, shape, "") == []
    assert walk.steps > least


def test_what_is_left_out_is_documented() -> None:
    """Each exception is met on the walk; one that is not would be stale."""
    used: set[str] = set()
    for name, shape in (
        ("chat-request", REQUEST),
        ("chat-result", ChatResponse),
    ):
        path = Path(FOLDER or ".") / "schema" / f"{name}.schema.json"
        walk = Walk(json.loads(path.read_text()))
        walk.missing(walk.schema, shape, "")
        used |= walk.used

    assert used == set(ELSEWHERE)


def test_the_walk_sees_what_is_missing() -> None:
    """A class without a documented field, or with another type, does not pass."""
    path = Path(FOLDER or ".") / "schema" / "chat-result.schema.json"
    walk = Walk(json.loads(path.read_text()))

    assert walk.missing(walk.schema, attrs.make_class("Bare", ["id"]), "")
    assert walk.missing({"type": "integer"}, str | None, "x") != []
    assert walk.missing({"type": "array", "items": {"type": "string"}}, str, "x") != []
    assert walk.missing({"enum": ["a", "b"]}, LITTLE, "x") != []
