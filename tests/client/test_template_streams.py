"""Templates: whole streams are read the same with and without them."""

# Random JSON has no types, and templates are seen in private slots only.
# pyright: reportPrivateUsage=false, reportUnknownArgumentType=false
# pyright: reportUnknownLambdaType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false

import copy
import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from template_streams import (
    DONE,
    FINISH,
    arguments,
    assert_same,
    call,
    content,
    invent,
    is_lazy,
    open_pieces,
    outcome,
    piece,
    read_lazily,
    reasoning,
    split,
    templates,
)

from openrouter_async import MalformedResponseError
from openrouter_async.types import ChatStreamingResponseChunk

seeds = st.integers(0, 2**63)


@given(seeds)
async def test_invented_stream_is_read_the_same_without_templates(seed: int) -> None:
    random = Random(seed)
    pieces = split(invent(random), random)
    limit = random.choice([10**6, 10**6, 500])

    with templates(enabled=False):
        expected = await outcome(pieces, seed, limit_bytes=limit)
    with templates(enabled=True):
        assert await outcome(pieces, seed, limit_bytes=limit) == expected


def recordings() -> list[Any]:
    folder = os.environ.get("OPENROUTER_WIRE")
    if not folder:
        skip = pytest.mark.skip("OPENROUTER_WIRE does not name a folder of recordings")
        return [pytest.param(None, marks=skip)]
    paths = sorted(Path(folder).rglob("*.sse"))
    return [pytest.param(path, id=path.stem) for path in paths]


@pytest.mark.parametrize("path", recordings())
async def test_recording_is_read_the_same_without_templates(path: Path) -> None:
    recorded = path.read_bytes()
    whole = recorded if b"\n\n" in recorded else recorded.replace(b"\n", b"\n\n")
    for size in (len(whole), 64_000, 4000, 700, 97):
        pieces = [whole[at : at + size] for at in range(0, len(whole), size)]
        with templates(enabled=False):
            expected = await everything(pieces)
        with templates(enabled=True):
            assert await everything(pieces) == expected


async def everything(pieces: list[bytes]) -> list[Any]:
    """Return all that a stream gives, with a partial after every tenth chunk."""
    stream, state, _ = open_pieces(pieces)
    found: list[Any] = []
    try:
        async for chunk in stream:
            found.append((repr(chunk), json.dumps(chunk.raw)))
            if len(found) % 10 == 0 and stream.partial is not None:
                found.append(json.dumps(stream.partial.raw))
        found.append(json.dumps(stream.response.raw))
    except Exception as error:  # noqa: BLE001 - any error is compared
        found += [type(error), str(error)]
    return [*found, state.finished, state.token_seen]


@pytest.mark.parametrize(
    "make", [content, reasoning, arguments], ids=["content", "reasoning", "arguments"]
)
async def test_chunks_that_differ_in_their_text_are_not_decoded(
    make: Callable[[str], bytes],
) -> None:
    texts = ["a", "b", *'c "\\\n\u00a0😀', "", "{}"]
    events = [make(text) for text in texts]
    begin = call("f", "c1")
    one_by_one = await read_lazily(begin, *events, FINISH, DONE)
    together = await read_lazily(begin + b"".join(events) + FINISH + DONE)
    split_event = await read_lazily(
        begin + b"".join(events[:4]) + events[4][:50],
        events[4][50:] + events[5] + events[6][:9],
        events[6][9:] + b"".join(events[7:]) + FINISH,
        DONE,
    )

    expected = [False, False, *[True] * (len(texts) - 1), False]
    assert one_by_one[1] == expected
    assert together[1] == expected
    assert split_event[1] == expected
    assert one_by_one[0].response == together[0].response == split_event[0].response
    await assert_same(begin, *events, FINISH, DONE)
    await assert_same(begin + b"".join(events) + FINISH + DONE)


async def test_template_goes_on_after_comments_and_other_framing() -> None:
    """The text of a chunk that is decoded does not depend on the template."""
    pieces = [content(letter) for letter in "abcd"]
    odd = content("e").replace(b"data: ", b"data:")
    _, lazy = await read_lazily(
        *pieces, b": comment\n\n", content("x"), odd, *pieces, FINISH, DONE
    )

    assert lazy[:5] == [False, False, True, True, True]
    assert lazy[5:] == [False, True, True, True, True, False]
    await assert_same(*pieces, b": x\n\n", content("x"), odd, *pieces, FINISH, DONE)


