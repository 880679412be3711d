"""Real reverse proxies, nginx and HAProxy, in front of the local server."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

import pytest
from attrs import define, frozen

from openrouter_async import (
    ChatGenerationParams,
    UserMessage,
)
from openrouter_async.testing import LocalOpenRouter

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


def port_of(origin: str) -> int:
    return int(origin.rpartition(":")[2])


def request_for(prompt: str) -> ChatGenerationParams:
    return ChatGenerationParams(model="m", messages=[UserMessage(prompt)])
