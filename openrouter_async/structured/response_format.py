"""Request fields that ask for JSON of a type: `response_format` and `provider`."""

from collections.abc import Mapping
from typing import Any, cast

import attrs
from typing_extensions import TypeForm

from ..types import JsonSchemaFormat, ProviderPreferences
from .output_parser import parser_of
from .schema import Schema


def json_schema_format(
    kind: TypeForm[Any], *, name: str | None = None, strict: bool | None = None
) -> JsonSchemaFormat:
    """
    Return the `response_format` that asks for JSON of a type.

    `send(output=...)` sets it by itself. A `response_format` that is passed together
    with `output` is sent instead.

    Args:
        kind: An attrs class, a dataclass, a TypedDict, a union, a list, ...
        name: The name of the schema; the default is made from the type's name.
        strict: If True, the provider must hold the model to the schema; with an open
            schema no endpoint may be left, and the request fails with 404. Defaults to
            True if the schema is closed, else to False.

    Raises:
        TypeError: If the type has no JSON Schema.
    """
    form: Any = kind
    return _json_schema_format(parser_of(form).schema, name, strict=strict)


def require_schema(body: dict[str, Any], schema: Schema) -> None:
    """
    Make a request body ask for JSON of a schema, from providers that support it.

    Fields that the body has already are kept.
    """
    if body.get("response_format") is None:
        body["response_format"] = _json_schema_format(schema)
    provider = body.get("provider")
    if provider is None:
        body["provider"] = {"require_parameters": True}
    elif isinstance(provider, ProviderPreferences):
        if provider.require_parameters is None:
            body["provider"] = attrs.evolve(provider, require_parameters=True)
    elif isinstance(provider, Mapping):
        preferences = cast("Mapping[str, Any]", provider)
        body["provider"] = {"require_parameters": True, **preferences}


def _json_schema_format(
    schema: Schema, name: str | None = None, *, strict: bool | None = None
) -> JsonSchemaFormat:
    response_format: JsonSchemaFormat = {
        "type": "json_schema",
        "json_schema": {
            "name": name or schema.name,
            "strict": schema.strict if strict is None else strict,
            "schema": schema.document,
        },
    }
    if schema.description:
        response_format["json_schema"]["description"] = schema.description
    return response_format
