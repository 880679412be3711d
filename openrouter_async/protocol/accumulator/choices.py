"""One choice of a response, accumulated from its deltas."""

# Pyright knows nothing about the keys and values of an `Any` that turned out to be a
# dict. `as_object` has the types, but would cost a function call at each level of each
# chunk.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false

import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from typing import Any, Final

from ...types import ChatStreamingResponseChunk, Delta, Usage
from ..decode import as_object
from ..response_objects import content_text, read_object
from ..surrogates import join_halves, mark, release
from .other_forms import OtherForms
from .partial_object import (
    PartialObject,
    deep_copy,
    index_of,
    keep_first,
    keep_last,
)
from .reasoning import ReasoningAccumulator
from .text_sink import TextSink
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


# The initial `_held` of every choice: a shared dict, because thousands of streams may
# be open. It is replaced, never modified.
_NO_HALVES: Final[dict[str, str]] = {}


class ChoiceAccumulator:
    """
    One choice, as far as received.

    Most chunks have new content as a string in `delta`. The other forms of content:

    1. A list of parts in `delta`: the response has the parts of all chunks in one list.
    2. `message`, the whole message so far: the part of its text that was not received
       yet is new, unless `delta` has text. Of its other members, those are used that no
       delta has.
    3. `text`, as in responses to a `prompt`: new content, unless `delta` or `message`
       has content.
    """

    __slots__ = (
        "_annotations",
        "_audio",
        "_content",
        "_finish_reason",
        "_function_call",
        "_held",
        "_image_positions",
        "_images",
        "_logprobs",
        "_message",
        "_other",
        "_parts",
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
        # The content as parts, once a list was received.
        self._parts: list[Any] | None = None
        self._other: OtherForms | None = None
        # For each text, the half of a character that is held back for the next chunk.
        self._held: dict[str, str] = _NO_HALVES

    def add(self, choice: Mapping[str, Any], chunk: ChatStreamingResponseChunk) -> None:
        """
        Add the next fragment of this choice.

        Args:
            choice: The choice, as in `chunk.raw`.
            chunk: The chunk that it is in. Its texts are set to what is new in them
                where that depends on earlier chunks: half characters, `message`.
        """
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
                self._add_delta(delta, choice, chunk)
            return
        self._add_members(choice, chunk)
        # From now on, null for a finish reason changes nothing.
        if "native_finish_reason" in self._values and not self._held:
            self._content = self._message.texts.get("content")
            self._role = self._message.values.get("role", self)

    @property
    def usage(self) -> dict[str, Any]:
        """The `usage` inside this choice; empty if there is none."""
        return as_object(self._values.get("usage"))

    def text_sink(self, delta: Mapping[str, Any]) -> TextSink | None:
        """
        Return the sink of the text in a delta; see `Accumulator.text_sink`.

        There is none while the next text cannot simply be appended: after a half of a
        character, content as parts, or content outside deltas.
        """
        if self._held or self._parts is not None or self._other is not None:
            return None
        if self._tool_calls is not None and delta.get("tool_calls"):
            return self._tool_calls.text_sink(delta["tool_calls"][0])
        texts = self._message.texts
        if delta.get("content"):
            return TextSink.of_lists(texts["content"])
        details = delta.get("reasoning_details")
        if self._reasoning is None or not details:
            return TextSink.of_lists(texts["reasoning"])
        return TextSink.of_lists(
            texts["reasoning"], self._reasoning.last_texts(details[0])
        )

    def _add_members(
        self, choice: Mapping[str, Any], chunk: ChatStreamingResponseChunk
    ) -> None:
        values = self._values
        other_forms = False
        for key, value in choice.items():
            if key == "delta":
                if isinstance(value, dict):
                    self._add_delta(value, choice, chunk)
            elif key == "index" or (value is None and key in values):
                pass
            elif (key == "message" and isinstance(value, dict)) or (
                key == "text" and isinstance(value, str)
            ):
                other_forms = True
            elif key == "usage" and isinstance(value, dict):
                values[key] = value
                chunk.usage = chunk.usage or read_object(Usage, value)
            else:
                self._add_value(key, value, choice)
        if other_forms:
            self._add_other_forms(choice, chunk)

    def _add_other_forms(
        self, choice: Mapping[str, Any], chunk: ChatStreamingResponseChunk
    ) -> None:
        """Add `message` and `text`, after `delta`."""
        if self._other is None:
            self._other = OtherForms()
        delta = as_object(choice.get("delta"))
        message = as_object(choice.get("message"))
        self._other.add_message(message)
        for key in _TEXTS:
            text = content_text(message.get(key))
            if text and not delta.get(key):
                new = self._other.new_text(key, text, self._received(key))
                self._add_new_text(key, new, choice, chunk)
        text = choice.get("text")
        if isinstance(text, str):
            self._other.prompt_texts.append(text)
            if not delta.get("content") and not message.get("content"):
                self._add_new_text("content", text, choice, chunk)

    def _received(self, key: str) -> str:
        if key == "content" and self._parts is not None:
            return content_text(self._parts) or ""
        return self._message.text(key)

    def _add_new_text(
        self,
        key: str,
        text: str,
        choice: Mapping[str, Any],
        chunk: ChatStreamingResponseChunk,
    ) -> None:
        """Add a text that was not in `delta`, and show it there."""
        if key == "content" and self._parts is not None:
            self._parts.append({"type": "text", "text": text})
        else:
            self._message.append(key, text)
        self._show(key, text, choice, chunk)

    def _show(
        self,
        key: str,
        text: str,
        choice: Mapping[str, Any],
        chunk: ChatStreamingResponseChunk,
    ) -> None:
        """Set a text of the chunk's delta to a new piece, without half characters."""
        shown, held = release(self._held.get(key, ""), text)
        self._held = {k: half for k, half in self._held.items() if k != key}
        if held:
            self._held[key] = held
            # The next piece has to be joined with the half: no fast path.
            self._content = None
        delta = _delta_of(choice, chunk)
        if key != "reasoning_content":
            setattr(delta, key, shown)
        elif not self._message.text("reasoning"):
            delta.reasoning = shown

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

    def _add_delta(
        self,
        delta: Mapping[str, Any],
        choice: Mapping[str, Any],
        chunk: ChatStreamingResponseChunk,
    ) -> None:
        message = self._message
        # While half a character is held back, `_add_text` has to handle each text.
        texts = {} if self._held else message.texts
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
                self._add_text(key, value, choice, chunk)
            else:
                self._add_rare(key, value, lambda: _delta_of(choice, chunk))

    def _add_text(
        self,
        key: str,
        value: Any,
        choice: Mapping[str, Any],
        chunk: ChatStreamingResponseChunk,
    ) -> None:
        """Add a text of a delta: its first piece, or one that needs a closer look."""
        message = self._message
        if key == "content" and isinstance(value, dict):
            # One part that is not in a list.
            value = [value]
        if key == "content" and isinstance(value, list) and value:
            if self._parts is None:
                # No fast path: from now on, all content is added here.
                self._content = None
                text = message.text(key)
                message.texts.pop(key, None)
                message.values[key] = None
                self._parts = [{"type": "text", "text": text}] if text else []
            self._parts += value
        elif key == "content" and self._parts is not None:
            if isinstance(value, str) and value:
                self._parts.append({"type": "text", "text": value})
        else:
            message.append(key, value)
        if self._held or (type(value) is not str and value):
            piece = content_text(value)
            if piece is not None:
                self._show(key, piece, choice, chunk)

    def _add_rare(self, key: str, value: Any, shown: Callable[[], Delta]) -> None:
        """Add a member of a delta that few chunks have."""
        values = self._message.values
        if key == "tool_calls" and isinstance(value, list):
            if self._tool_calls is None:
                self._tool_calls = ToolCallAccumulator()
            self._tool_calls.add(value, shown)
        elif key == "annotations" and isinstance(value, list):
            values[key] = None
            _add_distinct(self._annotations, value)
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
        if self._other is not None and self._other.prompt_texts:
            choice["text"] = mark(join_halves("".join(self._other.prompt_texts)))
        for key, value in self._values.items():
            choice.setdefault(key, deep_copy(value))
        return choice

    def _build_message(self, id_prefix: str, *, complete: bool) -> dict[str, Any]:
        message = self._message.build()
        if self._parts is not None:
            message["content"] = _merge_texts(deep_copy(self._parts))
        if self._other is not None:
            self._add_whole(message, self._other.message)
        tool_calls = self._tool_calls
        if tool_calls is None or not tool_calls.items:
            # An empty text without tool calls is not null, whatever else came.
            if "content" in self._message.texts and not message.get("tool_calls"):
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

    def _add_whole(self, message: dict[str, Any], whole: Mapping[str, Any]) -> None:
        """Add the members of `message` that no delta had."""
        for key, value in whole.items():
            if message.get(key) in (None, "", []):
                message[key] = deep_copy(value)
        content = whole.get("content")
        if (
            isinstance(content, list)
            and self._parts is None
            and (content_text(content) or "") == self._received("content")
        ):
            # Its parts may be more than the text.
            message["content"] = deep_copy(content)


def _delta_of(choice: Mapping[str, Any], chunk: ChatStreamingResponseChunk) -> Delta:
    """Return the delta that was read from a choice of `chunk.raw`."""
    received = (each for each in chunk.raw["choices"] if each.__class__ is dict)
    for shown, each in zip(chunk.choices, received, strict=False):
        if each is choice:
            return shown.delta
    return Delta()


def _merge_texts(parts: list[Any]) -> list[Any]:
    """Return the parts with successive texts joined."""
    merged: list[Any] = []
    texts: list[str] = []
    for part in parts:
        is_text = isinstance(part, dict) and part.keys() == {"type", "text"}
        if is_text and part["type"] == "text" and isinstance(part["text"], str):
            if not texts:
                merged.append(part)
            texts.append(part["text"])
            continue
        if len(texts) > 1:
            merged[-1]["text"] = mark(join_halves("".join(texts)))
        texts = []
        merged.append(part)
    if len(texts) > 1:
        merged[-1]["text"] = mark(join_halves("".join(texts)))
    return merged


def _add_distinct(known: list[Any], annotations: list[Any]) -> None:
    """Add annotations; some providers repeat one in each chunk that refers to it."""
    for annotation in annotations:
        try:
            if annotation in known:
                continue
        except RecursionError:
            # It is nested too deeply to be compared; so it is kept.
            pass
        known.append(annotation)


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
