"""The error for a value that does not match its type, and the paths in it."""

import re
from collections.abc import Iterator
from typing import Any, Final, cast

from cattrs.errors import BaseValidationError, IterableValidationNote

ANY_KEY: Final = "*"
"""The step of a path at which the model chose the key."""

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


def errors_of(error: Exception, value: Any) -> PathErrors:
    """
    Return the path and message of each error in an exception group of cattrs.

    Args:
        error: The exception.
        value: The JSON value that did not match its type. No message quotes it.
    """
    return tuple(_walk(error, "", value))


def quotes(error: Exception, value: Any) -> bool:
    """
    Return True if an exception of the caller's code quotes a value.

    Args:
        error: The exception, or a group of exceptions.
        value: The JSON value.
    """
    pending: list[Exception] = [error]
    while pending:
        each = pending.pop()
        text = str(each)
        if isinstance(each, BaseValidationError):
            pending += each.exceptions
        elif isinstance(each, InvalidValueError) or not text:
            continue
        elif unquoted(each, text, value) != text:
            return True
    return False


def _walk(error: Exception, path: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(error, BaseValidationError):
        for inner in error.exceptions:
            yield from _walk(inner, path + _noted_step(inner), value)
    elif isinstance(error, InvalidValueError):
        for rest, message in error.errors:
            yield path + rest, message
    else:
        # A class of the caller raised it from its constructor or a validator.
        yield path, unquoted(error, str(error), value)


def unquoted(error: Exception, message: str, value: Any) -> str:
    """
    Return a message of the caller's code with "..." in place of each quoted value.

    The value is text that a model wrote, and errors end up in logs. The validators of
    attrs, for example, quote it.
    """
    for leaf in sorted({*_leaves(value)} - {""}, key=len, reverse=True):
        for text in (leaf, repr(leaf)[1:-1]):
            if re.fullmatch(r"\w{0,2}|-?\d[\d.]*", text):
                # Inside another word or number it is there by chance.
                message = re.sub(
                    rf"(?<![\w.-]){re.escape(text)}(?!\w|\.\d)", "...", message
                )
            else:
                message = message.replace(text, "...")
    return message or type(error).__name__


def _leaves(value: Any) -> Iterator[str]:
    """Return the strings and numbers in a JSON value as text."""
    pending = [value]
    while pending:
        each = pending.pop()
        if isinstance(each, dict):
            pending += cast("dict[str, Any]", each).values()
        elif isinstance(each, list):
            pending += each
        elif isinstance(each, str | int | float) and not isinstance(each, bool):
            yield str(each)


def _noted_step(error: Exception) -> str:
    """Return the step that cattrs noted on an exception: a field or an index."""
    notes = getattr(error, "__notes__", ())
    steps = (note for note in notes if isinstance(note, IterableValidationNote))
    return "".join(path_step(note.index) for note in steps)


def path_step(key: str | int) -> str:
    """
    Return one step of a path: ".name", "[0]", "['a b']", or ".*".

    "*" stands for a key that the model chose, which no error quotes.
    """
    if key == ANY_KEY:
        return ".*"
    if isinstance(key, int):
        return f"[{key}]"
    if re.fullmatch(r"[A-Za-z_]\w*", key):
        return f".{key}"
    return f"[{key!r}]"
