"""Encoding of a reply: the bytes that a request gets, apart from faults."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

import orjson
from attrs import define

from ..protocol.decode import as_object
from .builders import chunks, head_of
from .catalogue import provider_of
from .error_replies import default_message
from .reply import Chunk, Reply, StreamError
from .seen_requests import SeenRequest, as_list
from .simulated_model import complete_with

COMMENT = b": OPENROUTER PROCESSING\n\n"
DONE = b"data: [DONE]\n\n"
SSE = "text/event-stream"


@define
class Rendered:
    """
    An encoded reply.

    Attributes:
        content_type: `Content-Type` of the response.
        generation_id: Generation id, for `X-Generation-Id`.
        body: Body of a plain response; None for a stream.
        events: Encoded events of a stream, without `[DONE]`.
        done: If True, `[DONE]` follows the events.
        completion: The completion that was encoded, for the account; None for any
            other body.
    """

    content_type: str
    generation_id: str
    body: bytes | None = None
    events: tuple[bytes, ...] = ()
    done: bool = True
    completion: Mapping[str, Any] | None = None


def render(reply: Reply, seen: SeenRequest, created: int) -> Rendered:
    """
    Encode a reply.

    Args:
        reply: A reply with a body, or with a status of 400 or more.
        seen: The request, which decides if `content` is streamed.
        created: Unix time in seconds, for completions and chunks made here.
    """
    raw = reply.body if reply.text is None else reply.text.encode()
    if raw is not None:
        content_type = reply.content_type or _guess_type(raw)
        return Rendered(content_type, seen.generation_id, raw)
    if reply.chunks is not None:
        return _stream(reply, list(reply.chunks), seen, created)
    if reply.json is not None:
        return _plain(reply, reply.json, seen)
    content = reply.content
    if content is None:
        error = {"message": default_message(reply.status), "code": reply.status}
        return _plain(reply, {"error": error}, seen)
    pieces = None
    if isinstance(content, Mapping):
        fields = cast("dict[str, Any]", content)
    elif isinstance(content, str):
        fields = complete_with(content, seen, created)
    else:
        pieces = list(cast("Sequence[str]", content))
        fields = complete_with("".join(pieces), seen, created)
    if seen.stream and fields.get("choices"):
        events = chunks(fields, pieces=pieces, usage=reply.usage, finish=reply.finish)
        rendered = _stream(reply, list[Chunk](events), seen, created)
        rendered.completion = fields
        if reply.error is not None and not _has_usage(events[: reply.error_after]):
            # OpenRouter does not charge for tokens of a response that ends in an error.
            usage = as_object(fields.get("usage"))
            rendered.completion = {**fields, "usage": {**usage, "cost": 0}}
        return rendered
    return _plain(reply, fields, seen)


def _has_usage(events: Sequence[Mapping[str, Any]]) -> bool:
    return any(event.get("usage") for event in events)


def _plain(reply: Reply, body: Any, seen: SeenRequest) -> Rendered:
    generation_id, completion = seen.generation_id, None
    if isinstance(body, Mapping):
        fields = cast("Mapping[str, Any]", body)
        if fields.get("choices"):
            completion = fields
            if reply.error is not None:
                fields = _with_error(reply.error, fields)
        generation_id, body = _header_value(fields.get("id"), generation_id), fields
    content_type = reply.content_type or "application/json"
    return Rendered(content_type, generation_id, dumps(body), completion=completion)


def _with_error(error: StreamError, body: Mapping[str, Any]) -> dict[str, Any]:
    """Return a completion whose first choice ends with the error."""
    event = error.events(head_of(body))[-1]
    inner = event.get("error") or event["choices"][0].get("error")
    members = {"finish_reason": "error", **({"error": inner} if inner else {})}
    first = as_object(next(iter(as_list(body["choices"])), None))
    return {**body, "choices": [{**first, **members}]}


def _header_value(value: object, default: str) -> str:
    """Return an id as the value of a header; the default if it cannot be one."""
    text = str(value or "")
    return text if re.fullmatch(r"[\x21-\x7e]+", text) else default


def _stream(
    reply: Reply, events: list[Chunk], seen: SeenRequest, created: int
) -> Rendered:
    mappings = [event for event in events if isinstance(event, Mapping)]
    first = mappings[0] if mappings else dict[str, Any]()
    head = {k: v for k, v in head_of(first).items() if v is not None}
    generation_id = _header_value(head.get("id"), seen.generation_id)
    done = reply.done is not False
    if reply.error is not None:
        default_head = {
            "id": generation_id,
            "object": "chat.completion.chunk",
            "created": created,
            "model": seen.model,
            "provider": provider_of(seen.model),
        }
        events = [
            *events[: reply.error_after],
            *reply.error.events({**default_head, **head}),
        ]
        # In the recordings, [DONE] follows these two forms only.
        has_done = reply.error.form in ("after_length", "native")
        done = has_done if reply.done is None else reply.done
    encoded = tuple(_encode_event(event) for event in events)
    return Rendered(reply.content_type or SSE, generation_id, None, encoded, done)


def _encode_event(event: Chunk) -> bytes:
    if isinstance(event, bytes):
        return event
    data = event.encode() if isinstance(event, str) else dumps(event)
    return b"data: %b\n\n" % data


def dumps(value: Any) -> bytes:
    """Encode a value as JSON, also one that orjson rejects, such as a big integer."""
    try:
        return orjson.dumps(value)
    except TypeError:
        return json.dumps(value, separators=(",", ":")).encode()


def _guess_type(body: bytes) -> str:
    start = body[:64].lstrip(b"\xef\xbb\xbf \t\r\n")
    if start.startswith((b"data:", b":", b"event:", b"id:", b"retry:")):
        return SSE
    return "text/html" if start.startswith(b"<") else "application/json"
