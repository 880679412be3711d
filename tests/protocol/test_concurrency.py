"""The adaptive concurrency limit, in virtual time."""

import math

import pytest

from benchmarks.simulation import Simulation
from openrouter_async.protocol.concurrency import (
    MAX_LIMIT,
    START_LIMIT,
    Controller,
    CubicController,
    FixedController,
)


def grown_to(limit: int) -> CubicController:
    """Return a controller that slow start has brought to `limit` before time 1."""
    control, now = CubicController(), 0.0
    while control.limit < limit:
        for in_flight in range(1, control.limit + 1):
            control.sent(now, in_flight)
        for _ in range(min(control.limit, limit - control.limit)):
            control.succeeded(now + 0.125, now, control.limit)
        now += 0.125
    return control


def respond(control: CubicController, now: float, latency: float = 0.5) -> None:
    """Record so many responses, at full use, that only the time limits the growth."""
    for _ in range(MAX_LIMIT):
        control.sent(now, control.limit)
        control.succeeded(now, now - latency, control.limit)


def test_slow_start_raises_the_limit_by_one_for_each_response() -> None:
    control = CubicController()

    assert control.limit == START_LIMIT
    for _ in range(5):
        control.sent(1.0, control.limit)
        control.succeeded(1.0, 0.5, control.limit)
    assert control.limit == START_LIMIT + 5


def test_limit_does_not_grow_beyond_max_limit() -> None:
    control = CubicController(start=4, max_limit=6)
    for _ in range(10):
        control.sent(1.0, control.limit)
        control.succeeded(1.0, 0.5, control.limit)

    assert control.limit == 6
    assert grown_to(MAX_LIMIT).limit == MAX_LIMIT


def test_limit_does_not_grow_while_less_than_four_fifths_are_in_use() -> None:
    control = CubicController()
    control.sent(1.0, 6)
    control.succeeded(1.0, 0.5, 6)

    assert control.limit == START_LIMIT


def test_limit_grows_to_at_most_twice_the_peak_in_flight() -> None:
    control = CubicController()
    control.sent(1.0, 7)
    for _ in range(30):
        control.succeeded(1.0, 0.5, 7)

    assert control.limit == 14


def test_limit_doubles_at_most_once_per_round() -> None:
    """Responses to calls that were sent before the last doubling do not cause another."""
    control = CubicController()
    for in_flight in range(1, START_LIMIT + 1):
        control.sent(0.0, in_flight)
    for _ in range(3 * START_LIMIT):
        control.succeeded(12.0, 0.0, control.limit)
        control.sent(12.0, control.limit)
    assert control.limit == 2 * START_LIMIT

    for _ in range(4 * START_LIMIT):
        control.succeeded(24.0, 12.0, control.limit)
    assert control.limit == 4 * START_LIMIT


def test_each_response_adds_at_most_one_after_a_decrease() -> None:
    """However much time has passed."""
    control = grown_to(100)
    control.refused(2.0, 1.5, 100)
    control.succeeded(60.0, 2.1, 70)

    assert control.limit == 71


def test_refusal_reduces_the_limit_to_seven_tenths_of_the_calls_in_flight() -> None:
    control = grown_to(100)
    control.refused(2.0, 1.5, 100)

    assert control.limit == 70
    assert control.w_max == 100


def test_refusals_of_calls_sent_before_the_decrease_are_ignored() -> None:
    control = grown_to(100)
    control.refused(2.0, 1.5, 100)
    control.refused(2.1, 1.9, 100)
    control.refused(2.2, 2.0, 100)

    assert control.limit == 70


def test_refusal_below_the_last_w_max_lowers_w_max() -> None:
    """Fast convergence: RFC 9438, 4.7."""
    control = grown_to(100)
    control.refused(2.0, 1.5, 100)
    control.refused(3.0, 2.5, 70)

    assert control.limit == 49
    assert control.w_max == pytest.approx(70 * 0.85)


