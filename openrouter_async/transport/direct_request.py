"""DirectRequest: a request on aiohttp's connections, sent without its session."""

import logging
from collections.abc import Iterable
from typing import Any, Final, TypeAlias

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from ..protocol.call import Call
from ..protocol.headers import Secret, SecretBytes
from ..protocol.lru import LRUCache
from .aiohttp_compat import ConnectRequest, find_missing, watch
from .watchdog import Watchdog

logger = logging.getLogger("openrouter_async")

# asyncio and aiohttp buffer this much before they pause the sender. Larger bodies have
# to be sent in steps.
MAX_BODY_BYTES: Final = 64 * 1024
# A client has few sets of headers, unless each call adds its own.
_MAX_REQUESTS: Final = 100
# The watchdog has the timeouts.
_NO_TIMEOUT: Final = aiohttp.ClientTimeout(total=None, sock_connect=None)
# RFC 9110, 15.2: these precede the response. 101 is one: no HTTP follows it.
_INFORMATIONAL: Final = frozenset(range(100, 200)) - {101}


class DirectRequests:
    """
    The direct requests of a session: one for each URL, set of headers and key.

    For each call, aiohttp's session builds a request, a writer, a response and copies
    of the headers, which takes more time than all the rest of a plain call. A direct
    request uses aiohttp's connections and parser, and builds the head only once.
    """

    __slots__ = ("_requests", "_session")

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session
        self._requests = LRUCache[tuple[str, int, Secret], DirectRequest](_MAX_REQUESTS)

    @classmethod
    def create(cls, session: aiohttp.ClientSession) -> "DirectRequests | None":
        """
        Return the direct requests of a session.

        Returns:
            None if this version of aiohttp, or the caller's connector, lacks something
            that they need. All requests then go through the session.
        """
        missing = find_missing(session.connector)
        if missing is None:
            return cls(session)
        logger.debug("Requests go through aiohttp's session: %s is missing.", missing)
        return None

    def find(self, call: Call[Any], key: Secret) -> "DirectRequest | None":
        """
        Return the request of a call like an earlier one; None if there was none.

        Args:
            call: A call that `accepts` returns True for.
            key: The Authorization header.
        """
        # Comparing the headers would take as long as sending them. The request holds
        # them, so that no others have this id while it is in the cache.
        return self._requests.get((call.url, id(call.headers), key))

    def add(self, call: Call[Any], url: URL, key: Secret) -> "DirectRequest":
        """
        Return the request of a call, and keep it.

        Args:
            call: A call that `accepts` returns True for, and that has no proxy. Its
                headers must not change.
            url: Its URL.
            key: The Authorization header.
        """
        request = DirectRequest(self._session, call, url, key)
        self._requests[call.url, id(call.headers), key] = request
        return request


def accepts(call: Call[Any]) -> bool:
    """
    Return False if the session has to send a call.

    It sends a large body or a file, in steps, and other methods than POST, because it
    repeats some of them.
    """
    body = call.body
    return (
        body is not None
        and len(body) <= MAX_BODY_BYTES
        and call.method == "POST"
        and call.body_path is None
    )


class DirectRequest:
    """A request that can be sent any number of times, each time with another body."""

    __slots__ = ("_connector", "_head", "_headers", "_request", "_tail")

    def __init__(
        self, session: aiohttp.ClientSession, call: Call[Any], url: URL, key: Secret
    ) -> None:
        """
        Build the head of a request.

        Args:
            session: An open session; the request uses its connector.
            call: Has the method and the headers, which were checked before.
            url: The URL.
            key: The Authorization header.
        """
        connector: Any = session.connector
        self._connector = connector
        self._headers = call.headers
        headers = CIMultiDict(call.headers)
        headers["Authorization"] = key
        # It adds the headers that the session would add, in the same order.
        self._request = ConnectRequest(
            call.method,
            url,
            headers=headers,
            data=aiohttp.BytesPayload(b""),
            session=session,
        )
        if connector.force_close:
            self._request.headers["Connection"] = "close"
        lines = list(self._request.headers.items())
        length_at = [name for name, _ in lines].index("Content-Length")
        start = f"{call.method} {url.raw_path_qs} HTTP/1.1\r\n".encode()
        # The bytes up to the length of the body, and those from there to the body.
        self._head = SecretBytes(
            b"%b%bContent-Length: " % (start, _encode(lines[:length_at]))
        )
        self._tail = SecretBytes(b"\r\n%b\r\n" % _encode(lines[length_at + 1 :]))

    async def send(self, body: bytes, watchdog: Watchdog) -> "DirectResponse":
        """
        Send the request, and wait for the headers of its response.

        Args:
            body: At most `MAX_BODY_BYTES`.
            watchdog: The timeouts of the call; it learns the connection.

        Raises:
            ClientError, OSError: As `aiohttp.ClientSession.request`.
        """
        connection = await self._connector.connect(self._request, [], _NO_TIMEOUT)
        try:
            watch(connection, watchdog)
            self._write(connection, body)
            message, content = await connection.protocol.read()
            while message.code in _INFORMATIONAL:
                message, content = await connection.protocol.read()
        except HttpProcessingError as error:
            connection.close()
            raise aiohttp.ClientResponseError(
                self._request.request_info,
                (),
                status=error.code,
                message=error.message,
                headers=error.headers,
            ) from error
        except BaseException:
            connection.close()
            raise
        return DirectResponse(connection, message.code, message.headers, content)

    def _write(self, connection: Any, body: bytes) -> None:
        connection.protocol.set_response_params(
            read_until_eof=True, auto_decompress=False
        )
        transport = connection.transport
        if transport is None or transport.is_closing():
            # asyncio would ignore the bytes, and there would be no response.
            raise aiohttp.ClientConnectionResetError("The transport is closing.")
        # One write is one system call, and one record of TLS. The bytes are not a local
        # variable, because tracebacks may show those.
        transport.write(b"%b%d%b%b" % (self._head, len(body), self._tail, body))


def _encode(lines: Iterable[tuple[str, str]]) -> SecretBytes:
    return SecretBytes(
        "".join(f"{name}: {value}\r\n" for name, value in lines).encode()
    )


class DirectResponse:
    """
    The response to a direct request.

    At the end of the body, its connection returns to aiohttp's pool.

    Attributes:
        status: The status code.
        headers: The headers.
        content: The body, as it was sent.
    """

    __slots__ = ("_connection", "content", "headers", "status")

    def __init__(
        self,
        connection: Any,
        status: int,
        headers: CIMultiDictProxy[str],
        content: aiohttp.StreamReader,
    ) -> None:
        """
        Take over a connection from a request.

        Args:
            connection: aiohttp's connection.
            status: The status code.
            headers: The headers.
            content: The body. If it has ended, the connection is released at once.
        """
        self._connection: Any = connection
        self.status = status
        self.headers = headers
        self.content = content
        content.on_eof(self._release)

    def close(self) -> None:
        """Close the connection, unless it was released; a task that reads is woken."""
        if self._connection is not None:
            if self.content.exception() is None:
                self.content.set_exception(
                    aiohttp.ClientConnectionError("The response was closed.")
                )
            self._connection.close()
            self._connection = None

    def _release(self) -> None:
        connection, self._connection = self._connection, None
        connection.release()


Response: TypeAlias = aiohttp.ClientResponse | DirectResponse
"""The response to a request, of the session or to a direct request."""
