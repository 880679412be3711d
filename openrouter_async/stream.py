"""ChatStream: a chat response whose chunks are read as they arrive."""

import asyncio
import warnings
from collections.abc import Callable, Coroutine, Generator
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Self

import typing_extensions

from .errors import ClosedError, ConfigurationError, OpenRouterError
from .protocol.error_parsing import with_exchange
from .protocol.stream_state import DONE_EVENT, StreamState
from .sse import ReceivedEvent
from .transport.event_stream import EventStream
from .types import ChatResponse, ChatStreamingResponseChunk, Exchange


class ChatStream:
    """
    A chat response whose chunks are read as they arrive.

    Iterate over it once, inside `async with`. Leaving the block closes the connection
    at once, however the block is left, which stops generation and billing if the
    provider supports cancellation. Without the block, call `aclose()`: a `break`
    alone leaves the stream open.

    A stream never reconnects. It has ended successfully if a finish reason or
    `[DONE]` was received.
    """

    __slots__ = (
        "__weakref__",
        "_done",
        "_event_stream",
        "_events",
        "_failure",
        "_feed",
        "_first",
        "_reading",
        "_state",
    )

    def __init__(self, event_stream: EventStream, state: StreamState) -> None:
        self._event_stream = event_stream
        self._state = state
        # A wrapper only if somebody counts chunks, so that nobody else pays for it.
        self._feed = (
            state.feed if state.on_chunk is None else _counted(state, state.on_chunk)
        )
        # Decoded when the stream was opened; None once it was returned.
        self._first, state.first = state.first, None
        # Received and not yet decoded. The next one is last, so that `pop` is cheap
        # and an event is freed as soon as it was read.
        self._events: list[ReceivedEvent] = []
        self._failure: OpenRouterError | None = None
        self._reading = False
        self._done = False

    @property
    def http(self) -> Exchange:
        """The HTTP exchange. It is final, because a stream never reconnects."""
        return self._state.http

    @property
    def partial(self) -> ChatResponse | None:
        """The chunks returned so far, accumulated; None if they held no choice."""
        return self._state.partial if self._first is None else None

    @property
    def response(self) -> ChatResponse:
        """
        The whole response, accumulated, once the stream has ended successfully.

        Raises:
            ConfigurationError: If the stream has not ended; `partial` has what was
                received.
        """
        if not self._done:
            raise ConfigurationError(
                "The stream has not ended. Read the rest, or await collect(); "
                "partial has what was received so far.",
                http=self._state.http,
            )
        return self._state.response

    async def collect(self) -> ChatResponse:
        """
        Read the rest and return the whole response; the connection is free after it.

        Raises:
            OpenRouterError: As iterating raises; its `partial` has what was received.
        """
        async for _ in self:
            pass
        return self.response

    async def read_available(self) -> list[ChatStreamingResponseChunk]:
        """
        Wait for the next chunk; return it with all that were received together with it.

        Whoever passes chunks on, to a browser or a terminal, can then write them at
        once. Calls of this method and iteration may alternate.

        Returns:
            The chunks of one read of the connection, in order; [] at the end of the
            stream.

        Raises:
            OpenRouterError: As iterating raises. The chunks that were received before
                an error are returned first, and the next call raises it.
        """
        try:
            chunks = [await anext(self)]
        except StopAsyncIteration:
            return []
        while self._events:
            try:
                chunk = self._feed(self._events.pop())
            except OpenRouterError as error:
                # The next call raises it, because it is now the end of the stream.
                self._fail(error)
                break
            if chunk is not None:
                chunks.append(chunk)
            elif self._state.done:
                # The next call waits for the end of the body, and returns [].
                self._events = []
        return chunks

    async def aclose(self) -> None:
        """
        Close the connection at once, from any task; this never suspends.

        A task that waits for the next chunk gets a ClosedError. Further calls do
        nothing.
        """
        if self._done:
            return
        if self._failure is None:
            self._failure = ClosedError(
                "The stream was closed.",
                http=self._state.http,
                partial=None if self._event_stream.ended else self.partial,
            )
        self._events = []
        self._event_stream.close(self._failure)

    close = aclose

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ChatStreamingResponseChunk:
        # Everything is awaited here: each coroutine between the caller and the
        # connection would cost time whenever an event arrives.
        while True:
            if not self._events:
                if (
                    self._failure is not None
                    or self._first is not None
                    or self._reading
                    or self._state.done
                ):
                    first = self._prepare()
                    if first is not None:
                        return first
                else:
                    self._reading = True
                    try:
                        self._events = await self._event_stream.read() or self._end()
                    except asyncio.CancelledError as error:
                        self._leave(error)
                        raise
                    except OpenRouterError as error:
                        self._events = self._end_at(error)
                    finally:
                        self._reading = False
            try:
                # The event is not bound to a name: a traceback that shows local
                # variables must not show a key that the server echoed.
                chunk = self._feed(self._events.pop())
            except OpenRouterError as error:
                raise self._fail(error) from error.__cause__
            if chunk is not None:
                return chunk
            # A heartbeat has no chunk, either.
            if self._state.done:
                await self._finish()
                raise StopAsyncIteration

    def _prepare(self) -> ChatStreamingResponseChunk | None:
        """
        Do what is to be done in place of a read, or raise the reason against it.

        Returns:
            The chunk of the first event, which was decoded when the stream was opened,
            at the first call; `_events` is then the rest of its read, if any. Later
            None, with `[DONE]` in `_events`.
        """
        if self._failure is not None:
            raise self._failure
        first, self._first = self._first, None
        if first is not None:
            self._events, self._event_stream.unread = self._event_stream.unread, []
            return first
        if self._state.done:
            self._events = [DONE_EVENT]
            return None
        raise ConfigurationError(
            "Two tasks read the same stream. Let one task read it, and pass the "
            "chunks on.",
            http=self._state.http,
        )

    def _end(self) -> list[ReceivedEvent]:
        """Return `[DONE]` at the successful end of the body."""
        self._state.end()
        return [DONE_EVENT]

    def _end_at(self, error: OpenRouterError) -> list[ReceivedEvent]:
        """Raise an error of a read, unless the response was complete before it."""
        if self._state.finished and not isinstance(error, ClosedError):
            # A connection that breaks after the finish reason has cut nothing off.
            return [DONE_EVENT]
        raise self._fail(error) from error.__cause__

    def _fail(self, error: OpenRouterError) -> OpenRouterError:
        """Close the stream because of an error, and return the error to raise."""
        with_exchange(error, self._state.http)
        if error.partial is None:
            error.partial = self.partial
        # The caller has seen a part of the response: the request is not retried.
        error.retryable = False
        self._failure = error
        self._leave(error)
        return error

    def _leave(self, error: BaseException) -> None:
        if self._failure is None:
            self._failure = ClosedError(
                "The stream was closed when the task that read it was cancelled.",
                http=self._state.http,
            )
        self._events = []
        self._event_stream.end(error)

    async def _finish(self) -> None:
        """End the stream successfully, unless it was ended from outside before."""
        if self._done:
            return
        failure = self._event_stream.failure
        if failure is not None and (
            isinstance(failure, ClosedError) or not self._state.finished
        ):
            # A timeout or the end of the client ended the stream, and was reported,
            # before the chunks that had arrived were read.
            raise self._fail(failure)
        self._done = True
        self._events = []
        await self._event_stream.finish()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if isinstance(exc, asyncio.CancelledError) and not self._event_stream.ended:
            self._leave(exc)
        await self.aclose()

    def __repr__(self) -> str:
        ended = self._event_stream.ended
        state = "ended" if self._done else "closed" if ended else "open"
        return f"<ChatStream {state} {self._state.http.generation_id}>"

    def __del__(self) -> None:
        # `__init__` may have failed before it set any attribute.
        event_stream = getattr(self, "_event_stream", None)
        if event_stream is None or event_stream.ended:
            return
        # The garbage collector may run in any thread, and after the end of the loop.
        with suppress(RuntimeError):
            event_stream.loop.call_soon_threadsafe(
                event_stream.close, ClosedError("The stream was garbage-collected.")
            )
        # Last, because a warning filter may turn it into an exception.
        warnings.warn(
            f"{self!r} was neither read to its end nor closed. "
            "Use `async with` around the stream.",
            ResourceWarning,
            source=self,
            stacklevel=2,
        )


