"""EventBuffer: bytes of a stream -> events that wait to be read, and their texts."""

from ..errors import MalformedResponseError
from ..sse import ReceivedEvent, SSEDecoder
from .stream_state import is_relevant, is_whole
from .templates import Template

# The number of events that were received with the one from which a template was learnt,
# and that it then tries to match in one step.
_BLOCK = 64


class EventBuffer:
    """
    The events of one stream that were received and not read yet.

    An event that the current template matches is kept as its text, which is all that
    was decoded of it.

    Attributes:
        template: The template for the next bytes, and for `texts`; None without one.
        texts: The texts of the next events; the first of them is last, so that `pop`
            is cheap.
        events: The events after them, in the same order.
    """

    __slots__ = ("_decoder", "events", "template", "texts")

    def __init__(self, limit_bytes: int) -> None:
        """Start without events; `limit_bytes` is the maximum size of one."""
        self._decoder = SSEDecoder(limit_bytes=limit_bytes, bare_json=True)
        self.template: Template | None = None
        self.texts: list[str] = []
        self.events: list[ReceivedEvent] = []

    def feed(self, data: bytes) -> bool:
        """
        Add received bytes, when all events before them were read.

        Returns:
            True if they complete an event that is about the response. Otherwise
            nothing is kept, because heartbeats must not end the wait.

        Raises:
            MalformedResponseError: As `SSEDecoder.feed` raises.
        """
        template = self.template
        if template is not None:
            decoder = self._decoder
            is_idle = decoder.is_idle
            if not is_idle and b"\n\n" in data:
                data = decoder.take_line() + data
                is_idle = decoder.is_idle
            if is_idle:
                text = template.match_event(data)
                if text is not None:
                    self.texts.append(text)
                    return True
                data = self._match_events(template, data)
        return self._feed_rest(data)

    def _match_events(self, template: Template, data: bytes) -> bytes:
        """Add the texts of the events that match, and return the bytes after them."""
        texts, length = template.match_events(data)
        texts.reverse()
        self.texts = texts
        return data[length:] if length else data

    def _feed_rest(self, data: bytes) -> bool:
        try:
            events = self._decoder.feed_data(data)
        except MalformedResponseError:
            # What was received before an event that is too large is returned first.
            # The decoder raises again at the next call.
            if not self.texts:
                raise
            events = []
        if not any(map(is_relevant, events)):
            return bool(self.texts)
        events.reverse()
        self.events = events
        return True

    def match_waiting(self, template: Template) -> bool:
        """
        Let a template match the events that wait.

        They were received together with the one that it was learnt from.

        Returns:
            True if it matches at least one.
        """
        datas: list[bytes] = []
        for event in reversed(self.events[-_BLOCK:]):
            if not isinstance(event, bytes):
                break
            datas.append(event)
        texts = template.match(datas)
        if not texts:
            return False
        del self.events[-len(texts) :]
        texts.reverse()
        self.texts = texts
        return True

    def end(self) -> bool:
        """
        Add the event that the end of the body left without its empty line.

        Returns:
            True if there is one, and it is complete.
        """
        self.events = [*filter(is_whole, self._decoder.end())]
        self.events.reverse()
        return bool(self.events)

    def clear(self) -> None:
        """Discard the events that were not read."""
        self.texts = []
        self.events = []
