"""Plain calls in front of the limits of a scope, in virtual time."""

# The test plays the transport, whose parts are private.
# pyright: reportPrivateUsage=false

import asyncio
from collections.abc import AsyncIterator

import pytest
from virtual_scope import VirtualScope, finish, refused, settle

from openrouter_async import (
    APITimeoutError,
    BadGatewayError,
    PaymentRequiredError,
    RateLimitError,
    Retries,
    Timeouts,
)


@pytest.fixture
async def scope() -> AsyncIterator[VirtualScope]:
    scope = VirtualScope()
    yield scope
    scope.timer.stop()
    assert scope.scope.waiting == 0
    assert scope.scope._timer is None


async def test_cooldown_holds_all_calls_and_one_starts_after_it(
    scope: VirtualScope,
) -> None:
    await scope.refuse(2.0)
    tasks = [scope.call(f"{number}") for number in range(5)]
    await scope.advance(2.05)
    assert scope.started == []
    await scope.advance(0.1)
    assert scope.started == [("0", 2.1)]
    finish(await tasks[0])
    await scope.advance(0.2)
    await asyncio.gather(*tasks)

    assert scope.names() == ["0", "1", "2", "3", "4"]
    permit, cooled = scope.limiters["4"].waits()
    assert permit == 0.0
    assert cooled == pytest.approx(2.26, abs=0.05)


async def test_calls_reopen_at_a_growing_rate(scope: VirtualScope) -> None:
    await scope.refuse(1.0)
    tasks = [scope.call(f"{number}") for number in range(1200)]
    await scope.advance(1.06)
    assert len(scope.started) == 1
    finish(await tasks[0])
    await scope.advance(0.3)
    early = len(scope.started)
    await scope.advance(0.7)
    second = len(scope.started)
    await scope.advance(0.4)
    await asyncio.gather(*tasks)

    assert 45 <= early <= 55
    assert 950 <= second <= 1010
    assert not scope.scope.cooldowns or scope.call("one more").done() is False
    await settle()


async def test_probe_that_is_refused_starts_the_next_cooldown(
    scope: VirtualScope,
) -> None:
    await scope.refuse(1.0)
    tasks = [scope.call(name) for name in ("a", "b")]
    await scope.advance(1.1)
    finish(await tasks[0], refused(3.0))
    await scope.advance(3.0)
    assert scope.names() == ["a"]
    await scope.advance(0.3)

    assert scope.names() == ["a", "b"]
    await tasks[1]


async def test_refused_probe_without_a_named_wait_repeats_the_cooldown(
    scope: VirtualScope,
) -> None:
    await scope.refuse(20.0)
    tasks = [scope.call(name) for name in ("a", "b")]
    await scope.advance(21.1)
    finish(await tasks[0], refused())
    await scope.advance(8.0)
    assert scope.names() == ["a"]
    await scope.advance(1.0)

    assert scope.names() == ["a", "b"]
    await tasks[1]


async def test_slow_probe_counts_as_accepted_after_a_second(
    scope: VirtualScope,
) -> None:
    await scope.refuse(1.0)
    tasks = [scope.call(name) for name in ("a", "b")]
    await scope.advance(2.0)
    assert scope.names() == ["a"]
    await scope.advance(0.2)
    await asyncio.gather(*tasks)

    assert [at for _, at in scope.started] == [1.05, pytest.approx(2.14, abs=0.03)]


@pytest.mark.parametrize("is_sent", [False, True])
async def test_next_call_replaces_a_cancelled_probe(
    scope: VirtualScope, *, is_sent: bool
) -> None:
    await scope.refuse(1.0)
    tasks = [scope.call(name) for name in ("a", "b", "c")]
    await settle()
    if is_sent:
        await scope.advance(1.06)
        finish(tasks[0].result(), asyncio.CancelledError())
    else:
        # Woken as the probe, and cancelled before it runs.
        scope.time.jump(1.06)
        tasks[0].cancel()
        with pytest.raises(asyncio.CancelledError):
            await tasks[0]
    await scope.advance(0.02)

    assert scope.names()[-1] == "b"
    assert "c" not in scope.names()
    finish(await tasks[1])
    await scope.advance(0.2)
    await tasks[2]


