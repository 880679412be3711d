"""Fixtures: the server behind the proxies, and the proxies."""

import socket
import time
from collections.abc import Iterator

import pytest
from proxy_starter import (
    CONFIGS,
    Proxy,
    ProxyStarter,
)
from support import MakeClient

from openrouter_async import (
    AsyncOpenRouter,
    Timeouts,
)
from openrouter_async.testing import LocalOpenRouter


@pytest.fixture
def closed_port() -> Iterator[int]:
    """Return a port that is in use but does not accept connections."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]


@pytest.fixture(scope="module")
def module_server() -> Iterator[LocalOpenRouter]:
    """Run the server behind all proxies."""
    with LocalOpenRouter() as server:
        yield server


@pytest.fixture
def server(module_server: LocalOpenRouter) -> Iterator[LocalOpenRouter]:
    """Return the server behind all proxies, and clear it after the test."""
    yield module_server

    end = time.monotonic() + 5
    while module_server.stats.in_flight and time.monotonic() < end:
        time.sleep(0.005)
    module_server.clear()


@pytest.fixture(scope="module")
def start_proxy(
    module_server: LocalOpenRouter, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ProxyStarter]:
    """Return a function that starts proxies in front of the server."""
    starter = ProxyStarter(module_server, tmp_path_factory.mktemp("starter"))

    yield starter

    starter.stop()


@pytest.fixture(params=CONFIGS)
def proxy(request: pytest.FixtureRequest, start_proxy: ProxyStarter) -> Proxy:
    """Return each of the proxies in turn."""
    return start_proxy(CONFIGS[request.param])


@pytest.fixture
async def proxied(proxy: Proxy, make_client: MakeClient) -> AsyncOpenRouter:
    """Return a client that sends through the proxy."""
    return make_client(base_url=proxy.url, timeouts=Timeouts(total=30))
