"""Our client, pointed at OpenAI-compatible servers that nobody here wrote."""

import importlib.util
import json
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from openrouter_async import (
    AsyncOpenRouter,
    BadRequestError,
    ChatGenerationParams,
    FunctionTool,
    NotFoundError,
    UserMessage,
)
from openrouter_async.testing import Clock

SAID: Final = "Nobody here wrote the server that says this: it is a stub."
ARGUMENTS: Final = {"city": "Oslo", "unit": "celsius"}
REFUSED: Final = "The prompt is not to its taste."

# What each of them is told to say, in its own words.
STUBLLM: Final[Any] = {
    "fixtures": [
        {"name": "any", "match": {}, "response": {"content": SAID}},
        {
            "name": "weather",
            "match": {"messages": [{"role": "user", "content": {"contains": "rain"}}]},
            "response": {
                "tool_calls": [
                    {
                        "id": "call_1",
                        "type": "function",
                        "function": {
                            "name": "get_weather",
                            "arguments": json.dumps(ARGUMENTS),
                        },
                    }
                ]
            },
        },
        {
            "name": "bad",
            "match": {"messages": [{"role": "user", "content": {"contains": "bad"}}]},
            "response": {"http_status": 400, "error_message": REFUSED},
        },
        {
            "name": "busy",
            "match": {"messages": [{"role": "user", "content": {"contains": "busy"}}]},
            "sequence": [
                {"http_status": 429, "error_message": "Slow down."},
                {"content": SAID},
            ],
        },
    ]
}
FAKELLM: Final[Any] = {
    "rules": [
        {
            "name": "weather",
            "when": {"messages_contain": "rain"},
            "respond": {
                "tool_calls": [{"name": "get_weather", "arguments": ARGUMENTS}]
            },
        },
        {
            "name": "bad",
            "when": {"messages_contain": "bad"},
            "respond": {"status": 400, "error": REFUSED},
        },
        {"name": "any", "respond": {"content": SAID}},
    ]
}
SERVERS: Final[dict[str, tuple[Any, list[str]]]] = {
    "stubllm": (STUBLLM, ["--fixture-file", "{file}", "--log-level", "warning"]),
    "fakellm": (FAKELLM, ["--config", "{file}"]),
}


@pytest.fixture(scope="module", params=SERVERS)
def url(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """Start each of them in a process of its own; tell its base URL."""
    name: str = request.param
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} is not installed (it is in the [interop] extra)")
    said, options = SERVERS[name]
    folder = tmp_path_factory.mktemp(name)
    file = folder / "said.json"
    file.write_text(json.dumps(said))
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
    # The command's own script, which may stand in no PATH.
    command = [str(Path(sys.executable).with_name(name)), "serve", "--port", f"{port}"]
    command += [option.format(file=file) for option in options]
    output = folder / "output"
    with output.open("wb") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder
        )
    try:
        wait_for(port, process, output)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait(10)


def wait_for(port: int, process: "subprocess.Popen[bytes]", output: Path) -> None:
    """Wait until somebody listens there."""
    end = time.monotonic() + 30
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            assert process.poll() is None, output.read_text()
            assert time.monotonic() < end, output.read_text()
            time.sleep(0.02)
        else:
            return


@pytest.fixture
async def foreign(url: str, clock: Clock) -> AsyncIterator[AsyncOpenRouter]:
    """A client of it; only the base URL tells it apart from OpenRouter."""
    async with AsyncOpenRouter(api_key="sk-any", base_url=url, clock=clock) as client:
        yield client


def ask(prompt: str, **more: Any) -> ChatGenerationParams:
    return ChatGenerationParams(
        model="gpt-4o-mini", messages=[UserMessage(prompt)], **more
    )


async def test_it_completes(foreign: AsyncOpenRouter) -> None:
    """A completion is read, with its bill and its finish reason."""
    reply = await foreign.chat.send(ask("Hello"))

    assert reply.text == SAID
    assert reply.finish_reason == "stop"
    assert reply.model == "gpt-4o-mini"
    assert reply.usage.total_tokens is not None
    assert reply.usage.total_tokens > 0
    assert reply.http.status == 200
    assert reply.http.generation_id == reply.id


async def test_it_streams(foreign: AsyncOpenRouter) -> None:
    """Chunks are read as they come, and fold to what a plain call brings."""
    async with foreign.chat.send(ask("Hello"), stream=True) as stream:
        texts = [chunk.text async for chunk in stream if chunk.text]
    plain = await foreign.chat.send(ask("Hello"))

    assert len(texts) > 5
    assert "".join(texts) == SAID
    assert stream.response.message.as_request() == plain.message.as_request()
    assert stream.response.finish_reason == "stop"


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
async def test_it_calls_tools(
    foreign: AsyncOpenRouter,
    stream: bool,
) -> None:
    """A tool call is put together, however it is cut."""
    tool = FunctionTool({"name": "get_weather", "parameters": {"type": "object"}})
    params = ask("Will it rain?", tools=[tool])
    if stream:
        async with foreign.chat.send(params, stream=True) as opened:
            reply = await opened.collect()
    else:
        reply = await foreign.chat.send(params)

    (call,) = reply.tool_calls
    assert call.id.startswith("call_")
    assert call.function.name == "get_weather"
    assert json.loads(call.function.arguments) == ARGUMENTS


async def test_leaving_a_stream_leaves_the_client_usable(
    foreign: AsyncOpenRouter,
) -> None:
    """A stream that is left after its first words is no trouble for the next call."""
    async with foreign.chat.send(ask("Hello"), stream=True) as stream:
        async for chunk in stream:
            if chunk.text:
                break

    assert stream.partial is not None
    assert SAID.startswith(stream.partial.text)
    assert (await foreign.chat.send(ask("Hello"))).text == SAID
    assert foreign.stats.in_use == 0


async def test_it_refuses(foreign: AsyncOpenRouter, slept: list[float]) -> None:
    """OpenAI's envelope is our typed error, with the server's words."""
    with pytest.raises(BadRequestError, match=REFUSED) as caught:
        await foreign.chat.send(ask("A bad prompt"))

    assert caught.value.status_code == 400
    assert len(caught.value.attempts) == 1
    assert slept == []


async def test_what_it_does_not_know_is_not_found(foreign: AsyncOpenRouter) -> None:
    """The 404 of its web framework, in no envelope that we know, is typed too."""
    with pytest.raises(NotFoundError, match="Not Found"):
        await foreign.request("GET", "/no/such/thing")


async def test_it_is_asked_again(
    foreign: AsyncOpenRouter, slept: list[float], request: pytest.FixtureRequest
) -> None:
    """A 429 is sent again; only one of them can be told to be busy just once."""
    busy = [429] if "stubllm" in request.node.name else []
    reply = await foreign.chat.send(ask("Are you busy?"))

    assert reply.text == SAID
    assert [attempt.status for attempt in reply.http.attempts] == [*busy, 200]
    assert len(slept) == len(busy)
