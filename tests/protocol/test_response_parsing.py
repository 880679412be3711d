"""What leaves, and where to; what came, and what it is."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict

from openrouter_async.errors import (
    APIError,
    BadGatewayError,
    ConfigurationError,
    MalformedResponseError,
    StreamInterruptedError,
)
from openrouter_async.protocol.accumulator.accumulator import Accumulator
from openrouter_async.protocol.base_url import (
    BaseURL,
    authorization,
    join_url,
    parse_base_url,
)
from openrouter_async.protocol.body import chat_body
from openrouter_async.protocol.decode import read_chunk, read_response
from openrouter_async.protocol.encode import encode
from openrouter_async.protocol.headers import (
    Secret,
    check_header_value,
    check_headers,
    mask,
)
from openrouter_async.protocol.response_parsing import (
    chunk_of,
    folded,
    is_empty,
    is_event_stream,
    media_type,
    read_chat,
    read_event,
    read_json,
    usage_of,
    with_exchange,
)
from openrouter_async.sse import ServerSentEvent
from openrouter_async.types import (
    NULL,
    ChatGenerationParams,
    Exchange,
    UserMessage,
)

WALL = 1_800_000_000.0
KEY = "sk-or-v1-0123456789abcdef"
HI = [UserMessage("hi")]

HOME = parse_base_url("https://openrouter.ai/api/v1", allow_http=False)


# --- origins ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("base_url", "kept"),
    [
        ("https://openrouter.ai/api/v1", "https://openrouter.ai/api/v1"),
        ("https://openrouter.ai/api/v1/", "https://openrouter.ai/api/v1"),
        (" https://openrouter.ai/api/v1//\n", "https://openrouter.ai/api/v1"),
        ("https://eu.openrouter.ai", "https://eu.openrouter.ai"),
        ("HTTPS://OpenRouter.ai:443", "HTTPS://OpenRouter.ai:443"),
        ("http://[::1]:8080/v1/", "http://[::1]:8080/v1"),
    ],
)
def test_a_base_url_ends_without_a_slash(base_url: str, kept: str) -> None:
    """White space and slashes at its ends are taken off."""
    assert parse_base_url(base_url, allow_http=False).url == kept


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
def test_an_origin_is_scheme_host_and_port(
    base_url: str, origin: tuple[str, str, int], address: str
) -> None:
    """A key belongs to scheme, host and port, the default port written out."""
    parsed = parse_base_url(base_url, allow_http=False)

    assert (parsed.origin, parsed.address) == (origin, address)


@pytest.mark.parametrize(
    ("base_url", "words"),
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
        ("https://openrouter.ai/api?x=1", "no query"),
        ("https://openrouter.ai/api/v1/?", "no query"),
        ("https://openrouter.ai/api#top", "no fragment"),
        ("https://openrouter.ai/api#", "no fragment"),
        ("https://openrouter.ai/a b", "no blanks"),
        ("https://openrouter.ai/a\tb", "no blanks"),
        ("https://open\nrouter.ai/", "no blanks"),
        ("https://openrouter.ai/\x00", "no blanks"),
        ("https://öpenrouter.ai/", "no blanks"),
        ("https://[::1", "no URL"),
        ("https://openrouter.ai:port", "no URL"),
        ("https://openrouter.ai:99999", "no URL"),
        ("https://user:hunter2", "no URL"),
    ],
)
def test_what_is_no_plain_place_is_refused(base_url: str, words: str) -> None:
    """A base URL names a place and nothing else; the refusal quotes no password."""
    with pytest.raises(ConfigurationError, match=words) as caught:
        parse_base_url(base_url, allow_http=True)

    assert "hunter2" not in str(caught.value) + str(caught.value.cause)


@pytest.mark.parametrize("base_url", [None, 7, b"https://openrouter.ai", ["x"]])
def test_a_base_url_is_a_string(base_url: Any) -> None:
    """Anything else is a TypeError."""
    with pytest.raises(TypeError, match="base_url is a string, not a "):
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
def test_a_key_travels_in_the_clear_only_on_this_machine(
    base_url: str,
    allowed: bool,  # noqa: FBT001
) -> None:
    """`http://` carries a key to loopback, or where that was allowed by name."""
    assert parse_base_url(base_url, allow_http=False).key_allowed is allowed
    assert parse_base_url(base_url, allow_http=True).key_allowed


# --- headers ---------------------------------------------------------------------


@pytest.mark.parametrize("value", ["x", "a b", "a\tb", "~!", "https://a.example/?b=c"])
def test_plain_values_are_taken(value: str) -> None:
    """Visible ASCII, with blanks inside, is a value."""
    check_headers({"X-A": value, "x-b!#$%&'*+.^_`|~": value})
    check_header_value("X-A", value)


@pytest.mark.parametrize(
    "value",
    [
        *("a\r\nX-Evil: 1", "a\nb", "a\rb", "a\x00b", "a\x7fb", "a\x0bb", "\x1b[0m"),
        *("é", "日本", "a\u2028b", "\u0130", "\ud800", " a", "a ", "a\n", "\t", ""),
    ],
)
def test_values_that_http_cannot_carry_are_refused(value: str) -> None:
    """Control characters, line ends and other scripts never reach the wire."""
    with pytest.raises(ConfigurationError, match="The value of X-A must be") as caught:
        check_headers({"X-A": value})

    assert "Evil" not in str(caught.value)


@pytest.mark.parametrize("value", [None, 7, b"x", ["x"], True])
def test_values_are_strings(value: Any) -> None:
    """A value of another kind is refused by the header's name."""
    with pytest.raises(ConfigurationError, match="The value of X-A must be"):
        check_headers({"X-A": value})


