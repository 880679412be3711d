"""Faults of content: empty, invalid and unexpected bodies."""

import json
from collections.abc import Sequence
from typing import Final

from fault_rows import (
    AFTER_HEL,
    BODIES,
    LONG_NUMBER,
    OK_POOLED,
    Result,
    Row,
    error_in_200,
    error_status,
    nested,
    not_retried,
    respond,
    retried,
    steps,
    three_times,
    with_headers,
)
from script import (
    COMPLETION,
    chunk,
    close,
    http,
    read,
    send,
    sse,
)

from openrouter_async import (
    BadGatewayError,
    BadRequestError,
    MalformedResponseError,
    RateLimitError,
    ServiceUnavailableError,
    StreamInterruptedError,
)

CONTENT_FAULTS: Final[Sequence[Row]] = (
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
)
