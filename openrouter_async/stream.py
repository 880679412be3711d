"""A reply that is still arriving."""

import asyncio
import time
import warnings
from collections.abc import Coroutine, Generator
from contextlib import suppress
from types import TracebackType
from typing import Any, Generic, Self

import typing_extensions

from .errors import (
    ClosedError,
    ConfigurationError,
    OpenRouterError,
    StreamInterruptedError,
)
from .protocol.call import Outcome
from .protocol.decode import parse_chunk
from .protocol.error_parsing import error_from_body
from .protocol.response_parsing import (
    DONE,
    find_error,
    folded,
    with_exchange,
)
from .sse import ServerSentEvent
from .transport.answer import Answer
from .transport.event_stream import EventStream
from .types import ChatResponse, ChatStreamingResponseChunk, Exchange


class ChatStream:
    """
    A chat reply whose chunks are read as they arrive.

    Iterate over it once, inside `async with`: leaving the block, however, closes the
    connection at once, which stops generation and billing where the provider can.
    Without the block, call `aclose()`; a `break` alone leaves it open.

    It never reconnects, and has ended well when a finish reason or `[DONE]` was seen.
    """

    __slots__ = (
        "__weakref__",
        "_done",
        "_events",
        "_failure",
        "_feed",
        "_finished",
        "_fold",
        "_reading",
        "_token_seen",
    )

    def __init__(self, feed: EventStream, answer: Answer[ChatResponse]) -> None:
        self._feed = feed
        self._fold = feed.fold
        # The next one last: what was read is let go of at once.
        self._events = [*reversed(answer.events)]
        self._failure: OpenRouterError | None = None
        self._reading = False
        self._finished = False
        self._token_seen = False
        self._done = False

    @property
    def http(self) -> Exchange:
        """What happened on the wire; final, because a stream never reconnects."""
        return self._feed.http

    @property
    def partial(self) -> ChatResponse | None:
        """What has arrived so far, folded; None if nothing has."""
        return folded(self._fold, self._feed.http)

    @property
    def response(self) -> ChatResponse:
        """
        The whole reply, folded, once the stream has ended well.

        Raises:
            ConfigurationError: It has not; `partial` has what arrived.
        """
        if not self._done:
            raise ConfigurationError(
                "The stream has not ended. Read on, or await collect(); "
                "partial has what arrived so far.",
                http=self._feed.http,
            )
        reply = self._fold.response()
        reply.http = self._feed.http
        return reply

    async def collect(self) -> ChatResponse:
        """
        Read the rest and return the whole reply; the connection is free after it.

        Raises:
            OpenRouterError: As iterating would; `partial` has what arrived.
        """
        async for _ in self:
            pass
        return self.response

    async def aclose(self) -> None:
        """
        Close the connection at once, from any task; it never suspends.

        A reader that waits gets a ClosedError. The second time nothing happens.
        """
        if self._done:
            return
        if self._failure is None:
            self._failure = ClosedError(
                "The stream was closed.",
                http=self._feed.http,
                partial=None if self._feed.ended else self.partial,
            )
        self._events = []
        self._feed.close(self._failure)

    close = aclose

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ChatStreamingResponseChunk:
        event = self._events.pop() if self._events else await self._more()
        if event.data == DONE:
            await self._finish()
            raise StopAsyncIteration
        try:
            chunk = parse_chunk(event.data)
        except OpenRouterError as error:
            raise self._fail(error) from error.__cause__
        suspect = "error" in chunk.raw
        for choice in chunk.choices:
            if choice.finish_reason is not None or choice.error is not None:
                self._finished = suspect = True
        if suspect and find_error(chunk.raw) is not None:
            # Rebound, so that no traceback with locals shows what it may have echoed.
            event = self._feed.redact(event)
            chunk = parse_chunk(event.data)
            self._fold.add(chunk)
            raise self._fail(self._error_of(chunk))
        self._fold.add(chunk)
        if not self._token_seen:
            self._feed.saw(chunk)
            self._token_seen = self._feed.token_seen
        return chunk

    async def _more(self) -> ServerSentEvent:
        """Wait for the next event; the end of the body is an event `[DONE]`."""
        if self._failure is not None:
            raise self._failure
        if self._done:
            return ServerSentEvent(data=DONE)
        if self._reading:
            raise ConfigurationError(
                "Two tasks read one stream. Let one read, and hand the chunks on.",
                http=self._feed.http,
            )
        self._reading = True
        try:
            events = await self._feed.read()
        except asyncio.CancelledError:
            self._leave("cancelled")
            raise
        except OpenRouterError as error:
            if self._finished and not isinstance(error, ClosedError):
                # All that was promised has arrived; what broke later is no loss.
                return ServerSentEvent(data=DONE)
            raise self._fail(error) from error.__cause__
        finally:
            self._reading = False
        if events is not None:
            events.reverse()
            self._events = events
            return events.pop()
        if self._finished:
            return ServerSentEvent(data=DONE)
        raise self._fail(
            StreamInterruptedError(
                "The stream ended without a finish reason and without [DONE]: "
                "the answer is cut off.",
            )
        )

    def _error_of(self, chunk: ChatStreamingResponseChunk) -> OpenRouterError:
        raw = chunk.raw
        return error_from_body(
            raw, self._feed.http, wall=time.time(), error=find_error(raw)
        )

    def _fail(self, error: OpenRouterError) -> OpenRouterError:
        """Note why it ended, let go of everything, and return the error to raise."""
        with_exchange(error, self._feed.http)
        if error.partial is None:
            error.partial = self.partial
        # The caller has seen a part of it: nobody sends this again for him.
        error.retryable = False
        self._failure = error
        closed = isinstance(error, ClosedError)
        self._leave("closed" if closed else "error", None if closed else error)
        return error

    def _leave(self, outcome: Outcome, error: OpenRouterError | None = None) -> None:
        if self._failure is None:
            self._failure = ClosedError(
                "The stream was closed when its reader was cancelled.",
                http=self._feed.http,
            )
        self._events = []
        self._feed.end(outcome, error)

    async def _finish(self) -> None:
        """End it well."""
        if not self._done:
            failure = self._feed.failure
            if failure is not None and not (
                self._finished and not isinstance(failure, ClosedError)
            ):
                # It was ended, and that was told, before all of this was read.
                raise self._fail(failure)
            self._done = True
            self._events = []
            await self._feed.finish()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if isinstance(exc, asyncio.CancelledError) and not self._feed.ended:
            self._leave("cancelled")
        await self.aclose()

    def __repr__(self) -> str:
        state = "ended" if self._done else "closed" if self._feed.ended else "open"
        return f"<ChatStream {state} {self._feed.http.generation_id}>"

    def __del__(self) -> None:
        feed = getattr(self, "_feed", None)
        if feed is None or feed.ended:
            return
        # The garbage collector may run in any thread, and after the loop.
        with suppress(RuntimeError):
            feed.loop.call_soon_threadsafe(
                feed.close, ClosedError("The stream was garbage collected.")
            )
        # Last, because a warning may be turned into an exception.
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
    A stream that is asked for: `await` it, or enter it with `async with`.

    A coroutine like any other: it can be a task's.
    """

    __slots__ = ("_opening", "_stream")

    def __init__(self, opening: Coroutine[Any, Any, S]) -> None:
        self._opening = opening
        self._stream: S | None = None

    def __await__(self) -> Generator[Any, Any, S]:
        return self._opening.__await__()

    def send(self, value: Any) -> Any:
        """Go on, as a task does."""
        return self._opening.send(value)

    def throw(self, *args: Any) -> Any:
        """Raise inside, as a task does."""
        return self._opening.throw(*args)

    def close(self) -> None:
        """Give it up before it has begun or while it waits."""
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

    # The annotation lets type checkers refuse the loop as well; NoReturn would not.
    def __aiter__(self) -> None:
        self._opening.close()
        raise TypeError(
            "send(stream=True) is not iterated directly: "
            "async with client.chat.send(..., stream=True) as stream: "
            "async for chunk in stream: ..."
        )
