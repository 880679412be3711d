"""SSEDecoder: events of WHATWG HTML 9.2.6, for every split of the bytes."""

import time
import tracemalloc
from collections.abc import Iterable
from itertools import combinations, pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from naive_sse import decode

from openrouter_async.errors import MalformedResponseError
from openrouter_async.sse import ServerSentEvent, SSEDecoder

Event = ServerSentEvent

CASES: dict[str, tuple[bytes, list[ServerSentEvent]]] = {
    "empty stream": (b"", []),
    "one event": (b"data: hello\n\n", [Event(data="hello")]),
    "two events": (b"data: a\n\ndata: b\n\n", [Event(data="a"), Event(data="b")]),
    "no space after the colon": (b"data:a\n\n", [Event(data="a")]),
    "only one space is removed": (b"data:  a\n\n", [Event(data=" a")]),
    "tab is kept": (b"data:\ta\n\n", [Event(data="\ta")]),
    "space before the colon": (b"data : a\n\n", []),
    "space before the name": (b" data: a\n\n", []),
    "field names are case-sensitive": (b"DATA: a\n\n", []),
    "several lines": (b"data: a\ndata: b\n\n", [Event(data="a\nb")]),
    "empty data line between lines": (
        b"data: a\ndata\ndata: b\n\n",
        [Event(data="a\n\nb")],
    ),
    "field name without a colon": (b"data\n\n", [Event(data="")]),
    "two field names without a colon": (b"data\ndata\n\n", [Event(data="\n")]),
    "the standard's example": (
        b"data\n\ndata\ndata\n\ndata:",
        [Event(data=""), Event(data="\n")],
    ),
    "empty value": (b"data:\n\n", [Event(data="")]),
    "empty value after a space": (b"data: \n\n", [Event(data="")]),
    "colons in the value": (b"data: a:b: c\n\n", [Event(data="a:b: c")]),
    "CRLF": (b"data: a\r\ndata: b\r\n\r\n", [Event(data="a\nb")]),
    "CR": (b"data: a\rdata: b\r\r", [Event(data="a\nb")]),
    "mixed line endings": (b"data: a\rdata: b\r\ndata: c\n\r", [Event(data="a\nb\nc")]),
    "LF CR is two line endings": (
        b"data: a\n\rdata: b\n\n",
        [Event("message", "a"), Event(data="b")],
    ),
    "other line separators are text": (
        "data: a\x0b\x0c\x85\u2028\u2029b\n\n".encode(),
        [Event(data="a\x0b\x0c\x85\u2028\u2029b")],
    ),
    "comment": (b": keep alive\n\ndata: a\n\n", [Event(data="a")]),
    "empty comment": (b":\n\n: \n\ndata: a\n\n", [Event(data="a")]),
    "comment inside an event": (b"data: a\n:x\ndata: b\n\n", [Event(data="a\nb")]),
    "comment between events": (
        b"data: a\n\n: x\n\ndata: b\n\n",
        [Event(data="a"), Event(data="b")],
    ),
    "comment that looks like data": (b":data: a\n\n", []),
    "blank lines": (
        b"\n\n\ndata: a\n\n\n\n\ndata: b\n\n\n",
        [Event(data="a"), Event(data="b")],
    ),
    "event type": (
        b"event: ping\ndata: a\n\ndata: b\n\n",
        [Event("ping", "a"), Event(data="b")],
    ),
    "last event type wins": (b"event: x\nevent: y\ndata: a\n\n", [Event("y", "a")]),
    "empty event type is the default": (
        b"event: x\nevent\ndata: a\n\n",
        [Event(data="a")],
    ),
    "event type without data is discarded": (
        b"event: x\n\ndata: a\n\n",
        [Event(data="a")],
    ),
    "id is kept for later events": (
        b"id: 1\ndata: a\n\ndata: b\n\nid\ndata: c\n\n",
        [Event(data="a", id="1"), Event(data="b", id="1"), Event(data="c")],
    ),
    "id without data is kept": (b"id: 1\n\ndata: a\n\n", [Event(data="a", id="1")]),
    "id after the data": (b"data: a\nid: 1\n\n", [Event(data="a", id="1")]),
    "id with NUL is ignored": (
        b"id: 1\nid: 2\x003\ndata: a\n\n",
        [Event(data="a", id="1")],
    ),
    "NUL in data": (b"data: a\x00b\n\n", [Event(data="a\x00b")]),
    "reconnection time": (
        b"retry: 3000\ndata: a\n\ndata: b\n\n",
        [Event(data="a", retry=3000), Event(data="b")],
    ),
    "reconnection time without data is discarded": (
        b"retry: 1\n\ndata: a\n\n",
        [Event(data="a")],
    ),
    "reconnection time that is not all digits": (
        b"retry: -1\nretry: 1.5\nretry: 1e3\nretry: 1000x\nretry:\nretry: +5\ndata: a\n\n",
        [Event(data="a")],
    ),
    "reconnection time in non-ASCII digits": (
        "retry: \u0661\u0662\ndata: a\n\n".encode(),
        [Event(data="a")],
    ),
    "reconnection time of 5000 digits": (
        b"retry: " + b"9" * 5000 + b"\ndata: a\n\n",
        [Event(data="a")],
    ),
    "unknown fields": (b"foo: x\nbar\n\ndata: a\nbaz: y\n\n", [Event(data="a")]),
    "byte order mark": (b"\xef\xbb\xbfdata: a\n\n", [Event(data="a")]),
    "two byte order marks": (
        b"\xef\xbb\xbf\xef\xbb\xbfdata: a\n\ndata: b\n\n",
        [Event(data="b")],
    ),
    "byte order mark inside the stream": (
        b"data: a\n\n\xef\xbb\xbfdata: b\n\ndata: c\n\n",
        [Event(data="a"), Event(data="c")],
    ),
    "byte order mark in a value": (b"data: \xef\xbb\xbfa\n\n", [Event(data="\ufeffa")]),
    "incomplete byte order mark": (
        b"\xef\xbbdata: a\n\ndata: b\n\n",
        [Event(data="b")],
    ),
    "multi-byte characters": (
        "data: h\u00e9\u20ac\U0001f600\n\n".encode(),
        [Event(data="h\u00e9\u20ac\U0001f600")],
    ),
    "invalid UTF-8 in data": (
        b"data: a\xff\xe2\x82\ndata: \xf0\x9f\n\n",
        [Event(data="a\ufffd\ufffd\n\ufffd")],
    ),
    "invalid UTF-8 in event types and ids": (
        b"event: \xff\nid: \xfe\ndata: a\n\n",
        [Event("\ufffd", "a", "\ufffd")],
    ),
    "unfinished event": (b"data: a\n\ndata: b\n", [Event(data="a")]),
    "unfinished line": (b"data: a\n\ndata: b", [Event(data="a")]),
    "no empty lines at all": (b"data: a\ndata: b\ndata: [DONE]\n", []),
    "OpenRouter stream": (
        (
            b": OPENROUTER PROCESSING\n\n: OPENROUTER PROCESSING\n\n"
            b'data: {"a":1}\n\n: OPENROUTER PROCESSING\n\ndata: {"b":2}\n\ndata: [DONE]\n\n'
        ),
        [Event(data='{"a":1}'), Event(data='{"b":2}'), Event(data="[DONE]")],
    ),
}

