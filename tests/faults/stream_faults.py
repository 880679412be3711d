"""Faults of streams: cut, silent, endless and mislabelled."""

from collections.abc import Sequence
from typing import Final

from fault_rows import AFTER_HEL, OK_CLOSED, OK_POOLED, Result, Row, not_retried, steps
from script import (
    DONE,
    LAST_CHUNK,
    STREAM,
    chunk,
    close,
    drip,
    event,
    flood,
    http,
    http_chunk,
    read,
    reset,
    send,
    silence,
    sse,
    wait,
)

from openrouter_async import (
    APITimeoutError,
    BadGatewayError,
    MalformedResponseError,
    RateLimitError,
    StreamInterruptedError,
)

STREAM_FAULTS: Final[Sequence[Row]] = (
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
