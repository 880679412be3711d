"""Events of a chat stream -> chunks or an error; accumulates what was received."""

from collections.abc import Callable, Mapping
from typing import Any, AnyStr, Final

from attrs import evolve

from ..errors import APIError, MalformedResponseError, StreamInterruptedError
from ..sse import ReceivedEvent, ServerSentEvent
from ..types import ChatResponse, ChatStreamingResponseChunk, Exchange
from .accumulator.accumulator import Accumulator, has_token
from .decode import decode, decode_first, first_object, to_text
from .error_parsing import (
    error_from_body,
    find_error,
    is_error_event,
    with_exchange,
)
from .headers import Secret, redact
from .response_objects import parse_chunk, parse_exact_chunk, read_chunk, read_response
from .templates import Template, TemplateLearner

DONE: Final = "[DONE]"
"""The data of the event that ends a stream."""
DONE_EVENT: Final = DONE.encode()
"""The event that ends a stream, as `SSEDecoder.feed_data` returns it."""


NO_CHOICES: Final = (
    "The response has neither choices nor an error; partial has what was received."
)
# Members that the accumulated response has even if nothing was received.
_EMPTY_KEYS: Final = frozenset({"object", "choices"})
# Some servers send one of these with every chunk that does not end the response.
_NOT_FINISHED: Final = frozenset({"", "null", "none"})


def is_finish_reason(value: str) -> bool:
    """Return True if a finish reason says that the choice has ended."""
    return value.strip().lower() not in _NOT_FINISHED


def is_relevant(event: ReceivedEvent) -> bool:
    """
    Return True if an event is about the response: a chunk, an error or its end.

    Blank data is a heartbeat. An event of another name than "message" and "error" is
    only about the response if its data has choices or an error, or is `[DONE]`.
    """
    if isinstance(event, bytes):
        return event.startswith(b"{") or not _is_blank(to_text(event))
    data = event.data
    kind = event.event
    if is_error_event(event):
        return True
    if _is_blank(data):
        return False
    if kind == "message" or is_done(data):
        return True
    raw = first_object(decode_first(data, None))
    if isinstance(raw.get("choices"), list) or raw.get("error"):
        return True
    # JSON on a line of its own, without `data:`.
    return not kind and find_error(raw) is not None


def is_done(data: str) -> bool:
    """Return True for `[DONE]`; some servers send it as a JSON string."""
    return data.strip().removeprefix('"').removesuffix('"') == DONE


def _is_blank(data: str) -> bool:
    return not data or data.isspace()


