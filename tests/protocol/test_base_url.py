"""Base URLs, the URLs below them, and the Authorization header."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openrouter_async.errors import ConfigurationError
from openrouter_async.protocol.base_url import (
    authorization,
    join_url,
    parse_base_url,
)
from openrouter_async.protocol.headers import Secret

KEY = "sk-or-v1-0123456789abcdef"
HOME = parse_base_url("https://openrouter.ai/api/v1", allow_http=False)


# --- base URLs


@pytest.mark.parametrize(
    ("base_url", "expected"),
    [
        ("https://openrouter.ai/api/v1", "https://openrouter.ai/api/v1"),
        ("https://openrouter.ai/api/v1/", "https://openrouter.ai/api/v1"),
        (" https://openrouter.ai/api/v1//\n", "https://openrouter.ai/api/v1"),
        ("https://eu.openrouter.ai", "https://eu.openrouter.ai"),
        ("HTTPS://OpenRouter.ai:443", "HTTPS://OpenRouter.ai:443"),
        ("http://[::1]:8080/v1/", "http://[::1]:8080/v1"),
    ],
)
def test_surrounding_spaces_and_trailing_slashes_are_removed(
    base_url: str, expected: str
) -> None:
    assert parse_base_url(base_url, allow_http=False).url == expected


@pytest.mark.parametrize(
    ("base_url", "origin", "address"),
    [
        (
            "https://OpenRouter.AI/api/v1",
            ("https", "openrouter.ai", 443),
            "openrouter.ai:443",
        ),
        ("http://127.0.0.1", ("http", "127.0.0.1", 80), "127.0.0.1:80"),
        ("http://localhost:8080/x", ("http", "localhost", 8080), "localhost:8080"),
    ],
)
def test_origin_and_address_include_the_default_port(
    base_url: str, origin: tuple[str, str, int], address: str
) -> None:
    parsed = parse_base_url(base_url, allow_http=False)

    assert (parsed.origin, parsed.address) == (origin, address)


@pytest.mark.parametrize(
    ("base_url", "message"),
    [
        ("", "must start with https://"),
        ("openrouter.ai/api/v1", "must start with https://"),
        ("//openrouter.ai", "must start with https://"),
        ("ftp://openrouter.ai", "must start with https://"),
        ("file:///etc/passwd", "must start with https://"),
        ("https://", "must start with https://"),
        ("https:///api/v1", "must start with https://"),
        ("https://:443/api", "must start with https://"),
        ("https://user@openrouter.ai", "a user or a password"),
        ("https://user:hunter2@openrouter.ai", "a user or a password"),
        ("https://@openrouter.ai", "a user or a password"),
        ("http://127.0.0.1@evil.example", "a user or a password"),
        ("https://openrouter.ai/api?x=1", "a query"),
        ("https://openrouter.ai/api/v1/?", "a query"),
        ("https://openrouter.ai/api#top", "a fragment"),
        ("https://openrouter.ai/api#", "a fragment"),
        ("https://openrouter.ai/a b", "or spaces"),
        ("https://openrouter.ai/a\tb", "or spaces"),
        ("https://open\nrouter.ai/", "or spaces"),
        ("https://openrouter.ai/\x00", "or spaces"),
        ("https://öpenrouter.ai/", "or spaces"),
        ("https://[::1", "not a valid URL"),
        ("https://openrouter.ai:port", "not a valid URL"),
        ("https://openrouter.ai:99999", "not a valid URL"),
        ("https://user:hunter2", "not a valid URL"),
    ],
)
def test_invalid_base_url_is_rejected_without_showing_a_password(
    base_url: str, message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message) as caught:
        parse_base_url(base_url, allow_http=True)

    assert "hunter2" not in str(caught.value) + str(caught.value.cause)


@pytest.mark.parametrize("base_url", [None, 7, b"https://openrouter.ai", ["x"]])
def test_base_url_that_is_not_a_string_is_a_type_error(base_url: Any) -> None:
    with pytest.raises(TypeError, match="base_url must be a string, not "):
        parse_base_url(base_url, allow_http=False)


@pytest.mark.parametrize(
    ("base_url", "allowed"),
    [
        ("https://openrouter.ai", True),
        ("http://localhost:8080", True),
        ("http://LOCALHOST", True),
        ("http://127.0.0.1", True),
        ("http://127.8.8.8:1", True),
        ("http://[::1]", True),
        ("http://[0:0:0:0:0:0:0:1]:80", True),
        ("http://openrouter.ai", False),
        ("http://localhost.evil.example", False),
        ("http://127.0.0.1.evil.example", False),
        ("http://0.0.0.0", False),
        ("http://10.0.0.1", False),
        ("http://[::2]", False),
        ("http://[fe80::1]", False),
    ],
)
def test_key_is_allowed_over_http_only_to_loopback_or_with_allow_http(
    base_url: str,
    allowed: bool,
) -> None:
    assert parse_base_url(base_url, allow_http=False).key_allowed is allowed
    assert parse_base_url(base_url, allow_http=True).key_allowed


def test_base_urls_compare_by_value() -> None:
    assert parse_base_url("https://openrouter.ai/api/v1/", allow_http=True) == HOME


# --- authorization


@pytest.mark.parametrize("key", [KEY, f" {KEY}", f"{KEY}\n", f"\t{KEY}\r\n"])
def test_authorization_strips_the_key_and_masks_the_header(key: str) -> None:
    secret = authorization(key, HOME)

    assert secret == f"Bearer {KEY}"
    assert isinstance(secret, Secret)
    assert repr(secret) == "'***'"
    assert KEY not in repr({"Authorization": secret})
    assert KEY not in f"{secret!r} {[secret]}"


@pytest.mark.parametrize("key", [None, "", " ", "\n", 7, b"sk-x", ["sk-x"]])
def test_missing_key_error_names_the_variable_and_the_page(key: object) -> None:
    with pytest.raises(ConfigurationError) as caught:
        authorization(key, HOME)

    assert "OPENROUTER_API_KEY" in str(caught.value)
    assert "https://openrouter.ai/settings/keys" in str(caught.value)


@pytest.mark.parametrize("key", [f"{KEY}\r\nX-Evil: 1", f"{KEY}é", f"{KEY}\x00"])
def test_key_with_invalid_characters_is_rejected_without_showing_it(key: str) -> None:
    with pytest.raises(
        ConfigurationError, match="Invalid value of the API key"
    ) as caught:
        authorization(key, HOME)

    assert KEY not in str(caught.value)


def test_key_is_not_sent_unencrypted_to_another_machine() -> None:
    with pytest.raises(ConfigurationError, match="allow_http=True") as caught:
        authorization(KEY, parse_base_url("http://proxy.example/v1", allow_http=False))

    assert "unencrypted to http://proxy.example/v1. " in str(caught.value)
    assert KEY not in str(caught.value)
    assert authorization(KEY, parse_base_url("http://proxy.example", allow_http=True))
    assert authorization(KEY, parse_base_url("http://127.0.0.1", allow_http=False))


# --- paths and queries


@pytest.mark.parametrize(
    ("path", "query", "url"),
    [
        ("/chat/completions", None, "/chat/completions"),
        ("/chat/completions", {"a": 1}, "/chat/completions?a=1"),
        ("/models", None, "/models"),
        ("/models", {}, "/models"),
        ("/", None, "/"),
        ("/models?a=b", None, "/models?a=b"),
        ("/models?a=b", {"c": "d"}, "/models?a=b&c=d"),
        ("/generation", {"id": "gen-1"}, "/generation?id=gen-1"),
        ("/models", {"a": True, "b": False}, "/models?a=true&b=false"),
        ("/models", {"a": [1, 2.5, "x"]}, "/models?a=1&a=2.5&a=x"),
        ("/models", {"a": (True, None, False)}, "/models?a=true&a=false"),
        ("/models", {"a": None, "b": 1}, "/models?b=1"),
        ("/models", {"a": None}, "/models"),
        ("/models", {"a": []}, "/models"),
        ("/models", {"a": "é &=#/?"}, "/models?a=%C3%A9+%26%3D%23%2F%3F"),
        ("/models", {"a": "\ud800"}, "/models?a=%ED%A0%80"),
        ("/models/a/b:free/endpoints", None, "/models/a/b:free/endpoints"),
        ("/files/a..b/...", None, "/files/a..b/..."),
        ("/models?next=../x", None, "/models?next=../x"),
        ("/models/%20", None, "/models/%20"),
    ],
)
def test_path_and_query_are_joined_to_the_base_url(
    path: str, query: dict[str, Any] | None, url: str
) -> None:
    """None is left out, booleans are in lower case, and lists repeat the parameter."""
    assert join_url(HOME, path, query) == f"https://openrouter.ai/api/v1{url}"


@pytest.mark.parametrize(
    "path",
    [
        *("", "models", "//evil.example", "https://evil.example/", "\\evil", "@evil"),
        *("/a b", "/a\tb", "/a\r\nX-Evil: 1", "/a\x00", "/é", " /a", "/a "),
        *("/..", "/../x", "/a/../b", "/a/..?b", "/%2e%2e/x", "/a/.%2E/b", "/a%2F../b"),
        *("/a#b", "/#"),
    ],
)
def test_path_that_leaves_the_base_url_is_rejected(path: str) -> None:
    with pytest.raises(ConfigurationError, match="Invalid path "):
        join_url(HOME, path, {"a": 1})


@given(st.text(max_size=12).map("/".__add__), st.dictionaries(st.text(), st.text()))
def test_joined_url_starts_with_the_base_url_for_random_paths(
    path: str, query: dict[str, str]
) -> None:
    try:
        url = join_url(HOME, path, query)
    except ConfigurationError:
        return

    assert url.startswith("https://openrouter.ai/api/v1/")
    assert all("!" <= character <= "~" for character in url)
