"""aiohttp's exceptions -> ours, with the billing of the attempt."""

import errno
import os
import re
import ssl
from typing import Final

import aiohttp

from ..errors import APIConnectionError, MalformedResponseError, OpenRouterError
from ..protocol.overload import is_local_limit
from ..types import Billing, Exchange
from .decoded_body import BodyDecodingError

# An error this soon after a pooled connection was reused means that the connection was
# dead before. A server that read the request and then crashed would take longer.
_STALE_SECONDS: Final = 1.0

CAUGHT: Final = (aiohttp.ClientError, OSError, ssl.SSLError, EOFError)
"""The exceptions that aiohttp raises while it sends and reads."""

_LOCAL_LIMIT_HINT: Final = (
    "This machine has no room for another connection: lower max_connections= or "
    "concurrency=, or raise the limit on open files (ulimit -n)."
)


def translate(
    error: BaseException,
    address: str,
    http: Exchange,
    *,
    connected: bool,
    proxy: tuple[str, int] | None = None,
) -> OpenRouterError:
    """
    Return the exception for an error before the headers of a response.

    Args:
        error: aiohttp's exception, or that of a connector that belongs to the caller.
        address: Host and port, for the message.
        http: The exchange; the billing of its last attempt is set.
        connected: True if the request was on a connection.
        proxy: Host and port of the proxy; None without one.
    """
    if not connected:
        return _not_connected(error, address, http, proxy)
    _set_billing(http, "maybe")
    if isinstance(error, aiohttp.ClientResponseError):
        return MalformedResponseError(
            f"The response of {address} is not valid HTTP: {_unquote(error)}.",
            http=http,
            hint="Check base_url: it may be the address of another kind of server.",
        )
    return APIConnectionError(
        f"The connection to {address} broke before a response was received.",
        http=http,
    )


def _unquote(error: aiohttp.ClientResponseError) -> str:
    """
    Return the message of aiohttp's parser without the part of the response it quotes.

    That part may be text that a model wrote. It is removed from the exception too,
    which becomes the cause of ours.
    """
    line = error.message.strip().partition("\n")[0]
    error.message = re.split(r"\s*:?\s*\bb?['\"]", line)[0].strip().rstrip(":")
    error.__cause__ = error.__context__ = None
    return error.message


def _not_connected(
    error: BaseException, address: str, http: Exchange, proxy: tuple[str, int] | None
) -> OpenRouterError:
    _set_billing(http, "not_accepted")
    # aiohttp's errors name the host that was tried: of the server, or of the proxy.
    peer = via = address
    if proxy is not None:
        name = "the proxy {}:{}".format(*proxy)
        via = f"{address} through {name}"
        if (getattr(error, "host", None), getattr(error, "port", None)) == proxy:
            peer = via = f"{name} for {address}"
    if _is_certificate(error):
        return APIConnectionError(
            f"The certificate of {peer} was rejected: {_reason(error)}.",
            http=http,
            hint="Trust a private certificate authority with ssl=SSLContext(...).",
        )
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return APIConnectionError(
            f"The proxy rejected the connection to {address}: "
            f"{error.status} {error.message}.",
            http=http,
        )
    hint = "Check base_url, the network and the proxy (HTTPS_PROXY, proxy=)."
    if is_local_limit(error):
        hint = _LOCAL_LIMIT_HINT
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        problem = f"Cannot resolve the name of {peer}"
    elif isinstance(error, ssl.SSLError):
        problem = f"The TLS handshake with {peer} failed"
    else:
        problem = f"Cannot connect to {via}"
    return APIConnectionError(
        f"{problem}: {_reason(error)}.",
        http=http,
        hint=hint,
        retryable=not _is_no_tls(error),
    )


def forget_frames(error: BaseException, handled: BaseException | None) -> None:
    """
    Remove the traceback frames of one of aiohttp's exceptions and of its causes.

    While a request is written, their local variables hold its headers as bytes, and a
    traceback that shows local variables would show the key.

    Args:
        error: aiohttp's exception.
        handled: The exception that the caller of the library was handling. It and its
            causes belong to the caller, and keep their frames.
    """
    current: BaseException | None = error
    while current is not None and current is not handled:
        current.__traceback__ = None
        current = current.__cause__ or current.__context__


def is_stale(error: BaseException, *, reused: bool, seconds: float) -> bool:
    """
    Return True if a pooled connection was dead before the request reached the server.

    Args:
        error: aiohttp's exception.
        reused: True if the connection had carried a request before.
        seconds: Seconds from the grant of the connection to the error.
    """
    return (
        reused
        and seconds < _STALE_SECONDS
        and isinstance(error, aiohttp.ServerDisconnectedError | aiohttp.ClientOSError)
    )


def broken_body(error: BaseException, http: Exchange) -> OpenRouterError:
    """Return the exception for a body that broke off or cannot be decompressed."""
    if isinstance(error, BodyDecodingError):
        return MalformedResponseError("The response cannot be decompressed.", http=http)
    return APIConnectionError(
        "The connection broke before the end of the response.", http=http
    )


def _is_no_tls(error: BaseException) -> bool:
    """Return True if the server does not speak TLS; a cut handshake may be retried."""
    inner = getattr(error, "os_error", error)
    return isinstance(inner, ssl.SSLError) and not isinstance(inner, ssl.SSLEOFError)


def _is_certificate(error: BaseException) -> bool:
    return isinstance(
        error,
        aiohttp.ClientConnectorCertificateError
        | ssl.SSLCertVerificationError
        | aiohttp.ServerFingerprintMismatch,
    )


def _reason(error: BaseException) -> str:
    """Return the system's message, without the request that aiohttp adds to it."""
    inner = getattr(error, "certificate_error", None) or getattr(
        error, "os_error", None
    )
    found = inner if isinstance(inner, BaseException) else error
    verify = getattr(found, "verify_message", None)
    text = verify or getattr(found, "strerror", None) or str(found)
    number = getattr(found, "errno", None)
    if isinstance(number, int) and number in errno.errorcode and not verify:
        # asyncio replaces the system's message by one that has the address.
        text = text if isinstance(found, ssl.SSLError) else os.strerror(number)
    reason = str(text or type(found).__name__).rstrip(".")
    if isinstance(error, (*CAUGHT, ValueError)) or reason == type(found).__name__:
        return reason
    # The class of a foreign exception says more than its text, such as "1".
    return f"{type(found).__name__}: {reason}"


def _set_billing(http: Exchange, billing: Billing) -> None:
    http.attempts[-1].billing = billing
