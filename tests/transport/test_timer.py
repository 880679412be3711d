"""The one timer of a loop's calls: when it looks, and that it does not look too often."""

import asyncio
import math
from collections.abc import Callable
from typing import Any

import pytest

from openrouter_async.errors import OpenRouterError
from openrouter_async.transport.timer import SharedTimer


class Member:
    """Something with a clock; keeps when it was looked at."""

    def __init__(self, tick: Callable[[float], float] = lambda _: math.inf) -> None:
        self.seen: list[float] = []
        self._tick = tick

    def tick(self, now: float) -> float:
        """Keep the time, and say what the test wants."""
        self.seen.append(now)
        return self._tick(now)

    def fail(self, failure: OpenRouterError) -> None:
        """Nobody ends it."""
        raise AssertionError(failure)


def timers() -> int:
    """How many timers the loop has."""
    loop: Any = asyncio.get_running_loop()
    scheduled: list[asyncio.TimerHandle] = loop._scheduled
    return sum(not handle.cancelled() for handle in scheduled)


@pytest.fixture
async def ticker() -> SharedTimer:
    return SharedTimer(asyncio.get_running_loop())


async def test_it_looks_at_the_earliest_time_wanted(ticker: SharedTimer) -> None:
    """A later wish makes no second timer, an earlier one replaces it."""
    member = Member()
    ticker.add(member)
    now = asyncio.get_running_loop().time()
    for seconds in (60.0, 0.02, 30.0):
        ticker.want(now + seconds)

    assert timers() == 1
    await asyncio.sleep(0.05)
    assert [0.02 <= seen - now < 0.05 for seen in member.seen] == [True]
    assert timers() == 0


async def test_it_looks_again_when_told(ticker: SharedTimer) -> None:
    """A member that is not over says when it may be."""
    member = Member(lambda now: now + 0.01)
    ticker.add(member)
    ticker.want(asyncio.get_running_loop().time())
    await asyncio.sleep(0.05)
    ticker.discard(member)
    seen = len(member.seen)
    await asyncio.sleep(0.03)

    assert 3 <= seen <= 6
    assert len(member.seen) == seen
    assert timers() == 0


async def test_many_members_are_looked_at_less_often(ticker: SharedTimer) -> None:
    """Ten thousand that want to be looked at all the time do not keep the loop busy."""
    members = [Member(lambda now: now) for _ in range(10_000)]
    for member in members:
        ticker.add(member)
    ticker.want(asyncio.get_running_loop().time())
    await asyncio.sleep(0.3)
    ticker.stop()

    assert 1 <= len(members[0].seen) <= 2
    assert timers() == 0


async def test_one_that_leaves_while_it_looks(ticker: SharedTimer) -> None:
    """A member may end others, and itself, when its time is over."""
    last = Member()

    def end(_: float) -> float:
        ticker.discard(first)
        ticker.discard(last)
        return math.inf

    first = Member(end)
    ticker.add(first)
    ticker.add(last)
    ticker.want(asyncio.get_running_loop().time())
    await asyncio.sleep(0.01)

    assert ticker.members == []
    assert timers() == 0
