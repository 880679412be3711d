"""AsyncOpenRouter: the configuration and lifetime of a client."""

import os
import ssl as tls
from collections.abc import Callable, Mapping
from functools import cache, partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal, NoReturn, Self

from attrs import evolve

from .chat import Chat
from .config import (
    Clock,
    Retries,
    SizeLimits,
    Timeouts,
)
from .errors import ConfigurationError
from .protocol.base_url import parse_base_url
from .protocol.call import ApiKey, CallRecord
from .protocol.headers import check_header_value, check_headers, mask
from .protocol.response_parsing import read_json
from .protocol.settings import (
    UNCHANGED,
    Concurrency,
    ConcurrencyOption,
    Settings,
    Unchanged,
    check_concurrency,
)
from .transport.pool import NetworkOptions, PoolStats
from .transport.transport import ClientSession, Transport
from .version import __version__

if TYPE_CHECKING:
    from .batches import Batches
    from .catalogue.usage import ClientUsage
    from .tools import Observer
    from .transport.client_budgets import ClientBudgets
    from .types.generation import Generation

_BASE_URL: Final = "https://openrouter.ai/api/v1"
_MAX_CONNECTIONS: Final = 1000


class AsyncOpenRouter:
    """
    A client of OpenRouter's API with one connection pool per event loop.

    Create one client for the lifetime of the program and share it. Close it with
    `async with` or `aclose()`; `asyncio.run` also closes its connections when the
    event loop ends.

    A copy has the same configuration and connections of its own. A pickled client is
    its configuration without the API key: the key is read from the environment where
    the client is unpickled.
    """

    def __init__(
        self,
        api_key: ApiKey | None = None,
        *,
        base_url: str | None = None,
        app_url: str | None = None,
        app_title: str | None = None,
        app_categories: str | None = None,
        timeouts: Timeouts = Timeouts(),  # noqa: B008 - frozen
        retries: Retries = Retries(),  # noqa: B008 - frozen
        size_limits: SizeLimits = SizeLimits(),  # noqa: B008 - frozen
        max_connections: int | None = None,
        concurrency: Concurrency | None = None,
        headers: Mapping[str, str] | None = None,
        session: ClientSession | None = None,
        proxy: str | None = None,
        ssl: tls.SSLContext | bool = True,
        env_proxies: bool = True,
        allow_http: bool = False,
        on_call: Callable[[CallRecord], object] | None = None,
        observer: "Observer | None" = None,
        max_cost: float | None = None,
        budgets: Mapping[str, float] | None = None,
        clock: Clock | None = None,
    ) -> None:
        """
        Configure a client. No connection is opened before the first call.

        Args:
            api_key: A key, or a plain or async function that returns one and is
                called before each attempt. Defaults to the environment variable
                OPENROUTER_API_KEY, which is read now.
            base_url: Defaults to the environment variable OPENROUTER_BASE_URL, which
                is read now, or else to OpenRouter's URL.
            app_url: URL of your app for OpenRouter's rankings (HTTP-Referer).
            app_title: Name of your app (X-OpenRouter-Title).
            app_categories: Categories of your app, comma-separated, at most 2
                (X-OpenRouter-Categories).
            timeouts: Timeouts, in seconds.
            retries: Retry rules.
            size_limits: Maximum sizes of responses, in bytes.
            max_connections: Maximum number of connections per event loop; further
                calls wait. Defaults to 1000.
            concurrency: Maximum number of chat calls in flight with one base URL, key
                and model; further calls wait. "auto" adapts it to the capacity of the
                model, and sends refused calls again. None: no limit. In any case,
                calls wait while the server asks to (`Retry-After`).
            headers: Headers of every request.
            session: An aiohttp session whose connections are used. The client never
                closes it, and ignores its headers, cookies and timeouts.
            proxy: URL of a proxy for all calls, instead of the environment's.
            ssl: True, or an SSLContext, for example one that trusts a private
                certificate authority.
            env_proxies: If True, use the proxies in HTTPS_PROXY and HTTP_PROXY, except
                for the hosts and networks in NO_PROXY.
            allow_http: If True, allow sending the key unencrypted to other machines.
            on_call: A function that is called with the record of each finished call.
                It must not block.
            observer: An object that is told when calls and tools start and end, such
                as `openrouter_async.otel.OpenTelemetry()`.
            max_cost: Maximum cost of all calls in US dollars. A call that could exceed
                it waits for calls in flight, and is then rejected with a
                `BudgetExceededError` before anything is sent. It is guaranteed for
                requests that have `max_tokens`, contain only text and function tools
                and have a known price; otherwise it is an estimate.
            budgets: Maximum cost of the calls with each `usage_tag`, by tag.
            clock: Source of time and random numbers, for tests.

        Raises:
            TypeError: If an option has the wrong type.
            ConfigurationError: If an option is invalid.
        """
        # Rebound, because tracebacks that show locals would show the secrets.
        api_key, proxy = mask(api_key), mask(proxy)
        _check(
            max_connections=max_connections,
            session=session,
            ssl=ssl,
            proxy=proxy,
        )
        _check_types(timeouts, retries, size_limits)
        if concurrency is not None:
            check_concurrency(concurrency)
        make_budgets = _budgets(max_cost, budgets)
        # A pickled client reads the variable again where it is unpickled.
        self._is_key_from_environment = api_key is None
        self._settings = Settings(
            api_key=_environment_key() if api_key is None else _stripped(api_key),
            base_url=parse_base_url(
                base_url or os.environ.get("OPENROUTER_BASE_URL") or _BASE_URL,
                allow_http=allow_http,
            ),
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
            concurrency=ConcurrencyOption(concurrency),
            keep_requests=observer is not None,
        )
        self._observer = observer
        self._network = NetworkOptions(
            max_connections=max_connections or _MAX_CONNECTIONS,
            session=session,
            proxy=proxy,
            ssl=ssl,
            env_proxies=env_proxies,
        )
        self._make_transport = partial(
            Transport, self._network, on_call, clock, observer, make_budgets
        )
        self._set_up()

    def _set_up(self) -> None:
        """Create the transport and what depends on it; no connection is opened yet."""
        self._transport = self._make_transport()
        self._is_owner = True
        self._usage = cache(partial(_new_usage, self._settings, self._transport))
        self._chat = Chat(self._settings, self._transport, self._observer)

    @property
    def chat(self) -> Chat:
        """The chat operation."""
        return self._chat

    @property
    def batches(self) -> "Batches":
        """The hosted-batch operations."""
        # Imported on first use: most programs have no batches.
        from .batches import Batches

        return Batches(self._settings, self._transport)

    @property
    def usage(self) -> "ClientUsage":
        """Tokens and cost of the calls of this client and its siblings."""
        return self._usage()

    @property
    def timeouts(self) -> Timeouts:
        """Timeouts of all calls that do not override them."""
        return self._settings.timeouts

    @property
    def retries(self) -> Retries:
        """Retry rules of all calls that do not override them."""
        return self._settings.retries

    @property
    def size_limits(self) -> SizeLimits:
        """Maximum sizes of responses held in memory."""
        return self._settings.size_limits

    @property
    def stats(self) -> PoolStats:
        """A snapshot: slots in use, calls waiting, idle connections, limits."""
        return self._transport.stats(self._settings.concurrency)

    def with_options(
        self,
        *,
        api_key: ApiKey | None = None,
        base_url: str | None = None,
        timeouts: Timeouts | float | None = None,
        retries: Retries | None = None,
        headers: Mapping[str, str] | None = None,
        usage_tag: str | None = None,
        concurrency: Concurrency | Literal[Unchanged.UNCHANGED] | None = UNCHANGED,
    ) -> Self:
        """
        Return a client with other options and the same connections.

        The options are those of the class; one that is not passed keeps its value.
        Closing the returned client has no effect. `headers` are added to those of
        this client, or replace them. `usage_tag` is the tag of all calls that do not
        have their own. `usage` and the budgets are shared. Both clients wait for the
        same cooldowns, and share the adaptive limit of `concurrency="auto"`. A number
        is a limit of the returned client alone, and None removes the limit.

        Raises:
            TypeError: If an option has the wrong type.
            ConfigurationError: If an option is invalid.
        """
        api_key = mask(api_key)
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        settings = self._settings
        if concurrency is not UNCHANGED:
            if concurrency is not None:
                check_concurrency(concurrency)
            settings = evolve(settings, concurrency=ConcurrencyOption(concurrency))
        other._settings = settings.with_options(
            {
                "api_key": api_key,
                "base_url": base_url,
                "timeouts": timeouts,
                "retries": retries,
                "extra_headers": headers,
                "usage_tag": usage_tag,
            }
        )
        if api_key is not None:
            other._is_key_from_environment = False
        other._is_owner = False
        other._chat = Chat(other._settings, self._transport, self._observer)
        return other

    async def request(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        query: Mapping[str, Any] | None = None,
        usage_tag: str | None = None,
    ) -> Any:
        """
        Call any other endpoint, such as `("GET", "/models")`.

        Key, connections, timeouts and errors are those of chat calls. Only GET is
        retried. Other methods than GET are counted in `usage`, with the `usage` object
        of the response if it has one, and must fit into the budgets.

        Args:
            method: HTTP method.
            path: Path below the base URL, starting with a slash.
            json: Body to send as JSON; None for a request without a body.
            query: Parameters to add to the URL; those that are None are left out.
            usage_tag: Name that the call is counted under in `usage`.

        Returns:
            The decoded JSON, unchanged.
        """
        name = method.upper()
        settings = self._settings
        if usage_tag is not None:
            settings = settings.with_options({"usage_tag": usage_tag})
        is_get = name == "GET"
        call = settings.call(
            name,
            path,
            read_json,
            body=json,
            query=query,
            retry=is_get,
            account=None if is_get else settings.account,
        )
        budgets = self._transport.budgets
        if budgets is not None and not is_get:
            budgets.attach(call, settings, None)
        return await self._transport.fetch(call)

    async def generation(
        self, generation_id: str, *, wait: float = 600.0
    ) -> "Generation":
        """
        Look up what a generation used and cost.

        OpenRouter makes the record available 1 to 8 minutes after the generation. Until
        then it is looked up again, after 5 seconds at first and later every 30.

        Args:
            generation_id: The id, such as `response.http.generation_id`.
            wait: Maximum seconds to wait for the record; 0 looks it up once.

        Raises:
            NotFoundError: If it is not available after `wait` seconds.
            TypeError: If an argument has the wrong type.
            ConfigurationError: If the id is empty or `wait` is negative.
        """
        from .catalogue.generations import find_generation

        return await find_generation(
            self._settings, self._transport, generation_id, wait
        )

    async def aclose(self) -> None:
        """
        Close the connections of the running event loop and reject further calls.

        Calls in flight end with a ClosedError. Closing twice has no effect.
        """
        if self._is_owner:
            await self._transport.aclose()

    close = aclose

    # Type checkers reject `with` because the method does not exist.
    if not TYPE_CHECKING:

        def __enter__(self) -> NoReturn:
            raise TypeError(
                "Use `async with AsyncOpenRouter() as client:`, not `with`."
            )

        def __exit__(self, *_exception: object) -> None:
            """Exist, because Python looks for it before it calls `__enter__`."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Return a client with this configuration and connections of its own."""
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        other._set_up()
        return other

    def __copy__(self) -> Self:
        return self.__deepcopy__({})

    def __getstate__(self) -> dict[str, Any]:
        """
        Return the configuration, without connections and without the key.

        Raises:
            TypeError: If the pickle would contain a secret or open connections.
        """
        settings, network = self._settings, self._network
        if self._is_key_from_environment:
            settings = evolve(settings, api_key=None)
        elif isinstance(settings.api_key, str):
            raise TypeError(
                "Cannot pickle a client with an explicit api_key: the key would be "
                "stored in the pickle. Set OPENROUTER_API_KEY where the client is "
                "used, or pass api_key=a function that returns the key."
            )
        if network.proxy is not None and "@" in network.proxy:
            raise TypeError(
                "Cannot pickle a client whose proxy URL contains a password: it would "
                "be stored in the pickle. Set HTTPS_PROXY where the client is used."
            )
        if network.session is not None:
            raise TypeError(
                "Cannot pickle a client with session=: open connections belong to one "
                "process. Create the client where it is used."
            )
        state = {**self.__dict__, "_settings": settings}
        for name in ("_transport", "_chat", "_usage"):
            del state[name]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self._is_key_from_environment:
            self._settings = evolve(self._settings, api_key=_environment_key())
        self._set_up()

    def __repr__(self) -> str:
        # Tracebacks that show locals call this during __init__, too.
        settings = getattr(self, "_settings", None)
        return f"<AsyncOpenRouter {settings and settings.base_url.url}>"


