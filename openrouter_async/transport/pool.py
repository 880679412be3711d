"""Pool: the session, connection slots and timer of a client on one event loop."""

import asyncio
import io
import os
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Mapping
from pathlib import Path
from typing import Any, Final

import aiohttp
from attrs import Factory, field, frozen
from multidict import CIMultiDict
from yarl import URL

from ..config import Clock
from ..errors import ClosedError, ConfigurationError
from ..protocol.call import Call
from ..protocol.headers import Secret
from ..protocol.lru import LRUCache
from ..types.shape import Value
from .aiohttp_compat import (
    WatchedRequest,
    close_idle,
    close_now,
    count_idle,
    current_watchdog,
    loop_of,
)
from .concurrency_limiter import ScopeStats
from .connector import make_connector
from .direct_request import DirectRequests, Response, accepts
from .limiter import LimiterKey
from .proxies import Proxies, Proxy
from .slots import Slots
from .timer import SharedTimer
from .watchdog import Stage, Watchdog

# aiohttp warns about larger bodies given as bytes, and sends them without a pause for
# other tasks.
_LARGE_BODY: Final = 1024 * 1024
# The watchdog has the timeouts: aiohttp's `connect` includes the wait in its own queue,
# and its `sock_read` creates a timer for each read.
_NO_TIMEOUT: Final = aiohttp.ClientTimeout(
    total=None, connect=None, sock_connect=None, sock_read=None
)
# A little more than the 256 KiB into which asyncio reads.
_READ_BLOCK_BYTES: Final = 264 * 1024


class _Process:
    """The id of this process. `os.getpid` is a system call; each call needs the id."""

    __slots__ = ("id",)

    def __init__(self) -> None:
        self.update()
        # Windows has no fork.
        getattr(os, "register_at_fork", dict)(after_in_child=self.update)

    def update(self) -> None:
        """Read the id again, in a process that was forked."""
        self.id = os.getpid()


_process: Final = _Process()
# A client calls few URLs, unless each call has a query of its own.
_MAX_URLS: Final = 100


def _session_closed() -> ClosedError:
    return ClosedError("The session passed as session= is closed; pass an open one.")


@frozen(eq=False, repr=False)
class PoolStats(Value):
    """
    A snapshot of a client's connections.

    Attributes:
        in_use: Connection slots in use, each from its grant to the end of the body.
        queued: Calls that wait for a slot.
        idle: Open connections in the pool that no call uses.
        limiters: The limits of each base URL, key and model that chat calls were sent
            to, with the calls in flight and the rest of a cooldown.
    """

    in_use: int
    queued: int
    idle: int
    limiters: Mapping[LimiterKey, ScopeStats] = Factory(dict)  # pyright: ignore[reportUnknownVariableType]


@frozen(eq=False, repr=False)
class NetworkOptions:
    """The network options of a client, the same for all its pools."""

    max_connections: int
    session: aiohttp.ClientSession | None
    proxy: str | None = field(repr=False)
    ssl: Any
    env_proxies: bool


