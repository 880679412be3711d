"""What an error means for a run: a refusal, its end, or one row's bad luck."""

from typing import Final

from ..errors import (
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

ALIKE: Final = 20
"""So many rows that fail, and alike, before any has a reply, end a run."""


def is_overload(error: OpenRouterError) -> bool:
    """
    Return whether the server asks for less: it is no fault of the row.

    429, 529, a 503 of an overloaded provider or with a wait, and a 402 because too much
    money is in flight; each only if it is worth another try at all.
    """
    if not error.retryable:
        return False
    if isinstance(error, RateLimitError | ProviderOverloadedError):
        return True
    if isinstance(error, ServiceUnavailableError):
        named = error.retry_after is not None
        return named or error.error_type == "provider_overloaded"
    return isinstance(error, PaymentRequiredError)


def is_fatal(error: OpenRouterError) -> bool:
    """
    Return whether all other rows would fail alike: it is about the account.

    401 of OpenRouter itself, 402 that does not pass, OpenRouter's own cap that no
    waiting outlasts, no key, a closed client.
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
    Watches how a run begins: if the first rows all fail alike, the others will, too.

    Rows that had failed in an earlier run are no sign: they come first when all
    before them is done.
    """

    def __init__(self) -> None:
        self._likeness: tuple[str, int | None, str | None] | None = None
        self._alike = 0
        self._is_over = False

    def succeeded(self) -> None:
        """Note a reply: the others have a chance."""
        self._is_over = True

    def failed(self, error: OpenRouterError) -> bool:
        """Note a failure; return whether it is one too many."""
        if self._is_over:
            return False
        found = likeness(error)
        self._is_over = self._likeness not in (None, found)
        self._likeness = found
        self._alike += 1
        return self._alike == ALIKE and not self._is_over


def likeness(error: OpenRouterError) -> tuple[str, int | None, str | None]:
    """Return what two errors that are alike have in common."""
    status = error.status_code if isinstance(error, APIError) else None
    kind = error.error_type if isinstance(error, ChatError) else None
    return type(error).__name__, status, kind


def all_alike(error: OpenRouterError) -> BatchStoppedError:
    """Return what ends a run whose first rows all failed like this."""
    stopped = BatchStoppedError(
        f"The first {ALIKE} rows all failed alike: {error}",
        reason="repeated_failure",
        http=error.http,
    )
    stopped.__cause__ = error
    return stopped


def stalled(seconds: float, refusals: int) -> BatchStoppedError:
    """Return what ends a run that has been refused for so long."""
    return BatchStoppedError(
        f"Nothing but refusals for {seconds:.0f} s ({refusals} in all).",
        reason="stalled",
        hint="Started again with its journal, the run goes on.",
    )
