"""The seconds that a server asks to wait, from every location that servers use."""

import re
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any, Final

_DIGITS: Final = r"[0-9]{1,15}(?:\.[0-9]{0,12})?"
_LONGEST_WISH: Final = 1e12
_LAST_MOMENT: Final = 1e15
_EPOCH_MILLISECONDS: Final = 1e11


def parse_retry_after(
    headers: Mapping[str, str], error: Mapping[str, Any], *, wall: float
) -> float | None:
    """
    Return the seconds that the server asks to wait; None if it does not.

    Args:
        headers: The reply's, with case-insensitive names.
        error: The envelope's `error` object; empty if there is none.
        wall: Seconds since the epoch, now.

    Source: the six places where OpenRouter and its providers put it, the most
    direct first.
    """
    metadata = _mapping(error.get("metadata"))
    inner = {str(k).lower(): v for k, v in _mapping(metadata.get("headers")).items()}
    wishes = (
        _delay(headers.get("Retry-After"), wall),
        _scaled(_seconds(headers.get("retry-after-ms")), 0.001),
        _seconds(_mapping(error.get("availability")).get("retry_after")),
        _seconds(metadata.get("retry_after_seconds_raw")),
        _seconds(metadata.get("retry_after_seconds")),
        _delay(inner.get("retry-after"), wall),
        _scaled(_seconds(inner.get("retry-after-ms")), 0.001),
        _until(inner.get("x-ratelimit-reset"), wall),
        _until(headers.get("X-RateLimit-Reset"), wall),
    )
    return next((wish for wish in wishes if wish is not None), None)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}  # pyright: ignore[reportUnknownVariableType]


def _seconds(value: Any, *, below: float = _LONGEST_WISH) -> float | None:
    """A number or its ASCII digits; not negative, not infinite, of sane length."""
    if isinstance(value, str):
        value = value.strip()
        if not re.fullmatch(_DIGITS, value):
            return None
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 <= value < below else None


def _scaled(seconds: float | None, factor: float) -> float | None:
    return None if seconds is None else seconds * factor


def _delay(value: Any, wall: float) -> float | None:
    """`Retry-After`: seconds, or an HTTP date, of which a past one is 0."""
    seconds = _seconds(value)
    if seconds is not None or not isinstance(value, str):
        return seconds
    try:
        date = parsedate_to_datetime(value)
        # A date without a zone is GMT; asctime's form has none (RFC 9110, 5.6.7).
        moment = (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
    return max(0.0, moment - wall)


def _until(value: Any, wall: float) -> float | None:
    """`X-RateLimit-Reset`: epoch milliseconds on this wire; seconds by convention."""
    moment = _seconds(value, below=_LAST_MOMENT)
    if moment is None:
        return None
    if moment >= _EPOCH_MILLISECONDS:
        moment /= 1000.0
    # What is no moment of this age is not one at all.
    return max(0.0, moment - wall) if moment > 1e9 else None
