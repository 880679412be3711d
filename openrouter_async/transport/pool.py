"""What a client has on one event loop: a session, slots, and the calls under way."""

import asyncio
import io
import os
from collections.abc import AsyncGenerator, Awaitable
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Final

import aiohttp
from attrs import field, frozen
from multidict import CIMultiDict
from yarl import URL

from ..config import Clock
from ..errors import ClosedError, ConfigurationError
from ..protocol.lru import LRUCache
from ..types.shape import Value
from .aiohttp_compat import forget_reason
from .connector import make_connector
from .proxies import Proxies
from .slots import Slots
from .timer import SharedTimer
from .watchdog import Stage, Watchdog

# aiohttp warns of bytes beyond this, and may keep the loop busy sending them.
_LARGE_BODY: Final = 1024 * 1024
_NO_TIMEOUT: Final = aiohttp.ClientTimeout(
    total=None, connect=None, sock_connect=None, sock_read=None
)
_USED: Final = "_openrouter_async_used"

current: ContextVar[Watchdog] = ContextVar("openrouter_async_watch")
"""The clocks of the request that the running task is sending."""

# A client calls few URLs, unless each call has a query of its own.
_MAX_URLS: Final = 100


class PoisonedError(aiohttp.ServerDisconnectedError):
    """Bytes came over a pooled connection before anything was asked."""


class _Request(aiohttp.ClientRequest):
    """
    aiohttp's request, which tells when it was given a connection, and which.

    Unlike a connector of our own this works on a connector that was lent to us.
    """

    async def send(self, conn: Any) -> aiohttp.ClientResponse:
        protocol = conn.protocol
        reused = getattr(protocol, _USED, False)
        watchdog = current.get()
        watchdog.connected(watchdog.now(), conn, reused=reused)
        if not reused:
            setattr(protocol, _USED, True)
            forget_reason(protocol)
        elif protocol.should_close:
            # They would pass for our answer.
            raise PoisonedError
        return await super().send(conn)


@frozen(eq=False, repr=False)
class PoolStats(Value):
    """
    A snapshot of the connections of a client.

    Attributes:
        in_use: Slots held: calls between their grant and the end of their body.
        queued: Calls that wait for a slot.
        idle: Open connections in the pool that nobody uses.
    """

    in_use: int
    queued: int
    idle: int


@frozen(eq=False, repr=False)
class NetworkOptions:
    """How to reach the network; the same for all pools of a client."""

    max_connections: int
    session: aiohttp.ClientSession | None
    proxy: str | None = field(repr=False)
    ssl: Any
    env_proxies: bool