async def test_template_is_not_used_inside_an_event() -> None:
    begun = b"event: error\n"
    await assert_same(content("a"), content("b"), content("c"), begun, content("d"))
    await assert_same(content("a"), content("b"), b"data: {\n", content("d"))
    await assert_same(content("a"), content("b"), b"\r", b"\n", content("d"), DONE)


# Texts in one read that are one JSON list only together.
TOGETHER = {
    "three members": ['",["x', "y", 'z"],"w'],
    "too many members": ['a","b', "c\\"],
    "two texts": ["x\\", ',"z'],
    "a text of two": ['a","b', "c"],
}


@pytest.mark.parametrize("name", TOGETHER)
@pytest.mark.parametrize("count", [0, 5])
@pytest.mark.parametrize("reverse", [False, True])
async def test_bodies_that_are_texts_only_together_are_errors(
    name: str, count: int, *, reverse: bool
) -> None:
    bodies = TOGETHER[name][::-1] if reverse else TOGETHER[name]
    marked = content("MARK").split(b"MARK")
    events = [body.encode().join(marked) for body in bodies]
    more = [content("c")] * count
    for last in (more, []):
        received = [b"".join((*more, *events, *last))]
        await assert_same(content("a"), content("b"), *received, DONE)
        await assert_same(b"".join((content("a"), content("b"), *received)), DONE)
        stream, _, _ = open_pieces([content("a"), content("b"), *received, DONE])
        with pytest.raises(MalformedResponseError):
            await stream.collect()


@pytest.mark.parametrize("count", [0, 5])
async def test_beginning_and_end_do_not_overlap(count: int) -> None:
    """An event may lack one of the quotation marks that a template has twice."""
    short = content("").replace(b'""', b'"')
    more = b"".join([content("c")] * count)
    stream, _, _ = open_pieces([content("a"), content("b"), more + short, DONE])

    with pytest.raises(MalformedResponseError):
        await stream.collect()
    assert stream.partial is not None
    assert stream.partial.text == "ab" + "c" * count
    await assert_same(content("a"), content("b"), more + short, DONE)
    await assert_same(content("a") + content("b") + more + short, DONE)


@pytest.mark.parametrize("count", [1, 8])
@pytest.mark.parametrize("text", ["\\ud83d", "\\ude00", "\\ud83d\\ude00"])
async def test_halves_of_characters_take_the_ordinary_path(
    text: str, count: int
) -> None:
    half = content("MARK").replace(b"MARK", text.encode())
    events = [content("a"), content("b"), *[half, content("c")] * count, FINISH, DONE]

    await assert_same(*events)
    await assert_same(b"".join(events))


# --- What a template is learnt from. ---


async def test_first_token_is_noticed_after_empty_chunks() -> None:
    stream, state, _ = open_pieces([content(""), content(""), content(""), FINISH])
    await stream.collect()
    assert not state.token_seen

    stream, state, _ = open_pieces([content(""), content(""), content("a"), FINISH])
    _ = [chunk async for chunk in stream]
    assert state.token_seen


async def test_finish_reason_in_every_chunk_is_kept() -> None:
    events = [content(text, choice={"finish_reason": "stop"}) for text in "abcdef"]
    stream, lazy = await read_lazily(*events, DONE)

    assert lazy == [False] * 6
    assert stream.response.finish_reason == "stop"
    await assert_same(*events)
    await assert_same(b"".join(events))


@pytest.mark.parametrize(
    "special",
    [
        {"usage": {"cost": 1}},
        {"error": {"code": 400, "message": ""}},
        {"debug": {"a": 1}},
        {"alignment": {}},
        {"openrouter_metadata": {}},
        {"safeguard_results": [{}]},
        {"choice": {"logprobs": {"content": [1]}}},
        {"choice": {"message": {"content": "x"}}},
        {"choice": {"text": "x"}},
        {"choice": {"usage": {"cost": 1}}},
        {"choice": {"index": "0"}},
        {"choice": {"delta": "x"}},
        {"choice": {"delta": {"content": ["x"]}}},
        {"choice": {"delta": {"content": "x", "images": [{}]}}},
        {"choices": []},
        {"choices": [None, {"index": 0, "delta": {"content": "x"}}]},
        {"choices": "x"},
    ],
)
async def test_special_chunk_is_decoded(special: dict[str, Any]) -> None:
    events = [content("a"), *[content("b", **special)] * 3, FINISH, DONE]

    await assert_same(*events)
    stream, _, _ = open_pieces(events)
    try:
        assert not any([is_lazy(chunk) async for chunk in stream])
    except Exception:  # noqa: BLE001 - an error is not lazy, either
        assert "error" in special


