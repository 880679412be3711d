"""TextSink: where the texts go of chunks that add nothing else to the response."""

from collections.abc import Callable, Sequence
from typing import Any, Self

from attrs import frozen


@frozen(eq=False, repr=False)
class TextSink:
    """
    The end of one text of a response: of its content, reasoning or tool arguments.

    It is valid until a chunk is added to the response in another way: after that, the
    next text may belong elsewhere.

    Attributes:
        add: Appends a text.
        extend: Appends texts, in their order.
    """

    add: Callable[[str], object]
    extend: Callable[[Sequence[str]], object]

    @classmethod
    def of_lists(cls, first: list[str], *others: list[str]) -> Self:
        """Return the sink of a text that is kept in one or more lists."""
        if not others:
            # The usual case. Bound methods of a list are called fastest.
            return cls(first.append, first.extend)
        lists = (first, *others)

        def add(text: str) -> None:
            for texts in lists:
                texts.append(text)

        def extend(new: Sequence[str]) -> None:
            for texts in lists:
                texts.extend(new)

        return cls(add, extend)

    @classmethod
    def of_function(cls, add: Callable[[str], Any]) -> Self:
        """Return the sink of texts that a function examines one by one."""

        def extend(new: Sequence[str]) -> None:
            for text in new:
                add(text)

        return cls(add, extend)
