"""SharedTimer: when it checks its members, and that it does not check too often."""

# The wait of a call is private.
# pyright: reportPrivateUsage=false

import asyncio
import math
from collections.abc import Callable

import pytest
from support import VirtualTime

from openrouter_async.config import Timeouts
from openrouter_async.errors import OpenRouterError
from openrouter_async.transport.timer import SharedTimer
from openrouter_async.transport.watchdog import Stage, Watchdog


class Member:
    """A member of the timer that records when it was checked."""

    def __init__(self, check: Callable[[float], float] = lambda _: math.inf) -> None:
        self.checked: list[float] = []
        self.activity: object = 0
        self.late = 0.0
        self._check = check

    def next_due(self, now: float) -> float:
        # Due whenever the timer asks; `check` decides.
        return now - self.late

    def check(self, now: float) -> float:
        self.checked.append(now)
        return self._check(now)

    def fail(self, failure: OpenRouterError) -> None:
        raise AssertionError(failure)


@pytest.fixture
async def timer(time: VirtualTime) -> SharedTimer:
    return SharedTimer(asyncio.get_running_loop(), time.clock)


async def test_timer_checks_at_the_earliest_time_that_was_asked_for(
    timer: SharedTimer, time: VirtualTime
) -> None:
    """A later time creates no second timer, an earlier one replaces it."""
    member, start = Member(), time.time
    timer.add(member)
    for seconds in (60.0, 20.0, 30.0):
        timer.check_at(start + seconds)
    scheduled = time.scheduled
    await time.advance(100.0)

    assert scheduled == [start + 20.0]
    assert member.checked == [start + 20.0]
    assert time.scheduled == []


async def test_timer_checks_again_when_a_member_asks_for_it(
    timer: SharedTimer, time: VirtualTime
) -> None:
    member, start = Member(lambda now: now + 10.0), time.time
    timer.add(member)
    timer.check_at(start + 10.0)
    await time.advance(35.0)
    timer.discard(member)
    await time.advance(100.0)

    assert member.checked == [start + 10.0, start + 20.0, start + 30.0]
    assert time.scheduled == []


async def test_many_members_are_checked_less_often(
    timer: SharedTimer, time: VirtualTime
) -> None:
    """10,000 members that are always due do not keep the event loop busy."""
    members = [Member(lambda now: now) for _ in range(10_000)]
    for member in members:
        timer.add(member)
    timer.check_at(time.time)
    await time.advance(0.3)
    timer.stop()

    assert len(members[0].checked) == 2
    assert time.scheduled == []


async def test_member_may_discard_others_and_itself_while_it_is_checked(
    timer: SharedTimer, time: VirtualTime
) -> None:
    last = Member()

    def end(_: float) -> float:
        timer.discard(first)
        timer.discard(last)
        return 0.0

    first = Member(end)
    timer.add(first)
    timer.add(last)
    timer.check_at(time.time)
    await time.advance(1.0)

    assert timer.members == []
    assert time.scheduled == []


async def test_timer_uses_the_event_loop_by_default(
    time: VirtualTime,
) -> None:
    loop = asyncio.get_running_loop()
    clock = type(time.clock)(loop.time, asyncio.sleep, lambda: 0.5)
    timer, member = SharedTimer(loop, clock), Member()
    timer.add(member)
    timer.check_at(loop.time() + 0.01)
    async with asyncio.timeout(5):
        while not member.checked:  # noqa: ASYNC110 - nothing announces the check
            await asyncio.sleep(0.005)

    assert len(member.checked) == 1


@pytest.fixture
def late(timer: SharedTimer) -> Member:
    """A member that was due 0.5 s ago, when the timer checks it."""
    member = Member()
    member.late = 0.5
    timer.add(member)
    return member


async def iterate(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_late_check_lets_the_event_loop_run_first(
    timer: SharedTimer, time: VirtualTime, late: Member
) -> None:
    timer.check_at(time.time)
    time.jump(0.0)
    await iterate(3)
    before = [*late.checked]
    await iterate(3)

    assert before == []
    assert late.checked == [time.time]


async def test_late_check_waits_while_data_is_read(
    timer: SharedTimer, time: VirtualTime, late: Member
) -> None:
    timer.check_at(time.time)
    time.jump(0.0)
    for number in range(50):
        late.activity = number
        await iterate(1)
    before = [*late.checked]
    await iterate(12)

    assert before == []
    assert len(late.checked) == 1


@pytest.mark.parametrize(("late_by", "limit"), [(0.5, 0.5), (30.0, 1.0)])
async def test_data_that_never_ends_delays_a_late_check_for_a_limited_time(
    timer: SharedTimer, time: VirtualTime, late: Member, late_by: float, limit: float
) -> None:
    late.late = late_by
    start = time.time
    timer.check_at(start)
    time.jump(0.0)
    while not late.checked:
        late.activity = object()
        time.jump(0.01)
        await iterate(1)

    assert limit <= late.checked[0] - start < limit + 0.1


async def test_members_that_end_meanwhile_are_not_checked(
    timer: SharedTimer, time: VirtualTime, late: Member
) -> None:
    timer.check_at(time.time)
    time.jump(0.0)
    timer.discard(late)
    await iterate(8)

    assert late.checked == []


async def test_member_is_not_checked_twice_while_it_is_late(
    timer: SharedTimer, time: VirtualTime, late: Member
) -> None:
    other = Member()
    timer.add(other)
    timer.check_at(time.time)
    time.jump(0.0)
    timer.check_at(time.time)
    time.jump(0.0)
    await iterate(8)

    assert len(late.checked) == 1
    assert len(other.checked) == 2


async def test_stopped_timer_checks_no_late_member(
    timer: SharedTimer, time: VirtualTime, late: Member
) -> None:
    timer.check_at(time.time)
    time.jump(0.0)
    timer.stop()
    await iterate(8)

    assert late.checked == []
    assert time.scheduled == []


async def test_watchdog_without_timeouts_is_never_due(time: VirtualTime) -> None:
    loop = asyncio.get_running_loop()
    timer = SharedTimer(loop, time.clock)
    none = Timeouts(connect=None, first_token=None, idle=None, read=None)
    watchdog = Watchdog(timer, none)

    assert watchdog.check(timer.now()) == math.inf
    watchdog.stop()


async def test_no_timeout_runs_while_the_limiter_holds_a_call_back(
    time: VirtualTime,
) -> None:
    timer = SharedTimer(asyncio.get_running_loop(), time.clock)
    watchdog = Watchdog(timer, Timeouts(pool=1.0, total=1.0))
    watchdog.deadline = timer.now() - 1.0
    expired = watchdog.next_due(timer.now()) < timer.now()
    watchdog.stage = Stage.LIMITER

    assert expired
    assert watchdog.next_due(timer.now()) == math.inf
    watchdog.stop()


async def test_wait_in_the_limiter_is_checked_again_when_its_bound_moved(
    timer: SharedTimer,
) -> None:
    class Wait:
        def due(self, now: float) -> float:
            return now + 5.0

        def expired(self, now: float) -> OpenRouterError:
            raise AssertionError(now)

    watchdog = Watchdog(timer, Timeouts())
    watchdog._limited_wait = Wait()

    assert watchdog.check(10.0) == 15.0
    assert watchdog.failure is None
