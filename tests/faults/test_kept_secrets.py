"""The key shows nowhere: thirty ways to fail, and everything they leave to read."""

import base64
import json
import logging
import pickle
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import aiohttp
import pytest
from calls import Slept, client_of, open_stream
from certificates import Authority
from leaks import no_leaks
from script import (
    ScriptServer,
    Step,
    chunk,
    close,
    event,
    free_port,
    http,
    read,
    read_head,
    reset,
    send,
    silence,
    sse,
)

from openrouter_async import (
    AsyncOpenRouter,
    CallRecord,
    ConfigurationError,
    OpenRouterError,
    Retries,
    SizeLimits,
    Timeouts,
)

# Only its middle is looked for: a part of a secret is a leak as well.
MARK: Final = "FAKE0123456789abcdef"
KEY: Final = f"sk-or-v1-{MARK}-end"
PROXY_PASSWORD: Final = f"proxy{MARK}"
HI: Final[dict[str, Any]] = {
    "model": "m",
    "messages": [{"role": "user", "content": "hi"}],
}

REFUSAL: Final = {"error": {"code": 403, "message": "no"}}
SCRIPTS: Final[Mapping[str, tuple[Step, ...]]] = {
    "reset at once": (reset,),
    "closed at once": (close,),
    "closed without an answer": (read, close),
    "reset without an answer": (read, reset),
    "silence": (read, silence),
    "garbage": (read, send(b"garbage\r\n\r\n")),
    "a header without an end": (read, send(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 99999)),
    "a bad length": (read, send(http(length="many"))),
    "a redirect": (read, send(http(b"", "307 Go", "Location: http://127.0.0.1:9/"))),
    "no JSON": (read, send(http(b"{"))),
    "empty": (read, send(http(b""))),
    "a page": (read, send(http(b"<html>hi", media="text/html"))),
    "too large": (read, send(http(b'{"a":"' + b"x" * 2000))),
    "cut": (read, send(http(length=999)), close),
    "bad gzip": (read, send(http(b"no gzip", "200 OK", "Content-Encoding: gzip"))),
    "brotli": (read, send(http(b"x", "200 OK", "Content-Encoding: br"))),
    "400": (read, send(http(b'{"error":{"code":400}}', "400 No"))),
    "401": (read, send(http(b"{}", "401 No"))),
    "429": (read, send(http(b"{}", "429 No", "Retry-After: 999"))),
    "500": (read, send(http(b"{}", "500 No")), close),
    "503, a page": (read, send(http(b"<html>", "503 No", media="text/html")), close),
    "an error in a 200": (read, send(http(b'{"error":{"code":403}}'))),
    "a stream that is cut": (read, send(sse(chunk("hel"))[:-5]), close),
    "a stream without an end": (read, send(sse(chunk("hel")))),
    "an error in a stream": (read, send(sse(chunk("hel") + event(REFUSAL)))),
    "no JSON in a stream": (read, send(sse(chunk("hel") + event("{no")))),
    "a large event": (read, send(sse(chunk("hel") + chunk("x" * 2000)))),
    "silence in a stream": (read, send(sse(chunk("hel"))[:-5]), silence),
}


def said_by(at: Any) -> str:
    """An error that repeats all that was sent, the key as well."""
    return json.dumps({"error": {"code": 400, "message": at.head.decode()}})


async def echo(at: Any) -> None:
    """It is a 400."""
    await read(at)
    await send(http(said_by(at).encode(), "400 No"))(at)


async def echo_in_a_200(at: Any) -> None:
    """It is a 200."""
    await read(at)
    await send(http(said_by(at).encode()))(at)


async def echo_at_once(at: Any) -> None:
    """It is the first event of a stream."""
    await read(at)
    await send(sse(event(said_by(at))))(at)


async def echo_later(at: Any) -> None:
    """It is the second event of a stream."""
    await read(at)
    await send(sse(chunk("hel") + event(said_by(at))))(at)


ECHOES = {
    "an echo": echo,
    "an echo in a 200": echo_in_a_200,
    "an echo at once": echo_at_once,
    "an echo later": echo_later,
}


class Ears(logging.Handler):
    """Hears every logger of the process at DEBUG."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.heard: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep all of a record."""
        self.heard.append(record.getMessage())
        self.heard.append(repr(record.__dict__))
        if record.exc_info:
            self.heard.append(logging.Formatter().formatException(record.exc_info))


@pytest.fixture
def heard() -> Iterator[list[str]]:
    """All that is logged, by anybody, at any level."""
    ears = Ears()
    root = logging.getLogger()
    loggers = [
        logging.getLogger(name)
        for name in ("openrouter_async", "aiohttp", "aiohttp.client", "asyncio")
    ]
    levels = [(logger, logger.level) for logger in (root, *loggers)]
    for logger, _ in levels:
        logger.setLevel(logging.DEBUG)
    root.addHandler(ears)
    yield ears.heard
    root.removeHandler(ears)
    for logger, level in levels:
        logger.setLevel(level)


