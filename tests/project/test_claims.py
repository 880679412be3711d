"""The claims of the README's comparison of three clients, observed by the server."""

import warnings
from collections.abc import Awaitable
from contextlib import suppress
from typing import Any, Protocol

import pytest

from openrouter_async import (
    APIConnectionError,
    AsyncOpenRouter,
    BadGatewayError,
    InternalServerError,
    StreamInterruptedError,
    UserMessage,
)
from openrouter_async.testing import LocalOpenRouter, StreamError, error_in_200

openai = pytest.importorskip("openai", reason="the [interop] extra is not installed")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    openrouter = pytest.importorskip(
        "openrouter", reason="the [interop] extra is not installed"
    )

pytestmark = pytest.mark.filterwarnings("ignore")


class Send(Protocol):
    """A function that sends one request with a client."""

    def __call__(self, url: str, *, stream: bool) -> Awaitable[int]:
        """Send a request and return the number of chunks or completions received."""
        ...


async def send_ours(url: str, *, stream: bool) -> int:
    async with AsyncOpenRouter(api_key="k", base_url=url) as client:
        if not stream:
            await client.chat.send(model="m", messages=[UserMessage("hi")])
            return 1
        async with client.chat.send(
            model="m", messages=[UserMessage("hi")], stream=True
        ) as chunks:
            return len([chunk async for chunk in chunks])


async def send_openai(url: str, *, stream: bool) -> int:
    async with openai.AsyncOpenAI(base_url=url, api_key="k") as client:
        received: Any = await client.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "hi"}], stream=stream
        )
        if not stream:
            assert received.choices is None or received.choices
            return 0 if received.choices is None else 1
        return len([chunk async for chunk in received])


async def send_official(url: str, *, stream: bool) -> int:
    async with openrouter.OpenRouter(server_url=url, api_key="k") as client:
        received: Any = await client.chat.send_async(
            model="m", messages=[{"role": "user", "content": "hi"}], stream=stream
        )
        return len([chunk async for chunk in received]) if stream else 1


@pytest.mark.parametrize(
    ("send", "requests"), [(send_ours, 2), (send_openai, 2), (send_official, 1)]
)
async def test_429_is_retried_except_by_the_official_sdk(
    send: Send, requests: int
) -> None:
    async with LocalOpenRouter() as server:
        server.reply(status=429, headers={"Retry-After": "0"}).then("ok")
        with suppress(openrouter.errors.TooManyRequestsResponseError):
            await send(server.url, stream=False)

        assert len(server.requests) == requests


@pytest.mark.parametrize(("send", "requests"), [(send_openai, 2), (send_official, 2)])
async def test_other_clients_retry_a_request_that_may_have_been_billed(
    send: Send, requests: int
) -> None:
    """The server received the request before the connection broke."""
    async with LocalOpenRouter() as server:
        server.reply(stop="reset").then("ok")

        assert await send(server.url, stream=False) == 1
        assert len(server.requests) == requests


async def test_our_client_raises_if_a_request_may_have_been_billed() -> None:
    async with LocalOpenRouter() as server:
        server.reply(stop="reset").then("ok")
        with pytest.raises(APIConnectionError):
            await send_ours(server.url, stream=False)

        assert len(server.requests) == 1


async def test_error_in_200_is_raised_only_by_our_client() -> None:
    """The openai client returns an object of None, the official SDK a validation error."""
    async with LocalOpenRouter() as server:
        server.reply(error_in_200("error", code=502), times=9)
        with pytest.raises(BadGatewayError):
            await send_ours(server.url, stream=False)
        assert await send_openai(server.url, stream=False) == 0
        with pytest.raises(Exception, match="validation"):
            await send_official(server.url, stream=False)


async def test_stream_that_is_cut_off_is_raised_only_by_our_client() -> None:
    async with LocalOpenRouter() as server:
        server.reply(["a", "b", "c"], stop="end", stop_after=2, times=9)
        with pytest.raises(StreamInterruptedError):
            await send_ours(server.url, stream=True)
        assert await send_openai(server.url, stream=True) == 2
        assert await send_official(server.url, stream=True) == 2


async def test_error_in_a_stream_is_raised_with_its_class_only_by_our_client() -> None:
    """The openai client raises one without a status, the official SDK none."""
    async with LocalOpenRouter() as server:
        server.reply(["a", "b"], error=StreamError(code=502), times=9)
        with pytest.raises(InternalServerError):
            await send_ours(server.url, stream=True)
        with pytest.raises(openai.APIError) as caught:
            await send_openai(server.url, stream=True)
        assert not hasattr(caught.value, "status_code")
        assert await send_official(server.url, stream=True) > 0
