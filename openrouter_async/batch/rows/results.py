"""The result of one row, and its JSON line in the journal or the failures file."""

import re
from collections.abc import Mapping
from typing import Any, Final, Generic, Self, cast

import typing_extensions
from attrs import define

from ...errors import APIError, OpenRouterError
from ...protocol.decode import as_object
from ...protocol.encode import canonical
from ...protocol.response_objects import read_response
from ...protocol.response_parsing import usage_of
from ...types import ChatResponse, Usage
from .items import EXTENSION_KEY, fingerprint_of, name_key

T_co = typing_extensions.TypeVar("T_co", covariant=True, default=Any)

_VERSION: Final = 1
_FINGERPRINT: Final = re.compile("[0-9a-f]{1,16}")
_NUMBERS: Final = ("i", "attempts", "ms", "cost")


@define
class BatchResult(Generic[T_co]):
    """
    The result of one row.

    Attributes:
        index: Index of the row in the input, from 0.
        custom_id: The caller's name for the row; None if it has none.
        response: The response; None if the row failed.
        error: The reason of the failure; None if the row succeeded.
        cost: Amount charged in US dollars; None if the server did not report it.
        usage: Token counts; None if no response was received.
        attempts: Number of requests sent, refused ones included; 0 if the row could
            not be sent at all.
        latency: Seconds from the start of the last attempt to the end of its response.
        output: The value of the type that `output=` requested; None without `output=`.
    """

    index: int
    custom_id: str | None = None
    response: ChatResponse | None = None
    error: OpenRouterError | None = None
    cost: float | None = None
    usage: Usage | None = None
    attempts: int = 0
    latency: float = 0.0
    output: T_co | None = None

    @property
    def ok(self) -> bool:
        """True if the row succeeded."""
        return self.error is None

    @property
    def text(self) -> str:
        """The text of the response; "" if there is none."""
        return "" if self.response is None else self.response.text

    @property
    def model(self) -> str | None:
        """The model that responded; None if the row failed."""
        return None if self.response is None else self.response.model

    @property
    def provider(self) -> str | None:
        """The provider that responded; None if the row failed or it is unknown."""
        return None if self.response is None else self.response.provider

    @classmethod
    def from_line(cls, line: Mapping[str, Any]) -> Self:
        """Return the result in a line of a journal."""
        extension = as_object(line.get(EXTENSION_KEY))
        body = as_object(as_object(line.get("response")).get("body"))
        response = read_response(body)
        response.http.status = 200
        response.http.generation_id = response.id
        name = line.get("custom_id")
        is_named = isinstance(name, str) and extension.get("named") is not False
        return cls(
            index=int(extension.get("i") or 0),
            custom_id=name if is_named else None,
            response=response,
            cost=_cost(response.usage.cost, extension.get("cost")),
            usage=usage_of(response),
            attempts=int(extension.get("attempts") or 1),
            latency=float(extension.get("ms") or 0.0) / 1000.0,
        )


def _cost(reported: float | None, recorded: Any) -> float | None:
    """Return the cost in a response, or else in the line: hosted rows have none."""
    if reported is not None or not isinstance(recorded, int | float):
        return reported
    return float(recorded)


def result_line(
    result: BatchResult,
    name: str,
    fingerprint: int,
    time: float,
    *,
    summarize: bool = False,
) -> dict[str, Any]:
    """
    Return the journal's line for a row that succeeded.

    It is a result line of OpenAI's and OpenRouter's batch files, with further fields
    under `EXTENSION_KEY`.

    Args:
        result: The result.
        name: The name of the row.
        fingerprint: The fingerprint of the request.
        time: The current time, in seconds since the epoch.
        summarize: If True, keep only the most important fields of the response.
    """
    response = cast("ChatResponse", result.response)
    generation_id = response.http.generation_id or response.id
    extension = _extension(result, fingerprint)
    extension["cost"] = result.cost
    extension["attempts"] = result.attempts
    extension["ms"] = round(result.latency * 1000)
    extension["t"] = round(time, 3)
    return {
        "id": generation_id,
        "custom_id": name,
        "response": {
            "status_code": 200,
            "request_id": generation_id,
            "body": _summary(response) if summarize else response.raw,
        },
        "error": None,
        EXTENSION_KEY: extension,
    }


