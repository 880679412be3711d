"""Relay: a stream or a run of tools as the body of a web framework's response."""

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable, Generator, Mapping
from types import TracebackType
from typing import Any, Final, Literal, Self

from ..errors import ConfigurationError
from ..stream import ChatStream, PendingStream
from ..tools.tool_run import ToolStream
from ..types import ChatResponse
from .ai_sdk import AISDKFormat
from .public_errors import PublicError, public_error
from .pump import Pump, RelayOptions, RelayResult, Source
from .relay_formats import OpenAIFormat, PlainTextFormat, RelayFormat, SSEFormat

FormatName = Literal["sse", "ai-sdk", "openai", "text"]
"""The name of a format of this package."""

_FORMATS: Final[Mapping[str, Callable[[], RelayFormat]]] = {
    "sse": SSEFormat,
    "ai-sdk": AISDKFormat,
    "openai": lambda: OpenAIFormat(f"chatcmpl-{uuid.uuid4().hex}", int(time.time())),
    "text": PlainTextFormat,
}


class Relay:
    """
    The body of a streamed HTTP response: an iterator over the bytes to send.

    It opens the source, reads it in a task of its own, and sends comments while
    nothing arrives, so that proxies keep the connection. If the client disconnects, the
    source is closed at once. If the source fails, the failure is the last event.

    Pass it to the framework's class for streamed responses, with its `headers`. It has
    one reader; each item is one or more whole events. `async with` or `aclose()` close
    it, and so does the garbage collector.

    Args:
        source: The stream, not awaited: `client.chat.send(..., stream=True)`; an open
            stream; or a run of tools, `client.chat.run_tools(..., stream=True)`.
        format: "sse" for a few lines of JavaScript, "ai-sdk" for `useChat` of Vercel's
            AI SDK, "openai" for OpenAI's clients, "text" for the text alone, or an
            object with the methods of `RelayFormat`.
        heartbeat: Seconds without an event after which a comment is sent; None: never.
            The default of 15 is a quarter of the shortest timeout of common proxies.
        reader_timeout: Seconds that an event may wait for the reader; then the source
            is closed. None: no limit.
        usage: Function of the last `ChatResponse` that returns a mapping to send at the
            end. None: no usage is sent, and never a cost.
        on_error: Function of an exception that returns the `PublicError` to send.
        on_end: Called once with a `RelayResult` when the source has ended, also if the
            client disconnected. It is a plain function; store the response here.

    Raises:
        ConfigurationError: If the format is unknown, or a number of seconds is not
            positive.
        TypeError: If the source is something else.
    """

    __slots__ = ("__weakref__", "_format", "_headers", "_pump", "_reading")

    def __init__(
        self,
        source: Source,
        format: FormatName | RelayFormat = "sse",  # noqa: A002 - says best what it is
        *,
        heartbeat: float | None = 15.0,
        reader_timeout: float | None = 60.0,
        usage: Callable[[ChatResponse], Mapping[str, Any]] | None = None,
        on_error: Callable[[BaseException], PublicError] = public_error,
        on_end: Callable[[RelayResult], object] | None = None,
    ) -> None:
        # An awaited run, or a run without stream=True, is a common mistake.
        if not isinstance(source, PendingStream | ChatStream | ToolStream):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(
                f"Invalid source of type {type(source).__name__}: pass "
                "client.chat.send(..., stream=True) or "
                "client.chat.run_tools(..., stream=True), without await."
            )
        try:
            _check_seconds(heartbeat=heartbeat, reader_timeout=reader_timeout)
            chosen = _find_format(format)
        except ConfigurationError:
            if isinstance(source, PendingStream):
                source.close()
            raise
        self._headers = dict(chosen.headers)
        self._reading = False
        options = RelayOptions(heartbeat, reader_timeout, usage, on_error, on_end)
        self._pump = Pump(source, chosen, options, _running_loop())

    @property
    def headers(self) -> dict[str, str]:
        """The headers of the response; you may add others."""
        return self._headers

    async def open(self, within: float = 2.0) -> None:
        """
        Wait until the stream is open; call it before the response is returned.

        An error in this time can still be answered with a status:
        `public_error(error).status`. Later errors are sent as events. A run of tools is
        open when it has its first event.

        Args:
            within: Maximum number of seconds to wait. Until they are over, a framework
                that does not cancel handlers keeps the stream of a client that has
                disconnected.

        Raises:
            OpenRouterError: If opening the stream failed.
        """
        try:
            await self._pump.wait_open(within)
        except asyncio.CancelledError:
            self._pump.stop("cancelled")
            raise

    def close(self) -> Awaitable[None]:
        """
        Close the source at once; iteration ends.

        It may be called more than once, from any task or thread, and need not be
        awaited: some frameworks call it as a plain function.
        """
        if self._pump.loop is not None and _running_loop() is self._pump.loop:
            self._pump.stop("closed")
        else:
            self._pump.stop_threadsafe()
        return _Closing(self._pump)

    async def aclose(self) -> None:
        """Close the source at once, and wait until it is closed."""
        await self.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if self._reading:
            raise ConfigurationError(
                "Two tasks read one Relay: create a relay for each response."
            )
        self._reading = True
        try:
            data = await self._pump.start().read()
        except asyncio.CancelledError:
            self._pump.stop("cancelled")
            raise
        finally:
            self._reading = False
        if not data:
            raise StopAsyncIteration
        return data

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if isinstance(exc, asyncio.CancelledError):
            self._pump.stop("cancelled")
        await self.aclose()

    def __repr__(self) -> str:
        pump = self._pump
        state = "ended" if pump.ended else "waiting" if pump.task is None else "open"
        return f"<Relay {state}>"

    def __del__(self) -> None:
        # `__init__` may have failed. The garbage collector may run in any thread.
        pump = getattr(self, "_pump", None)
        if pump is not None and not pump.ended:
            pump.stop_threadsafe()


class _Closing:
    """Awaitable that ends when a relay is closed; it need not be awaited."""

    __slots__ = ("_pump",)

    def __init__(self, pump: Pump) -> None:
        self._pump = pump

    def __await__(self) -> Generator[Any, Any, None]:
        return self._pump.wait()


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _check_seconds(**seconds: float | None) -> None:
    for name, value in seconds.items():
        if value is not None and not value > 0:
            raise ConfigurationError(
                f"Invalid {name}={value!r}: pass a positive number of seconds or None."
            )


def _find_format(format: str | RelayFormat) -> RelayFormat:  # noqa: A002 - as above
    if not isinstance(format, str):
        return format
    if format not in _FORMATS:
        known = ", ".join(f'"{name}"' for name in _FORMATS)
        raise ConfigurationError(
            f"Unknown format {format!r}: use {known}, or an object with the methods of "
            "RelayFormat."
        )
    return _FORMATS[format]()
