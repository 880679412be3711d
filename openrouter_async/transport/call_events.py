"""Dispatches the events of calls to those who observe them."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any

from ..errors import ClosedError, OpenRouterError
from ..protocol.call import Call, CallRecord, Outcome
from ..protocol.response_parsing import usage_of
from ..types import Exchange

logger = logging.getLogger("openrouter_async")


class CallEvents:
    """
    Passes the events of all calls of a client to its observers.

    An exception that an observer raises is logged. It reaches neither the call nor the
    other observers.

    Attributes:
        now: Returns the time.
        observed: True if there is an observer.
    """

    __slots__ = ("_observers", "now", "observed")

    def __init__(
        self,
        observers: Mapping[str, Callable[[CallRecord], object]],
        now: Callable[[], float],
    ) -> None:
        """
        Dispatch to these observers.

        Args:
            observers: Called with the record of each call when it is over, by the name
                that the log uses for them.
            now: Returns the time.
        """
        self._observers = observers
        self.observed = bool(observers)
        self.now = now

    def begin(self, call: Call[Any]) -> "CallReport":
        """Return the report of a call that begins now."""
        return CallReport(self, call)

    def ended(self, record: CallRecord) -> None:
        """Pass the record of a call that is over to each observer."""
        for name, observer in self._observers.items():
            try:
                observer(record)
            except Exception:
                logger.exception("%s raised; the call itself is not affected.", name)


class CallReport:
    """
    One call in progress, as its observers see it.

    Attributes:
        http: The exchange, filled in while the call is in progress.
    """

    __slots__ = ("_events", "_model", "_started", "_stream", "http")

    def __init__(self, events: CallEvents, call: Call[Any]) -> None:
        self._events = events
        # Not the call itself: an open stream need not keep the body of its request.
        self._model = call.model
        self._stream = call.stream
        self._started = events.now()
        self.http = Exchange()

    def fail(self, error: BaseException) -> None:
        """
        Report the end of a call that raised.

        Args:
            error: The exception. It may be any: a key function of the caller may raise
                what it likes.
        """
        partial = error.partial if isinstance(error, OpenRouterError) else None
        self.end(error, lambda: partial)

    def end(self, error: BaseException | None, response: Callable[[], object]) -> None:
        """
        Report the end of the call; to be called exactly once.

        Args:
            error: The exception that ended it; None if it succeeded.
            response: Returns what was received. It is called only if there is an
                observer: accumulating a long stream takes time.
        """
        self.http.timings.total = self._events.now() - self._started
        if not self._events.observed:
            return
        outcome = _outcome(error)
        failure = error if isinstance(error, OpenRouterError) else None
        self._events.ended(
            CallRecord(
                model=self._model,
                stream=self._stream,
                outcome=outcome,
                error=failure if outcome == "error" else None,
                http=self.http,
                usage=usage_of(response()),
            )
        )


def _outcome(error: BaseException | None) -> Outcome:
    if error is None:
        return "ok"
    if isinstance(error, asyncio.CancelledError):
        return "cancelled"
    return "closed" if isinstance(error, ClosedError) else "error"
