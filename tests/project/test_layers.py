"""Import layers, the public names, and the import time of the package."""

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

# From the lowest layer to the highest. A module imports only from what stands before
# it, or from its own folder.
LAYERS = (
    *("types", "version", "config", "errors", "sse", "files", "extras"),
    *("protocol", "structured", "transport", "stream", "parsed"),
    *("tools", "batch", "catalogue", "chat", "batches", "client", "__init__"),
    *("relay", "otel", "adapters", "ray", "testing", "cli", "__main__"),
)
LAYER = {name: number for number, name in enumerate(LAYERS)}
BELOW_ROOT = LAYERS[: LAYER["__init__"]]

PURE = {"types", "version", "config", "errors", "sse", "protocol", "structured"}
PURE_FOLDERS = {("batch", "rows")}
NOT_PURE = {
    *("aiohttp", "asyncio", "concurrent", "http", "logging", "multiprocessing", "os"),
    *("pathlib", "random", "secrets", "select", "selectors", "signal", "socket"),
    *("ssl", "subprocess", "tempfile", "threading", "time"),
}

# The only upward imports. Three methods of shapes import what they need:
# `from_path`, `ToolCall.parse` and `FunctionTool.from_function`.
UPWARD: dict[tuple[str, ...], set[str]] = {
    ("types", "parts"): {"files"},
    ("types", "tools"): {"tools"},
}

VAGUE_NAMES = {
    *("utils", "util", "helpers", "helper", "common", "misc", "base", "core"),
    *("models", "manager", "managers", "_utils", "_models"),
}

LONG_TAIL = {"openrouter_async.types.plugins", "openrouter_async.types.server_tools"}
OPTIONAL = {
    f"openrouter_async.{name}"
    for name in ("batch", "structured.output_parser", "parsed", "tools")
}

