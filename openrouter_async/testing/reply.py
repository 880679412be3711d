"""What the local server answers with, and what goes wrong on the way."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Literal, TypeAlias, TypedDict, Unpack

import attrs
from attrs import frozen

from .seen_requests import SeenRequest

Words: TypeAlias = str | Sequence[str] | Mapping[str, Any]
"""A text, a text in given deltas, or a whole body such as `completion()` makes."""

Answer: TypeAlias = (
    "Words | Callable[[SeenRequest], Words | Reply | Awaitable[Words | Reply]] | None"
)
"""What a reply says, or a function of the request that tells it; None: as usual."""

Chunk: TypeAlias = Mapping[str, Any] | str | bytes
"""An event's JSON, an event's data as it is, or raw bytes of the stream."""

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
    An error in the middle of a stream; the HTTP status was 200 long ago.

    Attributes:
        form: The shape, one of those seen on the wire. "finish": a top-level `error`
            beside a choice that finishes with "error". "string_code": the same, the
            code a string. "no_choices": `error` with `choices: []` and `model: ""`.
            "after_length": without metadata, with usage, after two "length" finishes,
            then `[DONE]`. "native": no error object, only the finish reason "error"
            and its cause in `native_finish_reason`. "in_choice": the error is in the
            choice. "bare": an error and nothing else. "bare_string": the error is a
            string. "raw": the provider's words, with its hint, in `metadata.raw`.
            "idle_timeout": a 504 after silence.
        code: The status it would have had.
        metadata: Added to the error's own metadata.
    """

    form: ErrorForm = "finish"
    code: int = 502
    message: str = "Provider disconnected"
    error_type: str | None = "provider_unavailable"
    metadata: Mapping[str, Any] | None = None

    def events(self, head: Mapping[str, Any]) -> list[dict[str, Any]]:  # noqa: PLR0911
        """
        Write the events, as JSON.

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
    One reply: what is said, and the faults on its way. All times are seconds.

    At most one of `answer`, `json`, `text`, `body` and `chunks` says what comes.
    `answer` takes the form that the request asks for, plain or streamed; the other
    four are sent as they are, whatever was asked for. Where none is given, a status
    of 400 or more brings OpenRouter's envelope for it, any other the usual answer.

    Attributes:
        answer: A text; a list of texts, one for each chunk; a body such as
            `completion()` makes; or a function of the request that returns one of
            these or a `Reply` (or an awaitable of it).
        status: HTTP's status.
        headers: Added to the usual ones, or in their place. `Connection: close`
            closes; `Content-Length` takes the place of chunked encoding.
        json: The body, as JSON.
        text: The body, as text.
        body: The body, as bytes; a recorded stream too.
        chunks: The events of a stream, before `[DONE]`: mappings as JSON, strings as
            they are behind `data: `, bytes raw.
        content_type: The media type; guessed from the body otherwise.
        encoding: Compresses the body as "gzip" or "deflate".
        generation_id: Whether `X-Generation-Id` is sent; never with a 401.
        delay: Before the status line. `math.inf` is for ever.
        before_token: Between the headers and the body, or the first event.
        between: Between the events of a stream.
        keepalive: While it waits or is silent: how often a sign of life is sent, a
            comment in a stream, white space in a plain body; None: never.
        comments: How many comments come before the first event.
        stop: How it ends too early: "end" (the body is complete for HTTP, but no
            finish reason and no `[DONE]` came), "close" (FIN, the body is cut),
            "reset" (RST) or "silence" (the socket stays open). Before the headers,
            unless `stop_after` or `stop_at` says when; "end" is "close" there.
        stop_after: How many events are sent before that; of a plain body, 0 or all.
        stop_at: How many bytes of the body are sent before that.
        error: Takes the place of the rest of a stream, or of a plain answer's end.
        error_after: How many events are sent before that; 0: it comes first.
        finish: Whether a streamed `answer` has its finishing chunks.
        done: Whether `[DONE]` is sent; None: unless an error says otherwise.
        usage: Where a streamed `answer` has its usage. "repeated": the finishing
            choice again, with usage (Oct 2026). "no_choices": with `choices: []`.
            "null_finish": with a choice whose finish reason is null. "with_finish":
            in the finishing chunk. "none": nowhere.
        prefix: Raw bytes before the body: white space, a byte order mark.
        suffix: Raw bytes after it, behind `[DONE]`.
        write_bytes: Writes of that many bytes each; None: one write an event.
        write_every: Between such writes.
    """

    answer: Answer = None
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
    between: float = attrs.field(default=0, kw_only=True)
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
        ways = (self.answer, self.json, self.text, self.body, self.chunks)
        if sum(way is not None for way in ways) > 1:
            raise ValueError("Give one of answer, json, text, body and chunks.")
        if self.stop is None and (self.stop_after, self.stop_at) != (None, None):
            raise ValueError("stop_after and stop_at say when; stop says how.")

    @property
    def is_silent(self) -> bool:
        """Whether it leaves to the server what is said."""
        ways = (self.answer, self.json, self.text, self.body, self.chunks)
        return all(way is None for way in ways)


class FaultFields(TypedDict, total=False):
    """The fields of `Reply` that say how it is sent, as keywords."""

    headers: Mapping[str, str] | None
    encoding: Literal["gzip", "deflate"] | None
    generation_id: bool
    delay: float
    before_token: float
    between: float
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
    """All fields of `Reply` but `answer`, as keywords."""

    status: int
    json: Any
    text: str | None
    body: bytes | None
    chunks: Sequence[Chunk] | None
    content_type: str | None


def as_reply(answer: "Answer | Reply", **fields: Unpack[ReplyFields]) -> Reply:
    """Make a reply of what stands for one."""
    if isinstance(answer, Reply):
        return attrs.evolve(answer, **fields)
    return Reply(answer, **fields)