def _counted(
    state: StreamState, on_chunk: Callable[[], object]
) -> Callable[[ReceivedEvent], ChatStreamingResponseChunk | None]:
    """Return a `feed` that calls `on_chunk` for each chunk."""
    feed = state.feed

    def feed_and_count(event: ReceivedEvent) -> ChatStreamingResponseChunk | None:
        chunk = feed(event)
        if chunk is not None:
            on_chunk()
        return chunk

    return feed_and_count


S = typing_extensions.TypeVar("S", bound=ChatStream, default=ChatStream)


class PendingStream(Coroutine[Any, Any, S], Generic[S]):
    """
    A stream that is not open yet: `await` it, or enter it with `async with`.

    It is a coroutine, and can be run as a task.
    """

    __slots__ = ("_opening", "_stream")

    def __init__(self, opening: Coroutine[Any, Any, S]) -> None:
        self._opening = opening
        self._stream: S | None = None

    def __await__(self) -> Generator[Any, Any, S]:
        return self._opening.__await__()

    def send(self, value: Any) -> Any:
        """Resume the coroutine, as a task does."""
        return self._opening.send(value)

    def throw(self, *args: Any) -> Any:
        """Raise an exception in the coroutine, as a task does."""
        return self._opening.throw(*args)

    def close(self) -> None:
        """Close the coroutine before it starts or while it waits."""
        self._opening.close()

    async def __aenter__(self) -> S:
        self._stream = await self._opening
        return self._stream

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._stream is not None:
            await self._stream.__aexit__(exc_type, exc, traceback)

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            # Tasks and debuggers ask a coroutine for its name, code and frame.
            if name.startswith("cr_") or name in ("__name__", "__qualname__"):
                return getattr(self._opening, name)
            raise AttributeError(
                f"The stream is not open yet, so it has no attribute {name!r}. Write: "
                "async with client.chat.send(..., stream=True) as stream: ..."
            )

    # With `-> None` type checkers reject the loop too; with NoReturn they would not.
    def __aiter__(self) -> None:
        self._opening.close()
        raise TypeError(
            "The stream is not open yet. Write: "
            "async with client.chat.send(..., stream=True) as stream: "
            "async for chunk in stream: ..."
        )
