"""Retry decisions: retryable errors, billing, backoff and the retry budget."""

# pyright: reportPrivateUsage=false

from collections import deque
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openrouter_async.config import Retries
from openrouter_async.errors import (
    APIConnectionError,
    APIError,
    ClosedError,
    ConfigurationError,
    MalformedResponseError,
    OpenRouterError,
    RateLimitError,
)
from openrouter_async.protocol.retry import RetryBudget, backoff, billing, is_retryable
from openrouter_async.types import Attempt, Billing, Exchange

ALWAYS = {429, 500, 502, 503, 521, 522, 523, 529}
WITH_ENVELOPE = {408, 504, 520, 524}


# --- retryable errors and billing ------------------------------------------------


def test_status_and_envelope_decide_whether_an_error_is_retried() -> None:
    statuses = range(300, 600)

    ours = {status for status in statuses if is_retryable(status, envelope=True)}
    others = {status for status in statuses if is_retryable(status, envelope=False)}

    assert ours == ALWAYS | WITH_ENVELOPE
    assert others == ALWAYS


def test_status_and_envelope_decide_the_billing() -> None:
    for status in range(300, 600):
        rejected = status < 500 and status not in WITH_ENVELOPE
        ours = "not_accepted" if rejected else "insured"
        other = "maybe" if status in WITH_ENVELOPE else ours

        assert billing(status, envelope=True) == ours
        assert billing(status, envelope=False) == other


def test_availability_overrides_the_status_in_both_directions() -> None:
    for status in range(400, 600):
        assert is_retryable(status, envelope=True, availability=True)
        assert not is_retryable(status, envelope=True, availability=False)


def test_402_is_retried_only_if_credits_are_reserved_in_flight() -> None:
    assert not is_retryable(402, envelope=True)
    assert is_retryable(402, envelope=True, in_flight=True)
    assert not is_retryable(400, envelope=True, in_flight=True)


def test_daily_cap_is_never_retried() -> None:
    assert not is_retryable(429, envelope=True, daily_cap=True)
    assert not is_retryable(429, envelope=True, daily_cap=True, availability=True)


# --- backoff ---------------------------------------------------------------------


def failure(
    *,
    retry_after: float | None = None,
    retryable: bool = True,
    billing: Billing = "insured",
) -> OpenRouterError:
    return RateLimitError(
        "Slow down.",
        status_code=429,
        retry_after=retry_after,
        retryable=retryable,
        http=Exchange(attempts=[Attempt(billing="maybe"), Attempt(billing=billing)]),
    )


def wait_after(
    error: OpenRouterError,
    retries: Retries | None = None,
    *,
    attempts: int = 1,
    remaining: float | None = None,
    random: float = 0.5,
) -> float | None:
    return backoff(
        error,
        retries or Retries(),
        attempts=attempts,
        remaining=remaining,
        random=random,
    )


@pytest.mark.parametrize(
    ("attempts", "longest"),
    [(1, 1.0), (2, 2.0), (3, 4.0), (4, 8.0), (5, 8.0), (99, 8.0)],
)
def test_wait_doubles_up_to_the_cap(attempts: int, longest: float) -> None:
    retries = Retries(max_attempts=100)

    assert wait_after(failure(), retries, attempts=attempts, random=0.0) == 0.0
    assert wait_after(failure(), retries, attempts=attempts, random=0.5) == longest / 2
    assert (
        wait_after(failure(), retries, attempts=attempts, random=0.75) == longest * 0.75
    )


def test_wait_after_a_million_attempts_does_not_overflow() -> None:
    retries = Retries(max_attempts=1_000_000)

    assert wait_after(failure(), retries, attempts=999_999) == 4.0


def test_jitter_is_added_to_retry_after() -> None:
    assert wait_after(failure(retry_after=2.0), random=0.0) == 2.0
    assert wait_after(failure(retry_after=2.0), random=0.5) == 2.5
    assert wait_after(failure(retry_after=0.0), random=0.5) == 0.5
    assert wait_after(failure(retry_after=20.0), random=0.999) == pytest.approx(20.999)


def test_retry_after_beyond_max_wait_is_not_retried() -> None:
    assert wait_after(failure(retry_after=60.0), random=0.0) == 60.0
    assert wait_after(failure(retry_after=60.1)) is None
    assert wait_after(failure(retry_after=60.1), Retries(max_wait=61)) == pytest.approx(
        60.6
    )
    assert wait_after(failure(retry_after=0.1), Retries(max_wait=0)) is None


def test_wait_beyond_the_deadline_is_not_retried() -> None:
    assert wait_after(failure(), remaining=0.6) == 0.5
    assert wait_after(failure(), remaining=0.5) is None
    assert wait_after(failure(retry_after=5.0), remaining=5.0) is None
    assert wait_after(failure(), remaining=0.0, random=0.0) is None
    assert wait_after(failure(), remaining=-1.0) is None


