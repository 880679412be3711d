"""Faults of names, addresses, proxies and the machine."""

import asyncio
import errno
import socket
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import aiohttp
import attrs
import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from calls import VirtualTime, call, make_client, open_stream
from covers import covers
from fault_rows import Kind, ok_response
from leaks import assert_at_rest, no_leaks
from script import (
    Peer,
    ScriptServer,
    chunk,
    close,
    free_port,
    http,
    read,
    read_head,
    reset,
    send,
    silence,
    sse,
    wait,
)

from openrouter_async import (
    APIConnectionError,
    APIError,
    APITimeoutError,
    OpenRouterError,
    Timeouts,
)

KINDS: Sequence[Kind] = ("plain", "stream")
both = pytest.mark.parametrize("kind", KINDS)


class FakeResolver(AbstractResolver):
    """
    A resolver that returns given addresses, raises an error, or hangs.

    Attributes:
        addresses: The addresses of every name.
        fault: The exception to raise; None: return the addresses.
        hang: If True, a lookup does not end.
        lookups: Number of lookups.
    """

    def __init__(self, *addresses: str, fault: OSError | None = None) -> None:
        self.addresses = addresses
        self.fault = fault
        self.hang = False
        self.lookups = 0

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: Any = socket.AF_INET,  # noqa: ARG002 - part of the interface
    ) -> list[ResolveResult]:
        """Return the addresses."""
        self.lookups += 1
        if self.hang:
            await asyncio.Event().wait()
        if self.fault is not None:
            raise self.fault
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in self.addresses
        ]

    async def close(self) -> None:
        """Do nothing: the resolver has no resources."""


def make_session(resolver: FakeResolver, **options: Any) -> aiohttp.ClientSession:
    """Return a session that uses a resolver."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            resolver=resolver, use_dns_cache=False, ttl_dns_cache=None, **options
        )
    )


@contextmanager
def unresponsive_port(host: str = "127.0.0.1", port: int = 0) -> Generator[int]:
    """Listen with a full queue, so that the kernel drops further SYNs."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    waiting = [socket.socket(family) for _ in range(4)]
    try:
        listener.bind((host, port))
        listener.listen(0)
        port = listener.getsockname()[1]
        for sock in waiting:
            sock.settimeout(0)
            with suppress(BlockingIOError):
                sock.connect((host, port))
        yield port
    finally:
        for sock in (*waiting, listener):
            sock.close()


async def failure(client: Any, kind: Kind, **options: Any) -> OpenRouterError:
    """Return the exception that a call raises."""
    with pytest.raises(OpenRouterError) as caught:
        await call(client, kind, **options)
    assert_at_rest(client)
    return caught.value


@covers("F01", "the port is closed", "`APIConnectionError`, 3 attempts, none accepted")
@both
async def test_closed_port_is_retried_and_named_in_the_error(kind: Kind) -> None:
    port = free_port()
    async with no_leaks(), make_client(f"http://127.0.0.1:{port}/v1") as client:
        error = await failure(client, kind)

        assert type(error) is APIConnectionError
        assert f"127.0.0.1:{port}" in str(error)
        assert [a.billing for a in error.attempts] == ["not_accepted"] * 3


@covers("F02", "SYNs are dropped", "`APITimeoutError` (connect), 3 attempts")
@both
async def test_connect_timeout_ends_each_attempt_whose_syn_is_dropped(
    kind: Kind,
) -> None:
    with unresponsive_port() as port:
        async with no_leaks(), make_client(f"http://127.0.0.1:{port}/v1") as client:
            began = time.monotonic()
            error = await failure(client, kind, timeouts=Timeouts(connect=0.05))

            assert isinstance(error, APITimeoutError)
            assert (error.phase, error.seconds) == ("connect", 0.05)
            assert [a.billing for a in error.attempts] == ["not_accepted"] * 3
            assert 0.15 <= time.monotonic() - began < 5


@covers("F03", "the name is unknown", "`APIConnectionError`, 3 attempts")
@covers("F04", "the name lookup fails temporarily", "`APIConnectionError`, 3 attempts")
@pytest.mark.parametrize("number", [socket.EAI_NONAME, socket.EAI_AGAIN])
@both
async def test_failed_name_lookup_is_retried(kind: Kind, number: int) -> None:
    resolver = FakeResolver(fault=socket.gaierror(number, "no such name"))
    async with (
        no_leaks(),
        make_session(resolver) as session,
        make_client("https://api.invalid/v1", session=session) as client,
    ):
        error = await failure(client, kind)

        assert type(error) is APIConnectionError
        assert "api.invalid" in str(error)
        assert [a.billing for a in error.attempts] == ["not_accepted"] * 3
        assert resolver.lookups == 3


