"""
Errors as a run sees them: overload, a fatal problem of the account, or one bad row.

- Overload (`is_overload`): the row waits and is sent again, without using up its
  attempts, and the concurrency limit is reduced.
- Fatal (`is_fatal`): every other row would fail too, so the run stops.
- Anything else fails the row alone, unless it is the error of each of the first rows
  (`RepeatedFailures`).
"""

import copy
import errno
from typing import Final, TypeGuard, cast

from ..errors import (
    APIConnectionError,
    APIError,
    AuthenticationError,
    BatchStoppedError,
    ChatError,
    ClosedError,
    ConfigurationError,
    OpenRouterError,
    PaymentRequiredError,
    ProviderOverloadedError,
    RateLimitError,
    ServiceUnavailableError,
)
from ..types import Exchange

# Enough to be no coincidence, few enough to cost little.
_MAX_REPEATED: Final = 20


_LOCAL_LIMITS: Final = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL, errno.ENOBUFS}
)
"""Errors of a machine that cannot open another connection."""


def is_local_limit(error: BaseException) -> bool:
    """
    Return True if this machine, not the server, cannot send another request now.

    It has no file descriptor, local port or buffer left, and nothing was sent. Requests
    that end release theirs.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in _LOCAL_LIMITS:
            return True
        # OSErrors of several addresses are collected in a group.
        if isinstance(cause, BaseExceptionGroup):
            group = cast("BaseExceptionGroup[BaseException]", cause)
            return any(map(is_local_limit, group.exceptions))
        cause = cause.__cause__
    return False


def is_overload(error: OpenRouterError) -> bool:
    """
    Return True if the server or this machine cannot take as many requests now.

    These are, if they can be retried at all:

    1. 429, and 529 (a provider is overloaded);
    2. 503 with `Retry-After`, or of type "provider_overloaded". Any other 503 means
       that no provider matches the request;
    3. 402, if the credits are merely reserved by requests in flight;
    4. a connection that this machine had no descriptor, port or buffer for.
    """
    if not error.retryable:
        return False
    if isinstance(error, APIConnectionError):
        return is_local_limit(error)
    return is_server_overload(error) or isinstance(error, PaymentRequiredError)


def is_server_overload(error: BaseException) -> TypeGuard[ChatError]:
    """
    Return True if the server refuses requests for now, also to other callers.

    These are 429 and 529, and 503 with `Retry-After` or of type "provider_overloaded".
    If the error names a wait, it starts a cooldown for all calls. A 402 depends on the
    size of one request, and ends when other requests do.
    """
    if isinstance(error, RateLimitError | ProviderOverloadedError):
        return True
    if isinstance(error, ServiceUnavailableError):
        has_wait = error.retry_after is not None
        return has_wait or error.error_type == "provider_overloaded"
    return False


def named_wait(error: BaseException) -> float | None:
    """Return the seconds that a server asks to wait; None if it names no wait."""
    return (error.retry_after or None) if isinstance(error, APIError) else None


def unsent(refusal: APIError, left: float, bound: str) -> APIError:
    """
    Return the error of a call that was not sent because another one was refused.

    Args:
        refusal: The error of the call that was refused.
        left: Seconds until the cooldown ends, for `retry_after`.
        bound: The bound of the wait, such as "Timeouts.pool", for the hint.
    """
    error = copy.copy(refusal)
    error.http = Exchange()
    error.generation_id = None
    error.partial = None
    error.retry_after = left
    error.hint = (
        "The request was not sent: the server refused another call and asked to wait "
        f"({left:.1f} s are left), which takes longer than {bound} allows."
    )
    return error


def is_fatal(error: OpenRouterError) -> bool:
    """
    Return True if every other row would fail in the same way.

    These are:

    1. 401 from OpenRouter itself, not from a provider (a user's own provider key);
    2. 402 that cannot be retried: no credits are left;
    3. 429 from OpenRouter itself that cannot be retried, such as a daily limit;
    4. a missing key, or a closed client.
    """
    if isinstance(error, AuthenticationError):
        return error.provider_name is None
    if isinstance(error, RateLimitError):
        return not error.retryable and error.provider_name is None
    if isinstance(error, PaymentRequiredError):
        return not error.retryable
    return isinstance(error, ConfigurationError | ClosedError)


class RepeatedFailures:
    """
    Detects that the first rows of a run all fail in the same way.

    Rows that failed in an earlier run must not be counted: they come first when all
    rows before them are skipped, and say nothing about the others.
    """

    def __init__(self) -> None:
        self._kind: tuple[str, int | None, str | None] | None = None
        self._count = 0
        self._is_over = False

    def succeeded(self) -> None:
        """Record a row that succeeded; from then on nothing is detected."""
        self._is_over = True

    def failed(self, error: OpenRouterError) -> bool:
        """Record a row that failed; return True if the run should stop."""
        if self._is_over:
            return False
        kind = kind_of(error)
        self._is_over = self._kind not in (None, kind)
        self._kind = kind
        self._count += 1
        return self._count == _MAX_REPEATED and not self._is_over


def kind_of(error: OpenRouterError) -> tuple[str, int | None, str | None]:
    """Return the class, the status and the `error_type` of an error."""
    status = error.status_code if isinstance(error, APIError) else None
    error_type = error.error_type if isinstance(error, ChatError) else None
    return type(error).__name__, status, error_type


def repeated_failure(error: OpenRouterError) -> BatchStoppedError:
    """Return the error that ends a run whose first rows all failed with `error`."""
    stopped = BatchStoppedError(
        f"The first {_MAX_REPEATED} rows all failed with the same error: {error}",
        reason="repeated_failure",
        http=error.http,
    )
    stopped.__cause__ = error
    return stopped


def stalled(seconds: float, refusals: int) -> BatchStoppedError:
    """Return the error that ends a run whose requests were refused for `seconds`."""
    return BatchStoppedError(
        f"The server refused every request for {seconds:.0f} s "
        f"({refusals} refusals in total).",
        reason="stalled",
        hint="Run it again later; with a journal, it continues where it stopped.",
    )
