"""What a row came to, and the line of a file that says so."""

import re
from collections.abc import Mapping
from typing import Any, Final, Generic, Self, cast

import typing_extensions
from attrs import define

from ...errors import APIError, OpenRouterError
from ...protocol.decode import read_response
from ...protocol.response_parsing import usage_of
from ...types import ChatResponse, Usage
from .items import OURS

T_co = typing_extensions.TypeVar("T_co", covariant=True, default=Any)

VERSION: Final = 1
_HEX: Final = re.compile("[0-9a-f]{1,16}")


@define
class BatchResult(Generic[T_co]):
    """
    What one row came to.

    Attributes:
        index: Its place in the input, from 0.
        custom_id: The caller's own name for it; None if there is none.
        response: The reply; None if it failed.
        error: Why it failed; None if it did not.
        cost: US dollars charged; None where the server did not say.
        usage: Tokens; None if nothing came.
        attempts: How often it was sent, refusals included; 0: it could not be sent.
        output: The value of the type that `output=` asked for; None without one.
        latency: Seconds from sending it, the last time, to the end of the reply.
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
        """Whether there is a reply."""
        return self.error is None

    @property
    def text(self) -> str:
        """The reply's text; "" if there is none."""
        return "" if self.response is None else self.response.text

    @property
    def model(self) -> str | None:
        """The model that replied; None if none did."""
        return None if self.response is None else self.response.model

    @property
    def provider(self) -> str | None:
        """The provider that replied; None if none did or it is not told."""
        return None if self.response is None else self.response.provider

    @classmethod
    def from_line(cls, line: Mapping[str, Any]) -> Self:
        """Return the result in a line of a journal."""
        ours = _object(line.get(OURS))
        body = _object(_object(line.get("response")).get("body"))
        response = read_response(dict(body))
        response.http.status = 200
        response.http.generation_id = response.id
        name = line.get("custom_id")
        named = isinstance(name, str) and ours.get("named") is not False
        return cls(
            index=int(ours.get("i") or 0),
            custom_id=name if named else None,
            response=response,
            cost=response.usage.cost,
            usage=usage_of(response),
            attempts=int(ours.get("attempts") or 1),
            latency=float(ours.get("ms") or 0.0) / 1000.0,
        )


def result_line(
    result: BatchResult,
    name: str,
    fingerprint: int,
    wall: float,
    *,
    short: bool = False,
) -> dict[str, Any]:
    """
    Return the line for a reply: OpenAI's and OpenRouter's batch result, and more.

    Args:
        result: Has a reply.
        name: What the row is known by.
        fingerprint: Of the request.
        wall: Seconds since the epoch, now.
        short: Of the reply, tell only what counts.
    """
    response = result.response
    assert response is not None
    id_ = response.http.generation_id or response.id
    ours = _identity(result, fingerprint)
    ours["cost"] = result.cost
    ours["attempts"] = result.attempts
    ours["ms"] = round(result.latency * 1000)
    ours["t"] = round(wall, 3)
    return {
        "id": id_,
        "custom_id": name,
        "response": {
            "status_code": 200,
            "request_id": id_,
            "body": _short(response) if short else response.raw,
        },
        "error": None,
        OURS: ours,
    }


def failure_line(
    result: BatchResult,
    name: str,
    body: Any,
    fingerprint: int = 0,
    *,
    short: bool = False,
) -> dict[str, Any]:
    """
    Return the line for a failure, which is itself a row to be sent.

    Args:
        result: Has an error.
        name: What the row is known by.
        body: The whole request; what was given, if it is none.
        fingerprint: Of the request; 0: it has none.
        short: Of what came, tell only what counts.
    """
    error = result.error
    assert error is not None
    # What came was paid for, whether it fits or not.
    came = error.partial
    response = None
    if came is not None:
        response = {"body": _short(came) if short else came.raw}
    return {
        "custom_id": name,
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": body,
        "error": {
            "type": type(error).__name__,
            "code": error.status_code if isinstance(error, APIError) else None,
            "message": str(error),
        },
        "response": response,
        "attempts": result.attempts,
        OURS: _identity(result, fingerprint),
    }


def _short(reply: ChatResponse) -> dict[str, Any]:
    """Return what counts of a reply: a whole one can be nested beyond writing."""
    usage = reply.usage
    return {
        "id": reply.id,
        "model": reply.model,
        "provider": reply.provider,
        "choices": [
            {
                "index": 0,
                "finish_reason": reply.finish_reason,
                "message": {"role": "assistant", "content": reply.text},
            }
        ],
        "usage": {
            "prompt_tokens": usage.prompt_tokens,
            "completion_tokens": usage.completion_tokens,
            "total_tokens": usage.total_tokens,
            "cost": usage.cost,
        },
    }


def _identity(result: BatchResult, fingerprint: int) -> dict[str, Any]:
    """Return what tells a row from others, whoever reads it again."""
    ours: dict[str, Any] = {"v": VERSION, "i": result.index}
    if fingerprint:
        ours["fp"] = f"{fingerprint:016x}"
    if result.custom_id is None:
        ours["named"] = False
    return ours


_NUMBERS: Final = ("i", "attempts", "ms", "cost")


def is_line(line: Mapping[str, Any]) -> bool:
    """Return whether an object is a line of a journal."""
    ours = _object(line.get(OURS))
    printed = ours.get("fp")
    return (
        isinstance(line.get("custom_id"), str)
        and isinstance(printed, str)
        and _HEX.fullmatch(printed) is not None
        and all(isinstance(ours.get(n), int | float | None) for n in _NUMBERS)
    )


def _object(value: Any) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {}