STREAM = (
    b"\xef\xbb\xbf: OPENROUTER PROCESSING\n\n"
    + "".join(f'data: {{"n":{n},"text":"h\u00e9llo \U0001f600"}}\n\n' for n in range(9)).encode()
    + b"event: ping\r\nid: 7\r\ndata: one\r\ndata: two\r\n\r\n: OPENROUTER PROCESSING\r\n\r\n"
    + b"retry: 10\rdata: three\r\r"
    + b"".join(b'data: {"choices":[{"index":0,"delta":{"content":"%d"}}]}\n\n' % n for n in range(9))
    + b"data: [DONE]\n\nid: 8\n\ndata: last\n\ndata: unfinished"
)  # fmt: skip
SHORT = "\ufeffdata: \u20ac\n\ndata: b\r\n\r\n:c\n\nid: 1\rdata\r\revent: xy\ndata: defgh\n\n".encode()


def decoded(parts: Iterable[bytes]) -> tuple[list[ServerSentEvent], int]:
    decoder = SSEDecoder()
    events = [event for part in parts for event in decoder.feed(part)]
    return events, decoder.comments


def decoded_data(parts: Iterable[bytes]) -> list[ServerSentEvent | bytes]:
    decoder = SSEDecoder()
    return [event for part in parts for event in decoder.feed_data(part)]


