"""The most frequent mistakes: each error names the problem and the remedy."""

import asyncio
import inspect
import re
from typing import Any

import pytest
from support import HELLO, MakeClient, VirtualTime, until

from openrouter_async import (
    APIConnectionError,
    APITimeoutError,
    AsyncOpenRouter,
    AuthenticationError,
    BadRequestError,
    ChatResponse,
    ClosedError,
    ConfigurationError,
    NotFoundError,
    Retries,
    Timeouts,
)
from openrouter_async.testing import LocalOpenRouter

ONCE = Retries(max_attempts=1)


async def test_missing_key_says_where_to_set_and_to_create_one() -> None:
    async with AsyncOpenRouter() as client:
        with pytest.raises(ConfigurationError) as caught:
            await client.chat.send(HELLO)

    for part in ("OPENROUTER_API_KEY", "api_key=", "openrouter.ai/settings/keys"):
        assert part in str(caught.value)


async def test_wrong_key_says_where_it_came_from() -> None:
    async with (
        LocalOpenRouter(keys=["right"]) as server,
        AsyncOpenRouter("wrong", base_url=server.url) as client,
    ):
        with pytest.raises(AuthenticationError) as caught:
            await client.chat.send(HELLO)

    for part in ("401", "OPENROUTER_API_KEY", "api_key="):
        assert part in str(caught.value)


async def test_wrong_model_is_named_with_the_form_of_an_id() -> None:
    async with (
        LocalOpenRouter(models=["openai/gpt-4o-mini"]) as server,
        AsyncOpenRouter("any", base_url=server.url) as client,
    ):
        with pytest.raises(BadRequestError) as caught:
            await client.chat.send(HELLO, model="gpt-4o-mini")

    for part in ("gpt-4o-mini is not a valid", "author/model", "openrouter.ai/models"):
        assert part in str(caught.value)


async def test_unknown_host_is_named_with_what_to_check() -> None:
    url = "https://host.invalid/api/v1"
    async with AsyncOpenRouter("k", base_url=url, retries=ONCE) as client:
        with pytest.raises(APIConnectionError) as caught:
            await client.chat.send(HELLO)

    for part in ("host.invalid", "base_url", "network", "HTTPS_PROXY"):
        assert part in str(caught.value)


async def test_base_url_without_its_path_is_named(server: LocalOpenRouter) -> None:
    async with AsyncOpenRouter(server.api_key, base_url=server.origin) as client:
        with pytest.raises(NotFoundError) as caught:
            await client.chat.send(HELLO)

    assert "base_url" in str(caught.value)
    assert "/api/v1" in str(caught.value)


async def test_string_as_messages_says_what_to_pass(client: AsyncOpenRouter) -> None:
    messages: Any = "Hello"
    with pytest.raises(TypeError) as caught:
        await client.chat.send(model="m", messages=messages)

    assert "not str" in str(caught.value)
    assert "messages=[UserMessage('...')]" in str(caught.value)


@pytest.mark.parametrize("stream", [False, True])
async def test_loop_over_send_says_how_to_open_a_stream(
    client: AsyncOpenRouter, *, stream: bool
) -> None:
    pending: Any = client.chat.send(HELLO, stream=stream)
    with pytest.raises(TypeError) as caught:
        async for _ in pending:
            pass

    for part in ("async with client.chat.send(", "stream=True", "async for chunk in"):
        assert part in str(caught.value)
    # It is closed: a warning that it was never awaited would be an error here.


async def test_loop_over_a_response_asks_for_stream_true(
    client: AsyncOpenRouter,
) -> None:
    response: Any = await client.chat.send(HELLO)
    with pytest.raises(TypeError, match="stream=True"):
        async for _ in response:
            pass


def test_number_as_timeouts_of_a_client_says_what_to_pass() -> None:
    timeouts: Any = 30
    with pytest.raises(TypeError) as caught:
        AsyncOpenRouter("k", timeouts=timeouts)

    assert "not 30. Pass Timeouts(total=30)" in str(caught.value)


async def test_response_that_was_not_awaited_says_so(client: AsyncOpenRouter) -> None:
    pending: Any = client.chat.send(HELLO)
    with pytest.raises(AttributeError) as caught:
        assert pending.text

    pending.close()
    assert "'text'" in str(caught.value)
    assert "response = await client.chat.send(...)" in str(caught.value)


