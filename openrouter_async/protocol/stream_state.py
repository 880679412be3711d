"""Events of a chat stream -> chunks or an error; accumulates what was received."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from attrs import evolve

from ..errors import MalformedResponseError, StreamInterruptedError
from ..sse import ServerSentEvent
from ..types import ChatResponse, ChatStreamingResponseChunk, Exchange
from ..types.chunks import StreamingChoice
from .accumulator.accumulator import Accumulator, has_token
from .decode import parse_chunk, parse_exact_chunk, read_chunk, read_response
from .error_parsing import error_from_body, find_error, with_exchange
from .headers import Secret, redact

DONE: Final = "[DONE]"
"""The data of the event that ends a stream."""


class StreamState:
    """
    The protocol side of one chat stream: one event in, one chunk or an error out.

    It performs no I/O. Each event is decoded once, and its chunk is added to the
    response that a plain call would have returned.

    Attributes:
        http: The exchange of the call.
        first: The chunk of the first event, until the reader takes it. Whoever opens
            the stream feeds the first event and sets this, because an error in it is
            raised by the opening call and may be retried.
        token_seen: True once `on_first_token` was called.
        finished: True once a choice had a finish reason. A connection that breaks
            after that has cut nothing off.
        done: True once no further chunk can follow.
    """

    __slots__ = (
        "_accumulator",
        "_key",
        "_on_first_token",
        "_wall_time",
        "done",
        "finished",
        "first",
        "http",
        "token_seen",
    )

    def __init__(
        self,
        http: Exchange,
        *,
        wall_time: Callable[[], float],
        on_first_token: Callable[[], object] | None = None,
        key: Secret | None = None,
    ) -> None:
        """
        Start with nothing received.

        Args:
            http: The exchange of the call.
            wall_time: Returns the seconds since the epoch; called for an error only,
                whose `Retry-After` may be a date.
            on_first_token: Called once, when a chunk has content, reasoning, a
                refusal, a tool call, an image or audio.
            key: The Authorization header that was sent. It is masked in errors,
                because a server may echo it.
        """
        self._accumulator = Accumulator()
        self._wall_time = wall_time
        self._on_first_token = on_first_token
        self._key = key
        self.http = http
        self.first: ChatStreamingResponseChunk | None = None
        self.token_seen = False
        self.finished = False
        self.done = False

    def feed(self, event: ServerSentEvent) -> ChatStreamingResponseChunk | None:
        """
        Return the chunk of the next event; None if the event is `[DONE]`.

        Raises:
            APIError: If the event is an error, or one of its choices failed.
            MalformedResponseError: If the event is not a JSON object.
        """
        if event.data == DONE:
            self.done = True
            return None
        try:
            chunk = parse_chunk(event.data)
        except MalformedResponseError as error:
            error.partial = self.partial
            raise with_exchange(error, self.http) from error.__cause__
        # Most chunks have none of the three, and `find_error` is not called.
        suspect = "error" in chunk.raw
        choice: StreamingChoice | None
        for choice in chunk.choices:
            if choice.finish_reason:
                self.finished = suspect = True
            elif choice.error:
                suspect = True
            if choice.delta.tool_calls:
                chunk = parse_exact_chunk(chunk, event.data)
        if suspect and find_error(chunk.raw) is not None:
            # All three are bound again: a traceback that shows local variables must
            # not show a key that the server echoed in its error.
            event = self._redact(event)
            chunk = parse_chunk(event.data)
            choice = None
            self._accumulator.add(chunk)
            self.http.generation_id = self.http.generation_id or chunk.id
            raise error_from_body(
                chunk.raw,
                self.http,
                wall_time=self._wall_time(),
                error=find_error(chunk.raw),
                partial=self.partial,
            )
        self._accumulator.add(chunk)
        if not self.token_seen:
            self._await_token(chunk)
        return chunk

    def _await_token(self, chunk: ChatStreamingResponseChunk) -> None:
        self.http.generation_id = self.http.generation_id or chunk.id
        if has_token(chunk):
            self.token_seen = True
            if self._on_first_token is not None:
                self._on_first_token()

    def feed_whole(self, response: ChatResponse) -> None:
        """Set `first` from a completion that was received in place of a stream."""
        chunk = chunk_of(response)
        self._accumulator.add(chunk)
        self.first = chunk
        self.finished = self.done = True

    def end(self) -> None:
        """
        Note the end of the body.

        Raises:
            StreamInterruptedError: If neither a finish reason nor `[DONE]` was
                received before it.
        """
        if not self.finished and not self.done:
            raise StreamInterruptedError(
                "The stream ended without a finish reason and without [DONE]: "
                "the response is incomplete.",
                http=self.http,
                partial=self.partial,
            )
        self.done = True

    @property
    def partial(self) -> ChatResponse | None:
        """The response as received so far; None if no choice was received."""
        body = self._accumulator.build()
        return read_response(body, self.http) if body["choices"] else None

    @property
    def response(self) -> ChatResponse:
        """The response of the stream, after its end."""
        response = self._accumulator.response()
        response.http = self.http
        return response

    def _redact(self, event: ServerSentEvent) -> ServerSentEvent:
        if self._key is None:
            return event
        return evolve(event, data=redact(event.data, self._key))


def chunk_of(response: ChatResponse) -> ChatStreamingResponseChunk:
    """Return one chunk with the content of a whole response."""
    raw = dict(response.raw)
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
