"""Faults on the caller's side: slots, hooks, loops, clocks, streams left open."""

# A few moments can be met only from inside.
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
from calls import Slept, call, client_of, open_stream
from covers import covers
from leaks import assert_at_rest, memory_below, no_leaks
from matrix import CONTENT, Kind
from script import (
    LAST,
    ScriptServer,
    Step,
    chunk,
    event,
    flood,
    free_port,
    http,
    piece,
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
async def test_a_full_pool_ends_at_the_queue_clock(kind: Kind) -> None:
    """Who waits too long for a slot is told so, and is no longer in the queue."""
    async with no_leaks(), ScriptServer() as server:
        server.script(read, silence)
        async with client_of(server, max_connections=1) as client:
            busy = asyncio.create_task(call(client))
            await server.until_asked()

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
async def test_every_status_has_its_class(kind: Kind) -> None:
    """A status decides the class, whatever the body."""
    async with no_leaks(), ScriptServer() as server, client_of(server) as client:
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
async def test_a_poisoned_connection_costs_nothing(kind: Kind) -> None:
    """Where bytes came that nobody asked for nothing is sent; a single try says so."""
    async with no_leaks(), ScriptServer() as server, client_of(server) as client:
        poison = send(http(b"{}", "418 Poison"))
        server.script(read, send(http()), wait(0.01), poison, silence)
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
    """Return a date in HTTP's form."""
    return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)


