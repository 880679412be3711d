"""AsyncOpenRouter: configuration, lifetime, and the way to the resources."""

import os
import ssl as tls
from collections.abc import Awaitable, Callable, Mapping
from functools import cache
from types import TracebackType
from typing import Any, Final, Self

from .chat import Chat, new_limiters
from .config import (
    Clock,
    Retries,
    SizeLimits,
    Timeouts,
)
from .errors import ConfigurationError
from .protocol.base_url import parse_base_url
from .protocol.call import CallRecord
from .protocol.headers import check_header_value, check_headers, mask
from .protocol.response_parsing import read_json
from .protocol.settings import Settings
from .transport.pool import NetworkOptions, PoolStats
from .transport.transport import ClientSession, Transport
from .version import __version__

_BASE_URL: Final = "https://openrouter.ai/api/v1"
_MAX_CONNECTIONS: Final = 1000


class AsyncOpenRouter:
    """
    A client of OpenRouter: one pool of connections, for as many calls as you like.

    Make one for the life of the program and share it. `async with` closes it; so
    does `asyncio.run` when its loop ends. It may be used on several event loops: each
    gets connections of its own.

    Attributes:
        timeouts: The clocks of every call that brings none of its own.
        retries: The rules of repeating, likewise.
        size_limits: How much of a reply is held in memory.
    """

    def __init__(
        self,
        api_key: str | Callable[[], str | Awaitable[str]] | None = None,
        *,
        base_url: str | None = None,
        app_url: str | None = None,
        app_title: str | None = None,
        app_categories: str | None = None,
        timeouts: Timeouts = Timeouts(),  # noqa: B008  # frozen
        retries: Retries = Retries(),  # noqa: B008  # frozen
        size_limits: SizeLimits = SizeLimits(),  # noqa: B008  # frozen
        max_connections: int | None = None,
        headers: Mapping[str, str] | None = None,
        session: ClientSession | None = None,
        proxy: str | None = None,
        ssl: tls.SSLContext | bool = True,
        env_proxies: bool = True,
        allow_http: bool = False,
        on_call: Callable[[CallRecord], object] | None = None,
        clock: Clock | None = None,
    ) -> None:
        """
        Configure a client; nothing is opened before the first call.

        Args:
            api_key: A key, or a function (plain or async) asked for one before each
                attempt. Default: the environment's OPENROUTER_API_KEY, read now.
            base_url: Default: OPENROUTER_BASE_URL, read now, else OpenRouter's.
            app_url: Your app's address, for OpenRouter's rankings (HTTP-Referer).
            app_title: Its name (X-OpenRouter-Title).
            app_categories: Its categories, comma-separated, 2 at most.
            timeouts: Clocks, in seconds.
            retries: When a failed attempt is made again.
            size_limits: Sizes, in bytes.
            max_connections: Slots for each event loop; further calls queue.
                Default: 1000.
            headers: Sent with every request.
            session: Lends its connections. It is never closed by us, and nothing
                else of it (headers, cookies, timeouts) reaches OpenRouter.
            proxy: A proxy for all calls, in place of the environment's.
            ssl: True, or an SSLContext, say with a private authority.
            env_proxies: Whether HTTPS_PROXY, HTTP_PROXY and NO_PROXY are honoured.
            allow_http: Let the key travel unencrypted to hosts beyond this machine.
            on_call: Called once for each call when it is over; it must not block.
            clock: Where time and chance come from; for tests.

        Raises:
            ConfigurationError: An option that can not be.
        """
        # Rebound, so that no traceback with locals shows them.
        api_key, proxy = mask(api_key), mask(proxy)
        _check(
            max_connections=max_connections,
            session=session,
            ssl=ssl,
            proxy=proxy,
        )
        _check_kinds(timeouts, retries, size_limits)
        key = api_key
        if key is None:
            key = mask(os.environ.get("OPENROUTER_API_KEY"))
        place = base_url or os.environ.get("OPENROUTER_BASE_URL") or _BASE_URL
        self._settings = Settings(
            api_key=mask(key.strip()) or None if isinstance(key, str) else key,
            base_url=parse_base_url(place, allow_http=allow_http),
            timeouts=timeouts,
            retries=retries,
            size_limits=size_limits,
            headers=_headers(
                headers or {},
                {
                    "HTTP-Referer": app_url,
                    "X-OpenRouter-Title": app_title,
                    "X-OpenRouter-Categories": app_categories,
                },
            ),
            allow_http=allow_http,
        )
        network = NetworkOptions(
            max_connections=max_connections or _MAX_CONNECTIONS,
            session=session,
            proxy=proxy,
            ssl=ssl,
            env_proxies=env_proxies,
        )
        self._transport = Transport(network, on_call, clock)
        self._owner = True
        # Made by the first run, one for this client and its siblings.
        self._limiters = cache(new_limiters)
        self._chat = Chat(self._settings, self._transport, self._limiters)

    @property
    def chat(self) -> Chat:
        """The chat operation."""
        return self._chat

    @property
    def timeouts(self) -> Timeouts:
        """The clocks of every call that brings none of its own."""
        return self._settings.timeouts

    @property
    def retries(self) -> Retries:
        """The rules of repeating of every call that brings none of its own."""
        return self._settings.retries

    @property
    def size_limits(self) -> SizeLimits:
        """How much of a reply is held in memory."""
        return self._settings.size_limits

    @property
    def stats(self) -> PoolStats:
        """A snapshot: slots in use, calls queued, connections idle."""
        return self._transport.stats()

    def with_options(
        self,
        *,
        api_key: str | Callable[[], str | Awaitable[str]] | None = None,
        base_url: str | None = None,
        timeouts: Timeouts | float | None = None,
        retries: Retries | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Self:
        """
        Return a client with these changed, and the same connections.

        Closing it closes nothing. `headers` are merged over this client's.

        Raises:
            ConfigurationError: An option that can not be.
        """
        api_key = mask(api_key)
        other = object.__new__(type(self))
        other._settings = self._settings.with_options(
            {
                "api_key": api_key,
                "base_url": base_url,
                "timeouts": timeouts,
                "retries": retries,
                "extra_headers": headers,
            }
        )
        other._transport = self._transport
        other._owner = False
        other._limiters = self._limiters
        other._chat = Chat(other._settings, other._transport, other._limiters)
        return other

    async def request(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        query: Mapping[str, Any] | None = None,
    ) -> Any:
        """
        Call any other endpoint, such as `("GET", "/models")`.

        The same key, connections, clocks and errors; only GET is sent again.

        Args:
            method: The HTTP method.
            path: Below the base URL, beginning with a slash.
            json: The body; None for none.
            query: Added to the URL; None values are left out.

        Returns:
            The parsed JSON, as it came.
        """
        name = method.upper()
        call = self._settings.call(
            name, path, read_json, body=json, query=query, retry=name == "GET"
        )
        return (await self._transport.send(call)).value

    async def aclose(self) -> None:
        """
        Close this loop's connections and refuse further calls.

        Calls under way end with a ClosedError. The second time nothing happens.
        """
        if self._owner:
            await self._transport.aclose()

    close = aclose

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        # Also while it is being made: tracebacks with locals show it then.
        settings = getattr(self, "_settings", None)
        return f"<AsyncOpenRouter {settings and settings.base_url.url}>"


def _check(
    *,
    max_connections: int | None,
    session: ClientSession | None,
    ssl: tls.SSLContext | bool,
    proxy: str | None,
) -> None:
    if max_connections is not None and (
        isinstance(max_connections, bool) or max_connections < 1
    ):
        raise ConfigurationError("max_connections must be 1 or more.")
    if ssl is not True and not isinstance(ssl, tls.SSLContext):
        raise ConfigurationError(
            "ssl is True or an SSLContext. Certificates are always checked; a private "
            "authority is trusted with ssl.create_default_context(cafile=...)."
        )
    if proxy is not None and not proxy.startswith(("http://", "https://")):
        raise ConfigurationError(
            "proxy is an http:// or https:// URL, such as http://proxy.local:3128."
        )
    if session is not None and (ssl is not True or max_connections is not None):
        raise ConfigurationError(
            "A session that is handed in brings its own connections: "
            "give ssl and limits to its connector, not to the client."
        )


def _check_kinds(timeouts: object, retries: object, size_limits: object) -> None:
    """A number in place of `Timeouts` would be noticed by the first call only."""
    for name, value, kind in (
        ("timeouts", timeouts, Timeouts),
        ("retries", retries, Retries),
        ("size_limits", size_limits, SizeLimits),
    ):
        if not isinstance(value, kind):
            raise TypeError(f"{name} is a {kind.__name__}(...), not {value!r:.60}.")


def _headers(
    given: Mapping[str, str], named: Mapping[str, str | None]
) -> dict[str, str]:
    check_headers(given)
    headers = {
        "Content-Type": "application/json",
        "User-Agent": f"openrouter_async/{__version__}",
    }
    for name, value in named.items():
        if value is not None:
            check_header_value(name, value)
            headers[name] = value
    return {**headers, **given}
