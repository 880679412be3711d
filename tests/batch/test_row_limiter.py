"""The limiter of one row, in front of the shared concurrency and rate limits."""

# The rate limiter of a row is private.
# pyright: reportPrivateUsage=false

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from support import VirtualTime

from openrouter_async import RateLimitError, Retries
from openrouter_async.batch.row_limiter import RowLimiter
from openrouter_async.batch.rows.stats import RunCounters, StopReason
from openrouter_async.protocol.settings import ConcurrencyOption
from openrouter_async.transport.admission import Admission, LimiterScope


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


def make_admission(time: VirtualTime, limit: int) -> Admission:
    scope = LimiterScope(asyncio.get_running_loop(), time.clock)
    return scope.row_admission(limit, ConcurrencyOption())


def make_row(admission: Admission, rate: ManualRate) -> tuple[RowLimiter, RunCounters]:
    counters = RunCounters()
    call: Any = SimpleNamespace(retries=Retries(), provider=None)
    return RowLimiter(admission, rate, call, counters, IgnoredControl()), counters


def refused(seconds: float) -> RateLimitError:
    return RateLimitError("busy", status_code=429, retry_after=seconds)


async def test_pause_that_begins_while_a_row_waits_for_the_rate_holds_it_back() -> None:
    time, rate, other_rate = VirtualTime(), ManualRate(), ManualRate()
    admission = make_admission(time, 3)
    row, counters = make_row(admission, rate)
    other, _ = make_row(admission, other_rate)
    entering = asyncio.ensure_future(row.acquire())
    entering_too = asyncio.ensure_future(other.acquire())
    await asyncio.sleep(0)
    assert rate.turn is not None
    assert other_rate.turn is not None
    other_rate.turn.set_result(None)
    await entering_too
    other.ended(refused(2.0))
    other.release()
    rate.turn.set_result(None)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert (row.is_in_flight, admission.stats().waiting) == (False, 1)

    await time.advance(3.0)
    rate.turn.set_result(None)
    await entering
    assert (row.is_in_flight, counters.in_flight, counters.attempts) == (True, 1, 1)
    permit, cooled = row.waits()
    assert permit == 0.0
    assert cooled == pytest.approx(2.1)
    row.ended(asyncio.CancelledError())
    row.release()
    assert (row.is_in_flight, admission.stats().in_flight) == (False, 0)


async def test_row_cancelled_while_it_waits_for_the_rate_frees_its_slot() -> None:
    admission, rate = make_admission(VirtualTime(), 1), ManualRate()
    row, _ = make_row(admission, rate)
    entering = asyncio.ensure_future(row.acquire())
    await asyncio.sleep(0)
    entering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await entering

    assert admission.stats().in_flight == 0


async def test_row_that_is_held_back_after_its_admission_is_not_counted() -> None:
    time, rate = VirtualTime(), ManualRate()
    admission = make_admission(time, 2)
    row, counters = make_row(admission, rate)
    row._rate_limiter = None
    await row.acquire()
    assert row.may_send()
    row.cancel()

    assert (row.attempts, counters.attempts, counters.in_flight) == (0, 0, 0)
    assert admission.stats().in_flight == 0
    assert row.refusal() is None


async def test_row_is_held_by_cooldowns_for_its_provider_preferences() -> None:
    admission = make_admission(VirtualTime(), 3)
    row, _ = make_row(admission, ManualRate())
    other, _ = make_row(admission, ManualRate())
    other._call.provider = {"only": ["a"]}

    assert row.preferences == row.preferences
    assert other.preferences != row.preferences
