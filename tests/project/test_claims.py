"""What the README's table says of three clients, seen from the server."""

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


class Ask(Protocol):
    """Asks a server, streamed or not; returns how many chunks, or replies, came."""

    def __call__(self, url: str, *, stream: bool) -> Awaitable[int]:
        """Ask once."""
        ...


async def ask_ours(url: str, *, stream: bool) -> int:
    async with AsyncOpenRouter(api_key="k", base_url=url) as client:
        if not stream:
            await client.chat.send(model="m", messages=[UserMessage("hi")])
            return 1
        async with client.chat.send(
            model="m", messages=[UserMessage("hi")], stream=True
        ) as chunks:
            return len([chunk async for chunk in chunks])


async def ask_openai(url: str, *, stream: bool) -> int:
    async with openai.AsyncOpenAI(base_url=url, api_key="k") as client:
        got: Any = await client.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "hi"}], stream=stream
        )
        if not stream:
            assert got.choices is None or got.choices
            return 0 if got.choices is None else 1
        return len([chunk async for chunk in got])


async def ask_official(url: str, *, stream: bool) -> int:
    async with openrouter.OpenRouter(server_url=url, api_key="k") as client:
        got: Any = await client.chat.send_async(
            model="m", messages=[{"role": "user", "content": "hi"}], stream=stream
        )
        return len([chunk async for chunk in got]) if stream else 1


@pytest.mark.parametrize(
    ("ask", "requests"), [(ask_ours, 2), (ask_openai, 2), (ask_official, 1)]
)
async def test_who_retries_a_429(ask: Ask, requests: int) -> None:
    """All but the official SDK send a 429 again."""
    async with LocalOpenRouter() as server:
        server.reply(status=429, headers={"Retry-After": "0"}).then("ok")
        with suppress(openrouter.errors.TooManyRequestsResponseError):
            await ask(server.url, stream=False)

        assert len(server.requests) == requests


@pytest.mark.parametrize(("ask", "requests"), [(ask_openai, 2), (ask_official, 2)])
async def test_who_sends_again_what_may_have_been_billed(
    ask: Ask, requests: int
) -> None:
    """Both peers repeat a request that the server took, and that then broke."""
    async with LocalOpenRouter() as server:
        server.reply(stop="reset").then("ok")

        assert await ask(server.url, stream=False) == 1
        assert len(server.requests) == requests


async def test_ours_sends_it_once() -> None:
    """We raise, and leave the decision to the caller."""
    async with LocalOpenRouter() as server:
        server.reply(stop="reset").then("ok")
        with pytest.raises(APIConnectionError):
            await ask_ours(server.url, stream=False)

        assert len(server.requests) == 1


async def test_an_error_inside_a_200() -> None:
    """An exception of its code; an object full of None; a validation error."""
    async with LocalOpenRouter() as server:
        server.reply(error_in_200("error", code=502), times=9)
        with pytest.raises(BadGatewayError):
            await ask_ours(server.url, stream=False)
        assert await ask_openai(server.url, stream=False) == 0
        with pytest.raises(Exception, match="validation"):
            await ask_official(server.url, stream=False)


async def test_a_stream_that_is_cut_off() -> None:
    """We raise; to the peers it has ended."""
    async with LocalOpenRouter() as server:
        server.reply(["a", "b", "c"], stop="end", stop_after=2, times=9)
        with pytest.raises(StreamInterruptedError):
            await ask_ours(server.url, stream=True)
        assert await ask_openai(server.url, stream=True) == 2
        assert await ask_official(server.url, stream=True) == 2


async def test_an_error_in_the_middle_of_a_stream() -> None:
    """We raise its class; openai one without a status; the official SDK none."""
    async with LocalOpenRouter() as server:
        server.reply(["a", "b"], error=StreamError(code=502), times=9)
        with pytest.raises(InternalServerError):
            await ask_ours(server.url, stream=True)
        with pytest.raises(openai.APIError) as caught:
            await ask_openai(server.url, stream=True)
        assert not hasattr(caught.value, "status_code")
        assert await ask_official(server.url, stream=True) > 0
