"""The names, signatures, links and examples in the pages of the documentation."""

import ast
import builtins
import inspect
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import openrouter_async
from openrouter_async import (
    AsyncOpenRouter,
    Retries,
    batch,
    batches,
    errors,
    otel,
    ray,
    relay,
    testing,
    types,
)
from openrouter_async.adapters import httpx as httpx_adapter
from openrouter_async.adapters import mcp as mcp_adapter
from openrouter_async.chat import Chat

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
README = (ROOT / "README.md").read_text("utf-8")
PAGES = {
    **{path.name: path.read_text("utf-8") for path in sorted(DOCS.glob("*.md"))},
    "README.md": README,
    "CONTRIBUTING.md": (ROOT / "CONTRIBUTING.md").read_text("utf-8"),
}
PROSE = re.sub(r"(?ms)^```.*?^```", "", "".join(PAGES.values()))
# Classes of other clients.
MIGRATION = re.sub(r"(?ms)^```.*?^```", "", PAGES["migrating.md"])
NAMESPACES: tuple[ModuleType, ...] = (
    *(openrouter_async, types, testing, batch, batches, errors, relay, otel, builtins),
    *(httpx_adapter, mcp_adapter, ray),
)

# Names of Python, of web frameworks, and invented ones.
FOREIGN = {
    *("Attributes", "Call", "CancelledError", "MyClass", "NotSent"),
    "Summarise",
    *("Annotated", "Any", "Decimal", "Literal", "Path", "SSLContext", "TypedDict"),
    *("Stream", "StreamingResponse", "StreamingHttpResponse", "Response"),
    *("EventSourceResponse", "AbortController", "EventSource"),
    *("TextStreamChatTransport", "BaseHTTPMiddleware", "AsyncClient", "Client"),
    # Exceptions of httpx, and headers.
    *("UnsupportedProtocol", "ReadTimeout", "PoolTimeout", "ConnectTimeout"),
    *("ConnectError", "RemoteProtocolError", "ReadError"),
    *("Retry", "Accel", "Buffering", "Stainless", "Referer"),
    # A prompt, and a value of a column.
    *("Summarise", "NotSent"),
}


@pytest.mark.parametrize("name", ["quickstart", "streaming"])
def test_programs_of_the_readme_are_examples(name: str) -> None:
    """test_docs_examples.py runs them."""
    docstring, _, program = (
        (DOCS / "examples" / f"{name}.py").read_text().partition('"""\n\n')
    )

    assert docstring
    assert f"```python\n{program}```" in README


def test_readme_is_short() -> None:
    assert len(README.splitlines()) <= 200
    assert len(re.findall("```python", README)) == 2


def test_classes_named_in_prose_exist() -> None:
    names = {
        name
        for code in re.findall(r"`([^`]+)`", PROSE.replace(MIGRATION, ""))
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


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_links_to_files_have_a_target(name: str) -> None:
    """Links between the pages of the site are checked in test_docs_site.py."""
    text = (ROOT / name).read_text("utf-8")
    links = re.findall(r"\]\(((?!https?:)[^)#]+)", text)

    assert len(links) >= 2
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_every_page_is_linked_from_the_readme() -> None:
    pages = {path.name for path in DOCS.glob("*.md")} - {"index.md", "changelog.md"}

    assert {page for page in pages if f"(docs/{page})" not in README} == set()


def test_every_option_of_the_client_is_in_its_table() -> None:
    options = set(inspect.signature(AsyncOpenRouter).parameters) - {"clock"}
    rows = re.findall(r"^\| (`.*?) \|", PAGES["client.md"], re.MULTILINE)

    assert options - set(re.findall(r"`(\w+)`", " ".join(rows))) == set()


def test_modules_named_in_the_architecture_exist() -> None:
    package = Path(inspect.getfile(openrouter_async)).parent
    text = PAGES["architecture.md"]
    named = set(re.findall(r"`((?:protocol|transport|structured)/\w+)", text))
    for folder, modules in re.findall(r"^\| `(\w+/)` \| (.*) \|$", text, re.MULTILINE):
        if folder in {"protocol/", "transport/"}:
            named |= {folder + name for name in re.findall(r"`(\w+)/?`", modules)}

    assert len(named) > 20
    assert {
        name
        for name in named
        if not any((package / f"{name}{end}").exists() for end in (".py", ""))
    } == set()
