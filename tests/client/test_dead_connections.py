"""Pooled connections that are dead when a call uses them."""

# Caches and their limits are private.
# pyright: reportPrivateUsage=false

import asyncio

import pytest
from support import HELLO, ask

from openrouter_async import (
    APIConnectionError,
    AsyncOpenRouter,
    Retries,
)
from openrouter_async.testing import (
    LocalOpenRouter,
    Reply,
    SeenRequest,
    error_reply,
)


def _close_old(seen: SeenRequest) -> Reply:
    """Cut the first connection without a byte, as one that was closed while idle."""
    return Reply("hello", stop="close" if seen.connection == 1 else None)


@pytest.mark.usefixtures("request_path")
async def test_dead_pooled_connection_is_replaced_without_a_wait(
    server: LocalOpenRouter, client: AsyncOpenRouter, slept: list[float]
) -> None:
    await client.chat.send(HELLO)
    server.reply(_close_old, times=2)

    response = await client.chat.send(HELLO, retries=Retries(max_attempts=2))

    assert response.text == "hello"
    assert slept == []
    assert [attempt.billing for attempt in response.http.attempts] == [
        "not_accepted",
        "billed",
    ]


@pytest.mark.usefixtures("request_path")
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
async def test_call_survives_a_pool_of_which_every_connection_is_dead(
    server: LocalOpenRouter,
    client: AsyncOpenRouter,
    slept: list[float],
    *,
    stream: bool,
) -> None:
    """A proxy that restarts closes all idle connections, one after the other."""
    server.reply("warm", times=3, delay=0.02)
    await asyncio.gather(*(client.chat.send(HELLO) for _ in range(3)))
    assert client.stats.idle == 3
    server.reply(
        lambda seen: Reply("hello", stop="close" if seen.connection <= 3 else None),
        times=None,
    )

    text = await ask(client, stream=stream)

    assert text == "hello"
    assert slept == []
    assert len(server.requests) == 5
    assert client.stats.in_use == 0


async def test_dead_pooled_connection_does_not_use_up_an_attempt(
    server: LocalOpenRouter, client: AsyncOpenRouter, slept: list[float]
) -> None:
    await client.chat.send(HELLO)
    server.reply(_close_old, times=1).then(error_reply(500)).then("hello")

    response = await client.chat.send(HELLO, retries=Retries(max_attempts=2))

    assert response.text == "hello"
    assert len(response.http.attempts) == 3
    assert slept == [0.5]


@pytest.mark.usefixtures("request_path")
async def test_dead_pooled_connection_is_an_error_with_one_attempt(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    await client.chat.send(HELLO)
    server.reply(_close_old, times=2)

    with pytest.raises(APIConnectionError) as caught:
        await client.chat.send(HELLO, retries=Retries(max_attempts=1))

    assert len(server.requests) == 2
    assert len(caught.value.attempts) == 1


@pytest.mark.usefixtures("request_path")
async def test_reused_connection_that_breaks_late_is_ambiguous(
    server: LocalOpenRouter, client: AsyncOpenRouter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a second (here less) the server may have read the request."""
    monkeypatch.setattr("openrouter_async.transport.error_mapping._STALE_SECONDS", 0.05)
    await client.chat.send(HELLO)
    server.reply("hello", stop="close", delay=0.1)

    with pytest.raises(APIConnectionError):
        await client.chat.send(HELLO)

    assert len(server.requests) == 2


@pytest.mark.usefixtures("request_path")
async def test_connection_closed_while_idle_is_not_reused(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    server.reply("hello", headers={"Connection": "close"})
    await client.chat.send(HELLO)
    response = await client.chat.send(HELLO)

    assert len(response.http.attempts) == 1
    assert [request.connection for request in server.requests] == [1, 2]
