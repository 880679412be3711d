"""Header names and values: validation, and keeping keys out of tracebacks."""

import json
import re
from collections.abc import Mapping
from typing import Any, AnyStr, Final

from ..errors import ConfigurationError

# RFC 9110, 5.5: visible ASCII, with spaces and tabs inside. Checked here because a
# CR or LF in a value would add headers, or another request. `re` compiles these on
# first use, not at import.
_HEADER_VALUE: Final = r"[\x21-\x7e](?:[\x20-\x7e\t]*[\x21-\x7e])?"
# RFC 9110, 5.6.2: a token.
_HEADER_NAME: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
# Keys are longer than this; what is shorter is a placeholder such as "any".
_MIN_SECRET: Final = 16
_NUMBER: Final = r"[-+.0-9eE]+"
# A string that is cut off is one, too.
_JSON_STRING: Final = rb'"(?:[^"\\\n]|\\.)*"?'
_CONNECTION_HEADERS: Final = frozenset(
    {"connection", "content-length", "host", "transfer-encoding"}
)


class Secret(str):
    """
    A string, such as a key, with a masked repr.

    aiohttp sends it like any other string, while tracebacks and logs that show local
    variables print `'***'`.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


class SecretBytes(bytes):
    """Bytes that contain a key, with a masked repr."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "b'***'"


def mask(value: Any) -> Any:
    """Return a string as a `Secret`, and any other value unchanged."""
    return Secret(value) if isinstance(value, str) else value


def check_headers(headers: Mapping[str, str]) -> None:
    """
    Reject names and values that HTTP does not allow, and headers set elsewhere.

    Raises:
        TypeError: If `headers` is not a mapping.
        ConfigurationError: If a header is invalid. The message has its name, never
            its value.
    """
    if not isinstance(headers, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"headers must be a mapping, not {type(headers).__name__}.")
    for name, value in headers.items():
        if not isinstance(name, str) or not re.fullmatch(_HEADER_NAME, name):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigurationError(
                f"Invalid header name {name!r}: use letters, digits and '-'."
            )
        if name.lower() == "authorization":
            raise ConfigurationError(
                "The header Authorization cannot be set; pass the key as api_key."
            )
        if name.lower() in _CONNECTION_HEADERS:
            raise ConfigurationError(
                f"The header {name} is set by the HTTP connection; remove it."
            )
        check_header_value(name, value)


def check_header_value(name: str, value: str) -> None:
    """
    Reject a value that HTTP does not allow.

    Args:
        name: The header's name, or what else the message calls it.
        value: The value.

    Raises:
        ConfigurationError: If it is invalid. The message has the name, never the
            value.
    """
    if not isinstance(value, str) or not re.fullmatch(_HEADER_VALUE, value):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ConfigurationError(
            f"Invalid value of {name}: it must be ASCII text without control "
            "characters and without leading or trailing spaces."
        )


def redact(received: AnyStr, authorization: Secret) -> AnyStr:
    """
    Return received text without the key, in case the server echoed it.

    A key of fewer than 16 characters is not masked: it is a test key, which may be an
    ordinary word of the text, or even the name of a field. Of JSON, only strings are
    changed, so that the text remains JSON.

    Args:
        received: A body, or the data of an event.
        authorization: The header that was sent.
    """
    if isinstance(received, bytes):
        return _redact(received, authorization.removeprefix("Bearer "))
    text = received.encode("utf-8", "surrogatepass")
    masked = _redact(text, authorization.removeprefix("Bearer "))
    if masked is text:
        return received
    return masked.decode("utf-8", "surrogatepass")


def _redact(received: bytes, key: str) -> bytes:
    if len(key) < _MIN_SECRET:
        return received
    # Some servers escape a slash inside JSON.
    for form in {key, json.dumps(key)[1:-1], key.replace("/", "\\/")}:
        encoded = form.encode()
        if encoded not in received:
            continue
        if re.fullmatch(_NUMBER, form) and b'"' in received:
            # The only keys that may also be found outside the strings of JSON.
            received = re.sub(
                _JSON_STRING,
                lambda found: found[0].replace(key.encode(), b"***"),
                received,
            )
        else:
            received = received.replace(encoded, b"***")
    return received