@pytest.mark.parametrize(
    "name", ["", " ", "X A", "X:A", "X\r\nA", "X\x00", "Ä", "(x)", "X-A\n", b"X-A", 7]
)
def test_names_are_tokens(name: Any) -> None:
    """What is no token is no name."""
    with pytest.raises(ConfigurationError, match="is no name for a header"):
        check_headers({name: "x"})


@pytest.mark.parametrize("name", ["Authorization", "authorization", "AUTHORIZATION"])
def test_the_key_is_no_header(name: str) -> None:
    """A key given as a header is refused, without a word of it."""
    with pytest.raises(ConfigurationError, match="as api_key") as caught:
        check_headers({name: f"Bearer {KEY}"})

    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["Host", "Content-Length", "Transfer-Encoding", "connection"]
)
def test_what_the_connection_sets_is_refused(name: str) -> None:
    """Headers that frame the request are not the caller's."""
    with pytest.raises(ConfigurationError, match=f"The header {name} is set by"):
        check_headers({name: "x"})


@pytest.mark.parametrize("headers", [[("A", "b")], "A: b", 7, {"A"}])
def test_headers_are_a_mapping(headers: Any) -> None:
    """Anything else is a TypeError."""
    with pytest.raises(TypeError, match="Headers are a mapping, not a "):
        check_headers(headers)


@given(st.dictionaries(st.text(max_size=8), st.text(max_size=12), max_size=3))
def test_what_passes_can_be_sent(headers: dict[str, str]) -> None:
    """Whatever passes is one line of ASCII for each header."""
    try:
        check_headers(headers)
    except ConfigurationError:
        return

    for name, value in headers.items():
        line = f"{name}: {value}"
        assert line.isascii()
        assert line.splitlines() == [line]


# --- the key ---------------------------------------------------------------------


@pytest.mark.parametrize("key", [KEY, f" {KEY}", f"{KEY}\n", f"\t{KEY}\r\n"])
def test_a_key_becomes_a_masked_header(key: str) -> None:
    """White space around a key is taken off; no repr shows it."""
    secret = authorization(key, HOME)

    assert secret == f"Bearer {KEY}"
    assert isinstance(secret, Secret)
    assert repr(secret) == "'***'"
    assert KEY not in repr({"Authorization": secret})
    assert KEY not in f"{secret!r} {[secret]}"


@pytest.mark.parametrize("key", [None, "", " ", "\n", 7, b"sk-x", ["sk-x"]])
def test_no_key_says_where_to_get_one(key: object) -> None:
    """Without a key the error names the variable and the page."""
    with pytest.raises(ConfigurationError) as caught:
        authorization(key, HOME)

    assert "OPENROUTER_API_KEY" in str(caught.value)
    assert "https://openrouter.ai/settings/keys" in str(caught.value)


