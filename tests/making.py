"""The types of the fixtures, for the tests that ask for them by name."""

from typing import Any, Protocol

from openrouter_async import AsyncOpenRouter


class MakeClient(Protocol):
    """Makes a client of `server`; its options win over the usual ones."""

    def __call__(self, **options: Any) -> AsyncOpenRouter:
        """Make one."""
        ...
