"""The limiter of one row, in front of the shared concurrency and rate limits."""

import asyncio

import pytest

from openrouter_async import Retries
from openrouter_async.batch.row_limiter import RowLimiter
from openrouter_async.batch.rows.stats import RunCounters, StopReason
from openrouter_async.protocol.concurrency import Cooldown, FixedController
from openrouter_async.transport.limiter import ConcurrencyLimiter


class ManualRate:
    """A rate limiter that admits a request when the test sets `turn`."""

    def __init__(self) -> None:
        self.turn: asyncio.Future[None] | None = None

    async def acquire(self, amount: float = 1) -> None:  # noqa: ARG002 - aiolimiter's signature
        """Wait for the test."""
        self.turn = asyncio.get_running_loop().create_future()
        await self.turn


class IgnoredControl:
    """A run that has no further worker and does not stop."""

    def stop(self, reason: StopReason, error: BaseException | None) -> None:
        """Do nothing."""

    def add_worker(self) -> None:
        """Do nothing."""


def make_limiter(limit: int) -> ConcurrencyLimiter:
    loop = asyncio.get_running_loop()
    return ConcurrencyLimiter(loop, FixedController(limit), Cooldown())


def make_row(
    limiter: ConcurrencyLimiter, rate: ManualRate
) -> tuple[RowLimiter, RunCounters]:
    counters = RunCounters()
    loop = asyncio.get_running_loop()
    row = RowLimiter(loop, limiter, rate, Retries(), counters, IgnoredControl())
    return row, counters


async def test_pause_that_begins_while_a_row_waits_for_the_rate_holds_it_back() -> None:
    loop = asyncio.get_running_loop()
    limiter, rate = make_limiter(2), ManualRate()
    row, counters = make_row(limiter, rate)
    entering = asyncio.ensure_future(row.acquire())
    await asyncio.sleep(0)
    assert rate.turn is not None
    limiter.pause(loop.time(), 0.1, 0.0)
    rate.turn.set_result(None)
    await asyncio.sleep(0.01)
    assert (row.is_in_flight, limiter.waiting) == (False, 1)

    await asyncio.sleep(0.12)
    rate.turn.set_result(None)
    await entering
    assert (row.is_in_flight, counters.in_flight, counters.attempts) == (True, 1, 1)
    row.release(asyncio.CancelledError())
    assert (row.is_in_flight, limiter.in_flight) == (False, 0)


async def test_row_cancelled_while_it_waits_for_the_rate_frees_its_slot() -> None:
    limiter, rate = make_limiter(1), ManualRate()
    row, _ = make_row(limiter, rate)
    entering = asyncio.ensure_future(row.acquire())
    await asyncio.sleep(0)
    entering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await entering

    assert limiter.in_flight == 0
