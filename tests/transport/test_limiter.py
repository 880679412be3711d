"""The concurrency limits of a scope, its queue, and the registry of scopes."""

# The timer of a cooldown is private.
# pyright: reportPrivateUsage=false

import asyncio

import pytest

from openrouter_async import BadRequestError, Retries, Timeouts
from openrouter_async.protocol.concurrency import CubicController
from openrouter_async.protocol.settings import ConcurrencyOption
from openrouter_async.protocol.wait_bounds import WaitBounds
from openrouter_async.transport.admission import Admission, LimiterScope
from openrouter_async.transport.concurrency_limiter import ConcurrencyLimiter
from openrouter_async.transport.limiter import LimiterKey, LimiterRegistry, real_time


class Caller:
    """A call that waits for as long as it has to."""

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.attempts = 0
        self.sent_at = 0.0
        self.in_flight_when_sent = 0
        self.bounds = WaitBounds(Timeouts(), Retries())
        self.preferences = b"null"

    def longest_wait(self, now: float) -> float:  # noqa: ARG002 - as for other calls
        """Return infinity."""
        return float("inf")

    def cooldown_began(self, now: float) -> None:
        """Do nothing."""


def make_scope() -> LimiterScope:
    return LimiterScope(asyncio.get_running_loop(), real_time())


def make_admission(limit: int, *, is_row: bool = True) -> Admission:
    option = ConcurrencyOption(limit)
    scope = make_scope()
    if is_row:
        return scope.row_admission(limit, ConcurrencyOption())
    # The client of the option keeps it.
    admission = scope.admission(option)
    return Admission(scope, admission.limiters, is_row=False, absorbs=False)


async def acquire(
    admission: Admission, caller: Caller | None = None, *, is_retry: bool = False
) -> Caller:
    caller = caller or Caller()
    scope = admission.scope
    if not scope.try_start(caller, admission):
        caller.bounds.begin(scope.now(), None, counts=False)
        waiter = scope.enqueue(caller, admission, is_retry=is_retry)
        if not waiter.is_admitted:
            await scope.wait(waiter)
    return caller


def in_use(admission: Admission) -> tuple[int, int]:
    stats = admission.stats()
    return stats.in_flight, stats.waiting


async def test_limiter_admits_retries_before_new_attempts() -> None:
    admission = make_admission(1)
    await acquire(admission)
    order: list[str] = []

    async def attempt(name: str, *, is_retry: bool) -> None:
        await acquire(admission, is_retry=is_retry)
        order.append(name)
        admission.scope.release(admission)

    tasks = [
        asyncio.ensure_future(attempt("new", is_retry=False)),
        asyncio.ensure_future(attempt("newer", is_retry=False)),
        asyncio.ensure_future(attempt("retry", is_retry=True)),
    ]
    await asyncio.sleep(0)
    assert in_use(admission) == (1, 3)
    admission.scope.release(admission)
    await asyncio.gather(*tasks)

    assert order == ["retry", "new", "newer"]
    assert in_use(admission) == (0, 0)


async def test_limiter_admits_other_calls_before_rows() -> None:
    scope = make_scope()
    option = ConcurrencyOption("auto")
    calls, rows = scope.admission(option), scope.row_admission(None, option)
    assert calls.limiters == rows.limiters
    started = [await acquire(rows) for _ in range(scope.adaptive.limit)]
    order: list[str] = []

    async def attempt(name: str, admission: Admission) -> None:
        await acquire(admission, is_retry=name == "retried row")
        order.append(name)

    tasks = [
        asyncio.ensure_future(attempt("row", rows)),
        asyncio.ensure_future(attempt("retried row", rows)),
        asyncio.ensure_future(attempt("call", calls)),
        asyncio.ensure_future(attempt("later call", calls)),
    ]
    await asyncio.sleep(0)
    for _ in tasks:
        scope.release(rows)
        await asyncio.sleep(0)
    await asyncio.gather(*tasks)

    assert len(started) == 8
    assert order == ["call", "later call", "retried row", "row"]


async def test_run_is_limited_by_its_own_limit_and_that_of_the_client() -> None:
    scope = make_scope()
    client = ConcurrencyOption(2)
    wide, narrow = scope.row_admission(5, client), scope.row_admission(1, client)
    assert (wide.stats().limit, narrow.stats().limit) == (2, 1)
    await acquire(narrow)
    await acquire(wide)

    assert (wide.has_free, narrow.has_free) == (False, False)
    scope.release(narrow)
    assert (wide.has_free, narrow.has_free) == (True, True)
    assert scope.admission(client).limiters[0].in_flight == 1


@pytest.mark.parametrize("is_admitted", [False, True])
async def test_cancelled_attempt_frees_what_it_held(*, is_admitted: bool) -> None:
    """It may be cancelled while it waits, or after it was admitted."""
    admission = make_admission(1)
    await acquire(admission)
    task = asyncio.ensure_future(acquire(admission))
    await asyncio.sleep(0)
    if is_admitted:
        admission.scope.release(admission)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    if not is_admitted:
        admission.scope.release(admission)

    assert in_use(admission) == (0, 0)


async def test_waiter_whose_task_was_cancelled_is_passed_over() -> None:
    admission = make_admission(1)
    await acquire(admission)
    leaving = asyncio.ensure_future(acquire(admission))
    next_one = asyncio.ensure_future(acquire(admission))
    await asyncio.sleep(0)
    leaving.cancel()
    # Before the task has noticed.
    admission.scope.release(admission)
    await next_one

    assert leaving.cancelled() or leaving.cancelling()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    assert in_use(admission) == (1, 0)


async def test_response_raises_the_limit_while_all_of_it_is_in_flight() -> None:
    """The call that has succeeded still counts, even if nothing was sent for minutes."""
    limiter = ConcurrencyLimiter(CubicController(start=1))
    limiter.started(0.0)
    limiter.record(300.0, 0.0, None)

    assert limiter.limit == 2


def test_refusals_far_apart_do_not_make_one_long_period() -> None:
    limiter = ConcurrencyLimiter(CubicController())
    limiter.refused(0.0, None)
    limiter.refused(150.0, None)
    assert limiter.refused_since == 0.0
    limiter.refused(400.0, None)

    assert limiter.refused_since == 400.0
    limiter.record(401.0, 400.0, BadRequestError("no", status_code=400))
    assert limiter.refused_since is None
    limiter.refused(402.0, None)
    limiter.start_run()
    assert limiter.refused_since is None


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


async def test_stats_of_a_scope_are_the_sum_of_all_event_loops() -> None:
    registry, option = LimiterRegistry(), ConcurrencyOption(3)
    loop, other = asyncio.get_running_loop(), asyncio.new_event_loop()
    registry.get((loop, "u", 1, "n"))
    scopes = [registry.get((of_loop, "u", 1, "m")) for of_loop in (loop, other)]
    for scope in scopes:
        scope.admission(option)
    found = registry.stats(option, dict.fromkeys(scopes, 2))

    assert set(found) == {LimiterKey("u", 1, "m"), LimiterKey("u", 1, "n")}
    stats = found[LimiterKey("u", 1, "m")]
    assert (stats.limit, stats.in_flight) == (6, 4)
    assert found[LimiterKey("u", 1, "n")].limit is None
    other.close()
