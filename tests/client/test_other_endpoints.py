"""`client.request`, and bodies of any endpoint: large, cut and stalled."""

# pyright: reportPrivateUsage=false

import json
import math
from collections.abc import Callable

import pytest
from support import HELLO

from openrouter_async import (
    APIError,
    AsyncOpenRouter,
    BadRequestError,
    CallRecord,
    ConfigurationError,
    MalformedResponseError,
    NotFoundError,
    OpenRouterError,
    SizeLimits,
    UserMessage,
)
from openrouter_async.testing import LocalOpenRouter, error_reply


class TestRequest:
    """`client.request` calls any other endpoint."""

    async def test_request_returns_the_json_unchanged(
        self,
        server: LocalOpenRouter,
        client: AsyncOpenRouter,
        records: list[CallRecord],
    ) -> None:
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
    async def test_request_retries_only_get(
        self, server: LocalOpenRouter, client: AsyncOpenRouter, method: str, sent: int
    ) -> None:
        server.reply(error_reply(500), path="/key").then(json={"data": 1})

        if sent == 2:
            assert await client.request(method, "/key") == {"data": 1}
        else:
            with pytest.raises(APIError):
                await client.request(method, "/key")

        assert len(server.requests) == sent

    async def test_request_raises_the_same_errors_as_send(
        self, server: LocalOpenRouter, client: AsyncOpenRouter
    ) -> None:
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
    async def test_request_rejects_a_path_outside_the_base_url(
        self, server: LocalOpenRouter, client: AsyncOpenRouter, path: str
    ) -> None:
        with pytest.raises(ConfigurationError):
            await client.request("GET", path)

        assert server.requests == []


async def test_large_body_is_sent_whole_by_each_attempt(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """Without the warning of aiohttp about large bodies given as bytes."""
    text = "x" * (3 * 1024 * 1024)
    server.reply(error_reply(500)).then("ok")

    await client.chat.send(model="m", messages=[UserMessage(text)])

    assert [len(seen.prompt) for seen in server.requests] == [len(text)] * 2
    assert [seen.headers["Content-Length"] for seen in server.requests] == [
        str(len(seen.body)) for seen in server.requests
    ]


async def test_body_beyond_its_limit_is_malformed_and_an_error_body_is_cut(
    server: LocalOpenRouter, make_client: Callable[..., AsyncOpenRouter]
) -> None:
    client = make_client(size_limits=SizeLimits(body_bytes=5000, error_bytes=100))
    server.reply("x" * 9000).then(status=400, text="y" * 9000)

    with pytest.raises(MalformedResponseError, match="5000"):
        await client.chat.send(HELLO)
    with pytest.raises(BadRequestError) as caught:
        await client.chat.send(HELLO)

    assert caught.value.body == "y" * 100


async def test_error_body_that_breaks_off_raises_the_class_of_its_status(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    body = json.dumps({"error": {"message": "m" * 500}}).encode()
    server.reply(status=400, body=body, stop="close", stop_at=20)

    with pytest.raises(BadRequestError):
        await client.chat.send(HELLO)


async def test_error_body_that_stalls_is_ended_by_a_timeout(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    server.reply(status=400, json={"error": {}}, before_token=math.inf)

    with pytest.raises(OpenRouterError, match="total"):
        await client.chat.send(HELLO, timeouts=0.05)
