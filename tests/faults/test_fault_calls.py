"""Faults of the caller: slots, hooks, event loops, timeouts, streams left open."""

# The moment when a body has ended is not public.
# pyright: reportPrivateUsage=false

import asyncio
import gc
import logging
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import attrs
import pytest
from calls import VirtualTime, call, make_client, open_stream
from covers import covers
from fault_rows import BODIES, Kind
from leaks import assert_at_rest, memory_below, no_leaks
from script import (
    LAST_CHUNK,
    ScriptServer,
    Step,
    chunk,
    event,
    flood,
    free_port,
    http,
    http_chunk,
    read,
    send,
    serve,
    silence,
    sse,
    wait,
)

from openrouter_async import (
    APIConnectionError,
    APIError,
    APITimeoutError,
    AsyncOpenRouter,
    ClosedError,
    InternalServerError,
    OpenRouterError,
    RateLimitError,
    Timeouts,
)
from openrouter_async.errors import STATUS_CLASSES

KINDS: Sequence[Kind] = ("plain", "stream")
both = pytest.mark.parametrize("kind", KINDS)


@covers("F20", "all slots are busy", "`APITimeoutError` (pool), never sent")
@both
async def test_pool_timeout_ends_a_call_without_a_slot(kind: Kind) -> None:
    async with no_leaks(), ScriptServer() as server:
        server.script(read, silence)
        async with make_client(server, max_connections=1) as client:
            busy = asyncio.create_task(call(client))
            await server.wait_for_request()

            with pytest.raises(APITimeoutError) as caught:
                await call(client, kind, timeouts=Timeouts(pool=0.05))

            assert caught.value.phase == "pool"
            assert len(server.requests) == 1
            assert client.stats.queued == 0
            busy.cancel()
            with pytest.raises(asyncio.CancelledError):
                await busy
            assert (await call(client, kind)).text == "hello"
            assert_at_rest(client)


@covers("F61", "each status from 400 to 599", "the class of the status")
@both
async def test_each_status_raises_its_class(kind: Kind) -> None:
    async with no_leaks(), ScriptServer() as server, make_client(server) as client:
        steps: list[Step] = []
        for status in range(400, 600):
            steps += [read, send(http(b"{}", f"{status} No"))]
        server.script(*steps)
        once = attrs.evolve(client.retries, max_attempts=1)
        for status in range(400, 600):
            with pytest.raises(APIError) as caught:
                await call(client, kind, retries=once)

            other = InternalServerError if status >= 500 else APIError
            assert type(caught.value) is STATUS_CLASSES.get(status, other)
            assert caught.value.status_code == status
        assert server.connections == 1
        assert len(server.requests) == 200


@both
async def test_connection_with_unsolicited_data_is_not_used(kind: Kind) -> None:
    async with no_leaks(), ScriptServer() as server, make_client(server) as client:
        unsolicited = send(http(b"{}", "418 Poison"))
        server.script(read, send(http()), wait(0.01), unsolicited, silence)
        await call(client, kind)
        await asyncio.sleep(0.05)
        once = attrs.evolve(client.retries, max_attempts=1)

        with pytest.raises(APIConnectionError) as caught:
            await call(client, kind, retries=once)

        assert [attempt.billing for attempt in caught.value.attempts] == [
            "not_accepted"
        ]
        assert len(server.requests) == 1
        assert_at_rest(client)


def in_future(seconds: float) -> str:
    """Return the date in this many seconds, in the format of HTTP."""
    return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)


FORMS: dict[str, tuple[str, float, float]] = {
    "seconds": ("Retry-After: 2", 2.0, 3.0),
    "float": ("Retry-After: 1.5", 1.5, 2.5),
    "nothing": ("X-None: 1", 0.0, 1.0),
    "zero": ("Retry-After: 0", 0.0, 1.0),
    "milliseconds": ("Retry-After-Ms: 1500", 1.5, 2.5),
    "past": ("Retry-After: Wed, 21 Oct 2015 07:28:00 GMT", 0.0, 1.0),
    "garbage": ("Retry-After: soon", 0.0, 1.0),
    "negative": ("Retry-After: -5", 0.0, 1.0),
    "infinite": ("Retry-After: inf", 0.0, 1.0),
    "no number": ("Retry-After: nan", 0.0, 1.0),
    "Arabic digits": ("Retry-After: \u00b2", 0.0, 1.0),
}