def one_by_one(stream: bytes) -> list[bytes]:
    return [stream[at : at + 1] for at in range(len(stream))]


@pytest.mark.parametrize("name", CASES)
def test_decoder_returns_the_events_of_the_standard(name: str) -> None:
    """Fed at once, byte by byte, and split in two at every position."""
    stream, events = CASES[name]

    assert decode(stream)[0] == events
    assert decoded([stream])[0] == events
    assert decoded(one_by_one(stream))[0] == events
    for cut in range(len(stream) + 1):
        assert decoded([stream[:cut], stream[cut:]])[0] == events


def test_long_stream_decodes_the_same_for_every_split() -> None:
    expected = decode(STREAM)

    assert len(STREAM) > 900
    assert len(expected[0]) == 22
    assert expected[1] == 2
    assert decoded(one_by_one(STREAM)) == expected
    for cut in range(len(STREAM) + 1):
        assert decoded([STREAM[:cut], STREAM[cut:]]) == expected


def test_short_stream_decodes_the_same_for_every_split_in_three() -> None:
    expected = decode(SHORT)

    assert len(SHORT) >= 64
    assert len(expected[0]) == 4
    for one, two in combinations(range(len(SHORT) + 1), 2):
        assert decoded([SHORT[:one], SHORT[one:two], SHORT[two:]]) == expected


FRAGMENTS = [
    b"data", b"data: ", b"data:", b"event: ", b"id: ", b"retry: ", b":", b" ", b"\n", b"\r",
    b"\r\n", b"\n\n", b"\n\ndata: ", b"12", b"x", b"\0", b"\xef\xbb\xbf", b"\xef", b"\xbb",
    b"\xf0\x9f\x98\x80", b"\xe2\x80\xa8", b"\xff", b"[DONE]",
]  # fmt: skip
streams = st.lists(st.sampled_from(FRAGMENTS), max_size=60).map(b"".join)


@given(streams, st.lists(st.integers(0, 400), max_size=12))
@example(b"data: a\n\ndata: b\nx\n\n", [])
@example(b"data: a\n\n\ndata: b\n\n", [8])
def test_decoder_agrees_with_the_naive_decoder_on_random_bytes(
    stream: bytes, cuts: list[int]
) -> None:
    bounds = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    parts = [stream[a:b] for a, b in pairwise(bounds)]

    expected, comments = decode(stream)
    assert decoded(parts) == (expected, comments)
    assert decoded(one_by_one(stream)) == (expected, comments)
    for event, found in zip(expected, decoded_data(parts), strict=True):
        assert found in (event, event.data.encode()) or (
            isinstance(found, bytes)
            and (event.event, event.retry) == ("message", None)
            and event.data == found.decode("utf-8", "replace")
        )


def test_events_of_one_data_line_are_returned_as_the_bytes_of_their_data() -> None:
    decoder = SSEDecoder()
    whole = decoder.feed_data(b": x\n\ndata: a\n\n")
    assert whole == [b"a"]
    assert decoder.feed_data(b"data: b\n\n") == [b"b"]
    assert decoder.feed_data(b"data: c\n\ndata: \xff\n\ndata: d") == [b"c", b"\xff"]
    assert decoder.feed_data(b"\ndata: e\n\n") == [Event(data="d\ne")]
    assert decoder.feed_data(b"event: x\ndata: f\n\n") == [Event("x", "f")]