async def test_probe_that_fails_otherwise_reopens_the_scope(
    scope: VirtualScope,
) -> None:
    await scope.refuse(1.0)
    tasks = [scope.call(name) for name in ("a", "b")]
    await scope.advance(1.06)
    finish(await tasks[0], BadGatewayError("bad", status_code=502))
    await scope.advance(0.1)

    assert scope.names() == ["a", "b"]
    await tasks[1]


async def test_probe_is_a_call_whose_refusal_costs_nothing_or_with_fewest_attempts(
    scope: VirtualScope,
) -> None:
    await scope.refuse(1.0)
    second = scope.call("second", attempts=1)
    first = scope.call("first")
    newer = scope.call("newer")
    await scope.advance(1.06)
    assert scope.names() == ["first"]
    finish(await first, refused(1.0))
    auto = scope.call("auto", concurrency="auto")
    await scope.advance(1.06)
    assert scope.names() == ["first", "auto"]
    finish(await auto)
    await scope.advance(0.2)

    assert scope.names() == ["first", "auto", "second", "newer"]
    await asyncio.gather(second, newer)


async def test_first_call_after_a_quiet_cooldown_is_the_probe(
    scope: VirtualScope,
) -> None:
    await scope.refuse(1.0)
    await scope.advance(100.0)
    first, second = scope.call("first"), scope.call("second")
    await settle()
    assert scope.names() == ["first"]
    finish(await first)
    await scope.advance(0.2)
    await second

    assert scope.names() == ["first", "second"]


async def test_relayed_refusal_holds_calls_with_equal_preferences_only(
    scope: VirtualScope,
) -> None:
    limiter = await scope.call("refused", provider={"order": ["a"], "sort": "price"})
    scope.started.clear()
    limiter.ended(refused(2.0, provider="a"))
    limiter.release()
    other = scope.call("other", provider={"order": ["b"]})
    none = scope.call("none")
    same = scope.call("same", provider={"sort": "price", "order": ["a"]})
    await settle()
    assert scope.names() == ["other", "none"]
    await scope.advance(2.2)

    assert scope.names() == ["other", "none", "same"]
    await asyncio.gather(other, none, same)


async def test_calls_that_already_wait_are_sorted_by_preferences(
    scope: VirtualScope,
) -> None:
    """Four calls wait for a general cooldown when one for a provider begins."""
    await scope.refuse(1.0)
    slow, late = {"order": ["slow"]}, {"order": ["late"]}
    first = scope.call("probe", provider=slow)
    tasks = [
        scope.call(f"{number}", provider=late if number % 2 else slow)
        for number in range(4)
    ]
    await scope.advance(1.06)
    assert scope.names() == ["probe"]
    finish(await first, refused(5.0, provider="slow"))
    await scope.advance(0.5)
    assert scope.names() == ["probe", "1", "3"]
    await scope.advance(6.0)

    assert scope.names()[3:] == ["0", "2"]
    await asyncio.gather(*tasks)


async def test_general_refusal_of_a_probe_for_a_provider_holds_all(
    scope: VirtualScope,
) -> None:
    slow = {"order": ["slow"]}
    limiter = await scope.call("refused", provider=slow)
    finish(limiter, refused(1.0, provider="slow"))
    probe = scope.call("probe", provider=slow)
    await scope.advance(1.06)
    finish(await probe, refused(1.0))
    scope.started.clear()
    tasks = [scope.call("slow", provider=slow), scope.call("other")]
    await scope.advance(1.06)
    assert scope.names() == ["slow"]
    finish(await tasks[0])
    await scope.advance(0.2)

    assert scope.names() == ["slow", "other"]
    await tasks[1]


async def test_402_starts_no_cooldown_of_plain_calls(scope: VirtualScope) -> None:
    limiter = await scope.call("in flight", concurrency="auto")
    error = PaymentRequiredError("reserved", status_code=402, retry_after=5.0)
    error.retryable = True
    limiter.ended(error)
    limiter.release()

    assert limiter.retry_delay(error, 0.5) is None
    assert not scope.scope.cooldowns
    assert scope.scope.adaptive.limit == 1


