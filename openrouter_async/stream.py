"""ChatStream: a chat response whose chunks are read as they arrive."""

import asyncio
import warnings
from collections.abc import Coroutine, Generator
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Self

import typing_extensions

from .errors import ClosedError, ConfigurationError, OpenRouterError
from .protocol.error_parsing import with_exchange
from .protocol.stream_state import DONE_EVENT, StreamState
from .protocol.templates import ChunkRun, Template
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
        "_buffer",
        "_done",
        "_event_stream",
        "_failure",
        "_first",
        "_on_chunk",
        "_reading",
        "_state",
    )

    def __init__(self, event_stream: EventStream, state: StreamState) -> None:
        self._event_stream = event_stream
        self._state = state
        self._on_chunk = state.on_chunk
        # Decoded when the stream was opened; None once it was returned.
        self._first, state.first = state.first, None
        self._buffer = event_stream.buffer
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
        while await anext(self, None) is not None:
            template = self._buffer.template
            if template is not None and self._buffer.texts:
                self._take_texts(template)
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
        chunks: list[ChatStreamingResponseChunk] = []
        for run in await self.read_runs():
            if isinstance(run, ChunkRun):
                chunks += run.make_chunks()
            else:
                chunks.append(run)
        return chunks

    async def read_runs(self) -> list[ChatStreamingResponseChunk | ChunkRun]:
        """
        Do what `read_available` does, without creating the chunks of templates.

        It is for code of this package that writes the texts of chunks somewhere, which
        takes a small part of the time of creating the chunks.
        """
        runs: list[ChatStreamingResponseChunk | ChunkRun] = []
        buffer = self._buffer
        while not runs:
            if not (buffer.events or buffer.texts) and self._must_read():
                # As in `__anext__`, not in a coroutine of its own.
                self._reading = True
                try:
                    if not await self._event_stream.read():
                        self._end_body()
                except (asyncio.CancelledError, OpenRouterError) as error:
                    self._end_at(error)
                finally:
                    self._reading = False
            self._take_runs(runs)
            if self._state.done:
                if runs:
                    # The next call waits for the end of the body, and returns [].
                    buffer.clear()
                    break
                await self._finish()
                return runs
        return runs

    def _take_runs(self, runs: list[ChatStreamingResponseChunk | ChunkRun]) -> None:
        """
        Add all chunks that were received.

        Raises:
            OpenRouterError: As `StreamState.feed` raises, if there is no chunk before
                the error. If there is one, the next read raises it.
        """
        if self._first is not None:
            first, self._first = self._first, None
            runs.append(first)
        buffer = self._buffer
        while buffer.texts or buffer.events:
            template = buffer.template
            if template is not None and (
                buffer.texts or buffer.match_waiting(template)
            ):
                runs.append(ChunkRun(template, self._take_texts(template)))
                continue
            try:
                chunk = self._feed_event()
            except OpenRouterError as error:
                failure = self._fail(error)
                if runs:
                    # The next call raises it, because it is now the end of the stream.
                    return
                raise failure from error.__cause__
            if chunk is not None:
                runs.append(chunk)
            elif self._state.done:
                return

    def _take_texts(self, template: Template) -> list[str]:
        """Return the texts that wait, and add them to the response."""
        texts, self._buffer.texts = self._buffer.texts, []
        texts.reverse()
        template.sink.extend(texts)
        if self._on_chunk is not None:
            for _ in texts:
                self._on_chunk()
        return texts

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
        self._buffer.clear()
        self._event_stream.close(self._failure)

    close = aclose

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ChatStreamingResponseChunk:
        # Everything is awaited here: each coroutine between the caller and the
        # connection would cost time whenever an event arrives.
        buffer = self._buffer
        while True:
            template = buffer.template
            if template is not None and buffer.texts and self._on_chunk is None:
                # The fast path of `_next_waiting`: most chunks are created here.
                text = buffer.texts.pop()
                template.sink.add(text)
                return template.make_chunk(text)
            if not buffer.events and self._must_read():
                self._reading = True
                try:
                    if not await self._event_stream.read():
                        self._end_body()
                except (asyncio.CancelledError, OpenRouterError) as error:
                    self._end_at(error)
                finally:
                    self._reading = False
                continue
            try:
                chunk = self._next_waiting()
            except OpenRouterError as error:
                raise self._fail(error) from error.__cause__
            if chunk is not None:
                return chunk
            # A heartbeat has no chunk, either.
            if self._state.done:
                await self._finish()
                raise StopAsyncIteration

    def _must_read(self) -> bool:
        """
        Return True if more is to be read; at the end, set `[DONE]` as the next event.

        Raises:
            OpenRouterError: If the stream has failed, or another task reads it.
        """
        if self._failure is not None:
            raise self._failure
        if self._first is not None or self._buffer.texts:
            return False
        if self._state.done:
            self._buffer.events = [DONE_EVENT]
            return False
        if self._reading:
            raise ConfigurationError(
                "Two tasks read the same stream. Let one task read it, and pass the "
                "chunks on.",
                http=self._state.http,
            )
        return True

    def _next_waiting(self) -> ChatStreamingResponseChunk | None:
        """
        Return the chunk of the next event that was received; None if it has none.

        Raises:
            OpenRouterError: As `StreamState.feed` raises.
        """
        if self._first is not None:
            first, self._first = self._first, None
            return first
        buffer = self._buffer
        template = buffer.template
        if template is None or not (buffer.texts or buffer.match_waiting(template)):
            return self._feed_event()
        text = buffer.texts.pop()
        template.sink.add(text)
        if self._on_chunk is not None:
            self._on_chunk()
        return template.make_chunk(text)

    def _feed_event(self) -> ChatStreamingResponseChunk | None:
        """
        Return the chunk of the next event, which no template matches; None without one.

        Raises:
            OpenRouterError: As `StreamState.feed` raises.
        """
        # The event is not bound to a name: a traceback that shows local variables must
        # not show a key that the server echoed.
        chunk = self._state.feed(self._buffer.events.pop())
        self._buffer.template = self._state.template
        if chunk is not None and self._on_chunk is not None:
            self._on_chunk()
        return chunk

    def _end_body(self) -> None:
        """Set `[DONE]` as the next event at the end of the body, if it is complete."""
        self._state.end()
        self._buffer.events = [DONE_EVENT]

    def _end_at(self, error: asyncio.CancelledError | OpenRouterError) -> None:
        """
        End the stream because of an exception in a read.

        Raises:
            CancelledError: If the task was cancelled.
            OpenRouterError: If the response was not complete before the error.
        """
        if isinstance(error, asyncio.CancelledError):
            self._leave(error)
            raise error
        if not self._state.finished or isinstance(error, ClosedError):
            raise self._fail(error) from error.__cause__
        # A connection that breaks after the finish reason has cut nothing off.
        self._buffer.events = [DONE_EVENT]

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
        self._buffer.clear()
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
        self._buffer.clear()
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