@covers("F62", "429 with each form of Retry-After", "its wait, or the usual backoff")
@pytest.mark.parametrize("form", [*FORMS, "future"])
async def test_each_form_of_retry_after_is_a_lower_bound(form: str) -> None:
    """Invalid values are ignored: the default backoff applies."""
    header, least, most = FORMS.get(form, (f"Retry-After: {in_future(5)}", 3.0, 6.0))
    virtual_time = VirtualTime()
    async with no_leaks(), ScriptServer() as server:
        server.script(read, send(http(b"{}", "429 Busy", header)))
        async with make_client(
            server, clock=virtual_time.clock, timeouts=Timeouts()
        ) as client:
            assert (await call(client)).text == "hello"

        assert len(virtual_time.waits) == 1
        assert least <= virtual_time.waits[0] <= most


@covers("F62", "429 with Retry-After of years", "`RateLimitError`, sent once")
async def test_retry_after_of_years_raises_at_once() -> None:
    async with no_leaks(), ScriptServer() as server:
        server.script(read, send(http(b"{}", "429 Busy", "Retry-After: 99999999")))
        async with make_client(server) as client:
            with pytest.raises(RateLimitError) as caught:
                await call(client)

            assert caught.value.retry_after == 99999999
            assert len(server.requests) == 1


@covers(
    "F71", "stream: 50,000 events in one burst (1,000,000 with --long)", "all, in order"
)
async def test_burst_of_events_arrives_in_order(*, long: bool) -> None:
    count = 1_000_000 if long else 50_000
    block = 10_000

    async def burst(peer: Any) -> None:
        await read(peer)
        await send(sse(b"")[:-5])(peer)
        for start in range(0, count, block):
            data = b"".join(chunk(f"{n} ") for n in range(start, start + block))
            await send(http_chunk(data))(peer)
        await send(http_chunk(chunk(finish="stop")) + b"0\r\n\r\n")(peer)

    async with no_leaks(), ScriptServer(default=burst) as server:
        async with make_client(server, timeouts=Timeouts()) as client:
            expected = 0
            async with open_stream(client) as stream:
                async for part in stream:
                    if part.text:
                        assert part.text == f"{expected} "
                        expected += 1

        assert expected == count


@covers("F75", "the caller leaves the block early", "connection closed at once")
async def test_leaving_the_block_closes_the_connection() -> None:
    async with no_leaks(), ScriptServer() as server, make_client(server) as client:
        server.script(read, send(sse(chunk("hel"))[:-5]), silence)
        async with open_stream(client) as stream:
            async for _ in stream:
                break

        assert_at_rest(client)
        await server.wait_until_closed(0.1)
        with pytest.raises(ClosedError):
            await anext(stream)


@covers(
    "F75", "the stream is garbage-collected", "`ResourceWarning`, connection closed"
)
async def test_garbage_collected_stream_warns_and_closes_its_connection() -> None:
    async with no_leaks(), ScriptServer() as server, make_client(server) as client:
        server.script(read, send(sse(chunk("hel"))[:-5]), silence)
        stream = await open_stream(client)
        await anext(stream)
        held = [stream]
        del stream
        with pytest.warns(ResourceWarning, match="async with"):
            held.clear()
        await asyncio.sleep(0.01)

        assert_at_rest(client)
        await server.wait_until_closed(0.1)


@covers("F77", "`on_call` raises", "logged; the call is not affected")
@both
async def test_exception_of_on_call_is_logged(
    kind: Kind, caplog: pytest.LogCaptureFixture
) -> None:
    def hook(_record: object) -> None:
        raise RuntimeError("the hook's own")

    async with (
        no_leaks(),
        ScriptServer() as server,
        make_client(server, on_call=hook) as client,
    ):
        assert (await call(client, kind)).text == "hello"
        assert_at_rest(client)

    assert "the hook's own" in caplog.text


