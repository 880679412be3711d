"""
Chunks of a stream, accumulated into the response that a plain call returns.

It works on the raw JSON, so that keys unknown to this library are in the response too.
A chunk may hold any JSON: unexpected types are kept or skipped, and never raise.
"""

# Pyright knows nothing about the keys and values of an `Any` that turned out to be a
# dict. `as_object` has the types, but would cost a function call at each level of each
# chunk.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false

import re
from collections.abc import Mapping
from typing import Any, Final

from ...types import ChatResponse, ChatStreamingResponseChunk
from ..decode import as_object
from ..response_objects import index_number, read_response
from .choices import ChoiceAccumulator
from .partial_object import as_list, as_string, deep_copy, keep_first, keep_last
from .text_sink import TextSink

__all__ = ["Accumulator", "has_token"]

# Keys that every chunk repeats, or that come late: the first value that is not null
# counts. They are also the first keys of the response, in this order.
_FIRST_WINS: Final = (
    "id",
    "created",
    "model",
    "provider",
    "system_fingerprint",
    "service_tier",
)
# `object` differs between a chunk and a response, and choices have their own class.
_SKIPPED: Final = frozenset({"object", "choices"})
# One set for all streams that have seen the same keys: a set takes 700 bytes, and
# thousands of streams may be open. There are at most 2**6, the subsets of _FIRST_WINS.
_shared_sets: Final[dict[frozenset[str], frozenset[str]]] = {}


class Accumulator:
    """
    The response of one stream, as far as it has been received.

    Adding a chunk appends to lists; texts are joined only when a response is built,
    so that the work is linear in the length of the stream.
    """

    __slots__ = ("_choices", "_final_keys", "_top")

    def __init__(self) -> None:
        self._top: dict[str, Any] = {}
        self._choices: dict[int, ChoiceAccumulator] = {}
        # Top-level keys whose value cannot change any more. Most chunks have no others.
        self._final_keys = _SKIPPED

    def add(self, chunk: ChatStreamingResponseChunk) -> None:
        """
        Add the next chunk.

        Its `raw` is not modified, but parts of it are kept. The texts of its choices
        are set to what is new in them, if the chunk alone does not show that: see
        `ChoiceAccumulator.add`.
        """
        raw = chunk.raw
        if not raw.keys() <= self._final_keys:
            self._add_top(raw)
        choices = raw.get("choices")
        if not isinstance(choices, list):
            return
        for position, choice in enumerate(choices):
            if not isinstance(choice, dict):
                continue
            index = choice.get("index")
            if type(index) is not int:
                index = index_number(index)
                if index is None:
                    index = position
            known = self._choices.get(index)
            if known is None:
                known = self._choices[index] = ChoiceAccumulator()
            known.add(choice, chunk)

    def text_sink(self, choice: Mapping[str, Any]) -> TextSink | None:
        """
        Return the sink of the text in a choice, or None if it has none.

        Args:
            choice: A choice of the chunk that was added last. It has one text, or one
                reasoning that its detail repeats, and nothing else that is new.
        """
        return self._choices[choice["index"]].text_sink(choice["delta"])

    @property
    def has_choices(self) -> bool:
        """True once a choice was received."""
        return bool(self._choices)

    @property
    def usage(self) -> dict[str, Any]:
        """The `usage` received last, at the top level or in a choice; else empty."""
        usage = as_object(self._top.get("usage"))
        for choice in self._choices.values():
            usage = usage or choice.usage
        return usage

    def build(self, *, ended: bool = False) -> dict[str, Any]:
        """
        Return the body that a plain call would have returned, as far as received.

        Each call builds a new body, which the caller may modify.

        Args:
            ended: If True, the stream has ended. Tool calls without arguments then
                get `{}`, unless their choice was cut off.
        """
        # `id` and `object` come first in the bodies that OpenRouter sends.
        first = {key: self._top[key] for key in _FIRST_WINS[:1] if key in self._top}
        body: dict[str, Any] = {**first, "object": "chat.completion"}
        for key in _FIRST_WINS[1:]:
            if key in self._top:
                body[key] = deep_copy(self._top[key])
        prefix = _id_prefix(self._top.get("id"))
        body["choices"] = [
            self._choices[index].build(index, prefix, ended=ended)
            for index in sorted(self._choices)
        ]
        for key, value in self._top.items():
            body.setdefault(key, deep_copy(value))
        return body

    def response(self) -> ChatResponse:
        """Return the response of a stream that has ended."""
        return read_response(self.build(ended=True))

    def _add_top(self, raw: Mapping[str, Any]) -> None:
        final_keys = self._final_keys
        for key, value in raw.items():
            if key in final_keys:
                continue
            if key not in _FIRST_WINS:
                keep_last(self._top, key, value)
            elif keep_first(self._top, key, value):
                final_keys |= {key}
        self._final_keys = _shared_sets.setdefault(final_keys, final_keys)


def has_token(chunk: ChatStreamingResponseChunk) -> bool:
    """
    Return True if a chunk contains output of the model.

    That is content, thinking in any form, reasoning, a refusal, a tool call or its
    predecessor `function_call`, an image or audio. A role, an empty string and an empty
    list are not: servers send them before the model starts. The chunk must have been
    added to an accumulator before.
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
    ) or any(map(_has_rare_token, as_list(chunk.raw.get("choices"))))


def _has_rare_token(choice: Any) -> bool:
    """
    Return True if a choice has output in a form that `Delta` does not have.

    That is a function call, thinking under the name that Ollama uses, or a part of the
    content that is not empty.
    """
    choice = as_object(choice)
    message = as_object(choice.get("delta")) or as_object(choice.get("message"))
    if message.get("function_call") or message.get("thinking"):
        return True
    return any(
        value and key not in ("type", "index")
        for part in as_list(message.get("content"))
        for key, value in as_object(part).items()
    )


def _id_prefix(generation_id: Any) -> str:
    # Part of the ids of tool calls that came without one. Providers that get the
    # message back restrict these ids: 40 characters at OpenAI, letters and digits.
    suffix = re.sub("[^A-Za-z0-9]", "", as_string(generation_id))[-20:]
    return f"{suffix}_" if suffix else ""
