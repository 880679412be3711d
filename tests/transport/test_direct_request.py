"""Which requests are sent directly, and what a direct request leaves behind."""

import gc
import logging
from typing import Any

import aiohttp
import pytest
from aiohttp.client_proto import ResponseHandler
from support import HELLO, MakeClient
from yarl import URL

from openrouter_async import (
    APIConnectionError,
    AsyncOpenRouter,
    Retries,
    SizeLimits,
    Timeouts,
)
from openrouter_async.protocol.base_url import parse_base_url
from openrouter_async.protocol.call import Call
from openrouter_async.protocol.headers import Secret
from openrouter_async.testing import LocalOpenRouter
from openrouter_async.transport.aiohttp_compat import find_missing
from openrouter_async.transport.direct_request import (
    MAX_BODY_BYTES,
    DirectRequest,
    DirectRequests,
    accepts,
)

ADDRESS = "http://127.0.0.1/api/v1"
KEY = Secret("Bearer sk-or-v1-0123456789abcdef")


def make_call(**changes: Any) -> Call[Any]:
    """Return a call that is sent directly, unless the changes prevent it."""
    usual: dict[str, Any] = {
        "method": "POST",
        "url": ADDRESS,
        "headers": {"X-Own": "a"},
        "body": b"{}",
        "api_key": None,
        "base_url": parse_base_url(ADDRESS, allow_http=False),
        "timeouts": Timeouts(),
        "retries": Retries(),
        "size_limits": SizeLimits(),
        "parse": print,
    }
    return Call(**{**usual, **changes})


@pytest.mark.parametrize(
    ("changes", "direct"),
    [
        ({}, True),
        ({"body": b""}, True),
        ({"body": bytes(MAX_BODY_BYTES)}, True),
        ({"body": bytes(MAX_BODY_BYTES + 1)}, False),
        ({"body": None}, False),
        ({"body_path": "rows.jsonl"}, False),
        ({"method": "GET"}, False),
        ({"method": "DELETE", "body": None}, False),
    ],
)
def test_small_posts_are_sent_directly(
    changes: dict[str, Any], *, direct: bool
) -> None:
    assert accepts(make_call(**changes)) is direct


async def test_head_is_built_once_for_each_url_set_of_headers_and_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url = URL(ADDRESS)
    first, other = make_call(), make_call()
    async with aiohttp.ClientSession() as session:
        requests = DirectRequests(session)
        assert requests.find(first, KEY) is None
        request = requests.add(first, url, KEY)

        assert requests.find(first, KEY) is request
        assert requests.find(make_call(headers=first.headers), KEY) is request
        assert requests.find(other, KEY) is None
        assert requests.find(first, Secret("Bearer b")) is None
        elsewhere = make_call(headers=first.headers, url=ADDRESS + "?a=1")
        assert requests.find(elsewhere, KEY) is None


async def test_number_of_heads_is_bounded_and_each_holds_its_headers() -> None:
    """Headers that were collected could leave their id to others."""
    async with aiohttp.ClientSession() as session:
        requests: Any = DirectRequests(session)
        for _ in range(300):
            requests.add(make_call(headers={"X-Own": "a"}), URL(ADDRESS), KEY)

        assert len(requests._requests) == 100
        for (_, headers_id, _), request in requests._requests.items():
            assert id(request._headers) == headers_id


@pytest.mark.usefixtures("request_path")
@pytest.mark.parametrize("size", [0, MAX_BODY_BYTES, 2**21])
async def test_body_of_any_size_is_received(
    server: LocalOpenRouter, client: AsyncOpenRouter, size: int
) -> None:
    messages: Any = [{"role": "user", "content": "x" * size}]

    response = await client.chat.send(model="m", messages=messages)

    assert response.text
    (seen,) = server.requests
    assert seen.json["messages"] == messages


@pytest.mark.usefixtures("request_path")
async def test_other_endpoints_are_called(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    for method, path, body in (("GET", "/models", None), ("GET", "/key", None)):
        assert await client.request(method, path, json=body)

    assert [seen.method for seen in server.requests] == ["GET", "GET"]


class ClosingConnector(aiohttp.TCPConnector):
    """A connector whose connections are closing when they are used."""

    async def connect(self, *args: Any, **kwargs: Any) -> Any:
        """Return a connection that the peer has just closed."""
        connection: Any = await super().connect(*args, **kwargs)
        connection.transport.close()
        return connection


@pytest.mark.usefixtures("request_path")
async def test_request_on_a_closing_connection_is_an_error(
    make_client: MakeClient,
) -> None:
    async with aiohttp.ClientSession(connector=ClosingConnector()) as session:
        client = make_client(session=session)

        with pytest.raises(APIConnectionError) as caught:
            await client.chat.send(HELLO, retries=Retries(max_attempts=1))

        assert [a.billing for a in caught.value.attempts] == ["maybe"]
        assert client.stats.in_use == 0


async def test_open_stream_holds_no_request_or_response_of_aiohttp(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    server.reply(["a", "b"], stop="silence", stop_after=1)
    async with client.chat.send(HELLO, stream=True) as stream:
        await anext(stream)
        gc.collect()
        # Those of other tests may be in a traceback that is still referenced.
        kept = [
            entry
            for entry in gc.get_objects()
            if type(entry) is aiohttp.ClientResponse
            and str(entry.url).startswith(server.url)
        ]

    assert kept == []


class KeywordConnector(aiohttp.TCPConnector):
    """A connector that the session can use, and direct requests cannot."""

    async def connect(  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        req: Any,
        *,
        traces: Any,
        timeout: Any,  # noqa: ASYNC109 - aiohttp's interface
    ) -> Any:
        """Return a connection."""
        return await super().connect(req, traces, timeout)


async def test_session_is_used_if_direct_requests_lack_something(
    make_client: MakeClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "openrouter_async")
    async with aiohttp.ClientSession(connector=KeywordConnector()) as session:
        client = make_client(session=session)
        responses = [await client.chat.send(HELLO) for _ in range(2)]

    assert all(response.text for response in responses)
    lines = [record for record in caplog.records if "is missing" in record.message]
    assert [record.levelname for record in lines] == ["DEBUG"]
    assert "connect(" in lines[0].message


def _lacking(name: str) -> type:
    """Return a protocol like aiohttp's, without one method."""
    names = ("read", "should_close", "closed", "set_response_params")
    members = {key: getattr(ResponseHandler, key) for key in names if key != name}
    return type("OldHandler", (), members)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nothing", None),
        ("read", "OldHandler.read"),
        ("should_close", "OldHandler.should_close"),
        ("set_response_params", "set_response_params(read_until_eof=, auto_"),
    ],
)
async def test_missing_feature_is_named(name: str, message: str | None) -> None:
    async with aiohttp.ClientSession() as session:
        missing = find_missing(session.connector, _lacking(name))

    assert (missing or "").startswith(message or "")
    assert (missing is None) == (message is None)


def test_missing_connector_is_named() -> None:
    assert (
        find_missing(object()) == "connect(request, traces, timeout) of the connector"
    )


async def test_key_is_not_shown_by_the_head_of_a_request() -> None:
    async with aiohttp.ClientSession() as session:
        request: Any = DirectRequests(session).add(make_call(), URL(ADDRESS), KEY)

    assert KEY.encode() in request._head
    values: list[Any] = [getattr(request, name) for name in DirectRequest.__slots__]
    assert "0123456789" not in repr(values)
    assert "0123456789" not in repr(request._request.__dict__)
