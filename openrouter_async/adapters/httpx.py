"""OpenRouterTransport: an httpx transport whose requests are calls of a client."""

import sys
from collections.abc import Awaitable, Mapping
from functools import cache
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from multidict import CIMultiDict

from ..client import AsyncOpenRouter
from ..errors import (
    APIConnectionError,
    APIError,
    APITimeoutError,
    ClosedError,
    ConfigurationError,
    MalformedResponseError,
    OpenRouterError,
    StreamInterruptedError,
)
from ..protocol.decode import as_object, decode_finite
from ..protocol.encode import encode
from ..protocol.settings import CallOptions
from ..protocol.templates import encode_run
from ..stream import ChatStream
from ..types import ChatResponse

if TYPE_CHECKING:
    import httpx
    import httpx2

    class _AsyncTransport(httpx.AsyncBaseTransport, httpx2.AsyncBaseTransport):
        """The base class of a transport for type checkers; httpx needs none."""

        async def handle_async_request(self, request: Any) -> Any: ...

        async def __aenter__(self) -> Self: ...

else:
    _AsyncTransport = object

_CHAT_PATH: Final = "/chat/completions"
_DONE: Final = b"data: [DONE]\n\n"

# They describe the body as OpenRouter sent it, which was decompressed and decoded, or
# its connection. With `Location`, the caller's client would follow a redirect that
# this client rejected.
_DROPPED_HEADERS: Final = frozenset(
    {
        *("connection", "content-encoding", "content-length", "content-type"),
        *("keep-alive", "location", "transfer-encoding"),
    }
)
_TIMEOUT_CLASSES: Final[Mapping[str, str]] = {
    "pool": "PoolTimeout",
    "connect": "ConnectTimeout",
}


class OpenRouterTransport(_AsyncTransport):
    """
    An async httpx transport that sends chat requests through a client.

    It works for `httpx.AsyncClient` and `httpx2.AsyncClient`, and so for the frameworks
    that accept one. Key, URL, connections, timeouts and retries are those of the
    client; the base URL, key and timeouts of the caller are ignored. Switch off the
    caller's own retries, which is `max_retries=0` for openai.

    `POST .../chat/completions` is a chat call, whose body is sent unchanged, together
    with the headers `HTTP-Referer` and `X-*`, except `X-Stainless-*`. GET requests are
    sent as `client.request` sends them. Other requests raise `UnsupportedProtocol`.

    Errors are those that a caller of httpx expects: a response with the status of an
    `APIError`, or else an exception of httpx. A request that this library rejects
    without sending it gets a response with status 400. A stream that fails ends with an
    event `{"error": ...}`, or with an exception if the connection failed.

    Closing the transport, as httpx does, leaves the client open.

    Args:
        client: The client that sends the requests.
    """

    def __init__(self, client: AsyncOpenRouter) -> None:
        self._client = client

    async def handle_async_request(self, request: Any) -> Any:
        """
        Send a request of httpx or httpx2, and return a response of the same package.

        Raises:
            Exception: An exception of httpx or httpx2, if there is no response.
        """
        # The classes come from the package that made the request, so that neither of
        # the two has to be installed.
        package = sys.modules[type(request).__module__.partition(".")[0]]
        url = request.url
        try:
            if request.method == "GET":
                value = await self._client.request(
                    "GET", _below_base_url(url.path), query=_query(url)
                )
                return _json_response(package, 200, {}, value)
            if request.method == "POST" and url.path.endswith(_CHAT_PATH):
                return await self._send(package, request)
        except APIError as error:
            return _error_response(package, error)
        except OpenRouterError as error:
            failure = _exception(package, error)
            if failure is None:
                return _json_response(package, 400, {}, _error_object(error, 400))
            raise failure from error
        raise package.UnsupportedProtocol(
            f"OpenRouterTransport does not support {request.method} {url.path}: it "
            f"sends POST {_CHAT_PATH} and GET requests. Use another httpx client for "
            "other requests."
        )

    async def _send(self, package: Any, request: Any) -> Any:
        """Send a chat request, and return the response or the open stream."""
        body = _request_body(await request.aread())
        # Each option of a call takes some time, and most requests have none.
        options: CallOptions = {}
        if headers := _forwarded_headers(request):
            options["extra_headers"] = headers
        if request.url.query:
            options["extra_query"] = _query(request.url)
        send = self._client.chat.send
        call: Awaitable[ChatResponse | ChatStream]
        try:
            call = (
                send(body, stream=True, **options)
                if body.get("stream")
                else send(body, **options)
            )
        except TypeError as error:
            raise ConfigurationError(str(error)) from None
        result = await call
        if not isinstance(result, ChatStream):
            return _json_response(package, 200, result.http.headers, result.raw)
        return package.Response(
            200,
            headers=[
                *_kept_headers(result.http.headers),
                (b"content-type", b"text/event-stream; charset=utf-8"),
            ],
            stream=_stream_class(package)(result),
        )

    async def aclose(self) -> None:
        """Do nothing: the client belongs to the caller, and may have other users."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        await self.aclose()


class _EventBytes:
    """The body of a streamed response, one item for each read of the connection."""

    def __init__(self, stream: ChatStream, package: Any) -> None:
        self._stream = stream
        self._package = package
        self._ended = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if self._ended:
            raise StopAsyncIteration
        try:
            runs = await self._stream.read_runs()
        except APIError as error:
            self._ended = True
            return _event(_stream_error(error))
        except OpenRouterError as error:
            raise _read_exception(self._package, error) from error
        if runs:
            return b"".join(map(encode_run, runs))
        self._ended = True
        return _DONE

    async def aclose(self) -> None:
        """Close the stream at once; httpx calls this however reading ends."""
        await self._stream.aclose()


@cache
def _stream_class(package: Any) -> Any:
    """Return a factory of streams that httpx or httpx2 accepts as its own."""

    def __init__(self: Any, stream: ChatStream) -> None:  # noqa: N807 - a method
        _EventBytes.__init__(self, stream, package)

    return type(
        "EventByteStream",
        (_EventBytes, package.AsyncByteStream),
        {"__init__": __init__},
    )


def _request_body(data: bytes) -> dict[str, Any]:
    """
    Decode the body of a chat request.

    Raises:
        ConfigurationError: If it is not a JSON object.
    """
    try:
        body = as_object(decode_finite(data))
    except MalformedResponseError as error:
        raise ConfigurationError(
            f"The body of a chat request must be a JSON object. {error.message}"
        ) from None
    if not body:
        raise ConfigurationError(
            "The body of a chat request must be a non-empty JSON object."
        )
    return body


def _below_base_url(path: str) -> str:
    """
    Return a path without the part that belongs to a base URL.

    The base URL of the caller is unknown; its path ends in "/v1", like those of
    OpenRouter and OpenAI.
    """
    _, version, rest = path.partition("/v1/")
    return f"/{rest}" if version else path


def _forwarded_headers(request: Any) -> dict[str, str]:
    """Return the headers that concern OpenRouter, and not the caller's library."""
    # Not `items()`, which decodes and combines all of them.
    names = {name.lower() for name, _ in request.headers.raw}
    return {
        name.decode("ascii"): request.headers[name.decode("ascii")]
        for name in names
        if name == b"http-referer"
        or (name.startswith(b"x-") and not name.startswith(b"x-stainless-"))
    }


