"""
Every field of OpenRouter's published schemas has a typed field in a shape.

The schemas are not part of this repository: `OPENROUTER_WIRE` names a folder that
contains `schema/chat-*.schema.json`.
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

SENT_MODULES = (".request", ".messages", ".parts", ".routing")
"""Modules of classes that are only sent."""

LEFT_OUT = {
    "stream": "an argument of `send`, not a field",
    "tools[].ChatDynamicServerTool": "any other tool is a mapping",
    "choices[].message.content[]": "parts are joined to one text",
}
"""Parts of the schemas that the classes leave out, with the reason."""


OPEN_LITERAL = Literal["a"] | str  # noqa: PYI051 - as in the classes


def request_class_for_type_checkers() -> Any:
    """Return ChatGenerationParams with the annotations that type checkers see."""
    spec = importlib.util.spec_from_file_location(request.__name__, request.__file__)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(typing, "TYPE_CHECKING", True)
        spec.loader.exec_module(module)
    return module.ChatGenerationParams


REQUEST: Any = request_class_for_type_checkers()


class SchemaComparison:
    """Compares a JSON Schema with annotations, and returns what these lack."""

    def __init__(self, schema: dict[str, Any]) -> None:
        self.schema = schema
        self.steps = 0
        self.used: set[str] = set()

    def alternatives(self, schema: Any) -> list[dict[str, Any]]:
        """Return the alternatives of a schema, with references and unions resolved."""
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

    def missing(self, schema: Any, annotation: Any, path: str) -> list[str]:
        """Return the paths below `path` that the annotation does not cover."""
        self.steps += 1
        if path in LEFT_OUT:
            self.used.add(path)
            return []
        found: list[str] = []
        for one in self.alternatives(schema):
            title = one.get("title", "")
            if title.startswith("Unknown") or one.get("type") == "null":
                continue
            if f"{path}.{title}" in LEFT_OUT:
                self.used.add(f"{path}.{title}")
            elif one.get("properties"):
                found += self.object_missing(one, members(annotation), path)
            elif one.get("type") == "array":
                found += self.array_missing(one, members(annotation), path)
            elif not matches(members(annotation), one):
                found.append(f"{path}: {annotation} does not match {one}")
        return found

    def array_missing(
        self, schema: dict[str, Any], annotations: list[Any], path: str
    ) -> list[str]:
        """Compare the items with the type of a list's items."""
        path += "[]"
        if path in LEFT_OUT:
            self.used.add(path)
            return []
        items = [
            argument
            for each in annotations
            if get_origin(each) in {list, Sequence}
            for argument in get_args(each)
        ]
        if not items:
            return [] if Any in annotations or not schema["items"] else [path]
        return self.missing(schema["items"], Union[tuple(items)], path)  # noqa: UP007 - computed

    def object_missing(
        self, schema: dict[str, Any], annotations: list[Any], path: str
    ) -> list[str]:
        """Compare with the class that fits best."""
        tried = [
            self.class_missing(schema, fields(each), each, path)
            for each in annotations
            if attrs.has(each) or is_typeddict(each)
        ]
        tried += [
            self.class_missing(
                schema, dict.fromkeys(schema["properties"], value), each, path
            )
            for each in annotations
            if get_origin(each) is Mapping and (value := get_args(each)[1]) is not Any
        ]
        return min(tried, key=len, default=[f"{path}: no class for {schema['title']}"])

    def class_missing(
        self, schema: dict[str, Any], known: dict[str, Any], shape: Any, path: str
    ) -> list[str]:
        """Compare each property with the field of its name."""
        found: list[str] = []
        for name, member in schema["properties"].items():
            inner = f"{path}.{name}".removeprefix(".")
            if inner in LEFT_OUT:
                self.used.add(inner)
            elif name not in known:
                found.append(f"{inner}: not in {shape}")
            else:
                found += self.missing(member, known[name], inner)
                null = null_type(shape)
                if (
                    "OptionalNullable" in str(member.get("$ref"))
                    and null is not Any
                    and null not in members(known[name])
                ):
                    found.append(f"{inner}: cannot be null")
        return found


def members(annotation: Any) -> list[Any]:
    """Return the members of a union, or the type itself."""
    if get_origin(annotation) in {Union, UnionType}:
        return [one for each in get_args(annotation) for one in members(each)]
    return [annotation]


def null_type(shape: Any) -> Any:
    """Return the type of null in a class; Any for responses, where nothing is null."""
    if is_typeddict(shape):
        return NoneType
    return Null if shape.__module__.endswith(SENT_MODULES) else Any


def fields(shape: Any) -> dict[str, Any]:
    """Return the fields of a class with their types."""
    if attrs.has(shape):
        return {field.name: field.type for field in attrs.fields(shape)}
    return get_type_hints(shape)


def matches(annotations: list[Any], schema: dict[str, Any]) -> bool:
    """Return True if a leaf, or an object of any keys, matches one of the types."""
    values = {value for each in annotations for value in literals(each)}
    allowed = set(schema.get("enum", [schema["const"]] if "const" in schema else []))
    kind = schema.get("type", "string" if allowed else None)
    if kind == "object":
        return any(
            get_origin(each) in {Mapping, dict} or is_typeddict(each) or each is Any
            for each in annotations
        )
    if allowed:
        # Known values must be listed, not only be allowed by `str`.
        return allowed <= values or (not values and str in annotations)
    return any(leaf in annotations for leaf in LEAVES.get(str(kind), ())) or (
        kind is None or Any in annotations
    )


def literals(annotation: Any) -> tuple[Any, ...]:
    """Return the values of a `Literal`."""
    return get_args(annotation) if get_origin(annotation) is Literal else ()


@pytest.mark.parametrize(
    ("name", "shape", "minimum_steps"),
    [
        ("chat-request", REQUEST, 500),
        ("chat-result", ChatResponse, 100),
        ("chat-stream-chunk", ChatStreamingResponseChunk, 80),
    ],
)
def test_every_published_field_has_a_typed_field(
    name: str, shape: Any, minimum_steps: int
) -> None:
    file = Path(FOLDER or ".") / "schema" / f"{name}.schema.json"
    comparison = SchemaComparison(json.loads(file.read_text()))

    assert comparison.missing(comparison.schema, shape, "") == []
    assert comparison.steps > minimum_steps


def test_every_exception_is_still_needed() -> None:
    used: set[str] = set()
    for name, shape in (
        ("chat-request", REQUEST),
        ("chat-result", ChatResponse),
    ):
        file = Path(FOLDER or ".") / "schema" / f"{name}.schema.json"
        comparison = SchemaComparison(json.loads(file.read_text()))
        comparison.missing(comparison.schema, shape, "")
        used |= comparison.used

    assert used == set(LEFT_OUT)


def test_comparison_finds_missing_fields_and_wrong_types() -> None:
    file = Path(FOLDER or ".") / "schema" / "chat-result.schema.json"
    comparison = SchemaComparison(json.loads(file.read_text()))

    assert comparison.missing(comparison.schema, attrs.make_class("Bare", ["id"]), "")
    assert comparison.missing({"type": "integer"}, str | None, "x") != []
    assert (
        comparison.missing({"type": "array", "items": {"type": "string"}}, str, "x")
        != []
    )
    assert comparison.missing({"enum": ["a", "b"]}, OPEN_LITERAL, "x") != []
