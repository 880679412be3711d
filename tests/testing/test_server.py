"""The local server: what it answers, what it can be told, what it tells."""

import asyncio
import json
import re
import socket
import ssl
import threading
import time
from collections.abc import AsyncIterator
from typing import Any, Literal

import aiohttp
import aiohttp.web
import jsonschema  # type: ignore[import-untyped]
import pytest
import trustme

from openrouter_async import AsyncOpenRouter, UserMessage
from openrouter_async.testing import (
    LocalOpenRouter,
    Reply,
    SeenRequest,
    StreamError,
    chunks,
    completion,
    error_in_200,
    error_reply,
    generation_id,
    tool_call,
)
from openrouter_async.testing.counters import Condition, ServerCounters
from openrouter_async.testing.error_replies import ErrorIn200Form, ErrorShape
from openrouter_async.testing.reply import (
    ErrorForm,
    FaultFields,
    ReplyFields,
    Stop,
    UsageForm,
)
from openrouter_async.testing.reply_writer import close_transport
from openrouter_async.testing.schema_examples import example_value

pytest_plugins = ["openrouter_async.testing.pytest_plugin"]

HELLO = {
    "model": "openai/gpt-4o-mini",
    "messages": [{"role": "user", "content": "Hello"}],
}
STREAM = {**HELLO, "stream": True}
GENERATION_ID = re.compile(r"gen-\d{10}-[A-Za-z0-9]{20}")
CITY: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city"],
}
WEATHER = {"type": "function", "function": {"name": "get_weather", "parameters": CITY}}
CLOCK = {"type": "function", "function": {"name": "clock"}}


@pytest.fixture
async def server() -> AsyncIterator[LocalOpenRouter]:
    async with LocalOpenRouter() as started:
        yield started


@pytest.fixture
async def http(server: LocalOpenRouter) -> AsyncIterator[aiohttp.ClientSession]:
    headers = {"Authorization": f"Bearer {server.api_key}"}
    async with aiohttp.ClientSession(
        headers=headers, base_url=f"{server.url}/"
    ) as http:
        yield http


async def ask(http: aiohttp.ClientSession, **fields: Any) -> dict[str, Any]:
    """Send a plain request; return the body of its reply."""
    async with http.post("chat/completions", json={**HELLO, **fields}) as response:
        return dict(json.loads(await response.read()))


async def read(http: aiohttp.ClientSession, **fields: Any) -> bytes:
    """Send a request for a stream; return its bytes."""
    async with http.post("chat/completions", json={**STREAM, **fields}) as response:
        return await response.read()


def parse(stream: bytes) -> list[dict[str, Any]]:
    """Read the events of a stream, comments and `[DONE]` aside."""
    lines = [line[6:] for line in stream.split(b"\n\n") if line.startswith(b"data: ")]
    return [json.loads(line) for line in lines if line != b"[DONE]"]


def text_of(events: list[dict[str, Any]]) -> str:
    """Add up the content of a stream."""
    deltas = [choice["delta"] for event in events for choice in event["choices"]]
    return "".join(delta.get("content") or "" for delta in deltas)


