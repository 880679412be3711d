"""The tool calls of a message, accumulated from their fragments."""

# Pyright knows nothing about the keys and values of an `Any` that turned out to be a
# dict. `as_object` would tell it, for a function call at each level of each chunk.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false

import json
from collections.abc import Mapping
from typing import Any

from .partial_object import (
    as_string,
    deep_copy,
    index_of,
    keep_first,
    keep_last,
)


class PartialToolCall:
    """
    One tool call, as far as received.

    Attributes:
        index: The index of its first fragment; None if it had none.
        id: The id; "" until one is received.
        name: The name of the function; "" until one is received.
    """

    __slots__ = (
        "_arguments",
        "_first_is_complete",
        "_function",
        "_length",
        "_values",
        "id",
        "index",
        "name",
    )

    def __init__(self, index: int | None) -> None:
        self.index = index
        self.id = ""
        self.name = ""
        self._values: dict[str, Any] = {}
        self._function: dict[str, Any] = {}
        self._arguments: list[str] = []
        self._length = 0
        self._first_is_complete: bool | None = None

    def add(self, fragment: Mapping[str, Any]) -> None:
        """Add the next fragment of this call."""
        for key, value in fragment.items():
            if key == "function":
                # None keeps the position of the key; `build` sets the value.
                self._values[key] = None
                if isinstance(value, dict):
                    self.add_function(value)
            elif key in ("id", "type"):
                keep_first(self._values, key, value)
            elif key != "index":
                keep_last(self._values, key, value)
            else:
                self._values[key] = self.index
        self.id = self.id or as_string(fragment.get("id"))

    def add_function(self, function: Mapping[str, Any]) -> None:
        """Add the next fragment of the function's name and arguments."""
        for key, value in function.items():
            if key == "arguments":
                self._function.setdefault(key, None)
                self._add_arguments(value)
            elif key == "name":
                keep_first(self._function, key, value)
                self.name = self.name or as_string(value)
            else:
                keep_last(self._function, key, value)

    def _add_arguments(self, arguments: Any) -> None:
        if isinstance(arguments, str):
            if arguments and not self._is_repetition(arguments):
                self._arguments.append(arguments)
                self._length += len(arguments)
        elif arguments is not None:
            # Some providers send the arguments as an object instead of its JSON text.
            # It is complete, so it replaces earlier fragments.
            text = _to_json(arguments)
            self._arguments = [text]
            self._length = len(text)

    def _is_repetition(self, arguments: str) -> bool:
        # Some providers send the complete arguments again at the end. They cannot be
        # a continuation: '{...{...' is not valid JSON.
        return arguments.startswith("{") and self.has(arguments)

    def has(self, arguments: Any) -> bool:
        """Return True if these are the arguments received so far."""
        text = arguments if isinstance(arguments, str) else _to_json(arguments)
        return len(text) == self._length and "".join(self._arguments) == text

    def arrived_complete(self) -> bool:
        """Return True if the first fragment had complete arguments."""
        if self._first_is_complete is None and self._arguments:
            self._first_is_complete = _is_json(self._arguments[0])
        return bool(self._first_is_complete)

    def build(self, default_id: str, *, complete: bool) -> dict[str, Any]:
        """
        Return the call as it is in a plain response.

        Args:
            default_id: The id if none was received.
            complete: If True, no argument can be missing.
        """
        call = {key: deep_copy(value) for key, value in self._values.items()}
        call["id"] = self.id or default_id
        if "function" in call:
            call["function"] = self.build_function(complete=complete)
            call["type"] = call.get("type") or "function"
        return call

    def build_function(self, *, complete: bool) -> dict[str, Any]:
        """Return the name and arguments, which become `{}` if complete and empty."""
        arguments = "".join(self._arguments)
        stripped = arguments.rstrip()
        if stripped != arguments and (not stripped or _is_json(stripped)):
            # White space at the end is not part of complete arguments. Inside
            # incomplete ones it may belong to a string.
            arguments = stripped
        if not arguments and complete:
            arguments = "{}"
        function = {key: deep_copy(value) for key, value in self._function.items()}
        function["arguments"] = arguments
        return function