@pytest.mark.parametrize("key", [f"{KEY}\r\nX-Evil: 1", f"{KEY}é", f"{KEY}\x00"])
def test_a_key_that_no_header_carries_is_refused(key: str) -> None:
    """The refusal never shows the key."""
    with pytest.raises(ConfigurationError, match="The value of the API key") as caught:
        authorization(key, HOME)

    assert KEY not in str(caught.value)


def test_a_key_is_not_sent_in_the_clear() -> None:
    """Without TLS a key stays here, unless that was allowed by name."""
    with pytest.raises(ConfigurationError, match="allow_http=True") as caught:
        authorization(KEY, parse_base_url("http://proxy.example/v1", allow_http=False))

    assert "http://proxy.example/v1 would carry the key" in str(caught.value)
    assert KEY not in str(caught.value)
    assert authorization(KEY, parse_base_url("http://proxy.example", allow_http=True))
    assert authorization(KEY, parse_base_url("http://127.0.0.1", allow_http=False))


def test_a_key_is_hidden_and_a_function_is_not() -> None:
    """A key as text gets a masked repr; what is asked for it stays what it is."""

    def ask() -> str:
        return KEY

    assert repr(mask(KEY)) == "'***'"
    assert mask(KEY) == KEY
    assert mask(ask) is ask
    assert mask(None) is None


# --- paths and queries -----------------------------------------------------------


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
def test_a_path_is_joined_below_the_base(
    path: str, query: dict[str, Any] | None, url: str
) -> None:
    """Path and query are added to the base URL, None left out, bools in lower case."""
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
def test_a_path_that_leads_elsewhere_is_refused(path: str) -> None:
    """A key is sent below the base URL, and nowhere else."""
    with pytest.raises(ConfigurationError, match="A path "):
        join_url(HOME, path, {"a": 1})


@given(st.text(max_size=12).map("/".__add__), st.dictionaries(st.text(), st.text()))
def test_a_joined_url_stays_below_the_base(path: str, query: dict[str, str]) -> None:
    """Whatever is joined begins with the base URL and is visible ASCII."""
    try:
        url = join_url(HOME, path, query)
    except ConfigurationError:
        return

    assert url.startswith("https://openrouter.ai/api/v1/")
    assert all("!" <= letter <= "~" for letter in url)


# --- the body of a chat ----------------------------------------------------------


def body(
    params: Any = None,
    *,
    stream: bool = False,
    extra: Any = None,
    **fields: Any,
) -> dict[str, Any]:
    return chat_body(params, fields, stream=stream, extra=extra)


def test_keywords_make_a_body() -> None:
    """Fields by keyword are the body; what is None is not in it."""
    assert body(model="m", messages=HI, temperature=0, seed=None) == {
        "messages": HI,
        "model": "m",
        "temperature": 0,
    }


@settings(max_examples=50)
@given(st.permutations(["model", "messages", "temperature", "seed", "top_p", "user"]))
def test_the_order_of_keywords_is_nothing(names: list[str]) -> None:
    """The same fields give the same bytes, however they were given."""
    fields: dict[str, Any] = {"model": "m", "messages": HI, "temperature": 0.5}
    fields |= {"seed": 7, "top_p": 1, "user": "u"}
    expected = encode(ChatGenerationParams(**fields))
    given_now = {name: fields[name] for name in names}
    half = len(names) // 2
    params = ChatGenerationParams(**{name: fields[name] for name in names[:half]})
    rest = {name: fields[name] for name in names[half:]}

    assert encode(body(**given_now)) == expected
    assert encode(body(params, **rest)) == expected
    assert encode(body(ChatGenerationParams(**fields))) == expected


def test_keywords_win_over_the_class() -> None:
    """A keyword replaces a field; None leaves it; `NULL` sends null."""
    params = ChatGenerationParams(model="m", messages=HI, seed=1, top_p=0.5)

    assert body(params, model="n", seed=None, top_p=NULL) == {
        "messages": HI,
        "model": "n",
        "seed": 1,
        "top_p": NULL,
    }
    assert params.model == "m"


