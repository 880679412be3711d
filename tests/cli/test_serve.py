import asyncio
import os
import re
import signal
import socket
import threading
import time
from typing import Any

import pytest
from commands import ON_UNIX, free_port, post, start

from openrouter_async import AsyncOpenRouter, UserMessage
from openrouter_async.cli.app import run
from openrouter_async.testing import LocalOpenRouter


@ON_UNIX
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("quiet", [False, True])
def test_serve_responds_and_logs_until_a_signal(
    capsys: pytest.CaptureFixture[str], number: signal.Signals, *, quiet: bool
) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}/api/v1"
    message = {"role": "user", "content": "hi"}
    body = {"model": "a/b", "messages": [message]}
    responses: list[tuple[int, bytes]] = []

    def send_requests() -> None:
        while True:
            try:
                responses.append(post(url, "sesame", body))
                break
            except OSError:
                time.sleep(0.01)
        responses.append(post(url, "sesame", {**body, "stream": True}))
        responses.append(post(url, "sesame", {**body, "model": "other"}))
        responses.append(post(url, "wrong", body))
        with socket.create_connection(("127.0.0.1", port)) as client:
            # A request whose body is not sent, with a path that would colour the log.
            client.sendall(b"POST /%1b[31m HTTP/1.1\r\nHost: x\r\n")
            client.sendall(b"Content-Length: 9\r\n\r\n")
            time.sleep(0.05)
        time.sleep(0.05)
        os.kill(os.getpid(), number)

    thread = threading.Thread(target=send_requests)
    thread.start()
    options = [
        "--key",
        "sesame",
        "--model",
        "a/b",
        "--delay",
        "0.01",
        "--chunk-delay",
        "0",
    ]
    code = run(["serve", "-p", f"{port}", *options, *["--quiet"] * quiet])
    thread.join()

    out, err = capsys.readouterr()
    assert code == 0
    assert out == f"{url}\n"
    assert [status for status, _ in responses] == [200, 200, 400, 401]
    assert responses[1][1].endswith(b"data: [DONE]\n\n")
    assert f"export OPENROUTER_BASE_URL={url}\n" in err
    assert "export OPENROUTER_API_KEY=sesame\n" in err
    assert re.search(
        r"\nStopped after \d requests; OpenRouter would have charged \$0.0000\d\d\.\n$",
        err,
    )
    lines = [re.sub(r"[\d:]{8}|[\d.]+ m?s", "*", line) for line in err.splitlines()]
    logged = [line for line in lines if line.startswith("*")]
    if quiet:
        assert logged == []
    else:
        chunks = responses[1][1].count(b"data: {")
        assert logged == [
            "*  200  POST /api/v1/chat/completions  a/b  *",
            f"*  200  POST /api/v1/chat/completions  a/b  {chunks} chunks  *",
            "*  400  POST /api/v1/chat/completions  other  *",
            "*  401  POST /api/v1/chat/completions  a/b  *",
            "*  ---  POST /[31m  *  client disconnected",
        ]


@ON_UNIX
def test_serve_logs_a_client_that_disconnects() -> None:
    process = start("serve", "--port", "0", "--chunk-delay", "30")
    assert process.stdout is not None
    url = process.stdout.readline().strip()

    async def disconnect() -> None:
        body: Any = {"model": "m", "messages": [UserMessage("hi")]}
        async with (
            AsyncOpenRouter("key", base_url=url) as client,
            client.chat.send(body, stream=True),
        ):
            pass

    asyncio.run(disconnect())
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)

    out, err = process.communicate(timeout=20)
    assert process.returncode == 0
    assert out == ""
    assert re.search(r"  ---  POST \S+  m  \d chunks?  .*  client disconnected\n", err)
    assert "Traceback" not in err
    assert "Warning" not in err


def test_port_in_use_is_reported_with_a_hint(
    server: LocalOpenRouter, capsys: pytest.CaptureFixture[str]
) -> None:
    port = server.url.split(":")[2].partition("/")[0]

    assert run(["serve", "--port", port]) == 1
    assert capsys.readouterr().err == (
        f"error: cannot listen on 127.0.0.1:{port}: Address already in use. "
        "--port 0 takes a free port.\n"
    )


def test_unusable_host_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["serve", "--host", "192.0.2.1"]) == 1
    assert run(["serve", "--host", "no host"]) == 1

    first, second = capsys.readouterr().err.splitlines()
    assert "192.0.2.1" in first
    assert "no host" in second
    assert "--port 0" not in first + second
