"""A reply and the request it answers, turned into headers and bytes."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

import orjson
from attrs import define

from .builders import chunks, head_of
from .catalogue import provider_of
from .error_replies import words
from .reply import Chunk, Reply, StreamError
from .seen_requests import SeenRequest
from .simulated_model import said

COMMENT = b": OPENROUTER PROCESSING\n\n"
DONE = b"data: [DONE]\n\n"
SSE = "text/event-stream"


@define
class Rendered:
    """
    What is to be sent, faults aside.

    Attributes:
        body: A plain body; None for a stream.
        events: The events of a stream, framed.
        done: Whether `[DONE]` follows them.
        booked: The completion that was given, for the bill; None for none.
        generation_id: The id that the answer bears.
    """

    content_type: str
    generation_id: str
    body: bytes | None = None
    events: tuple[bytes, ...] = ()
    done: bool = True
    booked: Mapping[str, Any] | None = None


def render(reply: Reply, seen: SeenRequest, created: int) -> Rendered:
    """
    Turn a reply into what is to be sent.

    Args:
        reply: Says something, or has a status of 400 or more.
        seen: The request; its form decides how an `answer` is sent.
        created: Unix seconds, for what the server writes itself.
    """
    own = seen.generation_id
    raw = reply.body if reply.text is None else reply.text.encode()
    if raw is not None:
        return Rendered(reply.content_type or _guess(raw), own, raw)
    if reply.chunks is not None:
        return _streamed(reply, list(reply.chunks), seen, created)
    if reply.json is not None:
        return _plain(reply, reply.json, seen)
    answer = reply.answer
    if answer is None:
        message = words(reply.status)
        return _plain(
            reply, {"error": {"message": message, "code": reply.status}}, seen
        )
    pieces = None
    if isinstance(answer, Mapping):
        fields = cast("dict[str, Any]", answer)
    elif isinstance(answer, str):
        fields = said(answer, seen, created)
    else:
        pieces = list(cast("Sequence[str]", answer))
        fields = said("".join(pieces), seen, created)
    if seen.stream and fields.get("choices"):
        cut = chunks(fields, pieces=pieces, usage=reply.usage, finish=reply.finish)
        rendered = _streamed(reply, list[Chunk](cut), seen, created)
        rendered.booked = fields
        return rendered
    return _plain(reply, fields, seen)


def _plain(reply: Reply, body: Any, seen: SeenRequest) -> Rendered:
    own, booked = seen.generation_id, None
    if isinstance(body, Mapping):
        fields = cast("Mapping[str, Any]", body)
        if fields.get("choices"):
            booked = fields
            if reply.error is not None:
                fields = _broken_off(reply.error, fields)
        own, body = str(fields.get("id") or own), fields
    kind = reply.content_type or "application/json"
    return Rendered(kind, own, dumps(body), booked=booked)


def _broken_off(error: StreamError, body: Mapping[str, Any]) -> dict[str, Any]:
    """Put the error where a plain answer ends: into its choice."""
    event = error.events(head_of(body))[-1]
    first = body["choices"][0]
    inner = event.get("error") or event["choices"][0].get("error")
    failure = {"error": inner} if inner else {}
    return {**body, "choices": [{**first, "finish_reason": "error", **failure}]}


def _streamed(
    reply: Reply, listed: list[Chunk], seen: SeenRequest, created: int
) -> Rendered:
    mappings = [chunk for chunk in listed if isinstance(chunk, Mapping)]
    first = mappings[0] if mappings else dict[str, Any]()
    head = {k: v for k, v in head_of(first).items() if v is not None}
    own = str(head.get("id") or seen.generation_id)
    done = reply.done is not False
    if reply.error is not None:
        usual = {
            "id": own,
            "object": "chat.completion.chunk",
            "created": created,
            "model": seen.model,
            "provider": provider_of(seen.model),
        }
        listed = [
            *listed[: reply.error_after],
            *reply.error.events({**usual, **head}),
        ]
        # Only these two went on to [DONE] where they were recorded.
        ends = reply.error.form in ("after_length", "native")
        done = ends if reply.done is None else reply.done
    events = tuple(_framed(chunk) for chunk in listed)
    return Rendered(reply.content_type or SSE, own, None, events, done)


def _framed(chunk: Chunk) -> bytes:
    if isinstance(chunk, bytes):
        return chunk
    data = chunk.encode() if isinstance(chunk, str) else dumps(chunk)
    return b"data: %b\n\n" % data


def dumps(value: Any) -> bytes:
    """Write JSON; what the fast encoder refuses (big integers) too."""
    try:
        return orjson.dumps(value)
    except TypeError:
        return json.dumps(value, separators=(",", ":")).encode()


def _guess(body: bytes) -> str:
    start = body[:64].lstrip(b"\xef\xbb\xbf \t\r\n")
    if start.startswith((b"data:", b":", b"event:", b"id:", b"retry:")):
        return SSE
    return "text/html" if start.startswith(b"<") else "application/json"