def test_limit_does_not_fall_below_one() -> None:
    control = CubicController()
    for second in range(1, 50):
        control.refused(float(second), second - 0.5, control.limit)

    assert control.limit == 1


def test_limit_is_back_at_w_max_after_k() -> None:
    """From 256: after 5.8 s with short calls, after 29 s with long ones."""
    for latency, seconds in ((0.2, 5.77), (20.0, 28.8)):
        control = CubicController(start=256)
        control.sent(0.0, 256)
        control.succeeded(latency, 0.0, 256)
        refused_at = latency + 1.0
        control.refused(refused_at, latency + 0.5, 256)

        respond(control, refused_at + 0.9 * seconds, latency)
        before = control.limit
        respond(control, refused_at + 1.01 * seconds, latency)

        assert 250 <= before < 256
        assert control.limit == 256


def test_time_of_low_use_does_not_count_as_growth_time() -> None:
    control = grown_to(100)
    control.refused(2.0, 1.5, 100)
    for second in range(3, 63):
        control.succeeded(float(second), second - 0.5, 1)
    respond(control, 63.0)

    # As after the one second between the last two answers.
    assert control.limit == 86


def test_time_without_calls_does_not_count_as_growth_time() -> None:
    control = grown_to(100)
    control.refused(2.0, 1.5, 100)
    for in_flight in range(1, 71):
        control.sent(62.0, in_flight)
    respond(control, 62.1, 0.1)

    # As a tenth of a second after the decrease.
    assert control.limit == 72


def test_pause_does_not_count_as_growth_time() -> None:
    control = grown_to(100)
    control.refused(2.0, 1.5, 100)
    control.paused(62.0)
    control.sent(62.0, 70)
    respond(control, 62.1, 0.1)

    # As a tenth of a second after the decrease.
    assert control.limit == 72


def test_responses_during_a_pause_do_not_count_it_as_growth_time() -> None:
    """Calls that were in flight when the pause began may finish before its end."""
    control = grown_to(100)
    control.refused(2.0, 1.5, 100)
    control.paused(62.0)
    control.succeeded(2.5, 1.9, 1)
    control.sent(62.0, 70)
    respond(control, 62.1, 0.1)

    # As a tenth of a second after the decrease.
    assert control.limit == 72


def test_decrease_during_a_pause_does_not_count_it_as_growth_time() -> None:
    """A second refusal, without Retry-After, does not move the start before its end."""
    control = grown_to(100)
    control.refused(2.0, 1.5, 100)
    control.paused(62.0)
    control.refused(3.0, 2.5, 70)
    control.sent(62.0, 49)
    respond(control, 62.1, 0.1)

    # As a tenth of a second after the decrease.
    assert control.limit == 50


def test_time_of_spaced_calls_after_a_pause_counts_as_growth_time() -> None:
    """With a limit of 1 the second call waits one tau, although there is work for it."""
    control = CubicController(start=1)
    control.refused(2.0, 1.5, 1)
    control.paused(62.0)
    control.sent(62.0, 1)
    control.succeeded(62.2, 62.0, 1)
    control.sent(63.0, 1)
    control.succeeded(64.5, 63.0, 1)
    # Without a latency each response ends a round, and rounds do not limit growth.
    respond(control, 64.5, 0.0)

    # As 2.5 seconds after the end of the pause.
    assert control.limit == 7


def test_more_than_three_percent_refusals_in_a_minute_slow_the_growth() -> None:
    normal, slowed = grown_to(100), grown_to(100)
    for control, refusals in ((normal, 1), (slowed, 10)):
        for _ in range(refusals):
            control.refused(2.0, 0.0 if refusals > 1 else 1.5, 100)
        control.refused(62.5, 62.0, 100)
        for _ in range(3):
            control.sent(66.5, 100)
            control.succeeded(66.5, 66.0, 100)

    assert slowed.limit < normal.limit


