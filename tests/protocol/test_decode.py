"""decode: JSON bytes to plain values."""

import json
import re
from typing import Any

import orjson
import pytest
from hypothesis import given
from json_values import JSON

from openrouter_async.errors import MalformedResponseError
from openrouter_async.protocol.decode import decode

SECRET = "the-body"
SURROGATE = re.compile(r"\\ud[89a-f]", re.IGNORECASE)


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b'{"a": [1, 2.5, null, true]}', {"a": [1, 2.5, None, True]}),
        (bytearray(b" \n [1]"), [1]),
        ('"x"', "x"),
        (b'"\\ud83d\\ude00"', "\U0001f600"),
        (b'"\\ud800"', "\ud800"),
        (b'["\\udc00", 18446744073709551615]', ["\udc00", 2**64 - 1]),
        (b'["\\udc00", 18446744073709551616, 1.5]', ["\udc00", 2**64, 1.5]),
        (b'"a\xffb"', "a\ufffdb"),
        (b'\xef\xbb\xbf{"a": 1}', {"a": 1}),
        ('\ufeff"a"', "a"),
        ('"\ud800"', "\ud800"),
        (b"[" * 500 + b"]" * 500, orjson.loads(b"[" * 500 + b"]" * 500)),
    ],
)
def test_valid_json_is_decoded(data: bytes | bytearray | str, value: Any) -> None:
    """Including what orjson rejects."""
    assert decode(data) == value


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"  ", b"<html>the-body</html>", b'{"the-body": ', b"{'the-body': 1}"),
        *(b'"the-body', b"\xff\xfe", b"[" * 100_000, b"[" * 100_000 + b"]" * 100_000),
    ],
)
def test_invalid_json_raises_an_error_without_the_body(data: bytes) -> None:
    with pytest.raises(MalformedResponseError) as caught:
        decode(data)

    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


@given(JSON.filter(lambda value: SURROGATE.search(json.dumps(value)) is None))
def test_decode_agrees_with_the_standard_library(value: Any) -> None:
    """Except for integers beyond 64 bits, which become floats."""
    assert decode(json.dumps(value)) == _rounded(value)


def _rounded(value: Any) -> Any:
    if value.__class__ is list:
        return [_rounded(member) for member in value]
    if value.__class__ is dict:
        return {key: _rounded(member) for key, member in value.items()}
    if type(value) is int and not -(2**63) <= value < 2**64:
        return float(value)
    return value
