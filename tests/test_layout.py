"""The floors of the package: imports point down, and only one module does each thing."""

import ast
import inspect
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import openrouter_async

ROOT = Path(openrouter_async.__file__).parent
PACKAGE = "openrouter_async"

FLOORS: dict[str, float] = {
    "types": 0,
    "version": 0,
    "errors": 1,
    "codec": 2,
    "retry": 2,
    "schema": 2,
    "sse": 2,
    "record": 2,
    "envelope": 3,
    "fold": 3,
    "output": 3,
    "wire": 4,
    "settings": 5,
    "transport": 5,
    "media": 5,
    "stream": 6,
    "batch": 6,
    "parsed": 6.5,
    "tools": 6.5,
    "chat": 7,
    "client": 8,
    "__init__": 9,
    "testing": 10,
    "cli": 11,
    "__main__": 12,
}

PURE = [name for name, place in FLOORS.items() if place < 5] + ["settings"]

NOT_PURE = {
    *("aiohttp", "asyncio", "concurrent", "http", "logging", "multiprocessing", "os"),
    *("pathlib", "random", "secrets", "select", "selectors", "signal", "socket"),
    *("ssl", "subprocess", "tempfile", "threading", "time"),
}

EMPTY_WORDS = {
    *("utils", "util", "helpers", "helper", "common", "misc", "base", "core"),
    *("models", "manager", "managers", "_utils", "_models"),
}

SOURCES = sorted(path for path in ROOT.rglob("*.py"))
MODULES = {path.relative_to(ROOT).with_suffix("").parts: path for path in SOURCES}
TREES = {parts: ast.parse(path.read_bytes()) for parts, path in MODULES.items()}


def imported(parts: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """
    Every module that a module imports, as the parts of its name.

    Those of the package begin with its name; `from .a import b` is `a.b` where that
    is a module, else `a`.
    """
    for node in ast.walk(TREES[parts]):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield tuple(alias.name.split("."))
        elif isinstance(node, ast.ImportFrom):
            here = (PACKAGE, *parts[:-1])
            start = here[: len(here) - node.level + 1] if node.level else ()
            module = (*start, *(node.module or "").split(".")) if node.module else start
            for alias in node.names:
                deeper = (*module, alias.name)
                yield deeper if is_module(deeper) else module


def is_module(name: tuple[str, ...]) -> bool:
    inside = name[1:]
    return name[0] == PACKAGE and (
        inside in MODULES or (*inside, "__init__") in MODULES
    )


def floor(top: str) -> float:
    """Where a module stands; one without a place yet stands above the door."""
    return FLOORS.get(top, 10)


def own(name: tuple[str, ...]) -> tuple[str, ...]:
    """The parts, as in MODULES, of a module of the package."""
    inside = name[1:]
    return inside if inside in MODULES else (*inside, "__init__")


def label(parts: tuple[str, ...]) -> str:
    return ".".join(parts)


every_module = pytest.mark.parametrize("parts", MODULES, ids=label)


def test_every_module_has_a_floor() -> None:
    """A new module is put on its floor here, and none is forgotten."""
    assert {parts[0] for parts in MODULES} - FLOORS.keys() == set()
    assert FLOORS.keys() - {parts[0] for parts in MODULES} == set()


@every_module
def test_imports_point_down(parts: tuple[str, ...]) -> None:
    """A module imports only from lower floors, or from its own folder."""
    top = parts[0]
    found = [own(name)[0] for name in imported(parts) if name[0] == PACKAGE]

    upward = {name for name in found if name != top and floor(name) >= floor(top)}
    assert upward == set()


def test_no_imports_run_in_a_circle() -> None:
    """Siblings inside a folder may import each other, without a cycle."""
    graph: dict[str, set[str]] = {}
    for parts in MODULES:
        inner = {own(name) for name in imported(parts) if name[0] == PACKAGE}
        graph[label(parts)] = {label(name) for name in inner - {parts}}

    order = list(TopologicalSorter(graph).static_order())

    assert order.index("errors") < order.index("client") < order.index("__init__")


@pytest.mark.parametrize(
    "parts", [parts for parts in MODULES if floor(parts[0]) < 10], ids=label
)
def test_no_cycle_is_hidden(parts: tuple[str, ...]) -> None:
    """There is no `if TYPE_CHECKING`, and no import inside a function."""
    tree = TREES[parts]
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    attributes = {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute)}
    inside = [
        inner.lineno
        for outer in ast.walk(tree)
        if isinstance(outer, ast.FunctionDef | ast.AsyncFunctionDef)
        for inner in ast.walk(outer)
        if isinstance(inner, ast.Import | ast.ImportFrom)
    ]

    assert "TYPE_CHECKING" not in names | attributes
    assert inside == []