async def test_stream_that_was_not_opened_says_so(client: AsyncOpenRouter) -> None:
    pending: Any = client.chat.send(HELLO, stream=True)
    with pytest.raises(AttributeError) as caught:
        assert pending.response

    pending.close()
    assert "'response'" in str(caught.value)
    assert "async with client.chat.send(" in str(caught.value)


async def test_block_around_a_plain_call_asks_for_stream_true(
    client: AsyncOpenRouter,
) -> None:
    pending: Any = client.chat.send(HELLO)
    with pytest.raises(TypeError) as caught:
        async with pending:
            pass

    assert "stream=True" in str(caught.value)
    assert "await client.chat.send(...)" in str(caught.value)


@pytest.mark.parametrize("name", ["__aexit__"])
async def test_exit_of_a_pending_response_does_nothing(
    name: str, client: AsyncOpenRouter
) -> None:
    pending: Any = client.chat.send(HELLO)

    await getattr(pending, name)(None, None, None)

    assert (await pending).text


async def test_plain_with_block_asks_for_an_async_one() -> None:
    client: Any = AsyncOpenRouter("k")
    with pytest.raises(TypeError, match="async with AsyncOpenRouter"), client:
        pass

    assert client.__exit__(None, None, None) is None


async def test_closed_client_says_what_to_create(make_client: MakeClient) -> None:
    client = make_client()
    await client.aclose()
    with pytest.raises(ClosedError, match="closed; create a new AsyncOpenRouter"):
        await client.chat.send(HELLO)


async def test_timeout_of_a_blocked_loop_says_how_long_it_was_blocked(
    server: LocalOpenRouter, make_client: MakeClient
) -> None:
    time = VirtualTime()
    server.reply("late", delay=60)
    client = make_client(clock=time.clock, timeouts=Timeouts(first_token=10))
    task = asyncio.create_task(client.chat.send(HELLO))
    await until(lambda: server.requests)

    # What other code on the loop does: time passes, and no timer is called.
    time.time += 12.5
    await time.advance(0)
    with pytest.raises(APITimeoutError) as caught:
        await time.finish(task)

    assert caught.value.phase == "first_token"
    assert re.search(r"blocked for 2\.\d seconds", str(caught.value))
    assert "PYTHONASYNCIODEBUG" in str(caught.value)


async def test_timeout_that_is_noticed_in_time_has_no_hint(
    server: LocalOpenRouter, make_client: MakeClient
) -> None:
    time = VirtualTime()
    server.reply("late", delay=60)
    client = make_client(clock=time.clock, timeouts=Timeouts(first_token=10))
    task = asyncio.create_task(client.chat.send(HELLO))
    await until(lambda: server.requests)
    await time.advance(10)
    with pytest.raises(APITimeoutError) as caught:
        await time.finish(task)

    assert caught.value.hint is None


# A pending response has to be a coroutine for everybody who takes one.


async def test_pending_response_runs_as_a_task(client: AsyncOpenRouter) -> None:
    task = asyncio.create_task(client.chat.send(HELLO))

    assert "Chat.send" in repr(task)
    assert task.get_stack()
    assert isinstance(await task, ChatResponse)


async def test_pending_stream_runs_as_a_task(client: AsyncOpenRouter) -> None:
    task = asyncio.create_task(client.chat.send(HELLO, stream=True))

    assert "Chat.send" in repr(task)
    async with await task as stream:
        assert (await stream.collect()).text


async def test_pending_response_is_awaitable_in_every_form(
    client: AsyncOpenRouter,
) -> None:
    calls = [client.chat.send(HELLO) for _ in range(3)]

    assert all(
        asyncio.iscoroutine(call) and inspect.isawaitable(call) for call in calls
    )
    assert (await asyncio.wait_for(calls[0], 5)).text
    assert all(response.text for response in await asyncio.gather(*calls[1:]))


async def test_cancelled_task_raises_in_the_pending_response(
    client: AsyncOpenRouter, server: LocalOpenRouter
) -> None:
    server.reply("never", delay=60)
    task = asyncio.create_task(client.chat.send(HELLO))
    await until(lambda: server.requests)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    await server.until(closed=1)
