"""Where results wait: room is bounded, order is kept, nobody waits for ever."""

import asyncio

import pytest

from openrouter_async import BatchResult, Retries
from openrouter_async.batch.result_buffer import ResultBuffer
from openrouter_async.batch.row_limiter import RowLimiter
from openrouter_async.batch.rows.stats import RunCounters
from openrouter_async.protocol.concurrency import (
    Cooldown,
    CubicController,
    FixedController,
)
from openrouter_async.transport.limiter import ConcurrencyLimiter, LimiterRegistry


def shelf(window: int = 3, *, ordered: bool = False) -> ResultBuffer:
    return ResultBuffer(asyncio.get_running_loop(), window, ordered=ordered)


async def index(place: ResultBuffer) -> int:
    result = await place.take()
    assert result is not None
    return result.index


async def test_room_is_bounded() -> None:
    """What is promised counts until it is read."""
    place = shelf()
    numbers = [place.promise() for _ in range(3)]
    assert place.is_full
    waiting = asyncio.ensure_future(place.room())
    place.put(numbers[0], BatchResult(0))
    await asyncio.sleep(0)
    assert not waiting.done()

    assert await index(place) == 0
    await waiting


async def test_room_that_was_overdrawn_is_made_good_first() -> None:
    """Those who saw the last place at once all took it; nobody is called too soon."""
    place = shelf()
    for index_ in range(4):
        place.put(place.promise(), BatchResult(index_))
    waiting = asyncio.ensure_future(place.room())
    await asyncio.sleep(0)
    await index(place)
    await asyncio.sleep(0)
    assert place.is_full
    assert not waiting.done()

    await index(place)
    await waiting


async def test_room_is_given_to_one_at_a_time() -> None:
    """One place, one of those who wait; the others go on waiting."""
    place = shelf(1)
    place.put(place.promise(), BatchResult(0))

    async def fill() -> None:
        await place.room()
        place.put(place.promise(), BatchResult(1))

    waiting = [asyncio.ensure_future(fill()) for _ in range(3)]
    await asyncio.sleep(0)
    await index(place)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert [task.done() for task in waiting] == [True, False, False]

    waiting[1].cancel()
    await index(place)
    await asyncio.sleep(0)
    place.close()
    await asyncio.wait(waiting)


async def test_nobody_waits_for_room_at_the_end() -> None:
    """Who was called away is passed over; who still waits goes on."""
    place = shelf(1)
    place.put(place.promise(), BatchResult(0))
    gone = asyncio.ensure_future(place.room())
    await asyncio.sleep(0)
    gone.cancel()
    assert await index(place) == 0

    place.promise()
    waiting = asyncio.ensure_future(place.room())
    await asyncio.sleep(0)
    assert not waiting.done()
    place.close()
    await waiting
    assert gone.cancelled()


async def test_order_is_kept() -> None:
    """Results wait for those before them."""
    place = shelf(9, ordered=True)
    numbers = [place.promise() for _ in range(5)]
    place.put(numbers[2], BatchResult(2))
    reading = asyncio.ensure_future(index(place))
    await asyncio.sleep(0)
    assert not reading.done()
    place.put(numbers[1], BatchResult(1))
    place.put(numbers[0], BatchResult(0))

    assert await reading == 0
    assert await index(place) == 1
    assert await index(place) == 2
    place.put(numbers[4], BatchResult(4))
    place.close()
    assert await index(place) == 4
    assert await place.take() is None


async def test_what_will_not_come_is_no_result_at_the_end() -> None:
    """Results that wait for those before them move up; gaps do not."""
    place = shelf(9, ordered=True)
    numbers = [place.promise() for _ in range(4)]
    place.put(numbers[3], BatchResult(3))
    place.put(numbers[2], BatchResult(2))
    place.close()

    assert await index(place) == 2
    assert await index(place) == 3
    assert await place.take() is None


# --- the door --------------------------------------------------------------------


async def test_repeats_go_first() -> None:
    """Then as they came."""
    door = ConcurrencyLimiter(
        asyncio.get_running_loop(), FixedController(1), Cooldown()
    )
    await door.enter(again=False)
    order: list[str] = []

    async def enter(name: str, *, again: bool) -> None:
        await door.enter(again=again)
        order.append(name)
        door.leave()

    tasks = [
        asyncio.ensure_future(enter("new", again=False)),
        asyncio.ensure_future(enter("newer", again=False)),
        asyncio.ensure_future(enter("again", again=True)),
    ]
    await asyncio.sleep(0)
    assert door.waiting == 3
    door.leave()
    await asyncio.gather(*tasks)

    assert order == ["again", "new", "newer"]
    assert (door.in_flight, door.waiting) == (0, 0)


