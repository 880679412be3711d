"""The tool calls of a message, whatever the provider makes of the rules."""

# To pyright, `Any` that turned out to be a dict is one of unknown keys and values. A
# typed check would be one more call at each level of each chunk.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false

import json
from collections.abc import Mapping
from typing import Any

from .partial_object import (
    copied,
    index_of,
    keep_first,
    keep_last,
    string,
)


class PartialToolCall:
    """
    One tool call so far.

    Attributes:
        index: Its number as the stream gave it; None if it gave none.
        id: Its id; "" while none has come.
        name: The function's name; "" while none has come.
    """

    __slots__ = (
        "_arguments",
        "_function",
        "_length",
        "_values",
        "_whole",
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
        self._whole: bool | None = None

    def add(self, fragment: Mapping[str, Any]) -> None:
        """Add the next fragment of this call."""
        for key, value in fragment.items():
            if key == "function":
                self._values[key] = None
                if isinstance(value, dict):
                    self.add_function(value)
            elif key in ("id", "type"):
                keep_first(self._values, key, value)
            elif key != "index":
                keep_last(self._values, key, value)
            else:
                self._values[key] = self.index
        self.id = self.id or string(fragment.get("id"))

    def add_function(self, function: Mapping[str, Any]) -> None:
        """Add the next part of its name and arguments."""
        for key, value in function.items():
            if key == "arguments":
                self._function.setdefault(key, None)
                self._add_arguments(value)
            elif key == "name":
                keep_first(self._function, key, value)
                self.name = self.name or string(value)
            else:
                keep_last(self._function, key, value)

    def _add_arguments(self, arguments: Any) -> None:
        if isinstance(arguments, str):
            if arguments and not self._is_restated(arguments):
                self._arguments.append(arguments)
                self._length += len(arguments)
        elif arguments is not None:
            # A document instead of its text is the whole of it.
            text = _dumped(arguments)
            self._arguments = [text]
            self._length = len(text)

    def _is_restated(self, arguments: str) -> bool:
        # No JSON goes on with what it began with: "{...{..." would be broken.
        return arguments.startswith("{") and self.has(arguments)

    def has(self, arguments: Any) -> bool:
        """Tell whether these are its arguments so far."""
        text = arguments if isinstance(arguments, str) else _dumped(arguments)
        return len(text) == self._length and "".join(self._arguments) == text

    def came_whole(self) -> bool:
        """Tell whether the first arguments were a whole document at once."""
        if self._whole is None and self._arguments:
            self._whole = _is_document(self._arguments[0])
        return bool(self._whole)

    def build(self, name: str, *, whole: bool) -> dict[str, Any]:
        """Build the call; `name` is its id where none came."""
        call = {key: copied(value) for key, value in self._values.items()}
        call["id"] = self.id or name
        if "function" in call:
            call["function"] = self.build_function(whole=whole)
            call["type"] = call.get("type") or "function"
        return call

    def build_function(self, *, whole: bool) -> dict[str, Any]:
        """Build its name and arguments; `whole`: nothing was cut off."""
        arguments = "".join(self._arguments)
        stripped = arguments.rstrip()
        if stripped != arguments and (not stripped or _is_document(stripped)):
            # White space after the end is no argument.
            arguments = stripped
        if not arguments and whole:
            arguments = "{}"
        function = {key: copied(value) for key, value in self._function.items()}
        function["arguments"] = arguments
        return function


class ToolCallAccumulator:
    """
    The tool calls so far, of one choice.

    Providers break every rule about which fragment belongs to which call: indexes
    are left out, or all the same, ids are null, or repeated.
    """

    __slots__ = ("_by_id", "_by_index", "_touched", "items")

    def __init__(self) -> None:
        self.items: list[PartialToolCall] = []
        self._by_index: dict[int, PartialToolCall] = {}
        self._by_id: dict[str, PartialToolCall] = {}
        self._touched: set[int] = set()

    def add(self, fragments: list[Any]) -> None:
        """Add the fragments of one chunk."""
        self._touched = set()
        for fragment in fragments:
            if not isinstance(fragment, dict):
                continue
            index = index_of(fragment)
            call = self._call_of(fragment, index)
            if call is None:
                call = PartialToolCall(index)
                self.items.append(call)
                if index is not None:
                    self._by_index[index] = call
            call.add(fragment)
            self._touched.add(id(call))
            if call.id:
                self._by_id.setdefault(call.id, call)

    def _call_of(
        self, fragment: Mapping[str, Any], index: int | None
    ) -> PartialToolCall | None:
        """Find the call that this fragment continues; None if it begins one."""
        ident = string(fragment.get("id"))
        function = fragment.get("function")
        if not isinstance(function, dict):
            function = {}
        name = string(function.get("name"))
        last = self.items[-1] if self.items else None
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
            # Parallel calls may share an index; then the id tells them apart.
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
        """Tell whether a fragment that names a function is a call beside `call`."""
        if name != call.name:
            return True
        if ident:
            return False
        if id(call) in self._touched:
            return True
        arguments = function.get("arguments")
        if isinstance(arguments, str) and not _is_document(arguments):
            return False
        if not arguments or not call.came_whole():
            return False
        # Two whole documents for one function: two calls, unless under one index the
        # same is only said again.
        return index is None or not call.has(arguments)

    def build(self, prefix: str, *, whole: bool) -> list[dict[str, Any]]:
        """Build the list; calls that came without an id get one from `prefix`."""
        built = [
            call.build(f"call_{prefix}_{number}", whole=whole)
            for number, call in enumerate(self.items)
        ]
        indexes = [call.index for call in self.items if call.index is not None]
        if len(set(indexes)) == len(built):
            return sorted(built, key=lambda call: int(call["index"]))
        if indexes:
            # Missing or shared indexes say nothing; the order of arrival does.
            for number, call in enumerate(built):
                call["index"] = number
        return built


def _dumped(value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    except RecursionError:
        return ""


def _is_document(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