def failure_line(
    result: BatchResult,
    name: str,
    fingerprint: int = 0,
    *,
    summarize: bool = False,
) -> dict[str, Any]:
    """
    Return the failures file's line for a row, without the `body` of its request.

    With its `body`, the line is itself an item that can be sent.

    Args:
        result: The result, which has an error.
        name: The name of the row.
        fingerprint: The fingerprint of the request; 0 if it has none.
        summarize: If True, keep only the most important fields of the response.
    """
    error = cast("OpenRouterError", result.error)
    # A response that did not fit `output=` was paid for, so it is kept.
    partial = error.partial
    response = None
    if partial is not None:
        response = {"body": _summary(partial) if summarize else partial.raw}
    return {
        "custom_id": name,
        "method": "POST",
        "url": "/v1/chat/completions",
        "error": {
            "type": type(error).__name__,
            "code": error.status_code if isinstance(error, APIError) else None,
            "message": str(error),
        },
        "response": response,
        "attempts": result.attempts,
        EXTENSION_KEY: _extension(result, fingerprint),
    }


def is_journal_line(line: Mapping[str, Any]) -> bool:
    """Return True if an object has the fields of a line made by `result_line`."""
    extension = as_object(line.get(EXTENSION_KEY))
    fingerprint = extension.get("fp")
    return (
        isinstance(line.get("custom_id"), str)
        and isinstance(fingerprint, str)
        and _FINGERPRINT.fullmatch(fingerprint) is not None
        and all(isinstance(extension.get(n), int | float | None) for n in _NUMBERS)
    )


def keys_of_row(name: str, fingerprint: int, index: int) -> tuple[int, int]:
    """
    Return the keys of the failures that a response to a row resolves.

    Args:
        name: The name of the row.
        fingerprint: The fingerprint of its request.
        index: Its index in the input.

    Returns:
        The key of a failure of the same request, and the key of a failure of an
        invalid row at the same index, which has no fingerprint.
    """
    return name_key(f"{name}\0fp{fingerprint:016x}"), name_key(f"{name}\0i{index}")


def messages_key(name: str, index: int, body: object) -> int | None:
    """
    Return the key of a row with the same messages, whatever its parameters are.

    Rows that failed because of a parameter, such as an unknown model, are resolved by
    a run with another value.

    Args:
        name: The name of the row.
        index: Its index in the input.
        body: The body of its request.

    Returns:
        The key; None if the body has no messages.
    """
    messages = as_object(body).get("messages")
    if not isinstance(messages, list):
        return None
    fingerprint = fingerprint_of(canonical({"messages": messages}))
    return name_key(f"{name}\0i{index}m{fingerprint:016x}")


def failure_key(line: Mapping[str, Any]) -> int | None:
    """
    Return the key that identifies the row of a line in the failures file.

    Two rows may have the same name, by mistake; neither must hide the other. A line
    that a person wrote has only a name.

    Returns:
        The key; None if the line is not that of a failure.
    """
    name = line.get("custom_id")
    if not isinstance(name, str):
        return None
    extension = as_object(line.get(EXTENSION_KEY))
    fingerprint, index = extension.get("fp"), extension.get("i")
    if isinstance(fingerprint, str) and _FINGERPRINT.fullmatch(fingerprint):
        return keys_of_row(name, int(fingerprint, 16), 0)[0]
    if isinstance(index, int):
        return keys_of_row(name, 0, index)[1]
    return name_key(name)


def _summary(response: ChatResponse) -> dict[str, Any]:
    """Return the most important fields of a response that cannot be encoded whole."""
    usage = response.usage
    return {
        "id": response.id,
        "model": response.model,
        "provider": response.provider,
        "choices": [
            {
                "index": 0,
                "finish_reason": response.finish_reason,
                "message": {"role": "assistant", "content": response.text},
            }
        ],
        "usage": {
            "prompt_tokens": usage.prompt_tokens,
            "completion_tokens": usage.completion_tokens,
            "total_tokens": usage.total_tokens,
            "cost": usage.cost,
        },
    }


def _extension(result: BatchResult, fingerprint: int) -> dict[str, Any]:
    """Return the fields that identify a row when its line is read again."""
    extension: dict[str, Any] = {"v": _VERSION, "i": result.index}
    if fingerprint:
        extension["fp"] = f"{fingerprint:016x}"
    if result.custom_id is None:
        extension["named"] = False
    return extension
