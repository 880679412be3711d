"""Pump: the task that reads the source of a relay into its buffer."""

import asyncio
import logging
from collections.abc import Callable, Generator, Mapping
from contextlib import suppress
from typing import Any, Final, Literal, Self

from attrs import field, frozen

from ..errors import APIError, ClosedError, OpenRouterError
from ..protocol.call import Outcome
from ..stream import ChatStream, PendingStream
from ..tools.tool_run import ToolStream
from ..types import ChatResponse
from ..types.shape import Value
from .chunk_writer import ChunkWriter
from .public_errors import PublicError, public_error, reader_timeout_error
from .relay_formats import RelayFormat

logger = logging.getLogger("openrouter_async")

Source = PendingStream[Any] | ChatStream | ToolStream[Any]
"""A stream that is not open yet, an open one, or a run of tools."""

KEEP_ALIVE: Final = b": keep-alive\n\n"

# As much as a socket's buffer: enough that the upstream is read in large pieces, and
# small enough for thousands of slow readers.
_BUFFER_BYTES: Final = 64 * 1024


@frozen(eq=False, repr=False)
class RelayResult(Value):
    """
    The end of a relay, as passed to `on_end`.

    Attributes:
        outcome: "ok", "error" (the source raised `error`), "closed" (the relay was
            closed or dropped, or its reader was too slow) or "cancelled" (the task
            that read the relay was cancelled, because the client disconnected).
        error: The exception; None unless the outcome is "error".
        response: The response: whole, or the part that was received. In a run of
            tools, that of the last turn. None if nothing was received.
    """

    outcome: Outcome
    error: BaseException | None
    response: ChatResponse | None = field(repr=False)


@frozen
class RelayOptions:
    """The options of a relay; the docstring of `Relay` describes them."""

    heartbeat: float | None
    reader_timeout: float | None
    usage: Callable[[ChatResponse], Mapping[str, Any]] | None
    on_error: Callable[[BaseException], PublicError]
    on_end: Callable[[RelayResult], object] | None


