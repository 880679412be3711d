"""The aiohttp connector and its sockets."""

import socket
import ssl as tls
from contextlib import suppress
from typing import Any, Final

import aiohttp

# A reasoning model can be silent for minutes, and NAT devices drop silent connections.
# The first probe is sent after 60 s of silence, then one every 30 s; the connection is
# dead after five without a reply.
_KEEP_ALIVE: Final = (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 30), ("TCP_KEEPCNT", 5))
# Below the 15 to 60 s after which servers and proxies close idle connections.
_POOLED_SECONDS: Final = 15.0


def make_connector(ssl: "tls.SSLContext | bool") -> aiohttp.TCPConnector:
    """Return a connector without a limit of its own: the slots are the limit."""
    return aiohttp.TCPConnector(
        limit=0,
        ssl=ssl,
        keepalive_timeout=_POOLED_SECONDS,
        socket_factory=_make_socket,
    )


def _make_socket(
    address: tuple[
        socket.AddressFamily | int, socket.SocketKind | int, int, str, tuple[Any, ...]
    ],
) -> socket.socket:
    family, kind, proto, _, _ = address
    made = socket.socket(family, kind, proto)
    made.setblocking(False)  # noqa: FBT003 - the method takes no keyword
    # Keep-alive is an improvement, not a condition: a system without an option, or
    # one that rejects it, uses its own values.
    with suppress(OSError):
        made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEP_ALIVE:
        option = getattr(socket, name, None)
        if option is not None:
            with suppress(OSError):
                made.setsockopt(socket.IPPROTO_TCP, option, value)
    return made
