"""Where a value does not fit its type, and why."""

import re
from collections.abc import Iterator
from typing import Any

from cattrs.errors import BaseValidationError, IterableValidationNote


class InvalidValueError(Exception):
    """
    A value that does not fit, at the place where that was seen.

    Attributes:
        inner: Faults further inside, each with its path from here; () if it is the
            value itself.
    """

    def __init__(self, message: str, inner: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(message)
        self.inner = inner


def faults_of(error: Exception, path: str = "$") -> list[tuple[str, str]]:
    """Return each fault as its path ("$.lines[2].price") and what is wrong there."""
    return list(_walk(error, path))


def _walk(error: Exception, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(error, BaseValidationError):
        for inner in error.exceptions:
            yield from _walk(inner, path + _step(inner))
    elif isinstance(error, InvalidValueError) and error.inner:
        for rest, message in error.inner:
            yield path + rest, message
    else:
        yield path, str(error) or type(error).__name__


def _step(error: Exception) -> str:
    """Read the note that tells the member, or the place in a list."""
    notes = getattr(error, "__notes__", ())
    places = (note for note in notes if isinstance(note, IterableValidationNote))
    return "".join(step(note.index) for note in places)


def step(key: Any) -> str:
    """Write one step of a path."""
    if isinstance(key, int):
        return f"[{key}]"
    if re.fullmatch(r"[A-Za-z_]\w*", str(key)):
        return f".{key}"
    return f"[{str(key)!r}]"
