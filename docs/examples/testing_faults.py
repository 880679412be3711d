"""Check how a program behaves when the server fails."""

import asyncio

import pytest

from openrouter_async import (
    APIConnectionError,
    AsyncOpenRouter,
    BadGatewayError,
    StreamInterruptedError,
    UserMessage,
)
from openrouter_async.testing import (
    LocalOpenRouter,
    StreamError,
    completion,
    error_in_200,
    error_reply,
    tool_call,
)

HELLO = [UserMessage("Hi")]


async def read(client: AsyncOpenRouter) -> None:
    async with client.chat.send(model="m", messages=HELLO, stream=True) as stream:
        await stream.collect()


async def main() -> None:
    async with (
        LocalOpenRouter() as server,
        AsyncOpenRouter(api_key="any", base_url=server.url) as client,
    ):
        # A rate limit, then a response with a tool call.
        server.reply(error_reply(429, retry_after=0)).then(
            completion(tool_calls=[tool_call("add", {"a": 1, "b": 2})])
        )
        response = await client.chat.send(model="m", messages=HELLO)
        assert response.tool_calls[0].parse() == {"a": 1, "b": 2}
        assert [attempt.status for attempt in response.http.attempts] == [429, 200]

        # An error in responses with status 200.
        server.reply(error_in_200(code=502), times=3)
        with pytest.raises(BadGatewayError) as bad_gateway:
            await client.chat.send(model="m", messages=HELLO)
        assert len(bad_gateway.value.attempts) == 3

        # Connections that are reset before the response, which may have been billed.
        # A pooled connection may have been closed before the request arrived, so the
        # request is sent again once, on a new connection.
        server.reply(stop="reset", times=2)
        with pytest.raises(APIConnectionError) as reset:
            await client.chat.send(model="m", messages=HELLO)
        assert reset.value.attempts[-1].billing == "maybe"

        # A stream that ends without a finish reason, and one that ends with an error.
        server.reply(["one ", "two ", "three"], stop="end", stop_after=2)
        with pytest.raises(StreamInterruptedError) as interrupted:
            await read(client)
        assert interrupted.value.partial is not None
        assert interrupted.value.partial.text == "one two "

        server.reply(["one ", "two "], error=StreamError(code=502), error_after=1)
        with pytest.raises(BadGatewayError):
            await read(client)

        print(len(server.requests), "requests")


asyncio.run(main())