# Modules that import others on first use, to keep the import fast.
DEFERRED: dict[tuple[str, ...], set[str]] = {
    ("__init__",): {
        *(
            "openrouter_async.batch",
            "openrouter_async.parsed",
            "openrouter_async.tools",
        ),
        "openrouter_async.structured.response_format",
        "openrouter_async.transport.limiter",
    }
    | LONG_TAIL,
    ("chat",): {
        *(
            "openrouter_async.batch",
            "openrouter_async.parsed",
            "openrouter_async.tools",
        ),
        "openrouter_async.structured.output_parser",
        "openrouter_async.structured.response_format",
        "openrouter_async.transport.limiter",
    },
    ("batch", "journal"): {"filelock"},
    ("types", "parts"): {"openrouter_async.files"},
    ("types", "request"): LONG_TAIL,
    ("types", "request_fields"): LONG_TAIL,
    ("types", "tools"): {"openrouter_async.tools", "openrouter_async.tools.arguments"},
    # For the suggestion in an error.
    ("protocol", "body"): {"difflib"},
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


def own(name: tuple[str, ...]) -> tuple[str, ...]:
    """The parts, as in MODULES, of a module of the package."""
    inside = name[1:]
    return inside if inside in MODULES else (*inside, "__init__")


def label(parts: tuple[str, ...]) -> str:
    return ".".join(parts)


every_module = pytest.mark.parametrize("parts", MODULES, ids=label)


def is_pure(parts: tuple[str, ...]) -> bool:
    return parts[0] in PURE or parts[:2] in PURE_FOLDERS


def test_every_module_has_a_layer() -> None:
    assert {parts[0] for parts in MODULES} - LAYER.keys() == set()


@every_module
def test_module_imports_only_from_lower_layers(parts: tuple[str, ...]) -> None:
    top = parts[0]
    found = {own(name)[0] for name in imported(parts) if name[0] == PACKAGE}

    upward = {name for name in found - {top} if LAYER[name] >= LAYER[top]}
    assert upward == UPWARD.get(parts, set())


def test_imports_form_no_cycle() -> None:
    """The three upward imports of shapes are deferred, and left out."""
    graph: dict[str, set[str]] = {}
    for parts in MODULES:
        inner = {own(name) for name in imported(parts) if name[0] == PACKAGE}
        graph[label(parts)] = {
            label(name)
            for name in inner - {parts}
            if name[0] not in UPWARD.get(parts, set())
        }

    order = list(TopologicalSorter(graph).static_order())

    assert order.index("errors") < order.index("client") < order.index("__init__")


@pytest.mark.parametrize(
    "parts", [parts for parts in MODULES if parts[0] in BELOW_ROOT], ids=label
)
def test_only_listed_imports_are_deferred(parts: tuple[str, ...]) -> None:
    top = [id(node) for node in TREES[parts].body]
    inside = {
        ".".join(name)
        for node in ast.walk(TREES[parts])
        if isinstance(node, ast.Import | ast.ImportFrom) and id(node) not in top
        for name in named(node, parts)
    }

    assert inside == DEFERRED.get(parts, set())


@pytest.mark.parametrize(
    ("library", "folders"),
    [
        ("aiohttp", {"transport"}),
        ("cattrs", {"protocol", "structured"}),
        ("cattr", set[str]()),
        ("orjson", {"protocol"}),
        ("jiter", set[str]()),
        ("pydantic", set[str]()),
    ],
)
def test_library_is_imported_only_by_its_folders(
    library: str, folders: set[str]
) -> None:
    users = {
        parts[0]
        for parts in MODULES
        if parts[0] in BELOW_ROOT
        and any(name[0] == library for name in imported(parts))
    }

    assert users == folders


@pytest.mark.parametrize("parts", [*filter(is_pure, MODULES)], ids=label)
def test_pure_module_has_no_io_and_no_clock(parts: tuple[str, ...]) -> None:
    """No asyncio, clock, environment or random number: such values are passed in."""
    asynchronous = [
        node.lineno
        for node in ast.walk(TREES[parts])
        if isinstance(
            node, ast.AsyncFunctionDef | ast.AsyncFor | ast.AsyncWith | ast.Await
        )
    ]
    clock_reads = [
        node.lineno
        for node in ast.walk(TREES[parts])
        if isinstance(node, ast.Attribute) and node.attr in {"now", "utcnow", "today"}
    ]

    # `from_path` of the content parts is a coroutine that reads the file elsewhere.
    assert asynchronous == [] or parts == ("types", "parts")
    assert clock_reads == []
    assert {name[0] for name in imported(parts)} & NOT_PURE == set()


def test_no_two_modules_share_a_name() -> None:
    names = [
        parts[-1]
        for parts in MODULES
        if parts[0] != "cli" and parts[-1] not in {"__init__", "__main__"}
    ]

    assert sorted(names) == sorted(set(names))


def test_no_two_classes_share_a_name() -> None:
    names = [
        node.name
        for tree in TREES.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    ]

    assert sorted(names) == sorted(set(names))


def test_no_module_has_a_vague_name() -> None:
    assert [label(parts) for parts in MODULES if VAGUE_NAMES & set(parts)] == []


@pytest.mark.parametrize(
    "parts", [parts for parts in MODULES if parts[-1] == "__init__"], ids=label
)
def test_init_module_only_reexports(parts: tuple[str, ...]) -> None:
    """Imports, `__all__`, and the tables and functions of a deferred import."""
    allowed = ast.Import | ast.ImportFrom | ast.Assign | ast.If | ast.Expr
    code = [node for node in TREES[parts].body if not isinstance(node, allowed)]

    # `types` loads the long tail, and `cli` the command line, on first use.
    assert code == [] or parts in {("types", "__init__"), ("cli", "__init__")}


@every_module
def test_module_has_a_docstring(parts: tuple[str, ...]) -> None:
    assert ast.get_docstring(TREES[parts])


# --- public names ----------------------------------------------------------------


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

    assert (OPTIONAL | LONG_TAIL | absent) & set(loaded) == set()
    assert set(after) >= OPTIONAL | LONG_TAIL
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
        if parts[0] not in BELOW_ROOT:
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
