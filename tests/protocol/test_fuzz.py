"""
Bodies that OpenRouter's schemas allow, and bodies that nobody allows, by the thousand.

`--long` tries 10,000 of each; what it found once stands here as an example.
"""

import json
import math
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Final

import jsonschema  # type: ignore[import-untyped]
import pytest
from from_schema import Document, mutated, seeded
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict
from test_decode import assert_sound

from openrouter_async.errors import (
    APIError,
    ConfigurationError,
    MalformedResponseError,
    OpenRouterError,
)
from openrouter_async.protocol.accumulator.accumulator import Accumulator
from openrouter_async.protocol.body import chat_body
from openrouter_async.protocol.decode import decode, read_chunk, read_response
from openrouter_async.protocol.encode import encode
from openrouter_async.protocol.error_parsing import error_from_response
from openrouter_async.protocol.response_parsing import read_chat
from openrouter_async.protocol.retry_after import parse_retry_after
from openrouter_async.types import NULL, ChatGenerationParams, Exchange

WALL: Final = 1_800_000_000.0
WIRE: Final = os.environ.get("OPENROUTER_WIRE")

needs_schemas = pytest.mark.skipif(
    not WIRE, reason="OPENROUTER_WIRE does not name the folder of schemas"
)


@cache
def schema(name: str) -> dict[str, Any]:
    file = Path(WIRE or "") / "schema" / f"{name}.schema.json"
    loaded: dict[str, Any] = json.loads(file.read_text())
    return loaded


def bodies(name: str) -> st.SearchStrategy[Any]:
    return seeded(lambda chance: document(name).draw(chance))


@cache
def document(name: str) -> Document:
    return Document(schema(name))


REQUESTS: Final = bodies("chat-request")
RESULTS: Final = bodies("chat-result")
CHUNKS: Final = bodies("chat-stream-chunk")


def alike(one: Any, other: Any) -> bool:
    """Tell whether two values are the same JSON; 1 and 1.0 are not."""
    return json.dumps(one) == json.dumps(other)


# --- the strategy itself ----------------------------------------------------------


@needs_schemas
@pytest.mark.parametrize("name", ["chat-request", "chat-result", "chat-stream-chunk"])
@given(data=st.data())
@settings(max_examples=50)
def test_what_is_drawn_is_what_the_schema_allows(
    name: str, data: st.DataObject
) -> None:
    """The strategy is right: a validator that nobody here wrote agrees."""
    value = data.draw(bodies(name))

    validator(name).validate(value)


@cache
def validator(name: str) -> Any:
    return jsonschema.Draft202012Validator(schema(name))


# --- replies ----------------------------------------------------------------------


@needs_schemas
@given(RESULTS)
def test_a_reply_of_the_schema_is_read_whole(raw: Any) -> None:
    """Every documented body parses, as a reply, and says what it said."""
    before = json.dumps(raw)
    reply = read_response(decode(before))

    assert_sound(reply)
    assert json.dumps(reply.raw) == before
    assert len(reply.choices) == len(raw["choices"])
    for choice, was in zip(reply.choices, raw["choices"], strict=True):
        assert choice.finish_reason == was["finish_reason"]
        content = was["message"].get("content")
        if isinstance(content, str):
            assert choice.message.content == content


@needs_schemas
@given(CHUNKS)
def test_a_chunk_of_the_schema_is_read_whole(raw: Any) -> None:
    """Every documented chunk parses, and says what it said."""
    before = json.dumps(raw)
    chunk = read_chunk(decode(before))

    assert_sound(chunk)
    assert json.dumps(chunk.raw) == before
    for choice, was in zip(chunk.choices, raw["choices"], strict=True):
        assert choice.delta.content == was["delta"].get("content")


@needs_schemas
@pytest.mark.parametrize("read", [read_response, read_chunk])
@given(data=st.data())
def test_a_changed_reply_is_survived(
    read: Callable[[dict[str, Any]], Any], data: st.DataObject
) -> None:
    """Whatever is changed in a documented body: it reads, soundly, and is kept."""
    raw = data.draw(mutated(RESULTS if read is read_response else CHUNKS))
    before = json.dumps(raw)

    reply = read(raw)

    assert_sound(reply)
    assert reply.raw is raw
    assert json.dumps(raw) == before


