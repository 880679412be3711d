"""`chat.send` and `client.request`: arguments, options of a call, records."""

# pyright: reportPrivateUsage=false

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from support import HELLO

from openrouter_async import (
    APIError,
    AsyncOpenRouter,
    AuthenticationError,
    BadGatewayError,
    BadRequestError,
    CallRecord,
    ChatResponse,
    ChatStream,
    ConfigurationError,
    OpenRouterError,
    Retries,
    Timeouts,
    UserMessage,
)
from openrouter_async.testing import LocalOpenRouter, StreamError, error_reply


async def test_request_has_the_parameters_as_body_and_the_key_as_header(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    response = await client.chat.send(
        model="openai/gpt-4o-mini", messages=[UserMessage("Hi")], temperature=0.5
    )

    (seen,) = server.requests
    assert isinstance(response, ChatResponse)
    assert (seen.method, seen.path) == ("POST", "/api/v1/chat/completions")
    assert seen.json == {
        "model": "openai/gpt-4o-mini",
        "messages": [{"role": "user", "content": "Hi"}],
        "temperature": 0.5,
    }
    assert seen.headers["Authorization"] == f"Bearer {server.api_key}"
    assert seen.headers["Content-Type"] == "application/json"
    assert seen.headers["Accept-Encoding"] == "gzip, deflate"
    assert "Cookie" not in seen.headers


async def test_keywords_take_precedence_over_params_and_none_does_not(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    await client.chat.send(HELLO, model="other", messages=None)
    await client.chat.send(
        {"model": "m", "messages": [UserMessage("a")]}, model="third"
    )

    assert [seen.model for seen in server.requests] == ["other", "third"]
    assert server.requests[0].prompt == "Say hello"


async def test_message_of_a_response_is_sent_back(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    response = await client.chat.send(HELLO)
    await client.chat.send(
        model="m", messages=[UserMessage("a"), response.message, UserMessage("b")]
    )

    said = server.requests[1].fields["messages"][1]
    assert said == response.raw["choices"][0]["message"]


async def test_extra_body_query_and_headers_are_merged(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    await client.chat.send(
        HELLO,
        temperature=1.0,
        extra_body={"temperature": None, "new": {"a": [1]}},
        extra_query={"q": "a b", "no": None, "yes": True, "many": [1, 2]},
        extra_headers={"X-One": "1", "user-agent": "me", "accept": "application/x"},
    )

    (seen,) = server.requests
    assert seen.json["temperature"] is None
    assert seen.json["new"] == {"a": [1]}
    assert seen.query["q"] == "a b"
    assert seen.query["yes"] == "true"
    assert "no" not in seen.query
    assert seen.headers["X-One"] == "1"
    assert seen.headers.getall("User-Agent") == ["me"]
    assert seen.headers.getall("Accept") == ["application/x"]


@pytest.mark.parametrize(
    ("arguments", "raised", "message"),
    [
        ({}, ConfigurationError, "nothing to send"),
        ({"messages": []}, ConfigurationError, "nothing to send"),
        ({"messages": "hi"}, TypeError, "not str"),
        ({"messages": ["hi"]}, TypeError, "not the string"),
        ({"mesages": []}, TypeError, "messages"),
        ({"retries": 3}, TypeError, "Retries"),
        ({"extra_headers": {"A": "x\r\nB: y"}}, ConfigurationError, "A"),
        ({"extra_headers": {"authorization": "x"}}, ConfigurationError, "api_key"),
        ({"extra_body": {"stream": True}}, ConfigurationError, "stream"),
        ({"base_url": "https://else.example/api"}, ConfigurationError, "api_key"),
        ({"base_url": "nowhere"}, ConfigurationError, "https://"),
    ],
)
async def test_invalid_argument_raises_before_the_call_is_awaited(
    server: LocalOpenRouter,
    client: AsyncOpenRouter,
    records: list[CallRecord],
    arguments: Mapping[str, Any],
    raised: type[Exception],
    message: str,
) -> None:
    params = None if arguments.keys() <= {"messages"} else HELLO
    send: Any = client.chat.send

    with pytest.raises(raised, match=message):
        send(params, **arguments)

    assert server.requests == []
    assert records == []


async def test_stream_in_a_mapping_must_agree_with_the_keyword(
    client: AsyncOpenRouter,
) -> None:
    asked = {"model": "m", "messages": [UserMessage("a")], "stream": True}

    async with client.chat.send(asked, stream=True) as stream:
        await stream.collect()
    with pytest.raises(ConfigurationError, match="stream=True"):
        _ = client.chat.send(asked)


async def test_stream_may_be_a_variable(client: AsyncOpenRouter) -> None:
    stream, response = [
        await client.chat.send(HELLO, stream=flag) for flag in (True, False)
    ]

    assert isinstance(stream, ChatStream)
    assert isinstance(response, ChatResponse)
    assert (await stream.collect()).text == response.text


async def test_calls_are_coroutines_for_gather_and_tasks(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    texts = await asyncio.gather(*(client.chat.send(HELLO) for _ in range(3)))
    task = asyncio.create_task(client.chat.send(HELLO, stream=True))
    async with asyncio.TaskGroup() as group:
        streams = [
            group.create_task(client.chat.send(HELLO, stream=True)) for _ in range(3)
        ]
    responses = [await (await t).collect() for t in (task, *streams)]

    assert len({response.text for response in (*texts, *responses)}) == 1
    assert len(server.requests) == 7


async def test_stream_is_entered_with_and_without_await(
    client: AsyncOpenRouter,
) -> None:
    async with client.chat.send(HELLO, stream=True) as first:
        await first.collect()
    async with await client.chat.send(HELLO, stream=True) as second:
        await second.collect()

    assert (
        first.response == second.response or first.response.text == second.response.text
    )


async def test_loop_over_a_pending_stream_is_explained_without_a_warning(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    with pytest.raises(TypeError, match="async with"):
        async for _ in client.chat.send(HELLO, stream=True):  # type: ignore[attr-defined]  # pyright: ignore[reportGeneralTypeIssues]
            pass

    assert server.requests == []


async def test_call_cannot_be_awaited_twice(client: AsyncOpenRouter) -> None:
    pending = client.chat.send(HELLO, stream=True)
    async with pending as stream:
        await stream.collect()

    with pytest.raises(RuntimeError, match="already awaited"):
        await pending


async def test_call_that_was_never_awaited_can_be_closed(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    client.chat.send(HELLO, stream=True).close()
    client.chat.send(HELLO).close()

    assert server.requests == []


async def test_stream_that_fails_to_open_leaves_nothing_open(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    server.reply(error_reply(400))
    pending = client.chat.send(HELLO, stream=True)

    with pytest.raises(BadRequestError):
        await pending.__aenter__()
    await pending.__aexit__(None, None, None)

    assert client.stats.in_use == 0


class TestKeys:
    """Sources of the key, and the hosts it may be sent to."""

    async def test_key_function_is_called_before_every_attempt(
        self, server: LocalOpenRouter, client: AsyncOpenRouter
    ) -> None:
        keys = iter(["one", "two", "three", "four"])

        async def ask() -> str:
            await asyncio.sleep(0)
            return next(keys)

        server.reply(error_reply(500)).then("a").then(error_reply(500)).then("b")
        await client.chat.send(HELLO, api_key=lambda: next(keys))
        await client.chat.send(HELLO, api_key=ask)

        assert [seen.headers["Authorization"] for seen in server.requests] == [
            "Bearer one",
            "Bearer two",
            "Bearer three",
            "Bearer four",
        ]

    async def test_exception_of_the_key_function_is_raised_unchanged(
        self,
        server: LocalOpenRouter,
        client: AsyncOpenRouter,
        records: list[CallRecord],
    ) -> None:
        def ask() -> str:
            raise LookupError("vault")

        with pytest.raises(LookupError, match="vault"):
            await client.chat.send(HELLO, api_key=ask)

        assert server.requests == []
        assert [(r.outcome, r.error) for r in records] == [("error", None)]

    @pytest.mark.parametrize("key", [None, "", "  ", lambda: ""])
    async def test_missing_key_is_an_error_of_the_first_call_without_one(
        self,
        server: LocalOpenRouter,
        make_client: Callable[..., AsyncOpenRouter],
        key: Any,
    ) -> None:
        client = make_client(api_key=key)

        with pytest.raises(ConfigurationError, match="OPENROUTER_API_KEY"):
            await client.chat.send(HELLO)
        response = await client.chat.send(HELLO, api_key="mine")

        assert response.text
        assert [r.headers["Authorization"] for r in server.requests] == ["Bearer mine"]

    async def test_other_host_needs_its_own_key(
        self, server: LocalOpenRouter, client: AsyncOpenRouter
    ) -> None:
        with LocalOpenRouter() as other:
            with pytest.raises(ConfigurationError, match="pass api_key="):
                _ = client.chat.send(HELLO, base_url=other.url)
            await client.chat.send(HELLO, base_url=other.url, api_key="theirs")
            server.reply("hi", path=None)
            await client.chat.send(HELLO, base_url=f"{server.origin}/beta")

        assert [r.headers["Authorization"] for r in other.requests] == ["Bearer theirs"]
        assert [r.path for r in server.requests] == ["/beta/chat/completions"]

    async def test_key_is_not_sent_unencrypted_unless_allowed(
        self, make_client: Callable[..., AsyncOpenRouter]
    ) -> None:
        client = make_client(base_url="http://openrouter.example/api/v1")

        with pytest.raises(ConfigurationError, match="unencrypted"):
            await client.chat.send(HELLO)

    async def test_key_echoed_by_the_server_is_masked_in_errors_and_logs(
        self,
        server: LocalOpenRouter,
        make_client: Callable[..., AsyncOpenRouter],
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        caplog.set_level(logging.DEBUG)
        key = "sk-or-v1-abcdef0123456789"
        client = make_client(api_key=key)
        server.reply(error_reply(401, f"Key {key} is disabled", raw=f"no {key}"))

        with pytest.raises(AuthenticationError) as caught:
            await client.chat.send(HELLO)

        shown = f"{caught.value} {caught.value!r} {caught.value.__dict__} {client!r}"
        assert key not in shown
        assert key not in caplog.text
        assert key not in repr(client._settings)


class TestWithOptions:
    """`with_options`: a client with other options and the same connections."""

    async def test_with_options_shares_pool_hook_and_stats(
        self,
        server: LocalOpenRouter,
        client: AsyncOpenRouter,
        records: list[CallRecord],
    ) -> None:
        other = client.with_options(
            api_key=" theirs ",
            headers={"X-One": "1"},
            timeouts=9,
            retries=Retries(cap=1),
        )
        await client.chat.send(HELLO)
        await other.chat.send(HELLO)

        assert [seen.connection for seen in server.requests] == [1, 1]
        assert server.requests[1].headers["Authorization"] == "Bearer theirs"
        assert server.requests[1].headers["X-One"] == "1"
        assert "X-One" not in server.requests[0].headers
        assert len(records) == 2
        assert other.stats == client.stats
        assert other.timeouts == Timeouts(total=9)
        assert (other.retries, other.size_limits) == (
            Retries(cap=1),
            client.size_limits,
        )
        assert client.timeouts == Timeouts()

    async def test_closing_a_client_of_with_options_closes_nothing(
        self, client: AsyncOpenRouter
    ) -> None:
        async with client.with_options() as other:
            await other.chat.send(HELLO)
        await other.close()

        assert (await other.chat.send(HELLO)).text
        assert client.stats.idle == 1
        await client.aclose()
        with pytest.raises(OpenRouterError, match="closed"):
            await other.chat.send(HELLO)

    async def test_headers_are_merged_case_insensitively(
        self, server: LocalOpenRouter, make_client: Callable[..., AsyncOpenRouter]
    ) -> None:
        client = make_client(headers={"x-a": "1", "x-b": "1", "x-c": "1"})
        other = client.with_options(headers={"X-B": "2", "X-C": "2"})

        await other.chat.send(HELLO, extra_headers={"X-c": "3"})

        seen = server.requests[0].headers
        assert [seen.getall(name) for name in ("X-A", "X-B", "X-C")] == [
            ["1"],
            ["2"],
            ["3"],
        ]

    async def test_with_options_of_another_base_url_needs_a_key(
        self, client: AsyncOpenRouter
    ) -> None:
        with pytest.raises(ConfigurationError, match="pass api_key="):
            client.with_options(base_url="https://else.example")
        other = client.with_options(base_url="https://else.example", api_key="k")

        assert "else.example" in repr(other)


class TestOptions:
    """Options of one call replace those of the client as a whole."""

    async def test_retries_of_a_call_replace_those_of_the_client(
        self, server: LocalOpenRouter, client: AsyncOpenRouter
    ) -> None:
        client = client.with_options(retries=Retries(max_attempts=1))
        server.reply(error_reply(500)).then("hi").then(error_reply(500))

        response = await client.chat.send(HELLO, retries=Retries(max_attempts=2))
        with pytest.raises(APIError):
            await client.chat.send(HELLO)

        assert response.text == "hi"
        assert len(server.requests) == 3


class TestOnCall:
    """`on_call` is called once for each call, at its end."""

    async def test_on_call_is_called_once_with_each_outcome(
        self,
        server: LocalOpenRouter,
        client: AsyncOpenRouter,
        records: list[CallRecord],
    ) -> None:
        server.reply("a").then(error_reply(500)).then("b").then(error_reply(400))
        for _ in range(2):
            await client.chat.send(HELLO)
        with pytest.raises(BadRequestError) as refused:
            await client.chat.send(HELLO)
        async with client.chat.send(HELLO, stream=True) as stream:
            await stream.collect()
        server.reply(["a", "b"], error=StreamError(), error_after=1)
        with pytest.raises(BadGatewayError) as broken:
            async with client.chat.send(HELLO, stream=True) as stream:
                await stream.collect()
        server.reply("a", stop="silence", stop_after=0, comments=0)
        task = asyncio.create_task(client.chat.send(HELLO, stream=True))
        await server.until(requests=7)
        task.cancel()
        await asyncio.wait([task])
        async with client.chat.send(HELLO, stream=True):
            pass

        assert [(r.outcome, r.stream, r.error) for r in records] == [
            ("ok", False, None),
            ("ok", False, None),
            ("error", False, refused.value),
            ("ok", True, None),
            ("error", True, broken.value),
            ("cancelled", True, None),
            ("closed", True, None),
        ]
        assert {record.model for record in records} == {"m"}
        assert [len(record.http.attempts) for record in records] == [
            1,
            2,
            1,
            1,
            1,
            1,
            1,
        ]
        assert all(record.http.timings.total is not None for record in records)
        assert [record.usage is not None for record in records[:3]] == [
            True,
            True,
            False,
        ]

    @pytest.mark.parametrize("stream", [True, False])
    async def test_exception_of_on_call_is_logged(
        self,
        make_client: Callable[..., AsyncOpenRouter],
        caplog: pytest.LogCaptureFixture,
        stream: bool,
    ) -> None:
        def fail(record: CallRecord) -> None:
            raise LookupError(record.outcome)

        client = make_client(on_call=fail)
        result = await client.chat.send(HELLO, stream=stream)
        response = await result.collect() if isinstance(result, ChatStream) else result

        assert response.text
        (line,) = [r for r in caplog.records if r.levelno == logging.ERROR]
        assert line.name == "openrouter_async"
        assert "LookupError: ok" in caplog.text

    async def test_on_call_is_optional(
        self, make_client: Callable[..., AsyncOpenRouter]
    ) -> None:
        client = make_client(on_call=None)

        assert (await client.chat.send(HELLO)).text
