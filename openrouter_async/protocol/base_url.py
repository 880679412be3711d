"""Base URLs: parsing, the URLs below them, and which keys may be sent there."""

import ipaddress
import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import unquote, urlencode, urlsplit

from attrs import frozen

from ..errors import ConfigurationError
from ..types.shape import Value
from .headers import Secret, check_header_value

# Paths that need no checks; nearly every call goes to this one.
_CHECKED_PATHS: Final = frozenset({"/chat/completions"})
# Visible ASCII (RFC 3986, 2). `re` compiles these on first use, not at import.
_PATH: Final = r"/[\x21-\x7e]*"
_VISIBLE: Final = r"[\x21-\x7e]*"


@frozen(eq=False, repr=False)
class BaseURL(Value):
    """
    The URL that all paths of a client are joined to.

    Attributes:
        url: The URL without a trailing slash.
        key_allowed: If True, a key may be sent to it: over TLS, to this machine, or
            anywhere with `allow_http`.
        origin: Scheme, host and port (RFC 6454). A key is never sent to another one.
        address: Host and port, for error messages.
    """

    url: str
    key_allowed: bool
    origin: tuple[str, str, int]
    address: str


def parse_base_url(base_url: str, *, allow_http: bool) -> BaseURL:
    """
    Validate a base URL.

    Raises:
        TypeError: If it is not a string.
        ConfigurationError: If it is not an http(s) URL, or has a user, a query or a
            fragment.
    """
    if not isinstance(base_url, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"base_url must be a string, not {type(base_url).__name__}.")
    text = base_url.strip().rstrip("/")
    try:
        parts = urlsplit(text)
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        # Neither urllib's message nor the value is shown: both may hold a password.
        raise ConfigurationError(
            "base_url is not a valid URL: its host or port cannot be parsed. "
            "The default is https://openrouter.ai/api/v1."
        ) from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigurationError(
            "base_url must start with https:// (or http://) and contain a host, "
            "such as https://openrouter.ai/api/v1."
        )
    if parts.username is not None or parts.password is not None:
        raise ConfigurationError(
            "base_url must not contain a user or a password; pass the key as api_key."
        )
    if "?" in text or "#" in text or not re.fullmatch(_VISIBLE, text):
        raise ConfigurationError(
            "base_url must not contain a query, a fragment or spaces; "
            "pass a query as extra_query."
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
    """Return True if a host name or address is this machine."""
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
        ConfigurationError: If there is no key, if it contains characters that a
            header cannot, or if it would be sent unencrypted.
    """
    text = Secret(key.strip() if isinstance(key, str) else "")
    if not text:
        raise ConfigurationError(
            "No API key. Set OPENROUTER_API_KEY or pass api_key=...; "
            "create keys at https://openrouter.ai/settings/keys."
        )
    check_header_value("the API key", text)
    if not base_url.key_allowed:
        raise ConfigurationError(
            f"The key would be sent unencrypted to {base_url.url}. Use https://, or "
            "pass allow_http=True to send it anyway."
        )
    return Secret(f"Bearer {text}")


def join_url(base_url: BaseURL, path: str, query: Mapping[str, Any] | None) -> str:
    """
    Return the URL of a path below the base URL.

    Args:
        base_url: The base URL.
        path: Begins with a slash; may have a query of its own.
        query: Parameters to add. A list repeats its parameter; None is left out.

    Raises:
        ConfigurationError: If the path is malformed or would leave the base URL.
    """
    if path in _CHECKED_PATHS and not query:
        return base_url.url + path
    # "//host/path" would be a reference to another host (RFC 3986, 4.2).
    if not re.fullmatch(_PATH, path) or path.startswith("//"):
        raise ConfigurationError(
            f"Invalid path {path!r}: it must start with one slash and contain no "
            "spaces, such as /models."
        )
    # "%2e%2e" is ".." too: servers and proxies decode before they resolve.
    segments = unquote(path.partition("?")[0]).split("/")
    if "#" in path or ".." in segments:
        raise ConfigurationError(
            f"Invalid path {path!r}: it must not contain '..' or '#'."
        )
    pairs = [
        (name, _query_text(item))
        for name, value in (query or {}).items()
        for item in (value if isinstance(value, list | tuple) else (value,))  # pyright: ignore[reportUnknownVariableType]
        if item is not None
    ]
    if not pairs:
        return base_url.url + path
    separator = "&" if "?" in path else "?"
    encoded = urlencode(pairs, errors="surrogatepass")
    return f"{base_url.url}{path}{separator}{encoded}"


def _query_text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
