import pytest

from openrouter_async import (
    APIConnectionError,
    APIError,
    APITimeoutError,
    ChatError,
    ClosedError,
    ConfigurationError,
    MalformedResponseError,
    OpenRouterError,
    StreamInterruptedError,
    ToolTimeoutError,
)
from openrouter_async.errors import (
    STATUS_CLASSES,
    BudgetExceededError,
    Phase,
    status_class,
)
from openrouter_async.relay import PublicError, public_error

SECRET = "sk-or-v1-secret gen-1-secret Provider"


def of_status(status: int, retry_after: float | None = None) -> APIError:
    return status_class(status, envelope=True)(
        SECRET, status_code=status, retry_after=retry_after
    )


STATUSES = {
    400: ("invalid_request", 400, False),
    401: ("unavailable", 503, False),
    402: ("unavailable", 503, False),
    403: ("refused", 403, False),
    404: ("unavailable", 502, True),
    408: ("timeout", 504, True),
    412: ("unavailable", 502, True),
    413: ("invalid_request", 413, False),
    418: ("unavailable", 502, True),
    422: ("invalid_request", 422, False),
    429: ("rate_limited", 429, True),
    500: ("unavailable", 502, True),
    502: ("unavailable", 502, True),
    503: ("unavailable", 502, True),
    504: ("timeout", 504, True),
    524: ("timeout", 504, True),
    529: ("rate_limited", 429, True),
}


def short(public: PublicError) -> tuple[str, int, bool]:
    return public.code, public.status, public.retryable


def test_every_documented_status_is_in_the_table() -> None:
    assert STATUS_CLASSES.keys() - STATUSES.keys() == set()


@pytest.mark.parametrize("status", STATUSES)
def test_status_has_its_code(status: int) -> None:
    public = public_error(of_status(status))

    assert short(public) == STATUSES[status]
    assert "secret" not in repr(public)
    assert public.message.endswith(".")


@pytest.mark.parametrize(("status", "wait"), [(429, 2.5), (529, 2.5), (503, None)])
def test_waiting_time_is_that_of_a_rate_limit(status: int, wait: float | None) -> None:
    assert public_error(of_status(status, 2.5)).retry_after == wait


@pytest.mark.parametrize(
    ("phase", "status"), [("pool", 503), ("first_token", 504), ("total", 504)]
)
def test_timeout_in_the_queue_is_that_of_the_backend(phase: Phase, status: int) -> None:
    public = public_error(APITimeoutError(SECRET, phase=phase, seconds=1))

    assert short(public) == ("timeout", status, True)


@pytest.mark.parametrize(
    ("error", "described"),
    [
        (ConfigurationError(SECRET), ("unavailable", 503, False)),
        (ClosedError(SECRET), ("unavailable", 503, True)),
        (
            BudgetExceededError(SECRET, limit=1, spent=1, estimate=0.1),
            ("unavailable", 503, False),
        ),
        (
            ToolTimeoutError(SECRET, tool="secret", seconds=1),
            ("timeout", 504, True),
        ),
        (APIConnectionError(SECRET), ("unavailable", 502, True)),
        (StreamInterruptedError(SECRET), ("unavailable", 502, True)),
        (MalformedResponseError(SECRET), ("unavailable", 502, True)),
        (OpenRouterError(SECRET), ("unavailable", 502, True)),
        (ChatError(SECRET, status_code=302), ("unavailable", 502, True)),
        (ValueError(SECRET), ("internal", 500, False)),
        (TimeoutError(SECRET), ("internal", 500, False)),
    ],
)
def test_other_exceptions_have_their_code(
    error: Exception, described: tuple[str, int, bool]
) -> None:
    public = public_error(error)

    assert short(public) == described
    assert "secret" not in repr(public)