class TestOwnAnswers:
    """What comes without a script."""

    async def test_a_completion_refers_to_the_prompt(
        self, server: LocalOpenRouter, http: aiohttp.ClientSession
    ) -> None:
        """The reply has the shape of 2026, speaks of the prompt, and is billed."""
        async with http.post("chat/completions", json=HELLO) as response:
            body = json.loads(await response.read())

        assert response.status == 200
        assert response.content_type == "application/json"
        assert response.headers["Transfer-Encoding"] == "chunked"
        assert GENERATION_ID.fullmatch(body["id"])
        assert response.headers["X-Generation-Id"] == body["id"]
        assert server.requests[0].generation_id == body["id"]
        assert '"Hello"' in body["choices"][0]["message"]["content"]
        assert body["choices"][0]["finish_reason"] == "stop"
        assert (body["model"], body["provider"]) == (HELLO["model"], "OpenAI")
        usage = body["usage"]
        assert (
            usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
        )
        assert 0 < usage["cost"] < 0.001
        assert server.stats.cost == usage["cost"]

    async def test_the_same_request_has_the_same_answer(
        self, http: aiohttp.ClientSession
    ) -> None:
        """Only the id and the time differ between two equal requests."""
        first, second = await ask(http), await ask(http)

        assert first["id"] != second["id"]
        same = {"id": "", "created": 0}
        assert {**first, **same} == {**second, **same}

    async def test_a_stream_is_the_plain_answer_in_pieces(
        self, http: aiohttp.ClientSession
    ) -> None:
        """Comments, deltas with a role each, the finish repeated with usage, `[DONE]`."""
        plain = await ask(http)
        stream = await read(http)
        events = parse(stream)

        assert stream.startswith(b": OPENROUTER PROCESSING\n\n")
        assert stream.endswith(b"data: [DONE]\n\n")
        assert text_of(events) == plain["choices"][0]["message"]["content"]
        assert {e["choices"][0]["delta"]["role"] for e in events} == {"assistant"}
        assert len({e["id"] for e in events}) == 1
        finishes = [e["choices"][0]["finish_reason"] for e in events]
        assert finishes == [None] * (len(events) - 2) + ["stop", "stop"]
        assert [e["usage"] for e in events if "usage" in e] == [plain["usage"]]

    async def test_a_stream_has_the_headers_that_were_recorded(
        self, http: aiohttp.ClientSession
    ) -> None:
        """The media type has no charset, and the id is there before any byte."""
        async with http.post("chat/completions", json=STREAM) as response:
            first = parse(await response.read())[0]

        assert response.headers["Content-Type"] == "text/event-stream"
        assert response.headers["Cache-Control"] == "no-cache"
        assert response.headers["X-Generation-Id"] == first["id"]

    @pytest.mark.parametrize(
        ("choice", "prompt", "called"),
        [
            ("auto", "Hello", ["get_weather"]),
            ("required", "Hello", ["get_weather"]),
            ("none", "Hello", []),
            ({"type": "function", "function": {"name": "clock"}}, "Hello", ["clock"]),
            ("auto", "Ask the clock", ["clock"]),
            ("auto", "Get weather and clock", ["get_weather", "clock"]),
        ],
    )
    async def test_tools_are_called(
        self,
        http: aiohttp.ClientSession,
        choice: object,
        prompt: str,
        called: list[str],
    ) -> None:
        """A user's message with tools is answered by calls whose arguments fit."""
        body = await ask(
            http,
            tools=[WEATHER, CLOCK, {"type": "openrouter:web_search"}],
            tool_choice=choice,
            messages=[{"role": "user", "content": prompt}],
        )
        answer = body["choices"][0]
        calls = answer["message"].get("tool_calls", [])

        assert [call["function"]["name"] for call in calls] == called
        assert len({call["id"] for call in calls}) == len(calls)
        assert [call["index"] for call in calls] == list(range(len(calls)))
        assert answer["finish_reason"] == ("tool_calls" if called else "stop")
        assert (answer["message"]["content"] is None) == bool(called)
        for call in calls:
            arguments = json.loads(call["function"]["arguments"])
            if call["function"]["name"] == "get_weather":
                jsonschema.validate(arguments, CITY)

    async def test_parallel_calls_can_be_refused(
        self, http: aiohttp.ClientSession
    ) -> None:
        """`parallel_tool_calls: false` leaves one call."""
        body = await ask(
            http,
            tools=[WEATHER, CLOCK],
            parallel_tool_calls=False,
            messages=[{"role": "user", "content": "clock and get_weather"}],
        )

        assert len(body["choices"][0]["message"]["tool_calls"]) == 1

    async def test_tool_calls_stream_in_fragments(
        self, http: aiohttp.ClientSession
    ) -> None:
        """The fragments of the arguments add up to those of the plain reply."""
        events = parse(await read(http, tools=[WEATHER]))
        fragments = [
            call
            for event in events
            for call in event["choices"][0]["delta"].get("tool_calls", [])
        ]

        assert fragments[0]["function"] == {"name": "get_weather", "arguments": ""}
        assert fragments[0]["type"] == "function"
        joined = "".join(f["function"]["arguments"] for f in fragments)
        jsonschema.validate(json.loads(joined), CITY)
        assert events[-1]["choices"][0]["finish_reason"] == "tool_calls"

    async def test_a_tool_result_is_answered_in_words(
        self, http: aiohttp.ClientSession
    ) -> None:
        """After the result of a tool comes a text that has it."""
        turns = [
            {"role": "user", "content": "Weather?"},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [tool_call("get_weather")],
            },
            {"role": "tool", "tool_call_id": "call_get_weather_0", "content": "18 C"},
        ]
        body = await ask(http, tools=[WEATHER], messages=turns)

        assert "18 C" in body["choices"][0]["message"]["content"]
        assert body["choices"][0]["finish_reason"] == "stop"

    async def test_structured_output_fits_its_schema(
        self, http: aiohttp.ClientSession
    ) -> None:
        """`json_schema` is answered with JSON that a validator accepts."""
        schema = CITY
        wanted = {"type": "json_schema", "json_schema": {"name": "w", "schema": schema}}
        body = await ask(http, response_format=wanted)

        jsonschema.validate(
            json.loads(body["choices"][0]["message"]["content"]), schema
        )

    async def test_a_json_object_is_one(self, http: aiohttp.ClientSession) -> None:
        """`json_object` is answered with a JSON object that refers to the prompt."""
        body = await ask(http, response_format={"type": "json_object"})

        assert "Hello" in json.loads(body["choices"][0]["message"]["content"])["answer"]

    @pytest.mark.parametrize(
        ("fields", "shown", "counted"),
        [
            ({"reasoning": {"effort": "low"}}, True, True),
            ({"reasoning_effort": "high"}, True, True),
            ({"include_reasoning": True}, True, True),
            ({"reasoning": {"enabled": True, "exclude": True}}, False, True),
            ({"reasoning": {"effort": "none"}}, False, False),
            ({"reasoning": {"enabled": False}}, False, False),
            ({}, False, False),
        ],
    )
    async def test_reasoning_comes_when_asked_for(
        self,
        http: aiohttp.ClientSession,
        fields: dict[str, Any],
        shown: object,
        counted: object,
    ) -> None:
        """It is told in both forms, and billed even where it is hidden."""
        body = await ask(http, **fields)
        message, usage = body["choices"][0]["message"], body["usage"]

        assert bool(message["reasoning"]) == shown
        assert ("reasoning_details" in message) == shown
        assert bool(usage["completion_tokens_details"]["reasoning_tokens"]) == counted
        total = usage["prompt_tokens"] + usage["completion_tokens"]
        assert usage["total_tokens"] == total

    async def test_reasoning_streams_before_the_content(
        self, http: aiohttp.ClientSession
    ) -> None:
        """Pieces of reasoning come first, then a signature without text."""
        model = "anthropic/claude-haiku-4.5"
        events = parse(await read(http, model=model, reasoning={"effort": "low"}))
        deltas = [event["choices"][0]["delta"] for event in events]
        details = [
            d["reasoning_details"][0] for d in deltas if "reasoning_details" in d
        ]

        assert "Hello" in "".join(d.get("text", "") for d in details)
        assert details[-1] == {
            "type": "reasoning.text",
            "signature": "c2lnbmVk",
            "format": "anthropic-claude-v1",
            "index": 0,
        }
        first_word = next(i for i, d in enumerate(deltas) if d["content"])
        assert all("reasoning_details" not in d for d in deltas[first_word:])

    async def test_limits_are_obeyed(self, http: aiohttp.ClientSession) -> None:
        """`max_tokens` cuts with "length"; `stop` cuts with "stop"."""
        short = (await ask(http, max_tokens=3))["choices"][0]
        stopped = (await ask(http, stop="Hello"))["choices"][0]
        listed = (await ask(http, stop=["nowhere", ""]))["choices"][0]

        assert (short["message"]["content"], short["finish_reason"]) == (
            "You wrote:",
            "length",
        )
        assert stopped["message"]["content"] == 'You wrote: "'
        assert stopped["finish_reason"] == listed["finish_reason"] == "stop"

    async def test_other_wishes_are_granted(self, http: aiohttp.ClientSession) -> None:
        """Images, sound, odds and the router's metadata come when asked for."""
        headers = {"X-OpenRouter-Metadata": "enabled"}
        wishes = {**HELLO, "modalities": ["image", "audio"], "logprobs": True}
        async with http.post(
            "chat/completions", json=wishes, headers=headers
        ) as response:
            body = json.loads(await response.read())
        deltas = [
            event["choices"][0]
            for event in parse(await read(http, modalities=["image"], logprobs=True))
        ]

        message = body["choices"][0]["message"]
        assert message["images"][0]["image_url"]["url"].startswith("data:image/png")
        assert message["audio"]["transcript"] == message["content"]
        odds = body["choices"][0]["logprobs"]["content"]
        assert "".join(entry["token"] for entry in odds) == message["content"]
        assert body["openrouter_metadata"]["requested"] == HELLO["model"]
        assert any("images" in choice["delta"] for choice in deltas)
        assert deltas[0]["logprobs"]["content"][0]["token"] == "You"

    @pytest.mark.parametrize(
        ("content", "quoted"),
        [
            ([{"type": "text", "text": "Look"}, {"type": "image_url"}], '"Look"'),
            ([], "Hello from"),
            (None, "Hello from"),
        ],
    )
    async def test_any_content_is_answered(
        self, http: aiohttp.ClientSession, content: object, quoted: str
    ) -> None:
        """Parts are read for their text; without text there is an answer too."""
        body = await ask(http, messages=[{"role": "user", "content": content}, "odd"])

        assert quoted in body["choices"][0]["message"]["content"]

    async def test_a_request_without_a_model_gets_one(
        self, http: aiohttp.ClientSession
    ) -> None:
        """The first of `models`, or the default; a free one costs an integer zero."""
        fallback = await ask(http, model=None, models=["meta-llama/llama:free", "b"])
        default = await ask(http, model=None)

        assert fallback["model"] == "meta-llama/llama:free"
        assert fallback["usage"]["cost"] == 0
        assert default["model"] == "openai/gpt-4o-mini"

    async def test_a_very_long_answer_has_few_chunks(
        self, server: LocalOpenRouter, http: aiohttp.ClientSession
    ) -> None:
        """A text of a million characters does not take a million events."""
        text = "word " * 40_000
        server.reply(text)

        events = parse(await read(http))

        assert text_of(events) == text
        assert len(events) < 2100


class TestRefusals:
    """What is refused, in the words that were recorded."""

    @pytest.mark.parametrize(
        ("headers", "message"),
        [
            ({}, "Missing Authentication header"),
            ({"Authorization": "Bearer "}, "Missing Authentication header"),
            ({"Authorization": "Basic YTpi"}, "Missing Authentication header"),
            ({"Authorization": "Bearer wrong"}, "User not found."),
        ],
    )
    async def test_a_key_is_needed(self, headers: dict[str, str], message: str) -> None:
        """Without an accepted key there is a 401 without an id, script or not."""
        async with (
            LocalOpenRouter(keys=["right"]) as server,
            aiohttp.ClientSession() as http,
        ):
            server.reply("not for you")
            url = f"{server.url}/chat/completions"
            async with http.post(url, json=HELLO, headers=headers) as response:
                body = json.loads(await response.read())

            assert response.status == 401
            assert body == {"error": {"message": message, "code": 401}}
            assert "X-Generation-Id" not in response.headers
            assert server.api_key == "right"

    @pytest.mark.parametrize(
        ("data", "message"),
        [
            (b"no json", "Input must have at least 1 token."),
            (b"[]", "Input must have at least 1 token."),
            (b"{}", 'Input required: specify "prompt" or "messages"'),
            (b'{"messages":[]}', 'Input required: specify "prompt" or "messages"'),
            (b'{"messages":"hi"}', "messages: Invalid input: expected array"),
        ],
    )
    async def test_a_broken_request_is_a_400(
        self,
        server: LocalOpenRouter,
        http: aiohttp.ClientSession,
        data: bytes,
        message: str,
    ) -> None:
        """What is no chat request is refused before it has an id."""
        server.reply()
        for _scripted in (True, False):
            async with http.post("chat/completions", data=data) as response:
                body = json.loads(await response.read())

            assert response.status == 400
            assert body["error"]["message"] == message
            assert "X-Generation-Id" not in response.headers

    async def test_models_can_be_named(self) -> None:
        """With `models=`, any other is a 400 that has an id, and `/models` lists them."""
        async with (
            LocalOpenRouter(models=["a/b"]) as server,
            aiohttp.ClientSession(headers={"Authorization": "Bearer k"}) as http,
        ):
            url = f"{server.url}/chat/completions"
            async with http.post(url, json=HELLO) as response:
                body = json.loads(await response.read())
            async with http.get(f"{server.url}/models") as listed:
                models = json.loads(await listed.read())["data"]

            assert response.status == 400
            assert "is not a valid model ID" in body["error"]["message"]
            assert "X-Generation-Id" in response.headers
            assert [model["id"] for model in models] == ["a/b"]

    @pytest.mark.parametrize(
        ("method", "path", "status"),
        [
            ("GET", "chat/completions", 405),
            ("POST", "key", 405),
            ("GET", "nothing", 404),
        ],
    )
    async def test_other_roads_are_closed(
        self, http: aiohttp.ClientSession, method: str, path: str, status: int
    ) -> None:
        """A wrong method is a 405, an unknown path a 404, both in the envelope."""
        async with http.request(method, path) as response:
            body = json.loads(await response.read())

        assert response.status == status
        assert body["error"]["code"] == status


