"""Dispatches the events of calls to those who observe them."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager
from types import MappingProxyType, TracebackType
from typing import Any, Final, Protocol, TypeVar

from ..errors import ClosedError, OpenRouterError
from ..protocol.call import Call, CallAccount, CallRecord, Outcome
from ..protocol.encode import encode
from ..protocol.response_parsing import raw_usage, usage_of
from ..protocol.stream_state import StreamState
from ..protocol.usage_sums import cost_in, total_cost
from ..types import ChatResponse, Exchange
from .usage_meter import (
    MAX_PENDING,
    OddCall,
    UnknownCall,
    UsageMeter,
    unknown_ids,
)

T = TypeVar("T")

logger = logging.getLogger("openrouter_async")

_RAISED: Final = "%s raised; the call itself is not affected."


class CallInfo:
    """
    A call that begins, as an observer sees it.

    Attributes:
        model: The requested model; None if the request named none.
        stream: If True, a stream is requested.
        host: Host of the server.
        port: Port of the server.
        body: The request, as a read-only view: fields may be objects such as
            `UserMessage`. None if the call has no JSON object as its body.
    """

    __slots__ = ("_call", "body", "host", "model", "port", "stream")

    def __init__(self, call: Call[Any]) -> None:
        self._call = call
        self.model = call.model
        self.stream = call.stream
        self.host, self.port = call.base_url.origin[1:]
        request = call.request
        self.body: Mapping[str, Any] | None = (
            MappingProxyType(request) if request.__class__ is dict else None
        )

    def add_to_body(self, members: Mapping[str, Any]) -> None:
        """
        Add members to the JSON object that is sent, or replace them in it.

        It has an effect only while `call_started` runs.

        Args:
            members: The members, such as the ids of a trace.
        """
        self._call.body = encode({**(self.body or {}), **members})

    def __repr__(self) -> str:
        return f"<CallInfo {self.model} {self.host}:{self.port}>"


class CallObservation(Protocol):
    """The part of an observer that is about one call."""

    @property
    def chunk(self) -> Callable[[], object] | None:
        """A function to call for each chunk after the first; None if not needed."""
        ...

    def active(self) -> AbstractContextManager[object]:
        """Return the context in which all attempts run, in the task of the call."""
        ...

    def first_chunk(self) -> None:
        """Note that the first event of a stream is here."""
        ...

    def finished(self, record: CallRecord, response: ChatResponse | None) -> None:
        """
        Note the end of the call. It is called once, in any task.

        Args:
            record: The outcome, attempts and timings.
            response: The response, or the part that was received; None if nothing was.
        """
        ...


class CallObserver(Protocol):
    """The part of an observer that is about calls."""

    def call_started(self, call: CallInfo) -> CallObservation | None:
        """
        Note the start of a call, in the caller's task, before it waits for a slot.

        Returns:
            The observation of this call; None if the observer ignores it.
        """
        ...


class CallEvents:
    """
    Passes the events of all calls of a client to its observers.

    An exception that an observer raises is logged. It reaches neither the call nor the
    other observers.

    Attributes:
        now: Returns the time.
        observed: True if there is an observer of finished calls.
        meter: Counts what calls use and cost.
    """

    __slots__ = ("_observer", "_observers", "meter", "now", "observed")

    def __init__(
        self,
        observers: Mapping[str, Callable[[CallRecord], object]],
        now: Callable[[], float],
        observer: CallObserver | None = None,
        meter: UsageMeter | None = None,
    ) -> None:
        """
        Dispatch to these observers.

        Args:
            observers: Called with the record of each call when it is over, by the name
                that the log uses for them.
            now: Returns the time.
            observer: Gets the start of each call too, and what happens in between.
            meter: Counts what calls use; None for a new one.
        """
        self.meter = meter or UsageMeter()
        self._observers = observers
        self._observer = observer
        self.observed = bool(observers)
        self.now = now

    def begin(self, call: Call[Any]) -> "CallReport":
        """Return the report of a call that begins now."""
        if self._observer is None:
            return CallReport(self, call, None)
        observation = None
        try:
            observation = self._observer.call_started(CallInfo(call))
        except Exception:
            logger.exception(_RAISED, "observer.call_started")
        return CallReport(self, call, observation)

    def ended(self, record: CallRecord) -> None:
        """Pass the record of a call that is over to each observer."""
        for name, observer in self._observers.items():
            try:
                observer(record)
            except Exception:
                logger.exception(_RAISED, name)


class CallReport:
    """
    One call in progress, as its observers see it.

    Attributes:
        http: The exchange, filled in while the call is in progress.
        observation: The observation of the call; None if no observer wants to know
            what happens before its end.
        reservation: The money that is reserved for the call; None without a budget.
    """

    __slots__ = (
        "_account",
        "_earlier",
        "_events",
        "_model",
        "_started",
        "_stream",
        "http",
        "observation",
        "reservation",
    )

    def __init__(
        self, events: CallEvents, call: Call[Any], observation: CallObservation | None
    ) -> None:
        self._events = events
        # Not the call itself: an open stream need not keep the body of its request.
        self._model = call.model
        self._stream = call.stream
        self._account = call.account
        # The `usage` objects of failed attempts.
        self._earlier: tuple[dict[str, Any], ...] = ()
        self.observation = observation
        self.reservation = call.reservation
        self._started = events.now()
        self.http = Exchange()

    async def run(self, attempts: Awaitable[T]) -> T:
        """Return the result of all attempts, which run in the observer's context."""
        with LoggedContext(self.observation, "observer.active"):
            return await attempts

    @staticmethod
    def first_chunk(observation: CallObservation) -> Callable[[], object] | None:
        """Report the first event of a stream; return what to call for the others."""
        chunk = None
        try:
            observation.first_chunk()
            chunk = observation.chunk
        except Exception:
            logger.exception(_RAISED, "observer.first_chunk")
        return None if chunk is None else _Guarded(chunk)

    def retried(self, error: OpenRouterError) -> None:
        """
        Note a failed attempt that is made again, and what it cost.

        A failure inside a response may have a cost although such failures are usually
        not billed. One that is billed "maybe" is looked up instead.
        """
        usage = raw_usage(error.partial)
        if cost_in(usage) and self.http.attempts[-1].billing != "maybe":
            self._earlier += (usage,)

    def fail(self, error: BaseException) -> None:
        """
        Report the end of a call that raised.

        Args:
            error: The exception. It may be any: a key function of the caller may raise
                what it likes.
        """
        partial = error.partial if isinstance(error, OpenRouterError) else None
        self.end(error, None, partial)

    def end(
        self,
        error: BaseException | None,
        response: Callable[[], object] | None,
        received: Any = None,
    ) -> None:
        """
        Report the end of the call; to be called exactly once.

        Args:
            error: The exception that ended it; None if it succeeded.
            response: Returns what was received, if that is not `received`. It is called
                only if there is an observer: accumulating a long stream takes time.
            received: The response, the part of it that arrived, or the state of the
                stream, for the usage.
        """
        events, http = self._events, self.http
        http.timings.total = events.now() - self._started
        account = self._account
        if account is not None:
            try:
                usage: Any = (
                    received.raw.get("usage")
                    if received.__class__ is ChatResponse
                    else None
                )
                # Nearly every call is one attempt that succeeds at a known cost.
                if (
                    error is None
                    and usage.__class__ is dict
                    and (cost := usage.get("cost")).__class__ is float
                    and cost >= 0.0
                    and len(http.attempts) == 1
                    and self.reservation is None
                ):
                    meter = events.meter
                    pending = meter.pending
                    pending.append((self._model, account.tag, usage))
                    if len(pending) >= MAX_PENDING:
                        meter.add_up()
                else:
                    self._count(account, error, received)
            except Exception:
                logger.exception(_RAISED, "client.usage")
        observation = self.observation
        if observation is None and not events.observed:
            return
        outcome = _outcome(error)
        failure = error if isinstance(error, OpenRouterError) else None
        if response is not None:
            received = response()
        record = CallRecord(
            model=self._model,
            stream=self._stream,
            outcome=outcome,
            error=failure if outcome == "error" else None,
            http=http,
            usage=usage_of(received),
        )
        if observation is not None:
            self.observation = None
            try:
                observation.finished(
                    record, received if isinstance(received, ChatResponse) else None
                )
            except Exception:
                logger.exception(_RAISED, "observer.finished")
        events.ended(record)

    def _count(
        self, account: CallAccount, error: BaseException | None, received: object
    ) -> None:
        """Settle the reservation, and count what the call used."""
        usage = raw_usage(received)
        cost = cost_in(usage)
        http, reservation = self.http, self.reservation
        is_chat = isinstance(received, ChatResponse | StreamState)
        unknown = unknown_ids(
            http,
            is_cost_known=cost is not None,
            is_chat=is_chat or error is not None,
        )
        earlier = self._earlier
        if reservation is not None:
            reservation.settle(total_cost(cost, earlier), len(unknown))
        self._events.meter.add(
            OddCall(
                self._model,
                account.tag,
                len(http.attempts),
                usage,
                earlier=earlier,
                unknown=len(unknown),
                lookups=[
                    UnknownCall(found, self._model, account, reservation)
                    for found in unknown
                    if found is not None
                ],
                is_failure=error is not None and _outcome(error) == "error",
            )
        )


