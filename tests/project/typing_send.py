"""The types of `send` and its options, checked by type checkers and run."""

from typing import Any, assert_type

from openrouter_async import (
    AsyncOpenRouter,
    BatchResult,
    BatchRun,
    ChatGenerationParams,
    ChatResponse,
    ChatStream,
    ChatStreamingResponseChunk,
    RateLimitError,
    Retries,
    Timeouts,
    UserMessage,
)


async def example() -> None:
    """The first example of the documentation."""
    async with AsyncOpenRouter() as client:  # key from OPENROUTER_API_KEY
        response = await client.chat.send(
            model="openai/gpt-4o-mini", messages=[UserMessage("Hello")]
        )
        print(response.text, response.usage.cost, response.http.generation_id)  # noqa: T201 - as in the documentation

        async with client.chat.send(
            model="openai/gpt-4o-mini",
            messages=[{"role": "user", "content": "Hi"}],
            stream=True,
        ) as stream:
            async for chunk in stream:
                print(chunk.text, end="", flush=True)  # noqa: T201 - as in the documentation
        print(stream.response.usage)  # noqa: T201 - as in the documentation


async def overloads(client: AsyncOpenRouter, *, flag: bool) -> None:
    """The result of each overload of `send`, awaited and entered."""
    params = ChatGenerationParams(model="m", messages=[UserMessage("hi")])
    mapping: dict[str, Any] = {"model": "m", "messages": [UserMessage("hi")]}
    messages = [UserMessage("hi")]

    assert_type(await client.chat.send(params), ChatResponse)
    assert_type(await client.chat.send(mapping, stream=False), ChatResponse)
    assert_type(await client.chat.send(messages=messages), ChatResponse)

    streamed = await client.chat.send(params, stream=True)
    assert_type(streamed, ChatStream)
    async with client.chat.send(params, stream=True) as entered:
        assert_type(entered, ChatStream)
    async with await client.chat.send(mapping, stream=True) as awaited:
        assert_type(awaited, ChatStream)
        async for chunk in awaited:
            assert_type(chunk, ChatStreamingResponseChunk)
            assert_type(chunk.text, str)
        assert_type(awaited.response, ChatResponse)
        assert_type(awaited.partial, ChatResponse | None)
    assert_type(await streamed.collect(), ChatResponse)

    either = await client.chat.send(params, stream=flag)
    assert_type(either, ChatResponse | ChatStream)
    if isinstance(either, ChatStream):
        await either.aclose()


async def options(client: AsyncOpenRouter) -> None:
    """Each option of a call, with each of its types."""

    async def get_key() -> str:
        return "key"

    params = ChatGenerationParams(model="m", messages=[UserMessage("hi")])
    await client.chat.send(
        params,
        temperature=0.5,
        timeouts=5,
        retries=Retries(max_attempts=2),
        api_key="key",
        extra_headers={"X-A": "a"},
        extra_query={"a": 1},
        extra_body={"b": None},
    )
    await client.chat.send(params, timeouts=Timeouts(total=1.5), api_key=lambda: "key")
    await client.chat.send(params, timeouts=0.9, api_key=get_key, base_url=None)
    other = client.with_options(timeouts=3, retries=Retries(), headers={"X-A": "b"})
    assert_type(other, AsyncOpenRouter)
    assert_type(await other.request("GET", "/models"), Any)
    async with other.chat.send_many(["a"], model="m", temperature=0.5) as run:
        assert_type(run, BatchRun[None])
        async for result in run:
            assert_type(result.response, ChatResponse | None)
    async with other.chat.send_many(iter([params]), output=list[int]) as numbers:
        async for number in numbers:
            assert_type(number, BatchResult[list[int]])
            assert_type(number.output, list[int] | None)
    try:
        await other.chat.send(params)
    except RateLimitError as error:
        assert_type(error.retry_after, float | None)
        assert_type(error.partial, ChatResponse | None)
