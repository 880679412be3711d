"""NoProxy: the hosts and networks that NO_PROXY excludes from the proxy."""

import ipaddress
import re
from collections.abc import Iterator
from typing import Final, TypeAlias

from attrs import frozen
from yarl import URL

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

# curl and Go separate entries by commas; curl also by white space.
_SEPARATOR: Final = re.compile(r"[,\s]+")
_PORT: Final = re.compile(r":(\d+)$")


@frozen
class _Entry:
    """
    One entry of the list.

    Attributes:
        host: A network, or a domain without a leading dot.
        port: The port that the entry is limited to; None for all ports.
    """

    host: Network | str
    port: int | None

    def matches(self, host: str, address: Address | None, port: int | None) -> bool:
        if self.port is not None and self.port != port:
            return False
        if isinstance(self.host, str):
            return address is None and f".{host}".endswith(f".{self.host}")
        return address is not None and address in self.host


class NoProxy:
    """
    The hosts and networks that are reached without a proxy.

    An entry is one of these, with or without a port (`host:8080`, `[fd00::1]:8080`):

    1. a domain, with all its subdomains; `.example.com` and `*.example.com` mean the
       same as `example.com`, as in curl;
    2. an IPv4 or IPv6 address;
    3. a network, such as `10.0.0.0/8` or `fd00::/8`;
    4. `*`, which means all hosts.

    Other entries are ignored.

    Source: curl's NO_PROXY, and golang.org/x/net/http/httpproxy.
    """

    def __init__(self, text: str) -> None:
        """
        Parse a list.

        Args:
            text: The value of NO_PROXY; "" excludes nothing.
        """
        parts = _SEPARATOR.split(text.lower())
        self._all = "*" in parts
        self._entries = [*_parse(parts)]

    def matches(self, url: URL) -> bool:
        """Return True if a URL is reached without a proxy."""
        if self._all:
            return True
        # yarl leaves the case of a URL that was parsed with `encoded=True`.
        host = (url.raw_host or "").rstrip(".").lower()
        address = _parse_address(host)
        return any(entry.matches(host, address, url.port) for entry in self._entries)


def _parse_address(host: str) -> Address | None:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address):
        # An IPv4 address in IPv6 notation belongs to the networks of IPv4, as in Go.
        return address.ipv4_mapped or address
    return address


def _parse(parts: list[str]) -> Iterator[_Entry]:
    for part in parts:
        # Tried first: the colons of an IPv6 address do not begin a port, except behind
        # its brackets.
        network = None if "]:" in part else _parse_network(part)
        if network is not None:
            yield _Entry(network, None)
            continue
        found = _PORT.search(part)
        port = None if found is None else int(found[1])
        text = part if found is None else part[: found.start()]
        host = _parse_network(text) or _parse_domain(text)
        if host:
            yield _Entry(host, port)


def _parse_network(text: str) -> Network | None:
    """Return a network, or an address as a network of one; None if it is neither."""
    try:
        # Not strict: in 10.1.2.3/8, the bits of the host are ignored.
        return ipaddress.ip_network(re.sub(r"[][]", "", text), strict=False)
    except ValueError:
        return None


def _parse_domain(text: str) -> str:
    """Return a domain as it stands in a URL; "" if it is not valid."""
    domain = text.removeprefix("*").strip(".")
    try:
        return URL.build(scheme="http", host=domain).raw_host or ""
    except ValueError:
        return ""
