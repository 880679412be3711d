"""Items: the accepted forms of an input row, and the one form that is sent."""

import re
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any, Final, cast

from attrs import define, frozen

from ...errors import ConfigurationError
from ...types import ChatGenerationParams, MessageLike, UserMessage

EXTENSION_KEY: Final = "x_openrouter"
"""The key, in a line of a file, of the fields that are not in OpenAI's batch format."""

_PATH: Final = "/chat/completions"
_FINGERPRINT: Final = re.compile("[0-9a-f]{16}")
# A mapping with none of these keys is not a request, but perhaps a row of a data set.
_ROW_KEYS: Final = frozenset({"body", "custom_id", "messages"})
"""Keys of a row that a message never has."""
_REQUEST_KEYS: Final = frozenset({"messages", "prompt", "model", "models", "preset"})


@frozen
class BatchItem:
    """
    A request with a name.

    Attributes:
        custom_id: The name, unique among the rows of a run. None: the row is named
            after its index, such as "row-7".
        body: The request.
    """

    custom_id: str | None
    body: Mapping[str, Any] | ChatGenerationParams


Item = (
    str | Sequence[MessageLike] | ChatGenerationParams | Mapping[str, Any] | BatchItem
)
"""
A row: a prompt, a list of messages, a request, or a request with a name.

A mapping with a `body` is a line of OpenAI's and OpenRouter's batch files. Any other
mapping is a request.
"""


@frozen
class InvalidLine:
    """
    A line of an input file that cannot be read as a row.

    Attributes:
        text: The line.
        error: The reason.
        custom_id: The name of the row, if it could be read.
    """

    text: str
    error: ConfigurationError
    custom_id: str | None = None


@define
class Row:
    """
    A row, whatever form it was given in.

    Attributes:
        index: Index in the input, from 0. A row read from a failures file keeps the
            index that it had in the original input.
        custom_id: The caller's name for the row; None if it has none.
        params: The request, without the fields that all rows share.
        prompt: The text, if the row was given as a string.
        fingerprint: The fingerprint under which the journal knows the row. None: the
            fingerprint of the request. A row read from a failures file keeps its
            first fingerprint, so that it may be edited until it succeeds.
    """

    index: int
    custom_id: str | None
    params: ChatGenerationParams | Mapping[str, Any]
    prompt: str | None = None
    fingerprint: int | None = None

    @property
    def name(self) -> str:
        """The `custom_id`, or a name made from the index."""
        return row_name(self.index) if self.custom_id is None else self.custom_id


def row_name(index: int) -> str:
    """Return the name of a row without a `custom_id`."""
    return f"row-{index}"


def read_item(item: object, index: int) -> Row:
    """
    Return the row that an item stands for.

    Raises:
        ConfigurationError: If the item is not in one of the accepted forms.
    """
    if isinstance(item, str):
        return Row(index, None, {"messages": [UserMessage(item)]}, item)
    if isinstance(item, InvalidLine):
        raise item.error
    if isinstance(item, ChatGenerationParams):
        return Row(index, None, item)
    if isinstance(item, Mapping):
        return _read_mapping(cast("Mapping[str, Any]", item), index)
    if isinstance(item, BatchItem):
        return _named_row(index, item.custom_id, item.body)
    if isinstance(item, Sequence) and not isinstance(item, bytes | bytearray):
        messages = _read_messages(item, index)  # pyright: ignore[reportUnknownArgumentType]
        return Row(index, None, {"messages": messages})
    raise ConfigurationError(
        f"Row {index} is not a prompt, a list of messages or a request: {item!r:.80}."
    )


def is_conversation(value: object) -> bool:
    """Return True if a JSON value is one row, a list of messages."""
    if not isinstance(value, list) or not value:
        return False
    first = cast("list[object]", value)[0]
    return (
        isinstance(first, Mapping) and "role" in first and not _ROW_KEYS & first.keys()
    )


def _read_messages(item: Sequence[Any], index: int) -> Sequence[Any]:
    """
    Check that the members of a list could be messages.

    Raises:
        ConfigurationError: If they are values, such as those of a table's row, or rows.
    """
    for member in item:
        if member is None or isinstance(member, str | bytes | float | int | Sequence):
            raise ConfigurationError(
                f"Row {index} is a {type(item).__name__} with a "
                f"{type(cast('object', member)).__name__} in it, "
                f"not a list of messages: {item!r:.80}."
            )
        if isinstance(member, Mapping) and _ROW_KEYS & member.keys():
            raise ConfigurationError(
                f"Row {index} is a list of rows, not a list of messages. Pass each "
                "row as an item of its own."
            )
    return item


def identify_item(item: object, index: int) -> Row:
    """Return a row without a request, to name an item that `read_item` rejects."""
    row = Row(index, None, {})
    if isinstance(item, InvalidLine):
        row.custom_id = item.custom_id
    if isinstance(item, Mapping):
        line = cast("Mapping[str, Any]", item)
        name = line.get("custom_id")
        row.custom_id = name if isinstance(name, str) else None
        _restore_identity(row, line)
    return row


def _read_mapping(item: Mapping[str, Any], index: int) -> Row:
    if "body" in item:
        url = item.get("url")
        if url is not None and not str(url).rstrip("/").endswith(_PATH):
            raise ConfigurationError(
                f"Row {index} has the url {url!r:.80}. "
                "Only requests for chat completions can be sent."
            )
        row = _named_row(index, item.get("custom_id"), item["body"])
        _restore_identity(row, item)
        return row
    if not _REQUEST_KEYS & item.keys():
        keys = ", ".join(map(repr, item))[:80] or "none"
        raise ConfigurationError(
            f"Row {index} has neither 'body' nor 'messages'; its keys: {keys}."
        )
    name = item.get("custom_id")
    if name is None:
        return Row(index, None, item)
    request = {key: value for key, value in item.items() if key != "custom_id"}
    return _named_row(index, name, request)


def _named_row(index: int, name: object, body: object) -> Row:
    if name is not None and not isinstance(name, str):
        raise ConfigurationError(
            f"Row {index}: custom_id must be a string, not {name!r:.80}."
        )
    if not isinstance(body, ChatGenerationParams | Mapping):
        raise ConfigurationError(
            f"Row {index}: body must be a request, not a {type(body).__name__}."
        )
    return Row(index, name, cast("Mapping[str, Any] | ChatGenerationParams", body))


def _restore_identity(row: Row, line: Mapping[str, Any]) -> None:
    """
    Set what a line of a failures file says about the row that failed.

    Values of the wrong type are ignored: people edit these files.
    """
    value = line.get(EXTENSION_KEY)
    if not isinstance(value, Mapping):
        return
    extension = cast("Mapping[str, Any]", value)
    index, fingerprint = extension.get("i"), extension.get("fp")
    if isinstance(index, int):
        row.index = index
        if extension.get("named") is False and row.custom_id == row_name(index):
            row.custom_id = None
    if isinstance(fingerprint, str) and _FINGERPRINT.fullmatch(fingerprint):
        row.fingerprint = int(fingerprint, 16)


def fingerprint_of(body: bytes) -> int:
    """Return a 64-bit hash of a request; `body` is its JSON with sorted keys."""
    return int.from_bytes(blake2b(body, digest_size=8).digest(), "big")


def name_key(name: str) -> int:
    """Return a 64-bit hash of a row's name; never 0, which marks an empty entry."""
    data = name.encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "big") or 1
