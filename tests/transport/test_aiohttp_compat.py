"""Workarounds for aiohttp that no whole call can reach."""

# pyright: reportPrivateUsage=false

import asyncio

import aiohttp
import pytest
from aiohttp.client_proto import ResponseHandler
from support import HELLO
from yarl import URL

from openrouter_async import AsyncOpenRouter, Timeouts
from openrouter_async.testing import Clock, LocalOpenRouter, Reply, SeenRequest
from openrouter_async.transport.aiohttp_compat import (
    _retrieve_exception,
    _retrieve_exception_of_closed,
    close_idle,
    count_idle,
    end_with_connection,
    stop_waiting,
    take_received,
    take_whole,
    wait_for_data,
    waiting_class,
)
from openrouter_async.transport.timer import SharedTimer
from openrouter_async.transport.watchdog import Watchdog


async def test_body_of_a_connection_that_was_lost_before_breaks(clock: Clock) -> None:
    loop = asyncio.get_running_loop()
    protocol = ResponseHandler(loop)
    protocol.connection_lost(None)
    _retrieve_exception_of_closed(protocol)
    body = aiohttp.StreamReader(protocol, 2**16, loop=loop)
    watchdog = Watchdog(SharedTimer(loop, clock), Timeouts())
    watchdog.protocol = protocol
    end_with_connection(body, watchdog)

    with pytest.raises(aiohttp.ClientPayloadError, match="closed inside"):
        await body.read()


async def test_exception_of_a_lost_connection_counts_as_retrieved() -> None:
    """An exception that nobody retrieves is logged. aiohttp may cancel the future."""
    loop = asyncio.get_running_loop()
    reported: list[object] = []
    loop.set_exception_handler(lambda _, context: reported.append(context))
    failed: asyncio.Future[None] = loop.create_future()
    cancelled: asyncio.Future[None] = loop.create_future()
    for future in (failed, cancelled):
        future.add_done_callback(_retrieve_exception)
    failed.set_exception(aiohttp.ClientConnectionError("Connection lost"))
    cancelled.cancel()
    await asyncio.sleep(0)
    del failed, cancelled, future

    assert reported == []


def open_body() -> aiohttp.StreamReader:
    """Return an empty body on a connection that is open."""
    loop = asyncio.get_running_loop()
    protocol = ResponseHandler(loop)
    protocol.connection_made(asyncio.Transport())
    return aiohttp.StreamReader(protocol, 2**16, loop=loop)


async def test_bytes_end_the_wait_for_data() -> None:
    body = open_body()
    waiter = wait_for_data(body)
    assert waiter is not None

    body.feed_data(b"one")
    body.feed_data(b"two")
    await waiter

    assert take_received(body) == b"onetwo"
    assert take_received(body) == b""


async def test_failure_ends_the_wait_for_data() -> None:
    body = open_body()
    waiter = wait_for_data(body)
    assert waiter is not None

    body.set_exception(aiohttp.ClientPayloadError("broken"))

    with pytest.raises(aiohttp.ClientPayloadError, match="broken"):
        await waiter


async def test_body_can_be_read_after_a_cancelled_wait_for_data() -> None:
    body = open_body()
    waiter = wait_for_data(body)
    assert waiter is not None
    waiter.cancel()
    stop_waiting(body)

    body.feed_data(b"one")

    assert await body.readany() == b"one"


async def test_body_that_has_something_to_report_is_not_waited_for() -> None:
    received, ended, failed, awaited, lost = (open_body() for _ in range(5))
    received.feed_data(b"one")
    ended.feed_eof()
    failed.set_exception(aiohttp.ClientPayloadError("broken"))
    reader = asyncio.create_task(awaited.readany())
    await asyncio.sleep(0)
    lost._protocol.connection_lost(None)

    for body in (received, ended, failed, awaited, lost, object()):
        assert wait_for_data(body) is None

    awaited.feed_data(b"two")
    assert await reader == b"two"


def test_unknown_class_of_bodies_is_not_waited_for() -> None:
    assert waiting_class(aiohttp.StreamReader) is aiohttp.StreamReader
    assert waiting_class(object) is None
    assert waiting_class(aiohttp.StreamReader, object) is None


async def test_taking_what_was_received_leaves_the_body_as_reading_it_does() -> None:
    taken, read = open_body(), open_body()
    for body in (taken, read):
        body.begin_http_chunk_receiving()
        for data in (b"one", b"two", b"three"):
            body.feed_data(data)
            body.end_http_chunk_receiving()
            if body is taken:
                assert take_received(body) == data
            else:
                assert body.read_nowait() == data

    state = ["_size", "_cursor", "_buffer_offset", "_http_chunk_splits"]
    assert [getattr(taken, name) for name in state] == [
        getattr(read, name) for name in state
    ]
    assert len(taken._http_chunk_splits or ()) == 1


async def test_taking_what_was_received_resumes_a_paused_connection() -> None:
    body = open_body()
    body._protocol._reading_paused = True
    body.feed_data(b"one")

    assert take_received(body) == b"one"
    assert not body._protocol._reading_paused


async def test_rest_of_bytes_that_were_read_in_part_is_taken() -> None:
    body = open_body()
    body.feed_data(b"one two")

    assert await body.readexactly(4) == b"one "
    assert take_received(body) == b"two"


async def test_whole_body_is_taken_only_once_it_has_ended() -> None:
    body, other, failed = (open_body() for _ in range(3))
    body.feed_data(b"one")
    assert take_whole(body) == b""

    body.feed_eof()
    assert take_whole(body) == b"one"
    assert body.at_eof()
    assert take_whole(body) == b""

    for data in (b"one", b"two"):
        other.feed_data(data)
    other.feed_eof()
    assert take_whole(other) == b"onetwo"

    failed.feed_data(b"one")
    failed.feed_eof()
    failed.set_exception(aiohttp.ClientPayloadError("broken"))
    assert take_whole(failed) == b""
    assert take_whole(object()) == b""


def test_closed_session_has_no_idle_connections() -> None:
    close_idle(None, URL("http://127.0.0.1"))

    assert count_idle(None) == 0


def _close_first(seen: SeenRequest) -> Reply:
    return Reply("hello", stop="close" if seen.connection == 1 else None)


async def test_idle_connections_to_other_servers_stay_open(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    async with LocalOpenRouter() as other_server:
        other = client.with_options(
            base_url=other_server.url, api_key=other_server.api_key
        )
        await client.chat.send(HELLO)
        server.reply(_close_first, times=2)
        await other.chat.send(HELLO)
        await client.chat.send(HELLO)

        await other.chat.send(HELLO)

    assert [seen.connection for seen in server.requests] == [1, 1, 2]
    assert [seen.connection for seen in other_server.requests] == [1, 1]