@pytest.mark.parametrize("late", [False, True])
async def test_who_is_called_away_leaves_no_trace(*, late: bool) -> None:
    """Neither while it waits, nor at the moment when it is let in."""
    door = ConcurrencyLimiter(
        asyncio.get_running_loop(), FixedController(1), Cooldown()
    )
    await door.enter(again=False)
    task = asyncio.ensure_future(door.enter(again=False))
    await asyncio.sleep(0)
    if late:
        door.leave()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    if not late:
        door.leave()

    assert (door.in_flight, door.waiting) == (0, 0)


async def test_a_pause_ends_by_itself() -> None:
    """Those who wait are let in when it is over, by one timer."""
    loop = asyncio.get_running_loop()
    door = ConcurrencyLimiter(loop, CubicController(), Cooldown())
    door.shut(loop.time(), 0.1, 0.0)
    assert door.is_shut
    started = loop.time()
    await asyncio.gather(*(door.enter(again=False) for _ in range(3)))

    assert loop.time() - started >= 0.09
    assert door.stats().in_flight == 3


async def test_response_raises_the_limit_while_all_of_it_is_in_flight() -> None:
    """The call that has succeeded still counts, even if nothing was sent for minutes."""
    loop = asyncio.get_running_loop()
    door = ConcurrencyLimiter(loop, CubicController(start=1), Cooldown())
    await door.enter(again=False)
    door.succeeded(loop.time() + 300.0, loop.time())

    assert door.stats().limit == 2


# --- the gate of a row -----------------------------------------------------------


class Pace:
    """A limiter that lets pass when the test does."""

    def __init__(self) -> None:
        self.waiting: asyncio.Future[None] | None = None

    async def acquire(self, amount: float = 1) -> None:  # noqa: ARG002
        """Wait for the test."""
        self.waiting = asyncio.get_running_loop().create_future()
        await self.waiting


def gate(door: ConcurrencyLimiter, pace: Pace) -> tuple[RowLimiter, RunCounters]:
    tally = RunCounters()
    loop = asyncio.get_running_loop()
    return RowLimiter(loop, door, pace, Retries(), tally, lambda: None), tally


async def test_a_pause_holds_for_who_waits_for_the_rate() -> None:
    """What was won during a pause is not used in it."""
    loop = asyncio.get_running_loop()
    door, pace = ConcurrencyLimiter(loop, FixedController(2), Cooldown()), Pace()
    row, tally = gate(door, pace)
    entering = asyncio.ensure_future(row.enter())
    await asyncio.sleep(0)
    assert pace.waiting is not None
    door.shut(loop.time(), 0.1, 0.0)
    pace.waiting.set_result(None)
    await asyncio.sleep(0.01)
    assert (row.inside, door.waiting) == (False, 1)

    await asyncio.sleep(0.12)
    pace.waiting.set_result(None)
    await entering
    assert (row.inside, tally.in_flight, tally.attempts) == (True, 1, 1)
    row.leave(asyncio.CancelledError())
    assert (row.inside, door.in_flight) == (False, 0)


async def test_who_is_called_away_from_the_rate_leaves_no_trace() -> None:
    """Its room is another's."""
    door, pace = (
        ConcurrencyLimiter(asyncio.get_running_loop(), FixedController(1), Cooldown()),
        Pace(),
    )
    row, _ = gate(door, pace)
    entering = asyncio.ensure_future(row.enter())
    await asyncio.sleep(0)
    entering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await entering

    assert door.in_flight == 0


def test_scopes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scopes of closed loops are dropped first, then the one used least recently."""
    monkeypatch.setattr("openrouter_async.transport.limiter._MAX_SCOPES", 2)
    scopes = LimiterRegistry()
    old, new = asyncio.new_event_loop(), asyncio.new_event_loop()
    first = scopes.get((old, "u", 1, "m"))
    assert scopes.get((old, "u", 1, "m")) is first
    second = scopes.get((new, "u", 1, "m"))
    old.close()
    third = scopes.get((new, "u", 1, "n"))
    assert scopes.get((new, "u", 1, "m")) is second
    scopes.get((new, "u", 1, "o"))

    assert scopes.get((new, "u", 1, "m")) is second
    assert scopes.get((new, "u", 1, "n")) is not third
    new.close()
