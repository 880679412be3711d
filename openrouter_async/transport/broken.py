"""Bodies whose connection breaks: they end in every case, and lose nothing."""

import asyncio
from typing import Any

import aiohttp


def forget_reason(protocol: Any) -> None:
    """Take note of why a connection ends, so that nobody calls it unnoticed."""
    closed: asyncio.Future[None] | None = protocol.closed
    if closed is not None:
        closed.add_done_callback(lambda done: done.cancelled() or done.exception())


def end_with_connection(content: aiohttp.StreamReader, protocol: Any) -> None:
    """
    Let the end of the connection end the body that comes over it.

    Where a chunk's size is no number, aiohttp's C parser drops the body and closes
    the connection; who reads the body would wait for ever.
    """

    def lost(_: object) -> None:
        if not content.is_eof() and content.exception() is None:
            content.set_exception(aiohttp.ClientPayloadError("The body broke off."))

    closed: asyncio.Future[None] | None = protocol.closed
    if closed is None:
        lost(None)
    else:
        closed.add_done_callback(lost)

        def done() -> None:
            closed.remove_done_callback(lost)

        content.on_eof(done)


def take_rest(content: aiohttp.StreamReader) -> bytes:
    """Return what had arrived before the connection broke; aiohttp holds it back."""
    rest: bytes = content._read_nowait(-1) if content._buffer else b""  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    return rest
