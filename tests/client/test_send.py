"""`chat.send` and `client.request`: options of one call, and what tells of it."""

# A few rules can be seen only from inside.
# pyright: reportPrivateUsage=false

import asyncio
import json
import logging
import math
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
    MalformedResponseError,
    NotFoundError,
    OpenRouterError,
    Retries,
    SizeLimits,
    Timeouts,
    UserMessage,
)
from openrouter_async.testing import LocalOpenRouter, StreamError, error_reply


async def test_a_call_carries_what_it_was_given(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """The body is the parameters, the headers are the key and little else."""
    reply = await client.chat.send(
        model="openai/gpt-4o-mini", messages=[UserMessage("Hi")], temperature=0.5
    )

    (seen,) = server.requests
    assert isinstance(reply, ChatResponse)
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


async def test_keywords_win_over_parameters(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """A keyword replaces what `params` says, None leaves it."""
    await client.chat.send(HELLO, model="other", messages=None)
    await client.chat.send(
        {"model": "m", "messages": [UserMessage("a")]}, model="third"
    )

    assert [seen.model for seen in server.requests] == ["other", "third"]
    assert server.requests[0].prompt == "Say hello"


async def test_a_message_of_a_reply_may_be_sent_back(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """What a reply said stands in `messages` as it is."""
    reply = await client.chat.send(HELLO)
    await client.chat.send(
        model="m", messages=[UserMessage("a"), reply.message, UserMessage("b")]
    )

    said = server.requests[1].fields["messages"][1]
    assert said == reply.raw["choices"][0]["message"]


async def test_the_body_may_hold_more(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """`extra_body` wins over the body's keys, `extra_query` and `extra_headers` are added."""
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
    ("arguments", "raised", "words"),
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
async def test_an_impossible_argument_is_told_before_anything_is_sent(
    server: LocalOpenRouter,
    client: AsyncOpenRouter,
    records: list[CallRecord],
    arguments: Mapping[str, Any],
    raised: type[Exception],
    words: str,
) -> None:
    """The call itself raises, before it is awaited."""
    params = None if arguments.keys() <= {"messages"} else HELLO
    send: Any = client.chat.send

    with pytest.raises(raised, match=words):
        send(params, **arguments)

    assert server.requests == []
    assert records == []


async def test_a_mapping_must_agree_on_the_stream(client: AsyncOpenRouter) -> None:
    """`stream` in a mapping is fine if the keyword says the same."""
    asked = {"model": "m", "messages": [UserMessage("a")], "stream": True}

    async with client.chat.send(asked, stream=True) as stream:
        await stream.collect()
    with pytest.raises(ConfigurationError, match="stream=True"):
        _ = client.chat.send(asked)


async def test_stream_may_be_a_variable(client: AsyncOpenRouter) -> None:
    """`stream=` takes a bool; what comes is a stream or a reply accordingly."""
    stream, reply = [
        await client.chat.send(HELLO, stream=flag) for flag in (True, False)
    ]

    assert isinstance(stream, ChatStream)
    assert isinstance(reply, ChatResponse)
    assert (await stream.collect()).text == reply.text


async def test_calls_run_side_by_side(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """What `send` returns is a coroutine: for gather, create_task and TaskGroup."""
    texts = await asyncio.gather(*(client.chat.send(HELLO) for _ in range(3)))
    task = asyncio.create_task(client.chat.send(HELLO, stream=True))
    async with asyncio.TaskGroup() as group:
        streams = [
            group.create_task(client.chat.send(HELLO, stream=True)) for _ in range(3)
        ]
    replies = [await (await t).collect() for t in (task, *streams)]

    assert len({reply.text for reply in (*texts, *replies)}) == 1
    assert len(server.requests) == 7


async def test_a_stream_is_entered_in_either_way(client: AsyncOpenRouter) -> None:
    """`async with send(...)` and `async with await send(...)` are the same."""
    async with client.chat.send(HELLO, stream=True) as first:
        await first.collect()
    async with await client.chat.send(HELLO, stream=True) as second:
        await second.collect()

    assert (
        first.response == second.response or first.response.text == second.response.text
    )


async def test_a_forgotten_await_is_explained(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """Looping over what `send` returns tells how it is meant, and warns of nothing."""
    with pytest.raises(TypeError, match="async with"):
        async for _ in client.chat.send(HELLO, stream=True):  # type: ignore[attr-defined]  # pyright: ignore[reportGeneralTypeIssues]
            pass

    assert server.requests == []


async def test_a_call_is_awaited_once(client: AsyncOpenRouter) -> None:
    """Like any coroutine it can not be awaited again."""
    pending = client.chat.send(HELLO, stream=True)
    async with pending as stream:
        await stream.collect()

    with pytest.raises(RuntimeError, match="already awaited"):
        await pending


async def test_a_call_that_was_never_begun_can_be_closed(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """Giving up what was not awaited sends nothing and warns of nothing."""
    client.chat.send(HELLO, stream=True).close()
    client.chat.send(HELLO).close()

    assert server.requests == []


async def test_an_entering_that_fails_leaves_nothing(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """A stream that could not be opened has nothing to close."""
    server.reply(error_reply(400))
    pending = client.chat.send(HELLO, stream=True)

    with pytest.raises(BadRequestError):
        await pending.__aenter__()
    await pending.__aexit__(None, None, None)

    assert client.stats.in_use == 0


class TestKeys:
    """Where a key comes from, and where it may go."""

    async def test_a_function_is_asked_before_every_attempt(
        self, server: LocalOpenRouter, client: AsyncOpenRouter
    ) -> None:
        """A key that changes is taken up by the next attempt, plain or async."""
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

    async def test_what_the_function_raises_is_the_callers(
        self,
        server: LocalOpenRouter,
        client: AsyncOpenRouter,
        records: list[CallRecord],
    ) -> None:
        """Its exception comes out as it is, and the call counts as an error."""

        def ask() -> str:
            raise LookupError("vault")

        with pytest.raises(LookupError, match="vault"):
            await client.chat.send(HELLO, api_key=ask)

        assert server.requests == []
        assert [(r.outcome, r.error) for r in records] == [("error", None)]

    @pytest.mark.parametrize("key", [None, "", "  ", lambda: ""])
    async def test_no_key_is_told_on_the_first_call_that_brings_none(
        self,
        server: LocalOpenRouter,
        make_client: Callable[..., AsyncOpenRouter],
        key: Any,
    ) -> None:
        """A client without a key can be made; its calls may bring their own."""
        client = make_client(api_key=key)

        with pytest.raises(ConfigurationError, match="OPENROUTER_API_KEY"):
            await client.chat.send(HELLO)
        reply = await client.chat.send(HELLO, api_key="mine")

        assert reply.text
        assert [r.headers["Authorization"] for r in server.requests] == ["Bearer mine"]

    async def test_another_origin_needs_its_own_key(
        self, server: LocalOpenRouter, client: AsyncOpenRouter
    ) -> None:
        """The client's key never travels to another host; a path on the same one is fine."""
        with LocalOpenRouter() as other:
            with pytest.raises(ConfigurationError, match="pass api_key="):
                _ = client.chat.send(HELLO, base_url=other.url)
            await client.chat.send(HELLO, base_url=other.url, api_key="theirs")
            server.reply("hi", path=None)
            await client.chat.send(HELLO, base_url=f"{server.origin}/beta")

        assert [r.headers["Authorization"] for r in other.requests] == ["Bearer theirs"]
        assert [r.path for r in server.requests] == ["/beta/chat/completions"]

    async def test_a_key_does_not_travel_in_the_clear(
        self, make_client: Callable[..., AsyncOpenRouter]
    ) -> None:
        """http:// is for this machine, or asked for by name."""
        client = make_client(base_url="http://openrouter.example/api/v1")

        with pytest.raises(ConfigurationError, match="unencrypted"):
            await client.chat.send(HELLO)

    async def test_a_key_is_never_shown(
        self,
        server: LocalOpenRouter,
        make_client: Callable[..., AsyncOpenRouter],
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """An error body that repeats the key is told without it, logs have none."""
        caplog.set_level(logging.DEBUG)
        key = "sk-or-v1-abcdef0123456789"
        client = make_client(api_key=key)
        server.reply(error_reply(401, f"Key {key} is disabled", raw=f"no {key}"))

        with pytest.raises(AuthenticationError) as caught:
            await client.chat.send(HELLO)

        told = f"{caught.value} {caught.value!r} {caught.value.__dict__} {client!r}"
        assert key not in told
        assert key not in caplog.text
        assert key not in repr(client._settings)


class TestWithOptions:
    """A client with some options changed, and the same connections."""

    async def test_it_shares_pool_hook_and_stats(
        self,
        server: LocalOpenRouter,
        client: AsyncOpenRouter,
        records: list[CallRecord],
    ) -> None:
        """Its calls use the same connections and are told to the same hook."""
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

    async def test_closing_it_closes_nothing(self, client: AsyncOpenRouter) -> None:
        """It is a view; only its owner closes the connections, and then it is closed."""
        async with client.with_options() as other:
            await other.chat.send(HELLO)
        await other.close()

        assert (await other.chat.send(HELLO)).text
        assert client.stats.idle == 1
        await client.aclose()
        with pytest.raises(OpenRouterError, match="closed"):
            await other.chat.send(HELLO)

    async def test_headers_are_merged_without_case(
        self, server: LocalOpenRouter, make_client: Callable[..., AsyncOpenRouter]
    ) -> None:
        """The last one given wins: call, view, client."""
        client = make_client(headers={"x-a": "1", "x-b": "1", "x-c": "1"})
        other = client.with_options(headers={"X-B": "2", "X-C": "2"})

        await other.chat.send(HELLO, extra_headers={"X-c": "3"})

        seen = server.requests[0].headers
        assert [seen.getall(name) for name in ("X-A", "X-B", "X-C")] == [
            ["1"],
            ["2"],
            ["3"],
        ]

    async def test_another_base_url_needs_a_key(self, client: AsyncOpenRouter) -> None:
        """As with a call's own."""
        with pytest.raises(ConfigurationError, match="pass api_key="):
            client.with_options(base_url="https://else.example")
        other = client.with_options(base_url="https://else.example", api_key="k")

        assert "else.example" in repr(other)


class TestOptions:
    """The options of one call replace the client's whole."""

    async def test_timeouts_and_retries(
        self, server: LocalOpenRouter, client: AsyncOpenRouter
    ) -> None:
        """`retries=` of a call counts, not the client's."""
        client = client.with_options(retries=Retries(max_attempts=1))
        server.reply(error_reply(500)).then("hi").then(error_reply(500))

        reply = await client.chat.send(HELLO, retries=Retries(max_attempts=2))
        with pytest.raises(APIError):
            await client.chat.send(HELLO)

        assert reply.text == "hi"
        assert len(server.requests) == 3


class TestOnCall:
    """The hook: once for each call, when it is over."""

    async def test_every_outcome_is_told_once(
        self,
        server: LocalOpenRouter,
        client: AsyncOpenRouter,
        records: list[CallRecord],
    ) -> None:
        """Ok, error, closed, cancelled; plain and streamed; retries are no calls."""
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
    async def test_what_it_raises_is_logged(
        self,
        make_client: Callable[..., AsyncOpenRouter],
        caplog: pytest.LogCaptureFixture,
        stream: bool,
    ) -> None:
        """A hook that fails does not fail the call."""

        def fail(record: CallRecord) -> None:
            raise LookupError(record.outcome)

        client = make_client(on_call=fail)
        result = await client.chat.send(HELLO, stream=stream)
        reply = await result.collect() if isinstance(result, ChatStream) else result

        assert reply.text
        (line,) = [r for r in caplog.records if r.levelno == logging.ERROR]
        assert line.name == "openrouter_async"
        assert "LookupError: ok" in caplog.text

    async def test_none_is_needed(
        self, make_client: Callable[..., AsyncOpenRouter]
    ) -> None:
        """Without a hook nothing is told."""
        client = make_client(on_call=None)

        assert (await client.chat.send(HELLO)).text


class TestRequest:
    """Any other endpoint."""

    async def test_the_json_comes_as_it_is(
        self,
        server: LocalOpenRouter,
        client: AsyncOpenRouter,
        records: list[CallRecord],
    ) -> None:
        """The same key, pool and hook; the body is parsed, nothing more."""
        models = await client.request("get", "/models")
        server.reply(json=[1, None], path="/odd")
        odd = await client.request(
            "PUT", "/odd?a=1", json={"b": 2}, query={"c": "d e", "no": None}
        )

        assert isinstance(models["data"], list)
        assert odd == [1, None]
        get, put = server.requests
        assert (get.method, get.body, get.connection) == ("GET", b"", put.connection)
        assert (put.method, put.json) == ("PUT", {"b": 2})
        assert dict(put.query) == {"a": "1", "c": "d e"}
        assert put.headers["Authorization"] == f"Bearer {server.api_key}"
        assert [(r.outcome, r.model, r.usage) for r in records] == [
            ("ok", None, None)
        ] * 2

    @pytest.mark.parametrize(
        ("method", "sent"), [("GET", 2), ("POST", 1), ("DELETE", 1)]
    )
    async def test_only_get_is_sent_again(
        self, server: LocalOpenRouter, client: AsyncOpenRouter, method: str, sent: int
    ) -> None:
        """What may change something is sent once."""
        server.reply(error_reply(500), path="/key").then(json={"data": 1})

        if sent == 2:
            assert await client.request(method, "/key") == {"data": 1}
        else:
            with pytest.raises(APIError):
                await client.request(method, "/key")

        assert len(server.requests) == sent

    async def test_errors_are_the_same(
        self, server: LocalOpenRouter, client: AsyncOpenRouter
    ) -> None:
        """The status chooses the class; an error in a 200 is one; no JSON is malformed."""
        server.reply(json={"error": {"code": 400, "message": "x"}}, path="/a")
        server.reply(text="<html><title>T</title>", path="/b")
        server.reply(status=204, body=b"", path="/c")

        with pytest.raises(NotFoundError):
            await client.request("GET", "/generation", query={"id": "gen-1"})
        with pytest.raises(BadRequestError):
            await client.request("GET", "/a")
        with pytest.raises(MalformedResponseError, match="'T'"):
            await client.request("GET", "/b")
        with pytest.raises(MalformedResponseError, match="204"):
            await client.request("POST", "/c")

    @pytest.mark.parametrize(
        "path", ["models", "//evil", "/a b", "/../x", "/a#b", "/%2e%2e/x"]
    )
    async def test_a_path_stays_below_the_base_url(
        self, server: LocalOpenRouter, client: AsyncOpenRouter, path: str
    ) -> None:
        """A path that leads elsewhere is refused."""
        with pytest.raises(ConfigurationError):
            await client.request("GET", path)

        assert server.requests == []


async def test_a_large_body_goes_out_whole_on_each_attempt(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """More than 1 MiB is sent, and sent again, without a warning of aiohttp's."""
    text = "x" * (3 * 1024 * 1024)
    server.reply(error_reply(500)).then("ok")

    await client.chat.send(model="m", messages=[UserMessage(text)])

    assert [len(seen.prompt) for seen in server.requests] == [len(text)] * 2
    assert [seen.headers["Content-Length"] for seen in server.requests] == [
        str(len(seen.body)) for seen in server.requests
    ]


async def test_a_body_beyond_the_limit_is_malformed(
    server: LocalOpenRouter, make_client: Callable[..., AsyncOpenRouter]
) -> None:
    """A plain reply larger than `SizeLimits.body_bytes` is cut off, an error's is shortened."""
    client = make_client(size_limits=SizeLimits(body_bytes=5000, error_bytes=100))
    server.reply("x" * 9000).then(status=400, text="y" * 9000)

    with pytest.raises(MalformedResponseError, match="5000"):
        await client.chat.send(HELLO)
    with pytest.raises(BadRequestError) as caught:
        await client.chat.send(HELLO)

    assert caught.value.body == "y" * 100


async def test_a_broken_error_body_is_still_its_status(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """The words of an error may be lost, its status is not."""
    body = json.dumps({"error": {"message": "m" * 500}}).encode()
    server.reply(status=400, body=body, stop="close", stop_at=20)

    with pytest.raises(BadRequestError):
        await client.chat.send(HELLO)


async def test_an_error_body_that_stalls_is_ended_by_the_clocks(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """The body of an error is read under the clocks of the call."""
    server.reply(status=400, json={"error": {}}, before_token=math.inf)

    with pytest.raises(OpenRouterError, match="total"):
        await client.chat.send(HELLO, timeouts=0.05)
