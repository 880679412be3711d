"""Each row of the table of faults, over real sockets."""

import asyncio

import pytest
from calls import KEY, call, make_client
from certificates import Authority
from connection_faults import CONNECTION_FAULTS
from fault_rows import Kind, Result, Row
from http_faults import HTTP_FAULTS
from leaks import assert_at_rest, no_leaks
from matrix import ROWS
from script import ID, ScriptServer
from support import send_by_session

from openrouter_async import (
    APITimeoutError,
    AsyncOpenRouter,
    Exchange,
    OpenRouterError,
)

CASES = [
    pytest.param(row, kind, result, id=f"{row.fault}-{row.description}-{kind}")
    for row in ROWS
    for kind, result in (("plain", row.plain), ("stream", row.stream))
    if result is not None
]


# The two ways to send a request differ up to the headers of the response.
SESSION_CASES = [
    pytest.param(row, id=f"{row.fault}-{row.description}")
    for row in (*CONNECTION_FAULTS, *HTTP_FAULTS)
    if row.plain is not None
]


@pytest.mark.parametrize(("row", "kind", "result"), CASES)
async def test_fault_ends_as_the_table_says(
    row: Row, kind: Kind, result: Result, authority: Authority
) -> None:
    """Afterwards nothing leaks, and the next calls on the same client succeed."""
    await check_row(row, kind, result, authority)


@pytest.mark.parametrize("row", SESSION_CASES)
async def test_fault_ends_alike_through_the_session(
    row: Row, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    send_by_session(monkeypatch)

    assert row.plain is not None
    await check_row(row, "plain", row.plain, authority)


async def check_row(row: Row, kind: Kind, result: Result, authority: Authority) -> None:
    """Make a call that meets a fault, and check how it ends."""
    certificate = getattr(authority, row.certificate)() if row.certificate else None
    server = ScriptServer(ssl=certificate, scheme=row.scheme)
    async with (
        asyncio.timeout(10),
        no_leaks(),
        server,
        make_client(server, ssl=authority.trusting) as client,
    ):
        for steps in row.scripts(kind):
            server.script(*steps)
        await _warm_up(row, server, client)
        before = len(server.requests)

        http: Exchange
        options = {"timeouts": row.call_timeouts(), "prompt": "x" * row.prompt_size}
        if result.raises is None:
            response = await call(client, kind, **options)
            assert response.text == "hello"
            http = response.http
        else:
            with pytest.raises(result.raises) as caught:
                await call(client, kind, **options)
            _check_error(caught.value, result)
            http = caught.value.http

        assert len(server.requests) - before == result.sent
        assert tuple(attempt.billing for attempt in http.attempts) == result.billing
        assert_at_rest(client)
        assert client.stats.idle == (result.connection == "pooled")
        if result.connection == "closed":
            await server.wait_until_closed()
        await _still_works(server, client, authority)


async def _warm_up(row: Row, server: ScriptServer, client: AsyncOpenRouter) -> None:
    if row.warm:
        assert (await call(client, "plain")).text == "hello"
        await asyncio.sleep(row.pause)
        # On a busy machine, the server's waits may end at the same time as this one.
        for _ in range(5):
            await asyncio.sleep(0)
        assert len(server.requests) == 1


def _check_error(error: OpenRouterError, result: Result) -> None:
    assert type(error) is result.raises
    assert result.message in str(error)
    assert len(str(error)) < 700
    assert error.generation_id == (ID if result.has_id else None)
    assert (None if error.partial is None else error.partial.text) == result.partial
    if result.phase is not None:
        assert isinstance(error, APITimeoutError)
        assert error.phase == result.phase


async def _still_works(
    server: ScriptServer, client: AsyncOpenRouter, authority: Authority
) -> None:
    """Check that the same client works, with the same server if it can recover."""
    server.clear_scripts()
    async with ScriptServer(ssl=authority.good()) as valid:
        recovers = server.scheme is None and server.ssl is None
        url = server.url if recovers else valid.url
        again = client.with_options(base_url=url, api_key=KEY)
        assert (await call(again, "plain")).text == "hello"
        assert (await call(again, "stream")).text == "hello"
        assert_at_rest(client)
