"""
Values that a JSON Schema allows, and the same values, changed.

It knows the words that OpenRouter's chat schemas use, and refuses any other, so that a
new one is noticed. Hypothesis draws one seed for each value: to draw every member takes
fifty times as long.
"""

from collections.abc import Callable, Sequence
from copy import deepcopy
from random import Random
from typing import Any, Final

from hypothesis import strategies as st

Json = Any
Schema = dict[str, Any] | bool
Values = st.SearchStrategy[Json]

# What says nothing about the values.
_WORDS: Final = frozenset(
    ("title", "description", "default", "deprecated", "$schema", "$comment", "$defs")
)
_KNOWN: Final = frozenset(
    (
        *("type", "enum", "const", "anyOf", "oneOf", "$ref", "items", "format"),
        *("properties", "required", "additionalProperties"),
    )
)
_TEXTS: Final[Sequence[str]] = (
    *("", "a", "Hello", " ", "\n", '"', "\\", "\0", "\x7f", "\u2028", "\ufeff", "null"),
    *(
        "é",
        "日本",
        "\U0001f600",
        "data: x\n\n",
        "[DONE]",
        "</html>",
        "x" * 300,
        "1e999",
    ),
)
_INTEGERS: Final[Sequence[int]] = (0, 1, -1, 2, 200, 429, 2**31, 2**53, -(2**53))
_FLOATS: Final[Sequence[float]] = (0.0, -0.0, 0.5, -1.5, 0.1, 1e16, 1e308, 5e-324, 1e-7)
# What the schemas do not dream of.
_HOSTILE: Final[Sequence[Json]] = (
    *(10**40, -(10**40), 2**64, 1e308, "\ud800", "\udc00\ud800", [None], [[]], [{}]),
    *({"": None}, {"error": ""}, {"error": {"code": 10**20}}, {"index": -1}, {"index": "0"}),
    *([[[[[[[[[[[[1]]]]]]]]]]]], ["a", 1, {"text": 1}], {"type": None}, {"function": []}),
)  # fmt: skip
_MOST_OPTIONAL: Final = 6


class Document:
    """
    A schema to draw values from.

    Args:
        root: The whole document, `$defs` included.
    """

    def __init__(self, root: dict[str, Any]) -> None:
        self._root = root

    def draw(self, chance: Random) -> Json:
        """Draw a value that it allows."""
        return self._of(self._root, chance)

    def _of(self, schema: Schema, chance: Random) -> Json:
        if isinstance(schema, bool):
            assert schema
            return anything(chance)
        unknown = schema.keys() - _KNOWN - _WORDS
        assert not unknown, f"A schema uses {sorted(unknown)}."
        if "$ref" in schema:
            return self._of(self._named(schema["$ref"]), chance)
        ways = schema.get("anyOf") or schema.get("oneOf")
        if ways:
            return self._of(chance.choice(ways), chance)
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return chance.choice(schema["enum"])
        return self._of_type(schema, chance)

    def _named(self, place: str) -> Schema:
        node: Any = self._root
        for step in place.removeprefix("#/").split("/"):
            node = node[step]
        return node  # type: ignore[no-any-return]

    def _of_type(self, schema: dict[str, Any], chance: Random) -> Json:
        kind = schema.get("type")
        if kind == "object":
            return self._object(schema, chance)
        if kind == "array":
            items = schema.get("items", True)
            return [self._of(items, chance) for _ in range(chance.randint(0, 3))]
        if schema.get("format") == "date":
            return f"2026-{chance.randint(1, 12):02}-{chance.randint(1, 28):02}"
        return _SCALARS[kind](chance)

    def _object(self, schema: dict[str, Any], chance: Random) -> Json:
        members = schema.get("properties", {})
        needed = schema.get("required", ())
        optional = [name for name in members if name not in needed]
        some = min(len(optional), chance.randint(0, _MOST_OPTIONAL))
        found: dict[str, Json] = {}
        further = schema.get("additionalProperties", True)
        if further is not False and chance.random() < 0.3:
            found[text(chance)] = self._of(further, chance)
        names = [*needed, *chance.sample(optional, some)]
        chance.shuffle(names)
        for name in names:
            found[name] = self._of(members[name], chance)
        return found


def text(chance: Random) -> str:
    return "".join(chance.choices(_TEXTS, k=chance.choice((1, 1, 2, 4))))


def integer(chance: Random) -> int:
    if chance.random() < 0.5:
        return chance.choice(_INTEGERS)
    return chance.randint(-(2**53), 2**53)


def number(chance: Random) -> float:
    # A number without a fraction may be written as an integer.
    kind = chance.randrange(4)
    if kind == 0:
        return integer(chance)
    return chance.choice(_FLOATS) if kind == 1 else chance.uniform(-1e3, 1e3)


def anything(chance: Random, depth: int = 3) -> Json:
    """Draw any JSON."""
    kind = chance.randrange(7 if depth else 5)
    match kind:
        case 0:
            return None
        case 1:
            return chance.random() < 0.5
        case 2:
            return number(chance)
        case 3 | 4:
            return text(chance)
        case 5:
            return [anything(chance, depth - 1) for _ in range(chance.randrange(3))]
        case _:
            count = chance.randrange(3)
            return {text(chance): anything(chance, depth - 1) for _ in range(count)}


_SCALARS: Final[dict[str | None, Callable[[Random], Json]]] = {
    "string": text,
    "integer": integer,
    "number": number,
    "boolean": lambda chance: chance.random() < 0.5,
    "null": lambda _: None,
    None: anything,
}


def seeded(make: Callable[[Random], Json]) -> Values:
    """Return a strategy of what a function makes of a seed."""
    return st.integers(0, 2**64 - 1).map(lambda seed: make(Random(seed)))  # noqa: S311


def mutated(values: Values) -> Values:
    """Return a strategy of values with one to four members changed, at any depth."""
    return st.tuples(values, st.integers(0, 2**64 - 1)).map(
        lambda drawn: changed(drawn[0], Random(drawn[1]))  # noqa: S311
    )


def changed(value: Json, chance: Random) -> Json:
    """Change one to four members of a value, at any depth; it stays as it is."""
    value = deepcopy(value)
    for _ in range(chance.randint(1, 4)):
        parents = [node for node in _nodes(value) if node]
        if not parents:
            break
        parent: Any = chance.choice(parents)
        is_object = parent.__class__ is dict
        step = chance.choice([*parent] if is_object else range(len(parent)))
        new = chance.choice((_hostile, anything))(chance)
        match chance.randrange(5):
            case 0 | 1:
                parent[step] = new
            case 2:
                del parent[step]
            case 3:
                parent[step] = (
                    [parent[step]] if chance.random() < 0.5 else {"": parent[step]}
                )
            case _ if is_object:
                parent[chance.choice((*parent, text(chance)))] = new
            case _:
                parent.append(new)
    return value


def _hostile(chance: Random) -> Json:
    return deepcopy(chance.choice(_HOSTILE))


def _nodes(value: Json) -> list[Any]:
    found: list[Any] = []
    todo: list[Any] = [value]
    while todo:
        node = todo.pop()
        if isinstance(node, dict | list):
            found.append(node)
            todo += node.values() if isinstance(node, dict) else node
    return found
