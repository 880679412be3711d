import json
import os
import signal
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from commands import ON_UNIX, free_port

from openrouter_async.cli.app import run
from openrouter_async.testing import LocalOpenRouter


def post(url: str, body: object) -> tuple[int, str]:
    request = urllib.request.Request(f"{url}/chat", json.dumps(body).encode())  # noqa: S310 - a URL of this machine
    try:
        with urllib.request.urlopen(request, timeout=20) as response:  # noqa: S310 - as above
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def prompt(text: str) -> dict[str, Any]:
    parts = [{"type": "text", "text": text}]
    return {"messages": [{"role": "user", "parts": parts}]}


@ON_UNIX
def test_web_demo_serves_a_page_and_its_chat(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("openrouter_async.cli.web_demo._CHUNK_DELAY", 0)
    monkeypatch.setattr("openrouter_async.cli.web_demo._TOOL_SECONDS", 0)
    url = f"http://127.0.0.1:{free_port()}"
    pages: list[str] = []
    responses: list[tuple[int, str]] = []

    def use() -> None:
        for _ in range(1000):
            try:
                with urllib.request.urlopen(url, timeout=5) as response:
                    pages.append(response.read().decode())
                break
            except OSError:
                time.sleep(0.01)
        for text in ("Hi", "The weather in Rome?", "Weather?", "a story", "an error"):
            responses.append(post(url, prompt(text)))
        responses.append(post(url, {"messages": 1}))
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=use)
    thread.start()
    code = run(["demo", "--web", "--port", url.rpartition(":")[2]])
    thread.join()

    out, err = capsys.readouterr()
    assert (code, out) == (0, f"{url}/\n")
    assert "Press Ctrl-C" in err
    assert "<title>openrouter_async demo</title>" in pages[0]
    assert [status for status, _ in responses] == [200, 200, 200, 200, 200, 400]
    hello, rome, paris, story, failed, _ = [data for _, data in responses]
    assert "event: done" in hello
    assert '"tool":"get_weather"' in rome
    assert '"reasoning":' in rome
    assert "Rome" in rome
    assert "Paris" in paris
    assert len(story) > 10_000
    assert "event: failure" in failed


def test_web_demo_reports_a_port_in_use(
    server: LocalOpenRouter, capsys: pytest.CaptureFixture[str]
) -> None:
    port = server.url.split(":")[2].partition("/")[0]

    assert run(["demo", "--web", "--port", port]) == 1
    assert "Address already in use. --port 0 takes a free port." in (
        capsys.readouterr().err
    )


def test_web_demo_uses_the_local_server_only(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["demo", "--web", "--live"]) == 2
    assert "--web and --live cannot be combined" in capsys.readouterr().err


def test_pages_read_events_with_the_same_function() -> None:
    """Each page is one file, to be copied as it is, so that both have a copy of it."""
    root = Path(__file__).parents[2]
    functions: set[str] = set()
    for page in ("docs/examples/relay_page.html", "openrouter_async/cli/web_demo.html"):
        text = (root / page).read_text()
        start = text.index("async function* readEvents(")
        functions.add(text[start : text.index("\n}\n", start)])

    assert len(functions) == 1