@needs_schemas
@given(mutated(RESULTS))
def test_a_changed_body_is_read_or_refused(raw: Any) -> None:
    """From bytes to reply: a reply, or one of our errors."""
    http = exchange(200)
    try:
        reply = read_chat(json.dumps(raw).encode(), http, WALL)
    except APIError as error:
        assert 400 <= error.status_code < 600  # noqa: PT017
    except MalformedResponseError:
        assert not isinstance(raw, dict)
    else:
        assert_sound(reply)


# --- the fold ---------------------------------------------------------------------


@needs_schemas
@given(st.lists(CHUNKS, max_size=5), st.randoms(use_true_random=False))
def test_documented_chunks_fold_in_any_order(chunks: list[Any], chance: Any) -> None:
    """No order of chunks is too odd, nothing of them is changed, all words are kept."""
    chance.shuffle(chunks)
    before = json.dumps(chunks)
    fold = Accumulator()
    for raw in chunks:
        fold.add(read_chunk(raw))
        fold.build()
    reply = fold.response()

    assert_sound(reply)
    assert json.dumps(chunks) == before
    for choice in reply.choices:
        words = "".join(
            part["delta"].get("content") or ""
            for raw in chunks
            for part in raw["choices"]
            if part["index"] == choice.index
        )
        assert (choice.message.content or "") == words


@needs_schemas
@given(st.lists(mutated(CHUNKS), max_size=5))
def test_changed_chunks_fold(chunks: list[Any]) -> None:
    """Whatever is changed in documented chunks: they fold to JSON."""
    before = json.dumps(chunks)
    fold = Accumulator()
    for raw in chunks:
        fold.add(read_chunk(raw))
    body = fold.build(ended=True)

    assert_sound(read_response(body))
    assert alike(json.loads(json.dumps(body)), body)
    assert json.dumps(chunks) == before


# --- requests ---------------------------------------------------------------------


@needs_schemas
@given(REQUESTS)
def test_a_request_of_the_schema_goes_out_as_it_is(body: Any) -> None:
    """A mapping is sent equal as JSON, nulls and unknown keys included."""
    assume(body["messages"])
    stream = bool(body.pop("stream", False))
    sent = chat_body(body, {}, stream=stream, extra=None)

    assert alike(json.loads(encode(sent)), {**body, "stream": True} if stream else body)


@needs_schemas
@given(REQUESTS)
def test_a_request_of_the_schema_fits_the_class(body: Any) -> None:
    """As fields of the class it is sent the same, in the class's order."""
    assume(body["messages"])
    body.pop("stream", None)
    fields: dict[str, Any] = {
        name: NULL if value is None else value for name, value in body.items()
    }
    unknown = {name: fields.pop(name) for name in body if name not in FIELDS}
    params = ChatGenerationParams(**fields)
    sent = chat_body(params, {}, stream=False, extra=unknown)
    by_keyword = chat_body(None, fields, stream=False, extra=unknown)

    written = json.loads(encode(sent))
    assert alike(sort(written), sort(body))
    assert encode(by_keyword) == encode(sent)


def sort(body: dict[str, Any]) -> dict[str, Any]:
    return {name: body[name] for name in sorted(body)}


FIELDS: Final = {field.name for field in ChatGenerationParams.__attrs_attrs__}


@needs_schemas
@given(mutated(REQUESTS))
def test_a_changed_request_is_sent_or_refused(body: Any) -> None:
    """Whatever a mapping holds that is JSON: it goes out as it is, or is refused."""
    try:
        sent = chat_body(body, {}, stream=False, extra=None)
    except (TypeError, ConfigurationError):
        return

    body.pop("stream", None)
    assert alike(json.loads(encode(sent)), body)


# --- bytes, errors, waits ---------------------------------------------------------

# What JSON is made of, so that what is drawn comes near to it.
SCRAPS = [
    b"{", b"}", b"[", b"]", b":", b",", b'"', b'"a"', b"\\", b"\\u", b"d800", b"\\ud800", b"0",
    b"-", b"1", b"e9", b"E+", b".", b"1e400", b"true", b"null", b"NaN", b"Infinity", b" ", b"\n",
    b"\xef\xbb\xbf", b"\xff", b"\xc3", b"\xa9", b"\0", b"<html>", b'{"a":', b"9" * 25, b"[" * 40,
]  # fmt: skip
NOISE = st.binary(max_size=60) | st.lists(st.sampled_from(SCRAPS), max_size=14).map(
    b"".join
)


