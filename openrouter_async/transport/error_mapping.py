"""aiohttp's exceptions -> ours, and what each attempt may have cost."""

import errno
import os
import re
import ssl

import aiohttp

from ..errors import APIConnectionError, MalformedResponseError, OpenRouterError
from ..types import Billing, Exchange

# What dies this soon on a connection that was in the pool was dead before.
_STALE_SECONDS = 1.0

CAUGHT = (aiohttp.ClientError, OSError, ssl.SSLError, EOFError)
"""All that sending and reading can raise of its own."""


def translate(
    error: BaseException, place: str, http: Exchange, *, connected: bool
) -> OpenRouterError:
    """
    Return our exception for one of aiohttp's, before the reply's headers.

    Args:
        error: What was raised.
        place: Host and port, for the message.
        http: The exchange; its last attempt learns its billing.
        connected: Whether a connection had been given to the request.
    """
    if not connected:
        return _not_connected(error, place, http)
    _bill(http, "maybe")
    if isinstance(error, aiohttp.ClientResponseError):
        if _is_compression(error):
            return broken_body(error, http)
        words = _unquote(error)
        return MalformedResponseError(
            f"{place} did not answer in HTTP that can be read: {words}.", http=http
        )
    return APIConnectionError(
        f"The connection to {place} broke before an answer came.",
        http=http,
    )


def _unquote(error: aiohttp.ClientResponseError) -> str:
    """
    Return the message of aiohttp's parser without what it quotes of the response.

    The quotation may be text that a model wrote. It is removed from the exception too,
    because that becomes the cause of ours.
    """
    line = error.message.strip().partition("\n")[0]
    error.message = re.split(r"\s*:?\s*\bb?['\"]", line)[0].strip().rstrip(":")
    error.__cause__ = error.__context__ = None
    return error.message


def _not_connected(error: BaseException, place: str, http: Exchange) -> OpenRouterError:
    _bill(http, "not_accepted")
    if _is_certificate(error):
        return APIConnectionError(
            f"The certificate of {place} was refused: {_reason(error)}.",
            http=http,
            hint="A private authority is trusted with ssl=SSLContext(...).",
        )
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return APIConnectionError(
            f"The proxy refused the connection to {place}: "
            f"{error.status} {error.message}.",
            http=http,
        )
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        what = f"The name of {place} was not found"
    elif isinstance(error, aiohttp.ClientProxyConnectionError):
        what = f"The proxy on the way to {place} could not be reached"
    elif isinstance(error, ssl.SSLError):
        what = f"The TLS hand-shake with {place} failed"
    else:
        what = f"No connection to {place}"
    return APIConnectionError(
        f"{what}: {_reason(error)}.", http=http, retryable=not _is_no_tls(error)
    )


def forget_frames(error: BaseException, handled: BaseException | None) -> None:
    """
    Take the frames off an exception of aiohttp's, and off those behind it.

    While a request is being written they hold its head as bytes, the key in it: what
    shows the locals of a traceback would show that.

    Args:
        error: What was raised.
        handled: What the caller was handling when it called; that is the caller's.
    """
    at: BaseException | None = error
    while at is not None and at is not handled:
        at.__traceback__ = None
        at = at.__cause__ or at.__context__


def is_stale(error: BaseException, *, reused: bool, seconds: float) -> bool:
    """
    Return whether a pooled connection was dead before the request reached anybody.

    Args:
        error: What was raised.
        reused: The connection had carried a request before.
        seconds: From the connection to the error.
    """
    return (
        reused
        and seconds < _STALE_SECONDS
        and isinstance(error, aiohttp.ServerDisconnectedError | aiohttp.ClientOSError)
    )


def broken_body(error: BaseException, http: Exchange) -> OpenRouterError:
    """Return our exception for a body that ended too early or can not be decoded."""
    if _is_compression(error):
        return MalformedResponseError(
            "The reply's compression can not be decoded.", http=http
        )
    return APIConnectionError("The connection broke inside the reply.", http=http)


def _is_compression(error: BaseException) -> bool:
    return "Can not decode" in str(error) or "ContentEncoding" in repr(error.__cause__)


def _is_no_tls(error: BaseException) -> bool:
    """Return whether they speak no common language; a cut hand-shake may heal."""
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
    """The system's own words, without the request's details that aiohttp adds."""
    inner = getattr(error, "certificate_error", None) or getattr(
        error, "os_error", None
    )
    found = inner if isinstance(inner, BaseException) else error
    verify = getattr(found, "verify_message", None)
    text = verify or getattr(found, "strerror", None) or str(found)
    number = getattr(found, "errno", None)
    if isinstance(number, int) and number in errno.errorcode and not verify:
        # asyncio puts its own words, with the address, in place of the system's.
        text = text if isinstance(found, ssl.SSLError) else os.strerror(number)
    return str(text or type(found).__name__).rstrip(".")


def _bill(http: Exchange, billing: Billing) -> None:
    http.attempts[-1].billing = billing
