"""The formats of relays: events of a stream -> bytes for the client. Pure."""

from collections.abc import Mapping
from typing import Any, Final, Protocol

from ..protocol.encode import encode, join_texts
from ..protocol.templates import ChunkRun, Template, find_template
from ..tools.events import ReasoningDelta, TextDelta, ToolCallStarted, ToolEvent
from ..types import ChatResponse, ChatStreamingResponseChunk
from .public_errors import PublicError

SSE_HEADERS: Final[Mapping[str, str]] = {
    "Content-Type": "text/event-stream; charset=utf-8",
    # no-transform: a proxy that compresses would collect events first.
    "Cache-Control": "no-cache, no-transform",
    # nginx would collect events in its buffers.
    "X-Accel-Buffering": "no",
}
"""The headers of a response whose body is a stream of server-sent events."""

DONE_EVENT: Final = b"data: [DONE]\n\n"


class RelayFormat(Protocol):
    """
    A format of the bytes that a relay sends.

    An object of a format belongs to one relay. Each method returns zero or more whole
    events. If `headers` say that the body is a stream of server-sent events, the relay
    adds comments between them.

    A format may have a further method `chunk(chunk)`. For a source that is a chat
    stream, it is called with each chunk, and `event` is not called.
    """

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers of the response."""
        ...

    def begin(self) -> bytes:
        """Return the bytes before the first event."""
        ...

    def event(self, event: ToolEvent) -> bytes:
        """Return the bytes of an event; none if the format has no such event."""
        ...

    def end(self, response: ChatResponse, usage: Mapping[str, Any] | None) -> bytes:
        """
        Return the last bytes of a relay that succeeded.

        Args:
            response: The whole response; in a run of tools, the last one.
            usage: The mapping that the relay's `usage=` returned.
        """
        ...

    def error(self, error: PublicError) -> bytes | None:
        """
        Return the last bytes of a relay that failed.

        Returns:
            The bytes; None if the format cannot express an error. The relay then
            raises the exception, so that the body ends incomplete.
        """
        ...


class SSEFormat:
    """Server-sent events that a few lines of JavaScript can read; the default."""

    headers = SSE_HEADERS

    def begin(self) -> bytes:
        """Return nothing: every event has a meaning of its own."""
        return b""

    def event(self, event: ToolEvent) -> bytes:
        """Return new text, new reasoning, or the name and id of a tool call."""
        # `__class__`, because `isinstance` would be called several times per token.
        kind = event.__class__
        if kind is TextDelta:
            return b'data: {"text":%b}\n\n' % encode(event.text)  # type: ignore[union-attr]
        if kind is ReasoningDelta:
            return b'data: {"reasoning":%b}\n\n' % encode(event.text)  # type: ignore[union-attr]
        if isinstance(event, ToolCallStarted):
            return data_event({"tool": event.name, "id": event.id})
        return b""

    def run(self, run: ChunkRun) -> bytes | None:
        """Return the bytes of chunks that have only text, or only reasoning."""
        kind = run.template.kind
        if kind is None:
            return None
        return text_events(b'data: {"%b":"' % kind.encode(), run.texts, b'"}\n\n')

    def end(self, response: ChatResponse, usage: Mapping[str, Any] | None) -> bytes:
        """Return the event `done`."""
        last = {"finish_reason": response.finish_reason, "usage": usage}
        return b"event: done\n" + data_event(last)

    def error(self, error: PublicError) -> bytes:
        """
        Return the event `failure`.

        It is not named `error`: an `EventSource` reports its own connection errors
        under that name.
        """
        failure = {
            "code": error.code,
            "message": error.message,
            "retryable": error.retryable,
            "retry_after": error.retry_after,
        }
        return b"event: failure\n" + data_event(failure)


class PlainTextFormat:
    """
    The text alone, as plain text.

    It has no comments and no errors: a relay that fails raises, and the client sees an
    incomplete body.
    """

    headers: Mapping[str, str] = {
        **SSE_HEADERS,
        "Content-Type": "text/plain; charset=utf-8",
        # Otherwise, a browser holds back the first bytes to guess the content type.
        "X-Content-Type-Options": "nosniff",
    }

    def begin(self) -> bytes:
        """Return nothing."""
        return b""

    def event(self, event: ToolEvent) -> bytes:
        """Return the text of a `TextDelta`, and no bytes for other events."""
        if isinstance(event, TextDelta):
            # Half of a surrogate pair cannot be encoded.
            return event.text.encode("utf-8", "replace")
        return b""

    def run(self, run: ChunkRun) -> bytes | None:
        """Return the text of chunks that have only text."""
        if run.template.kind == "text":
            return "".join(run.texts).encode("utf-8", "replace")
        return None if run.template.kind is None else b""

    def end(
        self,
        response: ChatResponse,  # noqa: ARG002 - the signature of the protocol
        usage: Mapping[str, Any] | None,  # noqa: ARG002 - as above
    ) -> bytes:
        """Return nothing."""
        return b""

    def error(self, error: PublicError) -> None:
        """Return None: an error would look like text."""


# Members of a chunk that say who answered for whom, and for how much. `error` is left
# out as well: a chunk with an error ends the stream with an exception.
_PRIVATE: Final = frozenset(
    {"user_id", "openrouter_metadata", "debug", "provider", "usage", "error"}
)


class OpenAIFormat:
    """
    The chunks of OpenAI's chat completions API.

    The chunks of a stream are passed on as they were received, without the members that
    concern only you: the generation id, the provider, usage and cost, account id, and
    routing metadata. Of a run of tools, the text of all turns is sent.

    Args:
        completion_id: The `id` of each chunk.
        created: The `created` of each chunk of a run of tools, in Unix seconds.
    """

    headers = SSE_HEADERS

    def __init__(self, completion_id: str = "chatcmpl", created: int = 0) -> None:
        self._head: dict[str, Any] = {
            "id": completion_id,
            "object": "chat.completion.chunk",
            "created": created,
            "model": "",
        }
        self._is_run = False
        # The template of the last chunk that had one, and the bytes around its texts.
        self._template: Template | None = None
        self._around: list[bytes] | None = None

    def begin(self) -> bytes:
        """Return no bytes: the format has no opening event."""
        return b""

    def chunk(self, chunk: ChatStreamingResponseChunk) -> bytes:
        """Return a chunk of a stream; nothing for one that has only usage."""
        found = find_template(chunk)
        if found is not None:
            template, text = found
            written = OpenAIFormat.run(self, ChunkRun(template, [text]))
            if written is not None:
                return written
        if not chunk.choices:
            return b""
        self._note_origin(chunk)
        return self._public_event(chunk.raw)

    def run(self, run: ChunkRun) -> bytes | None:
        """Return the bytes of chunks, unless their texts are hard to find in them."""
        template = run.template
        if template is not self._template:
            self._template = template
            # The chunk is decoded once for all chunks of the template.
            self._note_origin(template.make_chunk(""))
            self._around = template.split_event(self._public_event)
        around = self._around
        if around is None:
            return None
        if len(around) == 2:
            head, tail = around
            return b"%b%b%b" % (head, join_texts(run.texts, tail + head), tail)
        # A line feed is not part of the body of a JSON string.
        bodies = join_texts(run.texts, b"\n").split(b"\n")
        return b"".join([body.join(around) for body in bodies])

    def event(self, event: ToolEvent) -> bytes:
        """Return a chunk with the new text of a run of tools."""
        if not isinstance(event, TextDelta):
            return b""
        delta: dict[str, Any] = {"content": event.text}
        if not self._is_run:
            self._is_run = True
            delta = {"role": "assistant", **delta}
        return self._choice(delta, None)

    def end(self, response: ChatResponse, usage: Mapping[str, Any] | None) -> bytes:
        """Return `[DONE]`, after the chunks that a run of tools still needs."""
        last = b""
        if self._is_run:
            last = self._choice({}, response.finish_reason or "stop")
        if usage is not None:
            last += data_event({**self._head, "choices": [], "usage": usage})
        return last + DONE_EVENT

    def error(self, error: PublicError) -> bytes:
        """Return the error and `[DONE]`; OpenAI's clients raise an exception."""
        described = {
            "message": error.message,
            "type": error.code,
            "code": error.code,
            "param": None,
        }
        return data_event({"error": described}) + DONE_EVENT

    def _note_origin(self, chunk: ChatStreamingResponseChunk) -> None:
        """Keep the model and the time of a chunk for the events made here."""
        if chunk.model:
            self._head["model"] = chunk.model
        if chunk.created:
            self._head["created"] = chunk.created

    def _public_event(self, raw: Mapping[str, Any]) -> bytes:
        public = {k: v for k, v in raw.items() if k not in _PRIVATE}
        public["id"] = self._head["id"]
        return data_event(public)

    def _choice(self, delta: Mapping[str, Any], finish_reason: str | None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
        return data_event({**self._head, "choices": [choice]})


def text_events(head: bytes, texts: list[str], tail: bytes) -> bytes:
    """
    Return the event of each text that is not empty.

    Args:
        head: The event before the body of the JSON string.
        texts: The texts.
        tail: The event after it.
    """
    if not all(texts):
        texts = [*filter(None, texts)]
        if not texts:
            return b""
    return b"%b%b%b" % (head, join_texts(texts, tail + head), tail)


def data_event(value: Mapping[str, Any]) -> bytes:
    """Return a server-sent event whose data is a JSON object, in one line."""
    return b"data: %b\n\n" % encode(value)
