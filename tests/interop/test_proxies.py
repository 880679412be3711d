"""Real reverse proxies, nginx and HAProxy, between the client and the server."""

import asyncio
import math
import os
import shutil
import signal
import socket
import ssl as tls
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Literal

import pytest
import trustme
from attrs import define, evolve, frozen
from support import MakeClient

from openrouter_async import (
    APIConnectionError,
    AsyncOpenRouter,
    BadGatewayError,
    ChatGenerationParams,
    ChatStream,
    GatewayTimeoutError,
    MalformedResponseError,
    PayloadTooLargeError,
    Retries,
    ServiceUnavailableError,
    StreamInterruptedError,
    Timeouts,
    UserMessage,
)
from openrouter_async.testing import LocalOpenRouter, StreamError, error_reply

# Each reply tells in a header which worker of the proxy it came through.
NGINX: Final = """\
{user}
daemon off;
worker_processes 1;
pid {folder}/pid;
error_log {folder}/log;
{main}
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    {http}
    upstream behind {{
        server 127.0.0.1:{behind};
        {upstream}
    }}
    server {{
        listen 127.0.0.1:{port} {tls};
        add_header X-Worker $pid always;
        location / {{
            proxy_pass http://behind;
            {location}
        }}
    }}
}}
"""
HAPROXY: Final = """\
global
    {main}
defaults
    mode http
    timeout connect 5s
    timeout client 30s
    timeout server 30s
    retries 0
    {http}
frontend front
    bind 127.0.0.1:{port}
    http-response set-header X-Worker %pid
    default_backend behind
backend behind
    {upstream}
    server one 127.0.0.1:{behind}
"""
KEEP_ALIVE: Final = 'proxy_http_version 1.1; proxy_set_header Connection "";'
GZIP: Final = (
    "gzip on; gzip_proxied any; gzip_min_length 1; "
    "gzip_types application/json text/event-stream;"
)


@frozen
class Kind:
    """
    A proxy and what its configuration says beside the usual.

    Attributes:
        program: Which one.
        main: Of the whole process.
        http: Of all connections.
        upstream: Of the server behind.
        location: Of how requests are passed on; nginx only.
        buffers: Whether it holds back a stream until a buffer is full.
        tells: Whether it tells the server at once that the client has left before
            anything came; if not, not before it has something to pass on.
        tells_later: The same in mid-stream.
    """

    program: Literal["nginx", "haproxy"]
    main: str = ""
    http: str = ""
    upstream: str = ""
    location: str = ""
    buffers: bool = False
    tells: bool = True
    tells_later: bool = True


UNBUFFERED: Final = Kind(
    "nginx",
    upstream="keepalive 16;",
    location=f"proxy_buffering off; {KEEP_ALIVE}",
)
ABORTING: Final = Kind("haproxy", http="option abortonclose")
KINDS: Final = {
    "nginx as it comes": Kind("nginx", buffers=True, tells_later=False),
    "nginx with keep-alive": Kind(
        "nginx",
        upstream="keepalive 16;",
        location=KEEP_ALIVE,
        buffers=True,
        tells_later=False,
    ),
    "nginx without buffering": UNBUFFERED,
    "nginx, one request a connection": Kind(
        "nginx",
        http="keepalive_requests 1;",
        location=f"proxy_buffering off; {KEEP_ALIVE}",
    ),
    "nginx with gzip": Kind(
        "nginx",
        http=GZIP,
        upstream="keepalive 16;",
        location=KEEP_ALIVE,
        buffers=True,
        tells_later=False,
    ),
    "haproxy as it comes": Kind("haproxy", tells=False, tells_later=False),
    "haproxy with abortonclose": ABORTING,
    "haproxy, one request a connection": Kind(
        "haproxy", http="option httpclose\n    option abortonclose"
    ),
    "haproxy with gzip": Kind(
        "haproxy",
        http="option abortonclose\n    compression algo gzip\n"
        "    compression type application/json text/event-stream",
    ),
}


