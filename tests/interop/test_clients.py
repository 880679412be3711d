"""Clients that nobody here wrote, pointed at the local server."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from openrouter_async.testing import LocalOpenRouter, StreamError, error_reply

# Third-party code warns as it likes; this module only asks whether it works.
pytestmark = pytest.mark.filterwarnings("default")

MODEL = "openai/gpt-4o-mini"
WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Tell the weather.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}


def user(text: str) -> dict[str, Any]:
    """Write a user's message."""
    return {"role": "user", "content": text}


@pytest.fixture
def server() -> Iterator[LocalOpenRouter]:
    with LocalOpenRouter(keys=["sk-or-v1-right"]) as started:
        yield started


class TestOpenAI:
    """openai-python, its base URL changed."""

    @pytest.fixture
    def openai(self) -> Any:
        """Import it, or skip."""
        return pytest.importorskip("openai", reason="openai is in the [interop] extra")

    def client(self, openai: Any, server: LocalOpenRouter, **options: Any) -> Any:
        """Make a client of the server that sends once."""
        usual = {"api_key": server.api_key, "max_retries": 0}
        return openai.AsyncOpenAI(base_url=server.url, **{**usual, **options})

    async def test_it_completes(self, openai: Any, server: LocalOpenRouter) -> None:
        """A completion is read, the bill too."""
        async with self.client(openai, server) as client:
            reply = await client.chat.completions.create(
                model=MODEL, messages=[user("Hello")]
            )

        assert '"Hello"' in reply.choices[0].message.content
        assert reply.usage.total_tokens > 0
        assert reply.id == server.requests[0].generation_id

    async def test_it_streams(self, openai: Any, server: LocalOpenRouter) -> None:
        """A stream is read to its end, usage included."""
        async with self.client(openai, server) as client:
            stream = await client.chat.completions.create(
                model=MODEL, messages=[user("Hello")], stream=True
            )
            chunks = [chunk async for chunk in stream]

        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
        assert '"Hello"' in text
        assert chunks[-1].usage.total_tokens > 0
        assert len(chunks) == server.requests[0].chunks

    async def test_it_calls_tools(self, openai: Any, server: LocalOpenRouter) -> None:
        """A tool call, its result, and the answer to that."""
        turns: list[Any] = [user("What is the weather?")]
        async with self.client(openai, server) as client:
            create = client.chat.completions.create
            first = await create(model=MODEL, messages=turns, tools=[WEATHER])
            call = first.choices[0].message.tool_calls[0]
            turns.append(first.choices[0].message)
            turns.append({"role": "tool", "tool_call_id": call.id, "content": "18 C"})
            second = await create(model=MODEL, messages=turns, tools=[WEATHER])

        assert call.function.name == "get_weather"
        assert set(json.loads(call.function.arguments)) == {"city"}
        assert "18 C" in second.choices[0].message.content

    async def test_its_helper_gathers_a_stream(
        self, openai: Any, server: LocalOpenRouter
    ) -> None:
        """The accumulator of its own puts tool calls together."""
        async with (
            self.client(openai, server) as client,
            client.chat.completions.stream(
                model=MODEL, messages=[user("Weather?")], tools=[WEATHER]
            ) as stream,
        ):
            final = await stream.get_final_completion()

        call = final.choices[0].message.tool_calls[0]
        assert set(json.loads(call.function.arguments)) == {"city"}

    async def test_it_parses_structured_output(
        self, openai: Any, server: LocalOpenRouter
    ) -> None:
        """Its `parse` finds what its own schema asks for."""
        pydantic = pytest.importorskip("pydantic", reason="openai brings pydantic")
        pet = pydantic.create_model("Pet", name=(str, ...), age=(int | None, ...))
        async with self.client(openai, server) as client:
            reply = await client.chat.completions.parse(
                model=MODEL, messages=[user("A pet")], response_format=pet
            )

        parsed = reply.choices[0].message.parsed
        assert isinstance(parsed.name, str)
        assert isinstance(parsed.age, int)

    @pytest.mark.parametrize(
        ("status", "name"),
        [
            (400, "BadRequestError"),
            (403, "PermissionDeniedError"),
            (404, "NotFoundError"),
            (422, "UnprocessableEntityError"),
            (429, "RateLimitError"),
            (500, "InternalServerError"),
        ],
    )
    async def test_it_raises_its_own_errors(
        self, openai: Any, server: LocalOpenRouter, status: int, name: str
    ) -> None:
        """Each status is the class that it has for it, with the server's words."""
        server.reply(error_reply(status, "no luck", error_type="x"))
        async with self.client(openai, server) as client:
            with pytest.raises(getattr(openai, name)) as caught:
                await client.chat.completions.create(model=MODEL, messages=[user("a")])

        assert caught.value.status_code == status
        assert "no luck" in str(caught.value)

    async def test_a_wrong_key_is_refused(
        self, openai: Any, server: LocalOpenRouter
    ) -> None:
        """The 401 is its authentication error."""
        async with self.client(openai, server, api_key="wrong") as client:
            with pytest.raises(openai.AuthenticationError, match="User not found"):
                await client.chat.completions.create(model=MODEL, messages=[user("a")])

    async def test_it_retries_as_it_is_told(
        self, openai: Any, server: LocalOpenRouter
    ) -> None:
        """It reads the hint in milliseconds and comes back."""
        server.reply(error_reply(429, retry_after=0.01, hints="header_ms")).then(
            "hello"
        )
        async with self.client(openai, server, max_retries=1) as client:
            reply = await client.chat.completions.create(
                model=MODEL, messages=[user("a")]
            )

        assert reply.choices[0].message.content == "hello"
        assert len(server.requests) == 2

    async def test_an_error_in_a_stream_is_raised(
        self, openai: Any, server: LocalOpenRouter
    ) -> None:
        """What had arrived was read, then comes its error."""
        server.reply(["par", "tial"], error=StreamError(message="gone"), error_after=2)
        texts: list[str] = []
        async with self.client(openai, server) as client:
            stream = await client.chat.completions.create(
                model=MODEL, messages=[user("a")], stream=True
            )
            with pytest.raises(openai.APIError, match="gone"):  # noqa: PT012 - reads on
                async for chunk in stream:
                    texts.append(chunk.choices[0].delta.content)

        assert texts == ["par", "tial"]

    async def test_a_dead_connection_is_its_connection_error(
        self, openai: Any, server: LocalOpenRouter
    ) -> None:
        """A reset before the headers is what it says it is."""
        server.reply(stop="reset")
        async with self.client(openai, server) as client:
            with pytest.raises(openai.APIConnectionError):
                await client.chat.completions.create(model=MODEL, messages=[user("a")])

    async def test_it_lists_models(self, openai: Any, server: LocalOpenRouter) -> None:
        """The list of models is one to it."""
        async with self.client(openai, server) as client:
            listed = [model.id async for model in client.models.list()]

        assert MODEL in listed


