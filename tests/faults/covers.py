"""The faults that tests of their own cover, for the table of contents."""

from collections.abc import Callable
from typing import Any, Final, TypeVar

from attrs import frozen

T = TypeVar("T", bound=Callable[..., Any])


@frozen
class Covered:
    """
    One fault that has a test of its own.

    Attributes:
        fault: Number in the list of faults.
        what: Description of the fault.
        outcome: The outcome of a call.
        where: The test.
    """

    fault: str
    what: str
    outcome: str
    where: str


COVERED: Final[list[Covered]] = []


def covers(fault: str, what: str, outcome: str) -> Callable[[T], T]:
    """Mark a test as the one that covers a fault."""

    def mark(test: T) -> T:
        where = f"{test.__module__}.py::{test.__name__}"
        COVERED.append(Covered(fault, what, outcome, where))
        return test

    return mark
