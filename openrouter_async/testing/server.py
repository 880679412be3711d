"""LocalOpenRouter: a local server with OpenRouter's chat API, for tests and demos."""

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
from aiohttp import web

from ..errors import MalformedResponseError
from ..protocol.decode import decode
from .builders import generation_id
from .capacity import Capacity
from .counters import Condition, ServerCounters, ServerStats
from .endpoints import ROOT, Account, Endpoints
from .hosted_batches import HostedBatches
from .listener import Listener
from .render import render
from .reply import Reply, ReplyContent, ReplyFields, as_reply
from .reply_writer import ReplyWriter
from .scripts import Matcher, Script, Scripts
from .seen_requests import SeenRequest
from .stored_batch import BatchScript

# A prompt may contain videos.
_MAX_BODY_BYTES = 1024 * 1024 * 1024


class LocalOpenRouter:
    """
    An HTTP server with OpenRouter's chat API, for tests and demos.

    Without a script, it responds to every valid request with a deterministic
    completion: text, tool calls, structured output and reasoning, plain or streamed.
    Scripts replace the next responses:

        async with LocalOpenRouter() as server:
            server.reply(error_reply(429, retry_after=2)).then("Hello!")
            ...  # a client with base_url=server.url receives the 429, then "Hello!"
            assert len(server.requests) == 2

    `async with` runs the server on the current event loop. `with` runs it on a thread
    with an event loop of its own, for synchronous tests and for tests of any async
    framework. On exit, all connections are aborted. An object can be entered once.

    Args:
        host: Address to listen on.
        port: Port to listen on; 0 takes a free one, which `url` contains.
        keys: API keys to accept; others get a 401. None: any key.
        models: Model ids to accept; others get a 400. None: any model.
        default: Reply to chat requests that no script matches: content or a `Reply`,
            as for `reply()`. `Reply(chunk_delay=0.05)` keeps the default completion and
            slows it down. None: the default completion.
        chunk_delay: Seconds between the chunks of the default completion.
        generation_lag: Number of `GET /generation` requests for an id that get a 404
            before one succeeds.
        keep: Number of requests in `requests`, and of generations; the oldest are
            dropped. The default of 10,000 is more than a test examines and limits the
            memory of a server that runs for long.
        capacity: Limits on requests in flight and per minute, and latencies.
        batches: Behaviour of hosted batches (`/batches`).
        ssl: Context for HTTPS; None: HTTP.
        seed: Seed of the random generation ids and latencies; None: random.
    """

    # These three are only set by `with`.
    _thread: threading.Thread
    _loop: asyncio.AbstractEventLoop
    _stop: asyncio.Event

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        keys: Iterable[str] | None = None,
        models: Iterable[str] | None = None,
        default: "ReplyContent | Reply" = None,
        chunk_delay: float = 0,
        generation_lag: int = 1,
        keep: int = 10_000,
        capacity: Capacity | None = None,
        batches: BatchScript | None = None,
        ssl: tls.SSLContext | None = None,
        seed: int | None = None,
    ) -> None:
        self.requests: list[SeenRequest] = []
        """Received requests, oldest first."""
        self.app = web.Application(client_max_size=_MAX_BODY_BYTES)
        """
        The aiohttp application.

        If it is run by another runner than this object, set `handler_cancellation=True`
        there, so that clients that disconnect are noticed at once.
        """
        self.app.router.add_route("*", "/{path:.*}", self._handle)
        self.capacity = capacity or Capacity()
        """Limits and latencies; may be changed while the server runs."""
        self.batches = HostedBatches(
            batches or BatchScript(), self._scripted_or_default, self._add_cost
        )
        """Hosted batches: their state, and the ends and failures that tests choose."""
        self._endpoints = Endpoints(
            keys, models, Account(generation_lag, keep), self.batches.script
        )
        self._default = as_reply(default)
        if chunk_delay:
            self._default = attrs.evolve(self._default, chunk_delay=chunk_delay)
        self._host, self._port, self._ssl = host, port, ssl
        self._keep = keep
        self._random = random.Random(seed)  # noqa: S311 - not for secrets
        self._counters = ServerCounters()
        self._scripts = Scripts()
        self._listener = Listener(self.app, self._counters)
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
        await self._listener.close()

    def __enter__(self) -> Self:
        started: Future[None] = Future()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._run(started)),
            name="LocalOpenRouter",
            daemon=True,
        )
        self._thread.start()
        try:
            started.result()
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
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    async def _run(self, started: "Future[None]") -> None:
        """Run the server on its own thread, until `__exit__` sets `_stop`."""
        try:
            await self._start()
        except BaseException as failure:  # noqa: BLE001 - raised in the other thread
            started.set_exception(failure)
            return
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        started.set_result(None)
        await self._stop.wait()
        await self._listener.close()

    async def _start(self) -> None:
        if self._is_started:
            raise RuntimeError(
                "A LocalOpenRouter can be entered once; create another one."
            )
        self._is_started = True
        await self._listener.open(self._host, self._port, self._ssl)

    # Scripts.

    @property
    def url(self) -> str:
        """
        The base URL for clients, which ends with `/api/v1`.

        Raises:
            RuntimeError: If the server is not running.
        """
        return f"{self.origin}{ROOT}"

    @property
    def origin(self) -> str:
        """
        Scheme, host and port of the server.

        Raises:
            RuntimeError: If the server is not running.
        """
        port = self._listener.port
        if port is None:
            raise RuntimeError(
                "The server is not running: use it within `with` or `async with`."
            )
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{'https' if self._ssl else 'http'}://{host}:{port}"

    @property
    def api_key(self) -> str:
        """An API key that the server accepts."""
        return self._endpoints.api_key

    def reply(
        self,
        content: "ReplyContent | Reply" = None,
        /,
        *,
        when: Matcher | None = None,
        times: int | None = 1,
        path: str | None = "/chat/completions",
        **fields: Unpack[ReplyFields],
    ) -> Script:
        """
        Script the reply to the next request that matches.

        `then()` on the returned script appends further replies. A request gets its
        reply from the first script, in the order of creation, that matches and has a
        reply left; scripts with `when` come before those without. A request without an
        accepted API key gets a 401 and uses up no script.

        Args:
            content: A text; a list of texts, one for each chunk; a body as
                `completion()` makes it; a function that is called with the
                `SeenRequest` and returns one of these; or a `Reply`. It is streamed if
                the request asks for a stream. None: the default completion, or the
                error body for a `status` of 400 or more.
            when: Condition for the request: a function that is called with the
                `SeenRequest`, a model id, or a part of the text of the last user
                message.
            times: Number of requests that get this reply, 1 or more; None: all.
            path: End of the URL path that the request must have; None: any path.
            fields: Fields of `Reply`: status, headers, other bodies, delays, faults.

        Raises:
            ValueError: If `times` is less than 1, or the fields do not fit together.
        """
        first = as_reply(content, **fields)
        return self._scripts.add(path, when).then(first, times=times)

    def clear(self) -> None:
        """
        Remove all scripts and received requests, and reset the counters.

        Requests in flight continue. The limits of `capacity` and its counters, the
        account and the generations are kept.
        """
        self._scripts.clear()
        self.requests.clear()
        self._counters.reset()

    # Counters.

    @property
    def stats(self) -> ServerStats:
        """A snapshot of the counters."""
        return self._counters.stats()

    async def until(
        self,
        *,
        requests: int | None = None,
        chunks: int | None = None,
        closed: int | None = None,
        connections: int | None = None,
        timeout: float = 5,  # noqa: ASYNC109 - the value is part of the message
    ) -> None:
        """
        Wait until all given counters have reached a value; on any event loop.

        Args:
            requests: Number of requests received since the last `clear()`, or more.
            chunks: Number of stream events written since then, or more.
            closed: Number of clients that disconnected before the end of the response
                since then, or more.
            connections: Number of open connections, or fewer.
            timeout: Seconds.

        Raises:
            TimeoutError: If they are not reached in time; the message has the counters.
        """
        condition = Condition(requests, chunks, closed, connections)
        await self._counters.until(condition, timeout)

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
        Block until the counters have reached a value, for synchronous tests.

        The arguments are those of `until()`. Only a server that was entered with `with`
        can be waited for: `async with` runs it on the event loop that this call blocks.

        Raises:
            TimeoutError: If they are not reached in time; the message has the counters.
        """
        condition = Condition(requests, chunks, closed, connections)
        self._counters.wait(condition, timeout)

    # Requests.

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        loop = asyncio.get_running_loop()
        seen = SeenRequest(
            method=request.method,
            path=request.path,
            time=loop.time(),
            connection=self._listener.connection_number(request.transport),
            query=request.query,
            headers=request.headers,
            generation_id=generation_id(self._random),
        )
        writer = None
        with self._listener.track_request():
            try:
                try:
                    await _read_body(request, seen)
                finally:
                    seen.time = loop.time()
                    self._add_request(seen)
                reply = await self._choose_reply(seen)
                rendered = render(reply, seen, int(time.time()))
                seen.generation_id = rendered.generation_id
                writer = ReplyWriter(request, seen, reply, rendered, self._counters)
                return await writer.run()
            except (asyncio.CancelledError, ConnectionError) as error:
                is_ours = writer is not None and writer.stopped
                if not is_ours and not self._listener.is_closing:
                    seen.closed_early = True
                    self._counters.closed_early += 1
                if isinstance(error, ConnectionError):
                    # aiohttp would log it as an error of the handler.
                    raise asyncio.CancelledError from error
                raise
            finally:
                seen.closed = loop.time()
                self.capacity.release(seen)
                if writer is not None and writer.rendered.completion is not None:
                    completion = writer.rendered.completion
                    cost = self._endpoints.account.record(seen, completion)
                    self._counters.add_cost(cost)

    def _add_cost(self, cost: float) -> None:
        self._endpoints.account.bill(cost)
        self._counters.add_cost(cost)

    def _add_request(self, seen: SeenRequest) -> None:
        self.requests.append(seen)
        if len(self.requests) > self._keep:
            del self.requests[0]
        self._counters.requests += 1
        self._counters.notify()

    async def _choose_reply(self, seen: SeenRequest) -> Reply:
        """
        Return the reply to a request, which has a body or an error status.

        1. Without an accepted API key: a 401.
        2. Beyond the capacity, if it is a chat request: its rejection.
        3. With a script that matches: the scripted reply.
        4. Otherwise the default reply, or an error if the request is invalid.
        """
        if (rejection := self._endpoints.authenticate(seen)) is not None:
            return rejection
        if not self._endpoints.is_chat(seen):
            return await self._scripted_or_default(seen)
        if (rejection := self.capacity.admit(seen, seen.time)) is not None:
            return rejection
        reply = await self._scripted_or_default(seen)
        latency = self.capacity.draw_latency(self._random)
        return attrs.evolve(reply, delay=reply.delay + latency) if latency else reply

    async def _scripted_or_default(self, seen: SeenRequest) -> Reply:
        endpoints = self._endpoints
        reply = self._scripts.take(seen)
        if reply is None and self.batches.has_path(seen.path):
            return await self.batches.respond(seen)
        if reply is None:
            if (rejection := endpoints.validate(seen)) is not None:
                return rejection
            reply = self._default if endpoints.is_chat(seen) else Reply()
        if callable(reply.content):
            made: Any = reply.content(seen)
            made = await made if inspect.isawaitable(made) else made
            reply = (
                made if isinstance(made, Reply) else attrs.evolve(reply, content=made)
            )
        if reply.has_body or reply.status >= 400:
            return reply
        # The reply only has delays or faults: they apply to the default reply.
        if self.batches.has_path(seen.path):
            default = await self.batches.respond(seen)
            fields = ("status", "headers", "json", "body", "text")
            return attrs.evolve(
                reply, **{name: getattr(default, name) for name in fields}
            )
        default = endpoints.default_reply(seen, int(time.time()))
        if default.status != 200:
            return default
        return attrs.evolve(reply, content=default.content, json=default.json)


async def _read_body(request: web.Request, seen: SeenRequest) -> None:
    seen.body = await request.read()
    try:
        # As the client reads responses: orjson alone rejects lone surrogates.
        seen.json = decode(seen.body)
    except MalformedResponseError:
        seen.json = None
