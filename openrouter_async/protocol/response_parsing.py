"""Status, headers and body of a plain response -> its value or an exception."""

from collections.abc import Sequence
from typing import Any, Final

from ..errors import MalformedResponseError, OpenRouterError
from ..sse import ServerSentEvent, SSEDecoder
from ..types import ChatResponse, Exchange, Usage
from .decode import decode, read_response
from .error_parsing import error_from_body, find_error, page_title, with_exchange
from .stream_state import StreamState

_EVENT_STREAM: Final = "text/event-stream"
_RELIABLE_TYPES: Final = frozenset({_EVENT_STREAM, "application/json", "text/html"})
_OK: Final = 200
# A page's title is near its beginning.
_TITLE_BYTES: Final = 2048


def read_json(body: bytes, http: Exchange, wall_time: float) -> Any:
    """
    Return the JSON of any endpoint's response, unchanged.

    Args:
        body: The whole body, decompressed.
        http: The exchange, with status and headers.
        wall_time: Seconds since the epoch, now; for a `Retry-After` that is a date.

    Raises:
        MalformedResponseError: If the body is not JSON.
        APIError: If the body is an error, in spite of its status.
    """
    value = _decode(body, http)
    if isinstance(value, dict) and value.get("error"):  # pyright: ignore[reportUnknownMemberType]
        raise error_from_body(value, http, wall_time=wall_time)
    return value  # pyright: ignore[reportUnknownVariableType]


def read_chat(body: bytes, http: Exchange, wall_time: float) -> ChatResponse:
    """
    Return the response to a plain chat request.

    If the server sent a stream instead, its chunks are accumulated.

    Args:
        body: The whole body, decompressed.
        http: The exchange, with status and headers.
        wall_time: Seconds since the epoch, now; for a `Retry-After` that is a date.

    Raises:
        MalformedResponseError: If the body is not a JSON object.
        StreamInterruptedError: If the body is a stream without an end.
        APIError: If the body is an error, in spite of its status; `partial` has its
            choices.
    """
    if is_event_stream(http, body):
        events = SSEDecoder(limit_bytes=len(body) + 1).feed(body)
        if events or media_type(http) == _EVENT_STREAM:
            return _accumulate(events, http, wall_time)
    raw = _decode(body, http)
    if not isinstance(raw, dict):
        raise MalformedResponseError(
            f"The response is JSON, but not an object: a {type(raw).__name__}.",
            http=http,
        )
    response = read_response(raw, http)  # pyright: ignore[reportUnknownArgumentType]
    http.generation_id = http.generation_id or response.id
    error = find_error(raw)  # pyright: ignore[reportUnknownArgumentType]
    if error is not None:
        partial = response if response.choices else None
        raise error_from_body(
            raw, http, wall_time=wall_time, error=error, partial=partial
        )
    return response


def partial_of(body: bytes, http: Exchange) -> ChatResponse | None:
    """
    Return the choices in a plain body that broke off; None if it has none.

    Only a stream that was sent in place of a plain body can be read so far: half a
    JSON object is not JSON.
    """
    if not is_event_stream(http, body):
        return None
    # An exchange of its own: an error event must not change what was billed.
    state = StreamState(Exchange(), wall_time=lambda: 0.0)
    for event in SSEDecoder(limit_bytes=len(body) + 1).feed(body):
        try:
            if state.feed(event) is None:
                break
        except OpenRouterError:
            break
    partial = state.partial
    if partial is not None:
        partial.http = http
    return partial


def _accumulate(
    events: Sequence[ServerSentEvent], http: Exchange, wall_time: float
) -> ChatResponse:
    state = StreamState(http, wall_time=lambda: wall_time)
    for event in events:
        if state.feed(event) is None:
            break
    state.end()
    response = state.response
    http.generation_id = http.generation_id or response.id
    return response


def is_event_stream(http: Exchange, start: bytes) -> bool:
    """
    Return True if a body is a stream of server-sent events.

    The content type decides if it is one of the usual three, else the first byte of
    the body that is not white space: a comment, or the field `data` or `event`.
    """
    media = media_type(http)
    if media in _RELIABLE_TYPES:
        return media == _EVENT_STREAM
    return start.lstrip()[:1] in (b":", b"d", b"e")


def media_type(http: Exchange) -> str:
    """Return the media type of a response, without parameters; "" if none is given."""
    return http.headers.get("Content-Type", "").partition(";")[0].strip().lower()


def is_empty(response: ChatResponse) -> bool:
    """
    Return True if a response is the empty one of a cold start, which is not charged.

    Source: OpenRouter's zero completion insurance.
    """
    message = response.message
    if response.text or message.reasoning or message.refusal:
        return False
    if message.tool_calls or message.images or message.audio:
        return False
    return not response.usage.completion_tokens and response.finish_reason in (None, "")


def usage_of(value: object) -> Usage | None:
    """Return the usage that a response reports; None if it reports none."""
    if isinstance(value, ChatResponse) and isinstance(value.raw.get("usage"), dict):
        return value.usage
    return None


def _decode(body: bytes, http: Exchange) -> Any:
    try:
        return decode(body)
    except MalformedResponseError as error:
        malformed: OpenRouterError = error
    text = body.strip()
    if not text:
        status = "" if http.status == _OK else f", with status {http.status}"
        raise MalformedResponseError(f"The response is empty{status}.", http=http)
    title = page_title(text[:_TITLE_BYTES].decode("utf-8", "replace"))
    if title is not None:
        raise MalformedResponseError(
            f"The response is an HTML page, {title!r}, not JSON.",
            http=http,
            hint="A proxy or another server may have sent it; check base_url.",
        ) from malformed
    raise with_exchange(malformed, http)
