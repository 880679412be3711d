"""The code blocks, signatures and names of the README."""

import ast
import builtins
import inspect
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from support import without_slow_callbacks

import openrouter_async
from openrouter_async import AsyncOpenRouter, Retries, otel, relay, testing, types
from openrouter_async.chat import Chat
from openrouter_async.testing import LocalOpenRouter

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
PROSE = re.sub(r"```.*?```", "", README, flags=re.DOTALL)
NAMESPACES: tuple[ModuleType, ...] = (
    *(openrouter_async, types, testing, relay, otel, builtins),
)

# Names of Python, of web frameworks, and of OpenRouter's SDK for Go.
FOREIGN = {
    *("Annotated", "Any", "Decimal", "Literal", "Path", "SSLContext", "TypedDict"),
    *("Stream", "StreamingResponse", "StreamingHttpResponse", "Response"),
    *("EventSourceResponse", "AbortController"),
    *("WithClient", "WithRetryConfig", "WithSecurity", "WithServerURL"),
    *("WithSetHeaders", "WithTimeout"),
}


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_block_runs_without_output_on_stderr(number: int, tmp_path: Path) -> None:
    script = tmp_path / "block.py"
    script.write_text(BLOCKS[number], "utf-8")
    with LocalOpenRouter() as server:
        done = subprocess.run(
            [sys.executable, "-W", "error", "-X", "dev", str(script)],
            env={
                "OPENROUTER_BASE_URL": server.url,
                "OPENROUTER_API_KEY": "sk-or-v1-readme",
                "PYTHONPATH": str(ROOT),
            },
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    assert (done.returncode, without_slow_callbacks(done.stderr)) == (0, "")


def test_blocks_pass_mypy(tmp_path: Path) -> None:
    """Also names in branches that no block executes exist."""
    pytest.importorskip("mypy")
    paths = [tmp_path / f"block_{number}.py" for number in range(len(BLOCKS))]
    for path, block in zip(paths, BLOCKS, strict=True):
        path.write_text(block, "utf-8")

    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", *map(str, paths)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert len(paths) >= 6
    assert done.returncode == 0, done.stdout + done.stderr


def test_classes_named_in_prose_exist() -> None:
    names = {
        name
        for code in re.findall(r"`([^`]+)`", PROSE)
        for name in re.findall(r"(?<![\w/.-])[A-Z][a-z]\w*\b(?!-)", code)
    }
    missing = {
        name for name in names if not any(hasattr(at, name) for at in NAMESPACES)
    }

    assert len(names) > 60
    assert missing - FOREIGN == set()


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("client.chat.send", Chat.send),
        ("run_tools", Chat.run_tools),
        ("client.chat.send_many", Chat.send_many),
        ("Retries", Retries),
    ],
)
def test_signature_in_prose_is_the_real_one(
    name: str, function: Callable[..., Any]
) -> None:
    written = max(re.findall(rf"`{re.escape(name)}(\([^`]*\))`", PROSE), key=len)
    (parsed,) = ast.parse(f"def function{written}: ...").body
    assert isinstance(parsed, ast.FunctionDef)
    arguments = parsed.args
    defaults = [*arguments.defaults, *filter(None, arguments.kw_defaults)]
    names = [
        at.arg
        for at in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)
    ]
    real = [
        at
        for at in inspect.signature(function).parameters.values()
        if at.name != "self" and at.kind is not at.VAR_KEYWORD
    ]

    assert names == [at.name for at in real]
    assert [ast.literal_eval(at) for at in defaults] == [
        at.default for at in real if at.default is not at.empty
    ]


def test_methods_of_the_client_named_in_prose_exist() -> None:
    """Written as `client.name`."""
    names = set(re.findall(r"`(?:await )?client\.(?!py\b)(\w+)", PROSE))

    assert names >= {"chat", "request", "stats", "with_options"}
    assert {name for name in names if not hasattr(AsyncOpenRouter, name)} == set()
