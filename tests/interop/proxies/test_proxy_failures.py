"""Errors and timeouts of proxies."""

import math

import pytest
from proxy_starter import (
    ABORTING,
    UNBUFFERED,
    ProxyConfig,
    ProxyStarter,
    request_for,
)
from support import HELLO, MakeClient

from openrouter_async import (
    APIConnectionError,
    BadGatewayError,
    GatewayTimeoutError,
    PayloadTooLargeError,
    ServiceUnavailableError,
)
from openrouter_async.testing import LocalOpenRouter


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
async def test_error_page_of_nginx_is_described_by_its_title(
    start_proxy: ProxyStarter,
    make_client: MakeClient,
    closed_port: int,
    slept: list[float],
    stream: bool,
) -> None:
    """No server accepts connections behind the proxy; the 502 is retried."""
    proxy = start_proxy(UNBUFFERED, behind=closed_port)
    client = make_client(base_url=proxy.url)

    with pytest.raises(BadGatewayError) as caught:
        await client.chat.send(HELLO, stream=stream)

    assert caught.value.message == "an HTML page, '502 Bad Gateway', instead of JSON"
    assert "<" not in str(caught.value)
    assert [attempt.status for attempt in caught.value.attempts] == [502] * 3
    assert len(slept) == 2


async def test_error_page_of_haproxy_without_a_title_is_a_503(
    start_proxy: ProxyStarter, make_client: MakeClient, closed_port: int
) -> None:
    proxy = start_proxy(ABORTING, behind=closed_port)
    client = make_client(base_url=proxy.url)

    with pytest.raises(ServiceUnavailableError, match="an HTML page") as caught:
        await client.chat.send(HELLO)

    assert "<" not in str(caught.value)
    assert len(caught.value.attempts) == 3


async def test_413_that_nginx_sends_during_the_upload_is_raised(
    server: LocalOpenRouter, start_proxy: ProxyStarter, make_client: MakeClient
) -> None:
    config = ProxyConfig("nginx", location="client_max_body_size 10k;")
    client = make_client(base_url=start_proxy(config).url)

    with pytest.raises(PayloadTooLargeError, match="413 Request Entity Too Large"):
        await client.chat.send(request_for("x" * 3_000_000))

    assert server.requests == []


@pytest.mark.parametrize(
    "config",
    [
        ProxyConfig("nginx", location="proxy_read_timeout 100ms;"),
        ProxyConfig("haproxy", http="timeout server 100ms"),
    ],
    ids=["nginx", "haproxy"],
)
async def test_504_of_a_proxy_is_not_retried(
    server: LocalOpenRouter,
    start_proxy: ProxyStarter,
    make_client: MakeClient,
    config: ProxyConfig,
) -> None:
    """The model may still be running, and will be billed."""
    server.reply("late", delay=math.inf, times=None)
    client = make_client(base_url=start_proxy(config).url)

    with pytest.raises(GatewayTimeoutError, match="an HTML page") as caught:
        await client.chat.send(HELLO)

    assert len(server.requests) == 1
    assert not caught.value.retryable
    assert [attempt.billing for attempt in caught.value.attempts] == ["maybe"]


@pytest.mark.parametrize(
    "config",
    [
        ProxyConfig("nginx", location="proxy_buffering off; proxy_read_timeout 500ms;"),
        ProxyConfig("haproxy", http="timeout server 500ms"),
    ],
    ids=["nginx", "haproxy"],
)
async def test_stream_that_a_proxy_times_out_is_an_error(
    server: LocalOpenRouter,
    start_proxy: ProxyStarter,
    make_client: MakeClient,
    config: ProxyConfig,
) -> None:
    server.reply(["one ", "two"], stop="silence", stop_after=1)
    client = make_client(base_url=start_proxy(config).url)

    with pytest.raises(APIConnectionError) as caught:
        async with client.chat.send(HELLO, stream=True) as stream:
            await stream.collect()

    assert caught.value.partial is not None
    assert caught.value.partial.text == "one "