def test_a_mapping_is_kept_as_it_is() -> None:
    """A mapping keeps its order, its nulls and what this library does not know."""
    params = {"zeta": None, "model": "m", "messages": HI, "alpha": [1]}

    assert list(body(params)) == ["zeta", "model", "messages", "alpha"]
    assert body(params) == params
    assert list(body(params, seed=1, model="n").items()) == [
        ("zeta", None),
        ("model", "n"),
        ("messages", HI),
        ("alpha", [1]),
        ("seed", 1),
    ]
    assert body(CIMultiDict({"prompt": "x"})) == {"prompt": "x"}


@pytest.mark.parametrize(
    "params", ["hi", 7, [{"role": "user"}], UserMessage("x"), b"x"]
)
def test_params_are_the_class_or_a_mapping(params: Any) -> None:
    """Anything else is a TypeError."""
    with pytest.raises(TypeError, match=r"send\(\) takes ChatGenerationParams or"):
        body(params)


def test_streaming_is_asked_for_last() -> None:
    """`stream` is written where it is true, and nowhere else."""
    assert list(body(messages=HI, stream=True, extra={"x": 1})) == [
        "messages",
        "x",
        "stream",
    ]
    assert body(messages=HI, stream=True)["stream"] is True
    assert "stream" not in body(messages=HI)


@pytest.mark.parametrize("said", [True, False, None, 0, 1])
@pytest.mark.parametrize("place", ["params", "extra"])
def test_two_answers_on_streaming_are_refused(said: Any, place: str) -> None:
    """What a mapping says of streaming must agree with the keyword."""
    more = {"messages": HI, "stream": said}
    kinds: dict[str, Any] = {place: more}

    agreed = body(stream=bool(said), **kinds)

    assert agreed == {"messages": HI, **({"stream": True} if said else {})}
    with pytest.raises(ConfigurationError, match="Give stream= as a keyword"):
        body(stream=not said, **kinds)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("temprature", "Did you mean 'temperature'?"),
        ("message", "Did you mean 'messages'?"),
        ("max_token", "Did you mean 'max_tokens'?"),
        ("zzzzzz", "unexpected keyword argument 'zzzzzz'. What"),
    ],
)
def test_an_unknown_keyword_is_refused_with_a_suggestion(name: str, words: str) -> None:
    """A misspelt field is a TypeError before anything is sent, even as None."""
    for value in (1, None):
        field: dict[str, Any] = {name: value}
        with pytest.raises(TypeError, match="extra_body") as caught:
            body(messages=HI, **field)
        assert words in str(caught.value)


@pytest.mark.parametrize("messages", ["hi", b"hi", 7, {"role": "user"}, {1}, HI[0]])
def test_messages_are_a_list(messages: Any) -> None:
    """A string, or one message alone, is a TypeError that shows how to write it."""
    words = r"messages is a list of messages, not a \w+: messages=\[UserMessage"

    with pytest.raises(TypeError, match=words):
        body(messages=messages)
    with pytest.raises(TypeError, match=words):
        body({"messages": messages})
    with pytest.raises(TypeError, match=words):
        body(messages=(message for message in HI))


def test_a_message_is_no_string() -> None:
    """A string in the list is a TypeError, and shown only in part."""
    with pytest.raises(TypeError, match="not the string 'xxx") as caught:
        body(messages=[UserMessage("hi"), "x" * 500])

    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("nothing", [None, [], (), NULL])
def test_nothing_to_send_is_refused(nothing: Any) -> None:
    """Without messages there is nothing to send; the old `prompt` is something."""
    for params in (None, {"messages": nothing}, ChatGenerationParams(model="m")):
        with pytest.raises(ConfigurationError, match="nothing to send"):
            body(params, messages=nothing)
    assert body({"prompt": "once", "messages": nothing})["prompt"] == "once"


def test_sequences_of_any_kind_are_lists() -> None:
    """A tuple of messages is as good as a list, and messages may be mappings."""
    mixed = (UserMessage("a"), {"role": "user", "content": "b"})

    assert body(messages=mixed)["messages"] is mixed


def test_extra_goes_in_last() -> None:
    """`extra_body` wins over all else and is sent as it is."""
    sent = body(
        {"model": "m", "messages": HI},
        seed=1,
        extra={"seed": None, "model": "z", "new": {"a": None}},
    )

    assert sent == {"model": "z", "messages": HI, "seed": None, "new": {"a": None}}
    assert body(extra={"messages": HI}) == {"messages": HI}


