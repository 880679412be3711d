"""Docstrings as descriptions: the summary, and the entry of each parameter."""

import inspect
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

# Strings, not compiled patterns: most programs never use them, and `re` caches.
_SECTION: Final = r"(Args|Arguments|Attributes|Parameters|Fields):\s*$"
_ENTRY: Final = r"(\s*)\*{0,2}(\w+)(?:\s*\([^)]*\))?:\s*(.*)$"
_REST_FIELD: Final = r":(?:param|var|ivar)\s+(?:[^:]*\s)?(\w+):\s*(.*)$"


class Docstring(NamedTuple):
    """
    The parts of a docstring.

    Attributes:
        summary: The first paragraph, on one line; "" if there is none.
        entries: The description of each parameter or attribute.
    """

    summary: str
    entries: Mapping[str, str]


def parse_docstring(documented: Any) -> Docstring:
    """Parse the docstring of a function or class; inherited ones are ignored."""
    text = getattr(documented, "__doc__", None)
    if isinstance(documented, type):
        text = documented.__dict__.get("__doc__")
        # Dataclasses and named tuples generate a docstring: their signature.
        if isinstance(text, str) and text.startswith(f"{documented.__name__}("):
            text = None
    if not isinstance(text, str):
        return Docstring("", {})
    lines = inspect.cleandoc(text).splitlines()
    summary: list[str] = []
    for line in lines:
        if not line.strip() or re.match(_SECTION, line) or re.match(_REST_FIELD, line):
            break
        summary.append(line.strip())
    return Docstring(" ".join(summary), dict(_entries(lines)))


def _entries(lines: list[str]) -> Iterator[tuple[str, str]]:
    """Yield the entries of Google-style sections and of reST field lists."""
    name, texts, indent = "", list[str](), -1
    in_section = False
    for line in lines:
        depth = len(line) - len(line.lstrip())
        entry = re.match(_REST_FIELD, line.strip())
        if entry is None and in_section and line.strip() and depth:
            found = re.match(_ENTRY, line)
            # A deeper line continues the entry, even if it looks like one.
            if found is not None and (indent < 0 or depth <= indent):
                entry, indent = found, depth
        if entry is not None:
            if name:
                yield name, " ".join(texts)
            *_, name, first = entry.groups()
            texts = [first] if first else []
        elif name and line.strip() and depth:
            texts.append(line.strip())
        else:
            if name:
                yield name, " ".join(texts)
            name, texts = "", []
            if line.strip():
                in_section, indent = re.match(_SECTION, line) is not None, -1
    if name:
        yield name, " ".join(texts)
