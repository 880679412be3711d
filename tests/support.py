"""Helpers that several tests share."""

import re
from typing import Any, Protocol

from openrouter_async import AsyncOpenRouter


class MakeClient(Protocol):
    """Makes a client of `server`; its options win over the usual ones."""

    def __call__(self, **options: Any) -> AsyncOpenRouter:
        """Make one."""
        ...


def told(err: str) -> str:
    """What stderr says, but for asyncio's debug mode on a machine that is busy."""
    return re.sub(r"Executing <.* took [\d.]+ seconds\n", "", err)
