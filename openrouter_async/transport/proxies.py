"""Proxies: which proxy a URL goes through."""

import base64
from typing import TYPE_CHECKING
from urllib.request import getproxies, getproxies_environment, proxy_bypass

from attrs import frozen
from yarl import URL

from ..errors import ConfigurationError
from ..protocol.base_url import is_loopback
from ..protocol.headers import Secret
from ..types.shape import Value

if TYPE_CHECKING:
    from .no_proxy import NoProxy


@frozen(eq=False, repr=False)
class Proxy(Value):
    """
    A proxy, with its credentials apart from its URL.

    aiohttp puts the URL of a proxy into its error messages.

    Attributes:
        url: The URL without user and password.
        authorization: The Proxy-Authorization header; None without credentials.
    """

    url: URL
    authorization: Secret | None = None


def _read_no_proxy(entries: str) -> "NoProxy":
    # Imported here: few programs have a proxy.
    from .no_proxy import NoProxy

    return NoProxy(entries)


def _parse_proxy(text: str) -> Proxy:
    url = URL(text if "://" in text else f"http://{text}")
    if url.scheme not in ("http", "https"):
        raise ConfigurationError(
            f"Unsupported proxy scheme {url.scheme}://; use an http:// or https:// "
            "proxy, or env_proxies=False to ignore the proxies of the environment."
        )
    if url.user is None and url.password is None:
        return Proxy(url)
    pair = f"{url.user or ''}:{url.password or ''}".encode()
    header = Secret(f"Basic {base64.b64encode(pair).decode()}")
    return Proxy(url.with_user(None), header)


class Proxies:
    """
    The proxy for each URL, explicit or from the environment.

    The environment is read once. aiohttp's `trust_env` would cost two thread hops per
    call, and a netrc entry would replace our Authorization header. Requests to this
    machine use no proxy of the environment.

    Source: the variables of curl and Go; `NoProxy` has the rules for NO_PROXY.
    """

    def __init__(self, explicit: str | None, *, environment: bool) -> None:
        """
        Read the configuration.

        Args:
            explicit: The proxy for all URLs; None for none.
            environment: If True, use HTTPS_PROXY, HTTP_PROXY and NO_PROXY in the
                absence of an explicit proxy.

        Raises:
            ConfigurationError: If the scheme of the explicit proxy is not supported.
        """
        self._explicit = _parse_proxy(explicit) if explicit else None
        self._environment: dict[str, str] = {}
        self._no_proxy: NoProxy | None = None
        if environment and not explicit:
            self._environment = getproxies_environment()
            if self._environment:
                self._no_proxy = _read_no_proxy(self._environment.get("no", ""))
            else:
                # macOS and Windows have system settings, which the variables override.
                self._environment = getproxies()
        self._by_origin: dict[str, Proxy | None] = {}

    def choose(self, url: URL) -> Proxy | None:
        """
        Return the proxy for a URL; None for a direct connection.

        Raises:
            ConfigurationError: If the scheme of the proxy is not supported.
        """
        if self._explicit is not None or not self._environment:
            return self._explicit
        origin = f"{url.scheme}://{url.raw_host}:{url.port}"
        if origin not in self._by_origin:
            self._by_origin[origin] = self._look_up(url)
        return self._by_origin[origin]

    def _look_up(self, url: URL) -> Proxy | None:
        found = self._environment.get(url.scheme) or self._environment.get("all")
        # No proxy on another machine leads back to this one.
        if not found or not url.host or is_loopback(url.host):
            return None
        if self._no_proxy is None:
            is_excluded = bool(proxy_bypass(url.host))
        else:
            is_excluded = self._no_proxy.matches(url)
        return None if is_excluded else _parse_proxy(found)
