"""DecodedBody: the body of a response that the server compressed."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, TypeAlias

import aiohttp
from aiohttp import compression_utils

from ..errors import MalformedResponseError
from . import aiohttp_compat
from .direct_request import Response

# One read returns at most so much, so that a small body that expands to gigabytes is
# noticed by the limits on the size of a body or an event.
_MAX_READ_BYTES: Final = 256 * 1024
# RFC 1950: the lower four bits of the first byte are the method; 8 is "deflate".
_METHOD_MASK: Final = 0x0F
_ZLIB_METHOD: Final = 8

_DECOMPRESSORS: Final[Mapping[str, Callable[[], Any]]] = {
    "gzip": partial(compression_utils.ZLibDecompressor, "gzip"),
    "deflate": partial(compression_utils.ZLibDecompressor, "deflate"),
    "br": compression_utils.BrotliDecompressor,
    "zstd": compression_utils.ZSTDDecompressor,
}
_PACKAGES: Final[Mapping[str, str]] = {"br": "Brotli", "zstd": "backports.zstd"}


def open_body(response: Response) -> "Body":
    """
    Return the body of a response, decompressed if its coding is known.

    aiohttp does not do it: where it lacks the decoder, it raises before the status
    and the headers are known, and an overloaded server looks like a broken one.

    Raises:
        MalformedResponseError: If a package is missing that can decode the body.
    """
    header = response.headers.get("Content-Encoding")
    if header is None:
        return response.content
    coding = header.strip().lower().removeprefix("x-")
    make = _DECOMPRESSORS.get(coding)
    if make is None:
        # Other values are ignored: servers also send "identity", "utf-8" or "none".
        return response.content
    try:
        decompressor = make()
    except RuntimeError:
        # aiohttp's way to say that it lacks an optional package.
        raise MalformedResponseError(
            f"The response is compressed with {coding!r}, which was not asked for and "
            "cannot be decoded.",
            hint=f"Install the package {_PACKAGES[coding]} to read it.",
        ) from None
    return DecodedBody(response.content, decompressor, coding)


def take_buffered(body: "Body") -> bytes:
    """Return what had arrived of a body before its connection broke."""
    if isinstance(body, DecodedBody):
        return body.take_buffered()
    return aiohttp_compat.take_buffered(body)


class BodyDecodingError(aiohttp.ClientPayloadError):
    """A compressed body is damaged or has been cut off."""


class DecodedBody:
    """The body of a response, decompressed as it is read."""

    __slots__ = ("_coding", "_content", "_decompressor", "_is_started")

    def __init__(
        self, content: aiohttp.StreamReader, decompressor: Any, coding: str
    ) -> None:
        """
        Wrap a compressed body.

        Args:
            content: The body as it was sent.
            decompressor: One of aiohttp's decompressors.
            coding: The name of the coding, for errors.
        """
        self._content = content
        self._decompressor = decompressor
        self._coding = coding
        self._is_started = False

    async def readany(self) -> bytes:
        """
        Wait for bytes and return them; b"" at the end of the body.

        Raises:
            BodyDecodingError: If the body cannot be decoded or has been cut off.
        """
        while True:
            if self._has_more() and (decoded := self._decode(b"")):
                return decoded
            data = await self._content.readany()
            if not data:
                self._check_end()
                return b""
            if decoded := self._decode(data):
                return decoded

    def at_eof(self) -> bool:
        """Return True if all bytes were read."""
        return self._content.at_eof() and not self._has_more()

    def take_buffered(self) -> bytes:
        """Return what had arrived before the connection broke."""
        rest = aiohttp_compat.take_buffered(self._content)
        try:
            return self._decode(rest) if rest else b""
        except BodyDecodingError:
            # The connection broke; that is the error to report.
            return b""

    def _has_more(self) -> bool:
        return self._is_started and bool(self._decompressor.data_available)

    def _decode(self, data: bytes) -> bytes:
        if not self._is_started:
            self._is_started = True
            # Some servers send raw deflate without the header that RFC 9110 asks for.
            if self._coding == "deflate" and data[0] & _METHOD_MASK != _ZLIB_METHOD:
                self._decompressor = compression_utils.ZLibDecompressor(
                    "deflate", suppress_deflate_header=True
                )
        try:
            decoded: bytes = self._decompressor.decompress_sync(data, _MAX_READ_BYTES)
        except Exception as error:
            # zlib, brotli and zstd each have an exception of their own.
            raise self._broken() from error
        return decoded

    def _check_end(self) -> None:
        # aiohttp's other decompressors do not tell if they are at the end.
        if (
            self._is_started
            and self._coding == "deflate"
            and not self._decompressor.eof
        ):
            raise self._broken()

    def _broken(self) -> BodyDecodingError:
        return BodyDecodingError(f"The coding {self._coding} cannot be decoded.")


Body: TypeAlias = aiohttp.StreamReader | DecodedBody
"""The body of a response, as it is read."""
