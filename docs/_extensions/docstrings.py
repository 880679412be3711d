"""
A Sphinx extension: docstrings in this project's style, and links to the reference.

Docstrings are written to be read in the source, with `names` and indented code as in
Markdown. They are converted to reStructuredText, which autodoc expects.
"""

import ast
import inspect
import re
import typing
from itertools import pairwise
from pathlib import Path
from typing import Any

import attrs
from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.domains.python import PyObject
from sphinx.transforms import SphinxTransform
from sphinx.util.typing import restify

import openrouter_async
from openrouter_async import (
    batch,
    catalogue,
    otel,
    ray,
    relay,
    sse,
    testing,
    tools,
    types,
)
from openrouter_async.adapters import httpx, mcp

# Later ones win: a name is documented where it is imported from.
MODULES = (types, catalogue, sse, tools, batch, testing, otel, relay, openrouter_async)
PACKAGE = Path(openrouter_async.__file__).parent


def _alias_docstrings() -> dict[str, str]:
    """Return the string below each public assignment of a type alias or a constant."""
    found: dict[str, str] = {}
    for path in PACKAGE.rglob("*.py"):
        body = ast.parse(path.read_bytes()).body
        for node, following in pairwise(body):
            if (
                isinstance(node, ast.Assign | ast.AnnAssign)
                and isinstance(following, ast.Expr)
                and isinstance(following.value, ast.Constant)
                and isinstance(following.value.value, str)
            ):
                target = (
                    node.targets[0] if isinstance(node, ast.Assign) else node.target
                )
                found[ast.unparse(target)] = following.value.value
    return found


ALIASES = _alias_docstrings()
# Classes of objects that a client returns; their constructors are not public.
RETURNED = {
    *("Chat", "Batches", "ClientUsage", "ChatStream", "PendingStream", "ParsedStream"),
    *("PartialOutputs", "ToolRun", "ToolStream", "Tool", "BatchRun", "CallInfo"),
    *("RequestBuilder", "ToolLoop", "HostedBatches", "Script", "Null"),
}
SECTION = re.compile(r"\s*(Args|Attributes|Raises|Returns|Yields|Source):$")


def to_restructured_text(
    _app: Sphinx, _what: str, _name: str, _value: Any, _options: Any, lines: list[str]
) -> None:
    """
    Convert what docstrings write as Markdown does.

    1. An indented block after an empty line is code.
    2. A list needs no empty line around it.
    3. `code` that is not a name, and `Name`s.
    """
    converted: list[str] = []
    before, bullet = "", -1
    rest = list(lines)
    while rest:
        line = rest.pop(0)
        indent, depth = _indent(line), _indent(before)
        text = line.strip()
        after_empty_line = bool(converted) and not converted[-1].strip()
        if (
            text
            and before
            and after_empty_line
            and indent > depth
            and not SECTION.match(before)
        ):
            block = [line]
            while rest and (not rest[0].strip() or _indent(rest[0]) > depth):
                block.append(rest.pop(0))
            directive = f".. code-block:: {_language(block)}"
            converted += [" " * depth + directive, "", *block, ""]
            continue
        if text.startswith("- "):
            if bullet < 0 and not after_empty_line:
                converted.append("")
            bullet = indent
        elif text and bullet >= 0 and indent <= bullet:
            if not after_empty_line:
                converted.append("")
            bullet = -1
        converted.append(line)
        before = line if text else before
    text = "\n".join(converted)
    text = re.sub(r"(?<!`)`([^`]+)`(?!`)(\w?)", _inline_code, text)
    lines[:] = text.splitlines()


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _language(block: list[str]) -> str:
    """Return "python" if the block is Python, with `await` at the top level."""
    source = "async def block():\n" + "\n".join(f" {line}" for line in block)
    try:
        ast.parse(source)
    except SyntaxError:
        return "text"
    return "python"


def _inline_code(match: re.Match[str]) -> str:
    """Return a reference to a name, or else a literal."""
    code, letter = " ".join(match[1].split()), match[2] and "\\ " + match[2]
    if re.fullmatch(r"[\w.]+(\(\))?", code):
        return f"`{code}`{letter}"
    return f"``{code}``{letter}"


def describe_alias(
    _app: Sphinx, what: str, name: str, _value: Any, _options: Any, lines: list[str]
) -> None:
    """Use the string below the assignment also for a name that is imported."""
    alias = ALIASES.get(name.rpartition(".")[2])
    if what == "data" and alias is not None:
        lines[:] = [*inspect.cleandoc(alias).splitlines(), ""]


def leave_out_constructor(
    _app: Sphinx, what: str, name: str, value: Any, _options: Any, lines: list[str]
) -> None:
    """Leave out the docstring of an `__init__` that is generated, or not public."""
    if what != "class" or not lines:
        return
    text = inspect.getdoc(value.__init__) or ""
    is_constructor = lines[0].strip() == text.partition("\n")[0].strip()
    is_hidden = attrs.has(value) or name.rpartition(".")[2] in RETURNED
    # The second is the docstring that the constructor of a named tuple has.
    if (is_constructor and is_hidden) or lines[0].startswith("Create new instance of"):
        lines.clear()


def add_types(
    _app: Sphinx, what: str, _name: str, value: Any, _options: Any, lines: list[str]
) -> None:
    """Add the type of each documented attribute, and of each key of a TypedDict."""
    if what != "class":
        return
    if typing.is_typeddict(value):
        hints = typing.get_type_hints(value)
    elif attrs.has(value):
        hints = {field.name: field.type for field in attrs.fields(value)}
    else:
        return
    for line in tuple(lines):
        name = line.removeprefix(":ivar ").partition(":")[0]
        if line.startswith(":ivar ") and name in hints:
            lines.append(f":vartype {name}: {restify(hints[name], 'smart')}")
    lines.append("")