def all_texts(error: BaseException) -> Iterator[str]:
    """Everything that can be read off an exception, and off those behind it."""
    yield from traceback.format_exception(error)
    found = traceback.TracebackException.from_exception(error, capture_locals=True)
    # The test's own frames hold the key; the caller's are the caller's.
    behind: traceback.TracebackException | None = found
    while behind is not None:
        for frame in behind.stack:
            if "/tests/" not in frame.filename:
                yield repr(frame.locals)
        behind = behind.__cause__ or behind.__context__
    at: BaseException | None = error
    while at is not None:
        yield str(at)
        yield repr(at)
        yield repr(at.args)
        yield repr(vars(at))
        at = at.__cause__ or at.__context__
    if isinstance(error, OpenRouterError):
        yield repr(error.http)
        yield repr(error.attempts)
        yield pickle.dumps(error).decode("latin-1")
        copy: OpenRouterError = pickle.loads(pickle.dumps(error))
        yield repr(vars(copy))


def assert_kept(*texts: str) -> None:
    """The key, and what stands for it, is in none of them."""
    coded = base64.b64encode(f"user:{PROXY_PASSWORD}".encode()).decode()
    for text in texts:
        assert MARK not in text
        assert coded not in text


def client_with(server: ScriptServer | str, **options: Any) -> AsyncOpenRouter:
    """Return a client with the key and short clocks."""
    usual: dict[str, Any] = {
        "api_key": KEY,
        "timeouts": Timeouts(total=1.0, first_token=0.1, idle=0.1),
        "size_limits": SizeLimits(event_bytes=1000, body_bytes=1000),
    }
    return client_of(server, **{**usual, **options})


async def fail(client: AsyncOpenRouter, *, stream: bool, **more: Any) -> BaseException:
    """Return what a call raises."""
    try:
        if stream:
            async with open_stream(client, **more) as opened:
                await opened.collect()
        else:
            await client.chat.send(**HI, **more)
    except Exception as error:  # noqa: BLE001 - whatever it is
        return error
    return AssertionError("It did not fail.")


@pytest.mark.parametrize("name", [*SCRIPTS, *ECHOES])
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
async def test_no_failure_shows_the_key(
    name: str, heard: list[str], *, stream: bool
) -> None:
    """However a call fails, the key is in no text, traceback, log, warning or pickle."""
    records: list[CallRecord] = []
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        async with no_leaks(), ScriptServer() as server:
            steps = SCRIPTS.get(name) or (ECHOES[name],)
            for _ in range(3):
                server.script(*steps)
            async with client_with(server, on_call=records.append) as client:
                error = await fail(client, stream=stream)

                assert isinstance(error, OpenRouterError)
                assert_kept(*all_texts(error), repr(client), repr(vars(client)))
                assert_kept(repr(vars(client.chat)), repr(client.stats))
                assert_kept(*(repr(record) for record in records))
            if name not in {"reset at once", "closed at once"}:
                assert KEY.encode() in server.requests[0]
    assert_kept(*heard, *(repr(w.message) for w in warned))
    assert heard


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
async def test_no_failure_to_connect_shows_the_key(
    authority: Authority, heard: list[str], *, stream: bool
) -> None:
    """Ports that are closed, certificates, names and proxies give nothing away."""
    proxy = f"http://user:{PROXY_PASSWORD}@127.0.0.1"
    async with (
        no_leaks(),
        ScriptServer(ssl=authority.unknown()) as bad,
        ScriptServer() as odd,
    ):
        odd.script(read_head, send(http(b"", "407 Who are you")), silence)
        ways: Sequence[dict[str, Any]] = (
            {"server": f"http://127.0.0.1:{free_port()}/v1"},
            {"server": bad},
            {"server": odd.url.replace("http", "https"), "max_connections": 1},
            {
                "server": "https://api.invalid/v1",
                "proxy": f"{proxy}:{free_port()}",
            },
            {"server": "https://api.invalid/v1", "proxy": f"{proxy}:{odd.port}"},
        )
        for options in ways:
            retries = Retries(max_attempts=1)
            async with client_with(**options, retries=retries) as client:
                error = await fail(client, stream=stream)

                assert isinstance(error, OpenRouterError)
                assert_kept(*all_texts(error), repr(vars(client)))
    assert_kept(*heard)


