"""Status, headers and body -> value or exception."""

from collections.abc import Mapping
from typing import Any, Final

from ..errors import (
    MalformedResponseError,
    OpenRouterError,
    StreamInterruptedError,
)
from ..sse import ServerSentEvent, SSEDecoder
from ..types import (
    ChatResponse,
    ChatStreamingResponseChunk,
    Exchange,
    Usage,
)
from .accumulator.accumulator import Accumulator
from .decode import (
    decode,
    parse_chunk,
    read_chunk,
    read_response,
)
from .error_parsing import error_from_body, page_title

DONE: Final = "[DONE]"
"""The data of the event that ends a stream."""

_EVENT_STREAM: Final = "text/event-stream"
_TELLING: Final = frozenset({_EVENT_STREAM, "application/json", "text/html"})


def read_json(body: bytes, http: Exchange, wall: float) -> Any:
    """
    Return the JSON of any endpoint's reply, as it came.

    Raises:
        MalformedResponseError: It is none.
        APIError: It is an error, in spite of its status.
    """
    value = _decode(body, http)
    if isinstance(value, dict) and value.get("error"):  # pyright: ignore[reportUnknownMemberType]
        raise error_from_body(value, http, wall=wall)
    return value  # pyright: ignore[reportUnknownVariableType]


def read_chat(body: bytes, http: Exchange, wall: float) -> ChatResponse:
    """
    Return a plain chat reply; a stream that came instead is folded.

    Raises:
        MalformedResponseError: It is no JSON object.
        StreamInterruptedError: It is a stream that stops in the middle.
        APIError: It is an error, in spite of its status; `partial` has its choices.
    """
    if is_event_stream(http, body):
        events = SSEDecoder(limit_bytes=len(body) + 1).feed(body)
        if events or media_type(http) == _EVENT_STREAM:
            return _fold_events(events, http, wall)
    raw = _decode(body, http)
    if not isinstance(raw, dict):
        raise MalformedResponseError(
            f"The reply is JSON, but no object: a {type(raw).__name__}.", http=http
        )
    return judge_reply(raw, http, wall)  # pyright: ignore[reportUnknownArgumentType]


def partial_of(body: bytes, http: Exchange) -> ChatResponse | None:
    """
    Return the choices in a plain reply's body that broke off; None if it has none.

    Only a stream that came instead can be read so far: half a JSON object is no JSON.
    """
    if not is_event_stream(http, body):
        return None
    fold = Accumulator()
    for event in SSEDecoder(limit_bytes=len(body) + 1).feed(body):
        if event.data == DONE:
            break
        try:
            fold.add(read_event(event, http))
        except MalformedResponseError:
            break
    return folded(fold, http)


def judge_reply(raw: dict[str, Any], http: Exchange, wall: float) -> ChatResponse:
    """
    Return the reply that a JSON object is.

    Raises:
        APIError: It is an error, in spite of its status; `partial` has its choices.
    """
    reply = read_response(raw, http)
    http.generation_id = http.generation_id or reply.id
    error = find_error(raw)
    if error is not None:
        partial = reply if reply.choices else None
        raise error_from_body(raw, http, wall=wall, error=error, partial=partial)
    return reply


def _fold_events(
    events: list[ServerSentEvent], http: Exchange, wall: float
) -> ChatResponse:
    fold = Accumulator()
    for event in events:
        if event.data == DONE:
            break
        try:
            chunk = read_event(event, http)
        except MalformedResponseError as malformed:
            malformed.partial = folded(fold, http)
            raise
        fold.add(chunk)
        error = find_error(chunk.raw)
        if error is not None:
            raise error_from_body(
                chunk.raw, http, wall=wall, error=error, partial=folded(fold, http)
            )
    else:
        if not fold.finished:
            raise StreamInterruptedError(
                "The stream ended without a finish reason and without [DONE]: "
                "the answer is cut off.",
                http=http,
                partial=folded(fold, http),
            )
    reply = fold.response()
    reply.http = http
    http.generation_id = http.generation_id or reply.id
    return reply


