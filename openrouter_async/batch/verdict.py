"""What an error means for a run: a refusal, its end, or one row's bad luck."""

from ..errors import (
    APIError,
    AuthenticationError,
    ChatError,
    ClosedError,
    ConfigurationError,
    OpenRouterError,
    PaymentRequiredError,
    ProviderOverloadedError,
    RateLimitError,
    ServiceUnavailableError,
)


def is_refusal(error: OpenRouterError) -> bool:
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


def is_account(error: OpenRouterError) -> bool:
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


def likeness(error: OpenRouterError) -> tuple[str, int | None, str | None]:
    """Return what two errors that are alike have in common."""
    status = error.status_code if isinstance(error, APIError) else None
    kind = error.error_type if isinstance(error, ChatError) else None
    return type(error).__name__, status, kind
