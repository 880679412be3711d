"""What a caller may set, and what is refused with a word why."""

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

CLOCKS = [field.name for field in attrs.fields(Timeouts)]
AMOUNTS = ["base", "cap", "max_wait", "budget"]
SIZES = ["event_bytes", "body_bytes", "error_bytes"]

NO_NUMBERS: list[Any] = [
    "10",
    b"1",
    True,
    False,
    [],
    {},
    1j,
    timedelta(seconds=1),
    object(),
]


def test_defaults_are_as_documented() -> None:
    """The defaults are those of the design."""
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
def test_each_default_has_its_reason(cls: type[Any]) -> None:
    """The docstring tells of every field."""
    documented = cls.__doc__ or ""

    for field in attrs.fields(cls):
        assert f"    {field.name}: " in documented


@pytest.mark.parametrize("name", CLOCKS)
def test_clocks_are_seconds_or_none(name: str) -> None:
    """A clock is a positive number of seconds, whole or not, or None."""
    for seconds in (0.001, 1, 3600.5, math.inf, None):
        assert getattr(Timeouts(**{name: seconds}), name) == seconds


@pytest.mark.parametrize("name", CLOCKS)
@pytest.mark.parametrize("bad", NO_NUMBERS, ids=repr)
def test_clocks_refuse_what_is_no_number(name: str, bad: Any) -> None:
    """Anything but a number is a TypeError that names the clock."""
    with pytest.raises(TypeError, match=rf"^{name} is seconds or None, not "):
        Timeouts(**{name: bad})


@pytest.mark.parametrize("name", CLOCKS)
@pytest.mark.parametrize("bad", [0, 0.0, -1, -0.5, math.nan, -math.inf])
def test_clocks_refuse_what_is_no_length(name: str, bad: float) -> None:
    """No time at all, or less, is a ValueError that says how to have no limit."""
    with pytest.raises(ValueError, match=rf"^{name} must be more than 0.* or None"):
        Timeouts(**{name: bad})


@pytest.mark.parametrize("name", AMOUNTS)
def test_amounts_are_numbers(name: str) -> None:
    """Waits and shares are numbers, 0 among them."""
    amount: Any
    for amount in (0, 0.0, 1, 0.25):
        assert getattr(Retries(**{name: amount}), name) == amount
    for amount in [*NO_NUMBERS, None]:
        with pytest.raises(TypeError, match=rf"^{name} is a number, not "):
            Retries(**{name: amount})
    for amount in (-1, -0.01, math.nan):
        with pytest.raises(ValueError, match=rf"^{name} must be 0 or more"):
            Retries(**{name: amount})


@pytest.mark.parametrize(
    ("cls", "name"),
    [(Retries, "max_attempts"), *((SizeLimits, size) for size in SIZES)],
)
def test_counts_are_whole_numbers(cls: type[Any], name: str) -> None:
    """Attempts and bytes are counted: whole numbers, 1 or more."""
    for count in (1, 2, 10**12):
        assert getattr(cls(**{name: count}), name) == count
    for bad in (*NO_NUMBERS, None, 1.0, 2.5, math.inf, math.nan):
        with pytest.raises(TypeError, match=rf"^{name} is a whole number, not "):
            cls(**{name: bad})
    for too_few in (0, -1):
        with pytest.raises(ValueError, match=rf"^{name} must be 1 or more"):
            cls(**{name: too_few})


@pytest.mark.parametrize("bad", ["no", "", 0, 1, None])
def test_ambiguous_is_a_bool(bad: Any) -> None:
    """What costs money is not opted in to by a word that is truthy."""
    assert Retries(ambiguous=True).ambiguous is True
    with pytest.raises(TypeError, match=r"^ambiguous is True or False, not "):
        Retries(ambiguous=bad)


@pytest.mark.parametrize("cls", [Timeouts, Retries, SizeLimits])
def test_options_are_frozen(cls: type[Any]) -> None:
    """Options never change under a call; they compare and hash by value."""
    value = cls()
    name = attrs.fields(cls)[0].name

    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        setattr(value, name, 5)
    assert value == cls()
    assert hash(value) == hash(cls())


def test_evolve_checks_again() -> None:
    """`attrs.evolve` changes one option, with the same checks."""
    assert attrs.evolve(Timeouts(), idle=5) == Timeouts(idle=5)
    assert attrs.evolve(Retries(cap=9), base=1) == Retries(cap=9, base=1)
    with pytest.raises(ValueError, match=r"^idle must be"):
        attrs.evolve(Timeouts(), idle=0)
    with pytest.raises(TypeError, match=r"^max_attempts is"):
        attrs.evolve(Retries(), max_attempts="3")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def test_unknown_options_are_refused() -> None:
    """A misspelt option is a TypeError, not silence."""
    options: dict[str, Any] = {"read": 5}

    with pytest.raises(TypeError, match="read"):
        Timeouts(**options)


async def test_a_clock_is_three_functions() -> None:
    """Time and chance are handed in together."""
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    clock = Clock(now=lambda: 7.0, sleep=sleep, random=lambda: 0.25)
    await clock.sleep(clock.now() * clock.random())

    assert slept == [1.75]


def test_an_exchange_starts_empty() -> None:
    """Nothing is known of a call that was not sent; two exchanges share nothing."""
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
def test_a_client_takes_options_only_as_what_they_are(options: dict[str, Any]) -> None:
    """A number for `Timeouts` is refused at once, not by the first call."""
    ((name, value),) = options.items()
    kind = name.capitalize()

    with pytest.raises(TypeError, match=rf"^{name} is a {kind}\(\.\.\.\), not {value}"):
        AsyncOpenRouter(**options)
