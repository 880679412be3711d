"""What a call came to."""

from collections.abc import Sequence
from typing import Generic, TypeVar

from attrs import define

from ..sse import ServerSentEvent
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
        events: What has come of the stream so far, oldest first.
    """

    http: Exchange
    value: T | None = None
    feed: EventStream | None = None
    events: Sequence[ServerSentEvent] = ()
