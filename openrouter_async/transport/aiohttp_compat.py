"""Bodies whose connection breaks: they end in every case, and lose nothing."""

import asyncio
from typing import Any

import aiohttp


def forget_reason(protocol: Any) -> None:
    """Take note of why a connection ends, so that nobody calls it unnoticed."""
    closed: asyncio.Future[None] | None = protocol.closed
    if closed is not None:
        closed.add_done_callback(_noticed)


def _noticed(done: "asyncio.Future[None]") -> BaseException | None:
    return None if done.cancelled() else done.exception()


def end_with_connection(content: aiohttp.StreamReader, protocol: Any) -> None:
    """
    Let the end of the connection end the body that comes over it.

    Where a chunk's size is no number, aiohttp's C parser drops the body and closes
    the connection; who reads the body would wait for ever.
    """
    bond = _Bond(content, protocol.closed)
    if bond.closed is None:
        bond.lost(None)
    else:
        bond.closed.add_done_callback(bond.lost)
        content.on_eof(bond.undo)


class _Bond:
    """Of a body to its connection; half the room that two closures take."""

    __slots__ = ("_content", "closed")

    def __init__(
        self, content: aiohttp.StreamReader, closed: "asyncio.Future[None] | None"
    ) -> None:
        self._content = content
        self.closed = closed

    def lost(self, _: object) -> None:
        """Let the body break."""
        content = self._content
        if not content.is_eof() and content.exception() is None:
            content.set_exception(aiohttp.ClientPayloadError("The body broke off."))

    def undo(self) -> None:
        """The body is whole."""
        assert self.closed is not None
        self.closed.remove_done_callback(self.lost)


def take_rest(content: aiohttp.StreamReader) -> bytes:
    """Return what had arrived before the connection broke; aiohttp holds it back."""
    rest: bytes = content._read_nowait(-1) if content._buffer else b""  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    return rest