class Pool:
    """
    The session and the connection slots of one event loop.

    The slots are our own, first in, first out, because aiohttp counts the wait for its
    limit as time of the request.

    Attributes:
        loop: The event loop.
        now: Returns the time.
        slots: The connection slots.
        timer: Checks the timeouts of the calls in progress.
        closed: True once the pool is closed.
        guard: The generator that closes the pool together with its event loop.
    """

    def __init__(self, network: NetworkOptions, clock: Clock) -> None:
        """
        Create a session on the running event loop; no connection is opened yet.

        Raises:
            ClosedError: If the caller's session is closed.
            ConfigurationError: If the caller's session belongs to another event loop,
                or the scheme of the proxy is not supported.
        """
        # asyncio reads into a new block of 256 KiB, over TLS into two. glibc maps and
        # unmaps such a block, with three system calls and a page fault, until a block
        # of at least that size has been freed once; from then on it keeps them. So one
        # is freed here, which saves more than half of the time of a read.
        bytes(_READ_BLOCK_BYTES)
        self.loop = asyncio.get_running_loop()
        self.now = clock.now
        self.slots = Slots(network.max_connections)
        self.timer = SharedTimer(self.loop, clock)
        self.closed = False
        self.guard: AsyncGenerator[None, None] | None = None
        self._urls = LRUCache[str, URL](_MAX_URLS)
        self._session = self._create_session(network)
        self._direct = DirectRequests.create(self._session)
        self._proxies = Proxies(network.proxy, environment=network.env_proxies)

    def _create_session(self, network: NetworkOptions) -> aiohttp.ClientSession:
        # A session of the caller lends only its connector. Requests go through a
        # session of our own, so that the caller's headers, cookies, credentials and
        # timeouts do not reach OpenRouter.
        lent = network.session
        if lent is None:
            connector: aiohttp.BaseConnector = make_connector(network.ssl)
        elif lent.closed or lent.connector is None:
            raise _session_closed()
        elif loop_of(lent.connector) is not self.loop:
            raise ConfigurationError(
                "The session passed as session= belongs to another event loop. Create "
                "one client per event loop, or leave session= out."
            )
        else:
            connector = lent.connector
        return aiohttp.ClientSession(
            connector=connector,
            connector_owner=lent is None,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=_NO_TIMEOUT,
            request_class=WatchedRequest,
            # `open_body` does it: aiohttp would lose the status of a response that it
            # cannot decompress.
            auto_decompress=False,
            trust_env=False,
        )

    @property
    def idle(self) -> int:
        """Number of open connections that no call uses."""
        return count_idle(self._session.connector)

    def close_idle(self, url: str) -> None:
        """Close the idle connections to the server of a URL."""
        close_idle(self._session.connector, self._urls.get(url) or self._parse(url))

    async def wait_for_slot(
        self, watchdog: Watchdog, since: float | None = None, *, is_row: bool = False
    ) -> None:
        """
        Wait for a connection slot and take it.

        Args:
            watchdog: The timeouts of the call.
            since: The time when the wait began, if the call has waited before.
            is_row: If True, other calls go first, and there is no timeout.

        Raises:
            APITimeoutError: If the timeout `pool` expired.
            ClosedError: If the client was closed.
        """
        if is_row:
            watchdog.stage = Stage.LIMITER
        else:
            watchdog.enter(Stage.QUEUE, self.now() if since is None else since)
        try:
            await self.slots.wait(is_row=is_row)
        except asyncio.CancelledError:
            if watchdog.caught() and watchdog.failure is not None:
                raise watchdog.failure from None
            raise

    def send(
        self, call: Call[Any], key: Secret, watchdog: Watchdog
    ) -> Awaitable[Response]:
        """
        Send the request of a call; await the headers of its response.

        Args:
            call: The call.
            key: The Authorization header.
            watchdog: The timeouts of the call; it learns the connection.

        Raises:
            ClosedError: If the caller's session was closed.
            ConfigurationError: If the scheme of the proxy is not supported.
        """
        if self._session.closed:
            raise _session_closed()
        direct = self._direct if accepts(call) else None
        if direct is not None:
            request = direct.find(call, key)
            if request is not None:
                # Neither the proxies nor the URL of the request change.
                return request.send(call.body or b"", watchdog)
        url = self._urls.get(call.url) or self._parse(call.url)
        proxy = self._proxies.choose(url)
        if proxy is None and direct is not None:
            return direct.add(call, url, key).send(call.body or b"", watchdog)
        return self._send_by_session(call, url, proxy, key, watchdog)

    async def _send_by_session(
        self,
        call: Call[Any],
        url: URL,
        proxy: Proxy | None,
        key: Secret,
        watchdog: Watchdog,
    ) -> Response:
        headers = CIMultiDict(call.headers)
        headers["Authorization"] = key
        tunnel_headers: dict[str, str] | None = None
        if proxy is not None and proxy.authorization is not None:
            credentials: dict[str, str] = {"Proxy-Authorization": proxy.authorization}
            if url.scheme == "https":
                # For CONNECT only: the server behind the tunnel must not see them.
                tunnel_headers = credentials
            else:
                headers.update(credentials)
        token = current_watchdog.set(watchdog)
        try:
            return await self._session.request(
                call.method,
                url,
                headers=headers,
                data=_open_data(call),
                allow_redirects=False,
                proxy=None if proxy is None else proxy.url,
                proxy_headers=tunnel_headers,
            )
        finally:
            current_watchdog.reset(token)

    def proxy_address(self, url: str) -> tuple[str, int] | None:
        """Return host and port of the proxy for a URL; None without a proxy."""
        proxy = self._proxies.choose(self._urls.get(url) or self._parse(url))
        if proxy is None:
            return None
        return proxy.url.raw_host or "", proxy.url.port or 0

    def _parse(self, url: str) -> URL:
        """Parse a URL and keep it, because yarl caches the parts that aiohttp reads."""
        parsed = self._urls[url] = URL(url, encoded=True)
        return parsed

    async def aclose(self, reason: str) -> None:
        """End the calls in progress and close the session; further calls do nothing."""
        if self.closed:
            return
        self._end_calls(reason)
        await self._session.close()
        guard, self.guard = self.guard, None
        if guard is not None:
            await guard.aclose()

    def close_now(self, reason: str) -> None:
        """Close the pool without waiting for its connections; once."""
        if not self.closed:
            self._end_calls(reason)
            close_now(self._session)

    def _end_calls(self, reason: str) -> None:
        self.closed = True
        for member in self.timer.members:
            member.fail(ClosedError(reason))
        self.timer.stop()


