"""What a call came to."""

from typing import Generic, TypeVar

from attrs import define

from ..protocol.stream_state import StreamState
from ..types import Exchange
from .event_stream import EventStream

T = TypeVar("T")


@define(eq=False, repr=False)
class Answer(Generic[T]):
    """
    A whole reply, or a stream that is open.

    Attributes:
        http: What happened on the wire.
        value: The parsed reply; None if it is a stream.
        feed: The open stream; None if it is a whole reply.
        state: The stream's, after its first event.
    """

    http: Exchange
    value: T | None = None
    feed: EventStream | None = None
    state: StreamState | None = None
