"""The public names, the modules that the import loads, and deferred loading."""

import ast
import inspect
import json
import subprocess
import sys
from types import ModuleType
from typing import Any

import pytest
from test_layers import BELOW_ROOT, LONG_TAIL, TREES

import openrouter_async
from openrouter_async import types

EXPORTED = {
    *(("", name) for name in openrouter_async.__all__ if name != "__version__"),
    *((".types", name) for name in types.__all__),
}
LOADED_ON_FIRST_USE = {
    f"openrouter_async.{name}"
    for name in ("batch", "structured.output_parser", "parsed", "tools")
}
NEVER_LOADED = {
    *(f"openrouter_async.{name}" for name in ("relay", "otel", "ray", "testing")),
    *("opentelemetry", "ray", "ijson"),
}


def sort_key(name: str) -> tuple[int, str]:
    """Constants, classes, then functions: the order of ruff's RUF022."""
    kind = 0 if name.isupper() else 1 if name[0].isupper() else 2
    return kind, name


def run(program: str) -> str:
    """Run a program in a fresh interpreter and return its output."""
    command = [sys.executable, "-W", "error", "-c", program]
    return subprocess.run(command, capture_output=True, check=True, text=True).stdout


def test_all_lists_the_public_names() -> None:
    bound = {
        name
        for name in dir(openrouter_async)
        if not name.startswith("_")
        and not isinstance(getattr(openrouter_async, name), ModuleType)
    }

    assert set(openrouter_async.__all__) == bound | {"__version__"}


@pytest.mark.parametrize("module", [openrouter_async, types])
def test_dir_lists_names_that_are_not_loaded_yet(module: ModuleType) -> None:
    assert set(dir(module)) >= set(module.__all__)


@pytest.mark.parametrize("module", [openrouter_async, types])
def test_all_is_sorted(module: ModuleType) -> None:
    assert module.__all__ == sorted(set(module.__all__), key=sort_key)


def test_root_has_about_a_hundred_names() -> None:
    """Rarer shapes are imported from `openrouter_async.types`."""
    assert len(openrouter_async.__all__) <= 105


def test_deferred_names_are_the_same_for_type_checkers() -> None:
    (block,) = [node for node in TREES["__init__",].body if isinstance(node, ast.If)]
    checked = {
        f".{node.module}": tuple(alias.name for alias in node.names)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
    }

    assert checked == vars(openrouter_async)["_DEFERRED"]


_IMPORT_ALL = """
import json, sys
import openrouter_async
loaded = sorted(sys.modules)
from openrouter_async import *
found = [name for name in openrouter_async.__all__ if name in globals()]
after = sorted(sys.modules)
from openrouter_async import types
from openrouter_async.types import *
found_types = [name for name in types.__all__ if name in globals()]
listed = [dir(openrouter_async), dir(types)]
print(json.dumps([loaded, found, after, found_types, sorted(sys.modules), listed]))
"""


def test_import_loads_only_what_most_programs_need() -> None:
    loaded, found, after, found_types, at_end, listed = json.loads(run(_IMPORT_ALL))
    absent = {"decimal", "difflib", "concurrent.futures.thread", "pydantic", "jiter"}

    assert (LOADED_ON_FIRST_USE | LONG_TAIL | absent) & set(loaded) == set()
    assert set(after) >= LOADED_ON_FIRST_USE
    assert (LONG_TAIL | NEVER_LOADED) & set(after) == set()
    assert set(at_end) >= LONG_TAIL
    assert found == openrouter_async.__all__
    assert found_types == types.__all__
    assert set(listed[0]) >= set(found)
    assert set(listed[1]) >= set(found_types)


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
def test_first_use_of_a_deferred_module_raises_its_own_errors(use: str) -> None:
    """Each call is the first of its process, and is rejected by the loaded module."""
    program = f"""
from openrouter_async import AsyncOpenRouter, FunctionTool, ToolCall, OpenRouterError
from openrouter_async.types import ToolCallFunction
try:
    ({use})()
except (OpenRouterError, TypeError) as error:
    print("rejected", error)
"""
    assert run(program).startswith("rejected")


@pytest.mark.parametrize("module", [openrouter_async, types])
def test_unknown_name_raises_attribute_error(module: ModuleType) -> None:
    with pytest.raises(AttributeError, match=f"'{module.__name__}' has no .* 'nobody'"):
        getattr(module, "nobody")  # noqa: B009 - a literal name is an error to mypy


def has_docstring_below(name: str) -> bool:
    """Return True if a string follows the assignment of a name, as its docstring."""
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


@pytest.mark.parametrize(("module", "name"), sorted(EXPORTED))
def test_public_name_has_a_docstring(module: str, name: str) -> None:
    """A constant has a string below its assignment."""
    value = getattr(sys.modules[f"openrouter_async{module}"], name)

    if inspect.isclass(value) or inspect.isroutine(value):
        assert value.__doc__
    else:
        assert has_docstring_below(name)


def test_version_is_three_numbers() -> None:
    major, minor, patch, *_ = openrouter_async.__version__.split(".")

    assert major.isdigit()
    assert minor.isdigit()
    assert patch[:1].isdigit()
