"""What a docstring tells: its first paragraph, and a line or more for each name."""

import inspect
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

# Compiled at first use.
_SECTION: Final = r"(Args|Arguments|Attributes|Parameters|Fields):\s*$"
_ENTRY: Final = r"(\s*)\*{0,2}(\w+)(?:\s*\([^)]*\))?:\s*(.*)$"
_FIELD: Final = r":(?:param|var|ivar)\s+(?:[^:]*\s)?(\w+):\s*(.*)$"


class Described(NamedTuple):
    """
    What a docstring tells.

    Attributes:
        summary: Its first paragraph, on one line; "" if there is none.
        names: What it says of each argument or attribute.
    """

    summary: str
    names: Mapping[str, str]


def describe(documented: Any) -> Described:
    """Read the docstring of a function or class; none is inherited or made up."""
    text = getattr(documented, "__doc__", None)
    if isinstance(documented, type):
        text = documented.__dict__.get("__doc__")
        # What dataclasses and named tuples write themselves is only the signature.
        if isinstance(text, str) and text.startswith(f"{documented.__name__}("):
            text = None
    if not isinstance(text, str):
        return Described("", {})
    lines = inspect.cleandoc(text).splitlines()
    summary: list[str] = []
    for line in lines:
        if not line.strip() or re.match(_SECTION, line) or re.match(_FIELD, line):
            break
        summary.append(line.strip())
    return Described(" ".join(summary), dict(_names(lines)))


def _names(lines: list[str]) -> Iterator[tuple[str, str]]:
    """Find the entries of Google's sections and of reST's field lists."""
    name, words, indent = "", list[str](), -1
    inside = False
    for line in lines:
        depth = len(line) - len(line.lstrip())
        entry = re.match(_FIELD, line.strip())
        if entry is None and inside and line.strip() and depth:
            found = re.match(_ENTRY, line)
            if found is not None and (indent < 0 or depth <= indent):
                entry, indent = found, depth
        if entry is not None:
            if name:
                yield name, " ".join(words)
            *_, name, first = entry.groups()
            words = [first] if first else []
        elif name and line.strip() and depth:
            words.append(line.strip())
        else:
            if name:
                yield name, " ".join(words)
            name, words = "", []
            if line.strip():
                inside, indent = re.match(_SECTION, line) is not None, -1
    if name:
        yield name, " ".join(words)