def test_failures_reduce_the_limit_only_if_more_than_a_tenth() -> None:
    control = grown_to(100)
    for _ in range(5):
        control.failed(2.0)
    assert control.limit == 100

    for _ in range(8):
        control.failed(2.0)
    assert control.limit == 90

    for _ in range(30):
        control.failed(2.1)
    assert control.limit == 90
    control.failed(4.0)
    assert control.limit == 81


def test_tau_is_the_mean_latency_between_one_and_five_seconds() -> None:
    control = CubicController()
    assert control.tau == 1.0
    control.succeeded(3.0, 0.0, 1)
    assert control.tau == pytest.approx(3.0)
    for _ in range(100):
        control.succeeded(100.0, 0.0, 1)
    assert control.tau == 5.0


def test_fixed_controller_keeps_its_limit() -> None:
    control: Controller = FixedController(3)
    control.sent(0.0, 3)
    control.succeeded(1.0, 0.0, 3)
    control.failed(1.0)
    control.refused(1.0, 0.5, 3)
    control.paused(9.0)

    assert control.limit == 3
    assert control.tau == 1.0


# --- simulated runs against a server with a hidden limit --------------------------


@pytest.mark.parametrize("latency", [0.05, 0.5, 5.0, 12.0, 60.0])
@pytest.mark.parametrize("is_decreased", [False, True])
def test_limit_grows_from_every_value(latency: float, *, is_decreased: bool) -> None:
    """From 1 to 64 in steps of 0.25, in slow start and after a decrease."""
    stuck: list[float] = []
    for quarters in range(4, 4 * 64 + 1):
        limit = quarters / 4
        control = CubicController(start=limit / 0.9 if is_decreased else limit)
        if is_decreased:
            # 20 failures are the fewest that reduce the limit; they do so by a tenth.
            for _ in range(20):
                control.failed(0.0)
        assert control.limit in {int(limit), math.ceil(limit) - 1}
        before = control.limit
        simulation = Simulation(latency, 0.0, control=control)
        simulation.run(latency)
        while control.limit == before and simulation.now < 10 * latency + 60:
            simulation.run(simulation.now + latency)
        if control.limit <= before:
            stuck.append(limit)

    assert stuck == []


def test_limit_follows_a_hidden_limit_up_and_down() -> None:
    """64, then 256, then 32: soon 90 % of each, with hardly any refusals."""
    simulation = Simulation(0.2, 0.3, 64)
    simulation.run(60)
    assert simulation.goodput(10, 60) >= 0.9
    assert simulation.share_refused(10, 60) <= 0.03

    simulation.limit = 256
    simulation.run(120)
    assert simulation.goodput(80, 120) >= 0.9
    assert simulation.share_refused(80, 120) <= 0.03

    simulation.limit = 32
    simulation.run(180)
    assert simulation.goodput(125, 180) >= 0.9
    assert simulation.share_refused(125, 180) <= 0.03


@pytest.mark.parametrize("latency", [1.0, 12.0, 20.0, 60.0])
def test_calls_in_flight_double_once_per_latency(latency: float) -> None:
    """From 8 to 256 in five latencies: at 12 s each, within 65 s of a cold start."""
    simulation = Simulation(latency, 0.0)
    simulation.run(5.4 * latency)

    assert simulation.in_flight >= 256


@pytest.mark.parametrize(
    ("latency", "limit", "start", "max_refused"),
    [
        (10.0, 64, 60, 0.03),
        (10.0, 200, 90, 0.03),
        (20.0, 64, 90, 0.03),
        # Probes come by the clock, responses only once in a minute.
        (60.0, 64, 240, 0.04),
    ],
)
def test_hidden_limit_of_slow_calls_is_found(
    latency: float, limit: int, start: int, max_refused: float
) -> None:
    """At least 85 % goodput over 5 minutes, and few refusals."""
    simulation = Simulation(latency, 0.3, limit)
    simulation.run(start + 300)

    assert simulation.goodput(start, start + 300) >= 0.85
    assert simulation.share_refused(start, start + 300) <= max_refused