class TestOtherEndpoints:
    """Models, key, credits, generation."""

    async def test_models_need_no_key(self, server: LocalOpenRouter) -> None:
        """The list of models is public, its prices are strings."""
        async with (
            aiohttp.ClientSession() as http,
            http.get(f"{server.url}/models") as r,
        ):
            body = json.loads(await r.read())

        assert body["total_count"] == len(body["data"]) > 1
        assert body["data"][0]["pricing"]["prompt"] == "0.0000001500"

    async def test_what_was_spent_is_told(
        self, server: LocalOpenRouter, http: aiohttp.ClientSession
    ) -> None:
        """Key and credits count what the answers cost."""
        cost = (await ask(http))["usage"]["cost"]
        async with http.get("key") as response:
            key = json.loads(await response.read())["data"]
        async with http.get("credits") as response:
            credit = json.loads(await response.read())["data"]

        assert key["usage"] == credit["total_usage"] == cost
        assert key["limit_remaining"] == key["limit"] - cost
        assert server.api_key not in key["label"]

    async def test_a_generation_is_known_later(
        self, http: aiohttp.ClientSession
    ) -> None:
        """The first look-up is a 404, the next tells what the answer cost."""
        body = await ask(http)
        asked: list[tuple[int, Any]] = []
        for _ in range(2):
            async with http.get("generation", params={"id": body["id"]}) as response:
                asked.append((response.status, json.loads(await response.read())))

        assert asked[0] == (
            404,
            {"error": {"message": f"Generation {body['id']} not found", "code": 404}},
        )
        status, found = asked[1]
        assert status == 200
        assert found["data"]["total_cost"] == body["usage"]["cost"]
        assert found["data"]["cancelled"] is False

    async def test_an_unknown_generation_stays_unknown(
        self, http: aiohttp.ClientSession
    ) -> None:
        """An id that was never given out is not found, ever."""
        async with http.get("generation", params={"id": generation_id()}) as response:
            assert response.status == 404

    async def test_a_stream_left_early_is_known_as_cancelled(self) -> None:
        """Who goes away finds the id's cost and `cancelled`."""
        async with (
            LocalOpenRouter(generation_lag=0, chunk_delay=0.01, seed=7) as server,
            aiohttp.ClientSession(headers={"Authorization": "Bearer k"}) as http,
        ):
            url = f"{server.url}/chat/completions"
            async with http.post(url, json=STREAM) as response:
                wanted = response.headers["X-Generation-Id"]
                await server.until(chunks=2)
            await server.until(closed=1)
            url = f"{server.url}/generation?id={wanted}"
            async with http.get(url) as response:
                found = json.loads(await response.read())["data"]

            assert (found["cancelled"], found["streamed"]) == (True, True)
            assert found["total_cost"] == server.stats.cost > 0


class TestScripts:
    """Which reply comes when."""

    async def test_replies_come_in_order_then_the_usual(
        self, server: LocalOpenRouter, http: aiohttp.ClientSession
    ) -> None:
        """A script is used up, then the next, then the server's own answer."""
        busy = {"error": {"message": "busy", "code": 429}}
        script = server.reply(status=429, headers={"Retry-After": "2"}, json=busy)
        script.then("one", times=2).then(completion("two"))
        server.reply("three")

        async with http.post("chat/completions", json=HELLO) as response:
            assert json.loads(await response.read()) == busy
        assert (response.status, response.headers["Retry-After"]) == (429, "2")
        texts = [
            (await ask(http))["choices"][0]["message"]["content"] for _ in range(5)
        ]
        assert texts[:4] == ["one", "one", "two", "three"]
        assert texts[4].startswith("You wrote")
        assert len(script.requests) == 4

    async def test_a_reply_can_be_for_ever(
        self, server: LocalOpenRouter, http: aiohttp.ClientSession
    ) -> None:
        """`times=None` never ends, whatever was scripted behind it."""
        server.reply("again", times=None).then("never")

        said = [(await ask(http))["choices"][0]["message"]["content"] for _ in range(3)]

        assert said == ["again"] * 3

    def test_a_reply_is_given_at_least_once(self) -> None:
        """`times=0` is a mistake."""
        with pytest.raises(ValueError, match="times"):
            LocalOpenRouter().reply("never", times=0)

    async def test_matching_scripts_are_asked_first(
        self, server: LocalOpenRouter, http: aiohttp.ClientSession
    ) -> None:
        """A function, a model's name or a word of the prompt choose the request."""
        server.reply("any")
        server.reply("by model", when="m/x")
        server.reply("by text", when="needle")
        server.reply("by rule", when=lambda seen: seen.fields.get("seed") == 1)

        async def said(**fields: Any) -> str:
            content = (await ask(http, **fields))["choices"][0]["message"]["content"]
            return str(content)

        assert (
            await said(messages=[{"role": "user", "content": "a needle"}]) == "by text"
        )
        assert await said(seed=1) == "by rule"
        assert await said(model="m/x") == "by model"
        assert await said(model="m/x") == "any"

    async def test_a_function_may_answer(
        self, server: LocalOpenRouter, http: aiohttp.ClientSession
    ) -> None:
        """An answer may be made from the request: words, a reply, at once or later."""

        async def later(seen: SeenRequest) -> Reply:
            return Reply(f"later {seen.model}", status=201)

        server.reply(lambda seen: f"now {seen.prompt}").then(later)

        assert (await ask(http))["choices"][0]["message"]["content"] == "now Hello"
        async with http.post("chat/completions", json=HELLO) as response:
            assert response.status == 201
            assert b"later openai/gpt-4o-mini" in await response.read()

    async def test_other_paths_can_be_scripted(
        self, server: LocalOpenRouter, http: aiohttp.ClientSession
    ) -> None:
        """`path` names the end of the path; None is any path."""
        server.reply(
            json={"data": []}, path="/models", when=lambda seen: seen.model == ""
        )
        server.reply(path="/credits", delay=0.001)

        server.reply("for chat only")

        async with http.get("models") as response:
            assert await response.json() == {"data": []}
        server.reply(status=503, path=None)
        async with http.get("beta/batches") as response:
            assert response.status == 503
        async with http.get("credits") as response:
            assert (await response.json())["data"]["total_credits"] == 100

    async def test_the_default_can_be_given(self) -> None:
        """`default` is what comes when no script is left; other paths keep theirs."""
        async with (
            LocalOpenRouter(default="so what") as server,
            aiohttp.ClientSession(headers={"Authorization": "Bearer k"}) as http,
        ):
            async with http.post(f"{server.url}/chat/completions", json=HELLO) as r:
                said = (await r.json())["choices"][0]["message"]["content"]
            async with http.get(f"{server.url}/key") as r:
                key = await r.json()

            assert said == "so what"
            assert "data" in key

    async def test_a_list_is_one_chunk_each(
        self, server: LocalOpenRouter, http: aiohttp.ClientSession
    ) -> None:
        """A list of texts is streamed as it is cut, and joined for a plain request."""
        server.reply(["He", "llo"], times=2)

        events = parse(await read(http))
        plain = await ask(http)

        assert [text_of([event]) for event in events] == ["He", "llo", "", ""]
        assert plain["choices"][0]["message"]["content"] == "Hello"

    async def test_json_is_sent_as_it_is(
        self, server: LocalOpenRouter, http: aiohttp.ClientSession
    ) -> None:
        """`json` stays a plain body for a stream request; big integers go through."""
        server.reply(json={"id": "x", "big": 2**70})

        async with http.post("chat/completions", json=STREAM) as response:
            body = json.loads(await response.read())

        assert response.content_type == "application/json"
        assert response.headers["X-Generation-Id"] == "x"
        assert body == {"id": "x", "big": 2**70}

    async def test_a_mapping_without_choices_is_a_plain_body(
        self, server: LocalOpenRouter, http: aiohttp.ClientSession
    ) -> None:
        """Only a completion can be streamed."""
        server.reply({"error": "odd"}).then(json=["no object"]).then([])

        assert await read(http) == b'{"error":"odd"}'
        assert await read(http) == b'["no object"]'
        assert text_of(parse(await read(http))) == ""

    async def test_chunks_are_sent_as_they_are(
        self, server: LocalOpenRouter, http: aiohttp.ClientSession
    ) -> None:
        """Mappings as JSON, strings behind `data: `, bytes raw, `[DONE]` at the end."""
        server.reply(chunks=[{"id": "gen-1"}, "odd", b"event: x\n\n"], comments=0)

        async with http.post("chat/completions", json=HELLO) as response:
            stream = await response.read()

        assert (
            stream
            == b'data: {"id":"gen-1"}\n\ndata: odd\n\nevent: x\n\ndata: [DONE]\n\n'
        )
        assert response.headers["X-Generation-Id"] == "gen-1"

    @pytest.mark.parametrize(
        ("fields", "kind"),
        [
            ({"body": b'{"a":1}'}, "application/json"),
            ({"body": b": ping\n\ndata: {}\n\n"}, "text/event-stream"),
            ({"text": "<html></html>"}, "text/html"),
            ({"text": "{}", "content_type": "text/plain"}, "text/plain"),
            ({"text": "oops", "status": 502}, "application/json"),
        ],
    )
    async def test_raw_bodies_are_sent_as_they_are(
        self,
        server: LocalOpenRouter,
        http: aiohttp.ClientSession,
        fields: dict[str, Any],
        kind: str,
    ) -> None:
        """Bytes and text come out unchanged; their type is guessed or given."""
        server.reply(**fields)

        async with http.post("chat/completions", json=HELLO) as response:
            body = await response.read()

        assert body == (fields.get("body") or fields["text"].encode())
        assert response.content_type == kind

    async def test_a_status_alone_has_the_usual_envelope(
        self, server: LocalOpenRouter, http: aiohttp.ClientSession
    ) -> None:
        """A status of 400 or more speaks OpenRouter's words."""
        server.reply(status=529).then(status=418)

        assert (await ask(http))["error"] == {
            "message": "Provider overloaded",
            "code": 529,
        }
        assert (await ask(http))["error"]["message"] == "I'm a Teapot"

    def test_one_thing_is_said_at_a_time(self) -> None:
        """Two bodies, or a time to stop without a way, are refused."""
        with pytest.raises(ValueError, match="one of"):
            Reply("a", json={})
        with pytest.raises(ValueError, match="stop"):
            Reply("a", stop_after=1)

    def test_keywords_are_the_fields(self) -> None:
        """`reply` takes every field of `Reply`."""
        fields = set(Reply.__annotations__) - {"content"}

        assert set(ReplyFields.__annotations__) == fields
        assert set(FaultFields.__annotations__) < fields


