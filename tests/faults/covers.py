"""A registry of the tests that cover faults, for the README."""

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
        description: The behavior of the server, the network or the caller.
        outcome: The result of the call.
        test: The file and name of the test.
    """

    fault: str
    description: str
    outcome: str
    test: str


COVERED: Final[list[Covered]] = []


def covers(fault: str, description: str, outcome: str) -> Callable[[T], T]:
    """Return a decorator that registers a test for a fault."""

    def mark(test: T) -> T:
        name = f"{test.__module__}.py::{test.__name__}"
        COVERED.append(Covered(fault, description, outcome, name))
        return test

    return mark
