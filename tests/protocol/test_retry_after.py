"""parse_retry_after: every location and format that servers use."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from multidict import CIMultiDict

from openrouter_async.protocol.retry_after import parse_retry_after

WALL = 1_800_000_000.0
"""The current time in all tests: 2027-01-15 08:00:00 GMT."""


def parse(
    headers: Mapping[str, Any] | None = None, error: Mapping[str, Any] | None = None
) -> float | None:
    return parse_retry_after(CIMultiDict(headers or {}), error or {}, wall_time=WALL)


def date_in(seconds: float) -> datetime:
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
    format_datetime(date_in(30), usegmt=True): 30.0,
    format_datetime(date_in(-30), usegmt=True): 0.0,
    date_in(30).strftime(ASCTIME): 30.0,
    date_in(30).strftime("%A, %d-%b-%y %H:%M:%S GMT"): 30.0,
    "Thu, 01 Jan 1970 00:00:00 GMT": 0.0,
    "Fri, 31 Dec 9999 23:59:59 GMT": 253402300799 - WALL,
    # not a delay
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
def test_retry_after_is_seconds_or_an_http_date(
    name: str, text: str, seconds: float | None
) -> None:
    assert parse({name: text}) == seconds
    assert parse(error={"metadata": {"headers": {name: text}}}) == seconds


@pytest.mark.parametrize("hours", [-8, 0, 5.5])
def test_date_may_be_in_any_time_zone(hours: float) -> None:
    date = date_in(45).astimezone(timezone(timedelta(hours=hours)))

    assert parse({"Retry-After": format_datetime(date)}) == 45.0


@pytest.mark.parametrize(("value", "seconds"), NUMBERS.items(), ids=repr)
def test_body_fields_are_numbers_or_digits(value: Any, seconds: float | None) -> None:
    assert parse(error={"availability": {"retry_after": value}}) == seconds
    assert parse(error={"metadata": {"retry_after_seconds": value}}) == seconds
    assert parse(error={"metadata": {"retry_after_seconds_raw": value}}) == seconds
    assert parse(error={"metadata": {"headers": {"Retry-After": value}}}) == seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1500", 1.5), ("0", 0.0), ("250.5", 0.2505), ("-1", None), ("soon", None)],
)
def test_retry_after_ms_is_read_from_both_headers(
    text: str, seconds: float | None
) -> None:
    expected = seconds if seconds is None else pytest.approx(seconds)

    assert parse({"Retry-After-MS": text}) == expected
    assert parse(error={"metadata": {"headers": {"Retry-After-Ms": text}}}) == expected


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
def test_rate_limit_reset_is_epoch_milliseconds_or_seconds(
    value: Any, seconds: float | None
) -> None:
    inner = {"metadata": {"headers": {"X-RateLimit-Reset": value}}}

    expected = seconds if seconds is None else pytest.approx(seconds)
    assert parse(error=inner) == expected
    if isinstance(value, str):
        assert parse({"x-ratelimit-reset": value}) == expected


def test_most_direct_location_wins() -> None:
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

    waits: list[float | None] = []
    for location, name in [
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
        waits.append(parse(headers, error))
        del location[name]

    assert waits == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]
    assert parse(headers, error) is None


@pytest.mark.parametrize("value", [None, "x", 1, [], [1], True, {"headers": "x"}])
def test_body_of_unexpected_types_has_no_wait(value: Any) -> None:
    assert parse(error={"metadata": value, "availability": value}) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)
HEADER_VALUES = (
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
    texts=st.lists(HEADER_VALUES, min_size=10, max_size=10),
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
def test_random_header_gives_no_wait_or_a_valid_one(
    texts: list[str], name: str
) -> None:
    for text in texts:
        outer = parse({name: text, "X-RateLimit-Reset": text})
        inner = parse(error={"metadata": {"headers": {name: text}}})

        assert outer is None or 0 <= outer < 1e12
        assert inner is None or 0 <= inner < 1e12


@given(value=JSON)
def test_random_body_gives_no_wait_or_a_valid_one(value: Any) -> None:
    headers = {"retry-after": value, "x-ratelimit-reset": value}
    errors: list[dict[str, Any]] = [
        {"metadata": value, "availability": value},
        {"metadata": {"headers": value, "retry_after_seconds": value}},
        {"metadata": {"headers": headers}, "availability": {"retry_after": value}},
    ]

    for error in errors:
        found = parse(error=error)
        assert found is None or 0 <= found < 1e12
