"""What a request says to be answered with JSON of a type."""

from collections.abc import Mapping
from typing import Any, cast

import attrs
from typing_extensions import TypeForm

from ..types import JsonSchemaFormat, ProviderPreferences
from .output_parser import reader_of
from .schema import Schema


def json_schema_format(
    kind: TypeForm[Any], *, name: str | None = None, strict: bool | None = None
) -> JsonSchemaFormat:
    """
    Return the `response_format` that asks for JSON of a type.

    `output=` sets it by itself; with `output=` and this together, this is sent.

    Args:
        kind: An attrs class, a dataclass, a TypedDict, a union, a list, ...
        name: What it is called; made of the type's name unless given.
        strict: Whether the provider must hold to it; as far as it can be unless
            given. True may leave no endpoint, a 404.

    Raises:
        TypeError: JSON has nothing for the type.
    """
    wanted: Any = kind
    return _format(reader_of(wanted).schema, name, strict=strict)


def require_schema(body: dict[str, Any], schema: Schema) -> None:
    """Add to a chat body what is needed to be answered so; what it says itself wins."""
    if body.get("response_format") is None:
        body["response_format"] = _format(schema)
    provider = body.get("provider")
    if provider is None:
        body["provider"] = {"require_parameters": True}
    elif isinstance(provider, ProviderPreferences):
        if provider.require_parameters is None:
            body["provider"] = attrs.evolve(provider, require_parameters=True)
    elif isinstance(provider, Mapping):
        given = cast("Mapping[str, Any]", provider)
        body["provider"] = {"require_parameters": True, **given}


def _format(
    schema: Schema, name: str | None = None, *, strict: bool | None = None
) -> JsonSchemaFormat:
    made: JsonSchemaFormat = {
        "type": "json_schema",
        "json_schema": {
            "name": name or schema.name,
            "strict": schema.strict if strict is None else strict,
            "schema": schema.document,
        },
    }
    if schema.description:
        made["json_schema"]["description"] = schema.description
    return made
