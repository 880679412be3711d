"""Import layers, deferred imports, and names of modules and classes."""

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import openrouter_async

ROOT = Path(openrouter_async.__file__).parent
PACKAGE = "openrouter_async"

# From the lowest layer to the highest. A module imports only from what stands before
# it, or from its own folder.
LAYERS = (
    *("types", "version", "config", "errors", "sse", "threads", "files"),
    *("extras", "protocol", "structured", "transport", "stream", "parsed", "pending"),
    *("tools", "batch", "catalogue", "chat", "batches", "client", "__init__"),
    *("relay", "otel", "adapters", "ray", "testing", "cli", "__main__"),
)
LAYER = {name: number for number, name in enumerate(LAYERS)}
BELOW_ROOT = LAYERS[: LAYER["__init__"]]

PURE = {"types", "version", "config", "errors", "sse", "protocol", "structured"}
PURE_FOLDERS = {
    ("batch", "rows"),
    *(
        ("relay", name)
        for name in ("relay_formats", "ai_sdk", "public_errors", "ui_messages")
    ),
}
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
HOSTED = "openrouter_async.types.hosted"
GENERATION = "openrouter_async.types.generation"

# Modules that import others on first use, to keep the import fast.
DEFERRED: dict[tuple[str, ...], set[str]] = {
    ("__init__",): {
        *(
            "openrouter_async.batch",
            "openrouter_async.parsed",
            "openrouter_async.tools",
        ),
        "openrouter_async.structured.response_format",
        "openrouter_async.transport.concurrency_limiter",
    },
    ("types", "__init__"): {*LONG_TAIL, HOSTED, GENERATION},
    ("chat",): {
        *(
            "openrouter_async.batch",
            "openrouter_async.parsed",
            "openrouter_async.tools",
        ),
        "openrouter_async.structured.output_parser",
        "openrouter_async.structured.response_format",
    },
    ("client",): {
        *(
            "openrouter_async.batches",
            "openrouter_async.catalogue.generations",
            "openrouter_async.catalogue.usage",
            "openrouter_async.tools",
            "openrouter_async.transport.client_budgets",
        ),
        GENERATION,
    },
    ("transport", "transport"): {"openrouter_async.transport.client_budgets"},
    ("transport", "proxies"): {"openrouter_async.transport.no_proxy"},
    ("batch", "journal"): {"filelock"},
    ("types", "parts"): {"openrouter_async.files"},
    ("types", "request"): LONG_TAIL,
    ("types", "request_fields"): LONG_TAIL,
    ("types", "tools"): {"openrouter_async.tools", "openrouter_async.tools.arguments"},
    # Only costs with more than 12 decimals need them.
    ("protocol", "usage_sums"): {"decimal", "openrouter_async.protocol.money"},
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
def test_pure_module_has_no_io_time_or_randomness(parts: tuple[str, ...]) -> None:
    """No asyncio, clock, environment or random number: such values are passed in."""
    asynchronous = [
        node.lineno
        for node in ast.walk(TREES[parts])
        if isinstance(
            node, ast.AsyncFunctionDef | ast.AsyncFor | ast.AsyncWith | ast.Await
        )
    ]
    time_reads = [
        node.lineno
        for node in ast.walk(TREES[parts])
        if isinstance(node, ast.Attribute) and node.attr in {"now", "utcnow", "today"}
    ]

    # `from_path` of the content parts is a coroutine that reads the file elsewhere.
    assert asynchronous == [] or parts == ("types", "parts")
    assert time_reads == []
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

    # `cli` starts the command line.
    assert code == [] or parts == ("cli", "__init__")


@every_module
def test_module_has_a_docstring(parts: tuple[str, ...]) -> None:
    assert ast.get_docstring(TREES[parts])