def is_whole(event: ServerSentEvent) -> bool:
    """
    Return True if an event is complete although no empty line followed it.

    It may have been cut off anywhere, and half a JSON object is not JSON.
    """
    if is_done(event.data):
        return True
    try:
        return isinstance(decode(event.data.strip()), dict | list)
    except MalformedResponseError:
        return False


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
        template: The template of the last chunk; None if there is none. Only events
            that it does not match are fed.
        on_chunk: Called by the reader for each chunk after the first; None if nobody
            wants to know.
    """

    __slots__ = (
        "_accumulator",
        "_key",
        "_learner",
        "_on_first_token",
        "_wall_time",
        "done",
        "finished",
        "first",
        "http",
        "on_chunk",
        "template",
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
        self.on_chunk: Callable[[], object] | None = None
        self.first: ChatStreamingResponseChunk | None = None
        self.token_seen = False
        self.finished = False
        self.done = False
        self.template: Template | None = None
        # Created at the first token, because thousands of streams may be open.
        self._learner: TemplateLearner | None = None

    def feed(self, event: ReceivedEvent) -> ChatStreamingResponseChunk | None:
        """
        Return the chunk of the next event; None if the event has none.

        An event without a chunk is `[DONE]`, which sets `done`; a heartbeat, whose
        data is blank; or an event of another name that is not about the response.

        Raises:
            APIError: If the event is an error, or one of its choices failed.
            MalformedResponseError: If the event is not a JSON object, or if it is
                `[DONE]` and no choice was received before.
        """
        if not isinstance(event, bytes):
            if is_error_event(event):
                # No local variable of a frame that raises may hold a key that the
                # server echoed: a traceback may show local variables.
                event = evolve(event, data=self._redact(event.data))
                raise self._error_event(event)
            if not is_relevant(event):
                return None
            event = event.data.encode()
        if event == DONE_EVENT:
            self._end_at_done()
            return None
        try:
            chunk = parse_chunk(event)
        except MalformedResponseError as error:
            event = self._redact(event)
            self._feed_other(to_text(event), error.with_traceback(None))
            return None
        if b'"arguments"' in event:
            chunk = parse_exact_chunk(chunk, event)
        if self._may_be_error(chunk) and find_error(chunk.raw) is not None:
            event = self._redact(event)
            chunk = parse_chunk(event)
            raise self._error_in(chunk)
        self._accumulator.add(chunk)
        if self._learner is None:
            self._await_token(chunk)
        else:
            # A chunk that the template did not match may change where the next text
            # belongs: even if the template matches again, it is not used again.
            self.template = self._learner.learn(
                event, chunk, self._accumulator, self.template
            )
        return chunk

    def _may_be_error(self, chunk: ChatStreamingResponseChunk) -> bool:
        """
        Note a finish reason; return True if `find_error` has to look at the chunk.

        It is not called for most chunks, which have a choice and none of these members.
        """
        suspect = "error" in chunk.raw or not chunk.choices
        for choice in chunk.choices:
            if choice.finish_reason:
                suspect = True
                self.finished |= is_finish_reason(choice.finish_reason)
            elif choice.error:
                suspect = True
        return suspect

    def _feed_other(self, data: str, malformed: MalformedResponseError) -> None:
        """
        Process data that is not a JSON object, without a key that it echoes.

        Raises:
            APIError: If the event is an error.
            MalformedResponseError: If the data cannot be parsed.
        """
        data = data.strip()
        if is_done(data):
            self._end_at_done()
            return
        if not data:
            return
        raw = decode_first(data, None)
        error = find_error(raw)
        if error is not None:
            raise self._error(raw, error)
        malformed.partial = self.partial
        raise with_exchange(malformed, self.http) from malformed.__cause__

    def _error_event(self, event: ServerSentEvent) -> APIError:
        """Return the exception for an event named "error", whatever its data."""
        raw = decode_first(event.data, event.data)
        if raw.__class__ is dict and "choices" in raw:
            self._accumulator.add(read_chunk(raw))
        return self._error(raw, find_error(raw) or raw)

    def _error_in(self, chunk: ChatStreamingResponseChunk) -> APIError:
        """Return the exception for a chunk that has an error."""
        self._accumulator.add(chunk)
        self.http.generation_id = self.http.generation_id or chunk.id
        return self._error(chunk.raw, find_error(chunk.raw))

    def _error(self, body: Any, error: Any) -> APIError:
        return error_from_body(
            body,
            self.http,
            wall_time=self._wall_time(),
            error=error,
            partial=self.partial,
        )

    def _end_at_done(self) -> None:
        self.done = True
        self._check_choices()

    def _check_choices(self) -> None:
        if not self._accumulator.has_choices:
            response = self.response
            raise MalformedResponseError(
                NO_CHOICES,
                http=self.http,
                partial=response if response.raw.keys() > _EMPTY_KEYS else None,
            )

    def _await_token(self, chunk: ChatStreamingResponseChunk) -> None:
        self.http.generation_id = self.http.generation_id or chunk.id
        if has_token(chunk):
            self.token_seen = True
            # Not earlier: a chunk that a template matches ends no timeout.
            self._learner = TemplateLearner()
            if self._on_first_token is not None:
                self._on_first_token()
                self._on_first_token = None

    def feed_whole(self, response: ChatResponse) -> None:
        """
        Set `first` from a completion that was received in place of a stream.

        Args:
            response: The completion; it has a choice.
        """
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
        # A finish reason is part of a choice, and `[DONE]` has checked for one.
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
    def usage(self) -> dict[str, Any]:
        """The `usage` received so far, as JSON; empty if there was none."""
        return self._accumulator.usage

    @property
    def response(self) -> ChatResponse:
        """The response of the stream, after its end."""
        response = self._accumulator.response()
        response.http = self.http
        return response

    def _redact(self, data: AnyStr) -> AnyStr:
        return data if self._key is None else redact(data, self._key)


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