def restore_colon(
    _app: Sphinx, what: str, _name: str, _value: Any, _options: Any, lines: list[str]
) -> None:
    """Undo that napoleon takes the text before the first colon for a type."""
    if what not in {"property", "attribute", "data"}:
        return
    for number, line in enumerate(lines):
        if line.startswith(":type: "):
            lines[0] = f"{line.removeprefix(':type: ')}: {lines[0]}"
            del lines[number]
            return


def shorten_signature(
    _app: Sphinx,
    what: str,
    name: str,
    value: Any,
    _options: Any,
    signature: str | None,
    returned: str | None,
) -> tuple[str, str | None] | None:
    """
    Leave out signatures that nobody calls, and show the defaults of attrs classes.

    Nobody creates exceptions, protocols and the objects that a client returns.
    """
    is_protocol = what == "class" and getattr(value, "_is_protocol", False)
    if what == "exception" or is_protocol or name.rpartition(".")[2] in RETURNED:
        return "", None
    if what != "class" or signature is None or not attrs.has(value):
        return None
    fields = attrs.fields_dict(value)
    # `__init__` is generated code; its defaults are looked up in the class.
    signature = re.sub(
        r"attr_dict\['(\w+)'\]\.default",
        lambda match: _default(fields[match[1]].default),
        signature,
    )
    signature = re.sub(
        r"(\w+)(: (?:(?!, \w+: )[^=])*) = NOTHING",
        lambda match: f"{match[1]}{match[2]} = {_default(fields[match[1]].default)}",
        signature,
    )
    return signature, returned


def _default(value: Any) -> str:
    """Return the text of a default; of a factory, that of an empty value."""
    if isinstance(value, attrs.Factory):
        made = typing.get_origin(value.factory) or value.factory
        text = {list: "[]", dict: "{}"}.get(made, f"{made.__name__}()")
        return "..." if text.startswith("_") else text
    return repr(value)


class LinkNames(SphinxTransform):
    """Turn `name` in a page into a link if the reference documents that name."""

    default_priority = 500

    def apply(self, **_more: Any) -> None:
        """Replace each inline literal by a reference that may stay unresolved."""
        if self.env.docname.startswith("reference/"):
            return
        for literal in list(self.document.findall(nodes.literal)):
            name = literal.astext().removesuffix("()")
            if isinstance(literal.parent, nodes.reference | nodes.title | pending_xref):
                continue
            target = PUBLIC.get(name)
            if target is None:
                continue
            reference = pending_xref(
                "",
                refdomain="py",
                reftype="obj",
                reftarget=target,
                refexplicit=True,
                refwarn=True,
                refdoc=self.env.docname,
            )
            literal.replace_self(reference)
            reference += literal


class StackTables(SphinxTransform):
    """
    Prepare tables for narrow screens, where custom.css shows cells below each other.

    The head of the table is hidden there, so each cell from the second column on gets
    a label, unless there are only two columns. Wide tables are left to be scrolled.
    """

    default_priority = 500
    most_columns = 4

    def apply(self, **_more: Any) -> None:
        """Mark the tables and label their cells."""
        for table in self.document.findall(nodes.table):
            heads = [
                entry.astext().partition(":")[0]
                for head in table.findall(nodes.thead)
                for entry in head.findall(nodes.entry)
            ]
            if not 2 <= len(heads) <= self.most_columns:
                continue
            table["classes"].append("stacked")
            for body in table.findall(nodes.tbody):
                for row in body.findall(nodes.row):
                    self._label(row, heads)

    def _label(self, row: nodes.row, heads: list[str]) -> None:
        for entry, head in zip(row.children, heads, strict=True):
            assert isinstance(entry, nodes.entry)
            if not entry.astext().strip():
                entry["classes"].append("empty")
            elif entry is not row.children[0] and len(heads) > 2:
                label = nodes.inline("", f"{head}: ", classes=["cell-label"])
                entry[0].insert(0, label)


def _public_names() -> dict[str, str]:
    """Return the full name of each public name, and of the most used methods."""
    names = {
        name: f"{module.__name__}.{name}"
        for module in MODULES
        for name in getattr(module, "__all__", ())
    }
    names["OpenRouterTransport"] = f"{httpx.__name__}.OpenRouterTransport"
    names["mcp_tools"] = f"{mcp.__name__}.mcp_tools"
    names["RayRun"] = f"{ray.__name__}.RayRun"
    # A field of responses and errors, which pages name more often than the function.
    del names["generation_id"]
    for prefix, owner in (("client", "AsyncOpenRouter"), ("client.chat", "Chat")):
        for name in vars(getattr(openrouter_async, owner)):
            if not name.startswith("_"):
                names[f"{prefix}.{name}"] = f"openrouter_async.{owner}.{name}"
    return names


PUBLIC = _public_names()


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect the hooks."""
    for field in PyObject.doc_field_types:
        if field.name == "variable":
            field.label = "Attributes"
    app.connect("autodoc-process-signature", shorten_signature)
    app.connect("autodoc-process-docstring", leave_out_constructor, priority=50)
    app.connect("autodoc-process-docstring", describe_alias, priority=100)
    app.connect("autodoc-process-docstring", to_restructured_text, priority=200)
    app.connect("autodoc-process-docstring", restore_colon, priority=600)
    app.connect("autodoc-process-docstring", add_types, priority=900)
    app.add_transform(LinkNames)
    app.add_transform(StackTables)
    return {"parallel_read_safe": True}