BAD_KEYS: Final[Mapping[str, Any]] = {
    "CR LF": f"{KEY}\r\nX-Evil: 1",
    "LF": f"{KEY}\nX-Evil: 1",
    "CR": f"{KEY}\rX",
    "NUL": f"{KEY}\0",
    "DEL": f"{KEY}\x7fx",
    "a letter beyond ASCII": f"{KEY}é",
    "a digit beyond ASCII": f"{KEY}\u0663x",
    "bytes": KEY.encode(),
}


@pytest.mark.parametrize("name", BAD_KEYS)
@pytest.mark.parametrize("way", ["client", "call", "function", "async function"])
async def test_a_key_that_no_header_carries_is_refused(
    name: str, way: str, heard: list[str]
) -> None:
    """A key with control characters is refused before anything is sent, unseen."""
    bad = BAD_KEYS[name]

    async def later() -> Any:
        return bad

    given: Any = {"function": lambda: bad, "async function": later}.get(way, bad)
    async with no_leaks(), ScriptServer() as server:
        error = await _refused(server, given, way)

        assert isinstance(error, ConfigurationError | TypeError)
        if name != "bytes":
            assert_kept(*all_texts(error))
        assert server.connections == 0
    assert_kept(*heard)


async def _refused(server: ScriptServer, key: Any, way: str) -> BaseException:
    try:
        if way == "call":
            async with client_with(server) as client:
                return await fail(client, stream=False, api_key=key)
        async with client_with(server, api_key=key) as client:
            return await fail(client, stream=False)
    except Exception as error:  # noqa: BLE001 - whatever it is
        return error


BAD_VALUES: Final = (
    "a\r\nX-Evil: 1",
    "a\nb",
    "a\rb",
    "a\0b",
    "a\x7fb",
    "a\x1bb",
    " a",
    "a\t",
    "é",
    "\ud800",
    1,
    b"a",
)
HEADERS: Final[Mapping[str, Callable[[Any], dict[str, Any]]]] = {
    "app_title": lambda value: {"app_title": value},
    "app_url": lambda value: {"app_url": value},
    "app_categories": lambda value: {"app_categories": value},
    "headers": lambda value: {"headers": {"X-Own": value}},
    "a header's name": lambda value: {"headers": {value: "a"}},
}


@pytest.mark.parametrize("value", BAD_VALUES, ids=repr)
@pytest.mark.parametrize("where", HEADERS)
def test_a_value_that_no_header_carries_is_refused(where: str, value: Any) -> None:
    """No header of a client's can be used to write another."""
    with pytest.raises(ConfigurationError) as caught:
        AsyncOpenRouter(KEY, **HEADERS[where](value))

    assert "X-Evil" not in str(caught.value) or where == "a header's name"
    assert_kept(*all_texts(caught.value))


@pytest.mark.parametrize("value", BAD_VALUES, ids=repr)
@pytest.mark.parametrize("name", ["X-Own", "HTTP-Referer"])
async def test_a_call_s_own_headers_are_checked(name: str, value: Any) -> None:
    """`extra_headers` are checked before anything is sent."""
    async with no_leaks(), ScriptServer() as server, client_with(server) as client:
        error = await fail(client, stream=False, extra_headers={name: value})

        assert isinstance(error, ConfigurationError)
        assert server.connections == 0


@pytest.mark.parametrize(
    "name",
    ["Authorization", "authorization", "Host", "Content-Length", "Transfer-Encoding"],
)
async def test_the_connection_s_headers_are_not_the_caller_s(name: str) -> None:
    """What decides where a request goes and how long it is cannot be set."""
    with pytest.raises(ConfigurationError):
        AsyncOpenRouter(KEY, headers={name: "1"})
    async with ScriptServer() as server, client_with(server) as client:
        error = await fail(client, stream=False, extra_headers={name: "1"})

        assert isinstance(error, ConfigurationError)
        assert server.connections == 0


PLACES: Final = (
    "https://user:password@openrouter.ai/api/v1",
    "https://openrouter.ai/api/v1?x=1",
    "https://openrouter.ai/api/v1#x",
    "ftp://openrouter.ai",
    "openrouter.ai/api/v1",
    "https://",
    "https://openrouter.ai:port/",
    "https://open router.ai",
    "https://openrouter.ai/\r\nX-Evil: 1",
)


@pytest.mark.parametrize("place", PLACES)
def test_a_base_url_that_is_none_is_refused(place: str) -> None:
    """A base URL is a plain place, and is said to be wrong at once."""
    with pytest.raises(ConfigurationError) as caught:
        AsyncOpenRouter(KEY, base_url=place)

    assert "password" not in str(caught.value).replace("a password", "")
    assert_kept(*all_texts(caught.value))


