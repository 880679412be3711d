"""The members `message` and `text` of choices in chunks, which have no `delta` then."""

from collections.abc import Mapping
from typing import Any

from ..surrogates import mark
from .partial_object import keep_last


class OtherForms:
    """
    The members of one choice that were received outside `delta`.

    Attributes:
        message: The latest value of each member of `message`.
        prompt_texts: The fragments of `text`.
    """

    __slots__ = ("_lengths", "message", "prompt_texts")

    def __init__(self) -> None:
        self.message: dict[str, Any] = {}
        self.prompt_texts: list[str] = []
        # The length of each text that was received in `message`.
        self._lengths: dict[str, int] = {}

    def add_message(self, message: Mapping[str, Any]) -> None:
        """Add the members of a `message`."""
        for key, value in message.items():
            keep_last(self.message, key, value)

    def new_text(self, key: str, text: str, received: str) -> str:
        """
        Return the part of a text in `message` that was not received before.

        1. The text begins with all that was received: the remainder is new.
        2. A part was received in deltas, which take precedence, or the text is an
           earlier, shorter one: nothing is new.
        3. Otherwise the message has a fragment instead of the whole text: all is new.

        Args:
            key: The name of the text.
            text: The text in the message.
            received: The text that was received before it, in all forms.
        """
        known = self._lengths.get(key, 0)
        if text.startswith(received):
            new = mark(text[len(received) :])
        elif known != len(received) or received.startswith(text):
            new = ""
        else:
            new = text
        self._lengths[key] = known + len(new)
        return new
