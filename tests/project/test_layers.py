"""The floors of the package: imports point down, and only one module does each thing."""

import ast
import inspect
import json
import subprocess
import sys
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

# Of `batch`, what says how a run goes, and does nothing.
DECIDING = ("items", "results", "control", "budget", "verdict", "index", "stats")

NOT_PURE = {
    *("aiohttp", "asyncio", "concurrent", "http", "logging", "multiprocessing", "os"),
    *("pathlib", "random", "secrets", "select", "selectors", "signal", "socket"),
    *("ssl", "subprocess", "tempfile", "threading", "time"),
}

EMPTY_WORDS = {
    *("utils", "util", "helpers", "helper", "common", "misc", "base", "core"),
    *("models", "manager", "managers", "_utils", "_models"),
}

LONG_TAIL = {"openrouter_async.types.plugins", "openrouter_async.types.server_tools"}
BESIDES = {
    f"openrouter_async.{name}" for name in ("batch", "output", "parsed", "tools")
}

# Who puts what off until it is first used; an import should not pay for it.
PUT_OFF: dict[tuple[str, ...], set[str]] = {
    ("__init__",): BESIDES | LONG_TAIL,
    ("chat",): BESIDES,
    ("types", "request"): LONG_TAIL,
    # For the hint in an error.
    ("wire", "body"): {"difflib"},
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
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from named(node, parts)


def named(
    node: ast.Import | ast.ImportFrom, parts: tuple[str, ...]
) -> Iterator[tuple[str, ...]]:
    """Yield the modules that one statement imports."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield tuple(alias.name.split("."))
        return
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
def test_only_what_is_put_off_is_imported_inside(parts: tuple[str, ...]) -> None:
    """
    Imports stand at the top, but for those of what is put off.

    The floors hold for these as well, so they hide no cycle.
    """
    top = [id(node) for node in TREES[parts].body]
    inside = {
        ".".join(name)
        for node in ast.walk(TREES[parts])
        if isinstance(node, ast.Import | ast.ImportFrom) and id(node) not in top
        for name in named(node, parts)
    }

    assert inside == PUT_OFF.get(parts, set())


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


@pytest.mark.parametrize("name", DECIDING)
def test_what_decides_of_a_run_is_pure(name: str) -> None:
    """Engines on other machines use these: they know no asyncio, and none of `batch`'s."""
    parts = ("batch", name)
    ours = [own(found) for found in imported(parts) if found[0] == PACKAGE]

    assert {found[0] for found in imported(parts)} & NOT_PURE == set()
    assert {found[1] for found in ours if found[0] == "batch"} <= set(DECIDING)
    assert {found[0] for found in ours} - {"batch"} <= set(PURE)
    assert not any(isinstance(n, ast.AsyncFunctionDef) for n in ast.walk(TREES[parts]))


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
    there = {name: getattr(openrouter_async, name) for name in dir(openrouter_async)}
    bound = {
        name
        for name, value in there.items()
        if not name.startswith("_") and not isinstance(value, ModuleType)
    }

    assert set(openrouter_async.__all__) == bound | {"__version__"}
    assert openrouter_async.__all__ == sorted(set(openrouter_async.__all__), key=place)


def test_the_door_holds_nothing_of_its_own() -> None:
    """`__init__` has imports, what is put off, and `__all__`, and nothing else."""
    docstring, *statements = TREES["__init__",].body
    imports = ast.Import | ast.ImportFrom
    rest = [node for node in statements if not isinstance(node, imports)]

    assert isinstance(docstring, ast.Expr)
    assert [ast.unparse(node).split()[:2] for node in rest] == [
        ["if", "typing.TYPE_CHECKING:"],
        ["__all__", "="],
    ]


def test_what_is_put_off_is_said_twice_alike() -> None:
    """Type checkers see the very names, from the modules, that the table has."""
    (block,) = [node for node in TREES["__init__",].body if isinstance(node, ast.If)]
    seen = {
        f".{node.module}": tuple(alias.name for alias in node.names)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
    }

    assert seen == vars(openrouter_async)["_LATER"]


_FRESH = """
import json, sys
import openrouter_async
loaded = sorted(sys.modules)
from openrouter_async import *
found = [name for name in openrouter_async.__all__ if name in globals()]
print(json.dumps([loaded, found, dir(openrouter_async), sorted(sys.modules)]))
"""


def test_the_import_leaves_out_what_most_programs_do_without() -> None:
    """What is put off, and what only that needs, is loaded by the first use."""
    command = [sys.executable, "-c", _FRESH]
    answer = subprocess.run(command, capture_output=True, check=True)  # noqa: S603
    loaded, found, listed, after = json.loads(answer.stdout)
    absent = {"decimal", "difflib", "concurrent.futures.thread", "pydantic", "jiter"}

    assert (BESIDES | LONG_TAIL | absent) & set(loaded) == set()
    assert set(after) >= BESIDES | LONG_TAIL
    assert found == openrouter_async.__all__
    assert set(listed) >= set(openrouter_async.__all__)


@pytest.mark.parametrize(
    "use",
    [
        "ToolCall(function=ToolCallFunction('f', '[]')).parse",
        "lambda: FunctionTool.from_function(lambda: 0)",
        "lambda: AsyncOpenRouter('k').chat.send_many(None)",
        "lambda: AsyncOpenRouter('k').chat.run_tools(max_turns=0)",
        "lambda: AsyncOpenRouter('k').chat.send(output={}.items())",
    ],
)
def test_the_first_use_loads_what_was_put_off(use: str) -> None:
    """Whatever comes first finds its module, and refuses what it should."""
    names = "AsyncOpenRouter, FunctionTool, ToolCall, ToolCallFunction"
    program = f"""
from openrouter_async import {names}, OpenRouterError
try:
    ({use})()
except (OpenRouterError, TypeError) as error:
    print("refused", error)
"""
    command = [sys.executable, "-W", "error", "-c", program]
    answer = subprocess.run(command, capture_output=True, check=False, text=True)  # noqa: S603

    assert answer.stderr == ""
    assert answer.stdout.startswith("refused")


def test_a_name_that_there_is_not() -> None:
    """It is an AttributeError, as in any module."""
    with pytest.raises(AttributeError, match=r"'openrouter_async' has no .* 'nobody'"):
        getattr(openrouter_async, "nobody")  # noqa: B009


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