class ToolCallAccumulator:
    """
    The tool calls of one choice, as far as received.

    OpenAI gives every fragment the index of its call, and the first one an id. Other
    providers omit indexes, use one index for all calls, send null ids or repeat them.
    So index, id, name and arguments are all used to find the call of a fragment.

    Attributes:
        items: The calls in order of arrival.
    """

    __slots__ = ("_by_id", "_by_index", "_in_chunk", "items")

    def __init__(self) -> None:
        self.items: list[PartialToolCall] = []
        self._by_index: dict[int, PartialToolCall] = {}
        self._by_id: dict[str, PartialToolCall] = {}
        # Python ids of the calls that have a fragment in the current chunk.
        self._in_chunk: set[int] = set()

    def add(self, fragments: list[Any]) -> None:
        """Add the fragments of one chunk."""
        self._in_chunk = set()
        for fragment in fragments:
            if not isinstance(fragment, dict):
                continue
            index = index_of(fragment)
            call = self._find_call(fragment, index)
            if call is None:
                call = PartialToolCall(index)
                self.items.append(call)
                if index is not None:
                    self._by_index[index] = call
            call.add(fragment)
            self._in_chunk.add(id(call))
            if call.id:
                self._by_id.setdefault(call.id, call)

    def _find_call(
        self, fragment: Mapping[str, Any], index: int | None
    ) -> PartialToolCall | None:
        """Return the call that a fragment continues, or None if it begins one."""
        ident = as_string(fragment.get("id"))
        function = fragment.get("function")
        if not isinstance(function, dict):
            function = {}
        name = as_string(function.get("name"))
        last = self.items[-1] if self.items else None
        # The candidate: 1. the call of the index; 2. without index and id, the last
        # call; 3. the call of the id; 4. the last call, if this fragment may bring
        # its id.
        call = None
        if index is not None:
            call = self._by_index.get(index)
        elif not ident:
            call = last
        elif ident in self._by_id:
            call = self._by_id[ident]
        elif last is not None and not last.id and not name:
            call = last

        if call is None or (ident and ident == call.id):
            return call
        if ident and call.id:
            # Parallel calls with one index for all: the id decides.
            return self._by_id.get(ident)
        if name and call.name and self._is_another(call, ident, name, function, index):
            return None
        return call

    def _is_another(
        self,
        call: PartialToolCall,
        ident: str,
        name: str,
        function: Mapping[str, Any],
        index: int | None,
    ) -> bool:
        """
        Return True if a fragment with a function name begins another call.

        Some providers repeat the name in every fragment of a call; others send several
        complete calls of one function without ids.
        """
        if name != call.name:
            return True
        if ident:
            # The call has no id yet; this is it.
            return False
        if id(call) in self._in_chunk:
            # The fragments of one chunk belong to different calls.
            return True
        arguments = function.get("arguments")
        if isinstance(arguments, str) and not _is_json(arguments):
            return False
        if not arguments or not call.arrived_complete():
            return False
        # Two complete sets of arguments are two calls, unless the same ones are
        # repeated under one index.
        return index is None or not call.has(arguments)

    def build(self, id_prefix: str, *, complete: bool) -> list[dict[str, Any]]:
        """
        Return the calls as they are in a plain response.

        Args:
            id_prefix: Beginning of the ids of calls that came without one.
            complete: If True, no argument can be missing.
        """
        built = [
            call.build(f"call_{id_prefix}_{number}", complete=complete)
            for number, call in enumerate(self.items)
        ]
        indexes = [call.index for call in self.items if call.index is not None]
        if len(set(indexes)) == len(built):
            return sorted(built, key=lambda call: int(call["index"]))
        if indexes:
            # Missing or repeated indexes are replaced by the order of arrival.
            for number, call in enumerate(built):
                call["index"] = number
        return built


def _to_json(value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    except RecursionError:
        return ""


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
