"""
Values that a JSON Schema allows, and the same values with random changes.

Only the keywords of OpenRouter's chat schemas are supported. Any other fails an
assertion, so that a new one is noticed. Hypothesis draws one seed per value, because
drawing every member takes fifty times as long.
"""

from collections.abc import Callable, Sequence
from copy import deepcopy
from random import Random
from typing import Any, Final

from hypothesis import strategies as st

Json = Any
Schema = dict[str, Any] | bool
Values = st.SearchStrategy[Json]

# Keywords that do not restrict the values.
_ANNOTATIONS: Final = frozenset(
    ("title", "description", "default", "deprecated", "$schema", "$comment", "$defs")
)
_SUPPORTED: Final = frozenset(
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
# Values that no schema allows.
_HOSTILE: Final[Sequence[Json]] = (
    *(10**40, -(10**40), 2**64, 1e308, "\ud800", "\udc00\ud800", [None], [[]], [{}]),
    *({"": None}, {"error": ""}, {"error": {"code": 10**20}}, {"index": -1}, {"index": "0"}),
    *([[[[[[[[[[[[1]]]]]]]]]]]], ["a", 1, {"text": 1}], {"type": None}, {"function": []}),
)  # fmt: skip
_MAX_OPTIONAL: Final = 6


class Document:
    """
    A JSON Schema to draw values from.

    Args:
        root: The complete document, including `$defs`.
    """

    def __init__(self, root: dict[str, Any]) -> None:
        self._root = root

    def draw(self, random: Random) -> Json:
        """Draw a value that the schema allows."""
        return self._of(self._root, random)

    def _of(self, schema: Schema, random: Random) -> Json:
        if isinstance(schema, bool):
            assert schema
            return anything(random)
        unknown = schema.keys() - _SUPPORTED - _ANNOTATIONS
        assert not unknown, f"Unsupported keywords: {sorted(unknown)}."
        if "$ref" in schema:
            return self._of(self._resolve(schema["$ref"]), random)
        alternatives = schema.get("anyOf") or schema.get("oneOf")
        if alternatives:
            return self._of(random.choice(alternatives), random)
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return random.choice(schema["enum"])
        return self._of_type(schema, random)

    def _resolve(self, reference: str) -> Schema:
        node: Any = self._root
        for step in reference.removeprefix("#/").split("/"):
            node = node[step]
        return node  # type: ignore[no-any-return]

    def _of_type(self, schema: dict[str, Any], random: Random) -> Json:
        kind = schema.get("type")
        if kind == "object":
            return self._object(schema, random)
        if kind == "array":
            items = schema.get("items", True)
            return [self._of(items, random) for _ in range(random.randint(0, 3))]
        if schema.get("format") == "date":
            return f"2026-{random.randint(1, 12):02}-{random.randint(1, 28):02}"
        return _SCALARS[kind](random)

    def _object(self, schema: dict[str, Any], random: Random) -> Json:
        members = schema.get("properties", {})
        required = schema.get("required", ())
        optional = [name for name in members if name not in required]
        count = min(len(optional), random.randint(0, _MAX_OPTIONAL))
        drawn: dict[str, Json] = {}
        extra = schema.get("additionalProperties", True)
        if extra is not False and random.random() < 0.3:
            drawn[text(random)] = self._of(extra, random)
        names = [*required, *random.sample(optional, count)]
        random.shuffle(names)
        for name in names:
            drawn[name] = self._of(members[name], random)
        return drawn


def text(random: Random) -> str:
    return "".join(random.choices(_TEXTS, k=random.choice((1, 1, 2, 4))))


def integer(random: Random) -> int:
    if random.random() < 0.5:
        return random.choice(_INTEGERS)
    return random.randint(-(2**53), 2**53)


def number(random: Random) -> float:
    # A number without a fraction may be written as an integer.
    kind = random.randrange(4)
    if kind == 0:
        return integer(random)
    return random.choice(_FLOATS) if kind == 1 else random.uniform(-1e3, 1e3)


def anything(random: Random, depth: int = 3) -> Json:
    """Draw any JSON value."""
    kind = random.randrange(7 if depth else 5)
    match kind:
        case 0:
            return None
        case 1:
            return random.random() < 0.5
        case 2:
            return number(random)
        case 3 | 4:
            return text(random)
        case 5:
            return [anything(random, depth - 1) for _ in range(random.randrange(3))]
        case _:
            count = random.randrange(3)
            return {text(random): anything(random, depth - 1) for _ in range(count)}


_SCALARS: Final[dict[str | None, Callable[[Random], Json]]] = {
    "string": text,
    "integer": integer,
    "number": number,
    "boolean": lambda random: random.random() < 0.5,
    "null": lambda _: None,
    None: anything,
}


def seeded(make: Callable[[Random], Json]) -> Values:
    """Return a strategy that calls a function with a seeded random generator."""
    return st.integers(0, 2**64 - 1).map(lambda seed: make(Random(seed)))


def mutated(values: Values) -> Values:
    """Return a strategy of values with one to four members changed, at any depth."""
    return st.tuples(values, st.integers(0, 2**64 - 1)).map(
        lambda pair: changed(pair[0], Random(pair[1]))
    )


def changed(value: Json, random: Random) -> Json:
    """Return a copy of a value with one to four members changed, at any depth."""
    value = deepcopy(value)
    for _ in range(random.randint(1, 4)):
        parents = [node for node in _nodes(value) if node]
        if not parents:
            break
        parent: Any = random.choice(parents)
        is_object = parent.__class__ is dict
        step = random.choice([*parent] if is_object else range(len(parent)))
        new = random.choice((_hostile, anything))(random)
        match random.randrange(5):
            case 0 | 1:
                parent[step] = new
            case 2:
                del parent[step]
            case 3:
                parent[step] = (
                    [parent[step]] if random.random() < 0.5 else {"": parent[step]}
                )
            case _ if is_object:
                parent[random.choice((*parent, text(random)))] = new
            case _:
                parent.append(new)
    return value


def _hostile(random: Random) -> Json:
    return deepcopy(random.choice(_HOSTILE))


def _nodes(value: Json) -> list[Any]:
    found: list[Any] = []
    todo: list[Any] = [value]
    while todo:
        node = todo.pop()
        if isinstance(node, dict | list):
            found.append(node)
            todo += node.values() if isinstance(node, dict) else node
    return found
