"""Schemas that others made (pydantic), brought into the strict form."""

import sys
from collections.abc import Mapping
from typing import Any, Final, cast

from .invalid_value import InvalidValueError, step

_DEFS: Final = "#/$defs/"

# Keywords whose values are schemas, by how they hold them.
_NAMED: Final = ("properties", "patternProperties")
_LISTED: Final = ("anyOf", "oneOf", "allOf", "prefixItems")
_SINGLE: Final = ("items", "additionalProperties")


def strictly(
    node: Any, renamed: Mapping[str, str], *, strict: bool
) -> tuple[Any, bool]:
    """
    Return a schema in the strict form, and whether it stays open nevertheless.

    Args:
        node: The schema; it is not changed.
        renamed: The new name of each definition it refers to.
        strict: False: only the names are new.

    Source: `_ensure_strict_json_schema` of openai-python does the same to its own.
    """
    if not isinstance(node, Mapping):
        return node, False
    made = dict(cast("Mapping[str, Any]", node))
    is_open = strict and not made.keys() - {"title", "description"}
    if strict and made.get("type") == "object":
        is_open |= bool(made.setdefault("additionalProperties", False))
        if "properties" in made:
            made["required"] = list(made["properties"])
    if strict:
        made.pop("default", None)
        made.pop("title", None)
    for key, each in _inner(made):
        holder, place = (made, key) if isinstance(key, str) else (made[key[0]], key[1])
        holder[place], inner_open = strictly(each, renamed, strict=strict)
        is_open |= inner_open
    merged = made.get("allOf")
    if strict and merged and len(merged) == 1:
        made = {**made.pop("allOf")[0], **made}
    reference = made.get("$ref")
    if isinstance(reference, str):
        name = reference.removeprefix(_DEFS)
        made["$ref"] = _DEFS + renamed.get(name, name)
    discriminator = made.get("discriminator")
    if discriminator is not None:
        # It only repeats what the branches say, and strict forms do not know it.
        del made["discriminator"]
    return made, is_open


def _inner(made: dict[str, Any]) -> list[tuple[Any, Any]]:
    """List the schemas directly inside; what holds them is copied for the change."""
    found: list[tuple[Any, Any]] = []
    for key in _NAMED:
        if key in made:
            made[key] = dict(made[key])
            found += (((key, name), each) for name, each in made[key].items())
    for key in _LISTED:
        if key in made:
            made[key] = list(made[key])
            found += (((key, place), each) for place, each in enumerate(made[key]))
    found += ((key, made[key]) for key in _SINGLE if key in made)
    return found


def is_pydantic(kind: Any) -> bool:
    """Tell whether a class is a pydantic model; pydantic is not imported for that."""
    pydantic = sys.modules.get("pydantic")
    return (
        pydantic is not None
        and isinstance(kind, type)
        and issubclass(kind, pydantic.BaseModel)
    )


def validated(value: Any, kind: Any) -> Any:
    """Let pydantic read it."""
    pydantic: Any = sys.modules["pydantic"]
    try:
        return kind.model_validate(value)
    except pydantic.ValidationError as error:
        faults = tuple(
            ("".join(step(key) for key in fault["loc"]), str(fault["msg"]))
            for fault in error.errors()
        )
        raise InvalidValueError(str(error), faults) from error