class TestOfficialSDK:
    """OpenRouter's own Python SDK, its server URL changed."""

    @pytest.fixture
    def openrouter(self) -> Any:
        """Import it, or skip."""
        return pytest.importorskip(
            "openrouter", reason="openrouter is in the [interop] extra"
        )

    def client(self, openrouter: Any, server: LocalOpenRouter, **options: Any) -> Any:
        """Make a client of the server."""
        usual = {"api_key": server.api_key}
        return openrouter.OpenRouter(server_url=server.url, **{**usual, **options})

    async def test_it_completes(self, openrouter: Any, server: LocalOpenRouter) -> None:
        """A completion is read, by its strict models."""
        async with self.client(openrouter, server) as client:
            reply = await client.chat.send_async(
                model=MODEL, messages=[user("Hello")], reasoning={"effort": "low"}
            )

        assert '"Hello"' in reply.choices[0].message.content
        assert reply.choices[0].message.reasoning
        assert reply.usage.total_tokens > 0

    def test_it_completes_without_a_loop(
        self, openrouter: Any, server: LocalOpenRouter
    ) -> None:
        """The synchronous client is served by the server's own thread."""
        with self.client(openrouter, server) as client:
            reply = client.chat.send(model=MODEL, messages=[user("Hello")])

        assert '"Hello"' in reply.choices[0].message.content

    async def test_it_streams(self, openrouter: Any, server: LocalOpenRouter) -> None:
        """A stream is read to its end, comments skipped, usage included."""
        async with self.client(openrouter, server) as client:
            stream = await client.chat.send_async(
                model=MODEL, messages=[user("Hello")], stream=True
            )
            chunks = [chunk async for chunk in stream]

        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
        assert '"Hello"' in text
        assert chunks[-1].usage.total_tokens > 0

    async def test_it_calls_tools(
        self, openrouter: Any, server: LocalOpenRouter
    ) -> None:
        """Tool calls are read, plain and streamed."""
        async with self.client(openrouter, server) as client:
            asked = {"model": MODEL, "messages": [user("Weather?")], "tools": [WEATHER]}
            reply = await client.chat.send_async(**asked)
            stream = await client.chat.send_async(**asked, stream=True)
            deltas: list[Any] = [chunk.choices[0].delta async for chunk in stream]

        call = reply.choices[0].message.tool_calls[0]
        assert set(json.loads(call.function.arguments)) == {"city"}
        pieces: list[Any] = [
            piece for delta in deltas for piece in delta.tool_calls or list[Any]()
        ]
        joined = "".join(piece.function.arguments or "" for piece in pieces)
        assert joined == call.function.arguments

    @pytest.mark.parametrize(
        ("status", "name"),
        [
            (400, "BadRequestResponseError"),
            (401, "UnauthorizedResponseError"),
            (402, "PaymentRequiredResponseError"),
            (429, "TooManyRequestsResponseError"),
        ],
    )
    async def test_it_raises_its_own_errors(
        self, openrouter: Any, server: LocalOpenRouter, status: int, name: str
    ) -> None:
        """Each status is the class that it has for it, with the server's words."""
        from openrouter import errors  # noqa: PLC0415 - there only if it is installed

        server.reply(error_reply(status, "no luck"))
        async with self.client(openrouter, server) as client:
            with pytest.raises(getattr(errors, name)) as caught:
                await client.chat.send_async(model=MODEL, messages=[user("a")])

        assert caught.value.status_code == status
        assert "no luck" in str(caught.value)

    async def test_it_reads_the_other_endpoints(
        self, openrouter: Any, server: LocalOpenRouter
    ) -> None:
        """Its strict models accept the list of models and the credits."""
        async with self.client(openrouter, server) as client:
            models = await client.models.list_async()
            credit = await client.credits.get_credits_async()

        assert MODEL in [model.id for model in models.result.data]
        assert credit.data.total_credits == 100
