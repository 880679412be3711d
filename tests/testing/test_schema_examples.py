from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest

from openrouter_async.testing.schema_examples import example_value


@pytest.mark.parametrize(
    "schema",
    [
        True,
        {"type": "string", "minLength": 30, "maxLength": 40},
        {"type": "string", "maxLength": 3},
        {"type": "string", "format": "date-time"},
        {"type": "integer", "minimum": 5, "maximum": 9, "multipleOf": 4},
        {"type": "integer", "exclusiveMinimum": 5, "exclusiveMaximum": 7},
        {"type": "integer", "maximum": -3},
        {"type": "integer", "minimum": 0},
        {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
        {"type": "number", "minimum": 4},
        {"type": "number", "maximum": -4},
        {"type": "number", "multipleOf": 0.5, "minimum": 2},
        {"minimum": 3},
        {"type": "number"},
        {"type": "boolean"},
        {"type": "null"},
        {"type": ["null", "integer"]},
        {"type": ["null"]},
        {"const": 7},
        {"enum": ["b", "a"]},
        {"type": "string", "default": "d"},
        {"type": "string", "examples": ["e"], "pattern": "^e$"},
        {"anyOf": [{"type": "null"}, {"type": "integer"}]},
        {"oneOf": [{"type": "string"}, {"type": "integer"}]},
        {
            "type": "array",
            "items": {"type": "integer"},
            "minItems": 3,
            "uniqueItems": True,
        },
        {
            "type": "array",
            "items": {"type": "string"},
            "minItems": 2,
            "uniqueItems": True,
        },
        {
            "type": "array",
            "prefixItems": [{"type": "string"}, {"type": "null"}],
            "items": False,
        },
        {"type": "array", "items": False},
        {"items": {"enum": [1, 2]}, "maxItems": 0},
        {"required": ["a"]},
        {
            "type": "object",
            "minProperties": 2,
            "additionalProperties": {"type": "integer"},
        },
        {
            "allOf": [
                {"$ref": "#/$defs/base"},
                {
                    "type": "object",
                    "properties": {"b": {"type": "null"}},
                    "required": ["b"],
                },
            ],
            "$defs": {
                "base": {
                    "type": "object",
                    "properties": {"a": {"const": 1}},
                    "required": ["a"],
                }
            },
        },
        {
            "$ref": "#/$defs/no~1de",
            "$defs": {
                "no/de": {
                    "type": "object",
                    "properties": {
                        "next": {
                            "anyOf": [{"$ref": "#/$defs/no~1de"}, {"type": "null"}]
                        },
                        "children": {
                            "type": "array",
                            "items": {"$ref": "#/$defs/no~1de"},
                        },
                        "other": {"$ref": "#/$defs/no~1de"},
                    },
                    "required": ["next", "children"],
                    "additionalProperties": False,
                }
            },
        },
    ],
)
def test_example_is_valid_for_its_schema(schema: Any) -> None:
    jsonschema.validate(example_value(schema), schema)


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"anyOf": [{"$ref": "#"}]},
        {"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]},
        {"type": "array", "items": {"$ref": "#"}, "minItems": 1},
    ],
)
def test_schema_without_finite_value_gets_an_empty_object(schema: Any) -> None:
    assert example_value({"type": "object", "properties": {}, **schema}) == {}


def test_broken_reference_allows_any_value() -> None:
    assert example_value({"$ref": "#/$defs/lost"}) == "example value"
    assert example_value({"$ref": "#/title/x", "title": "t"}) == "example value"
