"""What a caller may set: clocks, repeats, limits of size."""

import math
from collections.abc import Awaitable, Callable
from typing import Any

import attrs
from attrs import field, frozen

from .types.shape import Value

_MIB = 1024 * 1024


def _seconds(_instance: object, attribute: "attrs.Attribute[Any]", value: Any) -> None:
    """Refuse what is no length of time; None, "no limit", is one."""
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{attribute.name} is seconds or None, not {value!r}.")
    if math.isnan(value) or value <= 0:
        raise ValueError(
            f"{attribute.name} must be more than 0 seconds, or None for no limit; "
            f"got {value!r}."
        )


def _amount(_instance: object, attribute: "attrs.Attribute[Any]", value: Any) -> None:
    """Refuse what is no number, or less than 0."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{attribute.name} is a number, not {value!r}.")
    if math.isnan(value) or value < 0:
        raise ValueError(f"{attribute.name} must be 0 or more; got {value!r}.")


def _count(_instance: object, attribute: "attrs.Attribute[Any]", value: Any) -> None:
    """Refuse what is no whole number, or less than 1."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{attribute.name} is a whole number, not {value!r}.")
    if value < 1:
        raise ValueError(f"{attribute.name} must be 1 or more; got {value!r}.")


def _flag(_instance: object, attribute: "attrs.Attribute[Any]", value: Any) -> None:
    """Refuse what is only truthy: "no" would be."""
    if not isinstance(value, bool):
        raise TypeError(f"{attribute.name} is True or False, not {value!r}.")


@frozen(eq=False, repr=False)
class Timeouts(Value):
    """
    How long each part of a call may take, in seconds; None is no limit.

    Attributes:
        pool: Waiting for a free connection slot. No limit: a full pool is no
            fault of the request. All other clocks start when the slot is granted.
        connect: DNS, TCP and TLS together. 10: a host that does not answer by
            then will not.
        first_token: To the first content, reasoning, refusal, tool call, image or
            audio; of a plain call, to the first byte of the body that is no white
            space. 600: reasoning models think for minutes, and OpenRouter sends
            comments meanwhile, which do not count.
        idle: Between the data events of a stream; comments do not count. 300.
        read: No byte at all, comments and white space included: of a stream
            once its headers are in, of any other body after its first byte. 300:
            OpenRouter sends a comment every few seconds.
        total: All attempts and the waits between them, queueing left out. No
            limit: a long answer is no fault.
    """

    pool: float | None = field(default=None, validator=_seconds)
    connect: float | None = field(default=10.0, validator=_seconds)
    first_token: float | None = field(default=600.0, validator=_seconds)
    idle: float | None = field(default=300.0, validator=_seconds)
    read: float | None = field(default=300.0, validator=_seconds)
    total: float | None = field(default=None, validator=_seconds)


@frozen(eq=False, repr=False)
class Retries(Value):
    """
    Whether and when a failed attempt is made again.

    Attributes:
        max_attempts: Attempts in all, 1 or more; 1 sends exactly once. 3: what
            OpenAI's and Anthropic's clients settled on.
        base: Seconds; the n-th wait is random between 0 and base * 2**n. 0.5.
        cap: Seconds; the longest wait that the server did not ask for. 8.
        max_wait: Seconds; a longer wish of the server raises at once, with
            `retry_after` on the error. 60: longer than that, the caller decides.
        ambiguous: Also send again what may have been accepted and billed: silence,
            a fresh connection that ends without a byte, a cut or empty body, an
            empty completion. Off: OpenRouter has no idempotency key.
        budget: Repeats allowed per first attempt in any 10 seconds, on top of
            ten; keeps a sick upstream from being hammered. 0.1: ten per cent.
    """

    max_attempts: int = field(default=3, validator=_count)
    base: float = field(default=0.5, validator=_amount)
    cap: float = field(default=8.0, validator=_amount)
    max_wait: float = field(default=60.0, validator=_amount)
    ambiguous: bool = field(default=False, validator=_flag)
    budget: float = field(default=0.1, validator=_amount)


@frozen(eq=False, repr=False)
class SizeLimits(Value):
    """
    How much of a reply is held in memory, in bytes.

    Attributes:
        event_bytes: One event of a stream. 64 MiB: one event may hold a whole
            base64 song or image of 6 MB, and ten times that is no accident.
        body_bytes: One plain reply, after decompression. 256 MiB: several images
            come in one body.
        error_bytes: The body of an error; what is beyond is cut. 1 MiB: the
            largest recorded is 2 KiB.
    """

    event_bytes: int = field(default=64 * _MIB, validator=_count)
    body_bytes: int = field(default=256 * _MIB, validator=_count)
    error_bytes: int = field(default=_MIB, validator=_count)


@frozen(eq=False, repr=False)
class Clock(Value):
    """
    Where time and chance come from; tests bring their own.

    Attributes:
        now: Seconds that never run backwards.
        sleep: Waits that many seconds.
        random: A number from 0 up to, not including, 1.
    """

    now: Callable[[], float]
    sleep: Callable[[float], Awaitable[object]]
    random: Callable[[], float]
