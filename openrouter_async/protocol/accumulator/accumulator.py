"""
Chunks added up into the reply that a plain call would have brought.

It works on the raw mappings, so that keys this library has no name for arrive in the
folded reply too. Whatever JSON a chunk holds, it is survived.
"""

# To pyright, `Any` that turned out to be a dict is one of unknown keys and values. A
# typed check would be one more call at each level of each chunk.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false

import re
from collections.abc import Mapping
from typing import Any, Final

from ...types import ChatResponse, ChatStreamingResponseChunk
from .. import decode as codec
from .choices import ChoiceAccumulator
from .partial_object import (
    copied,
    keep_first,
    keep_last,
    string,
)

__all__ = ["Accumulator", "has_token"]

_FIRST_WINS: Final = (
    "id",
    "created",
    "model",
    "provider",
    "system_fingerprint",
    "service_tier",
)
"""What each chunk repeats, or brings late; the first that is no null counts."""


_TELLING_NOTHING: Final = frozenset({"object", "choices"})
# At most as many as there are sets of the names in _FIRST_WINS.
_shared: Final[dict[frozenset[str], frozenset[str]]] = {}


class Accumulator:
    """
    The reply so far, of one stream.

    Adding a chunk appends to lists; texts are joined only when the reply is asked for.
    """

    __slots__ = ("_choices", "_settled", "_top")

    def __init__(self) -> None:
        self._top: dict[str, Any] = {}
        self._choices: dict[int, ChoiceAccumulator] = {}
        # Top-level keys that a chunk may hold without telling anything new.
        self._settled = _TELLING_NOTHING

    def add(self, chunk: ChatStreamingResponseChunk) -> None:
        """Add the next chunk; it is read, not changed, and parts of it are kept."""
        raw = chunk.raw
        if not raw.keys() <= self._settled:
            self._add_top(raw)
        choices = raw.get("choices")
        if not isinstance(choices, list):
            return
        for position, choice in enumerate(choices):
            if not isinstance(choice, dict):
                continue
            index = choice.get("index")
            if type(index) is not int:
                index = position
            known = self._choices.get(index)
            if known is None:
                known = self._choices[index] = ChoiceAccumulator()
            known.add(choice)

    @property
    def finished(self) -> bool:
        """Whether any choice has brought its finish reason."""
        return any(choice.finish_reason for choice in self._choices.values())

    def build(self, *, ended: bool = False) -> dict[str, Any]:
        """
        Build the body that a plain call would have brought, from what has arrived.

        Each call builds anew: what it returns is the caller's to change.

        Args:
            ended: No chunk will follow. Tool calls that got no arguments then read
                as `{}`, unless their choice was cut short.
        """
        first = {key: self._top[key] for key in _FIRST_WINS[:1] if key in self._top}
        body: dict[str, Any] = {**first, "object": "chat.completion"}
        for key in _FIRST_WINS[1:]:
            if key in self._top:
                body[key] = copied(self._top[key])
        generation = _letters(self._top.get("id"))
        body["choices"] = [
            self._choices[index].build(index, generation, ended=ended)
            for index in sorted(self._choices)
        ]
        for key, value in self._top.items():
            body.setdefault(key, copied(value))
        return body

    def response(self) -> ChatResponse:
        """Return the reply of a stream that has ended."""
        return codec.read_response(self.build(ended=True))

    def _add_top(self, raw: Mapping[str, Any]) -> None:
        settled = self._settled
        for key, value in raw.items():
            if key in settled:
                continue
            if key not in _FIRST_WINS:
                keep_last(self._top, key, value)
            elif keep_first(self._top, key, value):
                settled |= {key}
        # Streams that have come equally far share one set: it is 700 bytes.
        self._settled = _shared.setdefault(settled, settled)


def has_token(chunk: ChatStreamingResponseChunk) -> bool:
    """
    Tell whether the model has begun to answer in this chunk.

    Content, reasoning, a refusal, a tool call, an image or audio count; a role, an
    empty string and an empty list do not.
    """
    return any(
        delta.content
        or delta.reasoning
        or delta.reasoning_details
        or delta.refusal
        or delta.tool_calls
        or delta.images
        or (delta.audio and (delta.audio.get("data") or delta.audio.get("transcript")))
        for delta in (choice.delta for choice in chunk.choices)
    )


def _letters(generation: Any) -> str:
    # Ids are short and plain where providers are strict: 40 letters at OpenAI.
    letters = re.sub("[^A-Za-z0-9]", "", string(generation))[-20:]
    return f"{letters}_" if letters else ""
