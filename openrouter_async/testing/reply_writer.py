"""One reply on its way over the wire, with whatever goes wrong on it."""

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
from .error_replies import WHITE_SPACE
from .render import COMMENT, DONE, Rendered
from .reply import Reply
from .seen_requests import SeenRequest

_WINDOW_BITS = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
_NO_BODY = (204, 205, 304)


class _Compressor(Protocol):
    """What `zlib.compressobj` makes; its class has no public name."""

    def compress(self, data: bytes, /) -> bytes: ...

    def flush(self, mode: int = ..., /) -> bytes: ...


class _EndedError(Exception):
    """The body ends here, well-formed for HTTP."""


@define
class ReplyWriter:
    """
    Sends one rendered reply.

    Attributes:
        stopped: Whether the server itself cut the connection.
    """

    request: web.Request
    seen: SeenRequest
    reply: Reply
    rendered: Rendered
    tally: ServerCounters
    stopped: bool = field(default=False, init=False)
    _sent: int = field(default=0, init=False)
    _is_silent: bool = field(default=False, init=False)
    _response: web.StreamResponse = field(init=False)
    _squeeze: "_Compressor | None" = field(default=None, init=False)

    async def run(self) -> web.StreamResponse:
        """
        Send it all; or stop, as the reply says.

        Raises:
            ConnectionError: The client is gone.
        """
        reply = self.reply
        await _sleep(reply.delay)
        if reply.stop and reply.stop_after is None and reply.stop_at is None:
            await self._stop(before_headers=True)
        self._response = self._headers()
        await self._response.prepare(self.request)
        self.seen.status = reply.status
        try:
            if reply.status not in _NO_BODY:
                await self._body()
        except _EndedError:
            pass
        await self._response.write_eof()
        return self._response

    def _headers(self) -> web.StreamResponse:
        reply, rendered = self.reply, self.rendered
        headers: CIMultiDict[str] = CIMultiDict()
        headers["Content-Type"] = rendered.content_type
        headers["Access-Control-Allow-Origin"] = "*"
        if rendered.body is None:
            headers["Cache-Control"] = "no-cache"
        if reply.generation_id and reply.status != web.HTTPUnauthorized.status_code:
            headers["X-Generation-Id"] = rendered.generation_id
        if reply.encoding is not None:
            headers["Content-Encoding"] = reply.encoding
            self._squeeze = zlib.compressobj(wbits=_WINDOW_BITS[reply.encoding])
        headers.update(reply.headers or {})
        response = web.StreamResponse(status=reply.status, headers=headers)
        if headers.get("Connection", "").lower() == "close":
            response.force_close()
        if "Content-Length" not in headers and reply.status not in _NO_BODY:
            # Chat replies have no length, so a cut is seen only as broken JSON.
            if self.request.version >= HttpVersion11:
                response.enable_chunked_encoding()
            else:
                # As nginx asks by default; the body ends with the connection.
                response.force_close()
        return response

    async def _body(self) -> None:
        reply = self.reply
        await self._write(reply.prefix)
        if self.rendered.body is None:
            await self._events()
        else:
            await self._pause(reply.before_token)
            await self._stop_after(0)
            await self._write(self.rendered.body)
            if reply.stop_after is not None:
                await self._stop()
        await self._write(reply.suffix)
        if self._squeeze is not None:
            await self._put(self._squeeze.flush())

    async def _events(self) -> None:
        reply = self.reply
        for _ in range(reply.comments):
            await self._write(COMMENT)
        await self._pause(reply.before_token)
        for number, event in enumerate(self.rendered.events):
            await self._stop_after(number)
            if number:
                await self._pause(reply.between)
            await self._write(event)
            self.seen.chunks += 1
            self.tally.chunks += 1
            self.tally.changed()
        if reply.stop_after is not None:
            await self._stop()
        if self.rendered.done:
            await self._write(DONE)

    async def _pause(self, seconds: float) -> None:
        """Wait; show signs of life meanwhile where the reply asks for them."""
        every = self.reply.keepalive
        if every is None:
            await _sleep(seconds)
            return
        sign = COMMENT if self.rendered.body is None else WHITE_SPACE
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while (left := end - loop.time()) > every:
            await asyncio.sleep(every)
            await self._write(sign)
        await _sleep(left)

    async def _write(self, data: bytes) -> None:
        if self._squeeze is not None and data:
            # Each write can be read as soon as it is there.
            data = self._squeeze.compress(data)
            data += self._squeeze.flush(zlib.Z_SYNC_FLUSH)
        await self._put(data)

    async def _put(self, data: bytes) -> None:
        reply = self.reply
        cut = None
        if reply.stop_at is not None and not self._is_silent:
            cut = reply.stop_at - self._sent
        if cut is not None:
            data = data[:cut]
        step = reply.write_bytes or len(data) or 1
        for at in range(0, len(data), step):
            if at:
                await asyncio.sleep(reply.write_every)
            await self._response.write(data[at : at + step])
        self._sent += len(data)
        if cut is not None and self._sent == reply.stop_at:
            await self._stop()

    async def _stop_after(self, events: int) -> None:
        if self.reply.stop_after is not None and events >= self.reply.stop_after:
            await self._stop()

    async def _stop(self, *, before_headers: bool = False) -> NoReturn:
        """End the reply as it asks; only "end" comes back, by an exception."""
        kind = self.reply.stop
        if kind == "end" and not before_headers:
            raise _EndedError
        if kind == "silence":
            self._is_silent = True
            await (_sleep(math.inf) if before_headers else self._pause(math.inf))
        self.stopped = True
        cut(self.request.transport, hard=kind == "reset")
        while True:
            # The loss of the connection cancels us.
            await _sleep(math.inf)


def cut(transport: asyncio.Transport | None, *, hard: bool) -> None:
    """
    Close a connection that may be gone.

    Args:
        transport: None, when the client was faster.
        hard: With RST instead of FIN; what is not sent yet is dropped.
    """
    if transport is None:
        return
    if not hard:
        transport.close()
        return
    sock: socket.socket = transport.get_extra_info("socket")
    # Lingering for zero seconds makes closing abortive (socket(7), SO_LINGER).
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


async def _sleep(seconds: float) -> None:
    if math.isinf(seconds):
        await asyncio.get_running_loop().create_future()
    elif seconds > 0:
        await asyncio.sleep(seconds)
