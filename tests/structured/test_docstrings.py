"""Descriptions in docstrings, in Google style and as reST field lists."""

from typing import NamedTuple

from openrouter_async.structured.docstrings import parse_docstring


class Point(NamedTuple):  # noqa: D101 - a generated docstring is tested
    x: int
    y: int = 0


class Described:
    """A class with a docstring."""


def documented() -> None:
    """
    Do a thing.

    :param a: The first,
        on two lines.
    :param int b: The second.

    Args:
        c: The third.
            Not an entry: this line is indented.
        *rest: The others.

    Returns:
        d: Nothing.
    """


def test_entries_of_both_styles_are_parsed() -> None:
    docstring = parse_docstring(documented)

    assert docstring.summary == "Do a thing."
    assert docstring.entries == {
        "a": "The first, on two lines.",
        "b": "The second.",
        "c": "The third. Not an entry: this line is indented.",
        "rest": "The others.",
    }


def test_docstring_of_an_instance_is_that_of_its_class() -> None:
    assert parse_docstring(Described()).summary == "A class with a docstring."


def test_generated_or_missing_docstring_is_empty() -> None:
    assert parse_docstring(Point) == ("", {})
    assert parse_docstring(lambda: 0) == ("", {})
