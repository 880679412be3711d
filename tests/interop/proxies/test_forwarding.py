"""Calls and streams through proxies, with and without TLS."""

import asyncio
import math
import ssl as tls
import time
from pathlib import Path
from typing import Any, Final, Literal

import pytest
import trustme
from proxy_starter import (
    CONFIGS,
    UNBUFFERED,
    Proxy,
    ProxyStarter,
    request_for,
)
from support import HELLO, MakeClient

from openrouter_async import (
    APIConnectionError,
    AsyncOpenRouter,
    BadGatewayError,
    ChatStream,
    MalformedResponseError,
    Retries,
    StreamInterruptedError,
    Timeouts,
)
from openrouter_async.testing import LocalOpenRouter, StreamError, error_reply

# A stream that is cut off raises a connection error. With HTTP/1.0, closing the
# connection is a regular end of the body, so the stream ends without a finish reason.
CUT: Final = (APIConnectionError, StreamInterruptedError)
# Maximum seconds in which a server that sends nothing notices that its client has left.
# It takes a few milliseconds; the rest is for a busy machine.
CLOSE_SECONDS: Final = 2
# Fills a buffer of nginx.
LONG: Final = "x" * 100_000


async def test_plain_response_is_read_through_a_proxy(
    server: LocalOpenRouter, proxied: AsyncOpenRouter, proxy: Proxy
) -> None:
    """It is compressed if the proxy compresses."""
    server.reply(LONG, times=None)

    responses = [await proxied.chat.send(request_for("p" * 50_000)) for _ in range(3)]

    assert [response.text for response in responses] == [LONG] * 3
    assert [len(seen.prompt) for seen in server.requests] == [50_000] * 3
    encoding = "gzip" if "gzip" in proxy.config.http else None
    assert responses[0].http.headers.get("Content-Encoding") == encoding


async def test_stream_is_read_completely_through_a_proxy(
    server: LocalOpenRouter, proxied: AsyncOpenRouter
) -> None:
    """The connection is reused."""
    sent = [f"{n} " for n in range(200)]
    server.reply(sent, times=None)

    for _ in range(2):
        async with proxied.chat.send(HELLO, stream=True) as stream:
            texts = [chunk.text async for chunk in stream if chunk.text]

        assert texts == sent
        assert stream.response.finish_reason == "stop"
        assert stream.http.headers.get("Content-Encoding") is None


async def test_error_in_a_stream_is_raised_with_the_partial_text(
    server: LocalOpenRouter, proxied: AsyncOpenRouter
) -> None:
    server.reply(["one ", "two ", "three"], error=StreamError(), error_after=2)

    async with proxied.chat.send(HELLO, stream=True) as stream:
        with pytest.raises(BadGatewayError, match="Provider disconnected") as caught:
            await stream.collect()

    assert caught.value.partial is not None
    assert caught.value.partial.text == "one two "
    assert len(server.requests) == 1


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
async def test_retry_after_is_respected_through_a_proxy(
    server: LocalOpenRouter,
    proxied: AsyncOpenRouter,
    slept: list[float],
    stream: bool,
) -> None:
    server.reply(error_reply(429, retry_after=2)).then("hello")

    response = await proxied.chat.send(HELLO, stream=stream)
    if isinstance(response, ChatStream):
        async with response:
            response = await response.collect()

    assert response.text == "hello"
    assert [2 <= seconds <= 3 for seconds in slept] == [True]
    assert [attempt.status for attempt in response.http.attempts] == [429, 200]


@pytest.mark.parametrize("stop", ["close", "reset"])
async def test_stream_that_the_server_cuts_off_is_an_error(
    server: LocalOpenRouter,
    proxied: AsyncOpenRouter,
    proxy: Proxy,
    stop: Literal["close", "reset"],
) -> None:
    # After a reset, nginx discards the buffer that is not full, but not those before it.
    pieces = (
        [f"{n} {LONG[:5000]}" for n in range(20)] if proxy.config.buffers else ["0 "]
    )
    server.reply(
        [*pieces, "more"], stop=stop, stop_after=len(pieces), chunk_delay=0.005
    )

    with pytest.raises(CUT) as caught:
        async with proxied.chat.send(HELLO, stream=True) as stream:
            await stream.collect()

    assert caught.value.partial is not None
    assert caught.value.partial.text.startswith(pieces[0])
    assert not caught.value.partial.text.endswith("more")
    assert len(server.requests) == 1


