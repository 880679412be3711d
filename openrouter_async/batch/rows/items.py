"""What a row may be given as, and the one form that it is sent in."""

import re
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any, Final, Protocol, cast, runtime_checkable

from attrs import define, frozen

from ...errors import ConfigurationError
from ...types import ChatGenerationParams, MessageLike, UserMessage

OURS: Final = "x_openrouter"
"""The key of what OpenAI's and OpenRouter's own lines do not have."""

_PATH: Final = "/chat/completions"
_PRINT: Final = re.compile("[0-9a-f]{16}")
_FIELDS: Final = frozenset({"messages", "prompt", "model", "models", "preset"})


@runtime_checkable
class ItemLike(Protocol):
    """A class of the shape of `BatchItem`."""

    @property
    def custom_id(self) -> str | None:
        """The caller's own name for the row."""

    @property
    def body(self) -> Mapping[str, Any] | ChatGenerationParams:
        """The request."""
        ...


@frozen
class BatchItem:
    """
    A row with a name of the caller's own.

    Attributes:
        custom_id: Unique among the rows; None: its place among them is its name.
        body: The request.
    """

    custom_id: str | None
    body: Mapping[str, Any] | ChatGenerationParams


Item = str | Sequence[MessageLike] | ChatGenerationParams | Mapping[str, Any] | ItemLike
"""
A row: a prompt, a list of messages, a request, or a request with a name.

A mapping with a `body` is a line of OpenAI's and OpenRouter's batch files; any other
mapping is a request.
"""


@frozen
class Broken:
    """
    What stands in the place of a row that can not be read.

    Attributes:
        text: As it was found.
        fault: Why.
    """

    text: str
    fault: ConfigurationError


@define
class Row:
    """
    A row in the one form.

    Attributes:
        index: Its place in the input, from 0; of one that failed before, in the input
            that it first came from.
        custom_id: The caller's own name for it; None if there is none.
        params: The request, without what is common to all rows.
        prompt: Its text, where that is all that was given.
        print: The fingerprint that it is known by; None: that of its request. One that
            failed before keeps it, whatever is changed to make it succeed.
    """

    index: int
    custom_id: str | None
    params: ChatGenerationParams | Mapping[str, Any]
    prompt: str | None = None
    print: int | None = None

    @property
    def name(self) -> str:
        """What it is known by."""
        return row_name(self.index) if self.custom_id is None else self.custom_id


def row_name(index: int) -> str:
    """Return what a row without a name of the caller's own is known by."""
    return f"row-{index}"


def read_item(item: object, index: int) -> Row:
    """
    Return the row that an item stands for.

    Raises:
        ConfigurationError: It stands for none.
    """
    if isinstance(item, str):
        return Row(index, None, {"messages": [UserMessage(item)]}, item)
    if isinstance(item, Broken):
        raise item.fault
    if isinstance(item, ChatGenerationParams):
        return Row(index, None, item)
    if isinstance(item, Mapping):
        return _read_mapping(cast("Mapping[str, Any]", item), index)
    # Before the sequences: a named tuple may have that shape.
    if not isinstance(item, list) and isinstance(item, ItemLike):
        return _named(index, item.custom_id, item.body)
    if isinstance(item, Sequence) and not isinstance(item, bytes | bytearray):
        return Row(index, None, {"messages": item})
    raise ConfigurationError(
        f"Row {index} is no prompt, no messages and no request: {item!r:.80}."
    )


def row_of(item: object, index: int) -> Row:
    """Return the row of an item that is none: what it is known by, and no request."""
    row = Row(index, None, {})
    if isinstance(item, Mapping):
        line = cast("Mapping[str, Any]", item)
        name = line.get("custom_id")
        row.custom_id = name if isinstance(name, str) else None
        _recognise(row, line)
    return row


def _read_mapping(item: Mapping[str, Any], index: int) -> Row:
    if "body" in item:
        url = item.get("url")
        if url is not None and not str(url).rstrip("/").endswith(_PATH):
            raise ConfigurationError(
                f"Row {index} is for {url!r:.80}; only chat completions are sent."
            )
        row = _named(index, item.get("custom_id"), item["body"])
        _recognise(row, item)
        return row
    if not _FIELDS & item.keys():
        raise ConfigurationError(
            f"Row {index} has neither 'body' nor 'messages'; it has "
            f"{', '.join(map(repr, item))[:80] or 'nothing'}."
        )
    name = item.get("custom_id")
    if name is None:
        return Row(index, None, item)
    rest = {key: value for key, value in item.items() if key != "custom_id"}
    return _named(index, name, rest)


def _named(index: int, name: object, body: object) -> Row:
    if name is not None and not isinstance(name, str):
        raise ConfigurationError(f"Row {index}: custom_id is a string, not {name!r}.")
    if not isinstance(body, ChatGenerationParams | Mapping):
        raise ConfigurationError(
            f"Row {index}: body is a request, not a {type(body).__name__}."
        )
    return Row(index, name, cast("Mapping[str, Any] | ChatGenerationParams", body))


def _recognise(row: Row, line: Mapping[str, Any]) -> None:
    """Take over what a failure's line tells of the row that it was."""
    found = line.get(OURS)
    if not isinstance(found, Mapping):
        return
    ours = cast("Mapping[str, Any]", found)
    index, printed = ours.get("i"), ours.get("fp")
    if isinstance(index, int):
        row.index = index
        if ours.get("named") is False and row.custom_id == row_name(index):
            row.custom_id = None
    if isinstance(printed, str) and _PRINT.fullmatch(printed):
        row.print = int(printed, 16)


def fingerprint(body: bytes) -> int:
    """Return 64 bits that tell one request from another; `body` is canonical JSON."""
    return int.from_bytes(blake2b(body, digest_size=8).digest(), "big")


def name_key(name: str) -> int:
    """Return 64 bits that stand for a row's name; never 0."""
    data = name.encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "big") or 1