def test_max_attempts_includes_the_first_attempt() -> None:
    assert wait_after(failure(), attempts=2) is not None
    assert wait_after(failure(), attempts=3) is None
    assert wait_after(failure(), Retries(max_attempts=1)) is None
    assert wait_after(failure(retry_after=1.0), Retries(max_attempts=1)) is None


def test_attempt_that_may_be_billed_is_retried_only_with_ambiguous() -> None:
    opted_in = Retries(ambiguous=True)
    maybe = failure(retryable=False, billing="maybe")

    assert wait_after(maybe) is None
    assert wait_after(maybe, opted_in) == 0.5
    for billed in ("not_accepted", "insured", "billed"):
        assert wait_after(failure(retryable=False, billing=billed), opted_in) is None
        assert wait_after(failure(billing=billed), opted_in) == 0.5
    assert wait_after(APIConnectionError("It broke."), opted_in) == 0.5
    assert wait_after(MalformedResponseError("Empty."), opted_in) == 0.5


@pytest.mark.parametrize("cls", [ClosedError, ConfigurationError])
def test_closed_client_and_configuration_errors_are_never_retried(
    cls: type[OpenRouterError],
) -> None:
    error = cls("No.", http=Exchange(attempts=[Attempt(billing="maybe")]))

    assert wait_after(error, Retries(ambiguous=True)) is None


def test_error_without_retry_after_waits_for_jitter_only() -> None:
    assert wait_after(APIConnectionError("No route.", retryable=True)) == 0.5
    assert wait_after(APIError("Busy.", status_code=503, retryable=True)) == 0.5


@pytest.mark.parametrize(
    ("retry_after", "low", "high"), [(None, 0.0, 4.0), (3.0, 3.0, 7.0)]
)
def test_jitter_is_uniform(retry_after: float | None, low: float, high: float) -> None:
    """Each tenth of the range has its share of 10,000 waits, within 20 %."""
    generator = Random(20260110)
    retries = Retries(max_attempts=9)
    waits = [
        wait_after(
            failure(retry_after=retry_after),
            retries,
            attempts=3,
            random=generator.random(),
        )
        for _ in range(10_000)
    ]

    counts = [0] * 10
    for wait in waits:
        assert wait is not None
        assert low <= wait < high
        counts[int((wait - low) / (high - low) * 10)] += 1
    assert sum(counts) == 10_000
    assert all(800 <= count <= 1200 for count in counts)


# --- RetryBudget -----------------------------------------------------------------


def count_retries(budget: RetryBudget, now: float, share: float, tries: int) -> int:
    return sum(budget.try_retry(now, share) for _ in range(tries))


def test_budget_allows_ten_retries_in_ten_seconds() -> None:
    budget = RetryBudget()

    assert count_retries(budget, 0.0, 0.0, 25) == 10
    assert count_retries(budget, 9.99, 0.0, 25) == 0
    assert count_retries(budget, 10.0, 0.0, 25) == 10


def test_budget_adds_a_share_of_the_calls() -> None:
    budget = RetryBudget()
    for _ in range(100):
        budget.record_call(5.0)

    assert count_retries(budget, 5.0, 0.1, 50) == 20
    assert count_retries(budget, 5.0, 0.5, 50) == 40


def test_budget_counts_the_last_ten_seconds_only() -> None:
    budget = RetryBudget()
    for second in range(20):
        for _ in range(10):
            budget.record_call(float(second))

    # 10.0 to 19.0 are within ten seconds of 19.9: a hundred.
    assert count_retries(budget, 19.9, 0.1, 50) == 20
    # At 29.0 even the last of them are ten seconds old.
    assert count_retries(budget, 29.0, 0.1, 50) == 0
    assert count_retries(budget, 29.9, 0.1, 50) == 10


@given(
    steps=st.lists(st.tuples(st.floats(0, 3), st.booleans()), min_size=1, max_size=120),
    share=st.floats(0, 1),
)
def test_budget_is_exact_for_random_calls_and_retries(
    steps: list[tuple[float, bool]], share: float
) -> None:
    budget = RetryBudget()
    now = 0.0
    calls: list[float] = []
    granted: list[float] = []
    for step, is_call in steps:
        now += step
        if is_call:
            budget.record_call(now)
            calls.append(now)
            continue
        limit = 10 + share * sum(now - 10 < at for at in calls)
        expected = sum(now - 10 < at for at in granted) + 1 <= limit

        assert budget.try_retry(now, share) is expected
        if expected:
            granted.append(now)


def test_budget_without_retries_forgets_old_calls() -> None:
    budget = RetryBudget()
    for second in range(1000):
        budget.record_call(float(second))

    assert len(budget._calls) < 100


def test_budget_survives_a_thread_that_empties_it_meanwhile() -> None:
    class Emptied(deque[float]):
        """A queue whose items another thread has just removed."""

        def __getitem__(self, index: Any) -> Any:
            raise IndexError(index)

    budget = RetryBudget()
    budget._calls = Emptied([1.0])
    budget.record_call(100.0)

    assert budget.try_retry(100.0, 0.1)