def folded(fold: Accumulator, http: Exchange) -> ChatResponse | None:
    """Return what a stream has brought so far; None if it brought no choice."""
    reply = read_response(fold.build(), http)
    return reply if reply.choices else None


def read_event(event: ServerSentEvent, http: Exchange) -> ChatStreamingResponseChunk:
    """
    Return the chunk that an event carries, errors included.

    Raises:
        MalformedResponseError: It is no JSON object.
    """
    try:
        return parse_chunk(event.data)
    except MalformedResponseError as error:
        with_exchange(error, http)
        raise


def find_error(raw: Mapping[str, Any]) -> Any:
    """
    Return the error object of a body or an event; None if there is none.

    A finish reason "error" without an object is one as well: its cause, if any, is
    the provider's own finish reason.
    """
    error = raw.get("error")
    if error:
        return error
    choices = raw.get("choices")
    if choices.__class__ is not list:
        return None
    for choice in choices:  # pyright: ignore[reportOptionalIterable]
        if choice.__class__ is dict:
            error = choice.get("error")
            if error:
                return error
            if choice.get("finish_reason") == "error":
                return _unnamed_error(choice)
    return None


def _unnamed_error(choice: Mapping[str, Any]) -> dict[str, Any]:
    native = choice.get("native_finish_reason")
    told = f" ({native})" if isinstance(native, str) and native else ""
    return {"message": f"The provider ended the answer with an error{told}."}


def is_event_stream(http: Exchange, start: bytes) -> bool:
    """Return whether a body is a stream: by its type, else by how it starts."""
    media = media_type(http)
    if media in _TELLING:
        return media == _EVENT_STREAM
    return start.lstrip()[:1] in (b":", b"d", b"e")


def media_type(http: Exchange) -> str:
    """Return the media type of a reply, without parameters; "" if none is given."""
    return http.headers.get("Content-Type", "").partition(";")[0].strip().lower()


def is_empty(reply: ChatResponse) -> bool:
    """
    Return whether a reply is the empty one of a cold start, which is not charged.

    Source: OpenRouter's zero completion insurance.
    """
    message = reply.message
    if reply.text or message.reasoning or message.refusal:
        return False
    if message.tool_calls or message.images or message.audio:
        return False
    return not reply.usage.completion_tokens and reply.finish_reason in (None, "")


def usage_of(value: object) -> Usage | None:
    """Return what a reply, or the part of one, says it used up."""
    if isinstance(value, ChatResponse) and isinstance(value.raw.get("usage"), dict):
        return value.usage
    return None


def _decode(body: bytes, http: Exchange) -> Any:
    try:
        return decode(body)
    except MalformedResponseError as error:
        fault = error
    text = body.strip()
    if not text:
        what = "empty" if http.status == 200 else f"empty, with status {http.status}"
        raise MalformedResponseError(f"The reply is {what}.", http=http)
    title = page_title(text[:2048].decode("utf-8", "replace"))
    if title is not None:
        raise MalformedResponseError(
            f"The reply is an HTML page, {title!r}, not JSON.",
            http=http,
            hint="Something between here and OpenRouter answered; check base_url.",
        ) from fault
    raise with_exchange(fault, http)


def with_exchange(error: OpenRouterError, http: Exchange) -> OpenRouterError:
    """Give an error that was raised without it the exchange, and return it."""
    error.http = http
    error.generation_id = error.generation_id or http.generation_id
    return error


def chunk_of(reply: ChatResponse) -> ChatStreamingResponseChunk:
    """Return the one chunk that says all of a whole reply."""
    raw = dict(reply.raw)
    choices = raw.get("choices")
    if isinstance(choices, list):
        raw["choices"] = [
            _as_delta(choice)  # pyright: ignore[reportUnknownArgumentType]
            for choice in choices  # pyright: ignore[reportUnknownVariableType]
            if isinstance(choice, dict)
        ]
    return read_chunk({**raw, "object": "chat.completion.chunk"})


def _as_delta(choice: Mapping[str, Any]) -> dict[str, Any]:
    return {"delta" if k == "message" else k: v for k, v in choice.items()}
