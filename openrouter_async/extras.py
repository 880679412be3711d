"""Optional dependencies: import one, or say which extra installs it."""

import importlib
from types import ModuleType

from .errors import ConfigurationError


def require(name: str, extra: str, feature: str) -> ModuleType:
    """
    Import an optional library.

    Args:
        name: The module to import.
        extra: The extra of this package that installs it.
        feature: The use of the library, as the error names it, such as "rpm=".

    Raises:
        ConfigurationError: If the library is not installed.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            # The library is there, but one of its own imports is missing.
            raise
        raise ConfigurationError(
            f"{feature} needs {name}, which is not installed.",
            hint=f"Install it: pip install 'openrouter_async[{extra}]'",
        ) from None