@pytest.mark.parametrize(
    "schema",
    [
        True,
        {"type": "string", "minLength": 30, "maxLength": 40},
        {"type": "string", "maxLength": 3},
        {"type": "string", "format": "date-time"},
        {"type": "integer", "minimum": 5, "maximum": 9, "multipleOf": 4},
        {"type": "integer", "exclusiveMinimum": 5, "exclusiveMaximum": 7},
        {"type": "integer", "maximum": -3},
        {"type": "integer", "minimum": 0},
        {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
        {"type": "number", "minimum": 4},
        {"type": "number", "maximum": -4},
        {"type": "number", "multipleOf": 0.5, "minimum": 2},
        {"minimum": 3},
        {"type": "number"},
        {"type": "boolean"},
        {"type": "null"},
        {"type": ["null", "integer"]},
        {"type": ["null"]},
        {"const": 7},
        {"enum": ["b", "a"]},
        {"type": "string", "default": "d"},
        {"type": "string", "examples": ["e"], "pattern": "^e$"},
        {"anyOf": [{"type": "null"}, {"type": "integer"}]},
        {"oneOf": [{"type": "string"}, {"type": "integer"}]},
        {
            "type": "array",
            "items": {"type": "integer"},
            "minItems": 3,
            "uniqueItems": True,
        },
        {
            "type": "array",
            "items": {"type": "string"},
            "minItems": 2,
            "uniqueItems": True,
        },
        {
            "type": "array",
            "prefixItems": [{"type": "string"}, {"type": "null"}],
            "items": False,
        },
        {"type": "array", "items": False},
        {"items": {"enum": [1, 2]}, "maxItems": 0},
        {"required": ["a"]},
        {
            "type": "object",
            "minProperties": 2,
            "additionalProperties": {"type": "integer"},
        },
        {
            "allOf": [
                {"$ref": "#/$defs/base"},
                {
                    "type": "object",
                    "properties": {"b": {"type": "null"}},
                    "required": ["b"],
                },
            ],
            "$defs": {
                "base": {
                    "type": "object",
                    "properties": {"a": {"const": 1}},
                    "required": ["a"],
                }
            },
        },
        {
            "$ref": "#/$defs/no~1de",
            "$defs": {
                "no/de": {
                    "type": "object",
                    "properties": {
                        "next": {
                            "anyOf": [{"$ref": "#/$defs/no~1de"}, {"type": "null"}]
                        },
                        "children": {
                            "type": "array",
                            "items": {"$ref": "#/$defs/no~1de"},
                        },
                        "other": {"$ref": "#/$defs/no~1de"},
                    },
                    "required": ["next", "children"],
                    "additionalProperties": False,
                }
            },
        },
    ],
)
def test_made_values_fit_their_schema(schema: Any) -> None:
    """A validator that nobody here wrote accepts what is made."""
    jsonschema.validate(example_value(schema), schema)


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"anyOf": [{"$ref": "#"}]},
        {"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]},
        {"type": "array", "items": {"$ref": "#"}, "minItems": 1},
    ],
)
def test_a_schema_without_end_ends(schema: Any) -> None:
    """Where no finite value fits, there is still an answer."""
    assert example_value({"type": "object", "properties": {}, **schema}) == {}


def test_a_reference_that_leads_nowhere_allows_anything() -> None:
    """A broken pointer is no reason to fail."""
    assert example_value({"$ref": "#/$defs/lost"}) == "example value"
    assert example_value({"$ref": "#/title/x", "title": "t"}) == "example value"


