"""PublicError: the description of a failure that a browser may see."""

from collections.abc import Sequence
from typing import Final

from attrs import frozen

from ..errors import (
    APIError,
    APITimeoutError,
    AuthenticationError,
    BadRequestError,
    BudgetExceededError,
    ClosedError,
    ConfigurationError,
    EdgeTimeoutError,
    GatewayTimeoutError,
    OpenRouterError,
    PayloadTooLargeError,
    PaymentRequiredError,
    PermissionDeniedError,
    ProviderOverloadedError,
    RateLimitError,
    RequestTimeoutError,
    ToolRunTimeoutError,
    ToolTimeoutError,
    UnprocessableEntityError,
)
from ..types.shape import Value


@frozen(eq=False, repr=False)
class PublicError(Value):
    """
    A failure, described for the client of a web backend.

    Attributes:
        code: Kind of failure: "rate_limited", "timeout", "invalid_request", "refused",
            "unavailable", "internal", or a code of your own.
        message: A sentence for the user.
        status: HTTP status for a response that has not started yet.
        retryable: If True, the same request may succeed later.
        retry_after: Seconds to wait before that; None if they are unknown.
    """

    code: str
    message: str
    status: int = 500
    retryable: bool = False
    retry_after: float | None = None


_MESSAGES: Final = {
    "rate_limited": "There are too many requests at the moment. Please try again soon.",
    "timeout": "The response took too long. Please try again.",
    "invalid_request": "The request could not be processed.",
    "refused": "The request was refused.",
    "unavailable": "The service is unavailable at the moment.",
    "internal": "An internal error occurred.",
}

_Rule = tuple[tuple[type[BaseException], ...], str, int, bool]

# Classes of exceptions, with their code, their status and `retryable`. The first row
# whose classes match counts. A status of 0 stands for that of the exception.
_RULES: Final[Sequence[_Rule]] = (
    ((RateLimitError, ProviderOverloadedError), "rate_limited", 429, True),
    (
        (
            *(APITimeoutError, RequestTimeoutError, GatewayTimeoutError),
            *(EdgeTimeoutError, ToolRunTimeoutError, ToolTimeoutError),
        ),
        *("timeout", 504, True),
    ),
    (
        (BadRequestError, PayloadTooLargeError, UnprocessableEntityError),
        *("invalid_request", 0, False),
    ),
    ((PermissionDeniedError,), "refused", 403, False),
    # A client that is closed belongs to a process that is being replaced.
    ((ClosedError,), "unavailable", 503, True),
    # The account or the configuration of the backend: trying again does not help.
    (
        (
            *(AuthenticationError, PaymentRequiredError, ConfigurationError),
            BudgetExceededError,
        ),
        *("unavailable", 503, False),
    ),
    ((OpenRouterError,), "unavailable", 502, True),
    ((BaseException,), "internal", 500, False),
)


def public_error(error: BaseException) -> PublicError:
    """
    Return the description of an exception that a browser may see.

    It contains only a kind, a fixed sentence and the waiting time: no text of the
    exception or of the provider, no id, no key and no state of your account.
    """
    code, status, retryable = next(
        rule[1:]
        for rule in _RULES
        if isinstance(error, rule[0])  # pyright: ignore[reportUnnecessaryIsInstance]
    )
    wait: float | None = None
    if isinstance(error, APIError):
        status = status or error.status_code
        wait = error.retry_after if code == "rate_limited" else None
    elif isinstance(error, APITimeoutError) and error.phase == "pool":
        # Too many requests are in flight in this process; the upstream is not slow.
        status = 503
    return PublicError(code, _MESSAGES[code], status, retryable, wait)


def reader_timeout_error() -> PublicError:
    """Return the description of a relay that its reader left waiting too long."""
    return PublicError("timeout", _MESSAGES["timeout"], 504, retryable=True)
