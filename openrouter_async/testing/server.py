"""LocalOpenRouter: OpenRouter's chat API on a loopback port, for demos and tests."""

import asyncio
import inspect
import random
import ssl as tls
import threading
import time
from collections.abc import Iterable
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Self, Unpack

import attrs
import orjson
from aiohttp import web

from .builders import generation_id
from .capacity import Capacity
from .counters import Condition, ServerCounters, ServerStats
from .endpoints import ROOT, Account, Endpoints
from .listener import Listener
from .render import render
from .reply import (
    Answer,
    Reply,
    ReplyFields,
    as_reply,
)
from .reply_writer import ReplyWriter
from .scripts import Matcher, Script, Scripts
from .seen_requests import SeenRequest

# A prompt may hold videos; memory is the tester's own.
_MOST_BODY = 1024 * 1024 * 1024


class LocalOpenRouter:
    """
    A real HTTP server that speaks OpenRouter's chat protocol, for demos and tests.

    It answers any valid request sensibly and always alike, text, stream, tool calls,
    structured output and reasoning, unless a script says otherwise:

        async with LocalOpenRouter() as server:
            server.reply(error(429, retry_after=2)).then("Hello!")
            ...                     # a client of server.url gets a 429, then "Hello!"
            assert len(server.requests) == 2

    `async with` runs it on the running event loop. Plain `with` runs it on a thread
    and loop of its own, for synchronous tests and for tests of any async framework.
    Leaving closes every connection at once. One object serves once.

    Args:
        host: Where it listens.
        port: 0 takes a free one; `url` tells which.
        keys: The API keys that it accepts; None: any.
        models: The models that it knows, others are a 400; None: any.
        default: What is said when no script is left, a reply or what stands for one;
            None: its own answer. `Reply(between=0.05)` leaves the answer as it is and
            slows it down.
        paced: Seconds between the chunks of that; 0: all at once.
        generation_lag: How often `GET /generation` answers 404 before it knows.
        keep: How many requests are remembered, the latest. 10,000: more than a test
            looks at, and a long-running server does not grow.
        capacity: What it can bear before it refuses, and how fast it is.
        ssl: Serves HTTPS.
        seed: Of the ids; the same seed, the same 20 letters and digits.
    """

    # Of plain `with` only.
    _thread: threading.Thread
    _loop: asyncio.AbstractEventLoop
    _leave: asyncio.Event

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        keys: Iterable[str] | None = None,
        models: Iterable[str] | None = None,
        default: "Answer | Reply" = None,
        paced: float = 0,
        generation_lag: int = 1,
        keep: int = 10_000,
        capacity: Capacity | None = None,
        ssl: tls.SSLContext | None = None,
        seed: int | None = None,
    ) -> None:
        self.requests: list[SeenRequest] = []
        """Every request that arrived, oldest first."""
        self.app = web.Application(client_max_size=_MOST_BODY)
        """The application; run elsewhere it wants `handler_cancellation=True`."""
        self.app.router.add_route("*", "/{path:.*}", self._serve)
        self.capacity = capacity or Capacity()
        """What it can bear; may be changed while it runs."""
        self._desk = Endpoints(keys, models, Account(generation_lag, keep))
        self._default = as_reply(default)
        if paced:
            self._default = attrs.evolve(self._default, between=paced)
        self._host, self._port, self._ssl = host, port, ssl
        self._keep = keep
        self._chance = random.Random(seed)  # noqa: S311 - ids, no secrets
        self._tally = ServerCounters()
        self._scripts = Scripts()
        self._connections = Listener(self.app, self._tally)
        self._is_started = False

    # Lifetime.

    async def __aenter__(self) -> Self:
        await self._start()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._connections.close()

    def __enter__(self) -> Self:
        ready: Future[None] = Future()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._live(ready)),
            name="LocalOpenRouter",
            daemon=True,
        )
        self._thread.start()
        try:
            ready.result()
        except BaseException:
            self._thread.join()
            raise
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._leave.set)
        self._thread.join()

    async def _live(self, ready: "Future[None]") -> None:
        """Serve in a thread's own loop until `__exit__` says so."""
        try:
            await self._start()
        except BaseException as failure:  # noqa: BLE001 - raised in the other thread
            ready.set_exception(failure)
            return
        self._loop, self._leave = asyncio.get_running_loop(), asyncio.Event()
        ready.set_result(None)
        await self._leave.wait()
        await self._connections.close()

    async def _start(self) -> None:
        if self._is_started:
            raise RuntimeError("A LocalOpenRouter serves once; make another one.")
        self._is_started = True
        await self._connections.open(self._host, self._port, self._ssl)

    # What tests say.

    @property
    def url(self) -> str:
        """The base URL, ending in `/api/v1`."""
        return f"{self.origin}{ROOT}"

    @property
    def origin(self) -> str:
        """
        Scheme, host and port.

        Raises:
            RuntimeError: It does not listen.
        """
        port = self._connections.port
        if port is None:
            raise RuntimeError("The server does not listen; enter it with `with`.")
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{'https' if self._ssl else 'http'}://{host}:{port}"

    @property
    def api_key(self) -> str:
        """A key that it accepts."""
        return self._desk.api_key

    def reply(
        self,
        answer: "Answer | Reply" = None,
        /,
        *,
        when: Matcher | None = None,
        times: int | None = 1,
        path: str | None = "/chat/completions",
        **fields: Unpack[ReplyFields],
    ) -> Script:
        """
        Script a reply; `.then()` on what comes back adds the next one.

        Scripts with `when` are asked first, then the others, each in the order of
        their making; a script that is used up is passed over. A request without an
        acceptable key is refused before any script is asked.

        Args:
            answer: A text, a list of texts (one a chunk), a body such as
                `completion()` makes, a function of the request that returns one, or
                a `Reply`. Streamed if the request asks for a stream.
            when: Which requests it is for: a function of the request, a model's name,
                or a part of the text of the user's last message.
            times: How often; None: for ever.
            path: The end of the path that it is for; None: any.
            fields: Those of `Reply`, what else is sent and what goes wrong.
        """
        first = as_reply(answer, **fields)
        return self._scripts.add(path, when).then(first, times=times)

    def clear(self) -> None:
        """Forget scripts, requests and counts; what is on its way goes on."""
        self._scripts.clear()
        self.requests.clear()
        self._tally.forget()

    # What tests ask.

    @property
    def stats(self) -> ServerStats:
        """The counters, as they are now."""
        return self._tally.stats()

    @property
    def connections_open(self) -> int:
        """How many sockets are open now, idle ones included."""
        return self._tally.connections_open

    async def until(
        self,
        *,
        requests: int | None = None,
        chunks: int | None = None,
        closed: int | None = None,
        connections: int | None = None,
        timeout: float = 5,  # noqa: ASYNC109 - the time is part of the message
    ) -> None:
        """
        Wait until the server has seen that much; from any event loop.

        Args:
            requests: So many requests, or more, arrived since the last `clear()`.
            chunks: So many events, or more, were written, over all streams.
            closed: So many clients, or more, went away before the reply's end.
            connections: At most so many sockets are open.
            timeout: Seconds.

        Raises:
            TimeoutError: It did not; the counts are in the message.
        """
        wish = Condition(requests, chunks, closed, connections)
        await self._tally.until(wish, timeout)

    def wait(
        self,
        *,
        requests: int | None = None,
        chunks: int | None = None,
        closed: int | None = None,
        connections: int | None = None,
        timeout: float = 5,
    ) -> None:
        """
        Do as `until` does, blocking: for a synchronous test and plain `with`.

        Raises:
            TimeoutError: It did not; the counts are in the message.
        """
        wish = Condition(requests, chunks, closed, connections)
        self._tally.wait(wish, timeout)

    # What clients get.

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        loop = asyncio.get_running_loop()
        seen = SeenRequest(
            method=request.method,
            path=request.path,
            time=loop.time(),
            connection=self._connections.number(request.transport),
            query=request.query,
            headers=request.headers,
            generation_id=generation_id(self._chance),
        )
        delivery = None
        with self._connections.flight():
            try:
                try:
                    await _read(request, seen)
                finally:
                    seen.time = loop.time()
                    self._remember(seen)
                reply = await self._choose(seen)
                rendered = render(reply, seen, int(time.time()))
                seen.generation_id = rendered.generation_id
                delivery = ReplyWriter(request, seen, reply, rendered, self._tally)
                return await delivery.run()
            except (asyncio.CancelledError, ConnectionError) as gone:
                cut = delivery is not None and delivery.stopped
                if not cut and not self._connections.is_closing:
                    seen.closed_early = True
                    self._tally.closed_early += 1
                if isinstance(gone, ConnectionError):
                    # aiohttp would log it as a failure of the server.
                    raise asyncio.CancelledError from gone
                raise
            finally:
                seen.closed = loop.time()
                self.capacity.leave(seen)
                if delivery is not None and delivery.rendered.booked is not None:
                    body = delivery.rendered.booked
                    self._tally.cost += self._desk.account.book(seen, body)

    def _remember(self, seen: SeenRequest) -> None:
        self.requests.append(seen)
        if len(self.requests) > self._keep:
            del self.requests[0]
        self._tally.requests += 1
        self._tally.changed()

    async def _choose(self, seen: SeenRequest) -> Reply:
        """Find the reply: a refusal, a scripted one, or the server's own."""
        desk = self._desk
        if (refusal := desk.refuse_key(seen)) is not None:
            return refusal
        if not desk.is_chat(seen):
            return await self._say(seen)
        if (refusal := self.capacity.refuse(seen, seen.time)) is not None:
            return refusal
        reply = await self._say(seen)
        seconds = self.capacity.delay(self._chance)
        return attrs.evolve(reply, delay=reply.delay + seconds) if seconds else reply

    async def _say(self, seen: SeenRequest) -> Reply:
        desk = self._desk
        scripted = self._scripts.take(seen)
        if scripted is None and (refusal := desk.refuse(seen)) is not None:
            return refusal
        reply = scripted or (self._default if desk.is_chat(seen) else Reply())
        if callable(reply.answer):
            made: Any = reply.answer(seen)
            made = await made if inspect.isawaitable(made) else made
            reply = (
                made if isinstance(made, Reply) else attrs.evolve(reply, answer=made)
            )
        if not reply.is_silent or reply.status >= web.HTTPBadRequest.status_code:
            return reply
        # A script that only slows or breaks the usual answer.
        own = desk.refuse(seen) or desk.answer(seen, int(time.time()))
        if own.status != web.HTTPOk.status_code:
            return own
        return attrs.evolve(reply, answer=own.answer, json=own.json)


async def _read(request: web.Request, seen: SeenRequest) -> None:
    seen.body = await request.read()
    try:
        seen.json = orjson.loads(seen.body)
    except orjson.JSONDecodeError:
        seen.json = None
