"""
Halves of characters: texts that were cut inside a UTF-16 surrogate pair.

Some servers cut a text between the two escapes of one character, such as D83D and DE00.
A half cannot be encoded or printed. The rules:

1. Two halves that meet become their character.
2. A first half at the end of a text is left out: its other half may follow.
3. Any other half is read as U+FFFD.

The texts of chunks, joined, are therefore always the text of the response.
"""

import re
from typing import Any, Final

_TEXT_KEYS: Final = frozenset(
    {
        "arguments",
        "content",
        "reasoning",
        "reasoning_content",
        "refusal",
        "summary",
        "text",
    }
)
_HALF: Final = r"[\ud800-\udfff]"
_FIRST_HALF_AT_END: Final = r"[\ud800-\udbff]\Z"


class SurrogateText(str):
    """
    A text, received or joined, that contains a half of a character.

    It is a class of its own because fast paths compare the exact class of a text with
    `str`: no other text needs a check for halves.
    """

    __slots__ = ()


def mark(text: str) -> str:
    """Return a text as a `SurrogateText` if it contains a half of a character."""
    return SurrogateText(text) if re.search(_HALF, text) else text


def mark_texts(value: Any) -> Any:
    """Mark the texts in a decoded JSON value, in place, and return the value."""
    pending = [value]
    while pending:
        node = pending.pop()
        if isinstance(node, list):
            pending += node  # pyright: ignore[reportUnknownArgumentType]
        elif isinstance(node, dict):
            for key, member in node.items():  # pyright: ignore[reportUnknownVariableType]
                if isinstance(member, str):
                    if key in _TEXT_KEYS:
                        node[key] = mark(member)
                else:
                    pending.append(member)  # pyright: ignore[reportUnknownArgumentType]
    return value  # pyright: ignore[reportUnknownVariableType]


def join_halves(text: str) -> str:
    """Return a text in which two halves that meet are their character."""
    return text.encode("utf-16-le", "surrogatepass").decode(
        "utf-16-le", "surrogatepass"
    )


def readable(text: str) -> str:
    """Return a text without halves; see the rules of this module."""
    return release("", text)[0]


def release(held: str, text: str) -> tuple[str, str]:
    """
    Return the part of a text that can be shown, and the half to hold back.

    Args:
        held: The half that was held back from the text before this one, or "".
        text: The next piece of the text.
    """
    joined = join_halves(held + text)
    end = re.search(_FIRST_HALF_AT_END, joined)
    held = end[0] if end else ""
    return re.sub(_HALF, "\ufffd", joined.removesuffix(held)), held
