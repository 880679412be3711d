"""The libraries that only some runs need; `openrouter_async[batch]` installs them."""

import importlib
from typing import Any, Protocol, cast

from .errors import ConfigurationError


class Limiter(Protocol):
    """What is used of aiolimiter's AsyncLimiter."""

    async def acquire(self, amount: float = 1) -> None:
        """Wait until another one may pass."""


class Lock(Protocol):
    """What is used of filelock's FileLock."""

    def acquire(self, timeout: float | None = None) -> object:
        """Take it."""

    def release(self) -> None:
        """Give it back."""


def make_limiter(per_minute: float) -> Limiter:
    """
    Return a limiter by aiolimiter, evenly paced: bursts are a tenth of a second's.

    Raises:
        ConfigurationError: The library is not installed.
    """
    # The bucket's size comes on top of the rate in any minute, so it is kept small.
    burst = max(1.0, per_minute / 600.0)
    limiter = _load("aiolimiter", "rpm").AsyncLimiter(burst, 60.0 * burst / per_minute)
    return cast("Limiter", limiter)


def make_lock(path: str) -> tuple[Lock, type[Exception]]:
    """
    Return a lock by filelock, and what it raises when somebody else has it.

    Raises:
        ConfigurationError: The library is not installed.
    """
    library = _load("filelock", "journal")
    return cast("Lock", library.FileLock(path)), library.Timeout


def _load(name: str, option: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        raise ConfigurationError(
            f"{option}= needs {name}, which is not installed: "
            "pip install 'openrouter_async[batch]'"
        ) from None
