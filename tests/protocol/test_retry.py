"""Which errors are sent again, after how long, and how often at most."""

import random
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from multidict import CIMultiDict

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
from openrouter_async.protocol.retry_after import parse_retry_after
from openrouter_async.types import Attempt, Billing, Exchange

WALL = 1_800_000_000.0
"""Now, for all rules here: 2027-01-15 08:00:00 GMT."""

ALWAYS = {429, 500, 502, 503, 521, 522, 523, 529}
IN_OUR_ENVELOPE = {408, 504, 520, 524}


# --- is it sent again ------------------------------------------------------------


def test_the_status_decides() -> None:
    """Overload and failure are sent again; a gateway's timeout only if it is OpenRouter's."""
    statuses = range(300, 600)

    ours = {status for status in statuses if is_retryable(status, envelope=True)}
    others = {status for status in statuses if is_retryable(status, envelope=False)}

    assert ours == ALWAYS | IN_OUR_ENVELOPE
    assert others == ALWAYS


def test_the_status_tells_the_billing() -> None:
    """A refusal costs nothing, a failure is insured, silence with a number on may cost."""
    for status in range(300, 600):
        refused = status < 500 and status not in IN_OUR_ENVELOPE
        ours = "not_accepted" if refused else "insured"
        other = "maybe" if status in IN_OUR_ENVELOPE else ours

        assert billing(status, envelope=True) == ours
        assert billing(status, envelope=False) == other


def test_availability_overrides_the_status_both_ways() -> None:
    """What the server says of the model's availability wins over the status."""
    for status in range(400, 600):
        assert is_retryable(status, envelope=True, availability=True)
        assert not is_retryable(status, envelope=True, availability=False)


def test_a_402_is_sent_again_only_in_flight() -> None:
    """Money that is held comes back; money that is gone does not."""
    assert not is_retryable(402, envelope=True)
    assert is_retryable(402, envelope=True, in_flight=True)
    assert not is_retryable(400, envelope=True, in_flight=True)


def test_a_daily_cap_is_never_sent_again() -> None:
    """No wait of ours outlasts the day, whatever else is said."""
    assert not is_retryable(429, envelope=True, daily_cap=True)
    assert not is_retryable(429, envelope=True, daily_cap=True, availability=True)


# --- where the server says how long ----------------------------------------------


def wish(
    headers: Mapping[str, Any] | None = None, error: Mapping[str, Any] | None = None
) -> float | None:
    return parse_retry_after(CIMultiDict(headers or {}), error or {}, wall=WALL)


def moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(WALL + seconds, UTC)


ASCTIME = "%a %b %d %H:%M:%S %Y"

DELAYS: dict[Any, float | None] = {
    # seconds
    "0": 0.0,
    "1": 1.0,
    "120": 120.0,
    " 7 ": 7.0,
    "007": 7.0,
    "1.5": 1.5,
    "2.": 2.0,
    "0.25": 0.25,
    "999999999999": 999999999999.0,
    # HTTP dates
    format_datetime(moment(30), usegmt=True): 30.0,
    format_datetime(moment(-30), usegmt=True): 0.0,
    moment(30).strftime(ASCTIME): 30.0,
    moment(30).strftime("%A, %d-%b-%y %H:%M:%S GMT"): 30.0,
    "Thu, 01 Jan 1970 00:00:00 GMT": 0.0,
    "Fri, 31 Dec 9999 23:59:59 GMT": 253402300799 - WALL,
    # no delay
    "": None,
    " ": None,
    "soon": None,
    "-1": None,
    "-0.5": None,
    "+5": None,
    "1e3": None,
    "0x10": None,
    "1_000": None,
    "1,5": None,
    "1, 2": None,
    ".5": None,
    "5s": None,
    "inf": None,
    "nan": None,
    "Infinity": None,
    "\uff15": None,
    "\u0665": None,
    "1\u00b2": None,
    "1" + "0" * 12: None,
    "9" * 16: None,
    "9" * 5000: None,
    "Wed, 99 Foo 2099 99:99:99 GMT": None,
    "Wed, 21 Oct 2099 07:28:00 +99999999999999999999": None,
    "Wed, 21 Oct 99999 07:28:00 GMT": None,
}

NUMBERS: dict[Any, float | None] = {
    0: 0.0,
    3: 3.0,
    1.5: 1.5,
    "2": 2.0,
    " 2.5 ": 2.5,
    -1: None,
    -0.1: None,
    10**11: 1e11,
    10**400: None,
    float("inf"): None,
    float("nan"): None,
    True: None,
    None: None,
    "soon": None,
    "": None,
}