# --- replies ---------------------------------------------------------------------


def exchange(media: str | None = "application/json", status: int = 200) -> Exchange:
    headers = (
        CIMultiDict[str]() if media is None else CIMultiDict({"Content-Type": media})
    )
    return Exchange(status=status, headers=headers)


REPLY = b'\n  {"id":"gen-1","choices":[{"message":{"content":"hello"}}]}\n'


@pytest.mark.parametrize("media", ["application/json", None, "text/plain", "x/y"])
def test_a_reply_is_read(media: str | None) -> None:
    """White space around it, and the type it claims, are nothing."""
    http = exchange(media)

    reply = read_chat(REPLY, http, WALL)

    assert reply.text == "hello"
    assert reply.http is http
    assert http.generation_id == "gen-1"


def test_the_headers_generation_stays() -> None:
    """The id in the header wins over the body's."""
    http = exchange()
    http.generation_id = "gen-header"

    read_chat(REPLY, http, WALL)

    assert http.generation_id == "gen-header"


@pytest.mark.parametrize(
    ("sent", "status", "words"),
    [
        (b"", 200, "The reply is empty."),
        (b" \n \n", 200, "The reply is empty."),
        (b"", 204, "The reply is empty, with status 204."),
        (b"[1]", 200, "The reply is JSON, but no object: a list."),
        (b"null", 200, "The reply is JSON, but no object: a NoneType."),
        (b'"hi"', 200, "The reply is JSON, but no object: a str."),
        (b'{"choices": [', 200, "The answer is no JSON"),
        (b"error code: 1033", 200, "The answer is no JSON"),
        (b"<html><title>Sign in</title>", 200, "an HTML page, 'Sign in', not JSON"),
        (b"<!doctype html>", 200, "an HTML page, 'untitled', not JSON"),
    ],
)
@pytest.mark.parametrize("media", ["application/json", "text/html", "text/plain", None])
def test_what_is_no_reply_is_malformed(
    sent: bytes, status: int, words: str, media: str | None
) -> None:
    """An empty, cut or foreign body is told as what it is, with the exchange."""
    http = exchange(media, status)
    http.generation_id = "gen-1"

    with pytest.raises(MalformedResponseError) as caught:
        read_chat(sent, http, WALL)

    assert words in caught.value.message
    assert caught.value.http is http
    assert caught.value.generation_id == "gen-1"
    assert ("check base_url" in (caught.value.hint or "")) is sent.startswith(b"<")


def test_any_json_is_read_as_it_came() -> None:
    """Other endpoints' replies are plain JSON."""
    assert read_json(b'\n{"data":[1,null]}', exchange(), WALL) == {"data": [1, None]}
    assert read_json(b"[]", exchange(), WALL) == []
    with pytest.raises(MalformedResponseError, match="empty"):
        read_json(b"", exchange(), WALL)


# --- events ----------------------------------------------------------------------


def test_an_event_is_a_chunk() -> None:
    """The JSON of an event is a chunk, its error left for whoever looks."""
    chunk = read_event(
        ServerSentEvent(data='{"error":{"code":1},"choices":[]}'), exchange()
    )

    assert chunk.raw == {"error": {"code": 1}, "choices": []}


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("[1]", "An event is JSON, but no object: a list."),
        ("null", "An event is JSON, but no object: a NoneType."),
        ("{", "The answer is no JSON"),
        ("", "The answer is no JSON"),
        ("[DONE]", "The answer is no JSON"),
    ],
)
def test_an_event_that_is_no_object_is_malformed(data: str, words: str) -> None:
    """What is no JSON object is told with the exchange."""
    http = exchange("text/event-stream")
    http.generation_id = "gen-1"

    with pytest.raises(MalformedResponseError) as caught:
        read_event(ServerSentEvent(data=data), http)

    assert words in caught.value.message
    assert caught.value.http is http
    assert caught.value.generation_id == "gen-1"


