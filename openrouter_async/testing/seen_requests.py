"""What the local server has seen, and waiting until it has seen enough."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from threading import Lock
from typing import Any, cast

from attrs import define, field, frozen
from multidict import CIMultiDict, CIMultiDictProxy, MultiDict, MultiMapping


def _no_headers() -> CIMultiDictProxy[str]:
    return CIMultiDictProxy(CIMultiDict[str]())


@define(eq=False)
class SeenRequest:
    """
    A request as it came in, and what became of it.

    Times are seconds of the server's event loop, which are those of
    `time.monotonic()`: they can be compared across threads.

    Attributes:
        path: From the slash of the origin on, without the query.
        query: The query's parameters, a multidict: `["id"]`, `.getall("id")`.
        headers: Case-insensitive.
        body: The bytes.
        json: The body's JSON; None where it is none.
        time: When it was there, headers and body.
        connection: Which connection it came on: the same number, the same socket.
        generation_id: The id of the answer, as in `X-Generation-Id`.
        status: The status of the answer; None until it is sent.
        chunks: How many events of a stream were written; `[DONE]` is none.
        closed: When it was over, whatever the way; None until then.
        closed_early: Whether the client went away before the reply's end.
    """

    method: str
    path: str
    time: float
    connection: int
    query: MultiMapping[str] = field(factory=MultiDict[str])
    headers: CIMultiDictProxy[str] = field(factory=_no_headers)
    body: bytes = field(default=b"", repr=False)
    json: Any = field(default=None, repr=False)
    generation_id: str = ""
    status: int | None = None
    chunks: int = 0
    closed: float | None = None
    closed_early: bool = False

    @property
    def fields(self) -> Mapping[str, Any]:
        """The body's JSON object; an empty one where there is none."""
        return an_object(self.json)

    @property
    def model(self) -> str:
        """The model asked for, or the first of several; "" for none."""
        models = self.fields.get("models")
        return str(self.fields.get("model") or (models[0] if models else ""))

    @property
    def stream(self) -> bool:
        """Whether a stream was asked for."""
        return self.fields.get("stream") is True

    @property
    def prompt(self) -> str:
        """The text of the user's last message; "" if there is none."""
        return last_text(self.fields.get("messages"), "user")


def an_object(value: object) -> dict[str, Any]:
    """Take a JSON object; an empty one for anything else."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def a_list(value: object) -> Sequence[Any]:
    """Take a JSON list; an empty one for anything else."""
    return cast("Sequence[Any]", value) if isinstance(value, list) else ()


def last_text(messages: object, role: str) -> str:
    """Tell the text of the last message of a role; "" if there is none."""
    for entry in reversed([an_object(message) for message in a_list(messages)]):
        if entry.get("role") == role:
            return text_of(entry.get("content"))
    return ""


def text_of(content: object) -> str:
    """Tell the text of a message's content, a string or parts."""
    if isinstance(content, str):
        return content
    parts = [an_object(part).get("text") for part in a_list(content)]
    return " ".join(part for part in parts if isinstance(part, str))


@frozen
class ServerStats:
    """
    The server's counters at one moment.

    Attributes:
        requests: Requests that arrived.
        in_flight: Requests not yet answered to the end.
        in_flight_peak: The most of them at one time.
        closed_early: Requests whose client went away before the reply's end.
        chunks: Events written, over all streams.
        connections_open: Sockets open now, idle ones included.
        connections_made: Sockets ever accepted.
        cost: US dollars that the answers cost, by their own `usage`.
    """

    requests: int
    in_flight: int
    in_flight_peak: int
    closed_early: int
    chunks: int
    connections_open: int
    connections_made: int
    cost: float


class ServerCounters:
    """
    The counters behind `ServerStats`, and those who wait for them.

    They are written on the server's loop and may be awaited from any other thread.
    """

    def __init__(self) -> None:
        self.requests = 0
        self.in_flight = 0
        self.in_flight_peak = 0
        self.closed_early = 0
        self.chunks = 0
        self.connections_open = 0
        self.connections_made = 0
        self.cost = 0.0
        self._lock = Lock()
        self._waiting: dict[Future[None], Callable[[], bool]] = {}

    def stats(self) -> ServerStats:
        """Take a snapshot."""
        return ServerStats(
            requests=self.requests,
            in_flight=self.in_flight,
            in_flight_peak=self.in_flight_peak,
            closed_early=self.closed_early,
            chunks=self.chunks,
            connections_open=self.connections_open,
            connections_made=self.connections_made,
            cost=self.cost,
        )

    def forget(self) -> None:
        """Start counting anew; what is open or in flight stays counted."""
        self.requests = self.closed_early = self.chunks = self.connections_made = 0
        self.in_flight_peak = self.in_flight
        self.cost = 0.0

    def changed(self) -> None:
        """Wake those whose wish has come true."""
        if not self._waiting:
            return
        with self._lock:
            for future, reached in list(self._waiting.items()):
                if reached():
                    del self._waiting[future]
                    # False: whoever waited has given up.
                    if future.set_running_or_notify_cancel():
                        future.set_result(None)

    async def until(self, wish: "Condition", seconds: float) -> None:
        """Wait on the caller's own event loop, whichever thread that runs in."""
        future = self._enter(wish)
        try:
            async with asyncio.timeout(seconds):
                await asyncio.wrap_future(future)
        except TimeoutError as error:
            raise TimeoutError(wish.complaint(self, seconds)) from error
        finally:
            self._leave(future)

    def wait(self, wish: "Condition", seconds: float) -> None:
        """Block the caller's thread; never to be called on the server's loop."""
        future = self._enter(wish)
        try:
            future.result(seconds)
        except FutureTimeoutError as error:
            raise TimeoutError(wish.complaint(self, seconds)) from error
        finally:
            self._leave(future)

    def _enter(self, wish: "Condition") -> "Future[None]":
        future: Future[None] = Future()
        with self._lock:
            self._waiting[future] = lambda: wish.reached(self)
        # It may have come true before anybody could be woken.
        self.changed()
        return future

    def _leave(self, future: "Future[None]") -> None:
        with self._lock:
            self._waiting.pop(future, None)


@frozen
class Condition:
    """
    What somebody waits for; None asks for nothing.

    Attributes:
        requests: At least so many requests arrived.
        chunks: At least so many events were written.
        closed: At least so many clients went away early.
        connections: At most so many sockets are open.
    """

    requests: int | None = None
    chunks: int | None = None
    closed: int | None = None
    connections: int | None = None

    def reached(self, tally: ServerCounters) -> bool:
        """Tell whether all of it is true."""
        return (
            (self.requests is None or tally.requests >= self.requests)
            and (self.chunks is None or tally.chunks >= self.chunks)
            and (self.closed is None or tally.closed_early >= self.closed)
            and (self.connections is None or tally.connections_open <= self.connections)
        )

    def complaint(self, tally: ServerCounters, seconds: float) -> str:
        """Tell what was waited for, and what there is."""
        pairs = (
            ("requests", self.requests, tally.requests),
            ("chunks", self.chunks, tally.chunks),
            ("closed early", self.closed, tally.closed_early),
            ("connections at most", self.connections, tally.connections_open),
        )
        wanted = ", ".join(f"{n} {name}" for name, n, _ in pairs if n is not None)
        there = ", ".join(f"{n} {name}" for name, _, n in pairs).replace(
            "at most", "open"
        )
        return f"Waited {seconds} s for {wanted}; there are {there}."