@pytest.mark.parametrize("name", ["Retry-After", "retry-after", "RETRY-AFTER"])
@pytest.mark.parametrize(("text", "seconds"), DELAYS.items())
def test_retry_after_is_seconds_or_a_date(
    name: str, text: str, seconds: float | None
) -> None:
    """`Retry-After` is a number of seconds or an HTTP date; anything else is none."""
    assert wish({name: text}) == seconds
    assert wish(error={"metadata": {"headers": {name: text}}}) == seconds


@pytest.mark.parametrize("hours", [-8, 0, 5.5])
def test_a_date_is_a_moment_in_any_zone(hours: float) -> None:
    """A date says the same moment in every time zone."""
    there = moment(45).astimezone(timezone(timedelta(hours=hours)))

    assert wish({"Retry-After": format_datetime(there)}) == 45.0


@pytest.mark.parametrize(("value", "seconds"), NUMBERS.items(), ids=repr)
def test_bodies_say_it_as_numbers(value: Any, seconds: float | None) -> None:
    """Each place of a body takes a number, or its digits."""
    assert wish(error={"availability": {"retry_after": value}}) == seconds
    assert wish(error={"metadata": {"retry_after_seconds": value}}) == seconds
    assert wish(error={"metadata": {"retry_after_seconds_raw": value}}) == seconds
    assert wish(error={"metadata": {"headers": {"Retry-After": value}}}) == seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1500", 1.5), ("0", 0.0), ("250.5", 0.2505), ("-1", None), ("soon", None)],
)
def test_milliseconds_are_taken(text: str, seconds: float | None) -> None:
    """`retry-after-ms`, as other SDKs know it, is read in both places."""
    expected = seconds if seconds is None else pytest.approx(seconds)

    assert wish({"Retry-After-MS": text}) == expected
    assert wish(error={"metadata": {"headers": {"Retry-After-Ms": text}}}) == expected


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (f"{(WALL + 60) * 1000:.0f}", 60.0),
        ((WALL + 60) * 1000, 60.0),
        (int((WALL + 60) * 1000), 60.0),
        (f"{WALL + 60:.0f}", 60.0),
        (f"{(WALL - 60) * 1000:.0f}", 0.0),
        ("0", None),
        ("60", None),
        ("1e12", None),
        ("9" * 15, (1e15 - 1) / 1000 - WALL),
        ("9" * 16, None),
        (1e15, None),
        ("soon", None),
        (None, None),
        (True, None),
    ],
)
def test_a_reset_is_a_moment(value: Any, seconds: float | None) -> None:
    """`X-RateLimit-Reset` is epoch milliseconds, or seconds; else it is no moment."""
    inner = {"metadata": {"headers": {"X-RateLimit-Reset": value}}}

    expected = seconds if seconds is None else pytest.approx(seconds)
    assert wish(error=inner) == expected
    if isinstance(value, str):
        assert wish({"x-ratelimit-reset": value}) == expected


def test_the_most_direct_place_wins() -> None:
    """Of several wishes the one nearest to the reply counts, in the order of the rules."""
    headers = {
        "Retry-After": "1",
        "retry-after-ms": "2000",
        "X-RateLimit-Reset": f"{WALL + 9:.0f}",
    }
    metadata: dict[str, Any] = {
        "retry_after_seconds_raw": 4,
        "retry_after_seconds": 5,
        "headers": {
            "Retry-After": "6",
            "Retry-After-Ms": "7000",
            "X-RateLimit-Reset": f"{WALL + 8:.0f}",
        },
    }
    error: dict[str, Any] = {"availability": {"retry_after": 3}, "metadata": metadata}

    found: list[float | None] = []
    for place, name in [
        (headers, "Retry-After"),
        (headers, "retry-after-ms"),
        (error, "availability"),
        (metadata, "retry_after_seconds_raw"),
        (metadata, "retry_after_seconds"),
        (metadata["headers"], "Retry-After"),
        (metadata["headers"], "Retry-After-Ms"),
        (metadata["headers"], "X-RateLimit-Reset"),
        (headers, "X-RateLimit-Reset"),
    ]:
        found.append(wish(headers, error))
        del place[name]

    assert found == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]
    assert wish(headers, error) is None


@pytest.mark.parametrize("odd", [None, "x", 1, [], [1], True, {"headers": "x"}])
def test_odd_bodies_wish_nothing(odd: Any) -> None:
    """A body whose parts are of other kinds than usual asks for nothing."""
    assert wish(error={"metadata": odd, "availability": odd}) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)