@pytest.mark.parametrize(
    "calls",
    [
        "x",
        [None],
        [{"index": 0}, {"index": 1}],
        [{"index": "0", "function": {"arguments": "x"}}],
        [{"index": 0, "function": None}],
        [{"index": 0, "function": {"arguments": {"a": 1}}}],
        [{"index": 0, "function": {"arguments": "x", "name": "f"}}],
        [{"index": 0, "id": "c2", "function": {"arguments": "x"}}],
        # No call has this index: the arguments belong to the last one.
        [{"index": 7, "function": {"arguments": "x"}}],
    ],
)
async def test_special_tool_call_is_decoded(calls: Any) -> None:
    special = piece({"content": None, "tool_calls": calls})
    events = [call("f", "c1"), *[special] * 3, FINISH, DONE]
    _, lazy = await read_lazily(*events)

    assert not any(lazy)
    await assert_same(*events)


@pytest.mark.parametrize(
    "details",
    [
        "x",
        [None],
        [],
        [{"type": "reasoning.text", "text": "x", "index": 0}],
        [{"type": "reasoning.text", "text": "x", "format": "f", "index": "0"}],
        [{"type": "reasoning.text", "text": "y", "format": "f", "index": 0}],
        [{"type": "t", "text": "x", "format": "f", "index": 0, "signature": "s"}],
    ],
)
async def test_special_reasoning_detail_is_decoded(details: Any) -> None:
    special = piece({"reasoning": "x", "reasoning_details": details})
    events = [content("a"), *[special] * 3, FINISH, DONE]
    _, lazy = await read_lazily(*events)

    assert any(lazy) is (details == [])
    await assert_same(*events)


async def test_chunk_with_a_number_that_orjson_does_not_read_is_not_learnt() -> None:
    """It is a float in chunks that orjson decodes, and compares as equal."""
    first, last = (
        content("x\\ud83dy" if half else "x", created=2**70, n=2**70)
        for half in (True, False)
    )
    events = [content("a"), first.replace(b"\\\\", b"\\"), last, last, FINISH, DONE]
    _, lazy = await read_lazily(*events)

    assert lazy == [False, False, False, True, False]
    await assert_same(*events)


@pytest.mark.parametrize(
    "member",
    [
        b'"content": "x", "content": "x"',
        b'"x": {"content": "x"}, "content": "x"',
        b'"content": "x", "x": {"content": "x"}',
        b'"content": "y", "content": "x"',
    ],
)
async def test_text_whose_position_is_not_certain_is_decoded(member: bytes) -> None:
    event = content("x").replace(b'"content": "x"', member)
    other = event.replace(b': "x"', b': "z"', 1)
    last = b': "z"'.join(event.rsplit(b': "x"', 1))
    events = [content("a"), event, event, other, last, other, last, FINISH, DONE]

    await assert_same(*events)
    await assert_same(b"".join(events))
    await assert_same(b"".join(events[:3]), b"".join(events[3:] * 4))


async def test_key_that_is_escaped_is_not_found() -> None:
    event = content("x").replace(b'"content"', b'"c\\u006fntent"')
    _, lazy = await read_lazily(content("a"), event, event, event, FINISH, DONE)

    assert not any(lazy)


@pytest.mark.parametrize("member", [b"[" * 1010 + b"]" * 1010, b"NaN"])
async def test_chunk_with_a_member_that_cannot_be_compared_is_decoded(
    member: bytes,
) -> None:
    """Deeply nested values exceed the recursion limit; orjson rejects NaN."""
    events = [content(text, n="MARK").replace(b'"MARK"', member) for text in "abcd"]
    stream, _ = await read_lazily(*events, FINISH, DONE)

    assert stream.response.text == "abcd"


@pytest.mark.parametrize("count", [1, 8])
async def test_reasoning_that_its_detail_does_not_repeat_is_decoded(count: int) -> None:
    events = [reasoning("a"), reasoning("b"), *[reasoning("c", "d")] * count]
    escaped = reasoning("é").replace("é".encode(), b"\\u00e9", 1)

    await assert_same(*events, FINISH, DONE)
    await assert_same(b"".join(events), FINISH, DONE)
    await assert_same(*events[:2], b"".join(events[2:] * 2), FINISH, DONE)
    await assert_same(*events[:2], *[escaped] * count, reasoning("a"), FINISH, DONE)
    await assert_same(escaped, escaped, b"".join([reasoning("é")] * count), FINISH)