@pytest.mark.parametrize(
    "path",
    ["/../../evil", "//evil.example/x", "http://evil.example/", "models", "/a b", "/#"],
)
async def test_a_path_leads_nowhere_else(path: str) -> None:
    """A path stays below the base URL, and so does the key."""
    async with ScriptServer() as server, client_with(server) as client:
        with pytest.raises(ConfigurationError):
            await client.request("GET", path)

        assert server.connections == 0


async def test_another_base_url_needs_its_own_key() -> None:
    """The client's key goes to the client's base URL alone."""
    async with (
        ScriptServer() as server,
        ScriptServer() as other,
        client_with(server) as client,
    ):
        error = await fail(client, stream=False, base_url=other.url)
        assert isinstance(error, ConfigurationError)
        with pytest.raises(ConfigurationError):
            client.with_options(base_url=other.url)
        assert other.connections == 0

        limits = client.with_options(base_url=other.url, api_key="sk-other")
        await limits.chat.send(**HI, timeouts=5)

    assert KEY.encode() not in b"".join(other.requests)
    assert b"sk-other" in other.requests[0]


async def test_a_key_does_not_travel_in_the_clear() -> None:
    """`http://` beyond this machine needs a word; the key is not sent before it."""
    async with AsyncOpenRouter(KEY, base_url="http://openrouter.invalid/v1") as client:
        error = await fail(client, stream=False)

    assert isinstance(error, ConfigurationError)
    assert "allow_http" in str(error)
    assert_kept(*all_texts(error))


@pytest.mark.parametrize("ssl", [False, None, 0])
def test_certificates_are_always_checked(ssl: Any) -> None:
    """There is no switch that turns TLS's checks off."""
    with pytest.raises(ConfigurationError) as caught:
        AsyncOpenRouter(KEY, ssl=ssl)

    assert_kept(*all_texts(caught.value))


async def test_cookies_of_a_server_are_not_sent_back() -> None:
    """A cookie is not stored, not even one for the same host."""
    async with no_leaks(), ScriptServer() as server, client_with(server) as client:
        cookie = "Set-Cookie: a=b; Path=/"
        server.script(read, send(http(http_body(), "200 OK", cookie)))
        for _ in range(2):
            await client.chat.send(**HI)

        assert b"cookie" not in b"".join(server.requests).lower()


def http_body() -> bytes:
    """Return a completion."""
    return http().partition(b"\r\n\r\n")[2]


async def test_a_lent_session_sends_nothing_of_its_own() -> None:
    """Headers, cookies and credentials of a session that was handed in stay with it."""
    async with no_leaks(), ScriptServer() as server:
        session = aiohttp.ClientSession(
            headers={"X-Session": MARK, "Authorization": f"Bearer {MARK}"},
            cookies={"session": MARK},
        )
        async with session, client_of(server, session=session) as client:
            await client.chat.send(**HI)
            assert not session.closed

    assert_kept(b"".join(server.requests).decode())


async def test_netrc_does_not_replace_the_key(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An entry in netrc for the same host is not even read."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login user password secret")
    monkeypatch.setenv("NETRC", str(netrc))
    async with no_leaks(), ScriptServer() as server, client_with(server) as client:
        await client.chat.send(**HI)

    assert f"Authorization: Bearer {KEY}".encode() in server.requests[0]


async def test_prompts_and_answers_are_not_logged(heard: list[str]) -> None:
    """Neither what is asked nor what is answered is in a log, at any level."""
    slept = Slept()
    async with no_leaks(), ScriptServer() as server:
        server.script(read, send(http(b'{"error":"answer-words"}', "503 Busy")))
        async with client_of(server, clock=slept.clock) as client:
            await client.chat.send(
                model="m",
                messages=[{"role": "user", "content": "prompt-words"}],
                extra_query={"q": "query-words"},
            )

    logged = "".join(text for text in heard if "openrouter_async" in text)
    assert logged
    for words in ("prompt-words", "answer-words", "query-words", "hello"):
        assert words not in logged


async def test_account_ids_are_not_in_the_words_of_an_error() -> None:
    """`str(error)` may be shown to anybody; the body keeps the id."""
    body = {"error": {"code": 400, "message": "no, user_2abcDEF123"}, "user_id": MARK}
    async with no_leaks(), ScriptServer() as server, client_of(server) as client:
        server.script(read, send(http(json.dumps(body).encode(), "400 No")))
        error = await fail(client, stream=False)

    assert "user_2abcDEF123" not in str(error)
    assert MARK not in str(error)


async def test_the_user_agent_names_only_the_library() -> None:
    """Name and version; no host, user or path."""
    async with ScriptServer() as server, client_of(server) as client:
        await client.chat.send(**HI)

    lines = server.requests[0].decode().split("\r\n")
    agents = [line for line in lines if line.lower().startswith("user-agent")]
    assert len(agents) == 1
    assert agents[0].partition("/")[0] == "User-Agent: openrouter_async"