@covers("F77", "the key function raises", "its exception, nothing sent")
@both
async def test_exception_of_the_key_function_is_raised(kind: Kind) -> None:
    def key() -> str:
        raise LookupError("no vault")

    async with (
        no_leaks(),
        ScriptServer() as server,
        make_client(server, api_key=key) as client,
    ):
        with pytest.raises(LookupError, match="no vault"):
            await call(client, kind)

        assert_at_rest(client)
        assert server.connections == 0


async def never(_seconds: float) -> None:
    """Wait without an end."""
    await asyncio.Event().wait()


WHERE = {
    "in flight": (read, silence),
    "in its body": (read, send(http()[:-5]), silence),
    "in a stream": (read, send(sse(chunk("hel"))[:-5]), silence),
    "in a wait": (read, send(http(b"{}", "503 Busy"))),
    "in the queue": (serve,),
}


@covers("F78", "the client is closed during calls", "`ClosedError`, at once")
@pytest.mark.parametrize("where", WHERE)
@both
async def test_closing_the_client_ends_calls_at_any_stage(
    kind: Kind, where: str
) -> None:
    virtual_time = VirtualTime()
    clock = attrs.evolve(virtual_time.clock, sleep=never)
    async with no_leaks(), ScriptServer() as server:
        client = make_client(server, clock=clock, max_connections=1)
        waiting: list[asyncio.Task[Any]] = []
        if where == "in the queue":
            server.script(read, silence)
            waiting.append(asyncio.create_task(call(client)))
            await asyncio.sleep(0.01)
        else:
            server.script(*WHERE[where])
        waiting.append(asyncio.create_task(call(client, kind)))
        await asyncio.sleep(0.03)
        assert not any(task.done() for task in waiting)

        began = time.monotonic()
        await client.aclose()
        done = await asyncio.gather(*waiting, return_exceptions=True)

        assert time.monotonic() - began < 2
        assert [type(error) for error in done] == [ClosedError] * len(waiting)
        assert_at_rest(client)
        await client.aclose()
        with pytest.raises(ClosedError):
            await call(client, kind)


@covers(
    "F79",
    "the client is used on another event loop",
    "the response, on a new connection",
)
def test_client_is_used_by_one_event_loop_after_another(
    caplog: pytest.LogCaptureFixture,
) -> None:
    client: AsyncOpenRouter | None = None

    async def main(kind: Kind) -> None:
        nonlocal client
        async with ScriptServer(port=port) as server:
            client = client or make_client(server)
            assert (await call(client, kind)).text == "hello"
            assert (await call(client, kind)).text == "hello"
            assert server.connections == 1

    port = free_port()
    with caplog.at_level(logging.WARNING):
        for kind in KINDS:
            asyncio.run(main(kind))
            gc.collect()

    assert client is not None
    assert client.stats.idle == 0
    assert caplog.records == []


