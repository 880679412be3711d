"""What a row may be given as, and the one form that it is sent in."""

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any, Final, Protocol, cast, runtime_checkable

from attrs import frozen

from ..errors import ConfigurationError
from ..types import ChatGenerationParams, MessageLike, UserMessage

_PATH: Final = "/chat/completions"
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
class Row:
    """
    A row in the one form.

    Attributes:
        index: Its place in the input, from 0.
        custom_id: The caller's own name for it; None if there is none.
        params: The request, without what is common to all rows.
        prompt: Its text, where that is all that was given.
    """

    index: int
    custom_id: str | None
    params: ChatGenerationParams | Mapping[str, Any]
    prompt: str | None = None

    @property
    def name(self) -> str:
        """What it is known by."""
        return self.custom_id if self.custom_id is not None else f"row-{self.index}"


def read_item(item: object, index: int) -> Row:
    """
    Return the row that an item stands for.

    An error in place of an item is what the row comes to.

    Raises:
        ConfigurationError: It stands for none.
    """
    if isinstance(item, ConfigurationError):
        raise item
    if isinstance(item, str):
        return Row(index, None, {"messages": [UserMessage(item)]}, item)
    if isinstance(item, ChatGenerationParams):
        return Row(index, None, item)
    if isinstance(item, Mapping):
        return _read_mapping(cast("Mapping[str, Any]", item), index)
    if isinstance(item, Sequence) and not isinstance(item, bytes | bytearray):
        return Row(index, None, {"messages": item})
    if isinstance(item, ItemLike):
        return _named(index, item.custom_id, item.body)
    raise ConfigurationError(
        f"Row {index} is no prompt, no messages and no request: {item!r:.80}."
    )


def given_name(item: object) -> str | None:
    """Return the name that an item brings, whether it is a row or not."""
    if not isinstance(item, Mapping):
        return None
    name = cast("Mapping[str, Any]", item).get("custom_id")
    return name if isinstance(name, str) else None


def _read_mapping(item: Mapping[str, Any], index: int) -> Row:
    if "body" in item:
        url = item.get("url")
        if url is not None and not str(url).rstrip("/").endswith(_PATH):
            raise ConfigurationError(
                f"Row {index} is for {url!r:.80}; only chat completions are sent."
            )
        return _named(index, item.get("custom_id"), item["body"])
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


def fingerprint(body: bytes) -> int:
    """Return 64 bits that tell one request from another; `body` is canonical JSON."""
    return int.from_bytes(blake2b(body, digest_size=8).digest(), "big")


def name_key(name: str) -> int:
    """Return 64 bits that stand for a row's name; never 0."""
    data = name.encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "big") or 1
