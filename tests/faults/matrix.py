"""The table of faults: what the server does, and how a call ends."""

import gzip
import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal

from attrs import Factory, frozen
from script import (
    COMPLETION,
    DONE,
    HELLO,
    LAST_CHUNK,
    STREAM,
    Peer,
    Step,
    abort,
    chunk,
    close,
    drip,
    event,
    flood,
    half_close,
    http,
    http_chunk,
    read,
    read_head,
    reset,
    send,
    serve,
    silence,
    sse,
    stop_reading,
    wait,
)

from openrouter_async import (
    APIConnectionError,
    APITimeoutError,
    BadGatewayError,
    BadRequestError,
    GatewayTimeoutError,
    MalformedResponseError,
    OpenRouterError,
    PayloadTooLargeError,
    RateLimitError,
    ServiceUnavailableError,
    StreamInterruptedError,
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

ROWS: Final[Sequence[Row]] = (
    Row(
        "F09",
        "connection accepted, then reset",
        steps(reset),
        not_retried(sent=0),
        not_retried(sent=0),
    ),
    Row(
        "F10",
        "connection accepted, then closed",
        steps(close),
        not_retried(sent=0),
        not_retried(sent=0),
    ),
    Row(
        "F10",
        "request read, then closed without a response",
        steps(read, close),
        not_retried(message="before a response"),
        not_retried(message="before a response"),
    ),
    Row(
        "F10",
        "request read, then reset",
        steps(read, reset),
        not_retried(message="before a response"),
        not_retried(message="before a response"),
    ),
    Row(
        "F11",
        "request read, then silence",
        steps(read, silence),
        not_retried(APITimeoutError, phase="first_token"),
        not_retried(APITimeoutError, phase="first_token"),
        timeouts={"first_token": 0.05},
    ),
    Row(
        "F12",
        "a request body of 8 MB is not read",
        steps(stop_reading(0.3), silence),
        not_retried(APITimeoutError, sent=0, phase="first_token"),
        not_retried(APITimeoutError, sent=0, phase="first_token"),
        prompt_size=8_000_000,
        timeouts={"first_token": 0.15},
    ),
    Row(
        "F13",
        "reset during the upload",
        steps(read_head, reset),
        not_retried(),
        not_retried(),
        prompt_size=8_000_000,
    ),
    Row(
        "F14",
        "413 before the request body was read",
        steps(
            read_head,
            send(http(b"", "413 Too Large", "Connection: close")),
            half_close,
            silence,
        ),
        Result(PayloadTooLargeError, billing=("not_accepted",), has_id=True),
        Result(PayloadTooLargeError, billing=("not_accepted",), has_id=True),
        prompt_size=8_000_000,
    ),
    Row(
        "F15",
        "the pooled connection is closed while idle",
        lambda _: [(read, send(http()), close), (serve,)],
        OK_POOLED,
        OK_POOLED,
        warm=True,
        pause=0.02,
    ),
    Row(
        "F16",
        "the pooled connection is reset when it is reused",
        lambda _: [(read, send(http()), read, reset), (serve,)],
        Result(sent=2, billing=("not_accepted", "billed"), connection="pooled"),
        Result(sent=2, billing=("not_accepted", "billed"), connection="pooled"),
        warm=True,
    ),
    Row(
        "F16",
        "the pooled connection is closed when it is reused",
        lambda _: [(read, send(http()), read, close), (serve,)],
        Result(sent=2, billing=("not_accepted", "billed"), connection="pooled"),
        Result(sent=2, billing=("not_accepted", "billed"), connection="pooled"),
        warm=True,
    ),
    Row(
        "F17",
        "the idle connection receives an unsolicited response",
        lambda _: [
            (read, send(http()), wait(0.01), send(http(b"{}", "418 Poison"))),
            (serve,),
        ],
        Result(billing=("not_accepted", "billed"), connection="pooled"),
        Result(billing=("not_accepted", "billed"), connection="pooled"),
        warm=True,
        pause=0.05,
    ),
    Row(
        "F17",
        "the idle connection receives invalid data",
        lambda _: [
            (read, send(http()), wait(0.01), send(b"\0garbage")),
            (serve,),
        ],
        OK_POOLED,
        OK_POOLED,
        warm=True,
        pause=0.05,
    ),
    Row(
        "F18",
        "a response with Connection: close",
        respond(with_headers("Connection: close", length="as it is"), silence),
        OK_CLOSED,
        OK_CLOSED,
    ),
    Row(
        "F21",
        "TLS: a self-signed certificate",
        steps(serve),
        INVALID_CERTIFICATE,
        INVALID_CERTIFICATE,
        certificate="self_signed",
    ),
    Row(
        "F22",
        "TLS: an expired certificate",
        steps(serve),
        INVALID_CERTIFICATE,
        INVALID_CERTIFICATE,
        certificate="expired",
    ),
    Row(
        "F23",
        "TLS: the certificate of another host",
        steps(serve),
        INVALID_CERTIFICATE,
        INVALID_CERTIFICATE,
        certificate="other_host",
    ),
    Row(
        "F24",
        "TLS: a certificate of an unknown authority",
        steps(serve),
        INVALID_CERTIFICATE,
        INVALID_CERTIFICATE,
        certificate="unknown",
    ),
    Row(
        "F25",
        "TLS: closed during the handshake",
        lambda _: [(close,)] * 3,
        Result(APIConnectionError, sent=0, billing=NOT_ACCEPTED_3),
        Result(APIConnectionError, sent=0, billing=NOT_ACCEPTED_3),
        scheme="https",
    ),
    Row(
        "F25",
        "TLS: reset during the handshake",
        lambda _: [(reset,)] * 3,
        Result(APIConnectionError, sent=0, billing=NOT_ACCEPTED_3),
        Result(APIConnectionError, sent=0, billing=NOT_ACCEPTED_3),
        scheme="https",
    ),
    Row(
        "F26",
        "TLS: the handshake stalls",
        lambda _: [(silence,)] * 3,
        Result(APITimeoutError, sent=0, billing=NOT_ACCEPTED_3, phase="connect"),
        Result(APITimeoutError, sent=0, billing=NOT_ACCEPTED_3, phase="connect"),
        scheme="https",
        timeouts={"connect": 0.05},
    ),
    Row(
        "F27",
        "plain HTTP on the TLS port",
        steps(send(http(b"", "400 Bad Request")), silence),
        BAD_HANDSHAKE,
        BAD_HANDSHAKE,
        scheme="https",
    ),
    Row(
        "F28",
        "TLS: only an old version is supported",
        steps(read_hello, send(NO_SUCH_VERSION), silence),
        BAD_HANDSHAKE,
        BAD_HANDSHAKE,
        scheme="https",
    ),
    Row(
        "F29",
        "TLS: cut inside the body without close_notify",
        lambda kind: [(read, send(ok_response(kind)[:-9]), abort)],
        not_retried(has_id=True),
        OK_CLOSED,
        certificate="good",
    ),
    Row(
        "F29",
        "TLS: cut inside a body of unknown length without close_notify",
        lambda kind: [
            (read, send(http(HELLO[:-9], length=None)), abort)
            if kind == "plain"
            else (read, send(sse(chunk("hel"), chunked=False)), abort)
        ],
        not_retried(MalformedResponseError, has_id=True),
        not_retried(StreamInterruptedError, **AFTER_HEL),
        certificate="good",
    ),
    Row(
        "F30",
        "an invalid status line",
        steps(read, send(b"\x16\x03garbage\r\n\r\n"), silence),
        INVALID_HTTP,
        INVALID_HTTP,
    ),
    Row(
        "F31",
        "a response in HTTP/0.9",
        steps(read, send(b"hello\n"), close),
        INVALID_HTTP,
        INVALID_HTTP,
    ),
    Row(
        "F31",
        "a frame of HTTP/2",
        steps(read, send(b"\0\0\x12\4\0\0\0\0\0\0\3\0\0\0\x64"), silence),
        INVALID_HTTP,
        INVALID_HTTP,
    ),
    Row(
        "F32",
        "a header of 100 kB",
        respond(with_headers("X-Long: " + "x" * 100_000)),
        INVALID_HTTP,
        INVALID_HTTP,
    ),
    Row(
        "F32",
        "1,000 headers",
        respond(with_headers(*(f"X-{n}: 1" for n in range(1000)))),
        INVALID_HTTP,
        INVALID_HTTP,
    ),
    Row(
        "F33",
        "NUL in the value of a header",
        respond(with_headers("X-Nul: a\0b")),
        INVALID_HTTP,
        INVALID_HTTP,
    ),
    Row(
        "F34",
        "headers byte by byte, slower than `total`",
        lambda kind: [(read, drip(ok_response(kind), every=0.01), silence)],
        not_retried(APITimeoutError, phase="total"),
        not_retried(APITimeoutError, phase="total"),
        timeouts={"total": 0.1},
    ),
    Row(
        "F35",
        "100 and 103 before the response",
        lambda kind: [
            (
                read,
                send(b"HTTP/1.1 100 Continue\r\n\r\n"),
                send(b"HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n"),
                send(ok_response(kind)),
            )
        ],
        OK_POOLED,
        OK_POOLED,
    ),
    Row(
        "F36",
        "Content-Length is larger than the body",
        respond(with_headers(length=2000), close),
        not_retried(message="before the end of the response", has_id=True),
        OK_CLOSED,
    ),
    Row(
        "F37",
        "an unsolicited response after the body",
        lambda kind: [
            (read, send(ok_response(kind) + http(b"{}", "418 Poison")), silence)
        ],
        OK_CLOSED,
        OK_CLOSED,
    ),
    Row(
        "F38",
        "a negative Content-Length",
        respond(with_headers(length=-1), silence),
        INVALID_HTTP,
        INVALID_HTTP,
    ),
    Row(
        "F38",
        "a Content-Length that is not a number",
        respond(with_headers(length="many"), silence),
        INVALID_HTTP,
        INVALID_HTTP,
    ),
    Row(
        "F38",
        "two different Content-Lengths",
        respond(with_headers("Content-Length: 3", length=5), silence),
        INVALID_HTTP,
        INVALID_HTTP,
    ),
    Row(
        "F39",
        "both Content-Length and chunked encoding",
        lambda kind: [
            (
                read,
                send(
                    http(
                        http_chunk(BODIES[kind]) + LAST_CHUNK,
                        "200 OK",
                        "Transfer-Encoding: chunked",
                        media="application/json"
                        if kind == "plain"
                        else "text/event-stream",
                        length=5,
                    )
                ),
                silence,
            )
        ],
        INVALID_HTTP,
        INVALID_HTTP,
    ),
    Row(
        "F40",
        "an invalid chunk size",
        lambda kind: [in_segments(sse(BODIES[kind]).replace(LAST_CHUNK, b"xyz\r\n"))],
        not_retried(message="before the end of the response", has_id=True),
        OK_CLOSED,
    ),
    Row(
        "F40",
        "an invalid chunk size, in one segment with the headers",
        lambda kind: [(read, send(sse(BODIES[kind]).replace(LAST_CHUNK, b"xyz\r\n")))],
        INVALID_HTTP,
        INVALID_HTTP,
    ),
    Row(
        "F40",
        "a chunk of 2**70 bytes",
        lambda _: [
            in_segments(sse(chunk("hel")).replace(LAST_CHUNK, b"4" * 18 + b"\r\n"))
        ],
        Result(
            APIConnectionError,
            billing=("maybe",),
            message="before the end of the response",
            **AFTER_HEL,
        ),
        not_retried(message="before the end of the response", **AFTER_HEL),
    ),
    Row(
        "F41",
        "cut before the last chunk",
        lambda kind: [(read, send(sse(BODIES[kind])[:-5]), close)],
        not_retried(message="before the end of the response", has_id=True),
        OK_CLOSED,
    ),
    Row(
        "F43",
        "the body stalls",
        lambda kind: [
            (read, send(http()[:-9]), silence)
            if kind == "plain"
            else (read, send(sse(chunk("hel"))[:-5]), silence)
        ],
        READ_TIMEOUT,
        not_retried(APITimeoutError, phase="read", **AFTER_HEL),
        timeouts=SHORT_READ,
    ),
    Row(
        "F43",
        "a chunked JSON body stalls",
        steps(
            read,
            send(http(b"", "200 OK", "Transfer-Encoding: chunked", length=None)),
            send(http_chunk(HELLO[:-9])),
            silence,
        ),
        READ_TIMEOUT,
        READ_TIMEOUT,
        timeouts=SHORT_READ,
    ),
    Row(
        "F43",
        "a body that ends with the connection stalls",
        steps(
            read, send(http(HELLO, "200 OK", "Connection: close", length=None)), silence
        ),
        READ_TIMEOUT,
        READ_TIMEOUT,
        timeouts=SHORT_READ,
    ),
    Row(
        "F43",
        "a compressed body stalls",
        lambda kind: [
            (read, send(compressed(gzip.compress(HELLO))(kind)[:-20]), silence)
            if kind == "plain"
            else (
                read,
                send(compressed(gzip.compress(chunk("hel")))(kind)[:-8]),
                silence,
            )
        ],
        READ_TIMEOUT,
        not_retried(APITimeoutError, phase="read", **AFTER_HEL),
        timeouts=SHORT_READ,
    ),
    Row(
        "F43",
        "white space, then silence",
        steps(read, send(http(b" \n", length=99)), silence),
        READ_TIMEOUT,
        READ_TIMEOUT,
        timeouts=SHORT_READ,
    ),
    Row(
        "F43",
        "a body without a content type stalls",
        steps(read, send(http(media=None)[:-9]), silence),
        READ_TIMEOUT,
        READ_TIMEOUT,
        timeouts=SHORT_READ,
    ),
    Row(
        "F43",
        "white space before a body without a content type",
        lambda kind: [
            (
                read,
                send(http(b"", media=None, length=20 + len(BODIES[kind]))),
                drip(b" " * 20, every=0.02),
                send(BODIES[kind]),
            )
        ],
        OK_POOLED,
        OK_POOLED,
        timeouts={"total": 5, "read": 0.25},
    ),
    Row(
        "F43",
        "plain: events sent for a plain request stall",
        steps(read, send(sse(chunk("hel"))[:-5]), silence),
        Result(APITimeoutError, billing=("maybe",), phase="read", **AFTER_HEL),
        None,
        timeouts=SHORT_READ,
    ),
    Row(
        "F43",
        "400, and its body stalls",
        steps(read, send(http(b'{"error":', "400 Bad Request", length=99)), silence),
        Result(BadRequestError, billing=("not_accepted",), has_id=True),
        Result(BadRequestError, billing=("not_accepted",), has_id=True),
        timeouts=SHORT_READ,
    ),
    Row(
        "F43",
        "503, and its body stalls",
        lambda _: [
            (read, send(http(b"<html>", "503 Busy", length=99)), silence) for _ in "123"
        ],
        Result(ServiceUnavailableError, sent=3, billing=("insured",) * 3, has_id=True),
        Result(ServiceUnavailableError, sent=3, billing=("insured",) * 3, has_id=True),
        timeouts=SHORT_READ,
    ),
    Row(
        "F43",
        "504, possibly of a proxy, and its body stalls",
        steps(read, send(http(b"<html>", "504 Late", length=99)), silence),
        not_retried(GatewayTimeoutError, has_id=True),
        not_retried(GatewayTimeoutError, has_id=True),
        timeouts=SHORT_READ,
    ),
    Row(
        "F44",
        "a slow body without long pauses",
        lambda kind: [(read, drip(ok_response(kind), size=32, every=0.005))],
        OK_POOLED,
        OK_POOLED,
        timeouts={"first_token": 1, "read": 0.1, "idle": 0.4},
    ),
    Row(
        "F45",
        "the response byte by byte",
        lambda kind: [(read, drip(ok_response(kind)))],
        OK_POOLED,
        OK_POOLED,
    ),
    Row(
        "F47",
        "Connection: close, but the server closes late",
        lambda kind: [
            (
                read,
                send(with_headers("Connection: close", length="as it is")(kind)),
                wait(0.4),
            )
        ],
        OK_CLOSED,
        OK_CLOSED,
        timeouts={"total": 0.3},
    ),
    Row(
        "F48",
        "invalid gzip",
        respond(compressed(b"not gzip at all")),
        not_retried(
            MalformedResponseError,
            message="decompressed",
            has_id=True,
            connection="pooled",
        ),
        not_retried(
            MalformedResponseError,
            message="decompressed",
            has_id=True,
            connection="pooled",
        ),
    ),
    Row(
        "F48",
        "gzip that ends early",
        lambda kind: [
            (
                read,
                send(compressed(gzip.compress(BODIES[kind])[:-40])(kind)),
            )
        ],
        not_retried(MalformedResponseError, has_id=True, connection="pooled"),
        not_retried(StreamInterruptedError, has_id=True, connection="pooled"),
    ),
    Row(
        "F48",
        "deflate without its header",
        lambda kind: [
            (
                read,
                send(
                    compressed(
                        zlib.compress(BODIES[kind])[2:-4],
                        "deflate",
                    )(kind)
                ),
            )
        ],
        OK_POOLED,
        OK_POOLED,
    ),
    Row(
        "F48",
        "brotli, which was not accepted",
        respond(compressed(b"\x0b\x02\x80hello\x03", "br")),
        not_retried(
            MalformedResponseError,
            message="Install the package Brotli",
            has_id=True,
            connection="pooled",
        ),
        not_retried(
            MalformedResponseError,
            message="Install the package Brotli",
            has_id=True,
            connection="pooled",
        ),
    ),
    Row(
        "F50",
        "twenty nested encodings",
        respond(compressed(gzip.compress(HELLO), ", ".join(["gzip"] * 20))),
        not_retried(MalformedResponseError, has_id=True, connection="pooled"),
        not_retried(StreamInterruptedError, has_id=True, connection="pooled"),
    ),
    Row(
        "F51",
        "200 without a body",
        respond(lambda kind: with_headers(length=0)(kind).partition(b"{")[0]),
        not_retried(
            MalformedResponseError, message="empty", has_id=True, connection="pooled"
        ),
        None,
    ),
    Row(
        "F51",
        "stream: no event",
        respond(lambda _: sse(b"")),
        None,
        not_retried(StreamInterruptedError, has_id=True, connection="pooled"),
    ),
    Row(
        "F52",
        "200 with invalid JSON",
        respond(lambda _: http(b'{"choices": [}')),
        not_retried(MalformedResponseError, has_id=True, connection="pooled"),
        not_retried(MalformedResponseError, has_id=True, connection="pooled"),
    ),
    Row(
        "F53",
        "200 with JSON that is not an object",
        respond(lambda _: http(b"[1, 2]")),
        not_retried(
            MalformedResponseError,
            message="a JSON object, not list",
            has_id=True,
            connection="pooled",
        ),
        not_retried(
            MalformedResponseError,
            message="a JSON object, not list",
            has_id=True,
            connection="pooled",
        ),
    ),
    Row(
        "F53",
        "200 with unknown, null and mistyped fields",
        respond(
            lambda _: http(
                json.dumps(
                    {
                        **COMPLETION,
                        "new": {"a": [1]},
                        "created": "today",
                        "system_fingerprint": None,
                        "usage": [],
                    }
                ).encode()
            ),
        ),
        OK_POOLED,
        OK_POOLED,
    ),
    Row(
        "F54",
        "200 with an error of code 502",
        three_times(error_in_200(502)),
        retried(BadGatewayError),
        retried(BadGatewayError),
    ),
    Row(
        "F54",
        '200 with an error of code "429"',
        three_times(error_in_200("429")),
        retried(RateLimitError),
        retried(RateLimitError),
    ),
    Row(
        "F55",
        "200 with an HTML page",
        respond(
            lambda _: http(
                b"<html><title>Log in</title>" + b"x" * 9999, media="text/html"
            ),
        ),
        not_retried(
            MalformedResponseError, message="'Log in'", has_id=True, connection="pooled"
        ),
        not_retried(
            MalformedResponseError, message="'Log in'", has_id=True, connection="pooled"
        ),
    ),
    Row(
        "F56",
        "503 with an HTML page",
        error_status("503 Busy", b"<html><title>Busy</title>", "Content-Language: en"),
        retried(ServiceUnavailableError, message="'Busy'"),
        retried(ServiceUnavailableError, message="'Busy'"),
    ),
    Row(
        "F56",
        "503 without a body",
        error_status("503 Busy"),
        retried(ServiceUnavailableError, message="no message"),
        retried(ServiceUnavailableError, message="no message"),
    ),
    Row(
        "F56",
        "400, and its body breaks off",
        steps(read, send(http(b'{"error"', "400 Bad", length=2000)), close),
        Result(BadRequestError, has_id=True, billing=("not_accepted",)),
        Result(BadRequestError, has_id=True, billing=("not_accepted",)),
    ),
    Row(
        "F57",
        "JSON nested 100,000 deep",
        lambda kind: [
            (
                read,
                send(
                    http(nested(100_000))
                    if kind == "plain"
                    else sse(chunk("hel") + b"data: " + nested(100_000) + b"\n\n")
                ),
            )
        ],
        not_retried(
            MalformedResponseError,
            message="too deeply",
            has_id=True,
            connection="pooled",
        ),
        not_retried(
            MalformedResponseError,
            message="too deeply",
            connection="pooled",
            **AFTER_HEL,
        ),
    ),
    Row(
        "F57",
        "a number of 1,000,000 digits",
        respond(
            lambda kind: (
                http(BODIES[kind].replace(b"{", LONG_NUMBER, 1))
                if kind == "plain"
                else sse(BODIES[kind].replace(b"{", LONG_NUMBER, 1))
            )
        ),
        OK_POOLED,
        OK_POOLED,
    ),
    Row(
        "F58",
        "103, then closed",
        steps(read, send(b"HTTP/1.1 103 Early Hints\r\n\r\n"), close),
        not_retried(),
        not_retried(),
    ),
    Row(
        "F59",
        "204",
        steps(read, send(http(b"", "204 No Content", length=None))),
        not_retried(
            MalformedResponseError, message="204", has_id=True, connection="pooled"
        ),
        not_retried(MalformedResponseError, has_id=True, connection="pooled"),
    ),
    Row(
        "F59",
        "205",
        steps(read, send(http(b"", "205 Reset Content", length=0))),
        not_retried(
            MalformedResponseError, message="205", has_id=True, connection="pooled"
        ),
        not_retried(MalformedResponseError, has_id=True, connection="pooled"),
    ),
    Row(
        "F63",
        "stream: reset before the first event",
        steps(read, send(sse(b": hi\n\n")[:-5]), wait(0.02), reset),
        None,
        not_retried(has_id=True),
    ),
    Row(
        "F64",
        "stream: reset after an event",
        steps(read, send(sse(chunk("hel"))[:-5]), wait(0.02), reset),
        None,
        not_retried(**AFTER_HEL),
    ),
    Row(
        "F64",
        "stream: closed after an event, inside the chunked body",
        steps(read, send(sse(chunk("hel"))[:-5]), close),
        None,
        not_retried(**AFTER_HEL),
    ),
    Row(
        "F65",
        "stream: ends without a finish reason and without [DONE]",
        steps(read, send(sse(chunk("hel")))),
        None,
        not_retried(StreamInterruptedError, connection="pooled", **AFTER_HEL),
    ),
    Row(
        "F65",
        "stream: ends with a finish reason and without [DONE]",
        steps(read, send(sse(STREAM.replace(DONE, b"")))),
        None,
        OK_POOLED,
    ),
    Row(
        "F65",
        "stream: reset after the finish reason",
        steps(read, send(sse(STREAM.replace(DONE, b""))[:-5]), wait(0.02), reset),
        None,
        OK_CLOSED,
    ),
    *(
        Row(
            "F66",
            f"stream: an error after an event, {name}",
            steps(read, send(sse(chunk("hel") + event(fault) + DONE))),
            None,
            Result(raises, billing=("insured",), connection="pooled", **AFTER_HEL),
        )
        for name, fault, raises in (
            ("code 502", {"error": {"code": 502}}, BadGatewayError),
            ('code "429"', {"error": {"code": "429"}}, RateLimitError),
        )
    ),
    Row(
        "F67",
        "stream: an event that is not JSON",
        steps(read, send(sse(chunk("hel") + event("{secret") + DONE))),
        None,
        not_retried(
            MalformedResponseError,
            message="Invalid JSON",
            connection="pooled",
            **AFTER_HEL,
        ),
    ),
    Row(
        "F68",
        "stream: silence after an event",
        steps(read, send(sse(chunk("hel"))[:-5]), silence),
        None,
        not_retried(APITimeoutError, phase="idle", **AFTER_HEL),
        timeouts={"idle": 0.05},
    ),
    Row(
        "F68",
        "stream: comments after an event, for longer than `idle`",
        steps(
            read,
            send(sse(chunk("hel"))[:-5]),
            drip(http_chunk(b": on it\n\n") * 50, size=14, every=0.01),
        ),
        None,
        not_retried(APITimeoutError, phase="idle", **AFTER_HEL),
        timeouts={"idle": 0.1, "read": 0.05},
    ),
    Row(
        "F69",
        "stream: comments for longer than `read`, then the response",
        steps(
            read,
            send(sse(b": on it\n\n")[:-5]),
            drip(http_chunk(b": on it\n\n") * 15, size=14, every=0.01),
            send(http_chunk(STREAM) + LAST_CHUNK),
        ),
        None,
        OK_POOLED,
        timeouts={"read": 0.1},
    ),
    Row(
        "F69",
        "stream: comments only",
        steps(
            read,
            send(sse(b": on it\n\n")[:-5]),
            drip(http_chunk(b": on it\n\n") * 50, size=14, every=0.01),
        ),
        None,
        not_retried(APITimeoutError, phase="first_token", has_id=True),
        timeouts={"first_token": 0.1, "read": 0.05},
    ),
    Row(
        "F72",
        "stream: more events after [DONE]",
        steps(read, send(sse(STREAM + chunk("more") * 3))),
        None,
        OK_POOLED,
    ),
    Row(
        "F72",
        "stream: stays open after [DONE]",
        steps(read, send(sse()[:-5]), silence),
        None,
        OK_CLOSED,
        timeouts={"total": 1},
    ),
    Row(
        "F72",
        "stream: endless data after [DONE]",
        steps(read, send(sse()[:-5]), flood(http_chunk(b": more\n\n" * 999), 2**30)),
        None,
        OK_CLOSED,
        timeouts={"total": 2},
    ),
    *(
        Row(
            "F73",
            f"stream: Content-Type {media}",
            steps(read, send(http(STREAM, media=media))),
            None,
            OK_POOLED,
        )
        for media in (None, "text/plain", "Text/Event-Stream; charset=latin-1")
    ),
    Row(
        "F73",
        "stream: events with Content-Type application/json",
        steps(read, send(http(STREAM))),
        None,
        OK_POOLED,
    ),
    Row(
        "F73",
        "stream: a completion sent for a stream request",
        steps(read, send(http())),
        None,
        OK_POOLED,
    ),
    Row(
        "F73",
        "plain: events sent for a plain request",
        steps(read, send(sse())),
        OK_POOLED,
        None,
    ),
    Row(
        "F74",
        "stream: byte order mark, CR, CRLF, NUL, line separator, invalid UTF-8",
        steps(
            read,
            send(
                sse(
                    b"\xef\xbb\xbf"
                    + STREAM.replace(b"\n\n", b"\r\r", 1)
                    .replace(b"\n\n", b"\r\n\r\n", 1)
                    .replace(
                        b"data:",
                        ": \u2028 \0 ".encode() + b"\xff\ndata:",
                    )
                )
            ),
        ),
        None,
        OK_POOLED,
    ),
)