def _query(url: Any) -> dict[str, list[str]]:
    params = url.params
    return {name: params.get_list(name) for name in params}


def _kept_headers(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    """Return headers as bytes, which httpx takes as they are."""
    return [
        (name.encode(), value.encode("utf-8", "surrogateescape"))
        for name, value in headers.items()
        if name.lower() not in _DROPPED_HEADERS
    ]


def _json_response(
    package: Any, status: int, headers: Mapping[str, str], value: Any
) -> Any:
    kept = [*_kept_headers(headers), (b"content-type", b"application/json")]
    return package.Response(status, headers=kept, content=encode(value))


def _error_response(package: Any, error: APIError) -> Any:
    """Return a response with the status, headers and body of an error."""
    # This client has retried what can be retried. openai, which some frameworks create
    # with retries of its own, reads this header of OpenAI's servers.
    headers = CIMultiDict(error.headers)
    headers["x-should-retry"] = "false"
    if error.retry_after is not None:
        # The server may have named it in the body, where the caller does not look.
        headers.setdefault("retry-after", f"{error.retry_after:g}")
    body = error.body
    if isinstance(body, str) and body:
        kept = _kept_headers(headers)
        return package.Response(error.status_code, headers=kept, text=body)
    if not body:
        body = _error_object(error, error.status_code)
    return _json_response(package, error.status_code, headers, body)


def _stream_error(error: APIError) -> Any:
    """
    Return the event for an error in a stream, with the error at the top level.

    Clients of OpenAI's API find it nowhere else, while providers put it into a choice,
    or send only a finish reason.
    """
    received = as_object(error.body)
    if as_object(received.get("error")):
        return received
    return _error_object(error, error.status_code)


def _error_object(error: OpenRouterError, status: int) -> dict[str, Any]:
    """Return an error in the format of OpenRouter and OpenAI."""
    kind = type(error).__name__
    return {"error": {"message": error.message, "code": status, "type": kind}}


def _exception(package: Any, error: OpenRouterError) -> Exception | None:
    """Return the exception for a call without a response; None if it was not sent."""
    if isinstance(error, APITimeoutError):
        name = _TIMEOUT_CLASSES.get(error.phase, "ReadTimeout")
    elif isinstance(error, APIConnectionError | ClosedError):
        name = "ConnectError"
    elif isinstance(error, MalformedResponseError):
        name = "RemoteProtocolError"
    elif isinstance(error, StreamInterruptedError):
        name = "ReadError"
    else:
        return None
    failure: Exception = getattr(package, name)(str(error))
    return failure


def _read_exception(package: Any, error: OpenRouterError) -> Exception:
    """Return the exception for a stream that broke off."""
    if isinstance(error, APITimeoutError):
        name = "ReadTimeout"
    elif isinstance(error, MalformedResponseError):
        name = "RemoteProtocolError"
    else:
        name = "ReadError"
    failure: Exception = getattr(package, name)(str(error))
    return failure


def _event(value: Any) -> bytes:
    return b"data: %b\n\n" % encode(value)