def _open_data(call: Call[Any]) -> Any:
    """Return the body of a request for aiohttp, which closes it after use."""
    if call.body_path is not None:
        # aiohttp reads the file in blocks.
        return Path(call.body_path).open("rb")
    if call.body is None:
        return None
    is_large = len(call.body) > _LARGE_BODY
    return io.BytesIO(call.body) if is_large else aiohttp.BytesPayload(call.body)


def _is_run_elsewhere(loop: asyncio.AbstractEventLoop) -> bool:
    """Return True if a loop is running in another thread."""
    try:
        return loop.is_running() and asyncio.get_running_loop() is not loop
    except RuntimeError:
        # No loop is running in this thread.
        return True


class PoolRegistry:
    """
    The pools of a client: one for each process and event loop.

    Threads may share it: each reads and writes the entry of its own loop, and copies
    the others before it iterates over them.
    """

    def __init__(self, network: NetworkOptions, clock: Clock) -> None:
        self._network = network
        self._clock = clock
        # Not a WeakKeyDictionary: a session refers to its event loop, so that the entry
        # of a loop would keep it alive.
        self._pools: dict[tuple[int, asyncio.AbstractEventLoop], Pool] = {}
        self.closed = False

    def find(self) -> Pool | None:
        """
        Return the pool of the running event loop, if there is one.

        Raises:
            ClosedError: If the client is closed.
        """
        if self.closed:
            raise ClosedError("The client is closed; create a new AsyncOpenRouter.")
        pool = self._pools.get((_process.id, asyncio.get_running_loop()))
        return None if pool is None or pool.closed else pool

    async def open(self) -> Pool:
        """
        Create the pool of the running event loop.

        Raises:
            ClosedError: As `Pool`.
            ConfigurationError: As `Pool`.
        """
        for (pid, loop), pool in self._pools.copy().items():
            if pool.closed or loop.is_closed():
                self._pools.pop((pid, loop), None)
        key = (_process.id, asyncio.get_running_loop())
        pool = self._pools[key] = Pool(self._network, self._clock)
        pool.guard = self._close_with_loop(key, pool)
        await anext(pool.guard)
        return pool

    async def _close_with_loop(
        self, key: tuple[int, asyncio.AbstractEventLoop], pool: Pool
    ) -> AsyncGenerator[None, None]:
        """Close a pool together with its event loop, and remove it."""
        # `asyncio.run` closes all async generators at its end (shutdown_asyncgens),
        # while the loop can still run what closes the connections.
        try:
            yield
        finally:
            self._pools.pop(key, None)
            pool.guard = None
            # Nothing is awaited: the generator may also end because it is
            # garbage-collected, in any thread, with its loop running or not.
            reason = "The event loop ended during the call."
            if _is_run_elsewhere(pool.loop):
                pool.loop.call_soon_threadsafe(pool.close_now, reason)
            elif not pool.loop.is_closed():
                pool.close_now(reason)

    async def aclose(self) -> None:
        """Close the pool of the running event loop, and reject further calls."""
        self.closed = True
        key = (_process.id, asyncio.get_running_loop())
        pool = self._pools.pop(key, None)
        if pool is not None:
            await pool.aclose("The client was closed during the call.")

    def in_flight(self) -> Counter[object]:
        """Return the number of calls that hold a slot, by the scope of their limits."""
        return Counter(
            member.limits.scope
            for pool in self._pools.copy().values()
            for member in pool.timer.members
            if isinstance(member, Watchdog) and member.limits and member.has_slot
        )

    def stats(self, limiters: Mapping[LimiterKey, ScopeStats]) -> PoolStats:
        """Return the sums over all event loops of this process."""
        # A copy: event loops in other threads may add pools meanwhile. `copy` is one
        # operation; `list` of the items may be interrupted by a garbage collection.
        pools = [
            pool for (pid, _), pool in self._pools.copy().items() if pid == _process.id
        ]
        return PoolStats(
            in_use=sum(pool.slots.in_use for pool in pools),
            queued=sum(pool.slots.queued for pool in pools),
            idle=sum(pool.idle for pool in pools if not pool.closed),
            limiters=limiters,
        )
