"""A reply, and the value that it is."""

from typing import Generic, TypeVar

from attrs import define, field

from ..types import ChatResponse

T_co = TypeVar("T_co", covariant=True)


@define(eq=False, repr=False)
class ParsedResponse(ChatResponse, Generic[T_co]):
    """
    A whole reply, and the value that its text is.

    Attributes:
        output: The value, of the type that `output=` asked for.
    """

    output: T_co = field(kw_only=True)
