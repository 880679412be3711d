"""
pydantic models: validation, and their schemas in strict form.

pydantic is never imported: a program that uses a model has imported it.
"""

import sys
from collections.abc import Mapping
from typing import Any, Final, cast

from .exact_json import nearly_plain_value
from .invalid_value import ANY_KEY, InvalidValueError, path_step, unquoted

_DEFS: Final = "#/$defs/"

# The keywords whose values are schemas, by the container that holds these.
_IN_MAPPINGS: Final = ("properties", "patternProperties")
_IN_LISTS: Final = ("anyOf", "oneOf", "allOf", "prefixItems")
_DIRECT: Final = ("items", "additionalProperties")


def is_pydantic(kind: Any) -> bool:
    """Return True for a pydantic model."""
    pydantic = sys.modules.get("pydantic")
    return (
        pydantic is not None
        and isinstance(kind, type)
        and issubclass(kind, pydantic.BaseModel)
    )


def validate_model(value: Any, model: Any) -> Any:
    """
    Return an instance of a model, validated by pydantic.

    Raises:
        InvalidValueError: If the value does not match the model.
    """
    pydantic: Any = sys.modules["pydantic"]
    try:
        return model.model_validate(nearly_plain_value(value))
    except pydantic.ValidationError as error:
        names = _property_names(model)
        errors = tuple(
            (_path(each["loc"], value, names), _message(each, value))
            for each in error.errors(include_url=False)
        )
    # Raised outside the except block: the text of pydantic's error quotes the value.
    raise InvalidValueError("the value does not match the model", errors)


def _path(location: tuple[str | int, ...], value: Any, names: frozenset[str]) -> str:
    """Return the path of an error, without keys that the model chose."""
    steps: list[str] = []
    for key in location:
        # Other strings are the names of union members.
        step = key
        if value.__class__ is dict and key in value:
            step = key if key in names else ANY_KEY
            value = value[key]
        elif value.__class__ is list and isinstance(key, int):
            value = value[key]
        steps.append(path_step(step))
    return "".join(steps)


def _message(error: Mapping[str, Any], value: Any) -> str:
    """Return the message of one of pydantic's errors, without the value."""
    context = error.get("ctx", {})
    match error["type"]:
        case "union_tag_invalid":
            return f"expected one of the tags {context['expected_tags']}"
        case "value_error" | "assertion_error":
            return unquoted(context["error"], str(error["msg"]), value)
        case "uuid_parsing":
            return "Input should be a valid UUID"
        case _:
            return str(error["msg"])


def _property_names(model: Any) -> frozenset[str]:
    """Return the keys of all objects in the schema of a model."""
    _, schemas = model_schemas(model)
    return frozenset(
        name for schema in schemas.values() for name in schema.get("properties", {})
    )


def dump_model(value: Any) -> dict[str, Any]:
    """Return an instance of a model as plain JSON values."""
    dumped: dict[str, Any] = value.model_dump(mode="json")
    return dumped


def model_field_names(model: Any) -> frozenset[str]:
    """Return the names of a model's fields."""
    return frozenset(model.model_fields)


def model_schemas(model: Any) -> tuple[str, dict[str, Any]]:
    """
    Return pydantic's schemas of a model and of the models in it, by name.

    The first item of the tuple is the name of the model's own schema.
    """
    document: dict[str, Any] = model.model_json_schema()
    schemas: dict[str, Any] = document.pop("$defs", {})
    # The document of a recursive model is only a reference to one of the definitions.
    name = str(document.get("$ref", "")).removeprefix(_DEFS)
    return name, {**schemas, name: schemas.get(name, document)}


def to_strict(
    schema: Any, names: Mapping[str, str], *, strict: bool
) -> tuple[Any, bool]:
    """
    Return a copy of a schema in strict form, and True if it is still open.

    A schema is open if it allows values of any type or arbitrary keys.

    Args:
        schema: The schema, or any value inside one.
        names: The new name of each definition that it refers to.
        strict: If False, only rename the definitions.

    Source: `_ensure_strict_json_schema` of openai-python.
    """
    if not isinstance(schema, Mapping):
        return schema, False
    made = dict(cast("Mapping[str, Any]", schema))
    is_open = strict and not made.keys() - {"title", "description"}
    if strict and made.get("type") == "object":
        is_open |= bool(made.setdefault("additionalProperties", False))
        if "properties" in made:
            made["required"] = list(made["properties"])
    if strict:
        made.pop("default", None)
        made.pop("title", None)
    for container, key, inner in _copy_subschemas(made):
        container[key], inner_open = to_strict(inner, names, strict=strict)
        is_open |= inner_open
    # pydantic 2.8 and older put a reference with a description into `allOf`.
    merged = made.get("allOf")
    if strict and merged and len(merged) == 1:
        made = {**made.pop("allOf")[0], **made}
    reference = made.get("$ref")
    if isinstance(reference, str):
        name = reference.removeprefix(_DEFS)
        made["$ref"] = _DEFS + names.get(name, name)
    # An OpenAPI keyword that strict modes reject; the branches say the same.
    made.pop("discriminator", None)
    return made, is_open


def _copy_subschemas(schema: dict[str, Any]) -> list[tuple[Any, Any, Any]]:
    """Copy the containers of the direct subschemas; list (container, key, schema)."""
    found: list[tuple[Any, Any, Any]] = []
    for keyword in _IN_MAPPINGS:
        if keyword in schema:
            named = schema[keyword] = dict(schema[keyword])
            found += ((named, name, each) for name, each in named.items())
    for keyword in _IN_LISTS:
        if keyword in schema:
            listed = schema[keyword] = list(schema[keyword])
            found += ((listed, index, each) for index, each in enumerate(listed))
    found += ((schema, key, schema[key]) for key in _DIRECT if key in schema)
    return found
