"""Keys, passwords and prompts are not in errors, logs, warnings or pickles."""

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
from calls import VirtualTime, make_client, open_stream
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

# Only the middle of the key is searched for: a part of a secret is a leak too.
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
    "closed without a response": (read, close),
    "reset without a response": (read, reset),
    "silence": (read, silence),
    "garbage": (read, send(b"garbage\r\n\r\n")),
    "a header without an end": (read, send(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 99999)),
    "invalid length": (read, send(http(length="many"))),
    "a redirect": (read, send(http(b"", "307 Go", "Location: http://127.0.0.1:9/"))),
    "no JSON": (read, send(http(b"{"))),
    "empty": (read, send(http(b""))),
    "a page": (read, send(http(b"<html>hi", media="text/html"))),
    "too large": (read, send(http(b'{"a":"' + b"x" * 2000))),
    "cut": (read, send(http(length=999)), close),
    "invalid gzip": (read, send(http(b"not gzip", "200 OK", "Content-Encoding: gzip"))),
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


def echo_of(peer: Any) -> str:
    """Return an error that repeats the head of the request, including the key."""
    return json.dumps({"error": {"code": 400, "message": peer.head.decode()}})


async def echo(peer: Any) -> None:
    """Send the echo as a 400."""
    await read(peer)
    await send(http(echo_of(peer).encode(), "400 No"))(peer)


async def echo_in_a_200(peer: Any) -> None:
    """Send the echo as a 200."""
    await read(peer)
    await send(http(echo_of(peer).encode()))(peer)


async def echo_at_once(peer: Any) -> None:
    """Send the echo as the first event of a stream."""
    await read(peer)
    await send(sse(event(echo_of(peer))))(peer)


async def echo_later(peer: Any) -> None:
    """Send the echo as the second event of a stream."""
    await read(peer)
    await send(sse(chunk("hel") + event(echo_of(peer))))(peer)


async def echo_in_a_named_event(peer: Any) -> None:
    """Send the echo as an event named error."""
    await read(peer)
    echoed = b"event: error\n" + event(echo_of(peer))
    await send(sse(chunk("hel") + echoed))(peer)


async def echo_as_text(peer: Any) -> None:
    """Send the head of the request as an event that is not JSON."""
    await read(peer)
    await send(sse(chunk("hel") + event(peer.head.decode().replace("\r\n", " "))))(peer)


async def half_an_echo(peer: Any) -> None:
    """Send the beginning of an event with the echo, and nothing more."""
    await read(peer)
    await send(sse(chunk("hel") + event(echo_of(peer))[:-5]))(peer)
    await silence(peer)


ECHOES = {
    "an echo": echo,
    "an echo in a 200": echo_in_a_200,
    "an echo at once": echo_at_once,
    "an echo later": echo_later,
    "an echo in a named event": echo_in_a_named_event,
    "an echo as text": echo_as_text,
    "half an echo": half_an_echo,
}


class RecordingHandler(logging.Handler):
    """Records everything that is logged."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.logged: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Record all attributes of a log record."""
        self.logged.append(record.getMessage())
        self.logged.append(repr(record.__dict__))
        if record.exc_info:
            self.logged.append(logging.Formatter().formatException(record.exc_info))


@pytest.fixture
def logged() -> Iterator[list[str]]:
    """Return the texts of everything that is logged at any level."""
    handler = RecordingHandler()
    root = logging.getLogger()
    loggers = [
        logging.getLogger(name)
        for name in ("openrouter_async", "aiohttp", "aiohttp.client", "asyncio")
    ]
    levels = [(logger, logger.level) for logger in (root, *loggers)]
    for logger, _ in levels:
        logger.setLevel(logging.DEBUG)
    root.addHandler(handler)
    yield handler.logged
    root.removeHandler(handler)
    for logger, level in levels:
        logger.setLevel(level)


def all_texts(error: BaseException) -> Iterator[str]:
    """Yield all texts of an exception, its causes and their tracebacks."""
    yield from traceback.format_exception(error)
    found = traceback.TracebackException.from_exception(error, capture_locals=True)
    # The frames of the test have the key; they stand for those of a caller.
    current: traceback.TracebackException | None = found
    while current is not None:
        for frame in current.stack:
            if "/tests/" not in frame.filename:
                yield repr(frame.locals)
        current = current.__cause__ or current.__context__
    linked: BaseException | None = error
    while linked is not None:
        yield str(linked)
        yield repr(linked)
        yield repr(linked.args)
        yield repr(vars(linked))
        linked = linked.__cause__ or linked.__context__
    if isinstance(error, OpenRouterError):
        yield repr(error.http)
        yield repr(error.attempts)
        yield pickle.dumps(error).decode("latin-1")
        copy: OpenRouterError = pickle.loads(pickle.dumps(error))
        yield repr(vars(copy))


def assert_no_password(*texts: str) -> None:
    """Check that no text contains the key or the proxy's password."""
    coded = base64.b64encode(f"user:{PROXY_PASSWORD}".encode()).decode()
    for text in texts:
        assert MARK not in text
        assert coded not in text


