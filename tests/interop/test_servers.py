"""The client, used with other OpenAI-compatible servers: stubllm and fakellm."""

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

TEXT: Final = "This text is sent by the server of another project, word by word."
ARGUMENTS: Final = {"city": "Oslo", "unit": "celsius"}
REJECTED: Final = "The prompt is not acceptable."

# The configuration of each server, in its own format.
STUBLLM: Final[Any] = {
    "fixtures": [
        {"name": "any", "match": {}, "response": {"content": TEXT}},
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
            "response": {"http_status": 400, "error_message": REJECTED},
        },
        {
            "name": "busy",
            "match": {"messages": [{"role": "user", "content": {"contains": "busy"}}]},
            "sequence": [
                {"http_status": 429, "error_message": "Slow down."},
                {"content": TEXT},
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
            "respond": {"status": 400, "error": REJECTED},
        },
        {"name": "any", "respond": {"content": TEXT}},
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
    """Start each of the servers in its own process and return its base URL."""
    name: str = request.param
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} is not installed (it is in the [interop] extra)")
    configuration, options = SERVERS[name]
    folder = tmp_path_factory.mktemp(name)
    file = folder / "configuration.json"
    file.write_text(json.dumps(configuration))
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
    # The script of the command, because its folder may not be in PATH.
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
    """Wait until the server accepts connections."""
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
async def client(url: str, clock: Clock) -> AsyncIterator[AsyncOpenRouter]:
    """Return a client of the server; only its base URL differs from OpenRouter."""
    async with AsyncOpenRouter(api_key="sk-any", base_url=url, clock=clock) as client:
        yield client


def request_for(prompt: str, **fields: Any) -> ChatGenerationParams:
    return ChatGenerationParams(
        model="gpt-4o-mini", messages=[UserMessage(prompt)], **fields
    )


async def test_completion_of_a_foreign_server_is_read(client: AsyncOpenRouter) -> None:
    response = await client.chat.send(request_for("Hello"))

    assert response.text == TEXT
    assert response.finish_reason == "stop"
    assert response.model == "gpt-4o-mini"
    assert response.usage.total_tokens is not None
    assert response.usage.total_tokens > 0
    assert response.http.status == 200
    assert response.http.generation_id == response.id


async def test_stream_of_a_foreign_server_equals_its_plain_response(
    client: AsyncOpenRouter,
) -> None:
    async with client.chat.send(request_for("Hello"), stream=True) as stream:
        texts = [chunk.text async for chunk in stream if chunk.text]
    plain = await client.chat.send(request_for("Hello"))

    assert len(texts) > 5
    assert "".join(texts) == TEXT
    assert stream.response.message.as_request() == plain.message.as_request()
    assert stream.response.finish_reason == "stop"


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
async def test_tool_call_of_a_foreign_server_is_read(
    client: AsyncOpenRouter,
    stream: bool,
) -> None:
    tool = FunctionTool({"name": "get_weather", "parameters": {"type": "object"}})
    params = request_for("Will it rain?", tools=[tool])
    if stream:
        async with client.chat.send(params, stream=True) as opened:
            response = await opened.collect()
    else:
        response = await client.chat.send(params)

    (call,) = response.tool_calls
    assert call.id.startswith("call_")
    assert call.function.name == "get_weather"
    assert json.loads(call.function.arguments) == ARGUMENTS


async def test_next_call_succeeds_after_leaving_a_stream(
    client: AsyncOpenRouter,
) -> None:
    async with client.chat.send(request_for("Hello"), stream=True) as stream:
        async for chunk in stream:
            if chunk.text:
                break

    assert stream.partial is not None
    assert TEXT.startswith(stream.partial.text)
    assert (await client.chat.send(request_for("Hello"))).text == TEXT
    assert client.stats.in_use == 0


async def test_error_in_the_format_of_openai_is_raised_with_its_message(
    client: AsyncOpenRouter, slept: list[float]
) -> None:
    with pytest.raises(BadRequestError, match=REJECTED) as caught:
        await client.chat.send(request_for("A bad prompt"))

    assert caught.value.status_code == 400
    assert len(caught.value.attempts) == 1
    assert slept == []


async def test_404_in_an_unknown_format_raises_not_found(
    client: AsyncOpenRouter,
) -> None:
    """The web framework of the server sends it."""
    with pytest.raises(NotFoundError, match="Not Found"):
        await client.request("GET", "/no/such/thing")


async def test_429_of_a_foreign_server_is_retried(
    client: AsyncOpenRouter, slept: list[float], request: pytest.FixtureRequest
) -> None:
    """Only stubllm can be configured to send a 429 once."""
    busy = [429] if "stubllm" in request.node.name else []
    response = await client.chat.send(request_for("Are you busy?"))

    assert response.text == TEXT
    assert [attempt.status for attempt in response.http.attempts] == [*busy, 200]
    assert len(slept) == len(busy)