async def test_cooldown_left_is_in_the_stats(scope: VirtualScope) -> None:
    await scope.refuse(10.0)
    waiting = scope.call("waiting")
    await scope.advance(4.0)
    stats = scope.scope.stats(scope.options[None], 0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting

    assert stats.cooldown == pytest.approx(6.5, abs=0.02)
    assert (stats.limit, stats.waiting, stats.refusals) == (None, 1, 1)


async def test_waiter_without_a_permit_becomes_the_probe_when_it_gets_one(
    scope: VirtualScope,
) -> None:
    holder = await scope.call("holder", concurrency=1)
    await scope.refuse(1.0)
    waiting = scope.call("waiting", concurrency=1)
    await scope.advance(30.0)
    assert scope.started == []
    finish(holder)
    await waiting
    other = scope.call("other")
    await settle()

    assert scope.names() == ["waiting"]
    finish(waiting.result())
    await scope.advance(0.1)
    assert scope.names() == ["waiting", "other"]
    await other


async def test_cooldowns_of_many_preferences_are_limited(scope: VirtualScope) -> None:
    await scope.refuse(60.0)
    for number in range(120):
        limiter = scope.limiter(provider={"order": [f"{number}"]})
        limiter.refused(refused(1.0 + number % 50, provider="p"), scope.time.time, 1)
        limiter._watchdog.stop()
    stats = scope.scope.stats(scope.options[None], 0)

    assert len(scope.scope.cooldowns) == 101
    assert stats.cooldown == pytest.approx(60.0)


async def test_lanes_of_preferences_are_dropped_when_they_are_empty(
    scope: VirtualScope,
) -> None:
    limiter = await scope.call("refused", provider={"order": ["0"]})
    finish(limiter, refused(2.0, provider="p"))
    tasks = [scope.call(f"{n}", provider={"order": ["0"]}) for n in range(3)]
    await scope.advance(4.0)
    await asyncio.gather(*tasks)

    assert [*scope.scope.plain._lanes] == [b""]


# --- bounds ------------------------------------------------------------------------


async def test_cooldown_longer_than_a_bound_raises_its_refusal_at_once(
    scope: VirtualScope,
) -> None:
    await scope.refuse(10.0)
    tasks = [
        scope.call("pool", timeouts=Timeouts(pool=3.0)),
        scope.call("total", timeouts=Timeouts(total=3.0)),
        scope.call("max_wait", retries=Retries(max_wait=3.0)),
    ]
    await settle()
    errors = await asyncio.gather(*tasks, return_exceptions=True)

    assert [type(error) for error in errors] == [RateLimitError] * 3
    assert len({id(error) for error in errors}) == 3
    for error, name in zip(errors, ("pool", "total", "max_wait"), strict=True):
        assert isinstance(error, RateLimitError)
        assert error.retry_after == pytest.approx(10.5)
        assert error.attempts == []
        assert name in (error.hint or "")


async def test_bound_that_runs_out_in_a_cooldown_raises_its_refusal(
    scope: VirtualScope,
) -> None:
    """The probe gets no response, and the waiters' time runs out meanwhile."""
    await scope.refuse(1.0)
    tasks = [
        scope.call("probe"),
        scope.call("pool", timeouts=Timeouts(pool=1.5)),
        scope.call("total", timeouts=Timeouts(total=1.5)),
        scope.call("max_wait", retries=Retries(max_wait=1.5)),
    ]
    await scope.advance(1.4)
    assert not any(task.done() for task in tasks[1:])
    await scope.advance(0.2)
    errors = await asyncio.gather(*tasks[1:], return_exceptions=True)

    assert [type(error) for error in errors] == [RateLimitError] * 3
    assert [getattr(error, "retry_after", None) for error in errors] == [0.0] * 3


async def test_cooldown_that_is_extended_beyond_a_bound_ends_the_wait(
    scope: VirtualScope,
) -> None:
    late = await scope.call("late")
    await scope.refuse(1.0)
    waiting = scope.call("waiting", timeouts=Timeouts(pool=3.0))
    patient = scope.call("patient")
    await scope.advance(0.5)
    finish(late, refused(30.0))
    await settle()

    with pytest.raises(RateLimitError) as caught:
        await waiting
    assert caught.value.retry_after == pytest.approx(31.5)
    patient.cancel()
    with pytest.raises(asyncio.CancelledError):
        await patient


async def test_wait_for_a_permit_counts_towards_pool_only(scope: VirtualScope) -> None:
    holder = await scope.call("holder", concurrency=1)
    timeouts = Timeouts(total=1.0)
    waiting = scope.call("waiting", concurrency=1, timeouts=timeouts)
    hasty = scope.call("hasty", concurrency=1, timeouts=Timeouts(pool=2.0))
    await scope.advance(10.0)

    with pytest.raises(APITimeoutError) as caught:
        await hasty
    assert (caught.value.phase, caught.value.seconds) == ("pool", 2.0)
    finish(holder)
    limiter = await waiting
    permit, cooled = limiter.waits()
    assert permit == pytest.approx(10.0)
    assert cooled == 0.0


async def test_jitter_does_not_make_a_cooldown_longer_than_the_refused_call_may_wait(
    scope: VirtualScope,
) -> None:
    await scope.refuse(10.0, retries=Retries(max_wait=10.1))
    waiting = scope.call("waiting")
    await scope.advance(10.2)

    ((_, at),) = scope.started
    assert at == pytest.approx(10.1, abs=0.02)
    await waiting


# --- "auto" ------------------------------------------------------------------------


async def test_refusal_with_auto_uses_no_attempt_and_the_limit_falls(
    scope: VirtualScope,
) -> None:
    limiters = [await scope.call(f"{n}", concurrency="auto") for n in range(8)]
    waiting = scope.call("waiting", concurrency="auto")
    await settle()
    assert not waiting.done()
    error = refused()
    limiters[7].ended(error)
    limiters[7].release()

    assert limiters[7].retry_delay(error, 0.5) == 0.5
    assert scope.scope.adaptive.limit == 5
    for limiter in limiters[:7]:
        finish(limiter)
    finish(await waiting)
    assert scope.scope.adaptive.in_flight == 0


async def test_auto_call_that_is_refused_again_and_again_gets_its_own_refusal(
    scope: VirtualScope,
) -> None:
    """While it waits for a permit, `total` runs out."""
    holder = await scope.call("holder", concurrency="auto")
    scope.scope.adaptive.controller.refused(scope.time.time, scope.time.time, 1)
    error = refused()

    async def run() -> None:
        limiter = scope.limiter("auto", timeouts=Timeouts(total=2.0))
        limiter._watchdog.deadline = scope.time.time + 2.0
        limiter.refused(error, scope.time.time, 1)
        assert limiter.retry_delay(error, 0.5) == 0.5
        try:
            await limiter.acquire()
        except asyncio.CancelledError:
            assert limiter._watchdog.caught()
            assert limiter._watchdog.failure is not None
            raise limiter._watchdog.failure from None
        finally:
            limiter._watchdog.stop()

    task = asyncio.ensure_future(run())
    await scope.advance(2.1)
    with pytest.raises(RateLimitError) as caught:
        await task

    assert caught.value.retry_after is None
    assert "Timeouts.total" in (caught.value.hint or "")
    finish(holder)


async def test_auto_calls_give_up_after_15_minutes_of_refusals(
    scope: VirtualScope,
) -> None:
    holder = await scope.call("holder", concurrency="auto")
    adaptive = scope.scope.adaptive
    adaptive.controller.refused(scope.time.time, scope.time.time, 1)
    waiting = scope.call("waiting", concurrency="auto")
    await settle()
    for _ in range(10):
        scope.scope.refused(
            holder, scope.scope.admission(scope.options["auto"]), refused()
        )
        await scope.time.advance(100.0)
        await settle()
    with pytest.raises(RateLimitError) as caught:
        await waiting

    assert "900 s" in (caught.value.hint or "")
    assert holder.retry_delay(refused(), 0.5) == float("inf")
    finish(holder)


async def test_total_counts_the_wait_for_a_permit_while_all_is_refused(
    scope: VirtualScope,
) -> None:
    holder = await scope.call("holder", concurrency="auto")
    scope.scope.adaptive.controller.refused(scope.time.time, scope.time.time, 1)
    waiting = scope.call("waiting", concurrency="auto", timeouts=Timeouts(total=2.0))
    await scope.advance(5.0)
    assert not waiting.done()
    scope.scope.refused(holder, scope.scope.admission(scope.options["auto"]), refused())
    await scope.advance(1.9)
    assert not waiting.done()
    await scope.advance(0.2)

    with pytest.raises(RateLimitError):
        await waiting
    finish(holder)