def make_limited_client(server: ScriptServer | str, **options: Any) -> AsyncOpenRouter:
    """Return a client with the key and short timeouts."""
    usual: dict[str, Any] = {
        "api_key": KEY,
        "timeouts": Timeouts(total=1.0, first_token=0.1, idle=0.1),
        "size_limits": SizeLimits(event_bytes=1000, body_bytes=1000),
    }
    return make_client(server, **{**usual, **options})


async def fail(client: AsyncOpenRouter, *, stream: bool, **more: Any) -> BaseException:
    """Return the exception that a call raises."""
    try:
        if stream:
            async with open_stream(client, **more) as opened:
                await opened.collect()
        else:
            await client.chat.send(**HI, **more)
    except Exception as error:  # noqa: BLE001 - any exception is examined
        return error
    return AssertionError("The call did not fail.")


@pytest.mark.usefixtures("request_path")
@pytest.mark.parametrize("name", [*SCRIPTS, *ECHOES])
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
async def test_failed_call_shows_the_key_nowhere(
    name: str, logged: list[str], *, stream: bool
) -> None:
    records: list[CallRecord] = []
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        async with no_leaks(), ScriptServer() as server:
            steps = SCRIPTS.get(name) or (ECHOES[name],)
            for _ in range(3):
                server.script(*steps)
            async with make_limited_client(server, on_call=records.append) as client:
                error = await fail(client, stream=stream)

                assert isinstance(error, OpenRouterError)
                assert_no_password(*all_texts(error), repr(client), repr(vars(client)))
                assert_no_password(repr(vars(client.chat)), repr(client.stats))
                assert_no_password(*(repr(record) for record in records))
            if name not in {"reset at once", "closed at once"}:
                assert KEY.encode() in server.requests[0]
    assert_no_password(*logged, *(repr(w.message) for w in warned))
    assert logged


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
async def test_failed_connection_shows_the_key_nowhere(
    authority: Authority, logged: list[str], *, stream: bool
) -> None:
    proxy = f"http://user:{PROXY_PASSWORD}@127.0.0.1"
    async with (
        no_leaks(),
        ScriptServer(ssl=authority.unknown()) as untrusted,
        ScriptServer() as rejecting,
    ):
        rejecting.script(read_head, send(http(b"", "407 Who are you")), silence)
        targets: Sequence[dict[str, Any]] = (
            {"server": f"http://127.0.0.1:{free_port()}/v1"},
            {"server": untrusted},
            {"server": rejecting.url.replace("http", "https"), "max_connections": 1},
            {
                "server": "https://api.invalid/v1",
                "proxy": f"{proxy}:{free_port()}",
            },
            {"server": "https://api.invalid/v1", "proxy": f"{proxy}:{rejecting.port}"},
        )
        for options in targets:
            retries = Retries(max_attempts=1)
            async with make_limited_client(**options, retries=retries) as client:
                error = await fail(client, stream=stream)

                assert isinstance(error, OpenRouterError)
                assert_no_password(*all_texts(error), repr(vars(client)))
    assert_no_password(*logged)


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
@pytest.mark.parametrize("source", ["client", "call", "function", "async function"])
async def test_key_with_invalid_characters_is_rejected_and_not_shown(
    name: str, source: str, logged: list[str]
) -> None:
    bad = BAD_KEYS[name]

    async def later() -> Any:
        return bad

    given: Any = {"function": lambda: bad, "async function": later}.get(source, bad)
    async with no_leaks(), ScriptServer() as server:
        error = await _refused(server, given, source)

        assert isinstance(error, ConfigurationError | TypeError)
        if name != "bytes":
            assert_no_password(*all_texts(error))
        assert server.connections == 0
    assert_no_password(*logged)


async def _refused(server: ScriptServer, key: Any, source: str) -> BaseException:
    try:
        if source == "call":
            async with make_limited_client(server) as client:
                return await fail(client, stream=False, api_key=key)
        async with make_limited_client(server, api_key=key) as client:
            return await fail(client, stream=False)
    except Exception as error:  # noqa: BLE001 - any exception is examined
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
    "name of a header": lambda value: {"headers": {value: "a"}},
}


