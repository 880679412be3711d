"""
Frameworks that use OpenRouterTransport: openai and five libraries on top of it.

Not all can be installed together: instructor and LlamaIndex need an older openai than
pydantic-ai. .ci/run runs these tests in two environments.
"""

import asyncio
import gc
import importlib
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing
from typing import Any, Protocol

import pytest
from support import MakeClient, until

from openrouter_async import CallRecord, Retries, ToolCall
from openrouter_async.adapters.httpx import OpenRouterTransport
from openrouter_async.testing import (
    LocalOpenRouter,
    StreamError,
    completion,
    error_reply,
)
from openrouter_async.types import ToolCallFunction

# Warnings of other packages do not fail these tests.
pytestmark = pytest.mark.filterwarnings("default")

MODEL = "openai/gpt-4o-mini"
# Neither is used: the transport has a client with its own.
URL = "https://unused.example/v1"
KEY = "unused"


class Library(Protocol):
    """A library that sends the prompt "hi" through a transport."""

    async def complete(self) -> str:
        """Return the text of a response."""
        ...

    def stream(self) -> AsyncIterator[str]:
        """Return the texts of a stream."""
        ...


def module(name: str) -> Any:
    """Import a module, or skip the test."""
    return pytest.importorskip(
        name, reason=f"{name} is in the extra [interop] or [interop-old]"
    )


def openai_client(transport: OpenRouterTransport) -> Any:
    openai = module("openai")
    return openai.AsyncOpenAI(
        api_key=KEY, base_url=URL, max_retries=0, http_client=http_client(transport)
    )


def http_client(transport: OpenRouterTransport) -> Any:
    """Return a client of the package that the installed openai uses."""
    openai = module("openai")
    package = "httpx2" if int(openai.__version__.split(".")[0]) >= 3 else "httpx"
    return importlib.import_module(package).AsyncClient(transport=transport)


class OpenAI:
    """The client of openai-python."""

    def __init__(self, transport: OpenRouterTransport) -> None:
        self.create = openai_client(transport).chat.completions.create
        self.fields = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}]}

    async def complete(self) -> str:
        response = await self.create(**self.fields)
        return str(response.choices[0].message.content)

    async def stream(self) -> AsyncIterator[str]:
        async with await self.create(**self.fields, stream=True) as stream:
            async for chunk in stream:
                yield chunk.choices[0].delta.content or ""


class PydanticAI:
    """An agent of pydantic-ai, with the provider for an openai client."""

    def __init__(self, transport: OpenRouterTransport) -> None:
        pydantic_ai = module("pydantic_ai")
        model = module("pydantic_ai.models.openai").OpenAIChatModel(
            MODEL, provider=self.provider(transport)
        )
        self.agent = pydantic_ai.Agent(model)

    def provider(self, transport: OpenRouterTransport) -> Any:
        provider = module("pydantic_ai.providers.openai").OpenAIProvider
        return provider(openai_client=openai_client(transport))

    async def complete(self) -> str:
        return str((await self.agent.run("hi")).output)

    async def stream(self) -> AsyncIterator[str]:
        async with self.agent.run_stream("hi") as result:
            async for text in result.stream_text(delta=True, debounce_by=None):
                yield text


class PydanticAIOpenRouter(PydanticAI):
    """An agent of pydantic-ai, with the provider for OpenRouter."""

    def provider(self, transport: OpenRouterTransport) -> Any:
        provider = module("pydantic_ai.providers.openrouter").OpenRouterProvider
        return provider(api_key=KEY, http_client=http_client(transport))


class LangChain:
    """A chat model of LangChain."""

    def __init__(self, transport: OpenRouterTransport) -> None:
        self.model = module("langchain_openai").ChatOpenAI(
            model=MODEL,
            api_key=KEY,
            base_url=URL,
            max_retries=0,
            http_async_client=http_client(transport),
        )

    async def complete(self) -> str:
        return str((await self.model.ainvoke("hi")).content)

    async def stream(self) -> AsyncIterator[str]:
        async with aclosing(self.model.astream("hi")) as stream:
            async for chunk in stream:
                yield str(chunk.content)


class OpenAIAgents:
    """An agent of OpenAI Agents, with its model for chat completions."""

    def __init__(self, transport: OpenRouterTransport) -> None:
        self.agents = module("agents")
        self.agents.set_tracing_disabled(disabled=True)
        model = self.agents.OpenAIChatCompletionsModel(
            model=MODEL, openai_client=openai_client(transport)
        )
        self.agent = self.agents.Agent(name="test", model=model)

    async def complete(self) -> str:
        result = await self.agents.Runner.run(self.agent, "hi")
        return str(result.final_output)

    async def stream(self) -> AsyncIterator[str]:
        result = self.agents.Runner.run_streamed(self.agent, "hi")
        try:
            async for event in result.stream_events():
                if event.type == "raw_response_event" and (
                    event.data.type == "response.output_text.delta"
                ):
                    yield event.data.delta
        finally:
            # The agent runs in a task of its own.
            result.cancel()


class Instructor:
    """A client of instructor; the structured output is checked by a test below."""

    def __init__(self, transport: OpenRouterTransport) -> None:
        self.client = module("instructor").from_openai(openai_client(transport))
        self.fields = {
            "model": MODEL,
            "messages": [{"role": "user", "content": "hi"}],
            "response_model": None,
            "max_retries": 1,
        }

    async def complete(self) -> str:
        response = await self.client.chat.completions.create(**self.fields)
        return str(response.choices[0].message.content)

    async def stream(self) -> AsyncIterator[str]:
        stream = await self.client.chat.completions.create(**self.fields, stream=True)
        async with stream:
            async for chunk in stream:
                yield chunk.choices[0].delta.content or ""