@covers("F05", "the name lookup hangs", "`APITimeoutError` (connect), 3 attempts")
async def test_connect_timeout_covers_the_name_lookup() -> None:
    resolver = FakeResolver()
    resolver.hang = True
    async with (
        no_leaks(),
        make_session(resolver) as session,
        make_client("https://api.invalid/v1", session=session) as client,
    ):
        error = await failure(client, "plain", timeouts=Timeouts(connect=0.03))

        assert isinstance(error, APITimeoutError)
        assert error.phase == "connect"
        assert len(error.attempts) == 3


@covers("F06", "a name with a closed and an open address", "the response")
@both
async def test_all_addresses_of_a_name_are_tried_in_one_attempt(kind: Kind) -> None:
    async with no_leaks(), ScriptServer() as server:
        resolver = FakeResolver("127.0.0.9", "127.0.0.1")
        url = f"http://api.invalid:{server.port}/v1"
        async with (
            make_session(resolver) as session,
            make_client(url, session=session, allow_http=True) as client,
        ):
            response = await call(client, kind)

            assert response.text == "hello"
            assert len(response.http.attempts) == 1


@covers("F07", "IPv6 does not respond, IPv4 works", "the response")
async def test_ipv4_is_tried_while_ipv6_does_not_respond() -> None:
    async with no_leaks(), ScriptServer() as server:
        try:
            hole = unresponsive_port("::1", server.port)
            hole.__enter__()
        except OSError:
            pytest.skip("This machine has no IPv6 loopback.")
        resolver = FakeResolver("::1", "127.0.0.1")
        url = f"http://api.invalid:{server.port}/v1"
        async with (
            make_session(resolver, happy_eyeballs_delay=0.02) as session,
            make_client(url, session=session, allow_http=True) as client,
        ):
            response = await call(client, "plain")

            assert response.text == "hello"
            assert len(response.http.attempts) == 1
        hole.__exit__(None, None, None)


@covers(
    "F08", "connection refused twice, then accepted", "the response, at the 3rd attempt"
)
@both
async def test_refused_connection_is_retried_until_the_server_is_up(kind: Kind) -> None:
    port = free_port()
    virtual_time = VirtualTime()
    server = ScriptServer(port=port)

    async def sleep(seconds: float) -> None:
        virtual_time.waits.append(seconds)
        if len(virtual_time.waits) == 2:
            await server.__aenter__()

    clock = attrs.evolve(virtual_time.clock, sleep=sleep)
    async with no_leaks():
        async with make_client(f"http://127.0.0.1:{port}/v1", clock=clock) as client:
            response = await call(client, kind)

            assert response.text == "hello"
            assert virtual_time.waits == [0.5, 1.0]
            billing = [a.billing for a in response.http.attempts]
            assert billing == ["not_accepted", "not_accepted", "billed"]
        await server.__aexit__(None, None, None)


@covers("F82", "too many open files", "`APIConnectionError`, 3 attempts")
@both
async def test_too_many_open_files_are_a_connection_error(kind: Kind) -> None:
    full = True

    def make(address: Any) -> socket.socket:
        if full:
            raise OSError(errno.EMFILE, "Too many open files")
        made = socket.socket(address[0], address[1], address[2])
        made.settimeout(0)
        return made

    async with (
        no_leaks(),
        ScriptServer() as server,
        make_session(FakeResolver("127.0.0.1"), socket_factory=make) as session,
        make_client(server, session=session) as client,
    ):
        error = await failure(client, kind)

        assert type(error) is APIConnectionError
        assert "Too many open files" in str(error)
        assert [a.billing for a in error.attempts] == ["not_accepted"] * 3

        full = False
        assert (await call(client, kind)).text == "hello"


PASSWORD = "proxy-password-1234"


def proxy_url(server: ScriptServer) -> str:
    """Return the URL of a proxy, with user and password."""
    return f"http://user:{PASSWORD}@127.0.0.1:{server.port}"


def assert_no_password(error: OpenRouterError) -> None:
    """Check that the password of the proxy is in no text of an error."""
    for text in (str(error), repr(error), error.cause or ""):
        assert PASSWORD not in text


@covers("F83", "the port of the proxy is closed", "`APIConnectionError`, 3 attempts")
@both
async def test_proxy_that_is_down_is_named_without_its_password(kind: Kind) -> None:
    proxy = f"http://user:{PASSWORD}@127.0.0.1:{free_port()}"
    url = "https://api.invalid/v1"
    async with no_leaks(), make_client(url, proxy=proxy) as client:
        error = await failure(client, kind)

        assert type(error) is APIConnectionError
        assert "proxy" in str(error)
        assert [a.billing for a in error.attempts] == ["not_accepted"] * 3
        assert_no_password(error)


