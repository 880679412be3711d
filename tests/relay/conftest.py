"""Fixtures of the tests that read relays."""

import asyncio
import gc
from collections.abc import AsyncIterator

import pytest
from relay_support import Ends


@pytest.fixture
def ends() -> Ends:
    return Ends()


@pytest.fixture
async def no_errors_are_logged(
    caplog: pytest.LogCaptureFixture,
) -> AsyncIterator[None]:
    """Fail if asyncio reports an exception that nobody has retrieved."""
    yield
    await asyncio.sleep(0)
    # Young objects only: a full collection takes longer than a test.
    gc.collect(1)
    await asyncio.sleep(0)
    assert [each for each in caplog.records if each.name == "asyncio"] == [
        each for each in caplog.records if "took" in each.getMessage()
    ]
