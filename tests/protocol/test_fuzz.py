"""
Random bodies: allowed by OpenRouter's schemas, changed, and arbitrary bytes.

`--long` tries 10,000 of each. Inputs that once failed are kept as examples in other
tests.
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
from test_response_objects import assert_sound

from openrouter_async.errors import (
    APIError,
    ConfigurationError,
    MalformedResponseError,
    OpenRouterError,
)
from openrouter_async.protocol.accumulator.accumulator import Accumulator
from openrouter_async.protocol.body import chat_body
from openrouter_async.protocol.decode import decode
from openrouter_async.protocol.encode import encode
from openrouter_async.protocol.error_parsing import error_from_response
from openrouter_async.protocol.response_objects import read_chunk, read_response
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
    return seeded(lambda random: document(name).draw(random))


@cache
def document(name: str) -> Document:
    return Document(schema(name))


REQUESTS: Final = bodies("chat-request")
RESPONSES: Final = bodies("chat-result")
CHUNKS: Final = bodies("chat-stream-chunk")


def same_json(one: Any, other: Any) -> bool:
    """Return True if two values are the same JSON; 1 and 1.0 are not."""
    return json.dumps(one) == json.dumps(other)


# --- the strategy itself ----------------------------------------------------------


@needs_schemas
@pytest.mark.parametrize("name", ["chat-request", "chat-result", "chat-stream-chunk"])
@given(data=st.data())
@settings(max_examples=50)
def test_drawn_values_pass_an_independent_validator(
    name: str, data: st.DataObject
) -> None:
    value = data.draw(bodies(name))

    validator(name).validate(value)


@cache
def validator(name: str) -> Any:
    return jsonschema.Draft202012Validator(schema(name))


# --- responses --------------------------------------------------------------------


@needs_schemas
@given(RESPONSES)
def test_documented_response_is_read_completely(raw: Any) -> None:
    original = json.dumps(raw)
    response = read_response(decode(original))

    assert_sound(response)
    assert json.dumps(response.raw) == original
    assert len(response.choices) == len(raw["choices"])
    for choice, expected in zip(response.choices, raw["choices"], strict=True):
        assert choice.finish_reason == expected["finish_reason"]
        content = expected["message"].get("content")
        if isinstance(content, str):
            assert choice.message.content == content


@needs_schemas
@given(CHUNKS)
def test_documented_chunk_is_read_completely(raw: Any) -> None:
    original = json.dumps(raw)
    chunk = read_chunk(decode(original))

    assert_sound(chunk)
    assert json.dumps(chunk.raw) == original
    for choice, expected in zip(chunk.choices, raw["choices"], strict=True):
        assert choice.delta.content == expected["delta"].get("content")


@needs_schemas
@pytest.mark.parametrize("read", [read_response, read_chunk])
@given(data=st.data())
def test_changed_response_is_read_with_the_annotated_types(
    read: Callable[[dict[str, Any]], Any], data: st.DataObject
) -> None:
    raw = data.draw(mutated(RESPONSES if read is read_response else CHUNKS))
    original = json.dumps(raw)

    response = read(raw)

    assert_sound(response)
    assert response.raw is raw
    assert json.dumps(raw) == original


@needs_schemas
@given(mutated(RESPONSES))
def test_changed_body_gives_a_response_or_a_documented_error(raw: Any) -> None:
    http = exchange(200)
    try:
        response = read_chat(json.dumps(raw).encode(), http, WALL)
    except APIError as error:
        assert 400 <= error.status_code < 600  # noqa: PT017 - a response is allowed, too
    except MalformedResponseError as malformed:
        assert malformed.partial or not isinstance(raw, dict)  # noqa: PT017 - as above
    else:
        assert_sound(response)


# --- accumulated chunks ------------------------------------------------------------


@needs_schemas
@given(st.lists(CHUNKS, max_size=5), st.randoms(use_true_random=False))
def test_documented_chunks_accumulate_in_any_order(
    chunks: list[Any], random: Any
) -> None:
    """No chunk is modified, and no text is lost."""
    random.shuffle(chunks)
    original = json.dumps(chunks)
    accumulator = Accumulator()
    for raw in chunks:
        accumulator.add(read_chunk(raw))
        accumulator.build()
    response = accumulator.response()

    assert_sound(response)
    assert json.dumps(chunks) == original
    for choice in response.choices:
        text = "".join(
            part["delta"].get("content") or ""
            for raw in chunks
            for part in raw["choices"]
            if part["index"] == choice.index
        )
        assert (choice.message.content or "") == text


@needs_schemas
@given(st.lists(mutated(CHUNKS), max_size=5))
def test_changed_chunks_accumulate_to_json(chunks: list[Any]) -> None:
    original = json.dumps(chunks)
    accumulator = Accumulator()
    for raw in chunks:
        accumulator.add(read_chunk(raw))
    body = accumulator.build(ended=True)

    assert_sound(read_response(body))
    assert same_json(json.loads(json.dumps(body)), body)
    assert json.dumps(chunks) == original


# --- requests ---------------------------------------------------------------------


@needs_schemas
@given(REQUESTS)
def test_documented_request_as_a_mapping_is_sent_unchanged(body: Any) -> None:
    assume(body["messages"])
    stream = bool(body.pop("stream", False))
    sent = chat_body(body, {}, stream=stream, extra=None)

    assert same_json(
        json.loads(encode(sent)), {**body, "stream": True} if stream else body
    )


@needs_schemas
@given(REQUESTS)
def test_documented_request_as_an_object_is_sent_unchanged(body: Any) -> None:
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
    assert same_json(by_name(written), by_name(body))
    assert encode(by_keyword) == encode(sent)


def by_name(body: dict[str, Any]) -> dict[str, Any]:
    return {name: body[name] for name in sorted(body)}


FIELDS: Final = {field.name for field in ChatGenerationParams.__attrs_attrs__}


@needs_schemas
@given(mutated(REQUESTS))
def test_changed_request_is_sent_unchanged_or_rejected(body: Any) -> None:
    try:
        sent = chat_body(body, {}, stream=False, extra=None)
    except (TypeError, ConfigurationError):
        return

    body.pop("stream", None)
    assert same_json(json.loads(encode(sent)), body)


# --- bytes, errors, waits ---------------------------------------------------------

# Fragments of JSON, so that random bytes resemble it.
FRAGMENTS = [
    b"{", b"}", b"[", b"]", b":", b",", b'"', b'"a"', b"\\", b"\\u", b"d800", b"\\ud800", b"0",
    b"-", b"1", b"e9", b"E+", b".", b"1e400", b"true", b"null", b"NaN", b"Infinity", b" ", b"\n",
    b"\xef\xbb\xbf", b"\xff", b"\xc3", b"\xa9", b"\0", b"<html>", b'{"a":', b"9" * 25, b"[" * 40,
]  # fmt: skip
NOISE = st.binary(max_size=60) | st.lists(st.sampled_from(FRAGMENTS), max_size=14).map(
    b"".join
)


@given(NOISE)
def test_random_bytes_decode_or_are_malformed(data: bytes) -> None:
    try:
        value = decode(data)
    except MalformedResponseError:
        return

    assert same_json(json.loads(json.dumps(value, allow_nan=False)), value)


@given(
    NOISE, st.sampled_from(["application/json", "text/event-stream", "text/html", ""])
)
def test_random_body_gives_a_response_or_an_openrouter_error(
    data: bytes, kind: str
) -> None:
    http = exchange(200, {"Content-Type": kind})
    try:
        response = read_chat(data, http, WALL)
    except OpenRouterError as error:
        assert error.http is http  # noqa: PT017 - a response is allowed, too
    else:
        assert_sound(response)


@given(NOISE, st.integers(100, 999))
def test_random_error_body_keeps_the_status(data: bytes, status: int) -> None:
    assume(not 200 <= status < 300)
    error = error_from_response(data, exchange(status), wall_time=WALL)

    assert error.status_code == status
    assert str(error).startswith(f"{status}")


def partial_object(**members: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.fixed_dictionaries({}, optional=members)


FINITE: Final = st.floats(allow_nan=False, allow_infinity=False)
METADATA: Final = partial_object(
    error_type=st.sampled_from(["timeout", "server", "x", 1]),
    provider_name=st.text(max_size=5),
    raw=st.text(max_size=9) | st.just('{"error":{"message":"inner"}}'),
    headers=st.dictionaries(
        st.sampled_from(["Retry-After", "X-RateLimit-Reset"]), st.text(max_size=5)
    ),
    retry_after_seconds=FINITE | st.integers(),
)
ENVELOPES: Final = partial_object(
    error=partial_object(
        message=st.text(max_size=20),
        code=st.integers(300, 700) | st.sampled_from(["429", "x", "", None]),
        type=st.text(max_size=5),
        metadata=METADATA,
        availability=partial_object(
            retryable=st.booleans() | st.none(),
            retry_after=FINITE | st.text(max_size=3),
        ),
    ),
    user_id=st.text(max_size=9),
    id=st.text(max_size=9),
)


@given(mutated(ENVELOPES), st.sampled_from([400, 401, 402, 429, 500, 502, 524, 529]))
def test_random_error_envelope_keeps_the_status_and_a_valid_wait(
    body: Any, status: int
) -> None:
    data = json.dumps(body).encode()
    error = error_from_response(data, exchange(status), wall_time=WALL)

    assert error.status_code == status
    assert error.retry_after is None or 0 <= error.retry_after < math.inf
    assert len(str(error)) < 2000
    inside = json.dumps({"choices": [], **body} if isinstance(body, dict) else body)
    try:
        read_chat(inside.encode(), exchange(200), WALL)
    except APIError as inner:
        assert 400 <= inner.status_code < 600  # noqa: PT017 - a response is allowed, too
    except MalformedResponseError as malformed:
        assert malformed.partial or not isinstance(body, dict)  # noqa: PT017 - as above


@given(
    st.text(max_size=30) | st.from_regex(r"[0-9]{1,20}(\.[0-9]{0,20})?", fullmatch=True)
)
def test_random_retry_after_is_finite_and_not_negative(text: str) -> None:
    for name in ("Retry-After", "retry-after-ms", "X-RateLimit-Reset"):
        outer = parse_retry_after(CIMultiDict({name: text}), {}, wall_time=WALL)
        inner = parse_retry_after(
            CIMultiDict[str](), {"metadata": {"headers": {name: text}}}, wall_time=WALL
        )

        assert outer is None or 0 <= outer < math.inf
        assert outer == inner


def exchange(status: int, headers: dict[str, str] | None = None) -> Exchange:
    return Exchange(status=status, headers=CIMultiDict(headers or {}))
