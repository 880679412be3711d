"""The local server, used by other clients of OpenRouter: openai and the official SDK."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from openrouter_async.testing import LocalOpenRouter, StreamError, error_reply

# Warnings of other packages do not fail these tests.
pytestmark = pytest.mark.filterwarnings("default")

MODEL = "openai/gpt-4o-mini"
WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Return the weather.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}


def user(text: str) -> dict[str, Any]:
    """Return a user message."""
    return {"role": "user", "content": text}


@pytest.fixture
def server() -> Iterator[LocalOpenRouter]:
    with LocalOpenRouter(keys=["sk-or-v1-right"]) as started:
        yield started


class TestOpenAI:
    """The client of openai-python, with the base URL of the server."""

    @pytest.fixture
    def openai(self) -> Any:
        """Import the package, or skip the test."""
        return pytest.importorskip("openai", reason="openai is in the [interop] extra")

    def client(self, openai: Any, server: LocalOpenRouter, **options: Any) -> Any:
        """Create a client that does not retry."""
        usual = {"api_key": server.api_key, "max_retries": 0}
        return openai.AsyncOpenAI(base_url=server.url, **{**usual, **options})

    async def test_completion_is_read(
        self, openai: Any, server: LocalOpenRouter
    ) -> None:
        async with self.client(openai, server) as client:
            response = await client.chat.completions.create(
                model=MODEL, messages=[user("Hello")]
            )

        assert '"Hello"' in response.choices[0].message.content
        assert response.usage.total_tokens > 0
        assert response.id == server.requests[0].generation_id

    async def test_stream_is_read_with_usage(
        self, openai: Any, server: LocalOpenRouter
    ) -> None:
        async with self.client(openai, server) as client:
            stream = await client.chat.completions.create(
                model=MODEL, messages=[user("Hello")], stream=True
            )
            chunks = [chunk async for chunk in stream]

        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
        assert '"Hello"' in text
        assert chunks[-1].usage.total_tokens > 0
        assert len(chunks) == server.requests[0].chunks

    async def test_tool_calls_are_read(
        self, openai: Any, server: LocalOpenRouter
    ) -> None:
        """It reads a tool call, and the response to the result of the call."""
        messages: list[Any] = [user("What is the weather?")]
        async with self.client(openai, server) as client:
            create = client.chat.completions.create
            first = await create(model=MODEL, messages=messages, tools=[WEATHER])
            call = first.choices[0].message.tool_calls[0]
            messages.append(first.choices[0].message)
            messages.append(
                {"role": "tool", "tool_call_id": call.id, "content": "18 C"}
            )
            second = await create(model=MODEL, messages=messages, tools=[WEATHER])

        assert call.function.name == "get_weather"
        assert set(json.loads(call.function.arguments)) == {"city"}
        assert "18 C" in second.choices[0].message.content

    async def test_stream_helper_combines_tool_calls(
        self, openai: Any, server: LocalOpenRouter
    ) -> None:
        async with (
            self.client(openai, server) as client,
            client.chat.completions.stream(
                model=MODEL, messages=[user("Weather?")], tools=[WEATHER]
            ) as stream,
        ):
            final = await stream.get_final_completion()

        call = final.choices[0].message.tool_calls[0]
        assert set(json.loads(call.function.arguments)) == {"city"}

    async def test_parse_returns_a_value_of_its_schema(
        self, openai: Any, server: LocalOpenRouter
    ) -> None:
        pydantic = pytest.importorskip("pydantic", reason="openai brings pydantic")
        pet = pydantic.create_model("Pet", name=(str, ...), age=(int | None, ...))
        async with self.client(openai, server) as client:
            response = await client.chat.completions.parse(
                model=MODEL, messages=[user("A pet")], response_format=pet
            )

        parsed = response.choices[0].message.parsed
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
    async def test_status_raises_the_class_of_the_sdk(
        self, openai: Any, server: LocalOpenRouter, status: int, name: str
    ) -> None:
        server.reply(error_reply(status, "test message", error_type="x"))
        async with self.client(openai, server) as client:
            with pytest.raises(getattr(openai, name)) as caught:
                await client.chat.completions.create(model=MODEL, messages=[user("a")])

        assert caught.value.status_code == status
        assert "test message" in str(caught.value)

    async def test_wrong_key_raises_an_authentication_error(
        self, openai: Any, server: LocalOpenRouter
    ) -> None:
        async with self.client(openai, server, api_key="wrong") as client:
            with pytest.raises(openai.AuthenticationError, match="User not found"):
                await client.chat.completions.create(model=MODEL, messages=[user("a")])

    async def test_retry_after_in_milliseconds_is_respected(
        self, openai: Any, server: LocalOpenRouter
    ) -> None:
        server.reply(error_reply(429, retry_after=0.01, hints="header_ms")).then(
            "hello"
        )
        async with self.client(openai, server, max_retries=1) as client:
            response = await client.chat.completions.create(
                model=MODEL, messages=[user("a")]
            )

        assert response.choices[0].message.content == "hello"
        assert len(server.requests) == 2

    async def test_error_in_a_stream_is_raised_after_the_chunks_before_it(
        self, openai: Any, server: LocalOpenRouter
    ) -> None:
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

    async def test_reset_before_the_headers_raises_a_connection_error(
        self, openai: Any, server: LocalOpenRouter
    ) -> None:
        server.reply(stop="reset")
        async with self.client(openai, server) as client:
            with pytest.raises(openai.APIConnectionError):
                await client.chat.completions.create(model=MODEL, messages=[user("a")])

    async def test_models_are_listed(
        self, openai: Any, server: LocalOpenRouter
    ) -> None:
        async with self.client(openai, server) as client:
            listed = [model.id async for model in client.models.list()]

        assert MODEL in listed


class TestOfficialSDK:
    """OpenRouter's own Python SDK, with the URL of the server."""

    @pytest.fixture
    def openrouter(self) -> Any:
        """Import the package, or skip the test."""
        return pytest.importorskip(
            "openrouter", reason="openrouter is in the [interop] extra"
        )

    def client(self, openrouter: Any, server: LocalOpenRouter, **options: Any) -> Any:
        """Create a client."""
        usual = {"api_key": server.api_key}
        return openrouter.OpenRouter(server_url=server.url, **{**usual, **options})

    async def test_completion_is_read(
        self, openrouter: Any, server: LocalOpenRouter
    ) -> None:
        async with self.client(openrouter, server) as client:
            response = await client.chat.send_async(
                model=MODEL, messages=[user("Hello")], reasoning={"effort": "low"}
            )

        assert '"Hello"' in response.choices[0].message.content
        assert response.choices[0].message.reasoning
        assert response.usage.total_tokens > 0

    def test_synchronous_client_reads_a_completion(
        self, openrouter: Any, server: LocalOpenRouter
    ) -> None:
        """The server runs in a thread of its own."""
        with self.client(openrouter, server) as client:
            response = client.chat.send(model=MODEL, messages=[user("Hello")])

        assert '"Hello"' in response.choices[0].message.content

    async def test_stream_is_read_with_usage(
        self, openrouter: Any, server: LocalOpenRouter
    ) -> None:
        async with self.client(openrouter, server) as client:
            stream = await client.chat.send_async(
                model=MODEL, messages=[user("Hello")], stream=True
            )
            chunks = [chunk async for chunk in stream]

        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
        assert '"Hello"' in text
        assert chunks[-1].usage.total_tokens > 0

    async def test_tool_calls_are_read(
        self, openrouter: Any, server: LocalOpenRouter
    ) -> None:
        async with self.client(openrouter, server) as client:
            params = {
                "model": MODEL,
                "messages": [user("Weather?")],
                "tools": [WEATHER],
            }
            response = await client.chat.send_async(**params)
            stream = await client.chat.send_async(**params, stream=True)
            deltas: list[Any] = [chunk.choices[0].delta async for chunk in stream]

        call = response.choices[0].message.tool_calls[0]
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
    async def test_status_raises_the_class_of_the_sdk(
        self, openrouter: Any, server: LocalOpenRouter, status: int, name: str
    ) -> None:
        from openrouter import errors  # noqa: PLC0415 - there only if it is installed

        server.reply(error_reply(status, "test message"))
        async with self.client(openrouter, server) as client:
            with pytest.raises(getattr(errors, name)) as caught:
                await client.chat.send_async(model=MODEL, messages=[user("a")])

        assert caught.value.status_code == status
        assert "test message" in str(caught.value)

    async def test_models_and_credits_are_accepted(
        self, openrouter: Any, server: LocalOpenRouter
    ) -> None:
        async with self.client(openrouter, server) as client:
            models = await client.models.list_async()
            account = await client.credits.get_credits_async()

        assert MODEL in [model.id for model in models.result.data]
        assert account.data.total_credits == 100
