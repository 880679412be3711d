"""ChunkWriter: the chunks of a chat stream -> the bytes of a relay. Pure."""

from collections.abc import Callable

from ..protocol.templates import ChunkRun
from ..tools.events import (
    EventBuilder,
    ReasoningDelta,
    TextDelta,
    ToolEvent,
    TurnFinished,
)
from ..types import ChatResponse, ChatStreamingResponseChunk
from .relay_formats import RelayFormat


class ChunkWriter:
    """
    Writes the chunks of one chat stream, which is one turn, in a format.

    A format gets events, or the chunks themselves if it has a method `chunk`. The
    formats of this package have a method `run` as well, which returns the same bytes
    for many chunks in one step.
    """

    __slots__ = ("_buffer", "_builder", "_chunk_bytes", "_event_bytes", "_run_bytes")

    def __init__(self, format: RelayFormat, buffer: bytearray) -> None:  # noqa: A002 - the name of the relay's parameter
        """
        Prepare for the first chunk.

        Args:
            format: The format.
            buffer: The bytes are added here, also those before an exception.
        """
        self._buffer = buffer
        self._builder = EventBuilder(1)
        self._event_bytes: Callable[[ToolEvent], bytes] = format.event
        self._chunk_bytes: Callable[[ChatStreamingResponseChunk], bytes] | None
        self._chunk_bytes = getattr(format, "chunk", None)
        self._run_bytes: Callable[[ChunkRun], bytes | None] | None = None
        # A subclass may have changed the bytes of single events or chunks.
        if "run" in vars(type(format)):
            self._run_bytes = getattr(format, "run")  # noqa: B009 - not in the protocol

    def write(self, run: ChatStreamingResponseChunk | ChunkRun) -> None:
        """Add the bytes of a chunk, or of many."""
        if not isinstance(run, ChunkRun):
            self._write_chunk(run)
            return
        if self._run_bytes is not None:
            data = self._run_bytes(run)
            if data is not None:
                self._buffer += data
                return
        kind = run.template.kind
        if self._chunk_bytes is None and kind is not None:
            # The chunks need not be created for these events.
            event = TextDelta if kind == "text" else ReasoningDelta
            for text in filter(None, run.texts):
                self._buffer += self._event_bytes(event(text, 1))
            return
        for chunk in run.make_chunks():
            self._write_chunk(chunk)

    def _write_chunk(self, chunk: ChatStreamingResponseChunk) -> None:
        if self._chunk_bytes is not None:
            self._buffer += self._chunk_bytes(chunk)
            return
        for event in self._builder.feed(chunk):
            self._buffer += self._event_bytes(event)

    def finish(self, response: ChatResponse) -> None:
        """Add the events of the end of the turn."""
        if self._chunk_bytes is not None:
            return
        for event in self._builder.finish(response.tool_calls):
            self._buffer += self._event_bytes(event)
        self._buffer += self._event_bytes(TurnFinished(1, response))
