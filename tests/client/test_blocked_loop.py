"""Timeouts that expire while other code blocks the event loop."""

import asyncio
import socket
import ssl
import time

import pytest
import trustme
from support import HELLO

from openrouter_async import (
    APITimeoutError,
    AsyncOpenRouter,
    ChatResponse,
    Retries,
    Timeouts,
)
from openrouter_async.testing import LocalOpenRouter

# The local server runs in a thread of its own, and goes on while the loop is blocked.
TEXTS = [f"{number} " for number in range(10)]
TEXT = "".join(TEXTS)
ONCE = Retries(max_attempts=1)
BLOCK = 0.9


def client_of(server: LocalOpenRouter, **options: float) -> AsyncOpenRouter:
    """Create a client with these timeouts, in real time."""
    return AsyncOpenRouter(
        server.api_key,
        base_url=server.url,
        timeouts=Timeouts(**options),
        retries=ONCE,
    )


async def call(client: AsyncOpenRouter, *, stream: bool) -> ChatResponse:
    """Make one call; read a stream to its end."""
    if not stream:
        return await client.chat.send(HELLO)
    async with client.chat.send(HELLO, stream=True) as opened:
        return await opened.collect()


async def block_when_sent(
    server: LocalOpenRouter, seconds: float = BLOCK, chunks: int = 0
) -> None:
    """Block the event loop once the server has the request and has sent something."""
    await server.until(requests=1)
    if chunks:
        await server.until(chunks=chunks)
    # The call reads what was sent, and waits again.
    await asyncio.sleep(0.01)
    time.sleep(seconds)  # noqa: ASYNC251 - blocks the event loop, as a table sort does


@pytest.mark.parametrize("name", ["idle", "read"])
async def test_stream_that_went_on_meanwhile_is_read_to_its_end(
    name: str, server: LocalOpenRouter
) -> None:
    """It also goes on after the block."""
    server.reply(TEXTS * 5, chunk_delay=0.03)

    async with client_of(server, **{name: 0.5}) as client:
        blocking = asyncio.create_task(block_when_sent(server, chunks=2))
        response = await call(client, stream=True)
        await blocking

    assert response.text == TEXT * 5


@pytest.mark.parametrize("name", ["first_token", "total"])
async def test_stream_that_arrived_meanwhile_is_read_to_its_end(
    name: str, server: LocalOpenRouter
) -> None:
    server.reply(TEXTS, delay=0.2, chunk_delay=0.02)

    async with client_of(server, **{name: 0.5}) as client:
        blocking = asyncio.create_task(block_when_sent(server))
        response = await call(client, stream=True)
        await blocking

    assert response.text == TEXT


@pytest.mark.parametrize("name", ["first_token", "total"])
async def test_plain_response_that_arrived_meanwhile_is_returned(
    name: str, server: LocalOpenRouter
) -> None:
    server.reply(TEXT, delay=0.3)

    async with client_of(server, **{name: 0.6}) as client:
        blocking = asyncio.create_task(block_when_sent(server))
        response = await call(client, stream=False)
        await blocking

    assert response.text == TEXT


@pytest.mark.parametrize("stream", [False, True])
async def test_large_response_that_arrived_meanwhile_is_read_to_its_end(
    server: LocalOpenRouter, *, stream: bool
) -> None:
    """It is larger than one read of the event loop, and than aiohttp's buffer."""
    text = "0123456789" * 90_000
    server.reply([text, text] if stream else text, delay=0.1)

    async with client_of(server, total=0.6) as client:
        # A busy machine needs longer to read it, and gets as long as the timer is late.
        blocking = asyncio.create_task(block_when_sent(server, 2 * BLOCK))
        response = await call(client, stream=stream)
        await blocking

    assert response.text == (text * 2 if stream else text)


