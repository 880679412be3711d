from openrouter_async import AsyncOpenRouter, UserMessage
from openrouter_async.testing import (
    LocalOpenRouter,
)

pytest_plugins = ["openrouter_async.testing.pytest_plugin"]


async def test_an_application_is_tested_unchanged(
    openrouter_server: LocalOpenRouter,
) -> None:
    """A client made without arguments talks to the local server."""
    openrouter_server.reply("from here")

    async with AsyncOpenRouter() as client:
        reply = await client.chat.send(model="m", messages=[UserMessage("hi")])

    assert reply.text == "from here"
    assert openrouter_server.requests[0].prompt == "hi"


async def test_a_client_is_at_hand(
    openrouter_server: LocalOpenRouter, openrouter_client: AsyncOpenRouter
) -> None:
    """It streams from the server, and its pool ends with the loop."""
    openrouter_server.reply(["a", "b"])

    async with openrouter_client.chat.send(
        model="m", messages=[UserMessage("hi")], stream=True
    ) as stream:
        assert [chunk.text async for chunk in stream if chunk.text] == ["a", "b"]