async def test_streams_without_two_equal_chunks_stop_learning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    learnt: list[int] = []
    number = 0

    def learn(*_: Any) -> None:
        learnt.append(number)

    monkeypatch.setattr("openrouter_async.protocol.templates._learn", learn)
    stream, _, _ = open_pieces([*(content("a", n=n) for n in range(4000)), DONE])
    async for _ in stream:
        number += 1

    assert learnt == [1, 2, 3, 4, 21, 54, 119, 248, 505, 1018, 2043, 3068]


# --- Where the next text belongs. ---


async def test_call_under_the_index_of_another_gets_its_own_arguments() -> None:
    events = [
        *(call("f", "c1"), arguments('{"a'), arguments('": '), arguments("1}")),
        *(call("g", "c2"), arguments('{"b'), arguments('": '), arguments("2}")),
        *(FINISH, DONE),
    ]
    stream, lazy = await read_lazily(*events)

    found = [each.function for each in stream.response.tool_calls]
    assert [(each.name, each.arguments) for each in found] == [
        ("f", '{"a": 1}'),
        ("g", '{"b": 2}'),
    ]
    assert lazy.count(True) == 4
    await assert_same(*events)
    await assert_same(b"".join(events))


async def test_template_is_not_used_after_a_chunk_that_it_does_not_match() -> None:
    """A signature ends a block, although the next text looks like its other texts."""
    signature = piece(
        {
            "reasoning": None,
            "reasoning_details": [
                {"type": "reasoning.text", "signature": "s", "index": 0}
            ],
        }
    )
    other_block = reasoning("x", index=1)
    texts = [reasoning(letter) for letter in "abc"]
    await assert_same(*texts, signature, *texts, FINISH, DONE)
    await assert_same(*texts, other_block, *texts, FINISH, DONE)
    await assert_same(b"".join((*texts, other_block, *texts, FINISH, DONE)))
    parts = piece({"content": [{"type": "text", "text": "p"}], "role": "assistant"})
    await assert_same(content("a"), content("b"), parts, content("c"), FINISH, DONE)
    message = content("a", choice={"message": {"content": "abx"}})
    await assert_same(content("a"), content("b"), message, content("c"), FINISH)


@pytest.mark.parametrize("together", [False, True])
async def test_arguments_that_are_restated_are_not_added_again(
    *, together: bool
) -> None:
    texts = ["{", '"a"', ":1", "}", '{"a":1}']
    events = [call("f", "c1"), *map(arguments, texts), FINISH, DONE]
    stream, lazy = await read_lazily(*([b"".join(events)] if together else events))

    assert lazy.count(True) == 4
    assert stream.response.tool_calls[0].function.arguments == '{"a":1}'
    stream, _, _ = open_pieces([b"".join(events)])
    response = await stream.collect()
    assert response.tool_calls[0].function.arguments == '{"a":1}'


@pytest.mark.parametrize("size", [1, 7])
async def test_partial_has_the_chunks_that_were_returned(size: int) -> None:
    events = [content(letter) for letter in "abcdefg"]
    pieces = [b"".join(events[at : at + size]) for at in range(0, 7, size)]
    stream, _, _ = open_pieces([*pieces, FINISH, DONE])
    text = ""
    async for chunk in stream:
        text += chunk.text
        assert stream.partial is not None
        assert stream.partial.text == text
    assert text == "abcdefg"

    stream, _, _ = open_pieces([*pieces, FINISH, DONE])
    await anext(stream)
    while chunks := await stream.read_available():
        assert stream.partial is not None
        assert stream.partial.text.endswith("".join(chunk.text for chunk in chunks))


@pytest.mark.parametrize("leave", ["close", "fail"])
async def test_texts_that_wait_are_discarded_with_the_stream(leave: str) -> None:
    stream, _, buffer = open_pieces([b"".join(map(content, "abcdefg"))])
    for _ in range(4):
        await anext(stream)
    assert buffer.texts
    if leave == "close":
        await stream.aclose()
    else:
        stream._leave(TimeoutError())

    assert not buffer.texts
    assert stream.partial is not None
    assert stream.partial.text == "abcd"


