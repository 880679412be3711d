"""Configuration: timeouts, retry rules, size limits, and the source of time."""

import math
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import attrs
from attrs import field, frozen

from .types.shape import Value

_MIB = 1024 * 1024


def _seconds(_instance: object, attribute: "attrs.Attribute[Any]", value: Any) -> None:
    """Accept a positive number of seconds, or None for no limit."""
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(
            f"{attribute.name} must be a number of seconds or None, not {value!r}."
        )
    if math.isnan(value) or value <= 0:
        raise ValueError(
            f"{attribute.name} must be more than 0 seconds, or None for no limit, "
            f"not {value!r}."
        )


def _amount(_instance: object, attribute: "attrs.Attribute[Any]", value: Any) -> None:
    """Accept a number of 0 or more."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{attribute.name} must be a number, not {value!r}.")
    if math.isnan(value) or value < 0:
        raise ValueError(f"{attribute.name} must be 0 or more, not {value!r}.")


def _count(_instance: object, attribute: "attrs.Attribute[Any]", value: Any) -> None:
    """Accept an integer of 1 or more."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{attribute.name} must be an integer, not {value!r}.")
    if value < 1:
        raise ValueError(f"{attribute.name} must be 1 or more, not {value!r}.")


def _flag(_instance: object, attribute: "attrs.Attribute[Any]", value: Any) -> None:
    """Accept True or False, but not other truthy values, such as "no"."""
    if not isinstance(value, bool):
        raise TypeError(f"{attribute.name} must be True or False, not {value!r}.")


@frozen(eq=False, repr=False)
class Timeouts(Value):
    """
    Time limits for the phases of a call in seconds; None means no limit.

    Attributes:
        pool: Each wait for a start: for a cooldown (`Retry-After`), for a permit of
            `concurrency` and for a free connection, together. In a cooldown, the
            refusal that caused it is raised in place of a timeout. Defaults to None:
            the request is not to blame for a full pool. All other timeouts start when
            the connection is available.
        connect: DNS, TCP and TLS together. 10: a host that has not answered by then is
            down.
        first_token: Until the first text, reasoning, refusal, tool call, image or audio
            of a stream; for a plain call, until the first byte of the body that is not
            white space. 600: reasoning models think for minutes, and the comments that
            OpenRouter sends meanwhile do not count.
        idle: Between two events of a stream that carry data; comments do not count.
            300.
        read: Between any two bytes of a response, including comments. 300: OpenRouter
            sends a comment every few seconds.
        total: All attempts and the waits between them, with cooldowns, but without
            waiting for a permit or a connection. Defaults to None: a long answer is not
            an error.
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
    Rules for retrying failed attempts.

    Attributes:
        max_attempts: Maximum number of attempts, 1 or more; 1 disables retries. 3: the
            default of the clients of OpenAI and Anthropic.
        base: Base of the backoff in seconds: the n-th wait is random between 0 and base
            * 2**n. 0.5.
        cap: Maximum backoff in seconds. A Retry-After header may ask for a longer wait.
            8.
        max_wait: Maximum Retry-After in seconds; a longer one raises the error at once,
            with `retry_after` set. It also limits the time in cooldowns, which other
            calls may have caused, between two attempts and before the first. 60: the
            caller decides about longer waits.
        ambiguous: If True, also retry requests that may have been accepted and billed:
            after a timeout, a new connection closed without a response, a truncated or
            empty body, or an empty completion. Defaults to False: OpenRouter has no
            idempotency key.
        budget: Retries per first attempt in any 10 seconds, in addition to 10; limits
            the load on a server that fails. 0.1: 10 %.
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
    Maximum sizes of responses held in memory, in bytes.

    Attributes:
        event_bytes: One event of a stream. 64 MiB: an event may contain a base64 image
            or song of 6 MB; ten times as much is a mistake.
        body_bytes: The body of a plain response, decompressed. 256 MiB: a body may
            contain several images.
        error_bytes: The body of an error; the rest is cut off. 1 MiB: the largest
            recorded one is 2 KiB.
    """

    event_bytes: int = field(default=64 * _MIB, validator=_count)
    body_bytes: int = field(default=256 * _MIB, validator=_count)
    error_bytes: int = field(default=_MIB, validator=_count)


class Cancellable(Protocol):
    """The handle of a scheduled function."""

    def cancel(self) -> None:
        """Do not call the function."""


@frozen(eq=False, repr=False)
class Clock(Value):
    """
    The source of time and random numbers, which tests replace.

    Attributes:
        now: Function that returns monotonic time in seconds. Timeouts are measured
            with it.
        sleep: Coroutine function that waits for a number of seconds.
        random: Function that returns a random number from 0 up to, but not including,
            1.
        call_later: Function that calls another one after a number of seconds, and
            returns a handle with `cancel()`. Timeouts are checked with it. None: the
            `call_later` of the event loop.
    """

    now: Callable[[], float]
    sleep: Callable[[float], Awaitable[object]]
    random: Callable[[], float]
    call_later: Callable[[float, Callable[[], object]], Cancellable] | None = None
