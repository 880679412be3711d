"""Vocabularies of the server are open: it may add values."""

# ruff: noqa: PYI051 - open vocabularies list the known values.

from types import UnionType
from typing import (
    Any,
    Literal,
    NotRequired,
    Required,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

import attrs

from openrouter_async import types

# Fields whose value says which shape an object is; an unknown shape is a mapping.
TAGS = {"type", "role", "id"}


def closed(annotation: Any, *, is_open: bool = False) -> bool:
    """Return True if an annotation has a `Literal` that is not beside `str`."""
    origin = get_origin(annotation)
    if origin is Literal:
        texts = all(isinstance(value, str) for value in get_args(annotation))
        return texts and not is_open
    members = get_args(annotation)
    in_union = origin in {Union, UnionType} and str in members
    # These do not change which values a field has.
    is_open = in_union or (is_open and origin in {Required, NotRequired})
    return any(closed(member, is_open=is_open) for member in members)


def shapes() -> dict[str, Any]:
    found = {name: getattr(types, name) for name in types.__all__}
    return {
        name: shape
        for name, shape in found.items()
        if is_typeddict(shape) or (isinstance(shape, type) and attrs.has(shape))
    }


def fields(shape: Any) -> dict[str, Any]:
    if is_typeddict(shape):
        return get_type_hints(shape, include_extras=True)
    return {field.name: field.type for field in attrs.fields(shape)}


def test_every_vocabulary_is_open() -> None:
    found = [
        f"{name}.{field}"
        for name, shape in shapes().items()
        for field, annotation in fields(shape).items()
        if field not in TAGS and closed(annotation)
    ]

    # `billing` is computed by this library.
    assert found == ["Attempt.billing"]
    assert len(shapes()) > 100


def test_closed_vocabularies_are_found() -> None:
    assert closed(Required[Literal["a"]])
    assert closed(list[Literal["a"] | None])
    assert not closed(Required[Literal["a"] | str])
    assert not closed(Literal["a"] | str | None)
    assert not closed(Literal[False])


def test_known_values_include_the_newest() -> None:
    hints = get_type_hints(types.DeferredTools)

    assert "universal" in str(hints["profile"])