@define
class Box:
    """
    A running proxy.

    Attributes:
        kind: What it was told.
        url: The base URL through it.
        folder: All its files.
    """

    kind: Kind
    url: str
    folder: Path
    process: "subprocess.Popen[bytes]"

    def reload(self) -> None:
        """Have it start new workers and send the old ones away."""
        sort = signal.SIGHUP if self.kind.program == "nginx" else signal.SIGUSR2
        self.process.send_signal(sort)

    def stop(self) -> None:
        """End it with all its workers, whatever they do."""
        self.process.terminate()
        self.process.wait(10)


def find(program: str) -> str:
    """Find a proxy's binary, or skip the test."""
    places = os.pathsep.join(
        [os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"]
    )
    found = shutil.which(program, path=places)
    if found is None:
        pytest.skip(f"{program} is not installed (Debian: nginx-light, haproxy)")
    return found


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
    return port


def start(kind: Kind, behind: int, folder: Path, tls_lines: str = "") -> Box:
    """Write a configuration and start a proxy with it."""
    program = find(kind.program)
    folder.mkdir()
    port = free_port()
    values: Mapping[str, Any] = {
        "main": kind.main,
        "http": kind.http,
        "upstream": kind.upstream,
        "location": kind.location,
        "folder": folder,
        "port": port,
        "behind": behind,
        "tls": f"ssl; {tls_lines.rstrip(';')}" if tls_lines else "",
        # The workers of one that is started by root are somebody else's by default,
        # who may not look into the folder.
        "user": "user root;" if os.geteuid() == 0 else "",
    }
    template = NGINX if kind.program == "nginx" else HAPROXY
    configuration = folder / "conf"
    configuration.write_text(template.format_map(values))
    arguments = (
        [program, "-e", f"{folder}/log", "-p", f"{folder}", "-c", f"{configuration}"]
        if kind.program == "nginx"
        else [program, "-W", "-q", "-f", f"{configuration}"]
    )
    output = folder / "output"
    with output.open("wb") as file:
        process = subprocess.Popen(
            arguments, stdin=subprocess.DEVNULL, stdout=file, stderr=file
        )
    scheme = "https" if tls_lines else "http"
    box = Box(kind, f"{scheme}://127.0.0.1:{port}/api/v1", folder, process)
    end = time.monotonic() + 10
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            assert process.poll() is None, output.read_text()
            if time.monotonic() > end:
                box.stop()
                raise
            time.sleep(0.005)
        else:
            return box


class Boxes:
    """The proxies of this module: each is started once, when it is first asked for."""

    def __init__(self, server: LocalOpenRouter, folder: Path) -> None:
        self._behind = port_of(server.origin)
        self._folder = folder
        self._made: dict[tuple[Kind, int, str], Box] = {}

    def __call__(
        self, kind: Kind, behind: int | None = None, tls_lines: str = ""
    ) -> Box:
        """Return a proxy in front of the server, or of another port."""
        key = (kind, behind or self._behind, tls_lines)
        if key not in self._made:
            folder = self._folder / f"{kind.program}{len(self._made)}"
            self._made[key] = start(kind, key[1], folder, tls_lines)
        return self._made[key]

    def stop(self) -> None:
        """End them all."""
        for box in self._made.values():
            box.stop()


@pytest.fixture
def nobody() -> Iterator[int]:
    """A port that is taken, but where nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]


def port_of(origin: str) -> int:
    return int(origin.rpartition(":")[2])


@pytest.fixture(scope="module")
def lasting() -> Iterator[LocalOpenRouter]:
    """The server behind all proxies."""
    with LocalOpenRouter() as server:
        yield server


@pytest.fixture
def server(lasting: LocalOpenRouter) -> Iterator[LocalOpenRouter]:
    """The same, as if nothing had been asked of it."""
    yield lasting

    end = time.monotonic() + 5
    while lasting.stats.in_flight and time.monotonic() < end:
        time.sleep(0.005)
    lasting.clear()


@pytest.fixture(scope="module")
def make_box(
    lasting: LocalOpenRouter, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Boxes]:
    """Put proxies in front of the server."""
    boxes = Boxes(lasting, tmp_path_factory.mktemp("boxes"))

    yield boxes

    boxes.stop()


@pytest.fixture(params=KINDS)
def box(request: pytest.FixtureRequest, make_box: Boxes) -> Box:
    """Each of the proxies."""
    return make_box(KINDS[request.param])


@pytest.fixture
async def through(box: Box, make_client: MakeClient) -> AsyncOpenRouter:
    """A client behind the proxy."""
    return make_client(base_url=box.url, timeouts=Timeouts(total=5))


def ask(prompt: str) -> ChatGenerationParams:
    return ChatGenerationParams(model="m", messages=[UserMessage(prompt)])


HI: Final = ask("hi")
# How a cut stream is told: the connection broke, or, where HTTP/1.0 ends a body with
# its connection, the stream just ended.
CUT: Final = (APIConnectionError, StreamInterruptedError)
# A buffer of nginx is full after this.
LONG: Final = "x" * 100_000


# --- the main cases ---------------------------------------------------------------


async def test_a_plain_call_passes(
    server: LocalOpenRouter, through: AsyncOpenRouter, box: Box
) -> None:
    """A completion comes through, compressed where the proxy compresses."""
    server.reply(LONG, times=None)

    replies = [await through.chat.send(ask("p" * 50_000)) for _ in range(3)]

    assert [reply.text for reply in replies] == [LONG] * 3
    assert [len(seen.prompt) for seen in server.requests] == [50_000] * 3
    packed = "gzip" if "gzip" in box.kind.http else None
    assert replies[0].http.headers.get("Content-Encoding") == packed


async def test_a_stream_passes(
    server: LocalOpenRouter, through: AsyncOpenRouter
) -> None:
    """Every chunk comes through, in order, and the connection is used again."""
    words = [f"{n} " for n in range(200)]
    server.reply(words, times=None)

    for _ in range(2):
        async with through.chat.send(HI, stream=True) as stream:
            texts = [chunk.text async for chunk in stream if chunk.text]

        assert texts == words
        assert stream.response.finish_reason == "stop"
        assert stream.http.headers.get("Content-Encoding") is None


async def test_an_error_in_mid_stream_passes(
    server: LocalOpenRouter, through: AsyncOpenRouter
) -> None:
    """The error is raised, with what had come before it."""
    server.reply(["one ", "two ", "three"], error=StreamError(), error_after=2)

    async with through.chat.send(HI, stream=True) as stream:
        with pytest.raises(BadGatewayError, match="Provider disconnected") as caught:
            await stream.collect()

    assert caught.value.partial is not None
    assert caught.value.partial.text == "one two "
    assert len(server.requests) == 1


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
async def test_a_hint_to_wait_passes(
    server: LocalOpenRouter,
    through: AsyncOpenRouter,
    slept: list[float],
    stream: bool,
) -> None:
    """A 429 with its `Retry-After` is obeyed, then the answer comes."""
    server.reply(error_reply(429, retry_after=2)).then("hello")

    reply = await through.chat.send(HI, stream=stream)
    if isinstance(reply, ChatStream):
        async with reply:
            reply = await reply.collect()

    assert reply.text == "hello"
    assert [2 <= seconds <= 3 for seconds in slept] == [True]
    assert [attempt.status for attempt in reply.http.attempts] == [429, 200]


@pytest.mark.parametrize("stop", ["close", "reset"])
async def test_a_cut_stream_is_told(
    server: LocalOpenRouter,
    through: AsyncOpenRouter,
    box: Box,
    stop: Literal["close", "reset"],
) -> None:
    """A stream that the server cuts is never taken for a whole one."""
    # Of a reset nginx loses what it holds back, but not the buffers before that.
    pieces = [f"{n} {LONG[:5000]}" for n in range(20)] if box.kind.buffers else ["0 "]
    server.reply(
        [*pieces, "more"], stop=stop, stop_after=len(pieces), chunk_delay=0.005
    )

    with pytest.raises(CUT) as caught:
        async with through.chat.send(HI, stream=True) as stream:
            await stream.collect()

    assert caught.value.partial is not None
    assert caught.value.partial.text.startswith(pieces[0])
    assert not caught.value.partial.text.endswith("more")
    assert len(server.requests) == 1


@pytest.mark.parametrize("stop", ["close", "reset"])
async def test_a_cut_plain_reply_is_told(
    server: LocalOpenRouter,
    through: AsyncOpenRouter,
    stop: Literal["close", "reset"],
) -> None:
    """Half a body raises; it was paid, and is not asked for again."""
    server.reply("hello " * 10, stop=stop, stop_at=100)

    with pytest.raises((APIConnectionError, MalformedResponseError, BadGatewayError)):
        await through.chat.send(HI, retries=Retries(max_attempts=1))

    assert len(server.requests) == 1


async def test_leaving_a_stream_is_seen_behind(
    server: LocalOpenRouter, through: AsyncOpenRouter, box: Box
) -> None:
    """The server sees that the client has left as soon as the proxy tells it."""
    silent: Any = {"stop": "silence", "stop_after": 1} if box.kind.tells_later else {}
    server.reply([LONG, *[LONG[:5000]] * 100], chunk_delay=0.03, **silent)

    async with through.chat.send(HI, stream=True) as stream:
        async for _ in stream:
            break
    left = time.monotonic()
    await server.until(closed=1)

    closed = server.requests[0].closed
    assert closed is not None
    assert closed - left < (0.1 if box.kind.tells_later else 1)
    assert through.stats.in_use == 0


async def test_a_cancel_before_the_headers_is_seen_behind(
    server: LocalOpenRouter, through: AsyncOpenRouter, box: Box
) -> None:
    """A call that is given up while nothing has come frees the server too."""
    server.reply("late", delay=math.inf if box.kind.tells else 0.3)
    task = asyncio.create_task(through.chat.send(HI))
    await server.until(requests=1)
    task.cancel()
    await asyncio.wait([task])
    left = time.monotonic()

    assert task.cancelled()
    assert through.stats.in_use == 0
    if box.kind.tells:
        await server.until(closed=1)
        closed = server.requests[0].closed
        assert closed is not None
        assert closed - left < 0.1


@pytest.mark.parametrize(
    "name",
    [
        "nginx with keep-alive",
        "nginx, one request a connection",
        "haproxy as it comes",
        "haproxy, one request a connection",
    ],
)
async def test_two_hundred_at_once_pass(
    server: LocalOpenRouter, make_box: Boxes, make_client: MakeClient, name: str
) -> None:
    """Half of them streams: each gets the answer to its own question."""
    through = make_client(base_url=make_box(KINDS[name]).url)
    server.reply(lambda seen: seen.prompt, times=None)
    # It costs more than all the rest.
    asyncio.get_running_loop().set_debug(False)

    async def one(number: int) -> str:
        prompt = f"question {number}."
        if number % 2:
            return (await through.chat.send(ask(prompt))).text
        async with through.chat.send(ask(prompt), stream=True) as stream:
            return (await stream.collect()).text

    texts = await asyncio.gather(*map(one, range(200)))

    assert texts == [f"question {n}." for n in range(200)]
    assert len(server.requests) == 200


# --- what is not as usual ----------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
async def test_a_page_of_nginx_is_named_by_its_title(
    make_box: Boxes,
    make_client: MakeClient,
    nobody: int,
    slept: list[float],
    stream: bool,
) -> None:
    """Nobody listens behind it: the 502 is sent again, and its page is no message."""
    box = make_box(UNBUFFERED, behind=nobody)
    client = make_client(base_url=box.url)

    with pytest.raises(BadGatewayError) as caught:
        await client.chat.send(HI, stream=stream)

    assert caught.value.message == "an HTML page, '502 Bad Gateway', instead of JSON"
    assert "<" not in str(caught.value)
    assert [attempt.status for attempt in caught.value.attempts] == [502] * 3
    assert len(slept) == 2


async def test_a_page_of_haproxy_is_an_error_too(
    make_box: Boxes, make_client: MakeClient, nobody: int
) -> None:
    """Nobody listens behind it: its page, which has no title, is a 503."""
    box = make_box(ABORTING, behind=nobody)
    client = make_client(base_url=box.url)

    with pytest.raises(ServiceUnavailableError, match="an HTML page") as caught:
        await client.chat.send(HI)

    assert "<" not in str(caught.value)
    assert len(caught.value.attempts) == 3


async def test_a_body_that_nginx_finds_too_large_is_told(
    server: LocalOpenRouter, make_box: Boxes, make_client: MakeClient
) -> None:
    """Its 413 comes while the body is still on its way, and is read all the same."""
    kind = Kind("nginx", location="client_max_body_size 10k;")
    client = make_client(base_url=make_box(kind).url)

    with pytest.raises(PayloadTooLargeError, match="413 Request Entity Too Large"):
        await client.chat.send(ask("x" * 3_000_000))

    assert server.requests == []


@pytest.mark.parametrize(
    "kind",
    [
        Kind("nginx", location="proxy_read_timeout 100ms;"),
        Kind("haproxy", http="timeout server 100ms"),
    ],
    ids=["nginx", "haproxy"],
)
async def test_a_proxy_that_loses_patience_is_not_asked_again(
    server: LocalOpenRouter, make_box: Boxes, make_client: MakeClient, kind: Kind
) -> None:
    """Its 504 is silence with a number on: the model may run, and will be paid."""
    server.reply("late", delay=math.inf, times=None)
    client = make_client(base_url=make_box(kind).url)

    with pytest.raises(GatewayTimeoutError, match="an HTML page") as caught:
        await client.chat.send(HI)

    assert len(server.requests) == 1
    assert not caught.value.retryable
    assert [attempt.billing for attempt in caught.value.attempts] == ["maybe"]


@pytest.mark.parametrize(
    "kind",
    [
        Kind("nginx", location="proxy_buffering off; proxy_read_timeout 100ms;"),
        Kind("haproxy", http="timeout server 100ms"),
    ],
    ids=["nginx", "haproxy"],
)
async def test_a_proxy_that_loses_patience_in_mid_stream_is_told(
    server: LocalOpenRouter, make_box: Boxes, make_client: MakeClient, kind: Kind
) -> None:
    """It cuts the stream where the model pauses; that is never taken for the end."""
    server.reply(["one ", "two"], stop="silence", stop_after=1)
    client = make_client(base_url=make_box(kind).url)

    with pytest.raises(APIConnectionError) as caught:
        async with client.chat.send(HI, stream=True) as stream:
            await stream.collect()

    assert caught.value.partial is not None
    assert caught.value.partial.text == "one "


# --- reloads ----------------------------------------------------------------------

PROXIES: Final = {"nginx": UNBUFFERED, "haproxy": ABORTING}
HURRIED: Final = {
    "nginx": evolve(UNBUFFERED, main="worker_shutdown_timeout 50ms;"),
    "haproxy": evolve(ABORTING, main="hard-stop-after 50ms"),
}


async def reloaded(box: Box, client: AsyncOpenRouter) -> None:
    """Reload the proxy, and wait until a new worker answers."""
    before = await worker(client)
    box.reload()
    async with asyncio.timeout(5):
        while await worker(client) == before:
            pass


async def worker(client: AsyncOpenRouter) -> str:
    """Tell which worker of the proxy a call goes through."""
    reply = await client.chat.send(ask("who?"))
    return reply.http.headers["X-Worker"]


@pytest.mark.parametrize("program", PROXIES)
async def test_a_reload_lets_a_stream_end(
    server: LocalOpenRouter, make_box: Boxes, make_client: MakeClient, program: str
) -> None:
    """The old worker passes on what it has begun, the new one takes the next calls."""
    words = [f"{n} " for n in range(12)]
    server.reply(words, when="count", chunk_delay=0.03)
    box = make_box(PROXIES[program])
    client = make_client(base_url=box.url)

    async with client.chat.send(ask("count"), stream=True) as stream:
        first = await anext(aiter(stream))
        await reloaded(box, client)
        assert stream.partial is not None
        so_far = stream.partial.text
        reply = await stream.collect()

    assert first.text == words[0]
    assert len(so_far) < len(reply.text)
    assert reply.text == "".join(words)
    assert len(server.requests) == len({seen.generation_id for seen in server.requests})


@pytest.mark.parametrize("program", HURRIED)
async def test_a_reload_that_cuts_a_stream_is_told(
    server: LocalOpenRouter, make_box: Boxes, make_client: MakeClient, program: str
) -> None:
    """An old worker that may not finish cuts the stream: never silently."""
    server.reply(["one ", "two"], when="count", stop="silence", stop_after=1)
    box = make_box(HURRIED[program])
    client = make_client(base_url=box.url)

    async with client.chat.send(ask("count"), stream=True) as stream:
        await anext(aiter(stream))
        await reloaded(box, client)
        with pytest.raises(APIConnectionError) as caught:
            await stream.collect()

    assert caught.value.partial is not None
    assert caught.value.partial.text == "one "
    assert [seen.prompt for seen in server.requests].count("count") == 1


@pytest.mark.parametrize("program", PROXIES)
async def test_reloads_between_calls_fail_none(
    server: LocalOpenRouter, make_box: Boxes, make_client: MakeClient, program: str
) -> None:
    """Connections that a reload closes in the pool are no caller's concern."""
    box = make_box(PROXIES[program])
    client = make_client(base_url=box.url)
    is_over = asyncio.Event()
    workers: set[str] = set()
    calls = 0

    async def ask_on() -> None:
        nonlocal calls
        while not is_over.is_set():
            workers.add(await worker(client))
            calls += 1

    async with asyncio.TaskGroup() as group:
        for _ in range(5):
            group.create_task(ask_on())
        for _ in range(3):
            await asyncio.sleep(0.05)
            await reloaded(box, client)
        is_over.set()

    assert len(workers) >= 4
    assert calls > 20
    assert client.stats.in_use == 0


@pytest.mark.parametrize("program", PROXIES)
async def test_a_pool_that_a_reload_has_closed_is_replaced(
    server: LocalOpenRouter, make_box: Boxes, make_client: MakeClient, program: str
) -> None:
    """After a pause with a reload in it, no call meets a dead connection."""
    box = make_box(PROXIES[program])
    client = make_client(base_url=box.url)
    for _ in range(3):
        await asyncio.gather(*(worker(client) for _ in range(10)))
        await reloaded(box, client)

    assert client.stats.in_use == 0
    assert len(server.requests) >= 30


# --- TLS --------------------------------------------------------------------------


@pytest.fixture
async def secured(
    make_box: Boxes, make_client: MakeClient, tmp_path: Path
) -> AsyncOpenRouter:
    """A client of an nginx over TLS, with an authority of the test's own."""
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    chain.write_bytes(b"".join(pem.bytes() for pem in certificate.cert_chain_pems))
    certificate.private_key_pem.write_to_path(key)
    lines = f"ssl_certificate {chain}; ssl_certificate_key {key};"
    context = tls.create_default_context()
    authority.configure_trust(context)  # pyright: ignore[reportUnknownMemberType]
    return make_client(
        base_url=make_box(UNBUFFERED, tls_lines=lines).url,
        ssl=context,
        timeouts=Timeouts(total=5),
    )


async def test_tls_at_the_proxy_passes(
    server: LocalOpenRouter, secured: AsyncOpenRouter
) -> None:
    """A plain call and a stream go over TLS to the proxy, in the clear behind it."""
    server.reply(["one ", LONG], times=None)

    reply = await secured.chat.send(HI)
    async with secured.chat.send(HI, stream=True) as stream:
        texts = [chunk.text async for chunk in stream if chunk.text]

    assert reply.text == "one " + LONG
    assert texts == ["one ", LONG]


async def test_leaving_a_stream_over_tls_is_seen_behind(
    server: LocalOpenRouter, secured: AsyncOpenRouter
) -> None:
    """Leaving does not linger for TLS's goodbye: the server knows within 100 ms."""
    server.reply(["one ", "two"], stop="silence", stop_after=1)

    async with secured.chat.send(HI, stream=True) as stream:
        async for _ in stream:
            break
    left = time.monotonic()
    await server.until(closed=1)

    closed = server.requests[0].closed
    assert closed is not None
    assert closed - left < 0.1
    assert secured.stats.in_use == 0
