"""aiohttp's exceptions, and the errors they become."""

import asyncio
import traceback

import pytest

from openrouter_async import AsyncOpenRouter, MalformedResponseError, UserMessage


@pytest.mark.parametrize(
    "received",
    [
        b"The diagnosis is private.\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nThe diagnosis is private\r\n\r\n",
        b"HTTP/1.1 diagnosis private\r\n\r\n",
    ],
)
async def test_error_about_invalid_http_quotes_nothing_of_the_response(
    received: bytes,
) -> None:
    async def respond(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(received)
        writer.close()

    server = await asyncio.start_server(respond, "127.0.0.1")
    port = server.sockets[0].getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    async with server, AsyncOpenRouter("any", base_url=url) as client:
        with pytest.raises(MalformedResponseError) as caught:
            await client.chat.send(messages=[UserMessage("hi")])

    error = caught.value
    assert "is not valid HTTP: " in error.message
    shown = "".join(traceback.format_exception(error)) + f"{error} {error.cause}"
    assert "diagnosis" not in shown.replace(received.decode(), "")
    assert "private" not in shown