class _Active(Protocol):
    def active(self) -> AbstractContextManager[object]: ...


class LoggedContext:
    """The context of an observation; exceptions that it raises are logged."""

    __slots__ = ("_context", "_name", "_observation")

    def __init__(self, observation: _Active | None, name: str) -> None:
        """
        Prepare the context, which the observation creates on entering.

        Args:
            observation: The observation; None if no observer wants one.
            name: The name that the log uses.
        """
        self._observation = observation
        self._name = name
        self._context: AbstractContextManager[object] | None = None

    def __enter__(self) -> None:
        try:
            if self._observation is not None:
                context = self._observation.active()
                context.__enter__()
                self._context = context
        except Exception:
            logger.exception(_RAISED, self._name)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        failure: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # What it returns is ignored: an observer must not suppress an exception.
        try:
            if self._context is not None:
                self._context.__exit__(kind, failure, trace)
        except Exception:
            logger.exception(_RAISED, self._name)


class _Guarded:
    """A function of an observer; the first exception is logged, and ends the calls."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[[], object]) -> None:
        self._function: Callable[[], object] | None = function

    def __call__(self) -> None:
        try:
            if self._function is not None:
                self._function()
        except Exception:
            # One line for a stream, not one for each of its chunks.
            self._function = None
            logger.exception(_RAISED, "observer.chunk")


def _outcome(error: BaseException | None) -> Outcome:
    if error is None:
        return "ok"
    if isinstance(error, asyncio.CancelledError):
        return "cancelled"
    return "closed" if isinstance(error, ClosedError) else "error"
