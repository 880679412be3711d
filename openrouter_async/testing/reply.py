"""A scripted reply of the local server, and the faults it can contain."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Literal, TypeAlias, TypedDict, Unpack

import attrs
from attrs import frozen

from .seen_requests import SeenRequest

Content: TypeAlias = str | Sequence[str] | Mapping[str, Any]
"""The text of a completion, its text per chunk, or its body as `completion()` makes."""

ReplyContent: TypeAlias = (
    Content
    | Callable[[SeenRequest], "Content | Reply | Awaitable[Content | Reply]"]
    | None
)
"""Content, a function that returns it for a request, or None for the default."""

Chunk: TypeAlias = Mapping[str, Any] | str | bytes
"""One event: a JSON object, the text after `data: `, or raw bytes of the stream."""

Stop: TypeAlias = Literal["end", "close", "reset", "silence"]
UsageForm: TypeAlias = Literal[
    "repeated", "no_choices", "null_finish", "with_finish", "none"
]
ErrorForm: TypeAlias = Literal[
    "finish",
    "string_code",
    "no_choices",
    "after_length",
    "native",
    "in_choice",
    "bare",
    "bare_string",
    "raw",
    "idle_timeout",
]


@frozen
class StreamError:
    """
    An error within a stream, after a response has started with status 200.

    Attributes:
        form: Form of the error, each seen in recorded traffic:
            - "finish": `error` at the top level, with a choice whose finish reason is
              "error".
            - "string_code": as "finish", with the code as a string.
            - "no_choices": `error` at the top level, with `choices: []` and
              `model: ""`.
            - "after_length": two chunks with finish reason "length", then `error`
              without metadata but with usage, then `[DONE]`.
            - "native": no error object; finish reason "error", with the cause in
              `native_finish_reason`; then `[DONE]`.
            - "in_choice": `error` inside the choice.
            - "bare": an event with `error` only.
            - "bare_string": an event with `error` only, which is a string.
            - "raw": as "finish"; the provider's message and its `retryable` flag are
              in `metadata.raw`.
            - "idle_timeout": as "finish", with code 504 and error type "timeout".
        code: HTTP status of the error; ignored by "native", "bare_string" and
            "idle_timeout".
        message: Message of the error.
        error_type: `metadata.error_type`; None leaves it out.
        metadata: Further members of the error's `metadata`.
    """

    form: ErrorForm = "finish"
    code: int = 502
    message: str = "Provider disconnected"
    error_type: str | None = "provider_unavailable"
    metadata: Mapping[str, Any] | None = None

    def events(self, head: Mapping[str, Any]) -> list[dict[str, Any]]:  # noqa: PLR0911 - a return per form
        """
        Return the events of the error as JSON objects, 1 or more.

        Args:
            head: `id`, `object`, `created`, `model` and `provider` of the stream.
        """
        error = self._error()
        if self.form == "after_length":
            length = {**head, "choices": [_failed_choice("length", "length")]}
            counts = {"prompt_tokens": 9, "completion_tokens": 9, "total_tokens": 18}
            plain = {"code": self.code, "message": self.message}
            last = {"choices": [_failed_choice(None)], "usage": counts, "error": plain}
            return [length, length, {**head, **last}]
        if self.form == "bare":
            return [{"error": error}]
        if self.form == "bare_string":
            return [{"error": self.message}]
        if self.form == "no_choices":
            known = {key: head[key] for key in ("id", "object", "provider")}
            return [{**known, "model": "", "choices": [], "error": error}]
        choice = _failed_choice("error")
        if self.form == "native":
            choice["native_finish_reason"] = "MALFORMED_FUNCTION_CALL"
            return [{**head, "choices": [choice]}]
        if self.form == "in_choice":
            return [{**head, "choices": [{**choice, "error": error}]}]
        return [{**head, "error": error, "choices": [choice]}]

    def _error(self) -> dict[str, Any]:
        metadata: dict[str, Any] = {}
        code: int | str = self.code
        message = self.message
        if self.error_type is not None:
            metadata["error_type"] = self.error_type
        if self.form == "string_code":
            code = str(code)
        elif self.form == "raw":
            metadata["raw"] = {"error": {"message": message}, "retryable": True}
            message = "Provider returned error"
        elif self.form == "idle_timeout":
            code, message = 504, "Upstream idle timeout exceeded"
            metadata["error_type"] = "timeout"
        return {
            "code": code,
            "message": message,
            "metadata": {**metadata, **(self.metadata or {})},
        }


def _failed_choice(finish: str | None, native: str | None = None) -> dict[str, Any]:
    return {
        "index": 0,
        "delta": {"content": "", "role": "assistant"},
        "finish_reason": finish,
        "native_finish_reason": native,
    }


@frozen
class Reply:
    """
    One response of the local server: its content, its timing and its faults.

    The body is given by at most one of `content`, `json`, `text`, `body` and `chunks`.
    `content` is sent in the form that the request asks for, as a plain body or as a
    stream. The other four are sent unchanged, whatever the request asks for. If none
    is given, a status of 400 or more sends OpenRouter's error body for that status,
    and a lower one sends the server's default response.

    All times are in seconds.

    Attributes:
        content: A text; a list of texts, one for each chunk; a completion as
            `completion()` makes it; or a function that is called with the
            `SeenRequest` and returns one of these or a `Reply`, or an awaitable of it.
        status: HTTP status.
        headers: Headers to add or to replace. `Connection: close` closes the
            connection after the response; `Content-Length`, right or wrong, replaces
            chunked encoding.
        json: Body, encoded as JSON.
        text: Body, encoded as UTF-8.
        body: Body, as bytes, for example a recorded stream.
        chunks: Events of a stream, without `[DONE]`: mappings are encoded as JSON,
            strings are sent after `data: `, bytes are sent as they are.
        content_type: `Content-Type`; None: guessed from the body.
        encoding: Content encoding with which the body is compressed.
        generation_id: If True, send `X-Generation-Id`; a 401 never has it.
        delay: Time before the status line; `math.inf`: wait until the client
            disconnects.
        before_token: Time between the headers and the body, or the first event.
        chunk_delay: Time between two events of a stream.
        keepalive: Interval at which a stream sends a comment, and a plain body white
            space, while it waits; None: never.
        comments: Number of comments before the first event.
        stop: Way in which the response ends too early:
            - "end": the body is complete for HTTP, but `[DONE]` and perhaps events are
              missing.
            - "close": the connection is closed (FIN) before the body is complete.
            - "reset": the connection is reset (RST).
            - "silence": nothing more is sent but `keepalive` data, and the connection
              stays open.
            Without `stop_after` and `stop_at` this happens before the headers, where
            "end" does the same as "close".
        stop_after: Number of events to send before `stop`. For a plain body, 0 stops
            before the body, any other number after it.
        stop_at: Number of bytes of the body to send before `stop`.
        error: Error that replaces the rest of a stream, or ends a plain completion.
        error_after: Number of events to send before `error`.
        finish: If True, streamed `content` ends with the chunks that have the finish
            reason and the usage.
        done: If True, send `[DONE]`; None: unless `error` has a form that ends without
            it.
        usage: Position of the usage in streamed `content`:
            - "repeated": in a second chunk with the finish reason, as OpenRouter sends
              it (Oct 2026).
            - "no_choices": in a last chunk with `choices: []`.
            - "null_finish": in a last chunk whose finish reason is null.
            - "with_finish": in the chunk with the finish reason.
            - "none": not sent.
        prefix: Raw bytes to send before the body, such as white space or a byte order
            mark.
        suffix: Raw bytes to send after the body, behind `[DONE]`.
        write_bytes: Number of bytes per write; None: one write per event or body.
        write_every: Time between two such writes.
    """

    content: ReplyContent = None
    status: int = attrs.field(default=200, kw_only=True)
    headers: Mapping[str, str] | None = attrs.field(default=None, kw_only=True)
    json: Any = attrs.field(default=None, kw_only=True)
    text: str | None = attrs.field(default=None, kw_only=True)
    body: bytes | None = attrs.field(default=None, kw_only=True)
    chunks: Sequence[Chunk] | None = attrs.field(default=None, kw_only=True)
    content_type: str | None = attrs.field(default=None, kw_only=True)
    encoding: Literal["gzip", "deflate"] | None = attrs.field(
        default=None, kw_only=True
    )
    generation_id: bool = attrs.field(default=True, kw_only=True)
    delay: float = attrs.field(default=0, kw_only=True)
    before_token: float = attrs.field(default=0, kw_only=True)
    chunk_delay: float = attrs.field(default=0, kw_only=True)
    keepalive: float | None = attrs.field(default=None, kw_only=True)
    comments: int = attrs.field(default=2, kw_only=True)
    stop: Stop | None = attrs.field(default=None, kw_only=True)
    stop_after: int | None = attrs.field(default=None, kw_only=True)
    stop_at: int | None = attrs.field(default=None, kw_only=True)
    error: StreamError | None = attrs.field(default=None, kw_only=True)
    error_after: int = attrs.field(default=1, kw_only=True)
    finish: bool = attrs.field(default=True, kw_only=True)
    done: bool | None = attrs.field(default=None, kw_only=True)
    usage: UsageForm = attrs.field(default="repeated", kw_only=True)
    prefix: bytes = attrs.field(default=b"", kw_only=True)
    suffix: bytes = attrs.field(default=b"", kw_only=True)
    write_bytes: int | None = attrs.field(default=None, kw_only=True)
    write_every: float = attrs.field(default=0, kw_only=True)

    def __attrs_post_init__(self) -> None:
        if sum(body is not None for body in self._bodies()) > 1:
            raise ValueError(
                "A Reply has one body: give only one of content, json, text, body and "
                "chunks."
            )
        if self.stop is None and (self.stop_after, self.stop_at) != (None, None):
            raise ValueError(
                "stop_after and stop_at need stop=, which is 'end', 'close', 'reset' "
                "or 'silence'."
            )

    @property
    def has_body(self) -> bool:
        """True if the reply gives the body, in any of the five ways."""
        return any(body is not None for body in self._bodies())

    def _bodies(self) -> tuple[object, ...]:
        return self.content, self.json, self.text, self.body, self.chunks


class FaultFields(TypedDict, total=False):
    """The fields of `Reply` that do not give its status or its body, as keywords."""

    headers: Mapping[str, str] | None
    encoding: Literal["gzip", "deflate"] | None
    generation_id: bool
    delay: float
    before_token: float
    chunk_delay: float
    keepalive: float | None
    comments: int
    stop: Stop | None
    stop_after: int | None
    stop_at: int | None
    error: StreamError | None
    error_after: int
    finish: bool
    done: bool | None
    usage: UsageForm
    prefix: bytes
    suffix: bytes
    write_bytes: int | None
    write_every: float


class ReplyFields(FaultFields, total=False):
    """The fields of `Reply` except `content`, as keywords."""

    status: int
    json: Any
    text: str | None
    body: bytes | None
    chunks: Sequence[Chunk] | None
    content_type: str | None


def as_reply(content: "ReplyContent | Reply", **fields: Unpack[ReplyFields]) -> Reply:
    """Return a reply with the given content, or a copy of a reply with new fields."""
    if isinstance(content, Reply):
        return attrs.evolve(content, **fields)
    return Reply(content, **fields)
