"""What a client has on one event loop: a session, slots, and the calls under way."""

import asyncio
import io
import os
from collections.abc import AsyncGenerator
from contextvars import ContextVar
from typing import Any, Final

import aiohttp
from attrs import field, frozen
from multidict import CIMultiDict
from yarl import URL

from ..errors import ClosedError, ConfigurationError
from .broken import forget_reason
from .network import Proxies, make_connector
from .watch import Stage, Watch

# aiohttp warns of bytes beyond this, and may keep the loop busy sending them.
_LARGE_BODY: Final = 1024 * 1024
_NO_TIMEOUT: Final = aiohttp.ClientTimeout(
    total=None, connect=None, sock_connect=None, sock_read=None
)
_USED: Final = "_openrouter_async_used"

_watch: ContextVar["Sending | None"] = ContextVar("openrouter_async_sending")


class Sending:
    """One request on its way: what is learned between the slot and the headers."""

    __slots__ = ("connected_at", "protocol", "reused", "watch")

    def __init__(self, watch: Watch) -> None:
        self.watch = watch
        self.connected_at: float | None = None
        self.protocol: Any = None
        self.reused = False


class _Request(aiohttp.ClientRequest):
    """
    aiohttp's request, which tells when it was given a connection, and which.

    Unlike a connector of our own this works on a connector that was lent to us.
    """

    async def send(self, conn: Any) -> aiohttp.ClientResponse:
        sending = _watch.get(None)
        if sending is not None:
            protocol = conn.protocol
            sending.connected_at = self.loop.time()
            sending.reused = getattr(protocol, _USED, False)
            setattr(protocol, _USED, True)
            sending.protocol = protocol
            sending.watch.transport = conn.transport
            sending.watch.stage = Stage.REPLY
            if sending.reused and protocol.should_close:
                # Bytes came while it was idle: they would pass for our answer.
                raise aiohttp.ServerDisconnectedError
            if not sending.reused:
                forget_reason(protocol)
        return await super().send(conn)


@frozen
class Stats:
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
class Network:
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

    def __init__(self, network: Network) -> None:
        self.loop = asyncio.get_running_loop()
        self._slots = asyncio.Semaphore(network.max_connections)
        self._max = network.max_connections
        self.in_use = 0
        self.queued = 0
        self.closed = False
        self.active: set[Watch] = set()
        self.guard: AsyncGenerator[None, None] | None = None
        self._session = self._open(network)
        self._proxies = Proxies(network.proxy, environment=network.env_proxies)

    def _open(self, network: Network) -> aiohttp.ClientSession:
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

    async def acquire(self, watch: Watch) -> float:
        """
        Wait for a slot; return the time it was granted.

        Raises:
            APITimeoutError: Its phase is "queue".
            ClosedError: The client was closed meanwhile.
        """
        now = self.loop.time()
        if self._slots.locked():
            self.queued += 1
            watch.enter(Stage.QUEUE, now)
            try:
                await self._slots.acquire()
            except asyncio.CancelledError:
                if watch.caught() and watch.failure is not None:
                    raise watch.failure from None
                raise
            finally:
                self.queued -= 1
            now = self.loop.time()
        else:
            # Free slots are granted without a suspension.
            await self._slots.acquire()
        self.in_use += 1
        return now

    def release(self) -> None:
        """Give a slot back."""
        self.in_use -= 1
        self._slots.release()

    async def request(
        self,
        method: str,
        url: str,
        headers: CIMultiDict[str],
        body: bytes | None,
        sending: Sending,
    ) -> aiohttp.ClientResponse:
        """Send a request; return the reply once its headers are in."""
        data: Any = body
        if body is not None and len(body) > _LARGE_BODY:
            data = io.BytesIO(body)
        if self._session.closed:
            raise ClosedError("The session that was handed in is closed.")
        place = URL(url, encoded=True)
        proxy = self._proxies.choose(place)
        tunnel: dict[str, str] | None = None
        if proxy is not None and proxy.authorization is not None:
            credentials: dict[str, str] = {"Proxy-Authorization": proxy.authorization}
            if place.scheme == "https":
                tunnel = credentials
            else:
                headers.update(credentials)
        token = _watch.set(sending)
        try:
            return await self._session.request(
                method,
                place,
                headers=headers,
                data=data,
                allow_redirects=False,
                proxy=None if proxy is None else proxy.url,
                proxy_headers=tunnel,
            )
        finally:
            _watch.reset(token)

    async def aclose(self, reason: str) -> None:
        """Close the session and end the calls under way; the second time nothing."""
        if self.closed:
            return
        self.closed = True
        for watch in list(self.active):
            watch.fail(ClosedError(reason))
        await self._session.close()
        guard, self.guard = self.guard, None
        if guard is not None:
            await guard.aclose()


class Pools:
    """
    The pools of a client: one for each process and event loop.

    A plain dict: a weak one leaks, because a session refers to its loop.
    """

    def __init__(self, network: Network) -> None:
        self._network = network
        self._pools: dict[tuple[int, asyncio.AbstractEventLoop], Pool] = {}
        self.closed = False

    async def get(self) -> Pool:
        """
        Return the pool of the running loop, made on its first call.

        Raises:
            ClosedError: The client is closed.
        """
        if self.closed:
            raise ClosedError("The client is closed.")
        key = (os.getpid(), asyncio.get_running_loop())
        pool = self._pools.get(key)
        if pool is None or pool.closed:
            for old in [k for k, p in self._pools.items() if p.closed or _over(k)]:
                self._pools.pop(old, None)
            pool = self._pools[key] = Pool(self._network)
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

    def stats(self) -> Stats:
        """Return the sums over this process's loops."""
        mine = [
            pool for (pid, _), pool in list(self._pools.items()) if pid == os.getpid()
        ]
        return Stats(
            in_use=sum(pool.in_use for pool in mine),
            queued=sum(pool.queued for pool in mine),
            idle=sum(pool.idle for pool in mine if not pool.closed),
        )


def _over(key: tuple[int, asyncio.AbstractEventLoop]) -> bool:
    return key[1].is_closed()
