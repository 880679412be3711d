"""Connection errors that mean that the machine is overloaded."""

import errno

import pytest

from openrouter_async import APIConnectionError
from openrouter_async.protocol.overload import is_overload


def failed(cause: BaseException) -> APIConnectionError:
    error = APIConnectionError("No connection.", retryable=True)
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    "number", [errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL, errno.ENOBUFS]
)
def test_error_of_an_exhausted_machine_is_overload(number: int) -> None:
    cause = OSError(number, "exhausted")
    outer = RuntimeError("outer")
    outer.__cause__ = cause

    assert is_overload(failed(cause))
    assert is_overload(failed(outer))
    assert is_overload(failed(ExceptionGroup("all", [OSError(111, "no"), cause])))


def test_connection_error_of_another_kind_is_not_overload() -> None:
    assert not is_overload(APIConnectionError("No connection.", retryable=True))
    refused = OSError(errno.ECONNREFUSED, "refused")
    assert not is_overload(failed(refused))
    assert not is_overload(failed(ExceptionGroup("all", [refused])))