@pytest.mark.parametrize("value", BAD_VALUES, ids=repr)
@pytest.mark.parametrize("where", HEADERS)
def test_header_value_with_invalid_characters_is_rejected(
    where: str, value: Any
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        AsyncOpenRouter(KEY, **HEADERS[where](value))

    assert "X-Evil" not in str(caught.value) or where == "name of a header"
    assert_no_password(*all_texts(caught.value))


@pytest.mark.parametrize("value", BAD_VALUES, ids=repr)
@pytest.mark.parametrize("name", ["X-Own", "HTTP-Referer"])
async def test_extra_headers_with_invalid_characters_are_rejected(
    name: str, value: Any
) -> None:
    async with (
        no_leaks(),
        ScriptServer() as server,
        make_limited_client(server) as client,
    ):
        error = await fail(client, stream=False, extra_headers={name: value})

        assert isinstance(error, ConfigurationError)
        assert server.connections == 0


@pytest.mark.parametrize(
    "name",
    ["Authorization", "authorization", "Host", "Content-Length", "Transfer-Encoding"],
)
async def test_headers_of_the_connection_cannot_be_set(name: str) -> None:
    with pytest.raises(ConfigurationError):
        AsyncOpenRouter(KEY, headers={name: "1"})
    async with ScriptServer() as server, make_limited_client(server) as client:
        error = await fail(client, stream=False, extra_headers={name: "1"})

        assert isinstance(error, ConfigurationError)
        assert server.connections == 0


BASE_URLS: Final = (
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


@pytest.mark.parametrize("base_url", BASE_URLS)
def test_invalid_base_url_is_rejected(base_url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        AsyncOpenRouter(KEY, base_url=base_url)

    assert "password" not in str(caught.value).replace("a password", "")
    assert_no_password(*all_texts(caught.value))


@pytest.mark.parametrize(
    "path",
    ["/../../evil", "//evil.example/x", "http://evil.example/", "models", "/a b", "/#"],
)
async def test_path_outside_the_base_url_is_rejected(path: str) -> None:
    async with ScriptServer() as server, make_limited_client(server) as client:
        with pytest.raises(ConfigurationError):
            await client.request("GET", path)

        assert server.connections == 0


async def test_other_host_needs_its_own_key() -> None:
    async with (
        ScriptServer() as server,
        ScriptServer() as other,
        make_limited_client(server) as client,
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


async def test_key_is_not_sent_unencrypted_unless_allowed() -> None:
    async with AsyncOpenRouter(KEY, base_url="http://openrouter.invalid/v1") as client:
        error = await fail(client, stream=False)

    assert isinstance(error, ConfigurationError)
    assert "allow_http" in str(error)
    assert_no_password(*all_texts(error))


@pytest.mark.parametrize("ssl", [False, None, 0])
def test_certificate_checks_cannot_be_turned_off(ssl: Any) -> None:
    with pytest.raises(ConfigurationError) as caught:
        AsyncOpenRouter(KEY, ssl=ssl)

    assert_no_password(*all_texts(caught.value))


@pytest.mark.usefixtures("request_path")
async def test_cookies_are_not_sent_back() -> None:
    async with (
        no_leaks(),
        ScriptServer() as server,
        make_limited_client(server) as client,
    ):
        cookie = "Set-Cookie: a=b; Path=/"
        server.script(read, send(http(http_body(), "200 OK", cookie)))
        for _ in range(2):
            await client.chat.send(**HI)

        assert b"cookie" not in b"".join(server.requests).lower()


def http_body() -> bytes:
    """Return a completion."""
    return http().partition(b"\r\n\r\n")[2]


@pytest.mark.usefixtures("request_path")
async def test_session_of_the_caller_adds_nothing_to_requests() -> None:
    async with no_leaks(), ScriptServer() as server:
        session = aiohttp.ClientSession(
            headers={"X-Session": MARK, "Authorization": f"Bearer {MARK}"},
            cookies={"session": MARK},
        )
        async with session, make_client(server, session=session) as client:
            await client.chat.send(**HI)
            assert not session.closed

    assert_no_password(b"".join(server.requests).decode())


async def test_netrc_does_not_replace_the_key(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login user password secret")
    monkeypatch.setenv("NETRC", str(netrc))
    async with (
        no_leaks(),
        ScriptServer() as server,
        make_limited_client(server) as client,
    ):
        await client.chat.send(**HI)

    assert f"Authorization: Bearer {KEY}".encode() in server.requests[0]


async def test_texts_of_requests_and_responses_are_not_logged(
    logged: list[str],
) -> None:
    virtual_time = VirtualTime()
    async with no_leaks(), ScriptServer() as server:
        server.script(read, send(http(b'{"error":"response-text"}', "503 Busy")))
        async with make_client(server, clock=virtual_time.clock) as client:
            await client.chat.send(
                model="m",
                messages=[{"role": "user", "content": "prompt-text"}],
                extra_query={"q": "query-text"},
            )

    lines = "".join(text for text in logged if "openrouter_async" in text)
    assert lines
    for text in ("prompt-text", "response-text", "query-text", "hello"):
        assert text not in lines


async def test_account_ids_are_not_in_the_message_of_an_error() -> None:
    body = {"error": {"code": 400, "message": "no, user_2abcDEF123"}, "user_id": MARK}
    async with no_leaks(), ScriptServer() as server, make_client(server) as client:
        server.script(read, send(http(json.dumps(body).encode(), "400 No")))
        error = await fail(client, stream=False)

    assert "user_2abcDEF123" not in str(error)
    assert MARK not in str(error)


@pytest.mark.usefixtures("request_path")
async def test_user_agent_names_only_the_library() -> None:
    async with ScriptServer() as server, make_client(server) as client:
        await client.chat.send(**HI)

    lines = server.requests[0].decode().split("\r\n")
    agents = [line for line in lines if line.lower().startswith("user-agent")]
    assert len(agents) == 1
    assert agents[0].partition("/")[0] == "User-Agent: openrouter_async"
