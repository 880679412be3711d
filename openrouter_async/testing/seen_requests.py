"""The requests that the local server received."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

from attrs import define, field
from multidict import CIMultiDict, CIMultiDictProxy, MultiDict, MultiMapping

from ..protocol.decode import as_object


def _no_headers() -> CIMultiDictProxy[str]:
    return CIMultiDictProxy(CIMultiDict[str]())


@define(eq=False)
class SeenRequest:
    """
    A received request, and how it ended.

    Times are seconds of the server's event loop clock. That is `time.monotonic()`, so
    they can be compared with times of other threads.

    Attributes:
        method: HTTP method.
        path: URL path, starting with `/`, without the query string.
        query: Query parameters, a multidict: `["id"]`, `.getall("id")`.
        headers: Request headers; names are case-insensitive.
        body: Request body as it was received.
        json: Decoded body; None if it is not valid JSON.
        time: Time at which headers and body had been received.
        connection: Number of the connection, counted from 1. Requests with the same
            number came over the same socket.
        generation_id: Generation id of the response, as in `X-Generation-Id`.
        status: HTTP status of the response; None until the headers are sent.
        chunks: Number of stream events written so far, without `[DONE]`.
        closed: Time at which the response was complete or the connection was lost;
            None until then.
        closed_early: If True, the client disconnected before the end of the response.
        cost: US dollars billed for it, whatever part of the response was read.
    """

    method: str
    path: str
    time: float
    connection: int
    query: MultiMapping[str] = field(factory=MultiDict[str])
    headers: CIMultiDictProxy[str] = field(factory=_no_headers)
    body: bytes = field(default=b"", repr=False)
    json: Any = field(default=None, repr=False)
    generation_id: str = ""
    status: int | None = None
    chunks: int = 0
    closed: float | None = None
    closed_early: bool = False
    cost: float = 0.0

    @property
    def fields(self) -> Mapping[str, Any]:
        """The JSON object of the body; empty if the body is anything else."""
        return as_object(self.json)

    @property
    def model(self) -> str:
        """The value of `model`, or the first one of `models`; "" if neither is set."""
        models = as_list(self.fields.get("models"))
        return str(self.fields.get("model") or (models[0] if models else ""))

    @property
    def stream(self) -> bool:
        """True if the request asks for a stream."""
        return self.fields.get("stream") is True

    @property
    def prompt(self) -> str:
        """The text of the last user message, or of `prompt`; "" if there is none."""
        return last_text(messages_of(self.fields), "user")


def as_list(value: object) -> Sequence[Any]:
    """Return a JSON array unchanged, and () for any other value."""
    return cast("Sequence[Any]", value) if isinstance(value, list) else ()


def messages_of(fields: Mapping[str, Any]) -> Any:
    """
    Return the value of `messages` in a request.

    If it is missing or empty, a `prompt` (the legacy form) is returned as a message.
    """
    prompt = fields.get("prompt")
    if not fields.get("messages") and isinstance(prompt, str) and prompt:
        return [{"role": "user", "content": prompt}]
    return fields.get("messages")


def last_text(messages: object, role: str) -> str:
    """Return the text of the last message with a role; "" if there is none."""
    for entry in reversed([as_object(message) for message in as_list(messages)]):
        if entry.get("role") == role:
            return text_of(entry.get("content"))
    return ""


def text_of(content: object) -> str:
    """Return the text of a message's content, which is a string or a list of parts."""
    if isinstance(content, str):
        return content
    parts = [as_object(part).get("text") for part in as_list(content)]
    return " ".join(part for part in parts if isinstance(part, str))
