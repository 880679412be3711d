"""Example values for a JSON Schema: the structured output of the local server."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias, cast

Schema: TypeAlias = Mapping[str, Any]

_FORMATS = {
    "date-time": "2026-01-02T03:04:05Z",
    "date": "2026-01-02",
    "time": "03:04:05Z",
    "duration": "PT1H30M",
    "email": "ada@example.com",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uri": "https://example.com/",
    "url": "https://example.com/",
    "uuid": "12345678-1234-4234-8234-123456789abc",
}
_NUMBER_KEYWORDS = (
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
)


class _EndlessSchemaError(Exception):
    """A schema requires itself; the caller tries another branch, or leaves it out."""


def example_value(schema: object, *, name: str = "value") -> Any:
    """
    Return a value that is valid for a JSON Schema, the same one for the same schema.

    Optional properties are included. `pattern`, `not`, `if` and `contains` are
    ignored; a schema with one of them needs `examples` or `default`, from which the
    value is taken.

    Args:
        schema: A mapping, or True for any value.
        name: Name of the value; strings contain it, as in "example city".
    """
    try:
        return _ExampleBuilder(schema).build(schema, name, 0, ())
    except _EndlessSchemaError:
        # No finite value is valid.
        return {}


class _ExampleBuilder:
    """Builds the values of one schema; `root` is what its references start from."""

    def __init__(self, root: object) -> None:
        self.root = root

    def build(
        self, schema: object, name: str, number: int, trail: tuple[str, ...]
    ) -> Any:
        """
        Build a value.

        Args:
            schema: The schema or a part of it.
            name: Name of the property.
            number: Position among the values of an array, from 0, so that they differ.
            trail: References that were followed to get here.

        Raises:
            _EndlessSchemaError: If every valid value contains itself.
        """
        if not isinstance(schema, Mapping):
            return f"example {name}"
        node = cast("Schema", schema)
        if (reference := node.get("$ref")) is not None:
            if reference in trail:
                raise _EndlessSchemaError
            target = _lookup(self.root, str(reference))
            return self.build(target, name, number, (*trail, str(reference)))
        if "allOf" in node:
            return self.build(self._merged(node), name, number, trail)
        if branches := node.get("anyOf") or node.get("oneOf"):
            return self._first(branches, name, number, trail)
        choices = [node[key] for key in ("const", "default") if key in node]
        choices = node.get("enum") or node.get("examples") or choices
        if choices:
            return choices[number % len(choices)]
        return self._typed(node, name, number, trail)

    def _typed(
        self, node: Schema, name: str, number: int, trail: tuple[str, ...]
    ) -> Any:
        kind = _type_of(node)
        if kind == "object":
            return self._object(node, trail)
        if kind == "array":
            return self._array(node, name, trail)
        if kind in ("integer", "number"):
            return _number(node, number, whole=kind == "integer")
        if kind == "boolean":
            return number % 2 == 0
        if kind == "null":
            return None
        return _string(node, name, number)

    def _first(
        self, branches: Sequence[Any], name: str, number: int, trail: tuple[str, ...]
    ) -> Any:
        """Build a value of the first branch that has a finite one; null comes last."""
        for branch in sorted(branches, key=_is_null):
            try:
                return self.build(branch, name, number, trail)
            except _EndlessSchemaError:
                continue
        raise _EndlessSchemaError

    def _object(self, node: Schema, trail: tuple[str, ...]) -> dict[str, Any]:
        values: dict[str, Any] = {}
        required = node.get("required", ())
        properties = node.get("properties", {})
        for key in [*properties, *(key for key in required if key not in properties)]:
            try:
                values[key] = self.build(properties.get(key, True), key, 0, trail)
            except _EndlessSchemaError:
                if key in required:
                    raise
        for number in range(len(values), node.get("minProperties", 0)):
            rest = node.get("additionalProperties", True)
            values[f"key_{number}"] = self.build(rest, "value", number, trail)
        return values

    def _array(self, node: Schema, name: str, trail: tuple[str, ...]) -> list[Any]:
        min_items = node.get("minItems", 0)
        prefix = node.get("prefixItems", ())
        count = max(min_items, len(prefix), min(1, node.get("maxItems", 1)))
        values: list[Any] = []
        for number in range(count):
            item = prefix[number] if number < len(prefix) else node.get("items", True)
            if item is False:
                break
            try:
                values.append(self.build(item, name, number, trail))
            except _EndlessSchemaError:
                if number < min_items:
                    raise
                break
        return values

    def _merged(self, node: Schema) -> dict[str, Any]:
        """Merge the members of `allOf` into one schema."""
        merged: dict[str, Any] = {}
        for part in (*node["allOf"], {k: v for k, v in node.items() if k != "allOf"}):
            resolved = dict(part)
            while "$ref" in resolved:
                resolved = {**_lookup(self.root, resolved.pop("$ref")), **resolved}
            for key, value in resolved.items():
                if key == "properties":
                    merged[key] = {**merged.get(key, {}), **value}
                elif key == "required":
                    merged[key] = [*merged.get(key, ()), *value]
                else:
                    merged[key] = value
        return merged


def _lookup(root: object, reference: str) -> Any:
    """Return the schema at "#/$defs/Name"; {} (any value) if it does not exist."""
    found = root
    for step in reference.removeprefix("#").split("/")[1:]:
        key = step.replace("~1", "/").replace("~0", "~")
        if not isinstance(found, Mapping):
            return {}
        found = cast("Schema", found).get(key, {})
    return found


def _is_null(branch: object) -> bool:
    return isinstance(branch, Mapping) and cast("Schema", branch).get("type") == "null"


def _type_of(node: Schema) -> str:
    kind = node.get("type")
    if isinstance(kind, list):
        return str(next((k for k in cast("list[str]", kind) if k != "null"), "null"))
    if kind is None:
        if "properties" in node or "required" in node:
            return "object"
        if "items" in node or "prefixItems" in node:
            return "array"
        if any(keyword in node for keyword in _NUMBER_KEYWORDS):
            return "number"
    return str(kind)


def _number(node: Schema, number: int, *, whole: bool) -> int | float:
    """Return the `number`-th valid number, counted from 1 if that is valid."""
    least, most = node.get("minimum", -math.inf), node.get("maximum", math.inf)
    above = node.get("exclusiveMinimum", -math.inf)
    below = node.get("exclusiveMaximum", math.inf)
    low, high = max(least, above), min(most, below)
    step: float = node.get("multipleOf", 1 if whole else 0)
    if not step:
        return _between(low, high, number)
    # Count in multiples of the step, so that rounding cannot give an invalid value.
    first = -math.inf if low == -math.inf else math.ceil(low / step)
    first += above == low and first * step == low
    last = math.inf if high == math.inf else math.floor(high / step)
    last -= below == high and last * step == high
    return int(min(max(first, 1) + number, last)) * step


def _between(low: float, high: float, number: int) -> float:
    """Return a number strictly between two bounds, or the bound if they are equal."""
    if math.isinf(low) and math.isinf(high):
        return 1.5 + number
    if math.isinf(high):
        return low + 1.0 + number
    if math.isinf(low):
        return high - 1.0 - number
    return low + (high - low) / (number + 2)


def _string(node: Schema, name: str, number: int) -> str:
    text = _FORMATS.get(node.get("format", ""))
    if text is None:
        text = f"example {name}" + (f" {number + 1}" if number else "")
        least = node.get("minLength", 0)
        text = text.ljust(least, ".")[: node.get("maxLength", len(text) + least)]
    return text
