"""Writing of one reply to the connection, with its delays and faults."""

import asyncio
import math
import socket
import struct
import zlib
from typing import NoReturn, Protocol

from aiohttp import HttpVersion11, web
from attrs import define, field
from multidict import CIMultiDict

from .counters import ServerCounters
from .error_replies import KEEPALIVE_SPACE
from .render import COMMENT, DONE, Rendered
from .reply import Reply
from .seen_requests import SeenRequest

# zlib.compressobj: 16 more window bits select the format of gzip (RFC 1952).
_WINDOW_BITS = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
_NO_BODY = (204, 205, 304)


class _Compressor(Protocol):
    """The interface of `zlib.compressobj()`, whose class has no public name."""

    def compress(self, data: bytes, /) -> bytes: ...

    def flush(self, mode: int = ..., /) -> bytes: ...


class _BodyEndedError(Exception):
    """The rest of the body is left out; for HTTP it is complete."""


@define
class ReplyWriter:
    """
    Writes one encoded reply.

    Attributes:
        stopped: True once the server has closed the connection (`Reply.stop`).
    """

    request: web.Request
    seen: SeenRequest
    reply: Reply
    rendered: Rendered
    counters: ServerCounters
    stopped: bool = field(default=False, init=False)
    _sent: int = field(default=0, init=False)
    _is_silent: bool = field(default=False, init=False)
    _response: web.StreamResponse = field(init=False)
    _compressor: "_Compressor | None" = field(default=None, init=False)

    async def run(self) -> web.StreamResponse:
        """
        Write the whole reply, or stop where `Reply.stop` says.

        Raises:
            CancelledError: If the connection is lost, or was closed by `Reply.stop`.
            ConnectionError: If the client disconnected before a write.
        """
        reply = self.reply
        await _sleep(reply.delay)
        if reply.stop and reply.stop_after is None and reply.stop_at is None:
            await self._stop(before_headers=True)
        self._response = self._make_response()
        await self._response.prepare(self.request)
        self.seen.status = reply.status
        try:
            if reply.status not in _NO_BODY:
                await self._write_body()
        except _BodyEndedError:
            pass
        await self._response.write_eof()
        return self._response

    def _make_response(self) -> web.StreamResponse:
        reply, rendered = self.reply, self.rendered
        headers: CIMultiDict[str] = CIMultiDict()
        headers["Content-Type"] = rendered.content_type
        headers["Access-Control-Allow-Origin"] = "*"
        if rendered.body is None:
            headers["Cache-Control"] = "no-cache"
        if reply.generation_id and reply.status != 401:
            headers["X-Generation-Id"] = rendered.generation_id
        if reply.encoding is not None:
            headers["Content-Encoding"] = reply.encoding
            self._compressor = zlib.compressobj(wbits=_WINDOW_BITS[reply.encoding])
        headers.update(reply.headers or {})
        response = web.StreamResponse(status=reply.status, headers=headers)
        if headers.get("Connection", "").lower() == "close":
            response.force_close()
        if "Content-Length" not in headers and reply.status not in _NO_BODY:
            # OpenRouter's responses have no Content-Length.
            if self.request.version >= HttpVersion11:
                response.enable_chunked_encoding()
            else:
                # HTTP/1.0, which nginx uses by default, has no chunked encoding: the
                # end of the connection ends the body.
                response.force_close()
        return response

    async def _write_body(self) -> None:
        reply = self.reply
        await self._write(reply.prefix)
        if self.rendered.body is None:
            await self._write_events()
        else:
            await self._pause(reply.before_token)
            await self._stop_if_after(0)
            await self._write(self.rendered.body)
            if reply.stop_after is not None:
                await self._stop()
        await self._write(reply.suffix)
        if self._compressor is not None:
            await self._write_encoded(self._compressor.flush())

    async def _write_events(self) -> None:
        reply = self.reply
        for _ in range(reply.comments):
            await self._write(COMMENT)
        await self._pause(reply.before_token)
        for number, event in enumerate(self.rendered.events):
            await self._stop_if_after(number)
            if number:
                await self._pause(reply.chunk_delay)
            await self._write(event)
            self.seen.chunks += 1
            self.counters.chunks += 1
            self.counters.notify()
        if reply.stop_after is not None:
            await self._stop()
        if self.rendered.done:
            await self._write(DONE)

    async def _pause(self, seconds: float) -> None:
        """Wait, and meanwhile write what keeps the connection alive, if set."""
        interval = self.reply.keepalive
        if interval is None:
            await _sleep(seconds)
            return
        data = COMMENT if self.rendered.body is None else KEEPALIVE_SPACE
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while (remaining := end - loop.time()) > interval:
            await asyncio.sleep(interval)
            await self._write(data)
        await _sleep(remaining)

    async def _write(self, data: bytes) -> None:
        if self._compressor is not None and data:
            # A sync flush, so that the client can decompress each write at once.
            data = self._compressor.compress(data)
            data += self._compressor.flush(zlib.Z_SYNC_FLUSH)
        await self._write_encoded(data)

    async def _write_encoded(self, data: bytes) -> None:
        reply = self.reply
        remaining = None
        if reply.stop_at is not None and not self._is_silent:
            remaining = reply.stop_at - self._sent
            data = data[:remaining]
        step = reply.write_bytes or len(data) or 1
        for at in range(0, len(data), step):
            if at:
                await asyncio.sleep(reply.write_every)
            await self._response.write(data[at : at + step])
        self._sent += len(data)
        if remaining is not None and self._sent == reply.stop_at:
            await self._stop()

    async def _stop_if_after(self, events: int) -> None:
        if self.reply.stop_after is not None and events >= self.reply.stop_after:
            await self._stop()

    async def _stop(self, *, before_headers: bool = False) -> NoReturn:
        """
        End the response as `Reply.stop` says.

        Raises:
            _BodyEndedError: If the body ends here, but the response is completed.
            CancelledError: If the connection is closed, by the server or the client.
        """
        kind = self.reply.stop
        if kind == "end" and not before_headers:
            raise _BodyEndedError
        if kind == "silence":
            self._is_silent = True
            await (_sleep(math.inf) if before_headers else self._pause(math.inf))
        self.stopped = True
        close_transport(self.request.transport, reset=kind == "reset")
        while True:
            # aiohttp cancels this task when the connection is lost.
            await _sleep(math.inf)


def close_transport(transport: asyncio.Transport | None, *, reset: bool) -> None:
    """
    Close a connection.

    Args:
        transport: The connection; None if the client has already closed it.
        reset: If True, send RST and drop what was not sent; if False, send FIN after
            it.
    """
    if transport is None:
        return
    if not reset:
        transport.close()
        return
    sock: socket.socket = transport.get_extra_info("socket")
    # With a linger time of zero, close() sends RST (socket(7), SO_LINGER).
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


async def _sleep(seconds: float) -> None:
    if math.isinf(seconds):
        await asyncio.get_running_loop().create_future()
    elif seconds > 0:
        await asyncio.sleep(seconds)