@pytest.mark.parametrize(
    ("library", "modules"),
    [
        ("aiohttp", {"transport"}),
        ("cattrs", {"codec", "output"}),
        ("cattr", set[str]()),
        ("orjson", {"codec"}),
        ("jiter", set[str]()),
        ("pydantic", set[str]()),
    ],
)
def test_few_modules_know_each_library(library: str, modules: set[str]) -> None:
    """
    Only `transport` imports aiohttp, and only `codec` cattrs' backend.

    cattrs reads replies in `codec`, and in `output` what the caller asked for.
    """
    users = {
        parts[0]
        for parts in MODULES
        if floor(parts[0]) < 10 and any(name[0] == library for name in imported(parts))
    }

    assert users == modules


@pytest.mark.parametrize("library", ["cattrs", "cattr"])
def test_nobody_above_knows_cattrs(library: str) -> None:
    """Nor do the test server and the command line import it."""
    users = {
        parts[0] for parts in MODULES for name in imported(parts) if name[0] == library
    }

    assert users <= {"codec", "output"}


@pytest.mark.parametrize(
    "parts", [parts for parts in MODULES if parts[0] in PURE], ids=label
)
def test_below_transport_all_is_pure(parts: tuple[str, ...]) -> None:
    """Nothing there is async, waits, or reads a clock, the environment or a random number."""
    asynchronous = [
        node.lineno
        for node in ast.walk(TREES[parts])
        if isinstance(
            node, ast.AsyncFunctionDef | ast.AsyncFor | ast.AsyncWith | ast.Await
        )
    ]
    now = [
        node.lineno
        for node in ast.walk(TREES[parts])
        if isinstance(node, ast.Attribute) and node.attr in {"now", "utcnow", "today"}
    ]

    assert asynchronous == []
    assert now == []
    assert {name[0] for name in imported(parts)} & NOT_PURE == set()


def test_modules_are_named_by_what_they_hold() -> None:
    """There is no drawer for everything; and here a model is an LLM."""
    assert [label(parts) for parts in MODULES if EMPTY_WORDS & set(parts)] == []


@every_module
def test_every_module_says_what_it_is(parts: tuple[str, ...]) -> None:
    """Each begins with a docstring."""
    assert ast.get_docstring(TREES[parts])


# --- the one door ----------------------------------------------------------------


def place(name: str) -> tuple[int, str]:
    """Where a name stands in `__all__`: constants, classes, then the rest."""
    kind = 0 if name.isupper() else 1 if name[0].isupper() else 2
    return kind, name


def test_all_is_what_is_public() -> None:
    """`__all__` has every public name, sorted, once, and no other."""
    bound = {
        name
        for name, value in vars(openrouter_async).items()
        if not name.startswith("_") and not isinstance(value, ModuleType)
    }

    assert set(openrouter_async.__all__) == bound | {"__version__"}
    assert openrouter_async.__all__ == sorted(set(openrouter_async.__all__), key=place)


def test_the_door_holds_nothing_of_its_own() -> None:
    """`__init__` has imports and `__all__`, and nothing else."""
    docstring, *statements = TREES["__init__",].body

    assert isinstance(docstring, ast.Expr)
    assert [
        ast.unparse(node)
        for node in statements
        if not isinstance(node, ast.ImportFrom)
        and not ast.unparse(node).startswith("__all__ = ")
    ] == []


def described(name: str) -> bool:
    """Whether a string stands below the assignment of a name, as its docstring."""
    for parts, tree in TREES.items():
        if floor(parts[0]) > 9:
            continue
        for node, following in zip(tree.body, tree.body[1:], strict=False):
            targets: list[Any] = (
                node.targets
                if isinstance(node, ast.Assign)
                else [node.target]
                if isinstance(node, ast.AnnAssign)
                else []
            )
            if any(isinstance(at, ast.Name) and at.id == name for at in targets):
                return isinstance(following, ast.Expr) and isinstance(
                    following.value, ast.Constant
                )
    return False


@pytest.mark.parametrize("name", sorted({*openrouter_async.__all__} - {"__version__"}))
def test_every_public_name_is_described(name: str) -> None:
    """Each has a docstring: its own, or a string below the assignment."""
    value = getattr(openrouter_async, name)

    if inspect.isclass(value) or inspect.isroutine(value):
        assert value.__doc__
    else:
        assert described(name)


def test_the_version_is_a_version() -> None:
    """The version is three numbers, perhaps with a word behind."""
    major, minor, patch, *_ = openrouter_async.__version__.split(".")

    assert major.isdigit()
    assert minor.isdigit()
    assert patch[:1].isdigit()
