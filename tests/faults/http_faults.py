"""Faults of HTTP: status line, headers, framing, stalls and compression."""

import gzip
import zlib
from collections.abc import Sequence
from typing import Final

from fault_rows import (
    AFTER_HEL,
    BODIES,
    INVALID_HTTP,
    OK_CLOSED,
    OK_POOLED,
    READ_TIMEOUT,
    SHORT_READ,
    Result,
    Row,
    compressed,
    in_segments,
    not_retried,
    ok_response,
    respond,
    steps,
    with_headers,
)
from script import (
    HELLO,
    LAST_CHUNK,
    chunk,
    close,
    drip,
    http,
    http_chunk,
    read,
    send,
    silence,
    sse,
    wait,
)

from openrouter_async import (
    APIConnectionError,
    APITimeoutError,
    BadRequestError,
    GatewayTimeoutError,
    MalformedResponseError,
    ServiceUnavailableError,
    StreamInterruptedError,
)

HTTP_FAULTS: Final[Sequence[Row]] = (
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
)
