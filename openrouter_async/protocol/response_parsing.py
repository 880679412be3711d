"""Status, headers and body of a plain response -> its value or an exception."""

import re
from typing import Any, Final

from ..errors import MalformedResponseError, OpenRouterError
from ..sse import SSEDecoder
from ..types import ChatResponse, Exchange, Usage
from .decode import as_object, decode
from .error_messages import page_title
from .error_parsing import (
    FIELD_LINE,
    error_from_body,
    find_error,
    with_exchange,
)
from .response_objects import choice_usage, read_response
from .stream_state import DONE, NO_CHOICES, StreamState, is_whole

_EVENT_STREAM: Final = "text/event-stream"
# Some servers add the end of a stream to a plain response.
_DONE_AT_END: Final = r"(?:\s*(?:data:)?\s*\"?\[DONE\]\"?)+\Z"
# The longest field name of an event, with its colon.
_FIELD_BYTES: Final = 6
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
        MalformedResponseError: If the body is not a JSON object, or has neither
            choices nor an error; `partial` has what it holds.
        StreamInterruptedError: If the body is a stream without an end.
        APIError: If the body is an error, in spite of its status; `partial` has its
            choices.
    """
    if is_event_stream(http, body):
        return _accumulate(body, http, wall_time)
    raw = _decode(body, http)
    error = find_error(raw)
    if not isinstance(raw, dict):
        if error is not None:
            raise error_from_body(raw, http, wall_time=wall_time, error=error)
        raise MalformedResponseError(
            f"The response must be a JSON object, not {type(raw).__name__}.",
            http=http,
        )
    response = read_response(raw, http)  # pyright: ignore[reportUnknownArgumentType]
    http.generation_id = http.generation_id or response.id
    if error is not None:
        partial = response if response.choices else None
        raise error_from_body(
            raw, http, wall_time=wall_time, error=error, partial=partial
        )
    if not response.choices:
        raise MalformedResponseError(NO_CHOICES, http=http, partial=response)
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
    decoder = SSEDecoder(limit_bytes=len(body) + 1, bare_json=True)
    for event in decoder.feed(body):
        try:
            state.feed(event)
        except OpenRouterError:
            break
        if state.done:
            break
    partial = state.partial
    if partial is not None:
        partial.http = http
    return partial


def _accumulate(body: bytes, http: Exchange, wall_time: float) -> ChatResponse:
    state = StreamState(http, wall_time=lambda: wall_time)
    decoder = SSEDecoder(limit_bytes=len(body) + 1, bare_json=True)
    events = decoder.feed(body)
    for event in (*events, *filter(is_whole, decoder.end())):
        state.feed(event)
        if state.done:
            break
    state.end()
    response = state.response
    http.generation_id = http.generation_id or response.id
    return response


def is_event_stream(http: Exchange, start: bytes) -> bool:
    """
    Return True if a body is a stream of server-sent events.

    The first bytes that are not white space decide, because servers label bodies
    wrongly: `{` or `[` is JSON, `<` is a page, and a comment or a field of an event is
    a stream. Only if they are none of these, the content type decides.

    Args:
        http: The exchange, with its headers.
        start: The body, or the beginning of it for which `is_decisive` returns True.
    """
    start = start.removeprefix(b"\xef\xbb\xbf").lstrip()
    if start.startswith((b"{", b"[", b"<")):
        return False
    if re.match(FIELD_LINE, start[: _FIELD_BYTES + 1].decode("latin-1")):
        return True
    return media_type(http) == _EVENT_STREAM


def is_decisive(start: bytes) -> bool:
    """Return True if the beginning of a body is long enough for `is_event_stream`."""
    start = start.removeprefix(b"\xef\xbb\xbf").lstrip()
    return (
        start[:1] in (b"{", b"[", b"<", b":")
        or len(start) >= _FIELD_BYTES
        or b"\n" in start
    )


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
    if not isinstance(value, ChatResponse):
        return None
    if isinstance(value.raw.get("usage"), dict) or choice_usage(value.raw):
        return value.usage
    return None


def raw_usage(value: object) -> dict[str, Any]:
    """
    Return the `usage` object of whatever a call has received; empty if it has none.

    Args:
        value: A response, the state of a stream, or any JSON value.
    """
    if isinstance(value, ChatResponse):
        return as_object(value.raw.get("usage")) or choice_usage(value.raw)
    if isinstance(value, StreamState):
        return value.usage
    return as_object(as_object(value).get("usage"))


def _decode(body: bytes, http: Exchange) -> Any:
    try:
        return decode(body)
    except MalformedResponseError as error:
        malformed: OpenRouterError = error
    text = body.strip()
    if text.endswith((DONE.encode(), f'{DONE}"'.encode())):
        value = _decode_before_done(text.decode("utf-8", "replace"))
        if value is not None:
            return value
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


def _decode_before_done(text: str) -> Any:
    """Return the JSON that is followed by nothing but `data: [DONE]`; else None."""
    before = re.sub(_DONE_AT_END, "", text)
    try:
        return decode(before)
    except MalformedResponseError:
        return None