async def test_chunks_of_templates_are_counted() -> None:
    for how in ("iterate", "collect"):
        stream, _, _ = open_pieces(
            [content("a"), b"".join(map(content, "bcdefgh")), FINISH + DONE]
        )
        counted: list[None] = []
        stream._on_chunk = lambda counted=counted: counted.append(None)
        if how == "collect":
            await stream.collect()
        else:
            _ = [chunk async for chunk in stream]

        assert len(counted) == 9


async def test_event_over_the_limit_comes_after_the_texts_before_it() -> None:
    events = b"".join(map(content, "bcdef"))
    stream, _, _ = open_pieces(
        [content("a"), content("b"), events + b"data: " + b"x" * 999, b"x"], 900
    )
    chunks = [await anext(stream) for _ in range(7)]
    with pytest.raises(MalformedResponseError, match="larger"):
        await anext(stream)

    assert "".join(chunk.text for chunk in chunks) == "abbcdef"


# --- Chunks. ---


async def lazy_chunks(
    make: Callable[[str], bytes] = content,
) -> list[ChatStreamingResponseChunk]:
    stream, _, _ = open_pieces([call("f", "c1"), *map(make, "abcd"), FINISH, DONE])
    chunks = [chunk async for chunk in stream][3:5]
    assert all(map(is_lazy, chunks))
    return chunks


@pytest.mark.parametrize("make", [content, reasoning, arguments])
@pytest.mark.parametrize("first", ["choices", "raw"])
async def test_chunks_share_nothing_that_can_be_changed(
    make: Callable[[str], bytes], first: str
) -> None:
    one, two = await lazy_chunks(make)
    getattr(one, first)
    before = json.dumps((await lazy_chunks(make))[1].raw)
    one.id = "changed"
    one.choices[0].index = 5
    one.choices[0].delta.content = one.choices[0].delta.reasoning = "changed"
    one.choices[0].delta.tool_calls.append(None)  # type: ignore[arg-type]
    one.choices[0].delta.images.append({})
    one.choices.append(one.choices[0])
    one.safeguard_results.append({})
    one.raw["choices"][0]["delta"]["changed"] = one.raw["changed"] = "changed"
    for members in one.raw["choices"][0]["delta"].values():
        if isinstance(members, list):
            members[0]["changed"] = "changed"

    assert "changed" not in repr(two)
    assert two.safeguard_results == []
    assert [choice.index for choice in two.choices] == [0]
    assert two.choices[0].delta.images == []
    assert json.dumps(two.raw) == before


@pytest.mark.parametrize("make", [content, reasoning, arguments])
async def test_lazy_chunk_is_equal_to_its_copies(make: Callable[[str], bytes]) -> None:
    for copied in (
        copy.copy,
        copy.deepcopy,
        attrs.evolve,
        lambda chunk: pickle.loads(pickle.dumps(chunk)),
    ):
        one, two = await lazy_chunks(make)
        copies: list[ChatStreamingResponseChunk] = [copied(one), copied(two)]

        assert copies == [one, two] == await lazy_chunks(make)
        assert one != two
        assert [chunk.raw for chunk in copies] == [one.raw, two.raw]
        assert [chunk.text for chunk in copies] == [one.text, two.text]
        assert attrs.asdict(copies[0]) == attrs.asdict(one)


async def test_text_follows_choices_once_they_were_read() -> None:
    (one, two), (three, _) = await lazy_chunks(), await lazy_chunks(reasoning)
    one.choices[0].delta.content = "changed"
    two.choices = []
    three.choices[0].delta.reasoning = "changed"

    assert (one.text, two.text, three.reasoning) == ("changed", "", "changed")
    assert two.reasoning is None


@pytest.mark.parametrize("make", [reasoning, arguments])
async def test_parts_of_raw_are_those_that_choices_refer_to(
    make: Callable[[str], bytes],
) -> None:
    for name in ("choices", "raw"):
        one, two = await lazy_chunks(make)
        getattr(one, name)
        delta, raw = one.choices[0].delta, one.raw["choices"][0]["delta"]
        shapes = delta.reasoning_details or delta.tool_calls
        assert shapes[0].raw is (raw.get("reasoning_details") or raw["tool_calls"])[0]

        # What the caller has set is kept.
        setattr(two, name, [] if name == "choices" else {})
        assert (two.choices == []) is (name == "choices")
        assert (two.raw == {}) is (name == "raw")