WISHES = (
    st.text(max_size=40)
    | st.from_regex(r"[0-9.eE+ -]{0,30}", fullmatch=True)
    | st.from_regex(
        r"(Mon, )?[0-9]{1,5}[ -](Jan|Oct|x)[ -][0-9]{1,6} "
        r"[0-9]{1,4}[:.][0-9]{1,3}([:.][0-9]{1,3}){0,2} ([A-Z]{0,4}|[+-][0-9]{1,22})",
        fullmatch=True,
    )
    | st.datetimes().map(lambda date: format_datetime(date.replace(tzinfo=UTC)))
)


@given(
    texts=st.lists(WISHES, min_size=10, max_size=10),
    name=st.sampled_from(["Retry-After", "Retry-After-Ms"]),
)
@example(
    texts=[
        "Mon, 1 Jan 2024 1.2.3.4 GMT",
        "1 Jan 9999 23:59:59 -2359",
        "1 Jan 100 00:00:00 +2359",
    ],
    name="Retry-After",
)
def test_no_header_breaks_it(texts: list[str], name: str) -> None:
    """Whatever a header holds, the wish is none, or a length of time."""
    for text in texts:
        outer = wish({name: text, "X-RateLimit-Reset": text})
        inner = wish(error={"metadata": {"headers": {name: text}}})

        assert outer is None or 0 <= outer < 1e12
        assert inner is None or 0 <= inner < 1e12


@given(value=JSON)
def test_no_body_breaks_it(value: Any) -> None:
    """Whatever JSON a body holds, the wish is none, or a length of time."""
    headers = {"retry-after": value, "x-ratelimit-reset": value}
    errors: list[dict[str, Any]] = [
        {"metadata": value, "availability": value},
        {"metadata": {"headers": value, "retry_after_seconds": value}},
        {"metadata": {"headers": headers}, "availability": {"retry_after": value}},
    ]

    for error in errors:
        found = wish(error=error)
        assert found is None or 0 <= found < 1e12


# --- how long we wait ------------------------------------------------------------


def failed(
    *,
    wish: float | None = None,
    retryable: bool = True,
    billing: Billing = "insured",
) -> OpenRouterError:
    return RateLimitError(
        "Slow down.",
        status_code=429,
        retry_after=wish,
        retryable=retryable,
        http=Exchange(attempts=[Attempt(billing="maybe"), Attempt(billing=billing)]),
    )


def waited(
    error: OpenRouterError,
    retries: Retries | None = None,
    *,
    made: int = 1,
    remaining: float | None = None,
    chance: float = 0.5,
) -> float | None:
    return backoff(
        error, retries or Retries(), made=made, remaining=remaining, chance=chance
    )


@pytest.mark.parametrize(
    ("made", "longest"), [(1, 1.0), (2, 2.0), (3, 4.0), (4, 8.0), (5, 8.0), (99, 8.0)]
)
def test_waits_double_up_to_the_cap(made: int, longest: float) -> None:
    """The n-th wait is a share of base * 2**n, and of the cap at most."""
    retries = Retries(max_attempts=100)

    assert waited(failed(), retries, made=made, chance=0.0) == 0.0
    assert waited(failed(), retries, made=made, chance=0.5) == longest / 2
    assert waited(failed(), retries, made=made, chance=0.75) == longest * 0.75


def test_attempts_beyond_counting_still_wait() -> None:
    """A number of attempts whose power of two no float holds waits up to the cap."""
    retries = Retries(max_attempts=1_000_000)

    assert waited(failed(), retries, made=999_999) == 4.0


def test_the_wish_is_a_minimum_with_jitter_on_top() -> None:
    """Nobody comes back before the server said, and not all at once."""
    assert waited(failed(wish=2.0), chance=0.0) == 2.0
    assert waited(failed(wish=2.0), chance=0.5) == 2.5
    assert waited(failed(wish=0.0), chance=0.5) == 0.5
    assert waited(failed(wish=20.0), chance=0.999) == pytest.approx(20.999)


def test_a_wish_beyond_max_wait_raises_at_once() -> None:
    """A wait that is too long is the caller's to decide."""
    assert waited(failed(wish=60.0), chance=0.0) == 60.0
    assert waited(failed(wish=60.1)) is None
    assert waited(failed(wish=60.1), Retries(max_wait=61)) == pytest.approx(60.6)
    assert waited(failed(wish=0.1), Retries(max_wait=0)) is None


def test_a_wait_beyond_the_deadline_raises_at_once() -> None:
    """Nobody waits for an attempt that would have no time."""
    assert waited(failed(), remaining=0.6) == 0.5
    assert waited(failed(), remaining=0.5) is None
    assert waited(failed(wish=5.0), remaining=5.0) is None
    assert waited(failed(), remaining=0.0, chance=0.0) is None
    assert waited(failed(), remaining=-1.0) is None


