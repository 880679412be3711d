"""The tool calls of a message, accumulated from their fragments."""

# Pyright knows nothing about the keys and values of an `Any` that turned out to be a
# dict. `as_object` has the types, but would cost a function call at each level of each
# chunk.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from ...types import Delta
from ..decode import to_json_text
from ..surrogates import join_halves, mark, readable, release
from .partial_object import (
    as_id,
    as_string,
    deep_copy,
    index_of,
    keep_first,
    keep_last,
)
from .text_sink import TextSink

_EMPTY_OBJECT: Final = "{}"


class PartialToolCall:
    """
    One tool call, as far as received.

    Attributes:
        index: The index of its first fragment; None if it had none.
        id: The id; "" until one is received.
        name: The name of the function; "" until one is received.
        held: The half of a character at the end of the arguments, if there is one that
            was not shown in a chunk.
    """

    __slots__ = (
        "_arguments",
        "_first_is_complete",
        "_function",
        "_has_halves",
        "_id_of_another",
        "_length",
        "_values",
        "held",
        "id",
        "index",
        "name",
    )

    def __init__(self, index: int | None) -> None:
        self.index = index
        self.id = ""
        self.name: str = ""
        self.held = ""
        self._values: dict[str, Any] = {}
        self._function: dict[str, Any] = {}
        self._arguments: list[str] = []
        self._length = 0
        self._has_halves = False
        self._id_of_another = ""
        self._first_is_complete: bool | None = None

    @property
    def name_is_complete(self) -> bool:
        """True if no further piece of the name can follow: arguments have begun."""
        return bool(self.name) and "arguments" in self._function

    @property
    def shown_arguments(self) -> str:
        """The arguments so far, as the joined chunks show them: without halves."""
        text = str(self.build_function(complete=False)["arguments"])
        return readable(text) if self._has_halves else text

    def add(self, fragment: Mapping[str, Any], *, other_id: bool = False) -> None:
        """
        Add the next fragment of this call.

        Args:
            fragment: The fragment.
            other_id: If True, its id is that of another call.
        """
        for key, value in fragment.items():
            if key == "function":
                # None keeps the position of the key; `build` sets the value.
                self._values[key] = None
                if isinstance(value, dict):
                    if "name" in value and self._continues_name(fragment, value):
                        self.name += value["name"]
                        self._function["name"] = self.name
                    self.add_function(value)
            elif key in ("id", "type"):
                keep_first(self._values, key, value)
            elif key != "index":
                keep_last(self._values, key, value)
            else:
                self._values[key] = self.index
        if not self.id and (ident := as_id(fragment.get("id"))):
            if other_id:
                self._id_of_another = ident
            elif ident != self._id_of_another:
                self.id = ident

    def _continues_name(
        self, fragment: Mapping[str, Any], function: Mapping[str, Any]
    ) -> bool:
        """
        Return True if a fragment has the next piece of the name.

        Such a fragment has neither an id nor arguments, and precedes all arguments. The
        complete name is not a piece: some providers repeat it.
        """
        name = as_string(function.get("name"))
        return (
            bool(name and self.name)
            and name != self.name
            and not fragment.get("id")
            and function.get("arguments") is None
            and not self._arguments
        )

    def add_function(self, function: Mapping[str, Any]) -> None:
        """Add the next fragment of the function's name and arguments."""
        for key, value in function.items():
            if key == "arguments":
                self._function.setdefault(key, None)
                self.add_arguments(value)
            elif key == "name":
                keep_first(self._function, key, value)
                self.name = self.name or as_string(value)
            else:
                keep_last(self._function, key, value)

    def add_arguments(self, arguments: Any) -> None:
        """Add the next fragment of the arguments, unless it only repeats them."""
        if isinstance(arguments, str):
            if not arguments or self._is_repetition(arguments):
                return
            if self._length == 2 and self.has(_EMPTY_OBJECT):
                # Some providers begin with an empty object. More can only replace it.
                if not arguments.strip():
                    return
                self._arguments, self._length = [], 0
            self._arguments.append(arguments)
            self._length += len(arguments)
            self._has_halves = self._has_halves or type(arguments) is not str
        elif arguments is not None:
            # Some providers send the arguments as an object instead of its JSON text.
            # It is complete, so it replaces earlier fragments.
            text = to_json_text(arguments)
            self._arguments = [text]
            self._length = len(text)

    def _is_repetition(self, arguments: str) -> bool:
        # Some providers send the complete arguments again at the end. A complete
        # document cannot be continued; a part of one can, by the same text again.
        return (
            len(arguments) == self._length
            and arguments.lstrip().startswith(("{", "["))
            and self.has(arguments)
            and _is_json(arguments)
        )

    def has(self, arguments: Any) -> bool:
        """Return True if these are the arguments received so far."""
        text = arguments if isinstance(arguments, str) else to_json_text(arguments)
        return len(text) == self._length and "".join(self._arguments) == text

    def is_complete(self) -> bool:
        """Return True if the arguments received so far are a complete document."""
        return bool(self._arguments) and _is_json("".join(self._arguments))

    def has_arguments(self) -> bool:
        """Return True if a part of the arguments was received."""
        return bool(self._arguments)

    def show(self, piece: str) -> str:
        """Return a piece of the arguments as a chunk shows it: without halves."""
        shown, self.held = release(self.held, piece)
        return shown

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
        if self._has_halves:
            arguments = mark(join_halves(arguments))
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
    providers omit indexes, use one index for all calls, send null ids, repeat ids or
    make new ones for each fragment. `_find_call` has the rules.

    Attributes:
        items: The calls in order of arrival.
    """

    __slots__ = ("_by_id", "_by_index", "_in_chunk", "items")

    def __init__(self) -> None:
        self.items: list[PartialToolCall] = []
        # The latest call of each index.
        self._by_index: dict[int, PartialToolCall] = {}
        self._by_id: dict[str, PartialToolCall] = {}
        # Python ids of the calls that have a fragment in the current chunk.
        self._in_chunk: set[int] = set()

    def add(
        self,
        fragments: Sequence[Any],
        shown: Callable[[], Delta] = Delta,
    ) -> None:
        """
        Add the fragments of one chunk.

        Args:
            fragments: The fragments.
            shown: Returns the delta of the chunk. Arguments in it are changed if they
                have half characters.
        """
        self._in_chunk = set()
        position = 0
        for fragment in fragments:
            if not isinstance(fragment, dict):
                continue
            index = index_of(fragment)
            # Nearly all fragments continue the call of their index, and have no id.
            call = None
            if index is not None and fragment.get("id") is None:
                call = self._by_index.get(index)
            function = fragment.get("function")
            if call is not None and type(function) is dict and "name" not in function:
                call.add(fragment)
            else:
                call = self._add_fragment(fragment, index)
            self._in_chunk.add(id(call))
            text = function.get("arguments") if type(function) is dict else None
            if call.held or (type(text) is not str and isinstance(text, str)):
                piece = call.show(as_string(text))
                for each in shown().tool_calls[position : position + 1]:
                    each.function.arguments = piece
            position += 1

    def text_sink(self, fragment: Mapping[str, Any]) -> TextSink | None:
        """Return the sink of arguments; None if a fragment does not name its call."""
        call = self._by_index.get(fragment["index"])
        if call is None or call.held:
            return None
        # Not the list of fragments: servers restate arguments.
        return TextSink.of_function(call.add_arguments)

    def _add_fragment(
        self, fragment: Mapping[str, Any], index: int | None
    ) -> PartialToolCall:
        call = self._find_call(fragment, index) or self._new_call(index)
        ident = as_id(fragment.get("id"))
        owner = self._by_id.get(ident, call)
        # An id that belongs to an earlier call of the same index is not the id of this
        # call.
        other_id = owner is not call and owner.index == index
        call.add(fragment, other_id=other_id)
        if other_id:
            self._by_id[ident] = call
        elif call.id:
            self._by_id.setdefault(call.id, call)
        return call

    def _new_call(self, index: int | None) -> PartialToolCall:
        call = PartialToolCall(index)
        self.items.append(call)
        if index is not None:
            self._by_index[index] = call
        return call

    def _find_call(
        self, fragment: Mapping[str, Any], index: int | None
    ) -> PartialToolCall | None:
        """
        Return the call that a fragment continues, or None if it begins one.

        The candidate is the call of the fragment's id, if its index is the same; else
        the latest call of its index; without an index, the last call.

        1. A fragment without the name of a function continues the candidate, whatever
           its id is; else the call of its id; else the last call. It begins a call only
           if it is the first one, or if it has a new index and a new id, but no
           arguments: the name may follow.
        2. A fragment with a name continues the candidate, unless `_is_another` says
           otherwise.
        """
        ident = as_id(fragment.get("id"))
        last = self.items[-1] if self.items else None
        of_index = None if index is None else self._by_index.get(index)
        of_id = self._by_id.get(ident)
        call = last if index is None else of_index
        if of_id is not None and index in (None, of_id.index):
            call = of_id
        if not as_string(_function_of(fragment).get("name")):
            is_head = index is not None and ident and not _arguments_of(fragment)
            return call or of_id or (None if is_head else last)
        if call is None or self._is_another(call, fragment, index):
            return None
        return call

    def _is_another(
        self, call: PartialToolCall, fragment: Mapping[str, Any], index: int | None
    ) -> bool:
        """
        Return True if a fragment with a function name begins another call.

        Some providers repeat the name in every fragment of a call; others send several
        complete calls of one function, or all calls under one index.
        """
        ident = as_id(fragment.get("id"))
        function = _function_of(fragment)
        name = function["name"]
        arguments = function.get("arguments")
        if not call.name:
            # The call had only an id or arguments so far; this is its name.
            return index is None and bool(ident and call.id and ident != call.id)
        if ident and call.id:
            return _is_another_by_id(call, ident, name, arguments)
        if id(call) in self._in_chunk:
            # The fragments of one chunk belong to different calls.
            return True
        if name != call.name:
            # Unless it is the next piece of the name; see `PartialToolCall.add`.
            known = index is not None or bool(call.id)
            is_piece = not ident and arguments is None and not call.has_arguments()
            return not (known and is_piece)
        if ident or (isinstance(arguments, str) and not _is_json(arguments)):
            # The call has no id yet, and this is it; or the arguments are continued.
            return False
        # Two complete sets of arguments are two calls, unless the same ones are
        # repeated under one index.
        return (
            bool(arguments)
            and call.arrived_complete()
            and (index is None or not call.has(arguments))
        )

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


def _function_of(fragment: Mapping[str, Any]) -> Mapping[str, Any]:
    function = fragment.get("function")
    return function if isinstance(function, dict) else {}


def _arguments_of(fragment: Mapping[str, Any]) -> Any:
    return _function_of(fragment).get("arguments")


def _is_another_by_id(
    call: PartialToolCall, ident: str, name: str, arguments: Any
) -> bool:
    """Return True if a fragment begins another call; both have an id and a name."""
    if ident == call.id:
        # Another name after a complete document, which cannot be continued.
        return bool(name != call.name and arguments) and call.is_complete()
    if name != call.name or not isinstance(arguments, str) or not arguments.strip():
        return True
    # These are parallel calls of one function, or one call with a new id for each
    # fragment. It is one call if
    # 1. it has no arguments yet: it must not be executed without them;
    # 2. its arguments are incomplete, and the new ones do not begin an object.
    continued = not arguments.lstrip().startswith("{") and not call.is_complete()
    return call.has_arguments() and not continued


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
