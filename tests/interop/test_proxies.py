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
from support import HELLO, MakeClient

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

# A header of each response names the worker process of the proxy.
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
class ProxyConfig:
    """
    A proxy, its settings in addition to the template, and its behaviour.

    Attributes:
        program: Name of the program.
        main: Settings of the process.
        http: Settings of all connections.
        upstream: Settings of the connection to the server.
        location: Settings of forwarded requests; nginx only.
        buffers: If True, the proxy sends a stream only when a buffer is full.
        reports_early_disconnect: If True, the proxy closes the connection to the server
            when the client disconnects before the first byte of the response. If False,
            it does so when it cannot forward the response.
        reports_disconnect: As `reports_early_disconnect`, during a stream.
    """

    program: Literal["nginx", "haproxy"]
    main: str = ""
    http: str = ""
    upstream: str = ""
    location: str = ""
    buffers: bool = False
    reports_early_disconnect: bool = True
    reports_disconnect: bool = True


UNBUFFERED: Final = ProxyConfig(
    "nginx",
    upstream="keepalive 16;",
    location=f"proxy_buffering off; {KEEP_ALIVE}",
)
ABORTING: Final = ProxyConfig("haproxy", http="option abortonclose")
CONFIGS: Final = {
    "nginx with defaults": ProxyConfig("nginx", buffers=True, reports_disconnect=False),
    "nginx with keep-alive": ProxyConfig(
        "nginx",
        upstream="keepalive 16;",
        location=KEEP_ALIVE,
        buffers=True,
        reports_disconnect=False,
    ),
    "nginx without buffering": UNBUFFERED,
    "nginx, one request per connection": ProxyConfig(
        "nginx",
        http="keepalive_requests 1;",
        location=f"proxy_buffering off; {KEEP_ALIVE}",
    ),
    "nginx with gzip": ProxyConfig(
        "nginx",
        http=GZIP,
        upstream="keepalive 16;",
        location=KEEP_ALIVE,
        buffers=True,
        reports_disconnect=False,
    ),
    "haproxy with defaults": ProxyConfig(
        "haproxy", reports_early_disconnect=False, reports_disconnect=False
    ),
    "haproxy with abortonclose": ABORTING,
    "haproxy, one request per connection": ProxyConfig(
        "haproxy", http="option httpclose\n    option abortonclose"
    ),
    "haproxy with gzip": ProxyConfig(
        "haproxy",
        http="option abortonclose\n    compression algo gzip\n"
        "    compression type application/json text/event-stream",
    ),
}


@define
class Proxy:
    """
    A running proxy.

    Attributes:
        config: Its configuration.
        url: Base URL of the proxy.
        folder: Folder of all its files.
    """

    config: ProxyConfig
    url: str
    folder: Path
    process: "subprocess.Popen[bytes]"

    def reload(self) -> None:
        """Start new workers and shut the old ones down."""
        number = signal.SIGHUP if self.config.program == "nginx" else signal.SIGUSR2
        self.process.send_signal(number)

    def stop(self) -> None:
        """Stop the proxy and all its workers at once."""
        self.process.terminate()
        self.process.wait(10)


