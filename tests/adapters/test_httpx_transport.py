"""OpenRouterTransport, under httpx and httpx2."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from support import MakeClient

from openrouter_async import AsyncOpenRouter, ChatStream, Retries, Timeouts
from openrouter_async.adapters.httpx import OpenRouterTransport
from openrouter_async.testing import (
    LocalOpenRouter,
    StreamError,
    completion,
    error_reply,
)

URL = "https://unused.example/api/v1/chat/completions"
BODY: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
NATIVE = "The provider ended the response with an error (MALFORMED_FUNCTION_CALL)."
STREAM: dict[str, Any] = {**BODY, "stream": True}


@pytest.fixture(params=["httpx", "httpx2"])
def package(request: pytest.FixtureRequest) -> Any:
    """Import one of the two packages, or skip the test."""
    return pytest.importorskip(
        request.param, reason="httpx and httpx2 are in the [interop] extra"
    )


@pytest.fixture
def http(package: Any, client: AsyncOpenRouter) -> Any:
    """Create a client of httpx; it opens no connections of its own."""
    return package.AsyncClient(transport=OpenRouterTransport(client))


async def events(response: Any) -> list[Any]:
    """Read a stream, and return the data of its events."""
    return [
        json.loads(line) if line != "[DONE]" else line
        async for line in data_lines(response)
    ]


async def data_lines(response: Any) -> AsyncIterator[str]:
    async for line in response.aiter_lines():
        if line:
            assert line.startswith("data: ")
            yield line.removeprefix("data: ")


async def test_completion_is_the_body_that_was_received(
    http: Any, server: LocalOpenRouter
) -> None:
    server.reply("hello")

    response = await http.post(URL, json={**BODY, "unknown": [1]})

    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-generation-id"] == response.json()["id"]
    assert response.json()["choices"][0]["message"]["content"] == "hello"
    assert server.requests[0].json == {**BODY, "unknown": [1]}


async def test_headers_and_query_are_forwarded_without_the_callers_own(
    http: Any, server: LocalOpenRouter
) -> None:
    headers = {
        "Authorization": "Bearer placeholder",
        "HTTP-Referer": "https://app.example",
        "X-Title": "App",
        "X-Stainless-Lang": "python",
        "User-Agent": "other",
    }
    await http.post(URL, json=BODY, headers=headers, params={"a": ["1", "2"]})

    (seen,) = server.requests
    assert seen.headers["Authorization"] == f"Bearer {server.api_key}"
    assert seen.headers["HTTP-Referer"] == "https://app.example"
    assert seen.headers["X-Title"] == "App"
    assert seen.headers["User-Agent"].startswith("openrouter_async/")
    assert "X-Stainless-Lang" not in seen.headers
    assert seen.query.getall("a") == ["1", "2"]


async def test_stream_has_all_chunks_and_ends_with_done(
    http: Any, server: LocalOpenRouter
) -> None:
    server.reply(["hel", "lo"])
    async with http.stream("POST", URL, json=STREAM) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        received = await events(response)

    assert received[-1] == "[DONE]"
    texts = [chunk["choices"][0]["delta"].get("content") for chunk in received[:-1]]
    assert "".join(filter(None, texts)) == "hello"
    assert received[-2]["usage"]["total_tokens"] > 0


async def test_events_of_a_stream_are_those_that_were_received(
    http: Any, server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """Also those of which the client decodes only the text."""
    content = completion(
        'He said "h\u00e9" \u2028 and so on, ' * 3, reasoning="Let me see now. " * 3
    )
    server.reply(content, times=2)
    send: Any = client.chat.send
    stream: ChatStream = await send(**BODY, stream=True)
    async with stream:
        expected = [chunk.raw async for chunk in stream]
    async with http.stream("POST", URL, json=STREAM) as response:
        data = await response.aread()

    received = [json.loads(event[6:]) for event in data.split(b"\n\n")[:-2]]
    assert len(received) > 20
    for event in (*received, *expected):
        del event["id"], event["created"]
    assert received == expected


async def test_connection_is_reused_after_a_stream(
    http: Any, server: LocalOpenRouter
) -> None:
    for _ in range(2):
        async with http.stream("POST", URL, json=STREAM) as response:
            await events(response)

    assert [seen.connection for seen in server.requests] == [1, 1]


async def test_stream_that_is_left_is_closed_at_once(
    http: Any, server: LocalOpenRouter
) -> None:
    server.reply(["a"] * 100, chunk_delay=0.05)
    async with http.stream("POST", URL, json=STREAM) as response:
        received = response.aiter_bytes()
        await anext(received)
        await response.aclose()
        await server.until(closed=1, timeout=1)
        await received.aclose()

    assert server.requests[0].path == "/api/v1/chat/completions"


async def test_cancellation_closes_the_upstream(
    http: Any, server: LocalOpenRouter
) -> None:
    server.reply("late", delay=30)
    task = asyncio.create_task(http.post(URL, json=BODY))
    await server.until(requests=1)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    await server.until(closed=1, timeout=1)


async def test_get_requests_are_sent_below_the_base_url(
    http: Any, server: LocalOpenRouter
) -> None:
    response = await http.get("http://x/v1/models", params={"category": "programming"})
    await http.get("http://x/models")

    assert response.json()["data"]
    assert [seen.path for seen in server.requests] == ["/api/v1/models"] * 2
    assert server.requests[0].query["category"] == "programming"


@pytest.mark.parametrize(("method", "path"), [("POST", "/responses"), ("PUT", "/x")])
async def test_other_requests_are_not_supported(
    package: Any, http: Any, server: LocalOpenRouter, method: str, path: str
) -> None:
    with pytest.raises(package.UnsupportedProtocol, match=f"{method} /v1{path}: "):
        await http.request(method, f"https://x/v1{path}", json=BODY)

    assert server.requests == []


@pytest.mark.parametrize("stream", [False, True])
async def test_error_has_its_status_headers_and_body(
    package: Any, make_client: MakeClient, server: LocalOpenRouter, stream: bool
) -> None:
    client = make_client(retries=Retries(max_attempts=1))
    http = package.AsyncClient(transport=OpenRouterTransport(client))
    headers = {"Retry-After": "7", "X-Note": "h\u00e9"}
    server.reply(error_reply(429, "slow down"), headers=headers)

    response = await http.post(URL, json={**BODY, "stream": stream})

    assert response.status_code == 429
    assert response.headers["retry-after"] == "7"
    assert response.headers["x-note"] == "h\u00e9"
    assert response.headers["x-should-retry"] == "false"
    assert response.json()["error"]["message"] == "slow down"


async def test_time_to_wait_that_is_in_the_body_becomes_a_header(
    package: Any, make_client: MakeClient, server: LocalOpenRouter
) -> None:
    client = make_client(retries=Retries(max_attempts=1))
    http = package.AsyncClient(transport=OpenRouterTransport(client))
    error = {"code": 429, "message": "m", "metadata": {"retry_after_seconds": 3}}
    server.reply(status=429, json={"error": error})

    response = await http.post(URL, json=BODY)

    assert response.headers["retry-after"] == "3"
    assert response.json() == {"error": error}


async def test_redirect_is_not_followed(http: Any, server: LocalOpenRouter) -> None:
    server.reply(status=302, headers={"Location": "http://elsewhere.example/"}, text="")

    response = await http.post(URL, json=BODY, follow_redirects=True)

    assert response.status_code == 302
    assert response.json()["error"]["code"] == 302
    assert len(server.requests) == 1


async def test_error_body_that_is_text_is_kept(
    http: Any, server: LocalOpenRouter
) -> None:
    server.reply(status=404, text="no such page")

    response = await http.post(URL, json=BODY)

    assert response.status_code == 404
    assert response.text == "no such page"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[1]", "must be a non-empty JSON object"),
        (b"{", "must be a JSON object. Invalid JSON"),
        (b'{"messages": []}', "There is nothing to send"),
        (b'{"messages": "hi"}', "messages must be a list"),
    ],
)
async def test_request_that_is_not_sent_gets_status_400(
    http: Any, server: LocalOpenRouter, content: bytes, message: str
) -> None:
    response = await http.post(URL, content=content)

    assert response.status_code == 400
    assert message in response.json()["error"]["message"]
    assert server.requests == []


@pytest.mark.parametrize(
    ("reply", "name"),
    [
        ({"stop": "reset"}, "ConnectError"),
        ({"text": "<html>"}, "RemoteProtocolError"),
    ],
)
async def test_call_without_a_response_raises_an_exception_of_httpx(
    package: Any, http: Any, server: LocalOpenRouter, reply: Any, name: str
) -> None:
    server.reply(**reply)

    with pytest.raises(getattr(package, name)) as caught:
        await http.post(URL, json=BODY)

    assert caught.value.request.url == URL


async def test_stream_that_ends_before_its_first_token_raises_read_error(
    package: Any, http: Any, server: LocalOpenRouter
) -> None:
    server.reply(["a"], stop="end", stop_after=0)

    with pytest.raises(package.ReadError):
        await http.post(URL, json=STREAM)


async def test_late_response_raises_read_timeout(
    package: Any, make_client: MakeClient, server: LocalOpenRouter
) -> None:
    client = make_client(timeouts=Timeouts(total=0.05))
    http = package.AsyncClient(transport=OpenRouterTransport(client))
    server.reply("late", delay=30)

    with pytest.raises(package.ReadTimeout):
        await http.post(URL, json=BODY)


async def test_wait_for_a_connection_raises_pool_timeout(
    package: Any, make_client: MakeClient, server: LocalOpenRouter
) -> None:
    client = make_client(timeouts=Timeouts(pool=0.05), max_connections=1)
    http = package.AsyncClient(transport=OpenRouterTransport(client))
    server.reply(["a"] * 9, chunk_delay=30)
    async with http.stream("POST", URL, json=STREAM):
        with pytest.raises(package.PoolTimeout):
            await http.post(URL, json=BODY)


@pytest.mark.parametrize("form", ["finish", "in_choice", "native", "bare_string"])
async def test_error_in_a_stream_is_the_last_event(
    http: Any, server: LocalOpenRouter, form: Any
) -> None:
    server.reply(["par", "tial"], error=StreamError(form, 502, "gone"), error_after=2)
    async with http.stream("POST", URL, json=STREAM) as response:
        *chunks, last = await events(response)

    texts = [chunk["choices"][0]["delta"]["content"] for chunk in chunks]
    assert "".join(texts) == "partial"
    # The other two forms have no status.
    has_status = form in {"finish", "in_choice"}
    assert last["error"]["code"] == (502 if has_status else 500)
    assert last["error"]["message"] == ("gone" if form != "native" else NATIVE)


@pytest.mark.parametrize(
    ("fault", "name"),
    [
        ({"stop": "reset", "stop_after": 2}, "ReadError"),
        ({"stop": "end", "stop_after": 2}, "ReadError"),
    ],
)
async def test_stream_that_breaks_off_raises_an_exception_of_httpx(
    package: Any, http: Any, server: LocalOpenRouter, fault: Any, name: str
) -> None:
    server.reply(["a", "b", "c", "d"], chunk_delay=0.01, **fault)
    async with http.stream("POST", URL, json=STREAM) as response:
        with pytest.raises(getattr(package, name)):
            await events(response)


async def test_stream_that_stalls_raises_read_timeout(
    package: Any, make_client: MakeClient, server: LocalOpenRouter
) -> None:
    client = make_client(timeouts=Timeouts(idle=0.05))
    http = package.AsyncClient(transport=OpenRouterTransport(client))
    server.reply(["a"] * 3, stop="silence", stop_after=1)
    async with http.stream("POST", URL, json=STREAM) as response:
        with pytest.raises(package.ReadTimeout):
            await events(response)


async def test_invalid_event_raises_remote_protocol_error(
    package: Any, http: Any, server: LocalOpenRouter
) -> None:
    first = {"choices": [{"index": 0, "delta": {"content": "a"}}]}
    server.reply(chunks=[first, "{"], chunk_delay=0.01)
    async with http.stream("POST", URL, json=STREAM) as response:
        with pytest.raises(package.RemoteProtocolError):
            await events(response)


async def test_closing_httpx_leaves_the_client_open(
    package: Any, client: AsyncOpenRouter, server: LocalOpenRouter
) -> None:
    transport = OpenRouterTransport(client)
    async with package.AsyncClient(transport=transport) as http:
        await http.post(URL, json=BODY)
    async with transport:
        response = await client.chat.send(BODY)

    assert response.text


async def test_closed_client_raises_connect_error(
    package: Any, make_client: MakeClient
) -> None:
    client = make_client()
    await client.aclose()
    http = package.AsyncClient(transport=OpenRouterTransport(client))

    with pytest.raises(package.ConnectError, match="closed"):
        await http.post(URL, json=BODY)