@pytest.mark.parametrize(
    ("received", "idle"),
    [
        (b"", False),
        (b"\xef\xbb", False),
        (b"\n", True),
        (b"data: a\n\n", True),
        (b"data: a\n\nd", False),
        (b"data: a\n", False),
        (b"event: a\n", False),
        (b"retry: 1\n", False),
        (b"{\n", False),
        (b"data: a\n\n\r", False),
        (b"id: 1\n\n: x\n", True),
    ],
)
def test_decoder_is_idle_between_events_only(received: bytes, *, idle: bool) -> None:
    decoder = SSEDecoder(bare_json=True)
    decoder.feed(received)

    assert decoder.is_idle is idle


@pytest.mark.parametrize("end", [b"\n\n", b"\r\r", b"\r\n\r"])
def test_event_is_returned_as_soon_as_its_empty_line_arrives(end: bytes) -> None:
    """A bare CR ends a line too; the decoder does not wait for an LF."""
    decoder = SSEDecoder()

    assert decoder.feed(b"data: a" + end[:-1]) == []
    assert decoder.feed(end[-1:]) == [Event(data="a")]
    assert decoder.feed(b"\ndata: b\n\n") == [Event(data="b")]


def test_empty_reads_change_nothing() -> None:
    """Not even between the CR and the LF of one line ending."""
    decoder = SSEDecoder()

    assert decoder.feed(b"") == []
    assert decoder.feed(b"data: a\r") == []
    assert decoder.feed(b"") == []
    assert decoder.feed(b"\n") == []
    assert decoder.feed(b"\r\n") == [Event(data="a")]


def test_comments_are_counted_when_their_line_ends() -> None:
    decoder = SSEDecoder()
    counts: list[int] = []
    for part in (
        b": OPENROUTER",
        b" PROCESSING",
        b"\n",
        b"\n",
        b":\r",
        b"\n:\n:\n",
        b"data: a\n\n",
    ):
        decoder.feed(part)
        counts.append(decoder.comments)

    assert counts == [0, 0, 1, 1, 2, 4, 4]


def test_comments_before_events_of_the_same_read_are_counted_and_skipped() -> None:
    decoder = SSEDecoder()

    events = decoder.feed(b": A\n\n:\n\n\ndata: a\n\ndata: b\n\n: B\n\n")

    assert events == [Event(data="a"), Event(data="b")]
    assert decoder.comments == 3


def test_comment_inside_an_event_does_not_end_it() -> None:
    decoder = SSEDecoder()

    events = decoder.feed(b"event: x\n") + decoder.feed(b": A\ndata: a\n\n")

    assert events == [Event(event="x", data="a")]


@pytest.mark.parametrize("step", [1, 1024, 64 * 1024])
def test_large_event_takes_linear_time(step: int) -> None:
    """
    A large event is assembled once, whatever the size of the reads.

    Copying the buffer at each read would move 130 GB in reads of one byte, and 200 GB
    in reads of 1 kB, which takes more than a minute.
    """
    size = 512 * 1024 if step == 1 else 20 * 1024 * 1024
    stream = b"data: " + b"x" * size + b"\n\n"
    decoder = SSEDecoder()
    begin = time.perf_counter()
    events = [
        event
        for at in range(0, len(stream), step)
        for event in decoder.feed(stream[at : at + step])
    ]

    assert [len(event.data) for event in events] == [size]
    assert time.perf_counter() - begin < 30


def test_event_of_many_lines_takes_linear_time() -> None:
    lines = b"data: x\n" * 1000
    decoder = SSEDecoder()
    for _ in range(200):
        assert decoder.feed(lines) == []
    (event,) = decoder.feed(b"\n")

    assert len(event.data) == 2 * 200 * 1000 - 1


def feed_repeatedly(decoder: SSEDecoder, part: bytes) -> None:
    for _ in range(10_000):
        decoder.feed(part)


TOO_LARGE = {
    "a line": b"data: xxxxxxxxx",
    "lines": b"data: xxxxxxxxx\n",
    "empty lines of data": b"data\ndata:\n",
    "comment": b":xxxxxxxxxxxxxx",
    "an id": b"id: xxxxx",
}