class LlamaIndex:
    """A language model of LlamaIndex."""

    def __init__(self, transport: OpenRouterTransport) -> None:
        llms = module("llama_index.core.llms")
        self.messages = [llms.ChatMessage(role="user", content="hi")]
        self.model = module("llama_index.llms.openai_like").OpenAILike(
            model=MODEL,
            api_key=KEY,
            api_base=URL,
            is_chat_model=True,
            max_retries=0,
            async_http_client=http_client(transport),
        )

    async def complete(self) -> str:
        return str((await self.model.achat(self.messages)).message.content)

    async def stream(self) -> AsyncIterator[str]:
        async with aclosing(await self.model.astream_chat(self.messages)) as stream:
            async for response in stream:
                yield response.delta or ""


LIBRARIES: list[Callable[[OpenRouterTransport], Library]] = [
    OpenAI,
    PydanticAI,
    PydanticAIOpenRouter,
    LangChain,
    OpenAIAgents,
    Instructor,
    LlamaIndex,
]


@pytest.fixture
def transport(make_client: MakeClient) -> OpenRouterTransport:
    return OpenRouterTransport(make_client(retries=Retries(max_attempts=1)))


@pytest.fixture(params=LIBRARIES)
def library(request: pytest.FixtureRequest, transport: OpenRouterTransport) -> Library:
    made: Library = request.param(transport)
    return made


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an exception, and those that it was raised from or during."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def of_openai(error: BaseException, name: str) -> Any:
    """Return openai's exception, of which each library makes its own."""
    kind = getattr(module("openai"), name)
    (found, *_) = [each for each in chain(error) if isinstance(each, kind)]
    return found


async def tasks_end() -> None:
    """Wait until a library has ended its tasks; openai 2 leaves a generator open."""
    gc.collect()
    # The event loop starts a task for it in its next iteration.
    await asyncio.sleep(0.01)
    await until(lambda: asyncio.all_tasks() == {asyncio.current_task()})


async def test_call_returns_the_text(library: Library, server: LocalOpenRouter) -> None:
    server.reply("hello")

    assert await library.complete() == "hello"
    (seen,) = server.requests
    assert seen.headers["Authorization"] == f"Bearer {server.api_key}"
    assert seen.headers["User-Agent"].startswith("openrouter_async/")
    assert seen.json["model"] == MODEL


async def test_stream_returns_the_texts(
    library: Library, server: LocalOpenRouter, records: list[CallRecord]
) -> None:
    server.reply(["hel", "lo"], chunk_delay=0.01)
    texts = [text async for text in library.stream()]

    assert [text for text in texts if text] == ["hel", "lo"]
    assert server.requests[0].headers["Authorization"] == f"Bearer {server.api_key}"
    # The library read it to its end, and the connection is free for the next call.
    assert [record.outcome for record in records] == ["ok"]
    await tasks_end()


async def test_cancelled_stream_closes_the_upstream(
    library: Library, server: LocalOpenRouter
) -> None:
    server.reply(["a"] * 10_000, chunk_delay=0.1)
    received = asyncio.Event()

    async def read() -> None:
        stream: Any = library.stream()
        async with aclosing(stream) as texts:
            async for text in texts:
                if text:
                    received.set()

    task = asyncio.create_task(read())
    async with asyncio.timeout(60):
        await received.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    await server.until(closed=1, timeout=15)
    await tasks_end()


async def test_rate_limit_is_raised_with_its_time_to_wait(
    library: Library, server: LocalOpenRouter
) -> None:
    server.reply(error_reply(429, "slow down"), headers={"Retry-After": "7"})

    with pytest.raises(Exception, match="slow down") as caught:
        await library.complete()

    error = of_openai(caught.value, "RateLimitError")
    assert error.response.headers["Retry-After"] == "7"
    assert len(server.requests) == 1


async def test_error_in_a_stream_is_raised_after_the_texts_before_it(
    library: Library, server: LocalOpenRouter
) -> None:
    server.reply(["par", "tial"], error=StreamError(message="gone"), error_after=2)
    texts: list[str] = []
    with pytest.raises(Exception, match="gone") as caught:  # noqa: PT012 - reads on
        async for text in library.stream():
            texts.append(text)

    assert of_openai(caught.value, "APIError")
    assert "".join(texts) == "partial"


async def test_structured_output_of_instructor(
    transport: OpenRouterTransport, server: LocalOpenRouter
) -> None:
    pydantic = module("pydantic")
    city = pydantic.create_model("City", name=(str, ...))
    called = ToolCall("c", function=ToolCallFunction("City", '{"name":"Rome"}'))
    server.reply(completion(tool_calls=[called.as_request()]))

    found = await Instructor(transport).client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": "hi"}],
        response_model=city,
    )

    assert found.name == "Rome"


async def test_tool_of_pydantic_ai_is_called(
    transport: OpenRouterTransport, server: LocalOpenRouter
) -> None:
    agent = PydanticAI(transport).agent

    @agent.tool_plain  # type: ignore[untyped-decorator,unused-ignore]
    def get_weather(city: str) -> str:  # pyright: ignore[reportUnusedFunction]
        return f"sunny in {city}"

    arguments = json.dumps({"city": "Rome"})
    called = ToolCall("c", function=ToolCallFunction("get_weather", arguments))
    server.reply(completion(tool_calls=[called.as_request()])).then("done")

    result = await agent.run("hi")

    assert result.output == "done"
    assert server.requests[1].json["messages"][-1]["content"] == "sunny in Rome"
