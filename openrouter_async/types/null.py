"""The explicit JSON null, where "not given" and null differ."""

from enum import Enum
from typing import Any, Literal

Json = Any
"""A value as JSON has it: None, bool, int, float, str, list or dict of these."""


class Null(Enum):
    """The type of `NULL`."""

    NULL = None

    def __bool__(self) -> Literal[False]:
        return False

    def __repr__(self) -> str:
        return "NULL"


NULL = Null.NULL
"""
Sends JSON null in a field of a request class.

None there means "not given" and is not sent; OpenRouter's response cache tells the
two apart.
"""
