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
    LAST,
    STREAM,
    Peer,
    Step,
    chunk,
    close,
    cut,
    deaf,
    drip,
    event,
    flood,
    half_close,
    http,
    piece,
    read,
    read_head,
    reset,
    send,
    serve,
    silence,
    sse,
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
        says: A part of the exception's message.
        partial: The text in `error.partial`; None for no partial response.
        known: If True, the error has the generation id.
        phase: The timeout that expired.
        connection: "pooled" if it is back in the pool, else "closed".
    """

    raises: type[OpenRouterError] | None = None
    sent: int = 1
    billing: tuple[Billing, ...] = ("billed",)
    says: str = ""
    partial: str | None = None
    known: bool = False
    phase: str | None = None
    connection: Connection = "closed"


GOOD: Final = Result(connection="pooled")
GOOD_CLOSED: Final = Result()
NOT_ACCEPTED_3: Final[tuple[Billing, ...]] = ("not_accepted",) * 3


@frozen
class Row:
    """
    One fault.

    Attributes:
        fault: Number in the list of faults.
        what: Description for the reader of the table.
        scripts: Returns the steps of the server for each connection in turn.
        plain: The outcome of a plain call; None if the fault is one of streams.
        stream: The outcome of a stream; None if the fault is one of plain calls.
        warm: If True, another call is made before, so that a connection is pooled.
        settle: Seconds between the two calls.
        body: Characters in the prompt.
        timeouts: The timeouts of the call.
        certificate: Method of `Authority` that makes the server's certificate; None
            for a server without TLS.
        scheme: Scheme of the base URL, if it is not the server's.
    """

    fault: str
    what: str
    scripts: Scripts
    plain: Result | None
    stream: Result | None
    warm: bool = False
    settle: float = 0.0
    body: int = 2
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


def whole(kind: Kind) -> bytes:
    """Return the bytes of a good response."""
    return http() if kind == "plain" else sse()


CONTENT: Final[Mapping[Kind, bytes]] = {"plain": HELLO, "stream": STREAM}


def apart(data: bytes) -> Sequence[Step]:
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


def head(*headers: str, length: int | str | None = None) -> Callable[[Kind], bytes]:
    """Return a function that makes a good response with further headers."""

    def make(kind: Kind) -> bytes:
        if kind == "plain":
            return http(HELLO, "200 OK", *headers, length=length)
        media = "text/event-stream"
        return http(STREAM, "200 OK", *headers, media=media, length=length)

    return make


def broken(
    raises: type[OpenRouterError] = APIConnectionError,
    *,
    says: str = "",
    sent: int = 1,
    **more: Any,
) -> Result:
    """Return the outcome of a failure that is not retried, because it may be billed."""
    billing: Billing = "billed" if "partial" in more else "maybe"
    return Result(raises, sent=sent, billing=(billing,), says=says, **more)


def insured(raises: type[OpenRouterError], says: str = "") -> Result:
    """Return the outcome of an error that is retried, because it is not charged."""
    return Result(
        raises,
        sent=3,
        billing=("insured",) * 3,
        says=says,
        known=True,
        connection="pooled",
    )


INVALID_HTTP: Final = broken(MalformedResponseError, says="not valid HTTP")
NO_CERTIFICATE: Final = Result(
    APIConnectionError, sent=0, billing=("not_accepted",), says="certificate"
)
BAD_HANDSHAKE: Final = Result(
    APIConnectionError, sent=0, billing=("not_accepted",), says="TLS handshake"
)


def compressed(data: bytes, encoding: str = "gzip") -> Callable[[Kind], bytes]:
    """Return a function that makes a response whose body claims to be compressed."""

    def make(kind: Kind) -> bytes:
        media = "application/json" if kind == "plain" else "text/event-stream"
        return http(data, "200 OK", f"Content-Encoding: {encoding}", media=media)

    return make


def nested(depth: int) -> bytes:
    """Return deeply nested JSON."""
    return b'{"choices":' + b"[" * depth + b"]" * depth + b"}"


def failing(status: str, body: bytes = b"", *headers: str) -> Scripts:
    """Return scripts that send the same status to every attempt."""
    response = http(body, status, *headers)
    return lambda _: [
        (read, send(response), read, send(response), read, send(response))
    ]


def in_body(code: object) -> Callable[[Kind], bytes]:
    """Return a function that makes a 200 with an error as its body or first event."""
    error = {"error": {"code": code, "message": "no"}}

    def make(kind: Kind) -> bytes:
        if kind == "plain":
            return http(json.dumps(error).encode())
        return sse(event(error) + DONE)

    return make


async def read_hello(at: Peer) -> None:
    """Read the first message of a TLS client."""
    await at.reader.read(65536)


NO_SUCH_VERSION: Final = b"\x15\x03\x01\x00\x02\x02\x46"
"""A fatal alert: protocol_version. Source: RFC 8446, 6.2."""


def three_times(make: Callable[[Kind], bytes]) -> Scripts:
    """Return scripts that send the same response to every attempt."""
    return lambda kind: [(read, send(make(kind))) * 3]


LONG_NUMBER: Final = b'{"n":' + b"1" * 1_000_000 + b","

MALFORMED: Final = broken(MalformedResponseError)
SEEN: Final[dict[str, Any]] = {"known": True, "partial": "hel"}
STALLED: Final = broken(APITimeoutError, phase="read", known=True)
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
        broken(sent=0),
        broken(sent=0),
    ),
    Row(
        "F10",
        "connection accepted, then closed",
        steps(close),
        broken(sent=0),
        broken(sent=0),
    ),
    Row(
        "F10",
        "request read, then closed without a response",
        steps(read, close),
        broken(says="before a response"),
        broken(says="before a response"),
    ),
    Row(
        "F10",
        "request read, then reset",
        steps(read, reset),
        broken(says="before a response"),
        broken(says="before a response"),
    ),
    Row(
        "F11",
        "request read, then silence",
        steps(read, silence),
        broken(APITimeoutError, phase="first_token"),
        broken(APITimeoutError, phase="first_token"),
        timeouts={"first_token": 0.05},
    ),
    Row(
        "F12",
        "a request body of 8 MB is not read",
        steps(deaf(0.3), silence),
        broken(APITimeoutError, sent=0, phase="first_token"),
        broken(APITimeoutError, sent=0, phase="first_token"),
        body=8_000_000,
        timeouts={"first_token": 0.15},
    ),
    Row(
        "F13",
        "reset during the upload",
        steps(read_head, reset),
        broken(),
        broken(),
        body=8_000_000,
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
        Result(PayloadTooLargeError, billing=("not_accepted",), known=True),
        Result(PayloadTooLargeError, billing=("not_accepted",), known=True),
        body=8_000_000,
    ),
    Row(
        "F15",
        "the pooled connection is closed while idle",
        lambda _: [(read, send(http()), close), (serve,)],
        GOOD,
        GOOD,
        warm=True,
        settle=0.02,
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
        settle=0.05,
    ),
    Row(
        "F17",
        "the idle connection receives garbage",
        lambda _: [
            (read, send(http()), wait(0.01), send(b"\0garbage")),
            (serve,),
        ],
        GOOD,
        GOOD,
        warm=True,
        settle=0.05,
    ),
    Row(
        "F18",
        "a response with Connection: close",
        respond(head("Connection: close", length="as it is"), silence),
        GOOD_CLOSED,
        GOOD_CLOSED,
    ),
    Row(
        "F21",
        "TLS: a self-signed certificate",
        steps(serve),
        NO_CERTIFICATE,
        NO_CERTIFICATE,
        certificate="self_signed",
    ),
    Row(
        "F22",
        "TLS: an expired certificate",
        steps(serve),
        NO_CERTIFICATE,
        NO_CERTIFICATE,
        certificate="expired",
    ),
    Row(
        "F23",
        "TLS: the certificate of another host",
        steps(serve),
        NO_CERTIFICATE,
        NO_CERTIFICATE,
        certificate="other_host",
    ),
    Row(
        "F24",
        "TLS: an unknown authority",
        steps(serve),
        NO_CERTIFICATE,
        NO_CERTIFICATE,
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
        lambda kind: [(read, send(whole(kind)[:-9]), cut)],
        broken(known=True),
        GOOD_CLOSED,
        certificate="good",
    ),
    Row(
        "F29",
        "TLS: the same, without a Content-Length",
        lambda kind: [
            (read, send(http(HELLO[:-9], length=None)), cut)
            if kind == "plain"
            else (read, send(sse(chunk("hel"), chunked=False)), cut)
        ],
        broken(MalformedResponseError, known=True),
        broken(StreamInterruptedError, **SEEN),
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
        respond(head("X-Long: " + "x" * 100_000)),
        INVALID_HTTP,
        INVALID_HTTP,
    ),
    Row(
        "F32",
        "a thousand headers",
        respond(head(*(f"X-{n}: 1" for n in range(1000)))),
        INVALID_HTTP,
        INVALID_HTTP,
    ),
    Row(
        "F33",
        "NUL in the value of a header",
        respond(head("X-Nul: a\0b")),
        INVALID_HTTP,
        INVALID_HTTP,
    ),
    Row(
        "F34",
        "headers byte by byte, too slowly",
        lambda kind: [(read, drip(whole(kind), every=0.01), silence)],
        broken(APITimeoutError, phase="total"),
        broken(APITimeoutError, phase="total"),
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
                send(whole(kind)),
            )
        ],
        GOOD,
        GOOD,
    ),
    Row(
        "F36",
        "Content-Length is larger than the body",
        respond(head(length=2000), close),
        broken(says="before the end of the response", known=True),
        GOOD_CLOSED,
    ),
    Row(
        "F37",
        "an unsolicited response after the body",
        lambda kind: [(read, send(whole(kind) + http(b"{}", "418 Poison")), silence)],
        GOOD_CLOSED,
        GOOD_CLOSED,
    ),
    Row(
        "F38",
        "a negative Content-Length",
        respond(head(length=-1), silence),
        INVALID_HTTP,
        INVALID_HTTP,
    ),
    Row(
        "F38",
        "a Content-Length of letters",
        respond(head(length="many"), silence),
        INVALID_HTTP,
        INVALID_HTTP,
    ),
    Row(
        "F38",
        "two different Content-Lengths",
        respond(head("Content-Length: 3", length=5), silence),
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
                        piece(CONTENT[kind]) + LAST,
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
        lambda kind: [apart(sse(CONTENT[kind]).replace(LAST, b"xyz\r\n"))],
        broken(says="before the end of the response", known=True),
        GOOD_CLOSED,
    ),
    Row(
        "F40",
        "an invalid chunk size, in one segment with the headers",
        lambda kind: [(read, send(sse(CONTENT[kind]).replace(LAST, b"xyz\r\n")))],
        INVALID_HTTP,
        INVALID_HTTP,
    ),
    Row(
        "F40",
        "a chunk of 2**70 bytes",
        lambda _: [apart(sse(chunk("hel")).replace(LAST, b"4" * 18 + b"\r\n"))],
        Result(
            APIConnectionError,
            billing=("maybe",),
            says="before the end of the response",
            **SEEN,
        ),
        broken(says="before the end of the response", **SEEN),
    ),
    Row(
        "F41",
        "cut before the last chunk",
        lambda kind: [(read, send(sse(CONTENT[kind])[:-5]), close)],
        broken(says="before the end of the response", known=True),
        GOOD_CLOSED,
    ),
    Row(
        "F43",
        "the body stalls",
        lambda kind: [
            (read, send(http()[:-9]), silence)
            if kind == "plain"
            else (read, send(sse(chunk("hel"))[:-5]), silence)
        ],
        STALLED,
        broken(APITimeoutError, phase="read", **SEEN),
        timeouts=SHORT_READ,
    ),
    Row(
        "F43",
        "a chunked JSON body stalls",
        steps(
            read,
            send(http(b"", "200 OK", "Transfer-Encoding: chunked", length=None)),
            send(piece(HELLO[:-9])),
            silence,
        ),
        STALLED,
        STALLED,
        timeouts=SHORT_READ,
    ),
    Row(
        "F43",
        "a body that ends with the connection stalls",
        steps(
            read, send(http(HELLO, "200 OK", "Connection: close", length=None)), silence
        ),
        STALLED,
        STALLED,
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
        STALLED,
        broken(APITimeoutError, phase="read", **SEEN),
        timeouts=SHORT_READ,
    ),
    Row(
        "F43",
        "white space, then silence",
        steps(read, send(http(b" \n", length=99)), silence),
        STALLED,
        STALLED,
        timeouts=SHORT_READ,
    ),
    Row(
        "F43",
        "a body without a content type stalls",
        steps(read, send(http(media=None)[:-9]), silence),
        STALLED,
        STALLED,
        timeouts=SHORT_READ,
    ),
    Row(
        "F43",
        "white space before a body without a content type",
        lambda kind: [
            (
                read,
                send(http(b"", media=None, length=20 + len(CONTENT[kind]))),
                drip(b" " * 20, every=0.02),
                send(CONTENT[kind]),
            )
        ],
        GOOD,
        GOOD,
        timeouts={"total": 5, "read": 0.25},
    ),
    Row(
        "F43",
        "plain: events sent for a plain request stall",
        steps(read, send(sse(chunk("hel"))[:-5]), silence),
        Result(APITimeoutError, billing=("maybe",), phase="read", **SEEN),
        None,
        timeouts=SHORT_READ,
    ),
    Row(
        "F43",
        "400, and its body stalls",
        steps(read, send(http(b'{"error":', "400 Bad Request", length=99)), silence),
        Result(BadRequestError, billing=("not_accepted",), known=True),
        Result(BadRequestError, billing=("not_accepted",), known=True),
        timeouts=SHORT_READ,
    ),
    Row(
        "F43",
        "503, and its body stalls",
        lambda _: [
            (read, send(http(b"<html>", "503 Busy", length=99)), silence) for _ in "123"
        ],
        Result(ServiceUnavailableError, sent=3, billing=("insured",) * 3, known=True),
        Result(ServiceUnavailableError, sent=3, billing=("insured",) * 3, known=True),
        timeouts=SHORT_READ,
    ),
    Row(
        "F43",
        "504, perhaps of the edge, and its body stalls",
        steps(read, send(http(b"<html>", "504 Late", length=99)), silence),
        broken(GatewayTimeoutError, known=True),
        broken(GatewayTimeoutError, known=True),
        timeouts=SHORT_READ,
    ),
    Row(
        "F44",
        "a slow body without long pauses",
        lambda kind: [(read, drip(whole(kind), size=32, every=0.005))],
        GOOD,
        GOOD,
        timeouts={"first_token": 1, "read": 0.1, "idle": 0.4},
    ),
    Row(
        "F45",
        "the response byte by byte",
        lambda kind: [(read, drip(whole(kind)))],
        GOOD,
        GOOD,
    ),
    Row(
        "F47",
        "the server closes long after the response",
        lambda kind: [
            (
                read,
                send(head("Connection: close", length="as it is")(kind)),
                wait(0.4),
            )
        ],
        GOOD_CLOSED,
        GOOD_CLOSED,
        timeouts={"total": 0.3},
    ),
    Row(
        "F48",
        "invalid gzip",
        respond(compressed(b"no gzip at all")),
        broken(
            MalformedResponseError,
            says="decompressed",
            known=True,
            connection="pooled",
        ),
        broken(
            MalformedResponseError,
            says="decompressed",
            known=True,
            connection="pooled",
        ),
    ),
    Row(
        "F48",
        "gzip that ends early",
        lambda kind: [
            (
                read,
                send(compressed(gzip.compress(CONTENT[kind])[:-40])(kind)),
            )
        ],
        broken(MalformedResponseError, known=True, connection="pooled"),
        broken(StreamInterruptedError, known=True, connection="pooled"),
    ),
    Row(
        "F48",
        "deflate without its header",
        lambda kind: [
            (
                read,
                send(
                    compressed(
                        zlib.compress(CONTENT[kind])[2:-4],
                        "deflate",
                    )(kind)
                ),
            )
        ],
        GOOD,
        GOOD,
    ),
    Row(
        "F48",
        "brotli, which was not accepted",
        respond(compressed(b"\x0b\x02\x80hello\x03", "br")),
        broken(
            MalformedResponseError,
            says="Install the package Brotli",
            known=True,
            connection="pooled",
        ),
        broken(
            MalformedResponseError,
            says="Install the package Brotli",
            known=True,
            connection="pooled",
        ),
    ),
    Row(
        "F50",
        "twenty nested encodings",
        respond(compressed(gzip.compress(HELLO), ", ".join(["gzip"] * 20))),
        broken(MalformedResponseError, known=True, connection="pooled"),
        broken(StreamInterruptedError, known=True, connection="pooled"),
    ),
    Row(
        "F51",
        "200 without a body",
        respond(lambda kind: head(length=0)(kind).partition(b"{")[0]),
        broken(MalformedResponseError, says="empty", known=True, connection="pooled"),
        None,
    ),
    Row(
        "F51",
        "stream: no event",
        respond(lambda _: sse(b"")),
        None,
        broken(StreamInterruptedError, known=True, connection="pooled"),
    ),
    Row(
        "F52",
        "200 with invalid JSON",
        respond(lambda _: http(b'{"choices": [}')),
        broken(MalformedResponseError, known=True, connection="pooled"),
        broken(MalformedResponseError, known=True, connection="pooled"),
    ),
    Row(
        "F53",
        "200 with JSON that is not an object",
        respond(lambda _: http(b"[1, 2]")),
        broken(
            MalformedResponseError,
            says="not an object",
            known=True,
            connection="pooled",
        ),
        broken(
            MalformedResponseError,
            says="not an object",
            known=True,
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
        GOOD,
        GOOD,
    ),
    Row(
        "F54",
        "200 with an error of code 502",
        three_times(in_body(502)),
        insured(BadGatewayError),
        insured(BadGatewayError),
    ),
    Row(
        "F54",
        '200 with an error of code "429"',
        three_times(in_body("429")),
        insured(RateLimitError),
        insured(RateLimitError),
    ),
    Row(
        "F55",
        "200 with an HTML page",
        respond(
            lambda _: http(
                b"<html><title>Log in</title>" + b"x" * 9999, media="text/html"
            ),
        ),
        broken(
            MalformedResponseError, says="'Log in'", known=True, connection="pooled"
        ),
        broken(
            MalformedResponseError, says="'Log in'", known=True, connection="pooled"
        ),
    ),
    Row(
        "F56",
        "503 with an HTML page",
        failing("503 Busy", b"<html><title>Busy</title>", "Content-Language: en"),
        insured(ServiceUnavailableError, says="'Busy'"),
        insured(ServiceUnavailableError, says="'Busy'"),
    ),
    Row(
        "F56",
        "503 without a body",
        failing("503 Busy"),
        insured(ServiceUnavailableError, says="no message"),
        insured(ServiceUnavailableError, says="no message"),
    ),
    Row(
        "F56",
        "400, and its body breaks off",
        steps(read, send(http(b'{"error"', "400 Bad", length=2000)), close),
        Result(BadRequestError, known=True, billing=("not_accepted",)),
        Result(BadRequestError, known=True, billing=("not_accepted",)),
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
        broken(
            MalformedResponseError, says="too deeply", known=True, connection="pooled"
        ),
        broken(MalformedResponseError, says="too deeply", connection="pooled", **SEEN),
    ),
    Row(
        "F57",
        "a number of 1,000,000 digits",
        respond(
            lambda kind: (
                http(CONTENT[kind].replace(b"{", LONG_NUMBER, 1))
                if kind == "plain"
                else sse(CONTENT[kind].replace(b"{", LONG_NUMBER, 1))
            )
        ),
        GOOD,
        GOOD,
    ),
    Row(
        "F58",
        "103, then closed",
        steps(read, send(b"HTTP/1.1 103 Early Hints\r\n\r\n"), close),
        broken(),
        broken(),
    ),
    Row(
        "F59",
        "204",
        steps(read, send(http(b"", "204 No Content", length=None))),
        broken(MalformedResponseError, says="204", known=True, connection="pooled"),
        broken(MalformedResponseError, known=True, connection="pooled"),
    ),
    Row(
        "F59",
        "205",
        steps(read, send(http(b"", "205 Reset Content", length=0))),
        broken(MalformedResponseError, says="205", known=True, connection="pooled"),
        broken(MalformedResponseError, known=True, connection="pooled"),
    ),
    Row(
        "F63",
        "stream: reset before the first event",
        steps(read, send(sse(b": hi\n\n")[:-5]), wait(0.02), reset),
        None,
        broken(known=True),
    ),
    Row(
        "F64",
        "stream: reset after an event",
        steps(read, send(sse(chunk("hel"))[:-5]), wait(0.02), reset),
        None,
        broken(**SEEN),
    ),
    Row(
        "F64",
        "stream: closed after an event, inside the chunked body",
        steps(read, send(sse(chunk("hel"))[:-5]), close),
        None,
        broken(**SEEN),
    ),
    Row(
        "F65",
        "stream: ends without a finish reason and without [DONE]",
        steps(read, send(sse(chunk("hel")))),
        None,
        broken(StreamInterruptedError, connection="pooled", **SEEN),
    ),
    Row(
        "F65",
        "stream: ends with a finish reason and without [DONE]",
        steps(read, send(sse(STREAM.replace(DONE, b"")))),
        None,
        GOOD,
    ),
    Row(
        "F65",
        "stream: reset after the finish reason",
        steps(read, send(sse(STREAM.replace(DONE, b""))[:-5]), wait(0.02), reset),
        None,
        GOOD_CLOSED,
    ),
    *(
        Row(
            "F66",
            f"stream: an error after an event, {name}",
            steps(read, send(sse(chunk("hel") + event(fault) + DONE))),
            None,
            Result(raises, billing=("insured",), connection="pooled", **SEEN),
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
        broken(
            MalformedResponseError, says="Invalid JSON", connection="pooled", **SEEN
        ),
    ),
    Row(
        "F68",
        "stream: silence after an event",
        steps(read, send(sse(chunk("hel"))[:-5]), silence),
        None,
        broken(APITimeoutError, phase="idle", **SEEN),
        timeouts={"idle": 0.05},
    ),
    Row(
        "F68",
        "stream: only comments after an event",
        steps(
            read,
            send(sse(chunk("hel"))[:-5]),
            drip(piece(b": on it\n\n") * 50, size=14, every=0.01),
        ),
        None,
        broken(APITimeoutError, phase="idle", **SEEN),
        timeouts={"idle": 0.1, "read": 0.05},
    ),
    Row(
        "F69",
        "stream: comments for a long time, then the response",
        steps(
            read,
            send(sse(b": on it\n\n")[:-5]),
            drip(piece(b": on it\n\n") * 15, size=14, every=0.01),
            send(piece(STREAM) + LAST),
        ),
        None,
        GOOD,
        timeouts={"read": 0.1},
    ),
    Row(
        "F69",
        "stream: comments only",
        steps(
            read,
            send(sse(b": on it\n\n")[:-5]),
            drip(piece(b": on it\n\n") * 50, size=14, every=0.01),
        ),
        None,
        broken(APITimeoutError, phase="first_token", known=True),
        timeouts={"first_token": 0.1, "read": 0.05},
    ),
    Row(
        "F72",
        "stream: more events after [DONE]",
        steps(read, send(sse(STREAM + chunk("more") * 3))),
        None,
        GOOD,
    ),
    Row(
        "F72",
        "stream: stays open after [DONE]",
        steps(read, send(sse()[:-5]), silence),
        None,
        GOOD_CLOSED,
        timeouts={"total": 1},
    ),
    Row(
        "F72",
        "stream: endless data after [DONE]",
        steps(read, send(sse()[:-5]), flood(piece(b": more\n\n" * 999), 2**30)),
        None,
        GOOD_CLOSED,
        timeouts={"total": 2},
    ),
    *(
        Row(
            "F73",
            f"stream: Content-Type {media}",
            steps(read, send(http(STREAM, media=media))),
            None,
            GOOD,
        )
        for media in (None, "text/plain", "Text/Event-Stream; charset=latin-1")
    ),
    Row(
        "F73",
        "stream: events with Content-Type application/json",
        steps(read, send(http(STREAM))),
        None,
        GOOD,
    ),
    Row(
        "F73",
        "stream: a completion sent for a stream request",
        steps(read, send(http())),
        None,
        GOOD,
    ),
    Row(
        "F73",
        "plain: events sent for a plain request",
        steps(read, send(sse())),
        GOOD,
        None,
    ),
    Row(
        "F74",
        "stream: byte order mark, CR, CRLF, NUL, a line separator, bad UTF-8",
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
        GOOD,
    ),
)
