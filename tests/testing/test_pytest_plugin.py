from openrouter_async import AsyncOpenRouter, UserMessage
from openrouter_async.testing import LocalOpenRouter

pytest_plugins = ["openrouter_async.testing.pytest_plugin"]


async def test_server_fixture_sets_the_environment_of_default_clients(
    openrouter_server: LocalOpenRouter,
) -> None:
    openrouter_server.reply("from here")

    async with AsyncOpenRouter() as client:
        response = await client.chat.send(model="m", messages=[UserMessage("hi")])

    assert response.text == "from here"
    assert openrouter_server.requests[0].prompt == "hi"


async def test_client_fixture_streams_from_the_server(
    openrouter_server: LocalOpenRouter, openrouter_client: AsyncOpenRouter
) -> None:
    openrouter_server.reply(["a", "b"])

    async with openrouter_client.chat.send(
        model="m", messages=[UserMessage("hi")], stream=True
    ) as stream:
        assert [chunk.text async for chunk in stream if chunk.text] == ["a", "b"]
