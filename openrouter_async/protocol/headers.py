"""Header names and values: checked before they are sent, masked in tracebacks."""

import re
from collections.abc import Mapping
from typing import Any, AnyStr, Final

from ..errors import ConfigurationError

# Compiled when they are first needed, not by the import.
# RFC 9110, 5.5: visible ASCII and, inside, blanks.
_HEADER_VALUE: Final = r"[\x21-\x7e](?:[\x20-\x7e\t]*[\x21-\x7e])?"
_HEADER_NAME: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_OURS: Final = frozenset(
    {"authorization", "connection", "content-length", "host", "transfer-encoding"}
)


class Secret(str):
    """
    A header value that repr does not show.

    It goes through the HTTP client as it is, and stays masked in its locals, its
    exceptions and their tracebacks.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


def mask(value: Any) -> Any:
    """Return a key so that no traceback shows it; what is no text, as it is."""
    return Secret(value) if isinstance(value, str) else value


def check_headers(headers: Mapping[str, str]) -> None:
    """
    Refuse header names and values that HTTP cannot carry or that are ours to set.

    Raises:
        TypeError: They are no mapping.
        ConfigurationError: Naming the header, never its value.
    """
    if not isinstance(headers, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"Headers are a mapping, not a {type(headers).__name__}.")
    for name, value in headers.items():
        if not isinstance(name, str) or not re.fullmatch(_HEADER_NAME, name):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigurationError(f"{name!r} is no name for a header.")
        if name.lower() == "authorization":
            raise ConfigurationError("Give the key as api_key, not as a header.")
        if name.lower() in _OURS:
            raise ConfigurationError(f"The header {name} is set by the connection.")
        check_header_value(name, value)


def check_header_value(name: str, value: str) -> None:
    """
    Refuse a value that HTTP cannot carry.

    Raises:
        ConfigurationError: Naming the header, never its value.
    """
    if not isinstance(value, str) or not re.fullmatch(_HEADER_VALUE, value):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ConfigurationError(
            f"The value of {name} must be plain ASCII text, without control "
            "characters and without blanks at its ends."
        )


def redact(said: AnyStr, key: Secret) -> AnyStr:
    """
    Return what a server said without the key, should it have echoed it.

    Args:
        said: A body, or the data of an event.
        key: The header that was sent.
    """
    text = key.removeprefix("Bearer ")
    if isinstance(said, bytes):
        return said.replace(text.encode(), b"***")
    return said.replace(text, "***")
