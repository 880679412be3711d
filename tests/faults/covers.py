"""Which test covers which fault, for the table of contents."""

from collections.abc import Callable
from typing import Any, Final, TypeVar

from attrs import frozen

T = TypeVar("T", bound=Callable[..., Any])


@frozen
class Covered:
    """
    One fault that has a test of its own.

    Attributes:
        fault: Its number.
        what: What happens.
        comes_to: What a call makes of it.
        where: The test.
    """

    fault: str
    what: str
    comes_to: str
    where: str


COVERED: Final[list[Covered]] = []


def covers(fault: str, what: str, comes_to: str) -> Callable[[T], T]:
    """Say that a test covers a fault."""

    def note(test: T) -> T:
        where = f"{test.__module__}.py::{test.__name__}"
        COVERED.append(Covered(fault, what, comes_to, where))
        return test

    return note
