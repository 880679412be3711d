"""A row of the table of faults, its expected result, and what rows are made of."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal

from attrs import Factory, frozen
from script import (
    DONE,
    HELLO,
    STREAM,
    Peer,
    Step,
    event,
    http,
    read,
    send,
    silence,
    sse,
    wait,
)

from openrouter_async import (
    APIConnectionError,
    APITimeoutError,
    MalformedResponseError,
    OpenRouterError,
    Timeouts,
)

Kind = Literal["plain", "stream"]
Billing = Literal["not_accepted", "insured", "maybe", "billed"]
Connection = Literal["pooled", "closed"]
Scripts = Callable[[Kind], Sequence[Sequence[Step]]]


@frozen
class Result:
    """
    The outcome of a call.

    Attributes:
        raises: The exact type of the exception; None for the response "hello".
        sent: Number of requests of which the server received the whole head.
        billing: The billing of each attempt.
        message: A part of the exception's message.
        partial: The text in `error.partial`; None for no partial response.
        has_id: If True, the error has the generation id.
        phase: The timeout that expired.
        connection: "pooled" if it is back in the pool, else "closed".
    """

    raises: type[OpenRouterError] | None = None
    sent: int = 1
    billing: tuple[Billing, ...] = ("billed",)
    message: str = ""
    partial: str | None = None
    has_id: bool = False
    phase: str | None = None
    connection: Connection = "closed"


OK_POOLED: Final = Result(connection="pooled")
OK_CLOSED: Final = Result()
NOT_ACCEPTED_3: Final[tuple[Billing, ...]] = ("not_accepted",) * 3


@frozen
class Row:
    """
    One fault.

    Attributes:
        fault: Number in the list of faults.
        description: The behavior of the server, for readers of the table.
        scripts: Returns the steps of the server for each connection in turn.
        plain: The outcome of a plain call; None if the fault is one of streams.
        stream: The outcome of a stream; None if the fault is one of plain calls.
        warm: If True, another call is made before, so that a connection is pooled.
        pause: Seconds between the two calls.
        prompt_size: Characters in the prompt.
        timeouts: The timeouts of the call.
        certificate: Method of `Authority` that makes the server's certificate; None
            for a server without TLS.
        scheme: Scheme of the base URL, if it is not the server's.
    """

    fault: str
    description: str
    scripts: Scripts
    plain: Result | None
    stream: Result | None
    warm: bool = False
    pause: float = 0.0
    prompt_size: int = 2
    timeouts: Mapping[str, float | None] = Factory(dict[str, float | None])
    certificate: str | None = None
    scheme: str | None = None

    def call_timeouts(self) -> Timeouts:
        """Return the timeouts of the call; by default 5 seconds, so that no test hangs."""
        return Timeouts(**{"first_token": 5.0, "total": 5.0, **self.timeouts})


def steps(*each: Step) -> Scripts:
    """Return scripts for one connection, the same for plain calls and streams."""
    return lambda _: [each]


def respond(make: Callable[[Kind], bytes], *then: Step) -> Scripts:
    """Return scripts that read a request, send the bytes of `make`, and run `then`."""
    return lambda kind: [(read, send(make(kind)), *then)]


def ok_response(kind: Kind) -> bytes:
    """Return the bytes of a valid response."""
    return http() if kind == "plain" else sse()


BODIES: Final[Mapping[Kind, bytes]] = {"plain": HELLO, "stream": STREAM}


def in_segments(data: bytes) -> Sequence[Step]:
    """Read a request, then send the head and the body in segments of their own."""
    at = data.index(b"\r\n\r\n") + 4
    end = max(at, data.rindex(b"\n\n") + 4 if b"\n\n" in data else at)
    return (
        read,
        send(data[:at]),
        wait(0.01),
        send(data[at:end]),
        wait(0.01),
        send(data[end:]),
        silence,
    )


def with_headers(
    *headers: str, length: int | str | None = None
) -> Callable[[Kind], bytes]:
    """Return a function that makes a valid response with further headers."""

    def make(kind: Kind) -> bytes:
        if kind == "plain":
            return http(HELLO, "200 OK", *headers, length=length)
        media = "text/event-stream"
        return http(STREAM, "200 OK", *headers, media=media, length=length)

    return make


def not_retried(
    raises: type[OpenRouterError] = APIConnectionError,
    *,
    message: str = "",
    sent: int = 1,
    **more: Any,
) -> Result:
    """Return the outcome of a failure that is not retried, because it may be billed."""
    billing: Billing = "billed" if "partial" in more else "maybe"
    return Result(raises, sent=sent, billing=(billing,), message=message, **more)


def retried(raises: type[OpenRouterError], message: str = "") -> Result:
    """Return the outcome of an error that is retried, because it is not charged."""
    return Result(
        raises,
        sent=3,
        billing=("insured",) * 3,
        message=message,
        has_id=True,
        connection="pooled",
    )


INVALID_HTTP: Final = not_retried(MalformedResponseError, message="not valid HTTP")
INVALID_CERTIFICATE: Final = Result(
    APIConnectionError, sent=0, billing=("not_accepted",), message="certificate"
)
BAD_HANDSHAKE: Final = Result(
    APIConnectionError, sent=0, billing=("not_accepted",), message="TLS handshake"
)


def compressed(data: bytes, encoding: str = "gzip") -> Callable[[Kind], bytes]:
    """Return a function that makes a response whose body claims to be compressed."""

    def make(kind: Kind) -> bytes:
        media = "application/json" if kind == "plain" else "text/event-stream"
        return http(data, "200 OK", f"Content-Encoding: {encoding}", media=media)

    return make


def nested(depth: int) -> bytes:
    """Return JSON with `depth` nested arrays."""
    return b'{"choices":' + b"[" * depth + b"]" * depth + b"}"


def error_status(status: str, body: bytes = b"", *headers: str) -> Scripts:
    """Return scripts that send the same status to every attempt."""
    response = http(body, status, *headers)
    return lambda _: [
        (read, send(response), read, send(response), read, send(response))
    ]


def error_in_200(code: object) -> Callable[[Kind], bytes]:
    """Return a function that makes a 200 with an error as its body or first event."""
    error = {"error": {"code": code, "message": "no"}}

    def make(kind: Kind) -> bytes:
        if kind == "plain":
            return http(json.dumps(error).encode())
        return sse(event(error) + DONE)

    return make


async def read_hello(peer: Peer) -> None:
    """Read the ClientHello of TLS."""
    await peer.reader.read(65536)


NO_SUCH_VERSION: Final = b"\x15\x03\x01\x00\x02\x02\x46"
"""A fatal alert: protocol_version. Source: RFC 8446, 6.2."""


def three_times(make: Callable[[Kind], bytes]) -> Scripts:
    """Return scripts that send the same response to every attempt."""
    return lambda kind: [(read, send(make(kind))) * 3]


LONG_NUMBER: Final = b'{"n":' + b"1" * 1_000_000 + b","

AFTER_HEL: Final[dict[str, Any]] = {"has_id": True, "partial": "hel"}
READ_TIMEOUT: Final = not_retried(APITimeoutError, phase="read", has_id=True)
SHORT_READ: Final[dict[str, float]] = {
    "total": 5,
    "read": 0.1,
    "idle": 4,
    "first_token": 4,
}