@covers("F80", "the system's time jumps during a wait", "no effect")
async def test_jump_of_the_system_time_has_no_effect(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Timeouts and waits are monotonic; only dates in headers use the system's time."""
    virtual_time = VirtualTime()
    wall = time.time()

    async def sleep(seconds: float) -> None:
        virtual_time.waits.append(seconds)
        monkeypatch.setattr(time, "time", lambda: wall - 3600)

    clock = attrs.evolve(virtual_time.clock, sleep=sleep)
    async with no_leaks(), ScriptServer() as server:
        server.script(read, send(http(b"{}", "503 Busy")))
        async with make_client(server, clock=clock) as client:
            assert (await call(client)).text == "hello"

        assert virtual_time.waits == [0.5]


@covers("F81", "the process is suspended", "`APITimeoutError` (total)")
@both
async def test_process_that_was_suspended_continues(kind: Kind) -> None:
    async with no_leaks(), ScriptServer() as server, make_client(server) as client:
        server.script(read, silence)
        waiting = asyncio.create_task(call(client, kind, timeouts=0.1))
        await server.wait_for_request()
        time.sleep(0.2)  # noqa: ASYNC251 - the process is suspended

        with pytest.raises(APITimeoutError) as caught:
            await waiting

        assert caught.value.phase == "total"
        assert_at_rest(client)
        assert (await call(client, kind)).text == "hello"


async def test_stream_closed_before_its_end_was_read_is_closed() -> None:
    start, end = sse(chunk("he"))[: -len(LAST_CHUNK)], LAST_CHUNK
    async with no_leaks(), ScriptServer() as server, make_client(server) as client:
        server.script(read, send(start), wait(0.02), send(end))
        stream = await open_stream(client)
        reader = asyncio.create_task(stream.collect())
        content = stream._event_stream._response.content
        while not content.is_eof():  # noqa: ASYNC110 - no event for this state
            await asyncio.sleep(0)
        await stream.aclose()

        with pytest.raises(ClosedError) as caught:
            await reader

        assert caught.value.partial is not None
        assert caught.value.partial.text == "he"
        assert_at_rest(client)


@covers("F43", "a body without a length stalls", "`APITimeoutError` (total)")
async def test_timeout_is_not_the_end_of_a_body_without_a_length() -> None:
    """The client closes the connection, which must not look like the end of the body."""
    async with no_leaks(), ScriptServer() as server, make_client(server) as client:
        server.script(read, send(http(length=None)), silence)

        with pytest.raises(APITimeoutError) as caught:
            await call(client, timeouts=0.1)

        assert caught.value.phase == "total"
        assert_at_rest(client)


@covers(
    "F56", "the body of an error stalls beyond `total`", "`APITimeoutError` (total)"
)
async def test_total_ends_an_error_body_that_stalls() -> None:
    """The timeout takes precedence over the status."""
    async with no_leaks(), ScriptServer() as server, make_client(server) as client:
        server.script(read, send(http(b"{", "503 Busy", length=99)), silence)

        with pytest.raises(APITimeoutError) as caught:
            await call(client, timeouts=0.1)

        assert caught.value.phase == "total"
        assert caught.value.http.status == 503
        assert_at_rest(client)


@covers("F76", "call cancelled while the body of an error stalls", "`CancelledError`")
async def test_cancellation_ends_an_error_body_that_stalls() -> None:
    async with no_leaks(), ScriptServer() as server, make_client(server) as client:
        server.script(read, send(http(b"{", "503 Busy", length=99)), silence)
        task = asyncio.create_task(call(client))
        await server.wait_for_request()
        await asyncio.sleep(0.05)

        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

        await server.wait_until_closed()
        assert_at_rest(client)


FAULTS: Sequence[dict[str, Any]] = (
    {"error": {"code": 500, "message": "no"}},
    {"error": {"code": "server_error", "message": "no"}},
    {"error": {"message": "no"}},
    {"error": {}, "choices": [{"delta": {}, "finish_reason": "error"}]},
    {"error": "no"},
    {"choices": [{"delta": {}, "error": {"code": 500, "message": "no"}}]},
)


@covers(
    "F66", "stream: an error in every form, after an event", "its class, with `partial`"
)
@pytest.mark.parametrize("fault", FAULTS)
async def test_error_event_of_any_form_keeps_the_partial_response(
    fault: dict[str, Any],
) -> None:
    async with no_leaks(), ScriptServer() as server, make_client(server) as client:
        server.script(read, send(sse(chunk("hel") + event(fault))))

        with pytest.raises(InternalServerError) as caught:
            await call(client, "stream")

        assert caught.value.partial is not None
        assert caught.value.partial.text == "hel"
        assert len(server.requests) == 1
        assert_at_rest(client)


@covers("F42", "endless chunk extensions or trailers", "a typed error, constant memory")
@pytest.mark.parametrize("what", ["extension", "trailer"])
@both
async def test_endless_framing_ends_in_an_error(kind: Kind, what: str) -> None:
    start = sse(BODIES[kind])[:-5]
    start += b"5;" if what == "extension" else b"0\r\nX: "
    if kind == "stream":
        start = start.replace(b"[DONE]", b"").replace(b'"stop"', b"null")
    async with no_leaks(), ScriptServer() as server, make_client(server) as client:
        server.script(read, send(start), wait(0.01), flood(b"x" * 65536, 2**36))

        with memory_below(8 * 2**20), pytest.raises(OpenRouterError):
            await call(client, kind, timeouts=0.3)

        assert_at_rest(client)
        await server.wait_until_closed()
