"""The shared concurrency limiter, and the registry of limiters."""

# The timer of a pause is private.
# pyright: reportPrivateUsage=false

import asyncio

import pytest

from openrouter_async.protocol.concurrency import (
    Cooldown,
    CubicController,
    FixedController,
)
from openrouter_async.transport.limiter import ConcurrencyLimiter, LimiterRegistry


def make_limiter(limit: int) -> ConcurrencyLimiter:
    loop = asyncio.get_running_loop()
    return ConcurrencyLimiter(loop, FixedController(limit), Cooldown())


async def test_limiter_admits_retries_before_new_attempts() -> None:
    limiter = make_limiter(1)
    await limiter.acquire(is_retry=False)
    order: list[str] = []

    async def attempt(name: str, *, is_retry: bool) -> None:
        await limiter.acquire(is_retry=is_retry)
        order.append(name)
        limiter.release()

    tasks = [
        asyncio.ensure_future(attempt("new", is_retry=False)),
        asyncio.ensure_future(attempt("newer", is_retry=False)),
        asyncio.ensure_future(attempt("retry", is_retry=True)),
    ]
    await asyncio.sleep(0)
    assert limiter.waiting == 3
    limiter.release()
    await asyncio.gather(*tasks)

    assert order == ["retry", "new", "newer"]
    assert (limiter.in_flight, limiter.waiting) == (0, 0)


@pytest.mark.parametrize("is_admitted", [False, True])
async def test_cancelled_attempt_frees_what_it_held(*, is_admitted: bool) -> None:
    """It may be cancelled while it waits, or after it was admitted."""
    limiter = make_limiter(1)
    await limiter.acquire(is_retry=False)
    task = asyncio.ensure_future(limiter.acquire(is_retry=False))
    await asyncio.sleep(0)
    if is_admitted:
        limiter.release()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    if not is_admitted:
        limiter.release()

    assert (limiter.in_flight, limiter.waiting) == (0, 0)


async def test_limiter_admits_waiting_attempts_when_its_pause_ends() -> None:
    loop = asyncio.get_running_loop()
    limiter = ConcurrencyLimiter(loop, CubicController(), Cooldown())
    limiter.pause(loop.time(), 0.1, 0.0)
    assert limiter.is_paused
    started = loop.time()
    await asyncio.gather(*(limiter.acquire(is_retry=False) for _ in range(3)))

    assert loop.time() - started >= 0.09
    assert limiter.stats().in_flight == 3


async def test_response_raises_the_limit_while_all_of_it_is_in_flight() -> None:
    """The call that has succeeded still counts, even if nothing was sent for minutes."""
    loop = asyncio.get_running_loop()
    limiter = ConcurrencyLimiter(loop, CubicController(start=1), Cooldown())
    await limiter.acquire(is_retry=False)
    limiter.succeeded(loop.time() + 300.0, loop.time())

    assert limiter.stats().limit == 2


def test_registry_drops_the_least_recently_used_scope(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Scopes of closed event loops are dropped before all others."""
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


async def test_pause_has_no_timer_once_nobody_waits_for_its_end() -> None:
    limiter = make_limiter(2)
    limiter.pause(asyncio.get_running_loop().time(), 60.0, 0.0)
    tasks = [asyncio.ensure_future(limiter.acquire(is_retry=False)) for _ in range(2)]
    await asyncio.sleep(0)
    timers: list[bool] = []
    for task in tasks:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        timers.append(limiter._timer is not None)

    assert timers == [True, False]
    assert (limiter.in_flight, limiter.waiting) == (0, 0)