def _new_usage(settings: Settings, transport: Transport) -> "ClientUsage":
    # Imported on first use: many programs never ask.
    from .catalogue.usage import ClientUsage

    return ClientUsage(settings, transport)


def _budgets(
    max_cost: object, budgets: object
) -> "Callable[..., ClientBudgets] | None":
    """
    Return a function that makes the budgets of a client; None without any.

    Raises:
        TypeError: If an argument has the wrong type.
        ConfigurationError: If a limit is not positive and finite, or a tag is invalid.
    """
    if max_cost is None and budgets is None:
        return None
    from .transport.client_budgets import BudgetLimits, ClientBudgets

    return partial(ClientBudgets, BudgetLimits.checked(max_cost, budgets))


def _environment_key() -> ApiKey | None:
    return _stripped(mask(os.environ.get("OPENROUTER_API_KEY", "")))


def _stripped(api_key: ApiKey) -> ApiKey | None:
    """Return a key without white space around it; None if it is empty."""
    return mask(api_key.strip()) or None if isinstance(api_key, str) else api_key


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
        raise ConfigurationError(
            f"max_connections must be 1 or more, not {max_connections!r}."
        )
    if ssl is not True and not isinstance(ssl, tls.SSLContext):
        raise ConfigurationError(
            f"ssl must be True or an SSLContext, not {ssl!r}: certificates are always "
            "checked. To trust a private certificate authority, pass "
            "ssl=ssl.create_default_context(cafile=...)."
        )
    if proxy is not None and not proxy.startswith(("http://", "https://")):
        raise ConfigurationError(
            "proxy must be an http:// or https:// URL, such as http://proxy.local:3128."
        )
    if session is not None and (ssl is not True or max_connections is not None):
        raise ConfigurationError(
            "ssl and max_connections have no effect together with session. Pass them "
            "to the connector of the session: aiohttp.TCPConnector(ssl=..., limit=...)."
        )


def _check_types(timeouts: object, retries: object, size_limits: object) -> None:
    """Reject a number in place of `Timeouts` now, not in the first call."""
    for name, value, kind in (
        ("timeouts", timeouts, Timeouts),
        ("retries", retries, Retries),
        ("size_limits", size_limits, SizeLimits),
    ):
        if not isinstance(value, kind):
            remedy = ""
            if kind is Timeouts and isinstance(value, int | float):
                remedy = f" Pass Timeouts(total={value!r:.60}) to limit each call."
            raise TypeError(
                f"{name} must be a {kind.__name__}(...), not {value!r:.60}.{remedy}"
            )


def _headers(
    headers: Mapping[str, str], app_headers: Mapping[str, str | None]
) -> dict[str, str]:
    check_headers(headers)
    all_headers = {
        "Content-Type": "application/json",
        "User-Agent": f"openrouter_async/{__version__}",
    }
    for name, value in app_headers.items():
        if value is not None:
            check_header_value(name, value)
            all_headers[name] = value
    return {**all_headers, **headers}
