"""Tests with the pytest plugin; `openrouter_server` sets the environment variables."""

import pytest
from testing_app import summarize

from openrouter_async import RateLimitError
from openrouter_async.testing import LocalOpenRouter, error_reply

# Usually in conftest.py, for all tests of a folder.
pytest_plugins = ["openrouter_async.testing.pytest_plugin"]


async def test_summary_is_the_text_of_the_response(
    openrouter_server: LocalOpenRouter,
) -> None:
    openrouter_server.reply("A short text.")

    assert await summarize("A long text.") == "A short text."
    (request,) = openrouter_server.requests
    assert request.fields["temperature"] == 0
    assert request.prompt == "Summarize: A long text."


async def test_rate_limit_of_a_day_is_raised_at_once(
    openrouter_server: LocalOpenRouter,
) -> None:
    openrouter_server.reply(error_reply(429, retry_after=3600))

    with pytest.raises(RateLimitError) as caught:
        await summarize("A long text.")
    assert caught.value.retry_after == 3600
    assert len(openrouter_server.requests) == 1
