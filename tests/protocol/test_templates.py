"""Templates: texts that are decoded together are those that are decoded one by one."""

# Random JSON has no types, and templates are seen in private slots only.
# pyright: reportPrivateUsage=false, reportUnknownArgumentType=false
# pyright: reportUnknownLambdaType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false

import json
from random import Random

import orjson
from hypothesis import example, given
from hypothesis import strategies as st

from openrouter_async.protocol.accumulator.text_sink import TextSink
from openrouter_async.protocol.encode import encode, join_texts
from openrouter_async.protocol.event_buffer import EventBuffer
from openrouter_async.protocol.response_objects import parse_chunk
from openrouter_async.protocol.templates import (
    ChunkRun,
    Template,
    decode_bodies,
    encode_run,
)

# Everything that has a meaning in a list of JSON strings, and one letter.
bodies = st.lists(st.text('",[]\\ x\n', max_size=4), min_size=1, max_size=8)

PREFIX = b'{"choices":[{"index":0,"delta":{"content":"'
SUFFIX = b'"}}]}'
REASONING = (
    b'{"choices":[{"index":0,"delta":{"reasoning":"',
    b'","reasoning_details":[{"type":"t","text":"',
    b'","format":null,"index":0}]}}]}',
)


def text_of(body: str) -> str | None:
    """Return the text of one JSON string body; None if it is not one."""
    try:
        text: str = json.loads(f'"{body}"')
    except ValueError:
        return None
    return text


def template(*parts: bytes) -> Template:
    chunk = parse_chunk(b"x".join(parts))
    paths = [("delta", "reasoning"), ("delta", "reasoning_details", 0, "text")]
    if len(parts) == 2:
        paths = [("delta", "content")]
    return Template(parts, paths, chunk, TextSink.of_lists([]))


def leading_texts(found: list[str | None]) -> list[str]:
    count = found.index(None) if None in found else len(found)
    return [text for text in found[:count] if text is not None]


@given(bodies)
@example(['",["x', "y", 'z"],"w'])
@example(['z"],"w', "y", '",["x'])
@example(['a","b', "c\\"])
@example(["c\\", 'a","b'])
@example(["x\\", ',"z'])
@example([',"z', "x\\"])
def test_bodies_decoded_together_have_the_texts_of_each_alone(
    bodies: list[str],
) -> None:
    expected = [text_of(body) for body in bodies]
    found = decode_bodies([body.encode() for body in bodies])

    assert found is None or found == expected
    if None not in expected and "\\" not in "".join(bodies):
        assert found == expected


@given(bodies, st.integers(0, 3))
@example(['",["x', "y", 'z"],"w'], 0)
@example(["x\\", ',"z'], 2)
def test_events_that_match_are_those_that_match_alone(
    bodies: list[str], copies: int
) -> None:
    bodies = bodies * (1 + 40 * (copies == 3))
    expected = leading_texts([text_of(body) for body in bodies])
    simple, double = template(PREFIX, SUFFIX), template(*REASONING)
    datas = [PREFIX + body.encode() + SUFFIX for body in bodies]
    pairs = [body.encode().join(REASONING) for body in bodies]

    assert simple.match(datas) == expected
    assert double.match(pairs) == expected
    assert simple.matches == len(expected)
    received = b"".join(b"data: %b\n\n" % data for data in datas)
    length = sum(len(data) + 8 for data in datas[: len(expected)])
    assert simple.match_events(received) == (expected, length)
    assert simple.match_events(received + b"data: rest") == (expected, length)
    single = b"data: %b\n\n" % pairs[0]
    assert double.match_event(single) == text_of(bodies[0])


@given(st.lists(st.tuples(*[st.text('"\\x', max_size=2)] * 2), min_size=1, max_size=6))
def test_both_positions_have_the_same_bytes(pairs: list[tuple[str, str]]) -> None:
    start, between, end = REASONING
    datas = [start + a.encode() + between + b.encode() + end for a, b in pairs]
    expected = leading_texts([text_of(a) if a == b else None for a, b in pairs])

    assert template(*REASONING).match(datas) == expected


@given(st.text(max_size=6))
@example('"\\ \u2028')
def test_event_of_a_chunk_is_what_it_was_made_of(text: str) -> None:
    for parts in ((PREFIX, SUFFIX), REASONING):
        data = json.dumps(text)[1:-1].encode().join(parts)
        made = template(*parts).make_chunk(text)
        event = encode_run(ChunkRun(template(*parts), [text]))

        assert event.startswith(b"data: {")
        assert event.endswith(b"}\n\n")
        assert json.loads(event[6:]) == json.loads(data)
        assert encode_run(made) == event


@given(st.lists(st.text('"\\,xé\ud800', max_size=4), min_size=1, max_size=6))
@example(['x",', "y"])
@example(["x\\", "y"])
@example(["", ",", ""])
def test_joined_texts_are_encoded_one_by_one(texts: list[str]) -> None:
    bodies = join_texts(texts, b"\n").split(b"\n")

    assert bodies == [encode(text)[1:-1] for text in texts]


@given(st.lists(st.text('"\\,x', max_size=3), min_size=1, max_size=6))
def test_events_of_a_run_are_those_of_its_chunks(texts: list[str]) -> None:
    for parts in ((PREFIX, SUFFIX), REASONING):
        run = ChunkRun(template(*parts), texts)

        assert encode_run(run) == b"".join(map(encode_run, run.make_chunks()))


def test_short_event_does_not_match() -> None:
    """In it, the beginning and the end of the template share a quotation mark."""
    start, between, end = REASONING
    shorts = {
        PREFIX + SUFFIX[1:]: (PREFIX, SUFFIX),
        start + between[1:] + end: REASONING,
        start + between + end[1:]: REASONING,
        start + end[1:]: REASONING,
    }
    for short, parts in shorts.items():
        for count in (1, 6):
            found = template(*parts)

            assert found.match([short] * count) == []
            assert found.match_event(b"data: %b\n\n" % short) is None
            assert found.match_events(b"data: %b\n\n" % short * count) == ([], 0)


def test_received_bytes_without_the_end_of_an_event_do_not_match() -> None:
    found = template(PREFIX, SUFFIX)

    assert found.match_event(b"data: " + PREFIX + b"a" + SUFFIX) is None
    assert found.match_events(b"data: " + PREFIX + b"a" + SUFFIX) == ([], 0)
    assert found.match_events(b": comment\n\n") == ([], 0)


@given(st.integers(0, 2**32))
def test_buffer_has_the_events_of_the_decoder_in_their_order(seed: int) -> None:
    random = Random(seed)
    matching = template(PREFIX, SUFFIX)
    stream = b""
    for number in range(random.randint(1, 90)):
        body = str(number) if random.random() < 0.97 else 'x"'
        stream += b"data: " + PREFIX + body.encode() + SUFFIX + b"\n\n"
        stream += random.choice([b"", b"", b"", b": x\n\n", b"\r\n", b"\n", b"data:\n"])
    found: list[bytes] = []
    expected: list[bytes] = []
    for result, used in ((expected, None), (found, matching)):
        cuts = Random(seed)
        buffer = EventBuffer(10**6)
        buffer.template = used
        start = 0
        while start < len(stream):
            end = start + cuts.choice([1, 20, 60, 120, 1000])
            buffer.feed(stream[start:end])
            start = end
            for text in reversed(buffer.texts):
                result.append(PREFIX + orjson.dumps(text)[1:-1] + SUFFIX)
            for event in reversed(buffer.events):
                result.append(
                    event if isinstance(event, bytes) else event.data.encode()
                )
            buffer.clear()

    assert found == expected