@pytest.mark.parametrize(
    ("media", "start", "stream"),
    [
        ("text/event-stream", b"", True),
        ("text/event-stream; charset=utf-8", b"{", True),
        ("Text/Event-Stream", b"{", True),
        ("application/json", b"data: {}", False),
        ("application/json; charset=utf-8", b": x", False),
        ("text/html", b"data: {}", False),
        ("text/plain", b"data: {}", True),
        ("text/plain", b" \n: OPENROUTER PROCESSING", True),
        ("application/octet-stream", b"event: x", True),
        (None, b"data: {}", True),
        (None, b'{"choices":[]}', False),
        (None, b"\n\n {", False),
        (None, b"<html>", False),
        (None, b"", False),
        ("", b"[1]", False),
    ],
)
def test_a_stream_is_known_by_its_type_or_its_start(
    media: str | None,
    start: bytes,
    stream: bool,  # noqa: FBT001
) -> None:
    """The media type tells; any other type is judged by the first byte."""
    assert is_event_stream(exchange(media), start) is stream


def test_the_media_type_is_without_parameters() -> None:
    """Case, parameters and blanks are taken off."""
    assert media_type(exchange(" Application/JSON ; charset=x")) == "application/json"
    assert media_type(exchange(None)) == ""


# --- a stream where a body was asked for -----------------------------------------


def streamed(*events: Any, done: bool = True) -> bytes:
    texts = [event if isinstance(event, str) else json.dumps(event) for event in events]
    if done:
        texts.append("[DONE]")
    return b": hello\n\n" + "".join(f"data: {text}\n\n" for text in texts).encode()


def piece(words: str, finish: str | None = None) -> dict[str, Any]:
    return {
        "id": "gen-1",
        "choices": [{"index": 0, "delta": {"content": words}, "finish_reason": finish}],
    }


@pytest.mark.parametrize("media", ["text/event-stream", None, "text/plain"])
def test_a_stream_for_a_plain_request_is_folded(media: str | None) -> None:
    """Events in place of a body are added up into the reply."""
    http = exchange(media)

    reply = read_chat(streamed(piece("hel"), piece("lo", "stop")), http, WALL)

    assert (reply.text, reply.finish_reason, reply.id) == ("hello", "stop", "gen-1")
    assert reply.http is http
    assert http.generation_id == "gen-1"


@pytest.mark.parametrize(
    ("events", "done"),
    [
        ([piece("hello")], True),
        ([piece("hello", "stop")], False),
        ([piece("hello", "stop"), {"usage": {"cost": 1}}], False),
    ],
)
def test_a_finish_reason_or_done_is_an_end(events: list[Any], done: bool) -> None:  # noqa: FBT001
    """Either shows that the answer is whole."""
    sent = streamed(*events, done=done)

    assert read_chat(sent, exchange("text/event-stream"), WALL).text == "hello"


def test_what_follows_done_is_not_read() -> None:
    """`[DONE]` ends it, whatever stands behind."""
    sent = streamed(piece("hello"), "[DONE]", "garbage")

    assert read_chat(sent, exchange("text/event-stream"), WALL).text == "hello"


@pytest.mark.parametrize(
    ("events", "partial"),
    [([piece("hel"), piece("lo")], "hello"), ([{"id": "gen-1"}], None), ([], None)],
)
def test_a_stream_that_stops_is_no_answer(
    events: list[Any], partial: str | None
) -> None:
    """Half an answer is not handed out as the whole."""
    http = exchange("text/event-stream")

    with pytest.raises(StreamInterruptedError) as caught:
        read_chat(streamed(*events, done=False), http, WALL)

    found = caught.value.partial
    assert (None if found is None else found.text) == partial
    assert caught.value.http is http


def test_an_error_in_it_has_what_came() -> None:
    """An error among the events raises as in a stream, with the text before it."""
    sent = streamed(piece("hel"), {"error": {"code": 502, "message": "Gone"}})

    with pytest.raises(BadGatewayError, match="Gone") as caught:
        read_chat(sent, exchange("text/event-stream"), WALL)

    assert caught.value.partial is not None
    assert caught.value.partial.text == "hel"


def test_garbage_in_it_has_what_came() -> None:
    """An event that is no JSON raises, with the text before it."""
    with pytest.raises(MalformedResponseError) as caught:
        read_chat(streamed(piece("hel"), "{"), exchange("text/event-stream"), WALL)

    assert caught.value.partial is not None
    assert caught.value.partial.text == "hel"