@given(NOISE)
def test_any_bytes_are_json_or_malformed(data: bytes) -> None:
    """`decode` raises nothing else, and its values are JSON's."""
    try:
        value = decode(data)
    except MalformedResponseError:
        return

    assert alike(json.loads(json.dumps(value, allow_nan=False)), value)


@given(
    NOISE, st.sampled_from(["application/json", "text/event-stream", "text/html", ""])
)
def test_any_bytes_are_a_reply_or_one_of_our_errors(data: bytes, kind: str) -> None:
    """A 200 with anything in it is a reply, or one of our errors."""
    http = exchange(200, {"Content-Type": kind})
    try:
        reply = read_chat(data, http, WALL)
    except OpenRouterError as error:
        assert error.http is http  # noqa: PT017
    else:
        assert_sound(reply)


@given(NOISE, st.integers(100, 999))
def test_any_bytes_are_an_error_of_their_status(data: bytes, status: int) -> None:
    """A failed reply with anything in it is the error of its status."""
    assume(not 200 <= status < 300)
    error = error_from_response(data, exchange(status), wall=WALL)

    assert error.status_code == status
    assert str(error).startswith(f"{status}")


def some(**members: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.fixed_dictionaries({}, optional=members)


FINITE: Final = st.floats(allow_nan=False, allow_infinity=False)
METADATA: Final = some(
    error_type=st.sampled_from(["timeout", "server", "x", 1]),
    provider_name=st.text(max_size=5),
    raw=st.text(max_size=9) | st.just('{"error":{"message":"inner"}}'),
    headers=st.dictionaries(
        st.sampled_from(["Retry-After", "X-RateLimit-Reset"]), st.text(max_size=5)
    ),
    retry_after_seconds=FINITE | st.integers(),
)
ENVELOPES: Final = some(
    error=some(
        message=st.text(max_size=20),
        code=st.integers(300, 700) | st.sampled_from(["429", "x", "", None]),
        type=st.text(max_size=5),
        metadata=METADATA,
        availability=some(
            retryable=st.booleans() | st.none(),
            retry_after=FINITE | st.text(max_size=3),
        ),
    ),
    user_id=st.text(max_size=9),
    id=st.text(max_size=9),
)


@given(mutated(ENVELOPES), st.sampled_from([400, 401, 402, 429, 500, 502, 524, 529]))
def test_any_envelope_is_the_error_of_its_status(body: Any, status: int) -> None:
    """An envelope of any kind keeps its status, and its wish is a length of time."""
    data = json.dumps(body).encode()
    error = error_from_response(data, exchange(status), wall=WALL)

    assert error.status_code == status
    assert error.retry_after is None or 0 <= error.retry_after < math.inf
    assert len(str(error)) < 2000
    inside = json.dumps({"choices": [], **body} if isinstance(body, dict) else body)
    try:
        read_chat(inside.encode(), exchange(200), WALL)
    except APIError as inner:
        assert 400 <= inner.status_code < 600  # noqa: PT017
    except MalformedResponseError:
        assert not isinstance(body, dict)


@given(
    st.text(max_size=30) | st.from_regex(r"[0-9]{1,20}(\.[0-9]{0,20})?", fullmatch=True)
)
def test_any_wish_is_a_length_of_time(text: str) -> None:
    """No `Retry-After`, in no place, is a wait that is negative or without end."""
    for name in ("Retry-After", "retry-after-ms", "X-RateLimit-Reset"):
        outer = parse_retry_after(CIMultiDict({name: text}), {}, wall=WALL)
        inner = parse_retry_after(
            CIMultiDict[str](), {"metadata": {"headers": {name: text}}}, wall=WALL
        )

        assert outer is None or 0 <= outer < math.inf
        assert outer == inner


def exchange(status: int, headers: dict[str, str] | None = None) -> Exchange:
    return Exchange(status=status, headers=CIMultiDict(headers or {}))