@pytest.mark.parametrize("stop", ["close", "reset"])
async def test_plain_response_that_is_cut_off_is_an_error(
    server: LocalOpenRouter,
    proxied: AsyncOpenRouter,
    stop: Literal["close", "reset"],
) -> None:
    """The request is not repeated, because it may have been billed."""
    server.reply("hello " * 10, stop=stop, stop_at=100)

    with pytest.raises((APIConnectionError, MalformedResponseError, BadGatewayError)):
        await proxied.chat.send(HELLO, retries=Retries(max_attempts=1))

    assert len(server.requests) == 1


async def test_leaving_a_stream_disconnects_the_server(
    server: LocalOpenRouter, proxied: AsyncOpenRouter, proxy: Proxy
) -> None:
    silent: Any = (
        {"stop": "silence", "stop_after": 1} if proxy.config.reports_disconnect else {}
    )
    server.reply([LONG, *[LONG[:5000]] * 100], chunk_delay=0.03, **silent)

    async with proxied.chat.send(HELLO, stream=True) as stream:
        async for _ in stream:
            break
    left = time.monotonic()
    await server.until(closed=1)

    closed = server.requests[0].closed
    assert closed is not None
    # Otherwise, the proxy would notice when it sends the next chunk but one.
    assert closed - left < CLOSE_SECONDS
    assert proxied.stats.in_use == 0


async def test_cancelling_before_the_headers_disconnects_the_server(
    server: LocalOpenRouter, proxied: AsyncOpenRouter, proxy: Proxy
) -> None:
    server.reply(
        "late", delay=math.inf if proxy.config.reports_early_disconnect else 0.3
    )
    task = asyncio.create_task(proxied.chat.send(HELLO))
    await server.until(requests=1)
    task.cancel()
    await asyncio.wait([task])
    left = time.monotonic()

    assert task.cancelled()
    assert proxied.stats.in_use == 0
    if proxy.config.reports_early_disconnect:
        await server.until(closed=1)
        closed = server.requests[0].closed
        assert closed is not None
        assert closed - left < CLOSE_SECONDS


@pytest.mark.parametrize(
    "name",
    [
        "nginx with keep-alive",
        "nginx, one request per connection",
        "haproxy with defaults",
        "haproxy, one request per connection",
    ],
)
async def test_200_concurrent_calls_get_their_own_responses(
    server: LocalOpenRouter,
    start_proxy: ProxyStarter,
    make_client: MakeClient,
    name: str,
) -> None:
    """Half of them are streams."""
    proxied = make_client(base_url=start_proxy(CONFIGS[name]).url)
    server.reply(lambda seen: seen.prompt, times=None)
    # The debug mode takes more time than the calls.
    asyncio.get_running_loop().set_debug(False)

    async def one(number: int) -> str:
        prompt = f"question {number}."
        if number % 2:
            return (await proxied.chat.send(request_for(prompt))).text
        async with proxied.chat.send(request_for(prompt), stream=True) as stream:
            return (await stream.collect()).text

    texts = await asyncio.gather(*map(one, range(200)))

    assert texts == [f"question {n}." for n in range(200)]
    assert len(server.requests) == 200


@pytest.fixture
async def secured(
    start_proxy: ProxyStarter, make_client: MakeClient, tmp_path: Path
) -> AsyncOpenRouter:
    """Return a client of an nginx with TLS and a private certificate authority."""
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    chain.write_bytes(b"".join(pem.bytes() for pem in certificate.cert_chain_pems))
    certificate.private_key_pem.write_to_path(key)
    lines = f"ssl_certificate {chain}; ssl_certificate_key {key};"
    context = tls.create_default_context()
    authority.configure_trust(context)  # pyright: ignore[reportUnknownMemberType]
    return make_client(
        base_url=start_proxy(UNBUFFERED, tls_lines=lines).url,
        ssl=context,
        timeouts=Timeouts(total=30),
    )


async def test_calls_work_through_a_proxy_that_terminates_tls(
    server: LocalOpenRouter, secured: AsyncOpenRouter
) -> None:
    server.reply(["one ", LONG], times=None)

    response = await secured.chat.send(HELLO)
    async with secured.chat.send(HELLO, stream=True) as stream:
        texts = [chunk.text async for chunk in stream if chunk.text]

    assert response.text == "one " + LONG
    assert texts == ["one ", LONG]


async def test_leaving_a_stream_over_tls_disconnects_the_server_at_once(
    server: LocalOpenRouter, secured: AsyncOpenRouter
) -> None:
    """The client does not wait for the closing message of TLS."""
    server.reply(["one ", "two"], stop="silence", stop_after=1)

    async with secured.chat.send(HELLO, stream=True) as stream:
        async for _ in stream:
            break
    left = time.monotonic()
    await server.until(closed=1)

    closed = server.requests[0].closed
    assert closed is not None
    assert closed - left < CLOSE_SECONDS
    assert secured.stats.in_use == 0