@covers(
    "F83", "the proxy rejects the password (407)", "`APIConnectionError`, sent once"
)
@both
async def test_rejection_by_the_proxy_is_not_retried(kind: Kind) -> None:
    async with no_leaks(), ScriptServer() as server:
        server.script(read_head, send(http(b"", "407 Who are you")), silence)
        url = "https://api.invalid/v1"
        async with make_client(url, proxy=proxy_url(server)) as client:
            error = await failure(client, kind)

            assert type(error) is APIConnectionError
            assert "407" in str(error)
            assert server.connections == 1
            assert_no_password(error)
            assert b"Authorization: Bearer" not in server.requests[0]


@covers("F83", "the proxy closes the connection", "`APIConnectionError`, 3 attempts")
@both
async def test_proxy_that_closes_the_connection_is_retried(kind: Kind) -> None:
    async with no_leaks(), ScriptServer() as server:
        for _ in range(3):
            server.script(read_head, close)
        url = "https://api.invalid/v1"
        async with make_client(url, proxy=proxy_url(server)) as client:
            error = await failure(client, kind)

            assert type(error) is APIConnectionError
            assert [a.billing for a in error.attempts] == ["not_accepted"] * 3
            assert_no_password(error)


@covers("F60", "a redirect, in any form", "`APIError` with its status, sent once")
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(
    "location",
    ["/api/v2", "//{other}/x", "http://{other}/x", "http://{own}@{other}/x", ""],
)
@both
async def test_redirect_is_an_error_and_not_followed(
    kind: Kind, status: int, location: str
) -> None:
    async with no_leaks(), ScriptServer() as server, ScriptServer() as other:
        own, there = (f"127.0.0.1:{s.port}" for s in (server, other))
        target = location.format(own=own, other=there)
        headers = [f"Location: {target}"] if target else []
        server.script(read, send(http(b"", f"{status} Elsewhere", *headers)))
        async with make_client(server) as client:
            error = await failure(client, kind)

            assert type(error) is APIError
            assert error.status_code == status
            assert len(server.requests) == 1
            assert other.connections == 0


@covers("F19", "each connection is closed after its response", "the response")
async def test_server_that_closes_after_each_response_costs_no_retry(
    *, long: bool
) -> None:
    calls = 1000 if long else 150

    async def once(peer: Peer) -> None:
        await read(peer)
        await send(http(http_body(), "200 OK", "Keep-Alive: timeout=0"))(peer)
        await close(peer)

    async with no_leaks(), ScriptServer(default=once) as server:
        async with make_client(server) as client:
            for _ in range(calls):
                assert (await call(client)).text == "hello"

        assert len(server.requests) == calls


def http_body() -> bytes:
    """Return a completion."""
    return http().partition(b"\r\n\r\n")[2]


@covers("F46", "reset after n bytes, for every n", "the response, or one typed error")
@both
async def test_response_cut_anywhere_is_whole_or_an_error(
    kind: Kind, *, long: bool
) -> None:
    data = ok_response(kind)
    async with no_leaks(), ScriptServer() as server, make_client(server) as client:
        for cut in range(1, len(data) + 1, 1 if long else 5):
            server.script(read, send(data[:cut]), close)
            try:
                response = await call(client, kind)
            except OpenRouterError as error:
                partial = error.partial
                assert partial is None or "hello".startswith(partial.text)
            else:
                assert response.text == "hello"
                assert b"stop" in data[:cut]
        assert server.connections == len(range(1, len(data) + 1, 1 if long else 5))


@covers(
    "F64",
    "stream: reset while the caller is busy",
    "all chunks that arrived, then the error",
)
async def test_chunks_that_arrived_before_a_reset_are_delivered_first() -> None:
    async with no_leaks(), ScriptServer() as server, make_client(server) as client:
        server.script(
            read,
            send(sse(chunk("hel"))[:-5]),
            wait(0.02),
            send(b"%x\r\n%b\r\n" % (len(chunk("lo")), chunk("lo"))),
            wait(0.02),
            reset,
        )
        seen: list[str] = []

        async def read_slowly() -> None:
            async with open_stream(client) as stream:
                async for part in stream:
                    seen.append(part.text)
                    await asyncio.sleep(0.08)

        with pytest.raises(APIConnectionError) as caught:
            await read_slowly()

        assert seen == ["hel", "lo"]
        assert caught.value.partial is not None
        assert caught.value.partial.text == "hello"