@pytest.mark.parametrize("name", TOO_LARGE)
def test_unfinished_event_over_the_limit_raises_on_every_later_call(name: str) -> None:
    part = TOO_LARGE[name]
    decoder = SSEDecoder(limit_bytes=1000)
    more = part if part.endswith(b"\n") else b"x" * len(part)
    decoder.feed(part)
    for _ in range(985 // len(part) - 1):
        decoder.feed(more)

    with pytest.raises(MalformedResponseError, match="limit of 1000 bytes"):
        feed_repeatedly(decoder, more)
    for after in (b"", b"\n\n", b"data: a\n\n"):
        with pytest.raises(MalformedResponseError):
            decoder.feed(after)


def test_events_of_the_maximum_size_are_accepted_any_number_of_times() -> None:
    decoder = SSEDecoder(limit_bytes=1006)
    event = b"data: " + b"x" * 1000 + b"\n\n"
    for _ in range(10):
        parts = [event[at : at + 7] for at in range(0, len(event), 7)]

        assert [e for part in parts for e in decoder.feed(part)] == [
            Event(data="x" * 1000)
        ]


def test_events_completed_before_the_limit_are_returned_first() -> None:
    decoder = SSEDecoder(limit_bytes=10)

    assert decoder.feed(b"data: a\n\ndata: " + b"x" * 100) == [Event(data="a")]
    with pytest.raises(MalformedResponseError):
        decoder.feed(b"")


@pytest.mark.parametrize(
    "part",
    [
        b": OPENROUTER PROCESSING\n\n",
        b"\n\n\n",
        b"\r\n",
        b"event: x\n",
        b"id: x\n",
        b"foo: x\n",
        b"retry: 1\n",
    ],
)
def test_lines_without_data_take_no_memory(part: bytes) -> None:
    """A server may send comments, empty lines and other fields without end."""
    decoder = SSEDecoder(limit_bytes=1000)
    decoder.feed(part * 100)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(300):
            assert decoder.feed(part * 100) == []
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()

    assert grown < 2000


# --- the end of a body, and JSON without a field ---------------------------------


@pytest.mark.parametrize(
    ("stream", "rest"),
    [
        (b"", []),
        (b"data: a\n\n", []),
        (b"data: a\n\ndata: b", [Event(data="b")]),
        (b"data: a\n\ndata: b\n", [Event(data="b")]),
        (b"data: a\n\ndata: b\r", [Event(data="b")]),
        (b"event: x\nid: 1\ndata: b\ndata: c", [Event("x", "b\nc", "1")]),
        (b"event: x", []),
        (b"dat", []),
        (b"\xef\xbb", []),
        (b': x\n\n{"a": 1}', []),
    ],
)
def test_end_returns_the_event_without_an_empty_line(
    stream: bytes, rest: list[ServerSentEvent]
) -> None:
    decoder = SSEDecoder()
    decoder.feed(stream)

    assert decoder.end() == rest
    assert decoder.end() == []


def test_end_returns_nothing_after_an_event_that_was_too_large() -> None:
    decoder = SSEDecoder(limit_bytes=10)
    with pytest.raises(MalformedResponseError):
        decoder.feed(b"data: 0123456789")

    assert decoder.end() == []


BARE = b'data: a\n\n{"b": 1}\n\ndata: c\n{\n  "d": [2\n]}\n: e\n\n [3]\ndata: f\n\nx\n{'


@pytest.mark.parametrize("size", [1, 3, 7, len(BARE)])
def test_json_without_a_field_is_an_event_on_request(size: int) -> None:
    decoder, standard = SSEDecoder(bare_json=True), SSEDecoder()
    pieces = [BARE[i : i + size] for i in range(0, len(BARE), size)]
    events = [event for piece in pieces for event in decoder.feed(piece)]

    assert [*events, *decoder.end()] == [
        Event(data="a"),
        Event("", '{"b": 1}'),
        Event(data="c"),
        Event("", '{\n  "d": [2\n]}'),
        Event("", " [3]"),
        Event(data="f"),
        Event("", "{"),
    ]
    assert [event.data for event in standard.feed(BARE)] == ["a", "c", "f"]


def test_json_without_a_field_counts_for_the_limit() -> None:
    decoder = SSEDecoder(limit_bytes=20, bare_json=True)
    decoder.feed(b'{"a": 1234,\n')

    with pytest.raises(MalformedResponseError, match="20 bytes"):
        decoder.feed(b'"b": 12345}\n')