def test_attempts_come_to_an_end() -> None:
    """`max_attempts` counts the first one; 1 sends exactly once."""
    assert waited(failed(), made=2) is not None
    assert waited(failed(), made=3) is None
    assert waited(failed(), Retries(max_attempts=1)) is None
    assert waited(failed(wish=1.0), Retries(max_attempts=1)) is None


def test_what_may_have_cost_is_sent_again_only_by_choice() -> None:
    """`ambiguous=True` opts in to what may have been billed, and to nothing else."""
    chosen = Retries(ambiguous=True)
    maybe = failed(retryable=False, billing="maybe")

    assert waited(maybe) is None
    assert waited(maybe, chosen) == 0.5
    for billed in ("not_accepted", "insured", "billed"):
        assert waited(failed(retryable=False, billing=billed), chosen) is None
        assert waited(failed(billing=billed), chosen) == 0.5
    assert waited(APIConnectionError("It broke."), chosen) == 0.5
    assert waited(MalformedResponseError("Empty."), chosen) == 0.5


@pytest.mark.parametrize("cls", [ClosedError, ConfigurationError])
def test_our_own_refusals_are_never_sent_again(cls: type[OpenRouterError]) -> None:
    """A closed client stays closed, and a missing key missing, whatever is opted in to."""
    error = cls("No.", http=Exchange(attempts=[Attempt(billing="maybe")]))

    assert waited(error, Retries(ambiguous=True)) is None


def test_errors_without_a_wish_have_none() -> None:
    """A connection that broke names no delay."""
    assert waited(APIConnectionError("No route.", retryable=True)) == 0.5
    assert waited(APIError("Busy.", status_code=503, retryable=True)) == 0.5


@pytest.mark.parametrize(("wish", "low", "high"), [(None, 0.0, 4.0), (3.0, 3.0, 7.0)])
def test_jitter_is_even(wish: float | None, low: float, high: float) -> None:
    """Of 10,000 waits each tenth of the range has its share, within a fifth."""
    chance = random.Random(20260110)
    retries = Retries(max_attempts=9)
    waits = [
        waited(failed(wish=wish), retries, made=3, chance=chance.random())
        for _ in range(10_000)
    ]

    counts = [0] * 10
    for wait in waits:
        assert wait is not None
        assert low <= wait < high
        counts[int((wait - low) / (high - low) * 10)] += 1
    assert sum(counts) == 10_000
    assert all(800 <= count <= 1200 for count in counts)


# --- how often, in all -----------------------------------------------------------


def repeats(budget: RetryBudget, now: float, share: float, tries: int) -> int:
    return sum(budget.try_retry(now, share) for _ in range(tries))


def test_ten_repeats_are_free() -> None:
    """A client that sends little may repeat ten times in ten seconds."""
    budget = RetryBudget()

    assert repeats(budget, 0.0, 0.0, 25) == 10
    assert repeats(budget, 9.99, 0.0, 25) == 0
    assert repeats(budget, 10.0, 0.0, 25) == 10


def test_a_share_of_the_first_attempts_may_be_repeated() -> None:
    """A hundred first attempts allow ten repeats more at a share of a tenth."""
    budget = RetryBudget()
    for _ in range(100):
        budget.record_call(5.0)

    assert repeats(budget, 5.0, 0.1, 50) == 20
    assert repeats(budget, 5.0, 0.5, 50) == 40


def test_old_attempts_are_forgotten() -> None:
    """Only the last ten seconds count, to the moment."""
    budget = RetryBudget()
    for second in range(20):
        for _ in range(10):
            budget.record_call(float(second))

    # 10.0 to 19.0 are within ten seconds of 19.9: a hundred.
    assert repeats(budget, 19.9, 0.1, 50) == 20
    # At 29.0 even the last of them are ten seconds old.
    assert repeats(budget, 29.0, 0.1, 50) == 0
    assert repeats(budget, 29.9, 0.1, 50) == 10


@given(
    steps=st.lists(st.tuples(st.floats(0, 3), st.booleans()), min_size=1, max_size=120),
    share=st.floats(0, 1),
)
def test_the_budget_is_exact(steps: list[tuple[float, bool]], share: float) -> None:
    """In any ten seconds there are at most 10 repeats and the share, and no fewer."""
    budget = RetryBudget()
    now = 0.0
    firsts: list[float] = []
    granted: list[float] = []
    for step, first in steps:
        now += step
        if first:
            budget.record_call(now)
            firsts.append(now)
            continue
        room = 10 + share * sum(now - 10 < at for at in firsts)
        expected = sum(now - 10 < at for at in granted) + 1 <= room

        assert budget.try_retry(now, share) is expected
        if expected:
            granted.append(now)
