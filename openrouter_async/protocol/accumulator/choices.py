"""One choice of a reply, added up from its deltas."""

# To pyright, `Any` that turned out to be a dict is one of unknown keys and values. A
# typed check would be one more call at each level of each chunk.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false

import re
from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import Any, Final

from .partial_object import (
    PartialObject,
    copied,
    index_of,
    keep_first,
    keep_last,
)
from .reasoning import ReasoningAccumulator
from .tool_calls import PartialToolCall, ToolCallAccumulator

_TEXTS: Final = ("content", "refusal", "reasoning", "reasoning_content")

_MESSAGE_ORDER: Final[tuple[str, ...]] = (
    "role",
    "content",
    "refusal",
    "reasoning",
    "tool_calls",
    "reasoning_details",
)
_CUT_SHORT: Final = ("length", "error", "content_filter")
"""Finish reasons after which tool arguments may not be whole."""


class ChoiceAccumulator:
    """One choice so far."""

    __slots__ = (
        "annotations",
        "audio",
        "calls",
        "details",
        "finish_reason",
        "function_call",
        "image_places",
        "images",
        "logprobs",
        "message",
        "role",
        "values",
        "words",
    )

    def __init__(self) -> None:
        # The content so far and the role, once a chunk can bring nothing but words.
        self.words: list[str] | None = None
        self.role: Any = None
        self.finish_reason: str | None = None
        self.values: dict[str, Any] = {}
        self.logprobs: dict[str, Any] | None = None
        self.message = PartialObject()
        # Made when the first one comes: thousands of streams may be open.
        self.calls: ToolCallAccumulator | None = None
        self.details: ReasoningAccumulator | None = None
        self.annotations: list[Any] = []
        self.images: list[Any] = []
        self.image_places: dict[int, int] = {}
        self.audio: PartialObject | None = None
        self.function_call: PartialToolCall | None = None

    def add(self, choice: Mapping[str, Any]) -> None:
        """Add the next piece of this choice."""
        # What nearly every chunk is: more of the content, and two nulls that are known.
        # Looked at in one go, it takes half as long as key by key.
        words = self.words
        delta = choice.get("delta")
        if (
            words is not None
            and type(delta) is dict
            and len(choice) == 4
            and "index" in choice
            and choice.get("finish_reason", self) is None
            and choice.get("native_finish_reason", self) is None
        ):
            word = delta.get("content")
            if type(word) is str and len(delta) == 2 and delta.get("role") == self.role:
                words.append(word)
            else:
                self._add_delta(delta)
            return
        self._add_members(choice)
        if "native_finish_reason" in self.values:
            self.words = self.message.texts.get("content")
            self.role = self.message.values.get("role", self)

    def _add_members(self, choice: Mapping[str, Any]) -> None:
        values = self.values
        for key, value in choice.items():
            if key == "delta":
                if isinstance(value, dict):
                    self._add_delta(value)
            elif key == "index" or (value is None and key in values):
                pass
            elif key == "message":
                # A whole completion, answered to a stream request.
                if isinstance(value, dict) and not self.message.values:
                    self._add_delta(value)
            else:
                self._add_value(key, value, choice)

    def _add_value(self, key: str, value: Any, choice: Mapping[str, Any]) -> None:
        if key == "finish_reason":
            # A later null, as on the usage chunk of 2025, does not take it back; a
            # failure after it does.
            if isinstance(value, str) and value:
                if self.finish_reason is None or value == "error":
                    self.finish_reason = value
            else:
                self.values.setdefault(key, None)
        elif key == "native_finish_reason":
            failed = choice.get("finish_reason") == "error"
            if failed and value is not None:
                self.values[key] = value
            else:
                keep_first(self.values, key, value)
        elif key == "logprobs" and isinstance(value, dict):
            if self.logprobs is None:
                self.logprobs = {}
            for name, tokens in value.items():
                _extend(self.logprobs, name, tokens)
        else:
            keep_last(self.values, key, value)

    def _add_delta(self, delta: Mapping[str, Any]) -> None:
        message = self.message
        texts = message.texts
        for key, value in delta.items():
            if key in texts and type(value) is str:
                texts[key].append(value)
            elif key == "role":
                if value != message.values.get(key):
                    keep_first(message.values, key, value)
            elif key == "reasoning_details" and isinstance(value, list):
                message.values[key] = None
                if self.details is None:
                    self.details = ReasoningAccumulator()
                for detail in value:
                    self.details.add(detail)
            elif key in _TEXTS:
                message.append(key, value)
            else:
                self._add_part(key, value)

    def _add_part(self, key: str, value: Any) -> None:
        """Add a delta's member that few chunks have."""
        values = self.message.values
        if key == "tool_calls" and isinstance(value, list):
            if self.calls is None:
                self.calls = ToolCallAccumulator()
            self.calls.add(value)
        elif key == "annotations" and isinstance(value, list):
            values[key] = None
            self.annotations += value
        elif key == "images" and isinstance(value, list):
            values[key] = None
            for image in value:
                self._add_image(image)
        elif key == "audio" and isinstance(value, dict):
            values[key] = None
            self._add_audio(value)
        elif key == "function_call" and isinstance(value, dict):
            values[key] = None
            if self.function_call is None:
                self.function_call = PartialToolCall(None)
            self.function_call.add_function(value)
        elif key != "tool_calls" or value:
            keep_last(values, key, value)

    def _add_image(self, image: Any) -> None:
        index = index_of(image)
        if index is None:
            self.images.append(image)
        elif index in self.image_places:
            # The same index again is the finished picture after its preview.
            self.images[self.image_places[index]] = image
        else:
            self.image_places[index] = len(self.images)
            self.images.append(image)

    def _add_audio(self, audio: Mapping[str, Any]) -> None:
        if self.audio is None:
            self.audio = PartialObject()
        for key, value in audio.items():
            if key in ("data", "transcript"):
                self.audio.append(key, value)
            else:
                keep_last(self.audio.values, key, value)

    def build(self, index: int, generation: str, *, ended: bool) -> dict[str, Any]:
        """Build the choice of a plain reply; `generation` begins the ids it makes."""
        choice: dict[str, Any] = {"index": index}
        if self.logprobs is not None:
            choice["logprobs"] = copied(self.logprobs)
        elif "logprobs" in self.values:
            choice["logprobs"] = copied(self.values["logprobs"])
        choice["finish_reason"] = self.finish_reason
        if "native_finish_reason" in self.values:
            native = self.values["native_finish_reason"]
            choice["native_finish_reason"] = copied(native)
        whole = ended or self.finish_reason is not None
        whole = whole and self.finish_reason not in _CUT_SHORT
        choice["message"] = self._build_message(f"{generation}{index}", whole=whole)
        for key, value in self.values.items():
            choice.setdefault(key, copied(value))
        return choice

    def _build_message(self, prefix: str, *, whole: bool) -> dict[str, Any]:
        message = self.message.build()
        # "" beside tool calls is refused by some providers, so a null wins there;
        # without calls a text that came, though empty, was no null.
        calls = self.calls if self.calls is not None and self.calls.items else None
        if calls is None and "content" in self.message.texts:
            message["content"] = message["content"] or ""
        if calls is not None:
            message.setdefault("content", None)
            message["tool_calls"] = calls.build(prefix, whole=whole)
        parts = {
            "reasoning_details": [] if self.details is None else self.details.build(),
            "annotations": copied(self.annotations),
            "images": copied(self.images),
        }
        for key, items in parts.items():
            if items or (key in message and message[key] is None):
                message[key] = items
        if self.audio is not None:
            message["audio"] = self.audio.build()
            if "data" in self.audio.texts:
                message["audio"]["data"] = _joined_base64(self.audio.text("data"))
        if self.function_call is not None:
            message["function_call"] = self.function_call.build_function(whole=whole)
        known = {key: message.pop(key) for key in _MESSAGE_ORDER if key in message}
        return {**known, **message}


def _extend(lists: dict[str, Any], key: str, value: Any) -> None:
    known = lists.get(key)
    if not isinstance(value, list):
        if not isinstance(known, list):
            keep_last(lists, key, value)
    elif isinstance(known, list):
        known += value
    else:
        lists[key] = list(value)


def _joined_base64(text: str) -> str:
    """Join fragments; each may have been padded as a document of its own."""
    if "=" not in text.rstrip("="):
        return text
    documents = re.findall("[^=]+=*", text)
    try:
        return b64encode(b"".join(map(b64decode, documents))).decode()
    except ValueError:
        return text