class Pump:
    """
    Reads the source of one relay and holds the bytes that its reader has not taken.

    One task reads the source. It is cancelled to close the source, whatever the task
    waits for: the opening of the stream, the next chunk, or space in the buffer. The
    pump does not refer to its `Relay`, so that a relay can be garbage-collected, and
    then stops its pump.

    Attributes:
        loop: The event loop of the task; before it starts, the loop that the relay was
            created on, if there was one.
        task: The task; None before it starts.
        ended: True once `on_end` was called.
    """

    __slots__ = (
        "_begun",
        "_buffer",
        "_failure",
        "_format",
        "_last_write",
        "_opened",
        "_opening_waiters",
        "_options",
        "_reader",
        "_source",
        "_space",
        "_stopped",
        "_timer",
        "_waiting_since",
        "ended",
        "loop",
        "task",
    )

    def __init__(
        self,
        source: Source,
        format: RelayFormat,  # noqa: A002 - the name of the relay's parameter
        options: RelayOptions,
        loop: asyncio.AbstractEventLoop | None,
    ) -> None:
        self.loop = loop
        self.task: asyncio.Task[None] | None = None
        self.ended = False
        self._source: Source = source
        self._format = format
        self._options = options
        self._buffer = bytearray()
        # What the reader gets after the buffer, if the format cannot express errors.
        self._failure: BaseException | None = None
        self._stopped: Literal["closed", "cancelled"] | None = None
        self._begun = False
        self._reader: asyncio.Future[None] | None = None
        self._space: asyncio.Future[None] | None = None
        self._opened: asyncio.Future[BaseException | None] | None = None
        self._opening_waiters = 0
        self._timer: asyncio.TimerHandle | None = None
        # When bytes were last added, and since when any wait for the reader.
        self._last_write = 0.0
        self._waiting_since: float | None = None

    # For the reader.

    def start(self) -> Self:
        """Start the task, unless it was started or stopped before."""
        if self.task is None and not self.ended:
            self.loop = asyncio.get_running_loop()
            self._opened = self.loop.create_future()
            self._last_write = self.loop.time()
            self.task = self.loop.create_task(self._run())
            self.task.add_done_callback(self._task_ended)
            if self._timeouts():
                self._tick()
        return self

    async def read(self) -> bytes:
        """
        Wait for bytes and return all there are; none at the end.

        Raises:
            BaseException: The exception of the source, once, if the format cannot
                express it.
        """
        while not self._buffer:
            if self.ended:
                failure, self._failure = self._failure, None
                if failure is not None:
                    raise failure
                return b""
            self._reader = asyncio.get_running_loop().create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        data = bytes(self._buffer)
        self._buffer.clear()
        self._waiting_since = None
        if self._space is not None:
            _wake(self._space)
        return data

    async def wait_open(self, seconds: float) -> None:
        """
        Wait until the source is open, but not longer than some seconds.

        Raises:
            BaseException: If opening it has failed by then.
        """
        opened = self.start()._opened  # noqa: SLF001 - of this class
        if opened is None:
            return
        self._opening_waiters += 1
        try:
            await asyncio.wait([opened], timeout=seconds)
        finally:
            self._opening_waiters -= 1
        error = opened.result() if opened.done() else None
        if error is not None:
            raise error

    # Stopping.

    def stop(self, outcome: Literal["closed", "cancelled"]) -> None:
        """
        Close the source and drop what was not read, in the thread of the loop.

        Args:
            outcome: The outcome to report.
        """
        if self.ended:
            self._buffer.clear()
        elif self._stopped is None:
            self._stopped = outcome
            self._buffer.clear()
            self._cancel_timer()
            if self.task is None or self.task.get_loop().is_closed():
                self._discard()
            else:
                self.task.cancel()

    def stop_threadsafe(self) -> None:
        """Close the source, from any thread, or without a running loop."""
        if self.loop is None:
            self.stop("closed")
            return
        try:
            self.loop.call_soon_threadsafe(self.stop, "closed")
        except RuntimeError:
            # The loop is closed, and its connections with it.
            self.stop("closed")

    def wait(self) -> Generator[Any, Any, None]:
        """Wait until the task has ended, if that is possible here."""
        task = self.task
        if (
            task is not None
            and asyncio.get_running_loop() is self.loop
            and asyncio.current_task() is not task
        ):
            yield from asyncio.wait([task]).__await__()

    def _discard(self) -> None:
        """Close a source that was never used."""
        source = self._source
        if isinstance(source, PendingStream):
            source.close()
        elif self.loop is None or not self.loop.is_closed():
            # It does not suspend, because nothing waits for this source.
            with suppress(StopIteration):
                source.aclose().send(None)
        self._end(self._stopped or "cancelled", None)

    def _task_ended(self, _task: "asyncio.Task[None]") -> None:
        # A task that is cancelled before its first step runs none of its code.
        if not self._begun:
            self._discard()

    # The task.

    async def _run(self) -> None:
        self._begun = True
        error: Exception | None = None
        outcome: Outcome = "cancelled"
        try:
            if self.beats:
                # The client gets the headers and a first byte before the first event.
                self._write(KEEP_ALIVE)
            self._write(self._format.begin())
            await self._forward()
            outcome = "ok"
        except asyncio.CancelledError:
            outcome = self._stopped or "cancelled"
            raise
        except Exception as raised:  # noqa: BLE001 - it is reported
            error = raised
            outcome = "closed" if isinstance(raised, ClosedError) else "error"
            self._fail(raised)
        finally:
            try:
                if not isinstance(self._source, PendingStream):
                    await self._source.aclose()
            finally:
                self._end(outcome, error)

    async def _forward(self) -> None:
        source = self._source
        if isinstance(source, PendingStream):
            source = self._source = await source
        if isinstance(source, ChatStream):
            self._set_opened(None)
            await self._forward_chunks(source)
        else:
            await self._forward_events(source)
            # A run without an event has been opened all the same.
            self._set_opened(None)
        self._write(self._format.end(source.response, self._usage(source.response)))

    async def _forward_chunks(self, stream: ChatStream) -> None:
        buffer = self._buffer
        writer = ChunkWriter(self._format, buffer)
        while runs := await stream.read_runs():
            before = len(buffer)
            try:
                for run in runs:
                    writer.write(run)
            finally:
                # An error does not overtake the chunks before it.
                if len(buffer) > before:
                    self._notify()
            if len(buffer) >= _BUFFER_BYTES:
                await self._wait_for_space()
        writer.finish(stream.response)
        if buffer:
            self._notify()

    async def _forward_events(self, run: ToolStream[Any]) -> None:
        event_bytes = self._format.event
        async for event in run:
            self._set_opened(None)
            self._write(event_bytes(event))
            if len(self._buffer) >= _BUFFER_BYTES:
                await self._wait_for_space()

    def _write(self, data: bytes) -> None:
        if data:
            self._buffer += data
            self._notify()

    def _notify(self) -> None:
        """Note that bytes were added, and wake the reader."""
        self._last_write = asyncio.get_running_loop().time()
        if self._waiting_since is None:
            self._waiting_since = self._last_write
        _wake(self._reader)

    async def _wait_for_space(self) -> None:
        self._space = asyncio.get_running_loop().create_future()
        try:
            await self._space
        finally:
            self._space = None

    def _set_opened(self, error: BaseException | None) -> None:
        if self._opened is not None and not self._opened.done():
            self._opened.set_result(error)

    def _usage(self, response: ChatResponse) -> Mapping[str, Any] | None:
        if self._options.usage is None:
            return None
        try:
            return self._options.usage(response)
        except Exception:
            # The response is complete and paid for; it is not spoiled by its usage.
            logger.exception("usage= raised; the relay sends no usage.")
            return None

    def _fail(self, error: Exception) -> None:
        """Send the error, or leave it for the reader."""
        if self._opening_waiters == 0 or self._opened_successfully():
            _log(error)
        self._set_opened(error)
        try:
            described = self._options.on_error(error)
        except Exception:
            logger.exception("on_error= raised; the default is used.")
            described = public_error(error)
        self._send_error(described, error)

    def _opened_successfully(self) -> bool:
        return self._opened is not None and self._opened.done()

    def _send_error(self, described: PublicError, error: Exception) -> None:
        try:
            data = self._format.error(described)
        except Exception:
            logger.exception("The format of a relay raised; the error is not sent.")
            data = None
        if data is None:
            self._failure = error
        else:
            self._write(data)

    def _end(self, outcome: Outcome, error: Exception | None) -> None:
        """Report the end; called once."""
        self.ended = True
        self._cancel_timer()
        self._set_opened(None)
        _wake(self._reader)
        on_end = self._options.on_end
        if on_end is None:
            return
        failure = error if outcome == "error" else None
        try:
            on_end(RelayResult(outcome, failure, self._response(outcome, error)))
        except Exception:
            logger.exception("on_end= raised; the relay itself is not affected.")

    def _response(
        self, outcome: Outcome, error: Exception | None
    ) -> ChatResponse | None:
        source = self._source
        if outcome == "ok" and not isinstance(source, PendingStream):
            return source.response
        if isinstance(error, OpenRouterError) and error.partial is not None:
            return error.partial
        return None if isinstance(source, PendingStream) else source.partial

    # The timer: one for the heartbeat and for the reader's timeout.

    @property
    def beats(self) -> bool:
        """True if the format allows comments between events."""
        content_type = self._format.headers.get("Content-Type", "")
        return content_type.lower().startswith("text/event-stream")

    def _timeouts(self) -> bool:
        options = self._options
        return options.reader_timeout is not None or (
            options.heartbeat is not None and self.beats
        )

    def _tick(self) -> None:
        """Do what is due, and come back when the next may be due."""
        assert self.loop is not None
        now = self.loop.time()
        options = self._options
        dues: list[float] = []
        if options.reader_timeout is not None:
            since = now if self._waiting_since is None else self._waiting_since
            due = since + options.reader_timeout
            if due <= now:
                self._give_up()
                return
            dues.append(due)
        if options.heartbeat is not None and self.beats:
            if self._last_write + options.heartbeat <= now:
                if self._buffer:
                    # The reader has something to send already.
                    self._last_write = now
                else:
                    self._write(KEEP_ALIVE)
            dues.append(self._last_write + options.heartbeat)
        self._timer = self.loop.call_at(min(dues), self._tick)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _give_up(self) -> None:
        """Close the source, because its reader is too slow; tell it why."""
        assert self.task is not None
        self._stopped = "closed"
        logger.warning(
            "A relay was closed: its reader took no data for %g s.",
            self._options.reader_timeout,
        )
        self._send_error(
            reader_timeout_error(),
            TimeoutError(
                "The reader of the relay took no data for "
                f"{self._options.reader_timeout:g} s."
            ),
        )
        self.task.cancel()


def _wake(future: "asyncio.Future[None] | None") -> None:
    if future is not None and not future.done():
        future.set_result(None)


def _log(error: Exception) -> None:
    """Write one line, without the text of the exception, which may quote a response."""
    if isinstance(error, OpenRouterError):
        status = error.status_code if isinstance(error, APIError) else None
        logger.warning(
            "The source of a relay failed: %s, status %s, generation %s.",
            type(error).__name__,
            status,
            error.generation_id,
        )
    else:
        # A tool, a format or a setting of the program failed; the traceback helps.
        logger.warning("The source of a relay failed.", exc_info=error)