def find(program: str) -> str:
    """Return the path of a program, or skip the test."""
    search_path = os.pathsep.join(
        [os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"]
    )
    found = shutil.which(program, path=search_path)
    if found is None:
        pytest.skip(f"{program} is not installed (Debian: nginx-light, haproxy)")
    return found


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
    return port


def start(config: ProxyConfig, behind: int, folder: Path, tls_lines: str = "") -> Proxy:
    """Write the configuration file and start the proxy."""
    program = find(config.program)
    folder.mkdir()
    port = free_port()
    values: Mapping[str, Any] = {
        "main": config.main,
        "http": config.http,
        "upstream": config.upstream,
        "location": config.location,
        "folder": folder,
        "port": port,
        "behind": behind,
        "tls": f"ssl; {tls_lines.rstrip(';')}" if tls_lines else "",
        # If root starts nginx, its workers run as another user by default, who cannot
        # read the folder.
        "user": "user root;" if os.geteuid() == 0 else "",
    }
    template = NGINX if config.program == "nginx" else HAPROXY
    configuration = folder / "conf"
    configuration.write_text(template.format_map(values))
    arguments = (
        [program, "-e", f"{folder}/log", "-p", f"{folder}", "-c", f"{configuration}"]
        if config.program == "nginx"
        else [program, "-W", "-q", "-f", f"{configuration}"]
    )
    output = folder / "output"
    with output.open("wb") as file:
        process = subprocess.Popen(
            arguments, stdin=subprocess.DEVNULL, stdout=file, stderr=file
        )
    scheme = "https" if tls_lines else "http"
    proxy = Proxy(config, f"{scheme}://127.0.0.1:{port}/api/v1", folder, process)
    end = time.monotonic() + 10
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            assert process.poll() is None, output.read_text()
            if time.monotonic() > end:
                proxy.stop()
                raise
            time.sleep(0.005)
        else:
            return proxy


class ProxyStarter:
    """The proxies of this module, each started on first use."""

    def __init__(self, server: LocalOpenRouter, folder: Path) -> None:
        self._behind = port_of(server.origin)
        self._folder = folder
        self._proxies: dict[tuple[ProxyConfig, int, str], Proxy] = {}

    def __call__(
        self, config: ProxyConfig, behind: int | None = None, tls_lines: str = ""
    ) -> Proxy:
        """Return a proxy in front of the server, or in front of another port."""
        key = (config, behind or self._behind, tls_lines)
        if key not in self._proxies:
            folder = self._folder / f"{config.program}{len(self._proxies)}"
            self._proxies[key] = start(config, key[1], folder, tls_lines)
        return self._proxies[key]

    def stop(self) -> None:
        """Stop all proxies."""
        for proxy in self._proxies.values():
            proxy.stop()


@pytest.fixture
def closed_port() -> Iterator[int]:
    """Return a port that is in use but does not accept connections."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]


def port_of(origin: str) -> int:
    return int(origin.rpartition(":")[2])


@pytest.fixture(scope="module")
def module_server() -> Iterator[LocalOpenRouter]:
    """Run the server behind all proxies."""
    with LocalOpenRouter() as server:
        yield server


@pytest.fixture
def server(module_server: LocalOpenRouter) -> Iterator[LocalOpenRouter]:
    """Return the server behind all proxies, and clear it after the test."""
    yield module_server

    end = time.monotonic() + 5
    while module_server.stats.in_flight and time.monotonic() < end:
        time.sleep(0.005)
    module_server.clear()


@pytest.fixture(scope="module")
def start_proxy(
    module_server: LocalOpenRouter, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ProxyStarter]:
    """Return a function that starts proxies in front of the server."""
    starter = ProxyStarter(module_server, tmp_path_factory.mktemp("starter"))

    yield starter

    starter.stop()


@pytest.fixture(params=CONFIGS)
def proxy(request: pytest.FixtureRequest, start_proxy: ProxyStarter) -> Proxy:
    """Return each of the proxies in turn."""
    return start_proxy(CONFIGS[request.param])


@pytest.fixture
async def proxied(proxy: Proxy, make_client: MakeClient) -> AsyncOpenRouter:
    """Return a client that sends through the proxy."""
    return make_client(base_url=proxy.url, timeouts=Timeouts(total=5))


def request_for(prompt: str) -> ChatGenerationParams:
    return ChatGenerationParams(model="m", messages=[UserMessage(prompt)])


# A stream that is cut off raises a connection error. With HTTP/1.0, closing the
# connection is a regular end of the body, so the stream ends without a finish reason.
CUT: Final = (APIConnectionError, StreamInterruptedError)
# Fills a buffer of nginx.
LONG: Final = "x" * 100_000


# --- forwarding -------------------------------------------------------------------


async def test_plain_response_is_read_through_a_proxy(
    server: LocalOpenRouter, proxied: AsyncOpenRouter, proxy: Proxy
) -> None:
    """It is compressed if the proxy compresses."""
    server.reply(LONG, times=None)

    responses = [await proxied.chat.send(request_for("p" * 50_000)) for _ in range(3)]

    assert [response.text for response in responses] == [LONG] * 3
    assert [len(seen.prompt) for seen in server.requests] == [50_000] * 3
    encoding = "gzip" if "gzip" in proxy.config.http else None
    assert responses[0].http.headers.get("Content-Encoding") == encoding


async def test_stream_is_read_completely_through_a_proxy(
    server: LocalOpenRouter, proxied: AsyncOpenRouter
) -> None:
    """The connection is reused."""
    sent = [f"{n} " for n in range(200)]
    server.reply(sent, times=None)

    for _ in range(2):
        async with proxied.chat.send(HELLO, stream=True) as stream:
            texts = [chunk.text async for chunk in stream if chunk.text]

        assert texts == sent
        assert stream.response.finish_reason == "stop"
        assert stream.http.headers.get("Content-Encoding") is None


async def test_error_in_a_stream_is_raised_with_the_partial_text(
    server: LocalOpenRouter, proxied: AsyncOpenRouter
) -> None:
    server.reply(["one ", "two ", "three"], error=StreamError(), error_after=2)

    async with proxied.chat.send(HELLO, stream=True) as stream:
        with pytest.raises(BadGatewayError, match="Provider disconnected") as caught:
            await stream.collect()

    assert caught.value.partial is not None
    assert caught.value.partial.text == "one two "
    assert len(server.requests) == 1


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
async def test_retry_after_is_respected_through_a_proxy(
    server: LocalOpenRouter,
    proxied: AsyncOpenRouter,
    slept: list[float],
    stream: bool,
) -> None:
    server.reply(error_reply(429, retry_after=2)).then("hello")

    response = await proxied.chat.send(HELLO, stream=stream)
    if isinstance(response, ChatStream):
        async with response:
            response = await response.collect()

    assert response.text == "hello"
    assert [2 <= seconds <= 3 for seconds in slept] == [True]
    assert [attempt.status for attempt in response.http.attempts] == [429, 200]


@pytest.mark.parametrize("stop", ["close", "reset"])
async def test_stream_that_the_server_cuts_off_is_an_error(
    server: LocalOpenRouter,
    proxied: AsyncOpenRouter,
    proxy: Proxy,
    stop: Literal["close", "reset"],
) -> None:
    # After a reset, nginx discards the buffer that is not full, but not those before it.
    pieces = (
        [f"{n} {LONG[:5000]}" for n in range(20)] if proxy.config.buffers else ["0 "]
    )
    server.reply(
        [*pieces, "more"], stop=stop, stop_after=len(pieces), chunk_delay=0.005
    )

    with pytest.raises(CUT) as caught:
        async with proxied.chat.send(HELLO, stream=True) as stream:
            await stream.collect()

    assert caught.value.partial is not None
    assert caught.value.partial.text.startswith(pieces[0])
    assert not caught.value.partial.text.endswith("more")
    assert len(server.requests) == 1


@pytest.mark.parametrize("stop", ["close", "reset"])
async def test_plain_response_that_is_cut_off_is_an_error(
    server: LocalOpenRouter,
    proxied: AsyncOpenRouter,
    stop: Literal["close", "reset"],
) -> None:
    """The request is not repeated, because it may have been billed."""
    server.reply("hello " * 10, stop=stop, stop_at=100)

    with pytest.raises((APIConnectionError, MalformedResponseError, BadGatewayError)):
        await proxied.chat.send(HELLO, retries=Retries(max_attempts=1))

    assert len(server.requests) == 1


async def test_leaving_a_stream_disconnects_the_server(
    server: LocalOpenRouter, proxied: AsyncOpenRouter, proxy: Proxy
) -> None:
    silent: Any = (
        {"stop": "silence", "stop_after": 1} if proxy.config.reports_disconnect else {}
    )
    server.reply([LONG, *[LONG[:5000]] * 100], chunk_delay=0.03, **silent)

    async with proxied.chat.send(HELLO, stream=True) as stream:
        async for _ in stream:
            break
    left = time.monotonic()
    await server.until(closed=1)

    closed = server.requests[0].closed
    assert closed is not None
    assert closed - left < (0.1 if proxy.config.reports_disconnect else 1)
    assert proxied.stats.in_use == 0


async def test_cancelling_before_the_headers_disconnects_the_server(
    server: LocalOpenRouter, proxied: AsyncOpenRouter, proxy: Proxy
) -> None:
    server.reply(
        "late", delay=math.inf if proxy.config.reports_early_disconnect else 0.3
    )
    task = asyncio.create_task(proxied.chat.send(HELLO))
    await server.until(requests=1)
    task.cancel()
    await asyncio.wait([task])
    left = time.monotonic()

    assert task.cancelled()
    assert proxied.stats.in_use == 0
    if proxy.config.reports_early_disconnect:
        await server.until(closed=1)
        closed = server.requests[0].closed
        assert closed is not None
        assert closed - left < 0.1


@pytest.mark.parametrize(
    "name",
    [
        "nginx with keep-alive",
        "nginx, one request per connection",
        "haproxy with defaults",
        "haproxy, one request per connection",
    ],
)
async def test_200_concurrent_calls_get_their_own_responses(
    server: LocalOpenRouter,
    start_proxy: ProxyStarter,
    make_client: MakeClient,
    name: str,
) -> None:
    """Half of them are streams."""
    proxied = make_client(base_url=start_proxy(CONFIGS[name]).url)
    server.reply(lambda seen: seen.prompt, times=None)
    # The debug mode takes more time than the calls.
    asyncio.get_running_loop().set_debug(False)

    async def one(number: int) -> str:
        prompt = f"question {number}."
        if number % 2:
            return (await proxied.chat.send(request_for(prompt))).text
        async with proxied.chat.send(request_for(prompt), stream=True) as stream:
            return (await stream.collect()).text

    texts = await asyncio.gather(*map(one, range(200)))

    assert texts == [f"question {n}." for n in range(200)]
    assert len(server.requests) == 200


# --- errors of the proxy ----------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
async def test_error_page_of_nginx_is_described_by_its_title(
    start_proxy: ProxyStarter,
    make_client: MakeClient,
    closed_port: int,
    slept: list[float],
    stream: bool,
) -> None:
    """No server accepts connections behind the proxy; the 502 is retried."""
    proxy = start_proxy(UNBUFFERED, behind=closed_port)
    client = make_client(base_url=proxy.url)

    with pytest.raises(BadGatewayError) as caught:
        await client.chat.send(HELLO, stream=stream)

    assert caught.value.message == "an HTML page, '502 Bad Gateway', instead of JSON"
    assert "<" not in str(caught.value)
    assert [attempt.status for attempt in caught.value.attempts] == [502] * 3
    assert len(slept) == 2


async def test_error_page_of_haproxy_without_a_title_is_a_503(
    start_proxy: ProxyStarter, make_client: MakeClient, closed_port: int
) -> None:
    proxy = start_proxy(ABORTING, behind=closed_port)
    client = make_client(base_url=proxy.url)

    with pytest.raises(ServiceUnavailableError, match="an HTML page") as caught:
        await client.chat.send(HELLO)

    assert "<" not in str(caught.value)
    assert len(caught.value.attempts) == 3


async def test_413_that_nginx_sends_during_the_upload_is_raised(
    server: LocalOpenRouter, start_proxy: ProxyStarter, make_client: MakeClient
) -> None:
    config = ProxyConfig("nginx", location="client_max_body_size 10k;")
    client = make_client(base_url=start_proxy(config).url)

    with pytest.raises(PayloadTooLargeError, match="413 Request Entity Too Large"):
        await client.chat.send(request_for("x" * 3_000_000))

    assert server.requests == []


@pytest.mark.parametrize(
    "config",
    [
        ProxyConfig("nginx", location="proxy_read_timeout 100ms;"),
        ProxyConfig("haproxy", http="timeout server 100ms"),
    ],
    ids=["nginx", "haproxy"],
)
async def test_504_of_a_proxy_is_not_retried(
    server: LocalOpenRouter,
    start_proxy: ProxyStarter,
    make_client: MakeClient,
    config: ProxyConfig,
) -> None:
    """The model may still be running, and will be billed."""
    server.reply("late", delay=math.inf, times=None)
    client = make_client(base_url=start_proxy(config).url)

    with pytest.raises(GatewayTimeoutError, match="an HTML page") as caught:
        await client.chat.send(HELLO)

    assert len(server.requests) == 1
    assert not caught.value.retryable
    assert [attempt.billing for attempt in caught.value.attempts] == ["maybe"]


@pytest.mark.parametrize(
    "config",
    [
        ProxyConfig("nginx", location="proxy_buffering off; proxy_read_timeout 100ms;"),
        ProxyConfig("haproxy", http="timeout server 100ms"),
    ],
    ids=["nginx", "haproxy"],
)
async def test_stream_that_a_proxy_times_out_is_an_error(
    server: LocalOpenRouter,
    start_proxy: ProxyStarter,
    make_client: MakeClient,
    config: ProxyConfig,
) -> None:
    server.reply(["one ", "two"], stop="silence", stop_after=1)
    client = make_client(base_url=start_proxy(config).url)

    with pytest.raises(APIConnectionError) as caught:
        async with client.chat.send(HELLO, stream=True) as stream:
            await stream.collect()

    assert caught.value.partial is not None
    assert caught.value.partial.text == "one "


# --- reloads ----------------------------------------------------------------------

PROXIES: Final = {"nginx": UNBUFFERED, "haproxy": ABORTING}
IMPATIENT_PROXIES: Final = {
    "nginx": evolve(UNBUFFERED, main="worker_shutdown_timeout 50ms;"),
    "haproxy": evolve(ABORTING, main="hard-stop-after 50ms"),
}


async def reloaded(proxy: Proxy, client: AsyncOpenRouter) -> None:
    """Reload the proxy and wait until a new worker responds."""
    before = await worker(client)
    proxy.reload()
    async with asyncio.timeout(5):
        while await worker(client) == before:
            pass


async def worker(client: AsyncOpenRouter) -> str:
    """Return the worker of the proxy that forwards a call."""
    response = await client.chat.send(request_for("who?"))
    return response.http.headers["X-Worker"]


@pytest.mark.parametrize("program", PROXIES)
async def test_stream_continues_after_a_reload_of_the_proxy(
    server: LocalOpenRouter,
    start_proxy: ProxyStarter,
    make_client: MakeClient,
    program: str,
) -> None:
    """The old worker forwards the stream, and a new one takes the next calls."""
    sent = [f"{n} " for n in range(12)]
    server.reply(sent, when="count", chunk_delay=0.03)
    proxy = start_proxy(PROXIES[program])
    client = make_client(base_url=proxy.url)

    async with client.chat.send(request_for("count"), stream=True) as stream:
        first = await anext(aiter(stream))
        await reloaded(proxy, client)
        assert stream.partial is not None
        so_far = stream.partial.text
        response = await stream.collect()

    assert first.text == sent[0]
    assert len(so_far) < len(response.text)
    assert response.text == "".join(sent)
    assert len(server.requests) == len({seen.generation_id for seen in server.requests})


@pytest.mark.parametrize("program", IMPATIENT_PROXIES)
async def test_stream_that_a_reload_cuts_off_is_an_error(
    server: LocalOpenRouter,
    start_proxy: ProxyStarter,
    make_client: MakeClient,
    program: str,
) -> None:
    server.reply(["one ", "two"], when="count", stop="silence", stop_after=1)
    proxy = start_proxy(IMPATIENT_PROXIES[program])
    client = make_client(base_url=proxy.url)

    async with client.chat.send(request_for("count"), stream=True) as stream:
        await anext(aiter(stream))
        await reloaded(proxy, client)
        with pytest.raises(APIConnectionError) as caught:
            await stream.collect()

    assert caught.value.partial is not None
    assert caught.value.partial.text == "one "
    assert [seen.prompt for seen in server.requests].count("count") == 1


@pytest.mark.parametrize("program", PROXIES)
async def test_no_call_fails_during_reloads_of_the_proxy(
    server: LocalOpenRouter,
    start_proxy: ProxyStarter,
    make_client: MakeClient,
    program: str,
) -> None:
    """A reload closes connections in the pool."""
    proxy = start_proxy(PROXIES[program])
    client = make_client(base_url=proxy.url)
    is_over = asyncio.Event()
    workers: set[str] = set()
    calls = 0

    async def send_repeatedly() -> None:
        nonlocal calls
        while not is_over.is_set():
            workers.add(await worker(client))
            calls += 1

    async with asyncio.TaskGroup() as group:
        for _ in range(5):
            group.create_task(send_repeatedly())
        for _ in range(3):
            await asyncio.sleep(0.05)
            await reloaded(proxy, client)
        is_over.set()

    assert len(workers) >= 4
    assert calls > 20
    assert client.stats.in_use == 0


@pytest.mark.parametrize("program", PROXIES)
async def test_no_call_fails_after_a_reload_closed_the_pool(
    server: LocalOpenRouter,
    start_proxy: ProxyStarter,
    make_client: MakeClient,
    program: str,
) -> None:
    proxy = start_proxy(PROXIES[program])
    client = make_client(base_url=proxy.url)
    for _ in range(3):
        await asyncio.gather(*(worker(client) for _ in range(10)))
        await reloaded(proxy, client)

    assert client.stats.in_use == 0
    assert len(server.requests) >= 30


# --- TLS --------------------------------------------------------------------------


@pytest.fixture
async def secured(
    start_proxy: ProxyStarter, make_client: MakeClient, tmp_path: Path
) -> AsyncOpenRouter:
    """Return a client of an nginx with TLS and a private certificate authority."""
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    chain.write_bytes(b"".join(pem.bytes() for pem in certificate.cert_chain_pems))
    certificate.private_key_pem.write_to_path(key)
    lines = f"ssl_certificate {chain}; ssl_certificate_key {key};"
    context = tls.create_default_context()
    authority.configure_trust(context)  # pyright: ignore[reportUnknownMemberType]
    return make_client(
        base_url=start_proxy(UNBUFFERED, tls_lines=lines).url,
        ssl=context,
        timeouts=Timeouts(total=5),
    )


async def test_calls_work_through_a_proxy_that_terminates_tls(
    server: LocalOpenRouter, secured: AsyncOpenRouter
) -> None:
    server.reply(["one ", LONG], times=None)

    response = await secured.chat.send(HELLO)
    async with secured.chat.send(HELLO, stream=True) as stream:
        texts = [chunk.text async for chunk in stream if chunk.text]

    assert response.text == "one " + LONG
    assert texts == ["one ", LONG]


async def test_leaving_a_stream_over_tls_disconnects_the_server_at_once(
    server: LocalOpenRouter, secured: AsyncOpenRouter
) -> None:
    """The client does not wait for the closing message of TLS."""
    server.reply(["one ", "two"], stop="silence", stop_after=1)

    async with secured.chat.send(HELLO, stream=True) as stream:
        async for _ in stream:
            break
    left = time.monotonic()
    await server.until(closed=1)

    closed = server.requests[0].closed
    assert closed is not None
    assert closed - left < 0.1
    assert secured.stats.in_use == 0
