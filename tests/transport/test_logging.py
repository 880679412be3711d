"""Lines in the logger `openrouter_async`."""

import logging

import pytest
from support import HELLO

from openrouter_async import AsyncOpenRouter, Retries, UserMessage
from openrouter_async.testing import LocalOpenRouter, error_reply


async def test_one_debug_line_per_attempt_and_one_info_line_per_retry(
    server: LocalOpenRouter,
    client: AsyncOpenRouter,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """No line holds a key, a header, a query, or text of a request or response."""
    caplog.set_level(logging.DEBUG, logger="openrouter_async")
    server.reply(error_reply(502, "oh dear", headers={"Connection": "close"})).then(
        stop="close"
    ).then("hello")

    await client.chat.send(
        model="m",
        messages=[UserMessage("a private matter")],
        extra_query={"token": "in-the-query"},
        extra_headers={"X-Mine": "in-a-header"},
        retries=Retries(ambiguous=True),
    )

    ours = [r for r in caplog.records if r.name == "openrouter_async"]
    debug = [r.getMessage() for r in ours if r.levelno == logging.DEBUG]
    info = [r.getMessage() for r in ours if r.levelno == logging.INFO]
    assert len(ours) == len(debug) + len(info)
    assert len(debug) == 3
    assert "502" in debug[0]
    assert "no response" in debug[1]
    assert "200" in debug[2]
    assert len(info) == 2
    assert "BadGatewayError" in info[0]
    assert "attempt 2 of 3 in 0.50 s" in info[0]
    told = "\n".join(debug + info)
    for secret in (
        server.api_key,
        "private",
        "in-the-query",
        "in-a-header",
        "dear",
    ):
        assert secret not in told


async def test_retry_on_a_new_connection_is_logged(
    server: LocalOpenRouter,
    client: AsyncOpenRouter,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, logger="openrouter_async")
    await client.chat.send(HELLO)
    server.reply(stop="close").then("hello")

    await client.chat.send(HELLO)

    levels = [r.levelname for r in caplog.records if r.name == "openrouter_async"]
    assert levels == ["DEBUG", "DEBUG", "INFO", "DEBUG"]
    assert "dead" in caplog.text
