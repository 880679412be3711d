"""One choice of a response, accumulated from its deltas."""

# Pyright knows nothing about the keys and values of an `Any` that turned out to be a
# dict. `as_object` would tell it, for a function call at each level of each chunk.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false

import re
from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import Any, Final

from .partial_object import (
    PartialObject,
    deep_copy,
    index_of,
    keep_first,
    keep_last,
)
from .reasoning import ReasoningAccumulator
from .tool_calls import PartialToolCall, ToolCallAccumulator

# `reasoning_content` is the name of `reasoning` at some providers.
_TEXTS: Final = ("content", "refusal", "reasoning", "reasoning_content")

_MESSAGE_ORDER: Final[tuple[str, ...]] = (
    "role",
    "content",
    "refusal",
    "reasoning",
    "tool_calls",
    "reasoning_details",
)
CUT_OFF: Final = ("length", "error", "content_filter")
"""Finish reasons after which the arguments of a tool call may be incomplete."""


class ChoiceAccumulator:
    """One choice, as far as received."""

    __slots__ = (
        "_annotations",
        "_audio",
        "_content",
        "_finish_reason",
        "_function_call",
        "_image_positions",
        "_images",
        "_logprobs",
        "_message",
        "_reasoning",
        "_role",
        "_tool_calls",
        "_values",
    )

    def __init__(self) -> None:
        # The fragments of the content, and the role, once the fast path of `add` may
        # be used.
        self._content: list[str] | None = None
        self._role: Any = None
        self._finish_reason: str | None = None
        self._values: dict[str, Any] = {}
        self._logprobs: dict[str, Any] | None = None
        self._message = PartialObject()
        # Created when needed, because thousands of streams may be open.
        self._tool_calls: ToolCallAccumulator | None = None
        self._reasoning: ReasoningAccumulator | None = None
        self._annotations: list[Any] = []
        self._images: list[Any] = []
        self._image_positions: dict[int, int] = {}
        self._audio: PartialObject | None = None
        self._function_call: PartialToolCall | None = None

    def add(self, choice: Mapping[str, Any]) -> None:
        """Add the next fragment of this choice."""
        # Fast path. Nearly every chunk has some content, the role again, and null for
        # both finish reasons. Checking all of this at once takes half the time of going
        # key by key. (`self` stands for a missing key: it is not null, and no role.)
        content = self._content
        delta = choice.get("delta")
        if (
            content is not None
            and type(delta) is dict
            and len(choice) == 4
            and "index" in choice
            and choice.get("finish_reason", self) is None
            and choice.get("native_finish_reason", self) is None
        ):
            text = delta.get("content")
            if (
                type(text) is str
                and len(delta) == 2
                and delta.get("role") == self._role
            ):
                content.append(text)
            else:
                self._add_delta(delta)
            return
        self._add_members(choice)
        # From now on, null for a finish reason changes nothing.
        if "native_finish_reason" in self._values:
            self._content = self._message.texts.get("content")
            self._role = self._message.values.get("role", self)

    def _add_members(self, choice: Mapping[str, Any]) -> None:
        values = self._values
        for key, value in choice.items():
            if key == "delta":
                if isinstance(value, dict):
                    self._add_delta(value)
            elif key == "index" or (value is None and key in values):
                pass
            elif key == "message":
                # A complete response to a request for a stream.
                if isinstance(value, dict) and not self._message.values:
                    self._add_delta(value)
            else:
                self._add_value(key, value, choice)

    def _add_value(self, key: str, value: Any, choice: Mapping[str, Any]) -> None:
        if key == "finish_reason":
            # The first one counts: the usage chunk may have null again. An error after
            # it replaces it.
            if isinstance(value, str) and value:
                if self._finish_reason is None or value == "error":
                    self._finish_reason = value
            else:
                self._values.setdefault(key, None)
        elif key == "native_finish_reason":
            failed = choice.get("finish_reason") == "error"
            if failed and value is not None:
                self._values[key] = value
            else:
                keep_first(self._values, key, value)
        elif key == "logprobs" and isinstance(value, dict):
            if self._logprobs is None:
                self._logprobs = {}
            for name, tokens in value.items():
                _extend(self._logprobs, name, tokens)
        else:
            keep_last(self._values, key, value)

    def _add_delta(self, delta: Mapping[str, Any]) -> None:
        message = self._message
        texts = message.texts
        for key, value in delta.items():
            if key in texts and type(value) is str:
                texts[key].append(value)
            elif key == "role":
                if value != message.values.get(key):
                    keep_first(message.values, key, value)
            elif key == "reasoning_details" and isinstance(value, list):
                # None keeps the position of the key; `_build_message` sets the value.
                message.values[key] = None
                if self._reasoning is None:
                    self._reasoning = ReasoningAccumulator()
                for detail in value:
                    self._reasoning.add(detail)
            elif key in _TEXTS:
                message.append(key, value)
            else:
                self._add_rare(key, value)

    def _add_rare(self, key: str, value: Any) -> None:
        """Add a member of a delta that few chunks have."""
        values = self._message.values
        if key == "tool_calls" and isinstance(value, list):
            if self._tool_calls is None:
                self._tool_calls = ToolCallAccumulator()
            self._tool_calls.add(value)
        elif key == "annotations" and isinstance(value, list):
            values[key] = None
            self._annotations += value
        elif key == "images" and isinstance(value, list):
            values[key] = None
            for image in value:
                self._add_image(image)
        elif key == "audio" and isinstance(value, dict):
            values[key] = None
            self._add_audio(value)
        elif key == "function_call" and isinstance(value, dict):
            # The predecessor of `tool_calls`.
            values[key] = None
            if self._function_call is None:
                self._function_call = PartialToolCall(None)
            self._function_call.add_function(value)
        elif key != "tool_calls" or value:
            keep_last(values, key, value)

    def _add_image(self, image: Any) -> None:
        index = index_of(image)
        if index is None:
            self._images.append(image)
        elif index in self._image_positions:
            # A repeated index is the finished image after its preview.
            self._images[self._image_positions[index]] = image
        else:
            self._image_positions[index] = len(self._images)
            self._images.append(image)

    def _add_audio(self, audio: Mapping[str, Any]) -> None:
        if self._audio is None:
            self._audio = PartialObject()
        for key, value in audio.items():
            if key in ("data", "transcript"):
                self._audio.append(key, value)
            else:
                keep_last(self._audio.values, key, value)

    def build(self, index: int, id_prefix: str, *, ended: bool) -> dict[str, Any]:
        """
        Return the choice as it is in a plain response.

        Args:
            index: The index of the choice.
            id_prefix: Beginning of the ids of tool calls that came without one.
            ended: If True, the stream has ended.
        """
        choice: dict[str, Any] = {"index": index}
        if self._logprobs is not None:
            choice["logprobs"] = deep_copy(self._logprobs)
        elif "logprobs" in self._values:
            choice["logprobs"] = deep_copy(self._values["logprobs"])
        choice["finish_reason"] = self._finish_reason
        if "native_finish_reason" in self._values:
            native = self._values["native_finish_reason"]
            choice["native_finish_reason"] = deep_copy(native)
        complete = ended or self._finish_reason is not None
        complete = complete and self._finish_reason not in CUT_OFF
        choice["message"] = self._build_message(
            f"{id_prefix}{index}", complete=complete
        )
        for key, value in self._values.items():
            choice.setdefault(key, deep_copy(value))
        return choice

    def _build_message(self, id_prefix: str, *, complete: bool) -> dict[str, Any]:
        message = self._message.build()
        tool_calls = self._tool_calls
        if tool_calls is None or not tool_calls.items:
            # An empty text without tool calls is not null, whatever else came.
            if "content" in self._message.texts:
                message["content"] = message["content"] or ""
        else:
            # Beside tool calls it stays null: some providers reject "" there when the
            # message is sent back.
            message.setdefault("content", None)
            message["tool_calls"] = tool_calls.build(id_prefix, complete=complete)
        lists = {
            "reasoning_details": (
                [] if self._reasoning is None else self._reasoning.build()
            ),
            "annotations": deep_copy(self._annotations),
            "images": deep_copy(self._images),
        }
        for key, items in lists.items():
            if items or (key in message and message[key] is None):
                message[key] = items
        if self._audio is not None:
            message["audio"] = self._audio.build()
            if "data" in self._audio.texts:
                message["audio"]["data"] = _join_base64(self._audio.text("data"))
        if self._function_call is not None:
            message["function_call"] = self._function_call.build_function(
                complete=complete
            )
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


def _join_base64(text: str) -> str:
    """Join base64 fragments. Some providers pad each one, others split anywhere."""
    if "=" not in text.rstrip("="):
        return text
    documents = re.findall("[^=]+=*", text)
    try:
        return b64encode(b"".join(map(b64decode, documents))).decode()
    except ValueError:
        return text
