"""The cooldown that a server asks for, in virtual time."""

import pytest

from openrouter_async import ProviderPreferences, RateLimitError
from openrouter_async.protocol.cooldown import MAX_COOLDOWN, Cooldown, preferences_key

BUSY = RateLimitError("busy", status_code=429)


def cooled(until: float = 10.0) -> Cooldown:
    """Return a cooldown that began at 0."""
    cooldown = Cooldown()
    cooldown.start(0.0, until, 0.0, BUSY)
    return cooldown


def test_cooldown_lasts_as_long_as_requested_and_up_to_a_tenth_longer() -> None:
    cooldown = Cooldown()
    cooldown.started(5.0, "a call before it")
    assert cooldown.is_open(5.0, 100)
    cooldown.start(10.0, 3.0, 0.5, BUSY)
    assert cooldown.until == pytest.approx(13.15)
    assert cooldown.next_change(10.0) == cooldown.until
    assert not cooldown.may_start(13.0)
    # The jitter is that of the first refusal.
    cooldown.start(12.0, 3.0, 0.9, BUSY)
    assert cooldown.until == pytest.approx(15.15)
    cooldown.start(12.0, 1.0, 0.9, BUSY)

    assert cooldown.until == pytest.approx(15.15)
    assert cooldown.is_cooling(15.0)
    assert cooldown.is_probe_due(15.2)


def test_cooldown_is_limited_to_two_minutes_with_its_jitter() -> None:
    cooldown = Cooldown()
    cooldown.start(0.0, 86_400.0, 0.9, BUSY)
    assert cooldown.until == MAX_COOLDOWN
    cooldown = Cooldown()
    cooldown.start(0.0, 119.0, 0.9, BUSY)

    assert cooldown.until == MAX_COOLDOWN


@pytest.mark.parametrize(
    ("longest", "until"), [(10.5, 10.5), (10.0, 10.0), (5.0, 10.0), (60.0, 11.0)]
)
def test_jitter_does_not_exceed_what_the_refused_call_may_wait(
    longest: float, until: float
) -> None:
    cooldown = Cooldown()
    cooldown.start(0.0, 10.0, 1.0, BUSY, longest)

    assert cooldown.until == pytest.approx(until)


def test_cooldown_can_be_ended_early() -> None:
    cooldown = cooled()
    cooldown.end(4.0)
    assert cooldown.is_probe_due(4.0)
    cooldown.end(3.0)

    assert cooldown.until == 4.0


def test_one_call_starts_after_a_cooldown_and_the_others_wait_for_its_outcome() -> None:
    cooldown = cooled()
    cooldown.started(10.0, "probe")
    cooldown.sent(10.5, "probe")
    assert cooldown.is_probe("probe")
    assert not cooldown.is_probe("other")
    assert (cooldown.may_start(11.0), cooldown.is_probe_due(11.0)) == (False, False)
    assert cooldown.may_send(11.0, "probe")
    assert not cooldown.may_send(11.0, "other")
    assert cooldown.next_change(11.0) == 11.5
    cooldown.accepted(11.2, "other")
    assert not cooldown.may_start(11.2)
    cooldown.accepted(11.2, "probe")

    assert cooldown.may_start(11.3)
    assert cooldown.may_send(11.3, "other")


def test_probe_that_is_not_sent_within_a_second_is_replaced() -> None:
    cooldown = cooled()
    cooldown.started(10.0, "waits for a slot")
    assert not cooldown.is_probe_due(10.9)
    assert cooldown.may_send(10.9, "has a slot")
    assert cooldown.is_probe_due(11.0)
    cooldown.started(11.0, "next")
    cooldown.sent(11.1, "next")

    assert not cooldown.may_send(11.2, "waits for a slot")


def test_call_that_started_before_a_cooldown_is_its_probe() -> None:
    """It waited for a slot during all of the cooldown."""
    cooldown = cooled()
    assert not cooldown.may_send(5.0, "call")
    assert cooldown.may_send(10.0, "call")
    cooldown.sent(10.0, "call")

    assert cooldown.is_probe("call")


def test_cancelled_probe_is_replaced() -> None:
    cooldown = cooled()
    cooldown.started(10.0, "probe")
    cooldown.cancelled(10.1, "other")
    assert not cooldown.is_probe_due(10.1)
    cooldown.cancelled(10.1, "probe")

    assert cooldown.is_probe_due(10.1)
    assert cooldown.next_change(10.1) == float("inf")


def test_refusal_of_a_probe_without_a_wait_repeats_at_most_8_seconds() -> None:
    for seconds, repeated in ((3.0, 3.0), (60.0, 8.0)):
        cooldown = cooled(seconds)
        cooldown.started(seconds, "probe")
        cooldown.repeat(seconds, 0.0, BUSY)

        assert cooldown.until == seconds + repeated


def test_waiting_calls_start_at_a_growing_rate() -> None:
    cooldown = cooled()
    cooldown.started(10.0, "probe")
    cooldown.sent(10.0, "probe")
    # Open again, one second after the probe was sent.
    now, times = 11.0, list[float]()
    while now < 12.0:
        start = cooldown.next_change(now)
        assert start > now or cooldown.may_start(now)
        if not cooldown.may_start(now):
            now = start
            continue
        cooldown.started(now, "call")
        times.append(now - 11.0)

    assert 48 <= sum(at <= 0.3 for at in times) <= 52
    assert 990 <= len(times) <= 1001
    assert sum(at <= 0.1 for at in times) <= 2
    assert not cooldown.is_open(12.0, 10)
    assert not cooldown.is_open(12.1, 1000)
    assert cooldown.is_open(12.1, 100)
    assert cooldown.may_start(12.1)


def test_equal_preferences_have_equal_keys() -> None:
    mapping = {"sort": "price", "order": ["a"]}
    preferences = ProviderPreferences(order=["a"], sort="price")

    assert preferences_key(preferences) == preferences_key(mapping)
    assert preferences_key(None) != preferences_key({})
