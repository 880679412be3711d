"""The requests that the local server has received."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

from attrs import define, field
from multidict import CIMultiDict, CIMultiDictProxy, MultiDict, MultiMapping


def _no_headers() -> CIMultiDictProxy[str]:
    return CIMultiDictProxy(CIMultiDict[str]())


@define(eq=False)
class SeenRequest:
    """
    A request as it came in, and what became of it.

    Times are seconds of the server's event loop, which are those of
    `time.monotonic()`: they can be compared across threads.

    Attributes:
        path: From the slash of the origin on, without the query.
        query: The query's parameters, a multidict: `["id"]`, `.getall("id")`.
        headers: Case-insensitive.
        body: The bytes.
        json: The body's JSON; None where it is none.
        time: When it was there, headers and body.
        connection: Which connection it came on: the same number, the same socket.
        generation_id: The id of the answer, as in `X-Generation-Id`.
        status: The status of the answer; None until it is sent.
        chunks: How many events of a stream were written; `[DONE]` is none.
        closed: When it was over, whatever the way; None until then.
        closed_early: Whether the client went away before the reply's end.
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

    @property
    def fields(self) -> Mapping[str, Any]:
        """The body's JSON object; an empty one where there is none."""
        return an_object(self.json)

    @property
    def model(self) -> str:
        """The model asked for, or the first of several; "" for none."""
        models = self.fields.get("models")
        return str(self.fields.get("model") or (models[0] if models else ""))

    @property
    def stream(self) -> bool:
        """Whether a stream was asked for."""
        return self.fields.get("stream") is True

    @property
    def prompt(self) -> str:
        """The text of the user's last message; "" if there is none."""
        return last_text(self.fields.get("messages"), "user")


def an_object(value: object) -> dict[str, Any]:
    """Take a JSON object; an empty one for anything else."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def a_list(value: object) -> Sequence[Any]:
    """Take a JSON list; an empty one for anything else."""
    return cast("Sequence[Any]", value) if isinstance(value, list) else ()


def last_text(messages: object, role: str) -> str:
    """Tell the text of the last message of a role; "" if there is none."""
    for entry in reversed([an_object(message) for message in a_list(messages)]):
        if entry.get("role") == role:
            return text_of(entry.get("content"))
    return ""


def text_of(content: object) -> str:
    """Tell the text of a message's content, a string or parts."""
    if isinstance(content, str):
        return content
    parts = [an_object(part).get("text") for part in a_list(content)]
    return " ".join(part for part in parts if isinstance(part, str))
