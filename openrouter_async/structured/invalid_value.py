"""The error for a value that does not match its type, and the paths in it."""

import re
from collections.abc import Iterator

from cattrs.errors import BaseValidationError, IterableValidationNote

PathErrors = tuple[tuple[str, str], ...]
"""Errors as pairs of a path, such as ".lines[2].price", and a message."""


class InvalidValueError(Exception):
    """
    A JSON value that does not match its type.

    Attributes:
        errors: The path of each error, relative to the value ("" for the value
            itself), and its message; 1 or more.
    """

    def __init__(self, message: str, errors: PathErrors = ()) -> None:
        super().__init__(message)
        self.errors = errors or (("", message),)


def errors_of(error: Exception) -> PathErrors:
    """Return the path and message of each error in an exception group of cattrs."""
    return tuple(_walk(error, ""))


def _walk(error: Exception, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(error, BaseValidationError):
        for inner in error.exceptions:
            yield from _walk(inner, path + _noted_step(inner))
    elif isinstance(error, InvalidValueError):
        for rest, message in error.errors:
            yield path + rest, message
    else:
        # A class raised it from its constructor or a validator.
        yield path, str(error) or type(error).__name__


def _noted_step(error: Exception) -> str:
    """Return the step that cattrs noted on an exception: a field or an index."""
    notes = getattr(error, "__notes__", ())
    steps = (note for note in notes if isinstance(note, IterableValidationNote))
    return "".join(path_step(note.index) for note in steps)


def path_step(key: str | int) -> str:
    """Return one step of a path: ".name", "[0]", or "['a b']"."""
    if isinstance(key, int):
        return f"[{key}]"
    if re.fullmatch(r"[A-Za-z_]\w*", key):
        return f".{key}"
    return f"[{key!r}]"