WISHES: dict[str, tuple[str, float, float]] = {
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


@covers("F62", "429 with each form of Retry-After", "the wait it names, or the usual")
@pytest.mark.parametrize("form", [*WISHES, "future"])
async def test_every_form_of_a_wish_is_read(form: str) -> None:
    """What the server asks for is the least that is waited; nonsense is no wish."""
    header, least, most = WISHES.get(form, (f"Retry-After: {in_future(5)}", 3.0, 6.0))
    slept = Slept()
    async with no_leaks(), ScriptServer() as server:
        server.script(read, send(http(b"{}", "429 Busy", header)))
        async with client_of(server, clock=slept.clock, timeouts=Timeouts()) as client:
            assert (await call(client)).text == "hello"

        assert len(slept.waits) == 1
        assert least <= slept.waits[0] <= most


@covers("F62", "429 that asks for hours", "`RateLimitError` with `retry_after`, once")
async def test_a_wish_beyond_reason_raises_at_once() -> None:
    """A wait longer than `max_wait` is the caller's to decide."""
    async with no_leaks(), ScriptServer() as server:
        server.script(read, send(http(b"{}", "429 Busy", "Retry-After: 99999999")))
        async with client_of(server) as client:
            with pytest.raises(RateLimitError) as caught:
                await call(client)

            assert caught.value.retry_after == 99999999
            assert len(server.requests) == 1


@covers(
    "F71", "stream: 50,000 events in one burst (1,000,000 with --long)", "all, in order"
)
async def test_a_burst_of_events_arrives_in_order(*, long: bool) -> None:
    """A fast server loses and reorders nothing."""
    count = 1_000_000 if long else 50_000
    block = 10_000

    async def burst(at: Any) -> None:
        await read(at)
        await send(sse(b"")[:-5])(at)
        for start in range(0, count, block):
            data = b"".join(chunk(f"{n} ") for n in range(start, start + block))
            await send(piece(data))(at)
        await send(piece(chunk(finish="stop")) + b"0\r\n\r\n")(at)

    async with no_leaks(), ScriptServer(answer=burst) as server:
        async with client_of(server, timeouts=Timeouts()) as client:
            expected = 0
            async with open_stream(client) as stream:
                async for part in stream:
                    if part.text:
                        assert part.text == f"{expected} "
                        expected += 1

        assert expected == count


@covers("F75", "the caller leaves the block early", "connection closed at once")
async def test_leaving_the_block_closes_the_connection() -> None:
    """`break` inside `async with` is all it takes."""
    async with no_leaks(), ScriptServer() as server, client_of(server) as client:
        server.script(read, send(sse(chunk("hel"))[:-5]), silence)
        async with open_stream(client) as stream:
            async for _ in stream:
                break

        assert_at_rest(client)
        await server.until_left(0.1)
        with pytest.raises(ClosedError):
            await anext(stream)


@covers("F75", "the caller forgets the stream", "`ResourceWarning`, connection closed")
async def test_a_forgotten_stream_warns_and_lets_go() -> None:
    """A stream that is garbage gives everything back, and says so."""
    async with no_leaks(), ScriptServer() as server, client_of(server) as client:
        server.script(read, send(sse(chunk("hel"))[:-5]), silence)
        stream = await open_stream(client)
        await anext(stream)
        held = [stream]
        del stream
        with pytest.warns(ResourceWarning, match="async with"):
            held.clear()
        await asyncio.sleep(0.01)

        assert_at_rest(client)
        await server.until_left(0.1)


@covers("F77", "the hook raises", "logged; the call is not affected")
@both
async def test_a_hook_that_raises_is_logged(
    kind: Kind, caplog: pytest.LogCaptureFixture
) -> None:
    """An observer does no harm."""

    def hook(_record: object) -> None:
        raise RuntimeError("the hook's own")

    async with (
        no_leaks(),
        ScriptServer() as server,
        client_of(server, on_call=hook) as client,
    ):
        assert (await call(client, kind)).text == "hello"
        assert_at_rest(client)

    assert "the hook's own" in caplog.text


@covers("F77", "the function for the key raises", "its exception, nothing sent")
@both
async def test_a_key_function_that_raises_is_heard(kind: Kind) -> None:
    """What the caller's own function raises is the caller's."""

    def key() -> str:
        raise LookupError("no vault")

    async with (
        no_leaks(),
        ScriptServer() as server,
        client_of(server, api_key=key) as client,
    ):
        with pytest.raises(LookupError, match="no vault"):
            await call(client, kind)

        assert_at_rest(client)
        assert server.connections == 0


async def never(_seconds: float) -> None:
    """A wait that does not end."""
    await asyncio.Event().wait()


WHERE = {
    "in flight": (read, silence),
    "in its body": (read, send(http()[:-5]), silence),
    "in a stream": (read, send(sse(chunk("hel"))[:-5]), silence),
    "in a wait": (read, send(http(b"{}", "503 Busy"))),
    "in the queue": (serve,),
}


@covers("F78", "the client is closed under calls", "`ClosedError`, at once")
@pytest.mark.parametrize("where", WHERE)
@both
async def test_closing_ends_the_calls_under_way(kind: Kind, where: str) -> None:
    """Wherever a call is, closing its client ends it with a ClosedError."""
    slept = Slept()
    clock = attrs.evolve(slept.clock, sleep=never)
    async with no_leaks(), ScriptServer() as server:
        client = client_of(server, clock=clock, max_connections=1)
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

        assert time.monotonic() - began < 0.2
        assert [type(error) for error in done] == [ClosedError] * len(waiting)
        assert_at_rest(client)
        await client.aclose()
        with pytest.raises(ClosedError):
            await call(client, kind)


@covers("F79", "the client is used on another loop", "works, on connections of its own")
def test_a_client_goes_from_loop_to_loop(caplog: pytest.LogCaptureFixture) -> None:
    """Each loop has connections of its own, which end with it."""
    client: AsyncOpenRouter | None = None

    async def main(kind: Kind) -> None:
        nonlocal client
        async with ScriptServer(port=port) as server:
            client = client or client_of(server)
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


@covers("F80", "the wall clock jumps during a wait", "no effect")
async def test_a_jump_of_the_wall_clock_changes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Clocks and waits are monotonic; only dates in headers look at the wall."""
    slept = Slept()
    wall = time.time()

    async def sleep(seconds: float) -> None:
        slept.waits.append(seconds)
        monkeypatch.setattr(time, "time", lambda: wall - 3600)

    clock = attrs.evolve(slept.clock, sleep=sleep)
    async with no_leaks(), ScriptServer() as server:
        server.script(read, send(http(b"{}", "503 Busy")))
        async with client_of(server, clock=clock) as client:
            assert (await call(client)).text == "hello"

        assert slept.waits == [0.5]


@covers("F81", "the process stands still", "the clock that ran out; then works again")
@both
async def test_a_process_that_was_suspended_goes_on(kind: Kind) -> None:
    """Who wakes up late finds the deadline passed, and everything else in order."""
    async with no_leaks(), ScriptServer() as server, client_of(server) as client:
        server.script(read, silence)
        waiting = asyncio.create_task(call(client, kind, timeouts=0.1))
        await server.until_asked()
        time.sleep(0.2)  # noqa: ASYNC251 - the process stands still

        with pytest.raises(APITimeoutError) as caught:
            await waiting

        assert caught.value.phase == "total"
        assert_at_rest(client)
        assert (await call(client, kind)).text == "hello"


async def test_a_close_in_the_moment_of_the_end_is_a_close() -> None:
    """Who closes a stream whose end is here, but not read, is not told of the end."""
    start, end = sse(chunk("he"))[: -len(LAST)], LAST
    async with no_leaks(), ScriptServer() as server, client_of(server) as client:
        server.script(read, send(start), wait(0.02), send(end))
        stream = await open_stream(client)
        reader = asyncio.create_task(stream.collect())
        content = stream._event_stream._response.content
        while not content.is_eof():  # noqa: ASYNC110 -- the very moment is meant
            await asyncio.sleep(0)
        await stream.aclose()

        with pytest.raises(ClosedError) as caught:
            await reader

        assert caught.value.partial is not None
        assert caught.value.partial.text == "he"
        assert_at_rest(client)


@covers("F43", "the body stalls, its length not known", "`APITimeoutError` (total)")
async def test_a_clock_is_not_taken_for_the_end_of_a_body() -> None:
    """A body that ends with the connection is not whole because we cut the connection."""
    async with no_leaks(), ScriptServer() as server, client_of(server) as client:
        server.script(read, send(http(length=None)), silence)

        with pytest.raises(APITimeoutError) as caught:
            await call(client, timeouts=0.1)

        assert caught.value.phase == "total"
        assert_at_rest(client)


@covers(
    "F56", "the body of an error stalls beyond `total`", "`APITimeoutError` (total)"
)
async def test_total_ends_an_error_body_that_stalls() -> None:
    """The time of the whole call is over: no status stands in for that."""
    async with no_leaks(), ScriptServer() as server, client_of(server) as client:
        server.script(read, send(http(b"{", "503 Busy", length=99)), silence)

        with pytest.raises(APITimeoutError) as caught:
            await call(client, timeouts=0.1)

        assert caught.value.phase == "total"
        assert caught.value.http.status == 503
        assert_at_rest(client)


@covers("F76", "cancelled while the body of an error stalls", "`CancelledError`")
async def test_cancelling_ends_an_error_body_that_stalls() -> None:
    """A cancellation is never taken for a timeout."""
    async with no_leaks(), ScriptServer() as server, client_of(server) as client:
        server.script(read, send(http(b"{", "503 Busy", length=99)), silence)
        task = asyncio.create_task(call(client))
        await server.until_asked()
        await asyncio.sleep(0.05)

        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

        await server.until_left()
        assert_at_rest(client)


FAULTS: Sequence[dict[str, Any]] = (
    {"error": {"code": 500, "message": "no"}},
    {"error": {"code": "server_error", "message": "no"}},
    {"error": {"message": "no"}},
    {"error": {}, "choices": [{"delta": {}, "finish_reason": "error"}]},
    {"error": "no"},
    {"choices": [{"delta": {}, "error": {"code": 500, "message": "no"}}]},
)


@covers("F66", "stream: an error in every form, after an event", "its class, partial")
@pytest.mark.parametrize("fault", FAULTS)
async def test_an_error_in_the_stream_keeps_what_came(fault: dict[str, Any]) -> None:
    """However the error is written, it is raised, and it has the text before it."""
    async with no_leaks(), ScriptServer() as server, client_of(server) as client:
        server.script(read, send(sse(chunk("hel") + event(fault))))

        with pytest.raises(InternalServerError) as caught:
            await call(client, "stream")

        assert caught.value.partial is not None
        assert caught.value.partial.text == "hel"
        assert len(server.requests) == 1
        assert_at_rest(client)


@covers(
    "F42", "endless chunk extension, or trailers without end", "a typed error, flat"
)
@pytest.mark.parametrize("what", ["extension", "trailer"])
@both
async def test_endless_framing_ends(kind: Kind, what: str) -> None:
    """What surrounds the body is limited as well."""
    start = sse(CONTENT[kind])[:-5]
    start += b"5;" if what == "extension" else b"0\r\nX: "
    if kind == "stream":
        start = start.replace(b"[DONE]", b"").replace(b'"stop"', b"null")
    async with no_leaks(), ScriptServer() as server, client_of(server) as client:
        server.script(read, send(start), wait(0.01), flood(b"x" * 65536, 2**36))

        with memory_below(8 * 2**20), pytest.raises(OpenRouterError):
            await call(client, kind, timeouts=0.3)

        assert_at_rest(client)
        await server.until_left()
