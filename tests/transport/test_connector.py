"""The sockets of connections."""

# The socket is a private attribute of several layers.
# pyright: reportPrivateUsage=false

import socket

import pytest
from support import HELLO

from openrouter_async import AsyncOpenRouter
from openrouter_async.transport.connector import _make_socket


async def test_sockets_send_keep_alive_probes(client: AsyncOpenRouter) -> None:
    async with client.chat.send(HELLO, stream=True) as stream:
        transport = stream._event_stream._watchdog.transport
        if transport is None:  # All of it is here already.
            (pool,) = client._transport._pools._pools.values()
            connector = pool._session.connector
            assert connector is not None
            ((found,),) = connector._conns.values()
            transport = found[0].transport
        assert transport is not None
        sock = transport.get_extra_info("socket")
        options = [
            sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE),
            *(
                sock.getsockopt(socket.IPPROTO_TCP, getattr(socket, name))
                for name in ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT")
                if hasattr(socket, name)
            ),
            sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY),
        ]

    assert options == [1, 60, 30, 5, 1]


async def test_missing_socket_option_is_skipped(
    client: AsyncOpenRouter, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = socket.socket()
    usual = system.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT)
    system.close()
    monkeypatch.delattr(socket, "TCP_KEEPCNT")
    made = _make_socket((socket.AF_INET, socket.SOCK_STREAM, 0, "", ("", 0)))
    monkeypatch.undo()
    options = [
        made.getsockopt(socket.IPPROTO_TCP, getattr(socket, name))
        for name in ("TCP_KEEPIDLE", "TCP_KEEPCNT")
    ]
    made.close()

    assert options == [60, usual]