class TestBuilders:
    """Bodies and chunks made by hand."""

    def test_a_completion_has_what_it_is_given(self) -> None:
        """Everything stands where the wire has it."""
        body = completion(
            "hi",
            reasoning_details=[],
            refusal="no",
            finish_reason="content_filter",
            id="gen-1",
            created=5,
            usage={"prompt_tokens": 1},
            provider="P",
            message={"annotations": []},
            service_tier="flex",
        )

        assert (body["id"], body["created"], body["provider"]) == ("gen-1", 5, "P")
        assert body["service_tier"] == "flex"
        assert body["usage"] == {"prompt_tokens": 1}
        assert body["choices"][0]["finish_reason"] == "content_filter"
        message = body["choices"][0]["message"]
        assert message == {
            "role": "assistant",
            "content": "hi",
            "refusal": "no",
            "reasoning": None,
            "reasoning_details": [],
            "annotations": [],
        }

    def test_tool_calls_are_numbered(self) -> None:
        """Their arguments may be a mapping or text, broken or not."""
        calls = [tool_call("a", {"x": 1}), tool_call("b", "{", id="")]
        made = completion(tool_calls=calls)["choices"][0]

        assert made["message"]["content"] is None
        assert made["finish_reason"] == "tool_calls"
        assert [call["index"] for call in made["message"]["tool_calls"]] == [0, 1]
        assert made["message"]["tool_calls"][1]["function"]["arguments"] == "{"
        assert made["message"]["tool_calls"][1]["id"] == ""

    def test_every_part_of_a_message_is_streamed(self) -> None:
        """Annotations come first; encrypted reasoning and media come whole."""
        encrypted = {"type": "reasoning.encrypted", "data": "x", "index": 0}
        body = completion(
            "hi",
            refusal="no",
            reasoning_details=[
                encrypted,
                {"type": "reasoning.summary", "summary": "s"},
            ],
            message={"annotations": [{"type": "url_citation"}], "audio": {"data": "a"}},
        )
        deltas = [chunk["choices"][0]["delta"] for chunk in chunks(body, finish=False)]
        only = chunks(completion(message={"reasoning": "bare"}), finish=False)

        kinds = [next(reversed(delta)) for delta in deltas]
        assert kinds == [
            "annotations",
            "reasoning_details",
            "reasoning_details",
            "role",
            "refusal",
            "audio",
        ]
        assert deltas[1]["reasoning"] is None
        assert deltas[2]["reasoning"] == "s"
        assert only[0]["choices"][0]["delta"]["reasoning"] == "bare"

    @pytest.mark.parametrize(
        ("form", "last"),
        [
            ("repeated", (1, "stop", True)),
            ("no_choices", (0, None, True)),
            ("null_finish", (1, None, True)),
            ("with_finish", (1, "stop", True)),
            ("none", (1, "stop", False)),
        ],
    )
    def test_usage_comes_in_every_form(
        self, form: UsageForm, last: tuple[int, str | None, bool]
    ) -> None:
        """The last chunk looks as each era left it."""
        made = chunks(["a", "b"], usage=form)
        choices = made[-1]["choices"]
        finish = choices[0]["finish_reason"] if choices else None

        assert (len(choices), finish, "usage" in made[-1]) == last
        assert len(made) == (3 if form in ("with_finish", "none") else 4)
        assert text_of(made) == text_of(chunks("ab"))

    def test_a_body_without_usage_ends_without(self) -> None:
        """Nothing is made up for a body that was given whole."""
        body = {"choices": [{"message": {"content": "x"}, "finish_reason": "stop"}]}

        assert len(chunks(body)) == 2

    @pytest.mark.parametrize(
        ("shape", "expected"),
        [
            ("openrouter", {"error": {"message": "m", "code": 429, "metadata": {"error_type": "t"}}}),
            ("string_code", {"error": {"message": "m", "code": "429", "metadata": {"error_type": "t"}}}),
            ("no_code", {"error": {"message": "m", "error_type": "t", "http_status": 429, "metadata": {"error_type": "t"}}}),
            ("openai", {"error": {"message": "m", "type": "t", "param": None, "code": 429, "metadata": {"error_type": "t"}}}),
            ("anthropic", {"type": "error", "error": {"type": "t", "message": "m", "metadata": {"error_type": "t"}}}),
            ("plain", {"error": "m"}),
        ],
    )  # fmt: skip
    def test_an_error_has_any_envelope(
        self, shape: ErrorShape, expected: dict[str, Any]
    ) -> None:
        """Each envelope that was seen can be made."""
        assert error_reply(429, "m", shape=shape, error_type="t").json == expected

    def test_errors_that_are_no_json_can_be_made(self) -> None:
        """The edge's page, the validator's shape, and nothing at all."""
        page = error_reply(524, shape="html", headers={"cf-ray": "1"})
        zod = error_reply(400, shape="zod").json

        assert page.text is not None
        assert "Error code 524" in page.text
        assert (page.content_type, page.headers) == ("text/html", {"cf-ray": "1"})
        assert "error code 529" in (error_reply(529, shape="html").text or "").lower()
        assert zod["success"] is False
        assert json.loads(zod["error"]["message"])
        assert error_reply(502, shape="empty").body == b""

    def test_a_wait_is_hinted_everywhere(self) -> None:
        """Every place of protocol 6.6 can hold the wait."""
        made = error_reply(
            429,
            provider_name="Liquid",
            raw="slow down",
            availability={"code": "capacity_exhausted", "retryable": True},
            user_id="user_x",
            retry_after=1.5,
            hints=("header", "header_ms", "availability", "metadata", "metadata_raw", "metadata_header", "reset"),
        )  # fmt: skip
        inner, headers = made.json["error"], dict(made.headers or {})

        assert headers == {"Retry-After": "1.5", "retry-after-ms": "1500"}
        assert inner["availability"]["retry_after"] == 1.5
        assert inner["availability"]["retryable"] is True
        metadata = inner["metadata"]
        assert (metadata["provider_name"], metadata["raw"]) == ("Liquid", "slow down")
        assert metadata["retry_after_seconds"] == 2
        assert metadata["retry_after_seconds_raw"] == 1.5
        assert metadata["headers"]["Retry-After"] == "1.5"
        reset = int(metadata["headers"]["X-RateLimit-Reset"]) / 1000
        assert 0 < reset - time.time() < 2
        assert made.json["user_id"] == "user_x"
        assert made.status == 429

    def test_a_wait_may_be_a_date_or_nonsense(self) -> None:
        """An HTTP date counts from now; a string goes out as it is."""
        dated = error_reply(503, retry_after=60, hints=("header_date",))
        odd = error_reply(503, retry_after="soon", hints=("header", "reset"))
        bare = error_reply(503, retry_after=1, hints=("availability",))

        assert (dated.headers or {})["Retry-After"].endswith("GMT")
        assert (odd.headers or {})["Retry-After"] == "soon"
        assert bare.json["error"]["availability"] == {"retry_after": 1}

    @pytest.mark.parametrize(
        ("form", "keys"),
        [
            ("error", {"error"}),
            ("user_id", {"error", "user_id"}),
            ("id", {"error", "id"}),
            ("no_choices", {"error", "choices"}),
            ("whitespace", {"error"}),
        ],
    )
    async def test_a_200_can_be_a_failure(
        self,
        server: LocalOpenRouter,
        http: aiohttp.ClientSession,
        form: ErrorIn200Form,
        keys: set[str],
    ) -> None:
        """Each form of protocol 6.4 can be made."""
        server.reply(error_in_200(form, 429, "no", error_type="rate_limit_exceeded"))

        async with http.post("chat/completions", json=HELLO) as response:
            raw = await response.read()

        assert response.status == 200
        assert set(json.loads(raw)) == keys
        assert json.loads(raw)["error"]["metadata"] == {
            "error_type": "rate_limit_exceeded"
        }
        assert raw.startswith(b"\n ") == (form == "whitespace")

    async def test_a_200_can_fail_in_its_choice_or_silently(
        self, server: LocalOpenRouter, http: aiohttp.ClientSession
    ) -> None:
        """An error in the choice, no choices, and an empty cold start."""
        server.reply(error_in_200("choice", text="par")).then(error_in_200("nothing"))
        server.reply(error_in_200("empty"))

        choice = (await ask(http))["choices"][0]
        assert (choice["finish_reason"], choice["error"]["code"]) == ("error", 502)
        assert choice["message"]["content"] == "par"
        assert (await ask(http))["choices"] == []
        empty = (await ask(http))["choices"][0]
        assert (empty["finish_reason"], empty["message"]["content"]) == (None, "")