def test_nothing_folded_is_none() -> None:
    """What has no choice is not something."""
    fold = Accumulator()
    fold.add(read_chunk({"id": "gen-1", "choices": []}))
    http = exchange()

    assert folded(fold, http) is None
    fold.add(read_chunk(piece("x")))
    partial = folded(fold, http)
    assert partial is not None
    assert (partial.text, partial.http) == ("x", http)


# --- a body where a stream was asked for -----------------------------------------


def test_a_reply_is_a_stream_of_one_chunk() -> None:
    """All that a reply says is in the one chunk, and folds back into it."""
    raw = {
        "id": "gen-1",
        "object": "chat.completion",
        "model": "m",
        "new": [1],
        "choices": [
            {
                "index": 0,
                "finish_reason": "tool_calls",
                "message": {
                    "role": "assistant",
                    "content": "hello",
                    "tool_calls": [
                        {
                            "index": 0,
                            "id": "c",
                            "type": "function",
                            "function": {"name": "f", "arguments": "{}"},
                        }
                    ],
                },
            },
            "odd",
        ],
        "usage": {"cost": 0.5},
    }

    chunk = chunk_of(read_response(raw))
    fold = Accumulator()
    fold.add(chunk)
    reply = fold.response()

    assert chunk.object == "chat.completion.chunk"
    assert chunk.text == "hello"
    assert chunk.choices[0].finish_reason == "tool_calls"
    assert chunk.raw["new"] == [1]
    assert (reply.text, reply.usage.cost, reply.model) == ("hello", 0.5, "m")
    assert reply.tool_calls[0].function.name == "f"
    assert raw["object"] == "chat.completion"


@pytest.mark.parametrize("raw", [{}, {"choices": None}, {"choices": []}, {"id": "x"}])
def test_a_reply_without_choices_is_a_chunk_too(raw: dict[str, Any]) -> None:
    """Nothing is made up."""
    chunk = chunk_of(read_response(raw))

    assert chunk.choices == []
    assert chunk.raw == {**raw, "object": "chat.completion.chunk"}


# --- small questions -------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "empty"),
    [
        ({}, True),
        ({"choices": []}, True),
        ({"choices": [{"message": {"content": ""}, "finish_reason": None}]}, True),
        ({"choices": [{"finish_reason": ""}], "usage": {"completion_tokens": 0}}, True),
        ({"choices": [{"finish_reason": "stop"}]}, False),
        ({"choices": [], "usage": {"completion_tokens": 3}}, False),
        ({"choices": [{"message": {"content": "x"}}]}, False),
        ({"choices": [{"message": {"reasoning": "x"}}]}, False),
        ({"choices": [{"message": {"refusal": "x"}}]}, False),
        ({"choices": [{"message": {"tool_calls": [{"id": "c"}]}}]}, False),
        ({"choices": [{"message": {"images": [{"type": "image_url"}]}}]}, False),
        ({"choices": [{"message": {"audio": {"id": "a"}}}]}, False),
    ],
)
def test_an_empty_completion_is_known(raw: dict[str, Any], empty: bool) -> None:  # noqa: FBT001
    """No words, no tokens and no finish reason: a model that started cold."""
    assert is_empty(read_response(raw)) is empty


def test_usage_is_told_only_if_it_came() -> None:
    """A reply without usage has none for the record."""
    reply = read_response({"usage": {"cost": 0.5}})

    assert usage_of(reply) is reply.usage
    others: list[Any] = [read_response({}), read_response({"usage": None}), None, {}]
    assert [usage_of(other) for other in others] == [None] * 4


def test_an_error_gets_the_exchange() -> None:
    """What was raised without knowing the exchange learns it, and keeps its own id."""
    http = exchange()
    http.generation_id = "gen-1"
    known = APIError("No.", status_code=500, generation_id="gen-0")

    assert with_exchange(known, http) is known
    assert (known.http, known.generation_id) == (http, "gen-0")
    assert with_exchange(MalformedResponseError("No."), http).generation_id == "gen-1"


def test_origins_compare_by_value() -> None:
    """Two readings of one base URL are equal."""
    assert parse_base_url("https://openrouter.ai/api/v1/", allow_http=True) == HOME
    assert isinstance(HOME, BaseURL)