async def test_plain_body_that_continued_meanwhile_is_read_to_its_end() -> None:
    body = b'{"choices": [{"message": {"content": "hello"}, "finish_reason": "stop"}]}'
    parts = (b"%b %b" % (body[:12], b" " * 100), body[12:])

    async def respond(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"
        writer.write(head % sum(map(len, parts)) + parts[0])
        await asyncio.sleep(0.1)
        # Written in the iteration in which the loop is blocked.
        writer.write(parts[1])
        time.sleep(BLOCK)  # noqa: ASYNC251 - blocks the event loop
        writer.close()

    listener = await asyncio.start_server(respond, "127.0.0.1")
    port = listener.sockets[0].getsockname()[1]
    async with (
        listener,
        AsyncOpenRouter(
            "any",
            base_url=f"http://127.0.0.1:{port}",
            timeouts=Timeouts(read=0.5),
            retries=ONCE,
        ) as client,
    ):
        response = await client.chat.send(HELLO)

    assert response.text == "hello"


@pytest.mark.parametrize(
    ("name", "stream"),
    [
        ("idle", True),
        ("read", True),
        ("first_token", True),
        ("first_token", False),
        ("total", True),
        ("total", False),
    ],
)
async def test_silent_server_is_detected_after_the_block(
    name: str, server: LocalOpenRouter, *, stream: bool
) -> None:
    silent_after = 2 if name in ("idle", "read") else 0
    server.reply(TEXTS, stop="silence", stop_after=silent_after)

    async with client_of(server, **{name: 0.5}) as client:
        blocking = asyncio.create_task(block_when_sent(server, chunks=silent_after))
        with pytest.raises(APITimeoutError) as caught:
            await call(client, stream=stream)
        assert blocking.done()
        late = time.monotonic()
        await blocking

    assert caught.value.phase == name
    assert time.monotonic() - late < 2


async def test_total_ends_a_stream_that_goes_on_after_the_block(
    server: LocalOpenRouter,
) -> None:
    server.reply(TEXTS * 100, chunk_delay=0.02)

    async with client_of(server, total=0.5) as client:
        blocking = asyncio.create_task(block_when_sent(server, chunks=2))
        began = time.monotonic()
        with pytest.raises(APITimeoutError) as caught:
            await call(client, stream=True)
        await blocking

    assert caught.value.phase == "total"
    assert caught.value.partial is not None
    # What arrived during the block was read.
    assert len(caught.value.partial.text.split()) > 15
    assert time.monotonic() - began < BLOCK + 3


async def test_slot_that_became_free_meanwhile_is_used(server: LocalOpenRouter) -> None:
    server.reply("first", delay=0.3).then("second")
    client = AsyncOpenRouter(
        server.api_key,
        base_url=server.url,
        timeouts=Timeouts(pool=0.5),
        max_connections=1,
        retries=ONCE,
    )
    async with client:
        blocking = asyncio.create_task(block_when_sent(server))
        calls = [asyncio.create_task(call(client, stream=False)) for _ in range(2)]
        texts = [(await done).text for done in calls]
        await blocking

    assert texts == ["first", "second"]


@pytest.mark.parametrize("options", [{"connect": 1.0}, {"first_token": 1.0}])
async def test_connection_gets_the_blocked_time_again(
    options: dict[str, float],
) -> None:
    """Nothing could be connected meanwhile: a handshake needs the event loop."""
    authority = trustme.CA()
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(server_side)  # pyright: ignore[reportUnknownMemberType]
    client_side = ssl.create_default_context()
    authority.configure_trust(client_side)  # pyright: ignore[reportUnknownMemberType]
    with LocalOpenRouter(ssl=server_side) as server:
        server.reply("hello")
        client = AsyncOpenRouter(
            server.api_key,
            base_url=server.url,
            ssl=client_side,
            timeouts=Timeouts(**options),
            retries=ONCE,
        )
        async with client:
            calling = asyncio.create_task(call(client, stream=False))
            for _ in range(2):
                await asyncio.sleep(0)
            time.sleep(2.0)  # noqa: ASYNC251 - blocks the event loop
            response = await calling

    assert response.text == "hello"


async def test_server_that_never_accepts_is_detected_after_the_block() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        fillers = [socket.socket() for _ in range(3)]
        for filler in fillers:
            filler.setblocking(False)  # noqa: FBT003 - the method takes no keyword
            filler.connect_ex(listener.getsockname())
        client = AsyncOpenRouter(
            "any",
            base_url=f"http://127.0.0.1:{listener.getsockname()[1]}",
            timeouts=Timeouts(connect=0.3),
            retries=ONCE,
        )
        async with client:
            calling = asyncio.create_task(call(client, stream=False))
            for _ in range(2):
                await asyncio.sleep(0)
            time.sleep(BLOCK)  # noqa: ASYNC251 - blocks the event loop
            began = time.monotonic()
            with pytest.raises(APITimeoutError) as caught:
                await calling
        for filler in fillers:
            filler.close()

    assert caught.value.phase == "connect"
    assert caught.value.attempts[-1].billing == "not_accepted"
    assert time.monotonic() - began < 2


async def test_timeout_while_the_caller_is_busy_delivers_what_had_arrived(
    server: LocalOpenRouter,
) -> None:
    server.reply(TEXTS, chunk_delay=0.02, stop="silence", stop_after=9)

    texts: list[str] = []

    async def read_slowly(client: AsyncOpenRouter) -> None:
        async with client.chat.send(HELLO, stream=True) as stream:
            async for chunk in stream:
                texts.append(chunk.text)
                if len(texts) == 1:
                    # What arrives meanwhile is buffered.
                    await asyncio.sleep(1.0)

    async with client_of(server, total=0.8) as client:
        with pytest.raises(APITimeoutError):
            await read_slowly(client)

    assert len("".join(texts).split()) >= 8