class TestFaults:
    """What goes wrong on the way, on demand."""

    @pytest.mark.parametrize(
        ("form", "seen"),
        [
            ("finish", "top int"),
            ("string_code", "top str"),
            ("no_choices", "top int"),
            ("after_length", "top int"),
            ("native", "none"),
            ("in_choice", "choice"),
            ("bare", "top int"),
            ("bare_string", "string"),
            ("raw", "top int"),
            ("idle_timeout", "top int"),
        ],
    )
    async def test_an_error_breaks_a_stream(
        self,
        server: LocalOpenRouter,
        http: aiohttp.ClientSession,
        form: ErrorForm,
        seen: str,
    ) -> None:
        """After so many events the error takes the rest's place, in any form."""
        server.reply(["a", "b", "c"], error=StreamError(form), error_after=2)

        stream = await read(http)
        events = parse(stream)
        last = events[-1]

        assert text_of([e for e in events if "choices" in e]) == "ab"
        if seen.startswith("top"):
            assert type(last["error"]["code"]).__name__ == seen[4:]
        elif seen == "string":
            assert last == {"error": "Provider disconnected"}
        elif seen == "choice":
            assert last["choices"][0]["error"]["code"] == 502
        else:
            assert "error" not in last
            assert last["choices"][0]["finish_reason"] == "error"
        assert stream.endswith(b"[DONE]\n\n") == (form in ("after_length", "native"))
        if form == "idle_timeout":
            assert last["error"]["code"] == 504
        if form == "raw":
            assert last["error"]["metadata"]["raw"]["retryable"] is True
        if form == "no_choices":
            assert last["model"] == ""

    async def test_an_error_may_be_the_first_event(
        self, server: LocalOpenRouter, http: aiohttp.ClientSession
    ) -> None:
        """Own words and metadata; `[DONE]` where it is asked for."""
        failure = StreamError(
            code=429, message="slow", error_type=None, metadata={"provider_code": "x"}
        )
        server.reply(chunks=[], error=failure, error_after=0, done=True)

        stream = await read(http)
        event = parse(stream)[0]

        assert event["error"] == {
            "code": 429,
            "message": "slow",
            "metadata": {"provider_code": "x"},
        }
        assert GENERATION_ID.fullmatch(event["id"])
        assert stream.endswith(b"data: [DONE]\n\n")

    @pytest.mark.parametrize("form", ["finish", "native", "in_choice"])
    async def test_an_error_ends_a_plain_answer_too(
        self, server: LocalOpenRouter, http: aiohttp.ClientSession, form: ErrorForm
    ) -> None:
        """For a plain request it stands in the choice, beside the content."""
        server.reply("half", error=StreamError(form))

        choice = (await ask(http))["choices"][0]

        assert choice["finish_reason"] == "error"
        assert choice["message"]["content"] == "half"
        assert ("error" in choice) == (form != "native")

    async def test_the_end_can_be_missing(
        self, server: LocalOpenRouter, http: aiohttp.ClientSession
    ) -> None:
        """Without finish, without `[DONE]`, or ended by HTTP after some events."""
        server.reply(["a", "b"], finish=False).then(["a", "b"], done=False)
        server.reply(["a", "b"], stop="end", stop_after=1)

        first, second, third = [await read(http) for _ in range(3)]

        assert [len(parse(stream)) for stream in (first, second, third)] == [2, 4, 1]
        assert [
            stream.endswith(b"[DONE]\n\n") for stream in (first, second, third)
        ] == [
            True,
            False,
            False,
        ]

    async def test_data_may_follow_the_end(
        self, server: LocalOpenRouter, http: aiohttp.ClientSession
    ) -> None:
        """`prefix` and `suffix` are raw bytes around all else."""
        server.reply("x", prefix=b"\xef\xbb\xbf", suffix=b"data: more\n\n")

        stream = await read(http)

        assert stream.startswith(b"\xef\xbb\xbf: OPENROUTER")
        assert stream.endswith(b"data: [DONE]\n\ndata: more\n\n")

    @pytest.mark.parametrize("stop", ["reset", "close"])
    @pytest.mark.parametrize("stream", [True, False])
    async def test_a_connection_dies_before_the_headers(
        self,
        server: LocalOpenRouter,
        http: aiohttp.ClientSession,
        stop: Stop,
        stream: object,
    ) -> None:
        """RST and FIN before any byte; it is the server's doing."""
        server.reply(stop=stop)

        with pytest.raises((aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)):
            await ask(http, stream=stream)

        assert server.stats.closed_early == 0
        assert server.requests[0].status is None
        await server.until(connections=0)

    async def test_ending_before_the_headers_is_closing(
        self, server: LocalOpenRouter, http: aiohttp.ClientSession
    ) -> None:
        """There is no body to end."""
        server.reply(stop="end")

        with pytest.raises(aiohttp.ServerDisconnectedError):
            await ask(http)

    @pytest.mark.parametrize("stop", ["reset", "close"])
    @pytest.mark.parametrize("after", [0, 2, 100])
    async def test_a_stream_is_cut_after_some_events(
        self,
        server: LocalOpenRouter,
        http: aiohttp.ClientSession,
        stop: Stop,
        after: int,
    ) -> None:
        """So many events arrive, then the connection dies."""
        server.reply(["a", "b", "c"], stop=stop, stop_after=after)

        got = b""
        async with http.post("chat/completions", json=STREAM) as response:
            with pytest.raises(aiohttp.ClientError):  # noqa: PT012 - reads until it dies
                async for data in response.content.iter_any():
                    got += data

        assert len(parse(got)) == min(after, 5) == server.requests[0].chunks
        assert b"[DONE]" not in got
        assert server.requests[0].closed_early is False

    @pytest.mark.parametrize("after", [0, 1])
    async def test_a_plain_body_is_cut_before_or_behind(
        self, server: LocalOpenRouter, http: aiohttp.ClientSession, after: int
    ) -> None:
        """A plain body is one piece: none of it, or all but HTTP's end."""
        server.reply(json={"a": 1}, stop="close", stop_after=after)

        got = b""
        async with http.post("chat/completions", json=HELLO) as response:
            with pytest.raises(aiohttp.ClientPayloadError):  # noqa: PT012 - likewise
                async for data in response.content.iter_any():
                    got += data

        assert got == (b'{"a":1}' if after else b"")

    @pytest.mark.parametrize("at", [0, 1, 7])
    async def test_a_body_is_cut_at_a_byte(
        self, server: LocalOpenRouter, http: aiohttp.ClientSession, at: int
    ) -> None:
        """Exactly so many bytes of the body come."""
        server.reply(json={"a": 1}, stop="end", stop_at=at)

        async with http.post("chat/completions", json=HELLO) as response:
            assert await response.read() == b'{"a":1}'[:at]

    async def test_a_length_may_be_a_lie(
        self, server: LocalOpenRouter, http: aiohttp.ClientSession
    ) -> None:
        """`Content-Length` takes the place of chunked encoding, true or not."""
        server.reply(
            json={"a": 1}, headers={"Content-Length": "9"}, stop="close", stop_after=1
        )

        async with http.post("chat/completions", json=HELLO) as response:
            with pytest.raises(aiohttp.ClientPayloadError):
                await response.read()

        assert response.headers["Content-Length"] == "9"

    async def test_a_status_may_forbid_a_body(
        self, server: LocalOpenRouter, http: aiohttp.ClientSession
    ) -> None:
        """204 comes without one."""
        server.reply("x", status=204)

        async with http.post("chat/completions", json=HELLO) as response:
            assert (response.status, await response.read()) == (204, b"")

    @pytest.mark.parametrize("encoding", ["gzip", "deflate"])
    async def test_bodies_can_be_compressed(
        self,
        server: LocalOpenRouter,
        http: aiohttp.ClientSession,
        encoding: Literal["gzip", "deflate"],
    ) -> None:
        """Plain or streamed, the client reads what was said."""
        server.reply("squeezed", encoding=encoding, times=2)

        assert (await ask(http))["choices"][0]["message"]["content"] == "squeezed"
        assert text_of(parse(await read(http))) == "squeezed"

    async def test_a_compressed_stream_can_be_read_as_it_comes(
        self, server: LocalOpenRouter, http: aiohttp.ClientSession
    ) -> None:
        """The first event is readable while the rest is still to come."""
        server.reply(["a", "b"], encoding="gzip", stop="silence", stop_after=1)

        async with http.post("chat/completions", json=STREAM) as response:
            got = b""
            while b"data: " not in got:
                got += await response.content.readany()

        assert text_of(parse(got)) == "a"

    async def test_a_body_may_be_broken_gzip(
        self, server: LocalOpenRouter, http: aiohttp.ClientSession
    ) -> None:
        """Raw bytes with a header that lies."""
        server.reply(body=b"no gzip", headers={"Content-Encoding": "gzip"})

        async with http.post("chat/completions", json=HELLO) as response:
            with pytest.raises(aiohttp.ClientError):
                await response.read()

    async def test_bytes_may_come_one_by_one(self, server: LocalOpenRouter) -> None:
        """`write_bytes=1` makes a write of every byte."""
        server.reply(json={"a": 1}, write_bytes=1, headers={"Connection": "close"})
        reader, writer = await asyncio.open_connection(*address(server))
        writer.write(raw_request(server))
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()

        assert answer.count(b"\r\n1\r\n") == 7

    @pytest.mark.parametrize("more", [b"", b"Connection: keep-alive\r\n"])
    async def test_http_1_0_is_spoken_too(
        self, server: LocalOpenRouter, more: bytes
    ) -> None:
        """A proxy that asks by HTTP/1.0, as nginx does, gets a body that just ends."""
        server.reply(json={"a": 1})
        request = raw_request(server).replace(b"HTTP/1.1\r\n", b"HTTP/1.0\r\n" + more)
        reader, writer = await asyncio.open_connection(*address(server))
        writer.write(request)
        answer = await asyncio.wait_for(reader.read(), 5)
        writer.close()
        await writer.wait_closed()

        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.0 200 OK")
        assert b"chunked" not in head
        assert body == b'{"a":1}'

    async def test_a_connection_can_be_closed_after_each(
        self, server: LocalOpenRouter, http: aiohttp.ClientSession
    ) -> None:
        """`Connection: close` closes, and numbers tell the sockets apart."""
        server.reply("a", headers={"Connection": "close"}).then("b").then("c")

        for _ in range(3):
            await ask(http)

        assert [seen.connection for seen in server.requests] == [1, 2, 2]
        assert server.stats.connections_made == 2
        assert server.stats.connections_open == 1

    async def test_waits_come_where_they_are_asked_for(
        self, server: LocalOpenRouter, http: aiohttp.ClientSession
    ) -> None:
        """Before the headers, before the first event, and between the events."""
        server.reply(
            ["a", "b"], delay=0.02, before_token=0.02, chunk_delay=0.02, comments=0
        )
        loop = asyncio.get_running_loop()

        start = loop.time()
        async with http.post("chat/completions", json=STREAM) as response:
            headers = loop.time() - start
            await response.content.readany()
            first = loop.time() - start
            await response.read()
            total = loop.time() - start

        assert headers >= 0.019
        assert first >= headers + 0.015
        assert total >= first + 0.05

    async def test_signs_of_life_come_while_it_waits(
        self, server: LocalOpenRouter, http: aiohttp.ClientSession
    ) -> None:
        """Comments in a stream, white space in a plain body."""
        slow = Reply("x", before_token=0.05, keepalive=0.01, comments=0)
        server.reply(slow, times=2)

        stream = await read(http)
        async with http.post("chat/completions", json=HELLO) as response:
            plain = await response.read()

        assert stream.count(b": OPENROUTER PROCESSING\n\n") >= 2
        assert plain.startswith(b"\n   ")
        assert json.loads(plain)["choices"][0]["message"]["content"] == "x"

    @pytest.mark.parametrize(
        "fields",
        [
            {"stop": "silence"},
            {"delay": float("inf")},
            {"stop": "silence", "stop_after": 0},
            {"stop": "silence", "stop_at": 5},
            {"stop": "silence", "stop_after": 1, "keepalive": 0.001},
            {"stop": "silence", "stop_at": 5, "keepalive": 0.001},
            {"before_token": float("inf"), "keepalive": 0.001},
        ],
    )
    @pytest.mark.parametrize("stream", [True, False])
    async def test_a_client_that_leaves_silence_is_noticed(
        self,
        server: LocalOpenRouter,
        http: aiohttp.ClientSession,
        fields: dict[str, Any],
        stream: object,
    ) -> None:
        """Whatever it is silent about, the server sees the client go at once."""
        server.reply(["a", "b"], **fields)
        call = asyncio.create_task(ask(http, stream=stream))
        await server.until(requests=1)
        await asyncio.sleep(0.01)
        seen = server.requests[0]
        assert seen.closed is None

        start = asyncio.get_running_loop().time()
        call.cancel()
        await server.until(closed=1)

        assert seen.closed_early is True
        assert seen.closed is not None
        assert seen.closed - start < 0.1
        assert server.stats.in_flight == 0
        with pytest.raises(asyncio.CancelledError):
            await call

    async def test_only_comments_come(
        self, server: LocalOpenRouter, http: aiohttp.ClientSession
    ) -> None:
        """A stream can be alive for ever without a word."""
        server.reply(stop="silence", stop_after=0, keepalive=0.001, comments=0)

        async with http.post("chat/completions", json=STREAM) as response:
            got = b""
            while got.count(b"\n\n") < 5:
                got += await response.content.readany()

        assert set(got.split(b"\n\n")) <= {b": OPENROUTER PROCESSING", b""}

    async def test_a_client_that_stops_sending_is_noticed(
        self, server: LocalOpenRouter
    ) -> None:
        """A request that breaks off in its body was seen, and closed early."""
        _reader, writer = await asyncio.open_connection(*address(server))
        writer.write(raw_request(server)[:-3])
        await writer.drain()
        await asyncio.sleep(0.01)
        assert server.stats.in_flight == 1
        writer.transport.abort()

        await server.until(closed=1, requests=1, connections=0)
        assert server.requests[0].json is None

    async def test_a_client_may_be_slow_to_read(self, server: LocalOpenRouter) -> None:
        """What a client does not take waits for it."""
        body = b"x" * 20_000_000
        server.reply(body=body, headers={"Connection": "close"})
        reader, writer = await asyncio.open_connection(*address(server))
        writer.write(raw_request(server))
        await server.until(requests=1)
        await asyncio.sleep(0.05)
        assert server.requests[0].closed is None
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()

        assert answer.count(b"x") >= len(body)

    async def test_a_client_that_leaves_unread_bytes_is_noticed(
        self, server: LocalOpenRouter
    ) -> None:
        """It goes away while the server waits to write."""
        server.reply(body=b"x" * 20_000_000)
        _reader, writer = await asyncio.open_connection(*address(server))
        writer.write(raw_request(server))
        await server.until(requests=1)
        await asyncio.sleep(0.02)
        writer.transport.abort()

        await server.until(closed=1, connections=0)
        assert server.requests[0].closed_early is True

    def test_a_connection_that_is_gone_is_not_cut(self) -> None:
        """The client may have been faster than the script."""
        close_transport(None, reset=True)


