"""The built documentation: every public name is in the reference, and links work."""

import importlib
import inspect
import subprocess
import sys
import zlib
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import attrs
import pytest

pytest.importorskip("sphinx", reason="the [docs] extra is not installed")
pytest.importorskip("furo", reason="the [docs] extra is not installed")
pytest.importorskip("myst_parser", reason="the [docs] extra is not installed")

ROOT = Path(__file__).parents[2]

# Public modules; names of a module without `__all__` are listed.
MODULES: dict[str, tuple[str, ...] | None] = {
    "openrouter_async": None,
    "openrouter_async.types": None,
    "openrouter_async.batch": None,
    "openrouter_async.batches": ("Batches",),
    "openrouter_async.tools": None,
    "openrouter_async.sse": None,
    "openrouter_async.relay": None,
    "openrouter_async.testing": None,
    "openrouter_async.catalogue": None,
    "openrouter_async.otel": None,
    "openrouter_async.ray": ("RayRun",),
    "openrouter_async.adapters.httpx": ("OpenRouterTransport",),
    "openrouter_async.adapters.mcp": ("MCPSession", "mcp_tools"),
}


def public_names() -> list[tuple[str, str]]:
    """Return the module and the name of each public object."""
    names: list[tuple[str, str]] = []
    for module, listed in MODULES.items():
        exported = listed or importlib.import_module(module).__all__
        names += ((module, name) for name in exported if name != "__version__")
    return names


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the documentation; a warning is an error."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "docs", folder],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return folder


def read_inventory(site: Path) -> dict[str, str]:
    """Return the name of each documented Python object, and its address."""
    # Four lines of text, then the entries, compressed.
    *_, entries = (site / "objects.inv").read_bytes().split(b"\n", 4)
    lines = zlib.decompress(entries).decode().splitlines()
    return {
        name: address.replace("$", name)
        for name, kind, _, address, _ in (line.split(" ", 4) for line in lines)
        if kind.startswith("py:")
    }


def addresses(module: str, name: str) -> set[str]:
    """Return the names under which an object that is exported may be documented."""
    value = getattr(importlib.import_module(module), name)
    found = {f"{module}.{name}", f"openrouter_async.{name}"}
    if inspect.isclass(value) or inspect.isroutine(value):
        found.add(f"{value.__module__}.{value.__qualname__}")
    return found


def test_every_public_name_is_in_the_reference(site: Path) -> None:
    inventory = read_inventory(site)
    missing = [
        f"{module}.{name}"
        for module, name in public_names()
        if inventory.keys().isdisjoint(addresses(module, name))
    ]

    assert len(inventory) > 300
    assert missing == []


class Page(HTMLParser):
    """The anchors of a page and its links within the site."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.anchors = {""}
        self.links: set[str] = set()
        self.feed(path.read_text("utf-8"))

    def handle_starttag(
        self,
        tag: str,  # noqa: ARG002 - the signature of HTMLParser
        attrs: list[tuple[str, str | None]],
    ) -> None:
        """Collect what a tag defines and what it links to."""
        for name, value in attrs:
            if name == "id" and value:
                self.anchors.add(value)
            elif name in {"href", "src"} and value and not urlsplit(value).scheme:
                self.links.add(value)


def test_every_link_within_the_site_has_a_target(site: Path) -> None:
    pages = {
        path: Page(path) for path in site.rglob("*.html") if "_static" not in path.parts
    }
    broken: list[str] = []
    for path, page in pages.items():
        for link in page.links:
            address = urlsplit(link)
            target = path
            if address.path:
                target = (path.parent / unquote(address.path)).resolve()
            anchor = unquote(address.fragment)
            if not target.exists() or (
                target in pages and anchor not in pages[target].anchors
            ):
                broken.append(f"{path.relative_to(site)}: {link}")

    assert len(pages) > 25
    assert broken == []


def members() -> list[str]:
    """
    Return the public methods and properties of all public classes.

    Lazy fields are properties too. They are described with the other fields.
    """
    found: list[str] = []
    for module, name in public_names():
        value = getattr(importlib.import_module(module), name)
        if inspect.isclass(value) and value.__module__.startswith("openrouter_async"):
            fields = attrs.fields_dict(value) if attrs.has(value) else {}
            found += (
                f"{value.__module__}:{value.__qualname__}.{member}"
                for member, function in vars(value).items()
                if not member.startswith("_")
                and member not in fields
                and (inspect.isroutine(function) or isinstance(function, property))
            )
    return sorted(set(found))


@pytest.mark.parametrize("member", members())
def test_public_member_has_a_docstring(member: str) -> None:
    module, _, path = member.partition(":")
    owner, _, name = path.rpartition(".")

    function = inspect.getattr_static(
        getattr(importlib.import_module(module), owner), name
    )

    assert inspect.getdoc(getattr(function, "__func__", function))
