"""Arguments -> Call: where it goes, what it carries, what may not leave."""

import ipaddress
import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import unquote, urlencode, urlsplit

from attrs import frozen

from ..errors import ConfigurationError
from ..types.shape import Value
from .headers import Secret, check_header_value

# What every call asks for is not read anew each time.
_CHECKED: Final = frozenset({"/chat/completions"})
_PATH: Final = r"/[\x21-\x7e]*"
_PLACE: Final = r"[\x21-\x7e]*"


@frozen(eq=False, repr=False)
class BaseURL(Value):
    """
    Where requests go.

    Attributes:
        url: Without a slash at its end.
        key_allowed: Whether a key may travel there: over TLS, to this machine, or
            wherever it was allowed by name.
        origin: Scheme, host and port; a key belongs to one of these.
        address: Host and port, for messages.
    """

    url: str
    key_allowed: bool
    origin: tuple[str, str, int]
    address: str


def parse_base_url(base_url: str, *, allow_http: bool) -> BaseURL:
    """
    Return where a base URL leads.

    Raises:
        TypeError: It is no string.
        ConfigurationError: It is no http(s) URL, or holds more than a place.
    """
    if not isinstance(base_url, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"base_url is a string, not a {type(base_url).__name__}.")
    text = base_url.strip().rstrip("/")
    try:
        parts = urlsplit(text)
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        # What urllib says of it may quote a password.
        raise ConfigurationError(
            "base_url is no URL: its host or its port can not be read."
        ) from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigurationError(
            "base_url must start with https:// (or http://) and name a host, "
            "such as https://openrouter.ai/api/v1."
        )
    if parts.username is not None or parts.password is not None:
        raise ConfigurationError("base_url must not hold a user or a password.")
    if "?" in text or "#" in text or not re.fullmatch(_PLACE, text):
        raise ConfigurationError(
            "base_url must be a plain place: no query, no fragment, no blanks."
        )
    return BaseURL(
        url=text,
        key_allowed=parts.scheme == "https"
        or allow_http
        or is_loopback(parts.hostname),
        origin=(parts.scheme, parts.hostname, port),
        address=f"{parts.hostname}:{port}",
    )


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def authorization(key: object, base_url: BaseURL) -> Secret:
    """
    Return the Authorization header for a key.

    Raises:
        ConfigurationError: No key, one that no header can carry, or one that would
            travel in the clear.
    """
    text = Secret(key.strip() if isinstance(key, str) else "")
    if not text:
        raise ConfigurationError(
            "No API key. Set OPENROUTER_API_KEY, or give api_key=...; "
            "keys are made at https://openrouter.ai/settings/keys."
        )
    check_header_value("the API key", text)
    if not base_url.key_allowed:
        raise ConfigurationError(
            f"{base_url.url} would carry the key unencrypted. Use https://, or "
            "allow_http=True if that is what you want."
        )
    return Secret(f"Bearer {text}")


def join_url(base_url: BaseURL, path: str, query: Mapping[str, Any] | None) -> str:
    """
    Return the URL of a path below the base URL.

    Raises:
        ConfigurationError: The path is no path, or leads elsewhere.
    """
    if path in _CHECKED and not query:
        return base_url.url + path
    if not re.fullmatch(_PATH, path) or path.startswith("//"):
        raise ConfigurationError(
            f"A path starts with one slash and has no blanks, like /models; "
            f"got {path!r}."
        )
    bare = path.partition("?")[0]
    if "#" in path or ".." in unquote(bare).split("/"):
        raise ConfigurationError("A path has neither '..' nor '#'.")
    pairs = [
        (name, _query_text(item))
        for name, value in (query or {}).items()
        for item in (value if isinstance(value, list | tuple) else (value,))  # pyright: ignore[reportUnknownVariableType]
        if item is not None
    ]
    if not pairs:
        return base_url.url + path
    mark = "&" if "?" in path else "?"
    return f"{base_url.url}{path}{mark}{urlencode(pairs, errors='surrogatepass')}"


def _query_text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
