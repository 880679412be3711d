"""Configuration classes: defaults, validation, immutability."""

import math
from datetime import timedelta
from typing import Any

import attrs
import pytest

from openrouter_async import AsyncOpenRouter
from openrouter_async.config import (
    Clock,
    Retries,
    SizeLimits,
    Timeouts,
)
from openrouter_async.types import Attempt, Exchange, Timings

TIMEOUTS = [field.name for field in attrs.fields(Timeouts)]
AMOUNTS = ["base", "cap", "max_wait", "budget"]
SIZES = ["event_bytes", "body_bytes", "error_bytes"]

NOT_NUMBERS: list[Any] = [
    "10",
    b"1",
    True,
    False,
    [],
    {},
    1j,
    timedelta(seconds=1),
    ...,
]


def test_defaults_are_as_designed() -> None:
    assert Timeouts() == Timeouts(
        pool=None, connect=10, first_token=600, idle=300, read=300, total=None
    )
    assert Retries() == Retries(
        max_attempts=3, base=0.5, cap=8, max_wait=60, ambiguous=False, budget=0.1
    )
    assert SizeLimits() == SizeLimits(
        event_bytes=67_108_864, body_bytes=268_435_456, error_bytes=1_048_576
    )


@pytest.mark.parametrize("cls", [Timeouts, Retries, SizeLimits])
def test_docstring_describes_every_field(cls: type[Any]) -> None:
    documented = cls.__doc__ or ""

    for field in attrs.fields(cls):
        assert f"    {field.name}: " in documented


@pytest.mark.parametrize("name", TIMEOUTS)
def test_timeout_accepts_positive_seconds_and_none(name: str) -> None:
    for seconds in (0.001, 1, 3600.5, math.inf, None):
        assert getattr(Timeouts(**{name: seconds}), name) == seconds


@pytest.mark.parametrize("name", TIMEOUTS)
@pytest.mark.parametrize("bad", NOT_NUMBERS, ids=repr)
def test_timeout_rejects_values_that_are_not_numbers(name: str, bad: Any) -> None:
    with pytest.raises(
        TypeError, match=rf"^{name} must be a number of seconds or None, not "
    ):
        Timeouts(**{name: bad})


@pytest.mark.parametrize("name", TIMEOUTS)
@pytest.mark.parametrize("bad", [0, 0.0, -1, -0.5, math.nan, -math.inf])
def test_timeout_rejects_zero_negative_and_nan(name: str, bad: float) -> None:
    with pytest.raises(ValueError, match=rf"^{name} must be more than 0.* or None"):
        Timeouts(**{name: bad})


@pytest.mark.parametrize("name", AMOUNTS)
def test_retry_amount_accepts_numbers_of_zero_or_more(name: str) -> None:
    amount: Any
    for amount in (0, 0.0, 1, 0.25):
        assert getattr(Retries(**{name: amount}), name) == amount
    for amount in [*NOT_NUMBERS, None]:
        with pytest.raises(TypeError, match=rf"^{name} must be a number, not "):
            Retries(**{name: amount})
    for amount in (-1, -0.01, math.nan):
        with pytest.raises(ValueError, match=rf"^{name} must be 0 or more"):
            Retries(**{name: amount})


@pytest.mark.parametrize(
    ("cls", "name"),
    [(Retries, "max_attempts"), *((SizeLimits, size) for size in SIZES)],
)
def test_count_accepts_integers_of_one_or_more(cls: type[Any], name: str) -> None:
    for count in (1, 2, 10**12):
        assert getattr(cls(**{name: count}), name) == count
    for bad in (*NOT_NUMBERS, None, 1.0, 2.5, math.inf, math.nan):
        with pytest.raises(TypeError, match=rf"^{name} must be an integer, not "):
            cls(**{name: bad})
    for too_few in (0, -1):
        with pytest.raises(ValueError, match=rf"^{name} must be 1 or more"):
            cls(**{name: too_few})


@pytest.mark.parametrize("bad", ["no", "", 0, 1, None])
def test_ambiguous_rejects_truthy_values(bad: Any) -> None:
    """Paying twice is not enabled by a mistake."""
    assert Retries(ambiguous=True).ambiguous is True
    with pytest.raises(TypeError, match=r"^ambiguous must be True or False, not "):
        Retries(ambiguous=bad)


@pytest.mark.parametrize("cls", [Timeouts, Retries, SizeLimits])
def test_options_are_immutable_and_compare_by_value(cls: type[Any]) -> None:
    value = cls()
    name = attrs.fields(cls)[0].name

    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        setattr(value, name, 5)
    assert value == cls()
    assert hash(value) == hash(cls())


def test_evolve_validates_the_new_value() -> None:
    assert attrs.evolve(Timeouts(), idle=5) == Timeouts(idle=5)
    assert attrs.evolve(Retries(cap=9), base=1) == Retries(cap=9, base=1)
    with pytest.raises(ValueError, match=r"^idle must be"):
        attrs.evolve(Timeouts(), idle=0)
    with pytest.raises(TypeError, match=r"^max_attempts must be"):
        attrs.evolve(Retries(), max_attempts="3")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def test_unknown_option_is_rejected() -> None:
    options: dict[str, Any] = {"wait": 5}

    with pytest.raises(TypeError, match="wait"):
        Timeouts(**options)


async def test_now_sleep_and_random_are_called_as_given() -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    clock = Clock(now=lambda: 7.0, sleep=sleep, random=lambda: 0.25)
    await clock.sleep(clock.now() * clock.random())

    assert slept == [1.75]


def test_exchanges_start_empty_and_share_nothing() -> None:
    one, two = Exchange(), Exchange()

    one.attempts.append(Attempt())
    headers: Any = one.headers
    headers["X-A"] = "b"

    assert two == Exchange(
        status=None, generation_id=None, attempts=[], timings=Timings()
    )
    assert one.headers["x-a"] == "b"
    assert Attempt() == Attempt(None, None, 0.0, None, "maybe")


@pytest.mark.parametrize(
    "options",
    [{"timeouts": 5}, {"retries": 3}, {"size_limits": 1024}, {"retries": None}],
)
def test_client_rejects_options_of_another_type(options: dict[str, Any]) -> None:
    """At once, not in the first call."""
    ((name, value),) = options.items()
    kind = name.title().replace("_", "")
    message = rf"^{name} must be a {kind}\(\.\.\.\), not {value}"

    with pytest.raises(TypeError, match=message):
        AsyncOpenRouter(**options)
