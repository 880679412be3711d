"""The table: what goes wrong on the wire, and what a call makes of it."""

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
    What a call comes to.

    Attributes:
        raises: The exact type of the exception; None: the response "hello".
        sent: How often the request reached the server, whole head.
        billing: What each attempt may have cost.
        says: A part of the exception's text.
        partial: The text that had arrived; None: nothing had.
        known: Whether the error knows the generation's id.
        phase: The clock that ran out.
        connection: What became of it.
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
THRICE: Final[tuple[Billing, ...]] = ("not_accepted",) * 3


@frozen
class Row:
    """
    One fault.

    Attributes:
        fault: Its number in the list of faults.
        what: What happens, for the reader of the table.
        scripts: What the server does with each connection; a number of them.
        plain: What a plain call makes of it.
        stream: What a stream makes of it; None: there is none.
        warm: Make a call before it, so that the connection is a pooled one.
        settle: Wait that long between the two, seconds.
        body: Size of the prompt.
        timeouts: Of the call.
        certificate: The server's, by its name at the authority; None: no TLS.
        scheme: Of the base URL, where it is not what the server speaks.
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

    def clocks(self) -> Timeouts:
        """Return its timeouts; nothing in here takes longer than five seconds."""
        return Timeouts(**{"first_token": 5.0, "total": 5.0, **self.timeouts})


def steps(*each: Step) -> Scripts:
    """One connection, the same for both kinds."""
    return lambda _: [each]


def answers(make: Callable[[Kind], bytes], *then: Step) -> Scripts:
    """One connection: read the request, send what `make` makes, go on with `then`."""
    return lambda kind: [(read, send(make(kind)), *then)]


def whole(kind: Kind) -> bytes:
    """Return a good answer."""
    return http() if kind == "plain" else sse()


CONTENT: Final[Mapping[Kind, bytes]] = {"plain": HELLO, "stream": STREAM}


def apart(data: bytes) -> Sequence[Step]:
    """Read a request; send the head of the answer, then its body."""
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
    """Return a good answer with headers of its own."""

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
    """Return what comes of something that is not sent again: maybe billed."""
    billing: Billing = "billed" if "partial" in more else "maybe"
    return Result(raises, sent=sent, billing=(billing,), says=says, **more)


def insured(raises: type[OpenRouterError], says: str = "") -> Result:
    """Return what comes of an error that is sent again, and is not charged."""
    return Result(
        raises,
        sent=3,
        billing=("insured",) * 3,
        says=says,
        known=True,
        connection="pooled",
    )


UNREADABLE: Final = broken(MalformedResponseError, says="not valid HTTP")
NO_CERTIFICATE: Final = Result(
    APIConnectionError, sent=0, billing=("not_accepted",), says="certificate"
)
SHAKEN: Final = Result(
    APIConnectionError, sent=0, billing=("not_accepted",), says="TLS handshake"
)


def compressed(data: bytes, encoding: str = "gzip") -> Callable[[Kind], bytes]:
    """Return `data` as the body of an answer that says it is compressed."""

    def make(kind: Kind) -> bytes:
        media = "application/json" if kind == "plain" else "text/event-stream"
        return http(data, "200 OK", f"Content-Encoding: {encoding}", media=media)

    return make


def nested(depth: int) -> bytes:
    """Return JSON, nested deeply."""
    return b'{"choices":' + b"[" * depth + b"]" * depth + b"}"


def failing(status: str, body: bytes = b"", *headers: str) -> Scripts:
    """Every attempt gets this status."""
    response = http(body, status, *headers)
    return lambda _: [
        (read, send(response), read, send(response), read, send(response))
    ]


def in_body(code: object) -> Callable[[Kind], bytes]:
    """Return a 200 whose body, or first event, is an error."""
    error = {"error": {"code": code, "message": "no"}}

    def make(kind: Kind) -> bytes:
        if kind == "plain":
            return http(json.dumps(error).encode())
        return sse(event(error) + DONE)

    return make


async def read_hello(at: Peer) -> None:
    """Read what a client says first in TLS."""
    await at.reader.read(65536)


NO_SUCH_VERSION: Final = b"\x15\x03\x01\x00\x02\x02\x46"
"""A fatal alert: protocol_version. Source: RFC 8446, 6.2."""


def thrice(make: Callable[[Kind], bytes]) -> Scripts:
    """Every attempt gets the same, over one connection."""
    return lambda kind: [(read, send(make(kind))) * 3]


LONG_NUMBER: Final = b'{"n":' + b"1" * 1_000_000 + b","

MALFORMED: Final = broken(MalformedResponseError)
SEEN: Final[dict[str, Any]] = {"known": True, "partial": "hel"}
STALLED: Final = broken(APITimeoutError, phase="read", known=True)
BRIEF: Final[dict[str, float]] = {
    "total": 5,
    "read": 0.1,
    "idle": 4,
    "first_token": 4,
}

ROWS: Final[Sequence[Row]] = (
    Row(
        "F09",
        "accepted, then reset at once",
        steps(reset),
        broken(sent=0),
        broken(sent=0),
    ),
    Row(
        "F10",
        "accepted, then closed without a byte",
        steps(close),
        broken(sent=0),
        broken(sent=0),
    ),
    Row(
        "F10",
        "request read, then closed without a byte",
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
        "request read, never an answer",
        steps(read, silence),
        broken(APITimeoutError, phase="first_token"),
        broken(APITimeoutError, phase="first_token"),
        timeouts={"first_token": 0.05},
    ),
    Row(
        "F12",
        "a body of 8 MB that nobody reads",
        steps(deaf(0.3), silence),
        broken(APITimeoutError, sent=0, phase="first_token"),
        broken(APITimeoutError, sent=0, phase="first_token"),
        body=8_000_000,
        timeouts={"first_token": 0.15},
    ),
    Row(
        "F13",
        "reset in the middle of the upload",
        steps(read_head, reset),
        broken(),
        broken(),
        body=8_000_000,
    ),
    Row(
        "F14",
        "a 413 before the body was read",
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
        "the pooled connection was closed while idle",
        lambda _: [(read, send(http()), close), (serve,)],
        GOOD,
        GOOD,
        warm=True,
        settle=0.02,
    ),
    Row(
        "F16",
        "the pooled connection is reset when it is used again",
        lambda _: [(read, send(http()), read, reset), (serve,)],
        Result(sent=2, billing=("not_accepted", "billed"), connection="pooled"),
        Result(sent=2, billing=("not_accepted", "billed"), connection="pooled"),
        warm=True,
    ),
    Row(
        "F16",
        "the pooled connection is closed when it is used again",
        lambda _: [(read, send(http()), read, close), (serve,)],
        Result(sent=2, billing=("not_accepted", "billed"), connection="pooled"),
        Result(sent=2, billing=("not_accepted", "billed"), connection="pooled"),
        warm=True,
    ),
    Row(
        "F17",
        "the idle connection receives an answer that nobody asked for",
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
        "every answer says Connection: close",
        answers(head("Connection: close", length="as it is"), silence),
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
        "TLS: the hand-shake is closed",
        lambda _: [(close,)] * 3,
        Result(APIConnectionError, sent=0, billing=THRICE),
        Result(APIConnectionError, sent=0, billing=THRICE),
        scheme="https",
    ),
    Row(
        "F25",
        "TLS: the hand-shake is reset",
        lambda _: [(reset,)] * 3,
        Result(APIConnectionError, sent=0, billing=THRICE),
        Result(APIConnectionError, sent=0, billing=THRICE),
        scheme="https",
    ),
    Row(
        "F26",
        "TLS: the hand-shake stalls",
        lambda _: [(silence,)] * 3,
        Result(APITimeoutError, sent=0, billing=THRICE, phase="connect"),
        Result(APITimeoutError, sent=0, billing=THRICE, phase="connect"),
        scheme="https",
        timeouts={"connect": 0.05},
    ),
    Row(
        "F27",
        "plain HTTP on the TLS port",
        steps(send(http(b"", "400 Bad Request")), silence),
        SHAKEN,
        SHAKEN,
        scheme="https",
    ),
    Row(
        "F28",
        "TLS: an old version only",
        steps(read_hello, send(NO_SUCH_VERSION), silence),
        SHAKEN,
        SHAKEN,
        scheme="https",
    ),
    Row(
        "F29",
        "TLS: cut without a closing word inside the body",
        lambda kind: [(read, send(whole(kind)[:-9]), cut)],
        broken(known=True),
        GOOD_CLOSED,
        certificate="good",
    ),
    Row(
        "F29",
        "TLS: the same, and the body's length is not known",
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
        "garbage for a status line",
        steps(read, send(b"\x16\x03garbage\r\n\r\n"), silence),
        UNREADABLE,
        UNREADABLE,
    ),
    Row(
        "F31",
        "an answer in HTTP/0.9",
        steps(read, send(b"hello\n"), close),
        UNREADABLE,
        UNREADABLE,
    ),
    Row(
        "F31",
        "the first frame of HTTP/2",
        steps(read, send(b"\0\0\x12\4\0\0\0\0\0\0\3\0\0\0\x64"), silence),
        UNREADABLE,
        UNREADABLE,
    ),
    Row(
        "F32",
        "a header of 100 kB",
        answers(head("X-Long: " + "x" * 100_000)),
        UNREADABLE,
        UNREADABLE,
    ),
    Row(
        "F32",
        "a thousand headers",
        answers(head(*(f"X-{n}: 1" for n in range(1000)))),
        UNREADABLE,
        UNREADABLE,
    ),
    Row(
        "F33",
        "a NUL in a header's value",
        answers(head("X-Nul: a\0b")),
        UNREADABLE,
        UNREADABLE,
    ),
    Row(
        "F34",
        "headers byte by byte, too slow",
        lambda kind: [(read, drip(whole(kind), every=0.01), silence)],
        broken(APITimeoutError, phase="total"),
        broken(APITimeoutError, phase="total"),
        timeouts={"total": 0.1},
    ),
    Row(
        "F35",
        "100 and 103 before the answer",
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
        "Content-Length is more than comes",
        answers(head(length=2000), close),
        broken(says="before the end of the response", known=True),
        GOOD_CLOSED,
    ),
    Row(
        "F37",
        "an answer that nobody asked for right behind the body",
        lambda kind: [(read, send(whole(kind) + http(b"{}", "418 Poison")), silence)],
        GOOD_CLOSED,
        GOOD_CLOSED,
    ),
    Row(
        "F38",
        "a negative Content-Length",
        answers(head(length=-1), silence),
        UNREADABLE,
        UNREADABLE,
    ),
    Row(
        "F38",
        "letters for a Content-Length",
        answers(head(length="many"), silence),
        UNREADABLE,
        UNREADABLE,
    ),
    Row(
        "F38",
        "two different Content-Lengths",
        answers(head("Content-Length: 3", length=5), silence),
        UNREADABLE,
        UNREADABLE,
    ),
    Row(
        "F39",
        "Content-Length and chunks together",
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
        UNREADABLE,
        UNREADABLE,
    ),
    Row(
        "F40",
        "a chunk's size that is none",
        lambda kind: [apart(sse(CONTENT[kind]).replace(LAST, b"xyz\r\n"))],
        broken(says="before the end of the response", known=True),
        GOOD_CLOSED,
    ),
    Row(
        "F40",
        "the same, in one segment with the headers",
        lambda kind: [(read, send(sse(CONTENT[kind]).replace(LAST, b"xyz\r\n")))],
        UNREADABLE,
        UNREADABLE,
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
        "the body stalls half way",
        lambda kind: [
            (read, send(http()[:-9]), silence)
            if kind == "plain"
            else (read, send(sse(chunk("hel"))[:-5]), silence)
        ],
        STALLED,
        broken(APITimeoutError, phase="read", **SEEN),
        timeouts=BRIEF,
    ),
    Row(
        "F43",
        "a chunked body of JSON stalls half way",
        steps(
            read,
            send(http(b"", "200 OK", "Transfer-Encoding: chunked", length=None)),
            send(piece(HELLO[:-9])),
            silence,
        ),
        STALLED,
        STALLED,
        timeouts=BRIEF,
    ),
    Row(
        "F43",
        "a body stalls that is as long as the connection",
        steps(
            read, send(http(HELLO, "200 OK", "Connection: close", length=None)), silence
        ),
        STALLED,
        STALLED,
        timeouts=BRIEF,
    ),
    Row(
        "F43",
        "a compressed body stalls half way",
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
        timeouts=BRIEF,
    ),
    Row(
        "F43",
        "white space, then nothing more",
        steps(read, send(http(b" \n", length=99)), silence),
        STALLED,
        STALLED,
        timeouts=BRIEF,
    ),
    Row(
        "F43",
        "a body of no type stalls half way",
        steps(read, send(http(media=None)[:-9]), silence),
        STALLED,
        STALLED,
        timeouts=BRIEF,
    ),
    Row(
        "F43",
        "white space keeps a body alive, whatever its type",
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
        "plain: events in place of a completion stall",
        steps(read, send(sse(chunk("hel"))[:-5]), silence),
        Result(APITimeoutError, billing=("maybe",), phase="read", **SEEN),
        None,
        timeouts=BRIEF,
    ),
    Row(
        "F43",
        "a 400 whose body stalls",
        steps(read, send(http(b'{"error":', "400 Bad Request", length=99)), silence),
        Result(BadRequestError, billing=("not_accepted",), known=True),
        Result(BadRequestError, billing=("not_accepted",), known=True),
        timeouts=BRIEF,
    ),
    Row(
        "F43",
        "a 503 whose body stalls",
        lambda _: [
            (read, send(http(b"<html>", "503 Busy", length=99)), silence) for _ in "123"
        ],
        Result(ServiceUnavailableError, sent=3, billing=("insured",) * 3, known=True),
        Result(ServiceUnavailableError, sent=3, billing=("insured",) * 3, known=True),
        timeouts=BRIEF,
    ),
    Row(
        "F43",
        "a 504 whose body stalls, maybe of the edge",
        steps(read, send(http(b"<html>", "504 Late", length=99)), silence),
        broken(GatewayTimeoutError, known=True),
        broken(GatewayTimeoutError, known=True),
        timeouts=BRIEF,
    ),
    Row(
        "F44",
        "a slow body that never stops",
        lambda kind: [(read, drip(whole(kind), size=32, every=0.005))],
        GOOD,
        GOOD,
        timeouts={"first_token": 1, "read": 0.1, "idle": 0.4},
    ),
    Row(
        "F45",
        "the answer comes byte by byte",
        lambda kind: [(read, drip(whole(kind)))],
        GOOD,
        GOOD,
    ),
    Row(
        "F47",
        "the server takes its time to close behind the answer",
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
        "gzip that is none",
        answers(compressed(b"no gzip at all")),
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
        "gzip that ends half way",
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
        "brotli, which was not asked for",
        answers(compressed(b"\x0b\x02\x80hello\x03", "br")),
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
        "twenty encodings on top of each other",
        answers(compressed(gzip.compress(HELLO), ", ".join(["gzip"] * 20))),
        broken(MalformedResponseError, known=True, connection="pooled"),
        broken(StreamInterruptedError, known=True, connection="pooled"),
    ),
    Row(
        "F51",
        "a 200 without a body",
        answers(lambda kind: head(length=0)(kind).partition(b"{")[0]),
        broken(MalformedResponseError, says="empty", known=True, connection="pooled"),
        None,
    ),
    Row(
        "F51",
        "a stream without an event",
        answers(lambda _: sse(b"")),
        None,
        broken(StreamInterruptedError, known=True, connection="pooled"),
    ),
    Row(
        "F52",
        "a 200 that is no JSON",
        answers(lambda _: http(b'{"choices": [}')),
        broken(MalformedResponseError, known=True, connection="pooled"),
        broken(MalformedResponseError, known=True, connection="pooled"),
    ),
    Row(
        "F53",
        "a 200 that is JSON, but no object",
        answers(lambda _: http(b"[1, 2]")),
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
        "a 200 with unknown, null and mistyped fields",
        answers(
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
        "a 200 that is an error, 502",
        thrice(in_body(502)),
        insured(BadGatewayError),
        insured(BadGatewayError),
    ),
    Row(
        "F54",
        'a 200 that is an error, "429"',
        thrice(in_body("429")),
        insured(RateLimitError),
        insured(RateLimitError),
    ),
    Row(
        "F55",
        "a 200 that is a page",
        answers(
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
        "a 503 that is a page",
        failing("503 Busy", b"<html><title>Busy</title>", "Content-Language: en"),
        insured(ServiceUnavailableError, says="'Busy'"),
        insured(ServiceUnavailableError, says="'Busy'"),
    ),
    Row(
        "F56",
        "a 503 without a body",
        failing("503 Busy"),
        insured(ServiceUnavailableError, says="no message"),
        insured(ServiceUnavailableError, says="no message"),
    ),
    Row(
        "F56",
        "a 400 whose body breaks off",
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
        answers(
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
        "103 and nothing more",
        steps(read, send(b"HTTP/1.1 103 Early Hints\r\n\r\n"), close),
        broken(),
        broken(),
    ),
    Row(
        "F59",
        "a 204",
        steps(read, send(http(b"", "204 No Content", length=None))),
        broken(MalformedResponseError, says="204", known=True, connection="pooled"),
        broken(MalformedResponseError, known=True, connection="pooled"),
    ),
    Row(
        "F59",
        "a 205",
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
        "stream: reset behind the finish reason",
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
        "stream: an event that is no JSON",
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
        "stream: only comments after an event, too long",
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
        "stream: comments for a long time, then the answer",
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
        "stream: more events behind [DONE]",
        steps(read, send(sse(STREAM + chunk("more") * 3))),
        None,
        GOOD,
    ),
    Row(
        "F72",
        "stream: stays open behind [DONE]",
        steps(read, send(sse()[:-5]), silence),
        None,
        GOOD_CLOSED,
        timeouts={"total": 1},
    ),
    Row(
        "F72",
        "stream: goes on without an end behind [DONE]",
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
        "stream: events that say application/json",
        steps(read, send(http(STREAM))),
        None,
        GOOD,
    ),
    Row(
        "F73",
        "stream: a completion in place of events",
        steps(read, send(http())),
        None,
        GOOD,
    ),
    Row(
        "F73",
        "plain: events in place of a completion",
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
