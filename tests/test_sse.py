"""Bytes become the events that WHATWG HTML 9.2.6 says, however they are cut."""

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
    "nothing": (b"", []),
    "one": (b"data: hello\n\n", [Event(data="hello")]),
    "two": (b"data: a\n\ndata: b\n\n", [Event(data="a"), Event(data="b")]),
    "no space": (b"data:a\n\n", [Event(data="a")]),
    "only one space goes": (b"data:  a\n\n", [Event(data=" a")]),
    "a tab stays": (b"data:\ta\n\n", [Event(data="\ta")]),
    "space before the colon": (b"data : a\n\n", []),
    "space before the name": (b" data: a\n\n", []),
    "names have a case": (b"DATA: a\n\n", []),
    "several lines": (b"data: a\ndata: b\n\n", [Event(data="a\nb")]),
    "an empty line between": (b"data: a\ndata\ndata: b\n\n", [Event(data="a\n\nb")]),
    "a name alone": (b"data\n\n", [Event(data="")]),
    "two names alone": (b"data\ndata\n\n", [Event(data="\n")]),
    "the standard's example": (
        b"data\n\ndata\ndata\n\ndata:",
        [Event(data=""), Event(data="\n")],
    ),
    "an empty value": (b"data:\n\n", [Event(data="")]),
    "an empty value after a space": (b"data: \n\n", [Event(data="")]),
    "colons in the value": (b"data: a:b: c\n\n", [Event(data="a:b: c")]),
    "CRLF": (b"data: a\r\ndata: b\r\n\r\n", [Event(data="a\nb")]),
    "CR": (b"data: a\rdata: b\r\r", [Event(data="a\nb")]),
    "mixed line ends": (b"data: a\rdata: b\r\ndata: c\n\r", [Event(data="a\nb\nc")]),
    "LF CR is two line ends": (
        b"data: a\n\rdata: b\n\n",
        [Event("message", "a"), Event(data="b")],
    ),
    "other line separators are text": (
        "data: a\x0b\x0c\x85\u2028\u2029b\n\n".encode(),
        [Event(data="a\x0b\x0c\x85\u2028\u2029b")],
    ),
    "a comment": (b": keep alive\n\ndata: a\n\n", [Event(data="a")]),
    "a bare comment": (b":\n\n: \n\ndata: a\n\n", [Event(data="a")]),
    "a comment inside": (b"data: a\n:x\ndata: b\n\n", [Event(data="a\nb")]),
    "a comment between": (
        b"data: a\n\n: x\n\ndata: b\n\n",
        [Event(data="a"), Event(data="b")],
    ),
    "a comment that looks like data": (b":data: a\n\n", []),
    "blank lines": (
        b"\n\n\ndata: a\n\n\n\n\ndata: b\n\n\n",
        [Event(data="a"), Event(data="b")],
    ),
    "a type": (
        b"event: ping\ndata: a\n\ndata: b\n\n",
        [Event("ping", "a"), Event(data="b")],
    ),
    "the last type counts": (b"event: x\nevent: y\ndata: a\n\n", [Event("y", "a")]),
    "an empty type is none": (b"event: x\nevent\ndata: a\n\n", [Event(data="a")]),
    "a type without data is gone": (b"event: x\n\ndata: a\n\n", [Event(data="a")]),
    "an id stays": (
        b"id: 1\ndata: a\n\ndata: b\n\nid\ndata: c\n\n",
        [Event(data="a", id="1"), Event(data="b", id="1"), Event(data="c")],
    ),
    "an id without data stays": (b"id: 1\n\ndata: a\n\n", [Event(data="a", id="1")]),
    "an id after the data": (b"data: a\nid: 1\n\n", [Event(data="a", id="1")]),
    "an id with NUL is no id": (
        b"id: 1\nid: 2\x003\ndata: a\n\n",
        [Event(data="a", id="1")],
    ),
    "NUL in data": (b"data: a\x00b\n\n", [Event(data="a\x00b")]),
    "a retry": (
        b"retry: 3000\ndata: a\n\ndata: b\n\n",
        [Event(data="a", retry=3000), Event(data="b")],
    ),
    "a retry before data in one read": (b"retry: 1\n\ndata: a\n\n", [Event(data="a")]),
    "a retry of more than digits": (
        b"retry: -1\nretry: 1.5\nretry: 1e3\nretry: 1000x\nretry:\nretry: +5\ndata: a\n\n",
        [Event(data="a")],
    ),
    "a retry of foreign digits": (
        "retry: \u0661\u0662\ndata: a\n\n".encode(),
        [Event(data="a")],
    ),
    "a retry of endless digits": (
        b"retry: " + b"9" * 5000 + b"\ndata: a\n\n",
        [Event(data="a")],
    ),
    "unknown fields": (b"foo: x\nbar\n\ndata: a\nbaz: y\n\n", [Event(data="a")]),
    "a mark at the start": (b"\xef\xbb\xbfdata: a\n\n", [Event(data="a")]),
    "two marks": (b"\xef\xbb\xbf\xef\xbb\xbfdata: a\n\ndata: b\n\n", [Event(data="b")]),
    "a mark later": (
        b"data: a\n\n\xef\xbb\xbfdata: b\n\ndata: c\n\n",
        [Event(data="a"), Event(data="c")],
    ),
    "a mark in the value": (b"data: \xef\xbb\xbfa\n\n", [Event(data="\ufeffa")]),
    "half a mark": (b"\xef\xbbdata: a\n\ndata: b\n\n", [Event(data="b")]),
    "letters of many bytes": (
        "data: h\u00e9\u20ac\U0001f600\n\n".encode(),
        [Event(data="h\u00e9\u20ac\U0001f600")],
    ),
    "broken letters": (
        b"data: a\xff\xe2\x82\ndata: \xf0\x9f\n\n",
        [Event(data="a\ufffd\ufffd\n\ufffd")],
    ),
    "broken types and ids": (
        b"event: \xff\nid: \xfe\ndata: a\n\n",
        [Event("\ufffd", "a", "\ufffd")],
    ),
    "unfinished": (b"data: a\n\ndata: b\n", [Event(data="a")]),
    "an unfinished line": (b"data: a\n\ndata: b", [Event(data="a")]),
    "no empty lines at all": (b"data: a\ndata: b\ndata: [DONE]\n", []),
    "openrouter": (
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


def one_by_one(stream: bytes) -> list[bytes]:
    return [stream[at : at + 1] for at in range(len(stream))]


@pytest.mark.parametrize("name", CASES)
def test_a_stream_is_what_the_standard_says(name: str) -> None:
    """Each case holds whole, byte by byte, and cut in two anywhere."""
    stream, events = CASES[name]

    assert decode(stream)[0] == events
    assert decoded([stream])[0] == events
    assert decoded(one_by_one(stream))[0] == events
    for cut in range(len(stream) + 1):
        assert decoded([stream[:cut], stream[cut:]])[0] == events


def test_a_long_stream_may_be_cut_anywhere() -> None:
    """Where the network splits the bytes changes neither events nor comments."""
    expected = decode(STREAM)

    assert len(STREAM) > 900
    assert len(expected[0]) == 22
    assert expected[1] == 2
    assert decoded(one_by_one(STREAM)) == expected
    for cut in range(len(STREAM) + 1):
        assert decoded([STREAM[:cut], STREAM[cut:]]) == expected


def test_a_short_stream_may_be_cut_twice_anywhere() -> None:
    """All the ways to get 64 bytes in three reads give the same."""
    expected = decode(SHORT)

    assert len(SHORT) >= 64
    assert len(expected[0]) == 4
    for one, two in combinations(range(len(SHORT) + 1), 2):
        assert decoded([SHORT[:one], SHORT[one:two], SHORT[two:]]) == expected


WORDS = [
    b"data", b"data: ", b"data:", b"event: ", b"id: ", b"retry: ", b":", b" ", b"\n", b"\r",
    b"\r\n", b"\n\n", b"\n\ndata: ", b"12", b"x", b"\0", b"\xef\xbb\xbf", b"\xef", b"\xbb",
    b"\xf0\x9f\x98\x80", b"\xe2\x80\xa8", b"\xff", b"[DONE]",
]  # fmt: skip
streams = st.lists(st.sampled_from(WORDS), max_size=60).map(b"".join)


@given(streams, st.lists(st.integers(0, 400), max_size=12))
@example(b"data: a\n\ndata: b\nx\n\n", [])
@example(b"data: a\n\n\ndata: b\n\n", [8])
def test_random_streams_read_as_the_naive_decoder_reads_them(
    stream: bytes, cuts: list[int]
) -> None:
    """A second decoder, written from the standard, agrees on any bytes with any cuts."""
    places = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    parts = [stream[a:b] for a, b in pairwise(places)]

    assert decoded(parts) == decode(stream)
    assert decoded(one_by_one(stream)) == decode(stream)


@pytest.mark.parametrize("end", [b"\n\n", b"\r\r", b"\r\n\r"])
def test_an_event_goes_out_with_its_empty_line(end: bytes) -> None:
    """An event is there as soon as its empty line is, also at a bare CR."""
    decoder = SSEDecoder()

    assert decoder.feed(b"data: a" + end[:-1]) == []
    assert decoder.feed(end[-1:]) == [Event(data="a")]
    assert decoder.feed(b"\ndata: b\n\n") == [Event(data="b")]


def test_reads_of_nothing_change_nothing() -> None:
    """An empty read is no line end, not between CR and LF either."""
    decoder = SSEDecoder()

    assert decoder.feed(b"") == []
    assert decoder.feed(b"data: a\r") == []
    assert decoder.feed(b"") == []
    assert decoder.feed(b"\n") == []
    assert decoder.feed(b"\r\n") == [Event(data="a")]


def test_comments_are_counted_when_their_line_ends() -> None:
    """The count tells that the server is alive, one line at a time."""
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


@pytest.mark.parametrize("step", [1, 1024, 64 * 1024])
def test_a_large_event_takes_linear_time(step: int) -> None:
    """
    A song in one line is put together once, in reads of whatever size.

    Copying what is there at each read would move 130 GB in reads of one byte, and 200
    GB in reads of 1 kB: a minute and more. One copy takes far less than the limit.
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


def test_many_lines_of_one_event_take_linear_time() -> None:
    """An event of 200,000 lines is put together once."""
    lines = b"data: x\n" * 1000
    decoder = SSEDecoder()
    for _ in range(200):
        assert decoder.feed(lines) == []
    (event,) = decoder.feed(b"\n")

    assert len(event.data) == 2 * 200 * 1000 - 1


def feed_for_ever(decoder: SSEDecoder, part: bytes) -> None:
    for _ in range(10_000):
        decoder.feed(part)


OUTGROWN = {
    "a line": b"data: xxxxxxxxx",
    "lines": b"data: xxxxxxxxx\n",
    "empty lines of data": b"data\ndata:\n",
    "a comment": b":xxxxxxxxxxxxxx",
    "an id": b"id: xxxxx",
}


@pytest.mark.parametrize("name", OUTGROWN)
def test_what_outgrows_the_limit_ends_the_stream(name: str) -> None:
    """An unfinished event beyond the limit raises, and nothing comes after that."""
    part = OUTGROWN[name]
    decoder = SSEDecoder(limit_bytes=1000)
    more = part if part.endswith(b"\n") else b"x" * len(part)
    decoder.feed(part)
    for _ in range(985 // len(part) - 1):
        decoder.feed(more)

    with pytest.raises(MalformedResponseError, match="larger than 1000 bytes"):
        feed_for_ever(decoder, more)
    for after in (b"", b"\n\n", b"data: a\n\n"):
        with pytest.raises(MalformedResponseError):
            decoder.feed(after)


def test_the_limit_is_met_by_one_event_not_by_many() -> None:
    """An event just as large as the limit passes, any number of times."""
    decoder = SSEDecoder(limit_bytes=1006)
    event = b"data: " + b"x" * 1000 + b"\n\n"
    for _ in range(10):
        parts = [event[at : at + 7] for at in range(0, len(event), 7)]

        assert [e for part in parts for e in decoder.feed(part)] == [
            Event(data="x" * 1000)
        ]


def test_events_before_the_one_that_is_too_large_are_not_lost() -> None:
    """What the same read completed is returned first; the next call raises."""
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
def test_what_carries_nothing_takes_no_memory(part: bytes) -> None:
    """Comments, empty lines and fields without data may come for ever."""
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