class Pool:
    """
    The session and the slots of one event loop.

    Slots are ours, first come, first served: aiohttp's own limit would charge the
    time in its queue to the request's clocks.
    """

    def __init__(self, network: NetworkOptions, clock: Clock) -> None:
        self.loop = asyncio.get_running_loop()
        self.slots = Slots(network.max_connections)
        self.now = clock.now
        self.timer = SharedTimer(self.loop, clock)
        self.closed = False
        self._urls = LRUCache[str, URL](_MAX_URLS)
        self.guard: AsyncGenerator[None, None] | None = None
        self._session = self._open(network)
        self._proxies = Proxies(network.proxy, environment=network.env_proxies)

    def _open(self, network: NetworkOptions) -> aiohttp.ClientSession:
        lent = network.session
        if lent is None:
            connector: aiohttp.BaseConnector = make_connector(network.ssl)
        elif lent.closed or lent.connector is None:
            raise ClosedError("The session that was handed in is closed.")
        elif lent.connector._loop is not self.loop:  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
            raise ConfigurationError(
                "The session that was handed in belongs to another event loop. "
                "Make one client for each loop, or let the client make sessions."
            )
        else:
            connector = lent.connector
        return aiohttp.ClientSession(
            connector=connector,
            connector_owner=lent is None,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=_NO_TIMEOUT,
            request_class=_Request,
            trust_env=False,
        )

    @property
    def idle(self) -> int:
        """Open connections that nobody uses."""
        connector: Any = self._session.connector
        return 0 if connector is None else sum(map(len, connector._conns.values()))  # noqa: SLF001

    async def wait_for_slot(self, watchdog: Watchdog) -> None:
        """
        Wait for a slot.

        Raises:
            APITimeoutError: Its phase is "pool".
            ClosedError: The client was closed meanwhile.
        """
        watchdog.enter(Stage.QUEUE, self.now())
        try:
            await self.slots.wait()
        except asyncio.CancelledError:
            if watchdog.caught() and watchdog.failure is not None:
                raise watchdog.failure from None
            raise

    def request(
        self,
        method: str,
        url: str,
        headers: CIMultiDict[str],
        body: bytes | Path | None,
    ) -> Awaitable[aiohttp.ClientResponse]:
        """Send the `current` request; gives the reply once its headers are in."""
        if self._session.closed:
            raise ClosedError("The session that was handed in is closed.")
        data: Any = None
        if isinstance(body, Path):
            # aiohttp reads the file in blocks, and closes it.
            data = body.open("rb")
        elif body is not None:
            large = len(body) > _LARGE_BODY
            data = io.BytesIO(body) if large else aiohttp.BytesPayload(body)
        place = self._urls.get(url) or self._parse(url)
        proxy = self._proxies.choose(place)
        if proxy is None:
            return self._session.request(
                method, place, headers=headers, data=data, allow_redirects=False
            )
        tunnel: dict[str, str] | None = None
        if proxy.authorization is not None:
            credentials: dict[str, str] = {"Proxy-Authorization": proxy.authorization}
            if place.scheme == "https":
                tunnel = credentials
            else:
                headers.update(credentials)
        return self._session.request(
            method,
            place,
            headers=headers,
            data=data,
            allow_redirects=False,
            proxy=proxy.url,
            proxy_headers=tunnel,
        )

    def _parse(self, url: str) -> URL:
        """Parse a URL and keep it: aiohttp reads its parts, which it then caches."""
        parsed = self._urls[url] = URL(url, encoded=True)
        return parsed

    async def aclose(self, reason: str) -> None:
        """Close the session and end the calls under way; the second time nothing."""
        if self.closed:
            return
        self.closed = True
        for watch in self.timer.members:
            watch.fail(ClosedError(reason))
        self.timer.stop()
        await self._session.close()
        guard, self.guard = self.guard, None
        if guard is not None:
            await guard.aclose()


class PoolRegistry:
    """
    The pools of a client: one for each process and event loop.

    A plain dict: a weak one leaks, because a session refers to its loop.
    """

    def __init__(self, network: NetworkOptions, clock: Clock) -> None:
        self._network = network
        self._clock = clock
        self._pools: dict[tuple[int, asyncio.AbstractEventLoop], Pool] = {}
        self.closed = False

    def find(self) -> Pool | None:
        """
        Return the pool of the running loop, if there is one.

        Raises:
            ClosedError: The client is closed.
        """
        if self.closed:
            raise ClosedError("The client is closed; create a new AsyncOpenRouter.")
        pool = self._pools.get((os.getpid(), asyncio.get_running_loop()))
        return None if pool is None or pool.closed else pool

    async def open(self) -> Pool:
        """Make the pool of the running loop."""
        for old in [k for k, p in self._pools.items() if p.closed or _over(k)]:
            self._pools.pop(old, None)
        key = (os.getpid(), asyncio.get_running_loop())
        pool = self._pools[key] = Pool(self._network, self._clock)
        pool.guard = self._until_the_loop_ends(key, pool)
        await anext(pool.guard)
        return pool

    async def _until_the_loop_ends(
        self, key: tuple[int, asyncio.AbstractEventLoop], pool: Pool
    ) -> AsyncGenerator[None, None]:
        """Close a pool with its loop: asyncio.run closes all that is left of us."""
        try:
            yield
        finally:
            self._pools.pop(key, None)
            pool.guard = None
            await pool.aclose("The event loop ended while the call was under way.")

    async def aclose(self) -> None:
        """Close this loop's pool, and refuse further calls."""
        self.closed = True
        key = (os.getpid(), asyncio.get_running_loop())
        pool = self._pools.pop(key, None)
        if pool is not None:
            await pool.aclose("The client was closed while the call was under way.")

    def stats(self) -> PoolStats:
        """Return the sums over this process's loops."""
        mine = [
            pool for (pid, _), pool in list(self._pools.items()) if pid == os.getpid()
        ]
        return PoolStats(
            in_use=sum(pool.slots.in_use for pool in mine),
            queued=sum(pool.slots.queued for pool in mine),
            idle=sum(pool.idle for pool in mine if not pool.closed),
        )


def _over(key: tuple[int, asyncio.AbstractEventLoop]) -> bool:
    return key[1].is_closed()
