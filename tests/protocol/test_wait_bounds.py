"""The bounds of the time that a call waits for a start."""

import pytest

from openrouter_async import Retries, Timeouts
from openrouter_async.protocol.wait_bounds import WaitBounds

NEVER = float("inf")


def begun(
    *, pool: float | None = None, max_wait: float = 60.0, deadline: float | None = None
) -> WaitBounds:
    """Return bounds of a wait that began at 0."""
    bounds = WaitBounds(Timeouts(pool=pool), Retries(max_wait=max_wait))
    bounds.begin(0.0, deadline, counts=False)
    return bounds


def test_wait_without_bounds_never_ends() -> None:
    bounds = WaitBounds(None, None)
    assert bounds.due(0.0) == NEVER
    bounds.begin(0.0, None, counts=False)
    bounds.enter_cooldown(0.0)

    assert bounds.due(100.0) == NEVER


def test_pool_bounds_the_whole_wait_for_a_start() -> None:
    """Also if the call is sent back to the limiter meanwhile."""
    bounds = begun(pool=5.0)
    bounds.end(2.0)
    bounds.begin(3.0, None, counts=False)
    assert (bounds.due(4.0), bounds.bound(4.0)) == (5.0, "Timeouts.pool")
    bounds.end(4.0)
    bounds.sent()
    bounds.begin(10.0, None, counts=False)

    assert bounds.due(10.0) == 15.0


def test_total_counts_cooldowns_only() -> None:
    bounds = begun(deadline=5.0)
    assert bounds.due(3.0) == NEVER
    bounds.enter_cooldown(3.0)
    assert (bounds.due(4.0), bounds.bound(4.0)) == (8.0, "Timeouts.total")
    bounds.leave_cooldown(4.0)
    bounds.leave_cooldown(5.0)
    bounds.enter_cooldown(6.0)
    bounds.enter_cooldown(7.0)
    assert bounds.due(7.0) == 10.0
    bounds.end(8.0)

    assert bounds.last_cooled == 3.0


def test_total_counts_all_of_a_wait_after_an_absorbed_refusal() -> None:
    bounds = begun()
    bounds.begin(0.0, 5.0, counts=True)

    assert bounds.due(3.0) == 5.0


def test_total_counts_the_time_in_which_everything_is_refused() -> None:
    bounds = begun(deadline=5.0)
    # The earliest time, if the refusals begin right now.
    assert bounds.due(3.0, NEVER) == 8.0
    assert bounds.due(3.0, 2.0) == 7.0

    assert bounds.due(3.0, -10.0) == 5.0


def test_max_wait_is_the_time_in_cooldowns_between_two_attempts() -> None:
    bounds = begun(max_wait=10.0)
    bounds.enter_cooldown(0.0)
    bounds.leave_cooldown(4.0)
    bounds.end(5.0)
    bounds.begin(6.0, None, counts=False)
    bounds.enter_cooldown(6.0)
    assert (bounds.due(7.0), bounds.bound(7.0)) == (12.0, "Retries.max_wait")
    bounds.end(7.0)
    bounds.sent()
    bounds.begin(8.0, None, counts=False)
    bounds.enter_cooldown(8.0)

    assert bounds.due(8.0) == 18.0
    assert bounds.cooled(9.0) == pytest.approx(1.0)
