"""Retry-After: how long a server asks to wait, from every location that servers use."""

import re
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any, Final

from .decode import as_object

_NUMBER: Final = r"[0-9]{1,15}(?:\.[0-9]{0,12})?"
# Longer values are errors of the server, not delays.
_MAX_SECONDS: Final = 1e12
_MAX_EPOCH: Final = 1e15
# Epoch values from here on are milliseconds; as seconds they would be the year 5138.
_MIN_EPOCH_MILLISECONDS: Final = 1e11
# Smaller epoch values (before September 2001) are durations, or nonsense.
_MIN_EPOCH_SECONDS: Final = 1e9


def parse_retry_after(
    headers: Mapping[str, str], error: Mapping[str, Any], *, wall_time: float
) -> float | None:
    """
    Return the seconds that a server asks to wait, or None if it names no wait.

    Args:
        headers: The headers of the response, with case-insensitive names.
        error: The `error` object of the body; empty if there is none.
        wall_time: The current time, in seconds since the epoch.
    """
    metadata = as_object(error.get("metadata"))
    upstream = {
        name.lower(): value
        for name, value in as_object(metadata.get("headers")).items()
    }
    # From the most direct to the least: the headers of the response, the fields of
    # the error body, the headers that a provider sent to OpenRouter. A reset time is
    # the end of a rate limit's window rather than a wait, so it comes last.
    locations = (
        _delay(headers.get("Retry-After"), wall_time),
        _milliseconds(headers.get("retry-after-ms")),
        _seconds(as_object(error.get("availability")).get("retry_after")),
        _seconds(metadata.get("retry_after_seconds_raw")),
        _seconds(metadata.get("retry_after_seconds")),
        _delay(upstream.get("retry-after"), wall_time),
        _milliseconds(upstream.get("retry-after-ms")),
        _until(upstream.get("x-ratelimit-reset"), wall_time),
        _until(headers.get("X-RateLimit-Reset"), wall_time),
    )
    return next((seconds for seconds in locations if seconds is not None), None)


def _seconds(value: Any, *, below: float = _MAX_SECONDS) -> float | None:
    """Return a number, or one in ASCII digits; None if it is negative or too large."""
    if isinstance(value, str):
        value = value.strip()
        if not re.fullmatch(_NUMBER, value):
            return None
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 <= value < below else None


def _milliseconds(value: Any) -> float | None:
    milliseconds = _seconds(value)
    return None if milliseconds is None else milliseconds * 0.001


def read_date(value: str) -> float | None:
    """Return the Unix time of an HTTP date; None if it is not one."""
    try:
        date = parsedate_to_datetime(value)
        # A date without a zone is GMT; the asctime form has none (RFC 9110, 5.6.7).
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None


def _delay(value: Any, wall_time: float) -> float | None:
    """Parse `Retry-After`: seconds, or an HTTP date; a date in the past is 0."""
    seconds = _seconds(value)
    if seconds is not None or not isinstance(value, str):
        return seconds
    epoch = read_date(value)
    return None if epoch is None else max(0.0, epoch - wall_time)


def _until(value: Any, wall_time: float) -> float | None:
    """Parse `X-RateLimit-Reset`: OpenRouter sends milliseconds, others seconds."""
    epoch = _seconds(value, below=_MAX_EPOCH)
    if epoch is None:
        return None
    if epoch >= _MIN_EPOCH_MILLISECONDS:
        epoch /= 1000.0
    return max(0.0, epoch - wall_time) if epoch > _MIN_EPOCH_SECONDS else None
