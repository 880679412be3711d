"""Header names and values, and masked keys."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openrouter_async.errors import ConfigurationError
from openrouter_async.protocol.headers import (
    Secret,
    check_header_value,
    check_headers,
    mask,
    redact,
)

KEY = "sk-or-v1-0123456789abcdef"


@pytest.mark.parametrize("value", ["x", "a b", "a\tb", "~!", "https://a.example/?b=c"])
def test_visible_ascii_with_inner_spaces_is_accepted(value: str) -> None:
    check_headers({"X-A": value, "x-b!#$%&'*+.^_`|~": value})
    check_header_value("X-A", value)


@pytest.mark.parametrize(
    "value",
    [
        *("a\r\nX-Evil: 1", "a\nb", "a\rb", "a\x00b", "a\x7fb", "a\x0bb", "\x1b[0m"),
        *("é", "日本", "a\u2028b", "\u0130", "\ud800", " a", "a ", "a\n", "\t", ""),
    ],
)
def test_value_with_invalid_characters_is_rejected_without_showing_it(
    value: str,
) -> None:
    with pytest.raises(ConfigurationError, match="Invalid value of X-A: ") as caught:
        check_headers({"X-A": value})

    assert "Evil" not in str(caught.value)


@pytest.mark.parametrize("value", [None, 7, b"x", ["x"], True])
def test_value_that_is_not_a_string_is_rejected(value: Any) -> None:
    with pytest.raises(ConfigurationError, match="Invalid value of X-A: "):
        check_headers({"X-A": value})


@pytest.mark.parametrize(
    "name", ["", " ", "X A", "X:A", "X\r\nA", "X\x00", "Ä", "(x)", "X-A\n", b"X-A", 7]
)
def test_name_that_is_not_a_token_is_rejected(name: Any) -> None:
    with pytest.raises(ConfigurationError, match="Invalid header name "):
        check_headers({name: "x"})


@pytest.mark.parametrize("name", ["Authorization", "authorization", "AUTHORIZATION"])
def test_authorization_header_is_rejected_without_showing_it(name: str) -> None:
    with pytest.raises(ConfigurationError, match="as api_key") as caught:
        check_headers({name: f"Bearer {KEY}"})

    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["Host", "Content-Length", "Transfer-Encoding", "connection"]
)
def test_headers_set_by_the_connection_are_rejected(name: str) -> None:
    with pytest.raises(ConfigurationError, match=f"The header {name} is set by"):
        check_headers({name: "x"})


@pytest.mark.parametrize("headers", [[("A", "b")], "A: b", 7, {"A"}])
def test_headers_that_are_not_a_mapping_are_a_type_error(headers: Any) -> None:
    with pytest.raises(TypeError, match="headers must be a mapping, not "):
        check_headers(headers)


@given(st.dictionaries(st.text(max_size=8), st.text(max_size=12), max_size=3))
def test_accepted_headers_are_one_ascii_line_each(headers: dict[str, str]) -> None:
    try:
        check_headers(headers)
    except ConfigurationError:
        return

    for name, value in headers.items():
        line = f"{name}: {value}"
        assert line.isascii()
        assert line.splitlines() == [line]


def test_mask_changes_strings_only() -> None:
    def key_function() -> str:
        return KEY

    assert repr(mask(KEY)) == "'***'"
    assert mask(KEY) == KEY
    assert mask(key_function) is key_function
    assert mask(None) is None


# --- masked keys -----------------------------------------------------------------


@pytest.mark.parametrize(
    "key", ["k", "null", "error", "code", "test", "any-key-of-15ch"]
)
def test_short_key_is_never_masked(key: str) -> None:
    body = b'{"error": {"code": 429, "message": null, "any-key-of-15ch": "test k"}}'

    assert redact(body, Secret(f"Bearer {key}")) is body
    assert redact(body.decode(), Secret(f"Bearer {key}")) == body.decode()


@pytest.mark.parametrize(
    ("received", "masked"),
    [
        ('{"m": "%s is bad"}', '{"m": "*** is bad"}'),
        ('{"a%s": [1, "%s', '{"a***": [1, "***'),
        ("The key %s is bad.", "The key *** is bad."),
        ("\ud83d %s", "\ud83d ***"),
        ("nothing", "nothing"),
    ],
)
def test_long_key_is_masked_in_any_text(received: str, masked: str) -> None:
    text = received.replace("%s", KEY)
    header = Secret(f"Bearer {KEY}")

    assert redact(text, header) == masked
    assert redact(text.encode("utf-8", "surrogatepass"), header) == masked.encode(
        "utf-8", "surrogatepass"
    )


def test_key_with_escaped_characters_is_masked() -> None:
    header = Secret('Bearer abc/def/ghi/jkl"mno')

    assert redact(r'"abc/def/ghi/jkl\"mno"', header) == '"***"'
    assert redact(r'"x abc\/def\/ghi\/jkl"mno', header) == '"x ***'


def test_key_of_digits_is_masked_in_strings_only() -> None:
    header = Secret("Bearer 1790000000123456")
    body = (
        '{"created": 1790000000123456, "a\\"b": "x 1790000000123456",\n'
        '"c": 1790000000123456, "d": "1790000000123456'
    )

    assert redact(body, header) == (
        '{"created": 1790000000123456, "a\\"b": "x ***",\n'
        '"c": 1790000000123456, "d": "***'
    )
    assert redact("no 1790000000123456", header) == "no ***"
