"""
Incremental decoder for server-sent events; it does no I/O.

Source: WHATWG HTML 9.2.5, "Parsing an event stream", and 9.2.6, "Interpreting an
event stream".
"""

from typing import Final, TypeAlias

from attrs import define

from .errors import MalformedResponseError
from .types.shape import Shape

__all__ = ["SSEDecoder", "ServerSentEvent"]

_BOM: Final = b"\xef\xbb\xbf"
# 18 digits always fit in 64 bits; a `retry` line with more is ignored.
_MAX_RETRY_DIGITS: Final = 18


@define(eq=False, repr=False)
class ServerSentEvent(Shape):
    """
    One event of a stream.

    Attributes:
        event: Event type; "message" if the stream does not name one.
        data: The event's `data` lines, joined by line feeds.
        id: Last event id: the latest `id` line in this event or an earlier one.
        retry: Reconnection time in milliseconds; None if this event does not set it.
    """

    event: str = "message"
    data: str = ""
    id: str = ""
    retry: int | None = None


ReceivedEvent: TypeAlias = bytes | ServerSentEvent
"""An event without a name, as its undecoded data; or any event, decoded."""


class SSEDecoder:
    """
    Decoder that turns the bytes of one stream into events.

    The result does not depend on how the network splits the bytes. As the standard
    requires, an event without the empty line that ends it is discarded. The work is
    linear in the number of bytes, even if they arrive one at a time.

    Args:
        limit_bytes: Maximum size of an unfinished event in memory. Audio and images
            arrive as one line of several MB; without a limit, a server that never
            ends its line would fill the memory.
        bare_json: If True, JSON on lines of its own, without `data:`, becomes an event
            whose `event` is "". Some servers send an error in this way. The standard
            ignores such lines.

    Attributes:
        comments: Number of comment lines so far. Servers send them to keep the
            connection alive while there is no data.
        is_idle: True if nothing is pending: the next byte begins a line, and the next
            line begins an event.
    """

    __slots__ = (
        "_after_cr",
        "_bare",
        "_bare_json",
        "_data",
        "_event",
        "_failed",
        "_id",
        "_limit",
        "_retry",
        "_start",
        "_tail",
        "comments",
        "is_idle",
    )

    def __init__(
        self, limit_bytes: int = 64 * 1024 * 1024, *, bare_json: bool = False
    ) -> None:
        self.comments = 0
        # Not before the byte order mark was looked for.
        self.is_idle = False
        self._bare_json = bare_json
        # The lines of JSON without a field name.
        self._bare = bytearray()
        self._limit = limit_bytes
        self._failed = False
        # The first bytes, as long as they may be the start of a byte order mark.
        self._start: bytes | None = b""
        self._after_cr = False
        # The unfinished line.
        self._tail = bytearray()
        # The fields of the unfinished event.
        self._data = bytearray()
        self._event = ""
        self._retry: int | None = None
        self._id = ""

    def feed(self, data: bytes) -> list[ServerSentEvent]:
        """
        Feed received bytes and return the events they complete, in order.

        Raises:
            MalformedResponseError: If an unfinished event exceeds `limit_bytes`. The
                size is checked after each call. If the same bytes also complete
                events, those are returned and the next call raises. The decoder
                cannot be used after that: every later call raises, too.
        """
        last_id = self._id
        return [
            event
            if isinstance(event, ServerSentEvent)
            else ServerSentEvent("message", event.decode("utf-8", "replace"), last_id)
            for event in self.feed_data(data)
        ]

    def feed_data(self, data: bytes) -> list[ReceivedEvent]:
        """
        Feed received bytes and return the events they complete, as cheaply as possible.

        An event that is a single `data: ` line is returned as the bytes of its data, if
        nothing else than such events and comments precedes it in these bytes.

        Raises:
            MalformedResponseError: As `feed` raises.
        """
        # The usual case of a stream in production: one whole event in each read.
        if (
            self.is_idle
            and data.startswith(b"data: ")
            and data.endswith(b"\n\n")
            and data.find(b"\n", 6) == len(data) - 2
            and b"\r" not in data
        ):
            return [data[6:-2]]
        if self._failed:
            raise self._too_large()
        if self._start is not None:
            data = self._without_bom(data)
        if self._after_cr or b"\r" in data:
            data = self._with_line_feeds(data)

        events: list[ReceivedEvent] = []
        end = data.rfind(b"\n") + 1
        if end:
            if self._tail:
                end += len(self._tail)
                data = b"".join((self._tail, data))
                self._tail = bytearray()
            self._decode(data, end, events)
        if end < len(data):
            self._tail += data[end:] if end else data

        if len(self._tail) + len(self._data) + len(self._bare) > self._limit:
            self._failed = True
            self._tail = self._data = self._bare = bytearray()
            if not events:
                raise self._too_large()
        self.is_idle = not (
            self._tail
            or self._after_cr
            or self._failed
            or self._start is not None
            or self._is_inside_event()
        )
        return events

    def end(self) -> list[ServerSentEvent]:
        """
        Return the event that the end of the stream left without its empty line.

        The standard discards such an event, because it may be incomplete: the last
        line may have been cut off. It is for the caller to find out if it is whole.
        """
        events: list[ReceivedEvent] = []
        if not self._failed:
            line, self._tail = bytes(self._tail), bytearray()
            for part in (line, b"") if line else (b"",):
                self._process_line(part, events)
        return [event for event in events if isinstance(event, ServerSentEvent)]

    def take_line(self) -> bytes:
        """
        Return the unfinished line and forget it, if nothing else is pending.

        The decoder is idle then; the caller has to feed the line again, or whole events
        that begin with it, to another decoder.

        Returns:
            The line; b"" if the decoder is idle already, or if more is pending.
        """
        if (
            self._after_cr
            or self._failed
            or self._start is not None
            or self._is_inside_event()
        ):
            return b""
        line, self._tail = bytes(self._tail), bytearray()
        self.is_idle = True
        return line

    def _is_inside_event(self) -> bool:
        """Return True if a field of an unfinished event was received."""
        return bool(self._data or self._event or self._bare or self._retry is not None)

    def _too_large(self) -> MalformedResponseError:
        return MalformedResponseError(
            f"An event of the stream is larger than the limit of {self._limit} bytes."
        )

    def _without_bom(self, data: bytes) -> bytes:
        data = (self._start or b"") + data
        if len(data) < len(_BOM) and _BOM.startswith(data):
            self._start = data
            return b""
        self._start = None
        return data.removeprefix(_BOM)

    def _with_line_feeds(self, data: bytes) -> bytes:
        # CR, LF and CRLF all end a line (9.2.5). A CRLF split across two reads is one
        # line ending. The line was processed at the CR, so only the LF that follows
        # is dropped.
        if not data:
            return data
        split_crlf = self._after_cr and data.startswith(b"\n")
        self._after_cr = data.endswith(b"\r")
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        return data[1:] if split_crlf else data

    def _decode(self, data: bytes, end: int, events: list[ReceivedEvent]) -> None:
        """Process the complete lines before `end`; append finished events."""
        begin = 0
        is_between = not self._is_inside_event()
        if is_between and data.startswith(b":"):
            begin = self._skip_comments(data, end)
        # Fast path. Nearly every OpenRouter event is a single "data: " line. If that
        # holds for all complete events in these bytes, they are split in one step,
        # which takes a third of the time of going line by line. Counting the line
        # feeds proves it: there are no others than the two between events.
        if (
            is_between
            and data.startswith(b"data: ", begin)
            and (stop := data.rfind(b"\n\n", begin, end)) > 0
        ):
            text = data[begin + 6 : stop]
            lines = text.split(b"\n\ndata: ")
            if text.count(b"\n") == 2 * (len(lines) - 1):
                events += lines
                begin = stop + 2
        if begin < end:
            for line in data[begin : end - 1].split(b"\n"):
                self._process_line(line, events)

    def _skip_comments(self, data: bytes, end: int) -> int:
        """
        Count the comments that come before the next event; return where they end.

        OpenRouter sends comments until the model starts. They must not send the events
        that were received with them through the slow path.
        """
        begin = 0
        while begin < end:
            # Between events, an empty line has no effect.
            if data.startswith(b":", begin):
                self.comments += 1
            elif not data.startswith(b"\n", begin):
                break
            begin = data.index(b"\n", begin) + 1
        return begin

    def _process_line(self, line: bytes, events: list[ReceivedEvent]) -> None:
        if not line:
            self._dispatch(events)
            return
        name, _, value = line.partition(b":")
        if value.startswith(b" "):
            value = value[1:]
        if not name:
            self.comments += 1
        elif name == b"data":
            self._dispatch_bare(events)
            self._data += value
            self._data += b"\n"
        elif name == b"event":
            self._event = value.decode("utf-8", "replace")
        elif name == b"id":
            # The standard ignores an id that contains NULL (9.2.6).
            if b"\0" not in value:
                self._id = value.decode("utf-8", "replace")
        elif name == b"retry" and value.isdigit() and len(value) <= _MAX_RETRY_DIGITS:
            self._retry = int(value)
        elif self._bare_json:
            self._add_bare(line)

    def _dispatch(self, events: list[ReceivedEvent]) -> None:
        # A block without a `data` line is not dispatched (9.2.6); its event type and
        # reconnection time do not carry over to the next event.
        if self._data:
            data = self._data[:-1].decode("utf-8", "replace")
            kind = self._event or "message"
            events.append(ServerSentEvent(kind, data, self._id, self._retry))
            self._data = bytearray()
        self._event = ""
        self._retry = None
        self._dispatch_bare(events)

    def _add_bare(self, line: bytes) -> None:
        # JSON may be spread over several lines.
        if self._bare or line.lstrip()[:1] in (b"{", b"["):
            self._bare += line
            self._bare += b"\n"

    def _dispatch_bare(self, events: list[ReceivedEvent]) -> None:
        if not self._bare:
            return
        text = self._bare[:-1].decode("utf-8", "replace")
        self._bare = bytearray()
        events.append(ServerSentEvent("", text, self._id))
