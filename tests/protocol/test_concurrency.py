"""How many calls may be in flight: the formulas, on a clock of the tests' own."""

import math

import pytest

from benchmarks.simulation import Simulation
from openrouter_async.protocol.concurrency import (
    LONGEST_PAUSE,
    MOST,
    START,
    Controller,
    Cooldown,
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
    """Let so many calls succeed at `now`, at full use, that only time limits growth."""
    for _ in range(MOST):
        control.sent(now, control.limit)
        control.succeeded(now, now - latency, control.limit)


def test_it_starts_small_and_grows_by_one_for_each_success() -> None:
    """Slow start: one more for each answer."""
    control = CubicController()

    assert control.limit == START
    for _ in range(5):
        control.sent(1.0, control.limit)
        control.succeeded(1.0, 0.5, control.limit)
    assert control.limit == START + 5


def test_it_never_grows_beyond_its_most() -> None:
    """However well it goes."""
    control = CubicController(start=4, most=6)
    for _ in range(10):
        control.sent(1.0, control.limit)
        control.succeeded(1.0, 0.5, control.limit)

    assert control.limit == 6
    assert grown_to(MOST).limit == MOST


def test_what_is_not_used_does_not_grow() -> None:
    """A success while less than four fifths are in flight says nothing."""
    control = CubicController()
    control.sent(1.0, 6)
    control.succeeded(1.0, 0.5, 6)

    assert control.limit == START


def test_it_grows_to_twice_what_was_in_flight_at_the_most() -> None:
    """A limit that nobody has tried is not raised further."""
    control = CubicController()
    control.sent(1.0, 7)
    for _ in range(30):
        control.succeeded(1.0, 0.5, 7)

    assert control.limit == 14


def test_limit_doubles_at_most_once_per_round() -> None:
    """Responses to calls sent before the last doubling are no reason for another."""
    control = CubicController()
    for in_flight in range(1, START + 1):
        control.sent(0.0, in_flight)
    for _ in range(3 * START):
        control.succeeded(12.0, 0.0, control.limit)
        control.sent(12.0, control.limit)
    assert control.limit == 2 * START

    for _ in range(4 * START):
        control.succeeded(24.0, 12.0, control.limit)
    assert control.limit == 4 * START


def test_each_success_adds_at_most_one_after_a_cut() -> None:
    """However much time has passed, a few responses are not a reason to leap."""
    control = grown_to(100)
    control.refused(2.0, 1.5, 100)
    control.succeeded(60.0, 2.1, 70)

    assert control.limit == 71


def test_a_refusal_cuts_to_seven_tenths_of_what_was_in_flight() -> None:
    """And remembers what that was."""
    control = grown_to(100)
    control.refused(2.0, 1.5, 100)

    assert control.limit == 70
    assert control.w_max == 100


def test_one_flight_is_cut_for_once() -> None:
    """Refusals of calls that were sent before the cut are its echo."""
    control = grown_to(100)
    control.refused(2.0, 1.5, 100)
    control.refused(2.1, 1.9, 100)
    control.refused(2.2, 2.0, 100)

    assert control.limit == 70


def test_the_next_flight_is_cut_for_again_and_gives_way_sooner() -> None:
    """Fast convergence: a lower peak than the last leaves room to others."""
    control = grown_to(100)
    control.refused(2.0, 1.5, 100)
    control.refused(3.0, 2.5, 70)

    assert control.limit == 49
    assert control.w_max == pytest.approx(70 * 0.85)


def test_it_never_falls_below_one() -> None:
    """One call is always let out, to ask."""
    control = CubicController()
    for second in range(1, 50):
        control.refused(float(second), second - 0.5, control.limit)

    assert control.limit == 1


def test_it_is_back_at_its_peak_after_k() -> None:
    """From 256: 5.8 s with short calls, 29 s with long ones, by the clock."""
    for latency, seconds in ((0.2, 5.77), (20.0, 28.8)):
        control = CubicController(start=256)
        control.sent(0.0, 256)
        control.succeeded(latency, 0.0, 256)
        cut = latency + 1.0
        control.refused(cut, latency + 0.5, 256)

        respond(control, cut + 0.9 * seconds, latency)
        before = control.limit
        respond(control, cut + 1.01 * seconds, latency)

        assert 250 <= before < 256
        assert control.limit == 256


def test_time_that_was_not_used_is_no_time() -> None:
    """A run that idles for a minute does not come back with a leap."""
    control = grown_to(100)
    control.refused(2.0, 1.5, 100)
    for second in range(3, 63):
        control.succeeded(float(second), second - 0.5, 1)
    respond(control, 63.0)

    # As after the one second between the last two answers.
    assert control.limit == 86


def test_time_without_calls_does_not_count() -> None:
    """After a minute without any call, growth goes on where it was."""
    control = grown_to(100)
    control.refused(2.0, 1.5, 100)
    for in_flight in range(1, 71):
        control.sent(62.0, in_flight)
    respond(control, 62.1, 0.1)

    # As a tenth of a second after the cut.
    assert control.limit == 72


def test_a_pause_is_no_time_either() -> None:
    """Growth begins when it is over."""
    control = grown_to(100)
    control.refused(2.0, 1.5, 100)
    control.paused(62.0)
    control.sent(62.0, 70)
    respond(control, 62.1, 0.1)

    # As a tenth of a second after the cut.
    assert control.limit == 72


def test_responses_during_a_pause_do_not_count_it_as_growth_time() -> None:
    """Calls that were in flight when the pause began may finish before its end."""
    control = grown_to(100)
    control.refused(2.0, 1.5, 100)
    control.paused(62.0)
    control.succeeded(2.5, 1.9, 1)
    control.sent(62.0, 70)
    respond(control, 62.1, 0.1)

    # As a tenth of a second after the cut.
    assert control.limit == 72


def test_cut_during_a_pause_does_not_count_it_as_growth_time() -> None:
    """A second refusal, without Retry-After, does not move the start before its end."""
    control = grown_to(100)
    control.refused(2.0, 1.5, 100)
    control.paused(62.0)
    control.refused(3.0, 2.5, 70)
    control.sent(62.0, 49)
    respond(control, 62.1, 0.1)

    # As a tenth of a second after the cut.
    assert control.limit == 50


def test_time_of_spread_calls_after_a_pause_counts() -> None:
    """With a limit of 1 the second call waits one tau: not for lack of work."""
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


def test_too_many_refusals_in_a_minute_slow_it_down() -> None:
    """More than three in a hundred: the plateau is twice as long."""
    calm, pressed = grown_to(100), grown_to(100)
    for control, refusals in ((calm, 1), (pressed, 10)):
        for _ in range(refusals):
            control.refused(2.0, 0.0 if refusals > 1 else 1.5, 100)
        control.refused(62.5, 62.0, 100)
        for _ in range(3):
            control.sent(66.5, 100)
            control.succeeded(66.5, 66.0, 100)

    assert pressed.limit < calm.limit


def test_failures_cut_only_if_they_are_many() -> None:
    """A bad provider is not load: a tenth of the outcomes is the limit."""
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


def test_tau_is_the_latency_within_bounds() -> None:
    """Between one second and five."""
    control = CubicController()
    assert control.tau == 1.0
    control.succeeded(3.0, 0.0, 1)
    assert control.tau == pytest.approx(3.0)
    for _ in range(100):
        control.succeeded(100.0, 0.0, 1)
    assert control.tau == 5.0


def test_a_fixed_limit_stays() -> None:
    """Whatever it is told."""
    control: Controller = FixedController(3)
    control.sent(0.0, 3)
    control.succeeded(1.0, 0.0, 3)
    control.failed(1.0)
    control.refused(1.0, 0.5, 3)
    control.paused(9.0)

    assert control.limit == 3
    assert control.tau == 1.0


# --- the pause -------------------------------------------------------------------


def test_a_pause_is_as_long_as_asked_and_up_to_a_tenth_longer() -> None:
    """Never shorter."""
    pause = Cooldown()
    assert pause.opens(5.0, 1.0) == 5.0
    pause.shut(10.0, 3.0, 0.0)
    assert pause.opens(11.0, 1.0) == 13.0
    pause.shut(10.0, 3.0, 0.5)
    assert pause.until == pytest.approx(13.15)
    pause.shut(10.0, 1.0, 0.5)
    assert pause.until == pytest.approx(13.15)


def test_a_long_pause_is_asked_again() -> None:
    """After two minutes somebody tries."""
    pause = Cooldown()
    pause.shut(0.0, 86_400.0, 0.0)

    assert pause.until == LONGEST_PAUSE


def test_after_a_pause_they_pass_one_by_one() -> None:
    """A limit of 10 in the first tau, evenly; from then on at once."""
    pause = Cooldown()
    pause.shut(0.0, 3.0, 0.0)
    now, passed = 3.0, 0
    while now < 4.0:
        opens = pause.opens(now, 1.0)
        if opens > now:
            now = opens
            continue
        pause.passed(now, 10, 1.0)
        passed += 1

    assert passed == 10
    assert pause.opens(4.1, 1.0) == 4.1


# --- together, against a server that tells nothing --------------------------------


@pytest.mark.parametrize("latency", [0.05, 0.5, 5.0, 12.0, 60.0])
@pytest.mark.parametrize("was_cut", [False, True])
def test_limit_grows_from_every_value(latency: float, *, was_cut: bool) -> None:
    """From 1 to 64 in steps of 0.25, in slow start and after a cut."""
    stuck: list[float] = []
    for quarters in range(4, 4 * 64 + 1):
        limit = quarters / 4
        control = CubicController(start=limit / 0.9 if was_cut else limit)
        if was_cut:
            # 20 failures are the fewest that cut the limit; they cut it by a tenth.
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


def test_it_follows_a_hidden_limit_up_and_down() -> None:
    """64, then 256, then 32: nine tenths of each, soon, with hardly a refusal."""
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
    """From 8 to 256 in five latencies; at 12 s each, within 65 s of a cold start."""
    simulation = Simulation(latency, 0.0)
    simulation.run(5.4 * latency)

    assert simulation.in_flight >= 256


@pytest.mark.parametrize(
    ("latency", "limit", "start", "most_refused"),
    [
        (10.0, 64, 60, 0.03),
        (10.0, 200, 90, 0.03),
        (20.0, 64, 90, 0.03),
        # Probes come by the clock, responses only once in a minute.
        (60.0, 64, 240, 0.04),
    ],
)
def test_limit_of_slow_calls_is_found(
    latency: float, limit: int, start: int, most_refused: float
) -> None:
    """At least 85 % goodput over 5 minutes, and few refusals."""
    simulation = Simulation(latency, 0.3, limit)
    simulation.run(start + 300)

    assert simulation.goodput(start, start + 300) >= 0.85
    assert simulation.share_refused(start, start + 300) <= most_refused
