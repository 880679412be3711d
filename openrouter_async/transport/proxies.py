"""Proxies: which proxy a URL goes through."""

import base64
from urllib.request import getproxies, proxy_bypass

from attrs import frozen
from yarl import URL

from ..errors import ConfigurationError
from ..protocol.base_url import is_loopback
from ..protocol.headers import Secret
from ..types.shape import Value


@frozen(eq=False, repr=False)
class Proxy(Value):
    """
    A proxy, its password apart from its place.

    aiohttp puts a proxy's URL into the text of its errors.

    Attributes:
        url: Without user and password.
        authorization: The header that they make; None if there are none.
    """

    url: URL
    authorization: Secret | None = None


def _read_proxy(text: str) -> Proxy:
    url = URL(text if "://" in text else f"http://{text}")
    if url.scheme not in ("http", "https"):
        raise ConfigurationError(
            f"A proxy is an http:// or https:// URL, not {url.scheme}://. "
            "env_proxies=False passes the environment's by."
        )
    if url.user is None and url.password is None:
        return Proxy(url)
    pair = f"{url.user or ''}:{url.password or ''}".encode()
    made = Secret(f"Basic {base64.b64encode(pair).decode()}")
    return Proxy(url.with_user(None), made)


class Proxies:
    """
    Which proxy a request goes through.

    The environment is read once: aiohttp's own way costs two thread hops for each
    call, and lets a netrc entry replace our Authorization. It is not asked for this
    machine itself.

    Source: Go's `http.ProxyFromEnvironment`, curl's variables.
    """

    def __init__(self, explicit: str | None, *, environment: bool) -> None:
        self._explicit = _read_proxy(explicit) if explicit else None
        self._environment = getproxies() if environment and not explicit else {}
        self._known: dict[str, Proxy | None] = {}

    def choose(self, url: URL) -> Proxy | None:
        """
        Return the proxy for a URL; None: straight there.

        Raises:
            ConfigurationError: It is of a kind that is not spoken here.
        """
        if self._explicit is not None or not self._environment:
            return self._explicit
        origin = f"{url.scheme}://{url.host}:{url.port}"
        if origin not in self._known:
            self._known[origin] = self._look_up(url)
        return self._known[origin]

    def _look_up(self, url: URL) -> Proxy | None:
        found = self._environment.get(url.scheme) or self._environment.get("all")
        # Nobody else's machine leads back to this one.
        if not found or not url.host or is_loopback(url.host):
            return None
        # NO_PROXY may name a port.
        place = url.host if ":" in url.host else f"{url.host}:{url.port}"
        if proxy_bypass(place):
            return None
        return _read_proxy(found)