def address(server: LocalOpenRouter) -> tuple[str, int]:
    """Tell where a server listens."""
    host, _, port = server.origin.removeprefix("http://").partition(":")
    return host, int(port)


def raw_request(server: LocalOpenRouter) -> bytes:
    """Write a plain request as HTTP."""
    body = json.dumps(HELLO).encode()
    return (
        b"POST /api/v1/chat/completions HTTP/1.1\r\nHost: x\r\n"
        b"Authorization: Bearer k\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    )


class TestWhatItTells:
    """Requests, counters, waiting."""

    async def test_requests_are_kept_as_they_came(
        self, server: LocalOpenRouter, http: aiohttp.ClientSession
    ) -> None:
        """Method, path, query, headers without case, body, times, what was sent."""
        before = asyncio.get_running_loop().time()
        url = "chat/completions?a=1&a=2&b=3"
        async with http.post(url, json=STREAM, headers={"X-Title": "T"}) as response:
            events = parse(await response.read())
        await server.until(connections=1)
        seen = server.requests[0]

        assert (seen.method, seen.path) == ("POST", "/api/v1/chat/completions")
        assert seen.query.getall("a") == ["1", "2"]
        assert seen.query["b"] == "3"
        assert seen.headers["x-title"] == "T"
        assert json.loads(seen.body) == seen.json == STREAM
        assert (seen.model, seen.prompt, seen.stream) == (HELLO["model"], "Hello", True)
        assert seen.status == 200
        assert seen.chunks == len(events) == server.stats.chunks
        assert seen.closed is not None
        assert before < seen.time < seen.closed
        assert seen.closed_early is False

    def test_a_request_without_json_has_no_fields(self) -> None:
        """Its properties are empty, not errors."""
        seen = SeenRequest(method="GET", path="/", time=0, connection=1)

        assert (seen.fields, seen.model, seen.prompt, seen.stream) == (
            {},
            "",
            "",
            False,
        )
        assert dict(seen.headers) == {}

    async def test_only_the_latest_requests_are_kept(self) -> None:
        """A server that runs for long does not grow; it counts on."""
        async with (
            LocalOpenRouter(keep=2, generation_lag=0) as server,
            aiohttp.ClientSession(headers={"Authorization": "Bearer k"}) as http,
        ):
            found: list[str] = []
            for number in range(5):
                url = f"{server.url}/chat/completions"
                async with http.post(url, json={**HELLO, "seed": number}) as response:
                    found.append((await response.json())["id"])
            async with http.get(f"{server.url}/generation?id={found[0]}") as response:
                assert response.status == 404

            assert server.stats.requests == 6
            assert [seen.path[-1] for seen in server.requests] == ["s", "n"]

    async def test_counters_count(
        self, server: LocalOpenRouter, http: aiohttp.ClientSession
    ) -> None:
        """In flight, its peak, and what is forgotten by `clear`."""
        server.reply(stop="silence", times=None)
        calls = [asyncio.create_task(ask(http)) for _ in range(3)]
        await server.until(requests=3)

        assert (server.stats.in_flight, server.stats.in_flight_peak) == (3, 3)
        server.clear()
        assert server.stats.in_flight_peak == 3
        assert (server.requests, server.stats.requests) == ([], 0)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        await server.until(closed=3, connections=0)
        assert server.stats.in_flight == 0
        assert (await ask(http))["choices"]

    async def test_waiting_in_vain_tells_the_counts(
        self, server: LocalOpenRouter, http: aiohttp.ClientSession
    ) -> None:
        """The message has what was waited for, and what there is."""
        await ask(http)

        with pytest.raises(
            TimeoutError,
            match=r"requests >= 2, closed_early >= 1 within .* requests=1,",
        ):
            await server.until(requests=2, closed=1, timeout=0.01)

    async def test_several_may_wait(
        self, server: LocalOpenRouter, http: aiohttp.ClientSession
    ) -> None:
        """Each is woken for its own wish, and one that gave up is forgotten."""
        gone = asyncio.create_task(server.until(requests=1))
        first = asyncio.create_task(server.until(requests=1))
        second = asyncio.create_task(server.until(requests=2))
        await asyncio.sleep(0)
        gone.cancel()
        await ask(http)
        await first
        assert not second.done()
        await ask(http)
        await second


def test_who_gave_up_is_not_woken() -> None:
    """A waiter that another thread has cancelled is passed over."""
    counters = ServerCounters()
    future = counters._add_waiter(Condition(requests=1))  # pyright: ignore[reportPrivateUsage]
    future.cancel()
    counters.requests = 1
    counters.notify()

    assert future.cancelled()


class TestPlugin:
    """The fixtures of `openrouter_async.testing.pytest_plugin`."""

    async def test_an_application_is_tested_unchanged(
        self, openrouter_server: LocalOpenRouter
    ) -> None:
        """A client made without arguments talks to the local server."""
        openrouter_server.reply("from here")

        async with AsyncOpenRouter() as client:
            reply = await client.chat.send(model="m", messages=[UserMessage("hi")])

        assert reply.text == "from here"
        assert openrouter_server.requests[0].prompt == "hi"

    async def test_a_client_is_at_hand(
        self, openrouter_server: LocalOpenRouter, openrouter_client: AsyncOpenRouter
    ) -> None:
        """It streams from the server, and its pool ends with the loop."""
        openrouter_server.reply(["a", "b"])

        async with openrouter_client.chat.send(
            model="m", messages=[UserMessage("hi")], stream=True
        ) as stream:
            assert [chunk.text async for chunk in stream if chunk.text] == ["a", "b"]


class TestLifetime:
    """Starting, stopping, threads."""

    def test_a_thread_serves_any_test(self) -> None:
        """Plain `with` serves blocking clients, and clients on any loop."""

        async def call(server: LocalOpenRouter) -> int:
            headers = {"Authorization": "Bearer k"}
            async with aiohttp.ClientSession(headers=headers) as http:
                url = f"{server.url}/chat/completions"
                async with http.post(url, json=STREAM) as response:
                    await server.until(chunks=3)
                    await response.read()
                    return response.status

        with LocalOpenRouter() as server:
            with socket.create_connection(address(server)) as sock:
                sock.sendall(raw_request(server))
                server.wait(requests=1)
                assert b"200 OK" in sock.recv(65536)
            server.wait(connections=0)
            assert [asyncio.run(call(server)) for _ in range(2)] == [200, 200]
            with pytest.raises(TimeoutError, match="chunks >= 99999"):
                server.wait(chunks=99999, timeout=0.01)

        assert not [t for t in threading.enumerate() if t.name == "LocalOpenRouter"]

    def test_leaving_is_quick_with_silent_streams_open(self) -> None:
        """Connections are cut, not waited for, and that is no early close."""
        server = LocalOpenRouter()
        server.reply(stop="silence", stop_after=1, times=None)
        with server:
            socks = [socket.create_connection(address(server)) for _ in range(20)]
            for sock in socks:
                sock.sendall(raw_request(server))
            server.wait(requests=20)
            start = time.monotonic()

        assert time.monotonic() - start < 0.1
        assert server.stats.connections_open == server.stats.in_flight == 0
        assert server.stats.closed_early == 0
        for sock in socks:
            sock.close()

    async def test_no_task_is_left(self) -> None:
        """After `async with`, only the caller's task runs, idle connections or not."""
        async with LocalOpenRouter() as server:
            server.reply(stop="silence").then("x")
            _reader, idle = await asyncio.open_connection(*address(server))
            _reader, busy = await asyncio.open_connection(*address(server))
            busy.write(raw_request(server))
            await server.until(requests=1)
            start = time.monotonic()

        assert time.monotonic() - start < 0.1
        for writer in (idle, busy):
            writer.transport.abort()
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    async def test_a_handler_that_lingers_is_waited_for(self) -> None:
        """A script's own function ends before the server does."""
        ended: list[str] = []

        async def linger(_seen: SeenRequest) -> str:
            try:
                await asyncio.sleep(60)
            finally:
                await asyncio.sleep(0.02)
                ended.append("linger")
            return ""

        async with LocalOpenRouter() as server:
            server.reply(linger)
            _reader, writer = await asyncio.open_connection(*address(server))
            writer.write(raw_request(server))
            await server.until(requests=1)

        assert ended == ["linger"]
        writer.transport.abort()

    async def test_it_serves_once(self) -> None:
        """A server that was left is not entered again."""
        server = LocalOpenRouter()
        with pytest.raises(RuntimeError, match="not running"):
            _ = server.url
        async with server:
            assert server.url.endswith("/api/v1")

        with pytest.raises(RuntimeError, match="once"):
            await server.__aenter__()
        with pytest.raises(RuntimeError, match="once"), server:
            pass

    def test_a_taken_port_is_told(self) -> None:
        """Both ways of entering raise the system's own error."""
        with LocalOpenRouter() as server:
            port = address(server)[1]
            with pytest.raises(OSError, match="address"), LocalOpenRouter(port=port):
                pass

    async def test_it_may_speak_tls(self) -> None:
        """With an `SSLContext` it serves HTTPS; faults work there too."""
        authority = trustme.CA()
        offer = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(offer)  # pyright: ignore[reportUnknownMemberType] - speaks of PyOpenSSL, too
        trust = ssl.create_default_context()
        authority.configure_trust(trust)  # pyright: ignore[reportUnknownMemberType] - likewise
        headers = {"Authorization": "Bearer k"}
        async with LocalOpenRouter(ssl=offer) as server:
            connector = aiohttp.TCPConnector(ssl=trust)
            async with aiohttp.ClientSession(
                connector=connector, headers=headers
            ) as http:
                url = f"{server.url}/chat/completions"
                server.reply("safe").then(stop="reset")
                async with http.post(url, json=HELLO) as response:
                    assert b"safe" in await response.read()
                with pytest.raises(aiohttp.ClientError):
                    await http.post(url, json=HELLO)

            assert url.startswith("https://")

    async def test_it_listens_on_ipv6(self) -> None:
        """The URL brackets the address."""
        try:
            async with LocalOpenRouter(host="::1") as server:
                assert server.url.startswith("http://[::1]:")
        except OSError:
            pytest.skip("this machine has no IPv6")


@pytest.mark.parametrize("cancels", [True, False])
async def test_the_application_runs_elsewhere(cancels: object) -> None:
    """Served by any runner of aiohttp's, it notices who goes away, soon or late."""
    server = LocalOpenRouter(chunk_delay=0.005)
    runner = aiohttp.web.AppRunner(server.app, handler_cancellation=cancels)
    await runner.setup()
    site = aiohttp.web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/api/v1/chat/completions"
    async with aiohttp.ClientSession(headers={"Authorization": "Bearer k"}) as http:
        async with http.post(url, json=HELLO) as response:
            assert response.status == 200
        async with http.post(url, json=STREAM):
            await server.until(chunks=1)
        await server.until(closed=1)
    await runner.cleanup()

    assert [seen.connection for seen in server.requests] == [0, 0]
    assert [seen.closed_early for seen in server.requests] == [False, True]
