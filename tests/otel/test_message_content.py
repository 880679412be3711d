"""Messages, tool definitions, arguments and results in spans and events."""

import json
import logging
from typing import Any

import pytest
from support import HELLO, MakeClient
from telemetry import Telemetry, attributes, call_of

from openrouter_async import (
    AssistantMessage,
    AudioPart,
    BadRequestError,
    ConfigurationError,
    FilePart,
    ImagePart,
    UserMessage,
    VideoPart,
    tool,
)
from openrouter_async.otel import OpenTelemetry, spans
from openrouter_async.otel.message_content import request_content, result_content
from openrouter_async.testing import (
    LocalOpenRouter,
    Reply,
    completion,
    error_reply,
    tool_call,
)

VARIABLE = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
DETAILS = "gen_ai.client.inference.operation.details"
INPUTS, OUTPUTS = "gen_ai.input.messages", "gen_ai.output.messages"
# The data of media, which must not be recorded.
SECRET = b"hidden"
BLOB = {"type": "blob", "size_bytes": len(SECRET)}


@pytest.fixture
def telemetry() -> Telemetry:
    return Telemetry()


@tool
async def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def parts(message: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the parts that are recorded for a message of a request."""
    (recorded,) = request_content({"messages": [message]})["input_messages"]
    found: list[dict[str, Any]] = recorded["parts"]
    return found


class TestSpans:
    """Content in the attributes of spans."""

    @pytest.mark.parametrize("by_environment", [False, True])
    async def test_run_of_tools_is_recorded(
        self,
        server: LocalOpenRouter,
        make_client: MakeClient,
        telemetry: Telemetry,
        monkeypatch: pytest.MonkeyPatch,
        by_environment: bool,
    ) -> None:
        if by_environment:
            monkeypatch.setenv(VARIABLE, "SPAN_ONLY")
            observer = telemetry.observer()
        else:
            observer = telemetry.observer(capture_content=True)
        reply = completion(
            reasoning="hm", tool_calls=[tool_call("add", {"a": 1, "b": 2})]
        )
        server.reply(reply).then("three")
        await make_client(observer=observer).chat.run_tools(
            messages=[UserMessage("hi")], tools=[add]
        )

        first, last = (attributes(span) for span in telemetry.spans())
        call = {
            "type": "tool_call",
            "id": "call_add_0",
            "name": "add",
            "arguments": {"a": 1, "b": 2},
        }
        thought = {"type": "reasoning", "content": "hm"}
        assert json.loads(first[OUTPUTS]) == [
            {
                "role": "assistant",
                "parts": [thought, call],
                "finish_reason": "tool_call",
            }
        ]
        assert json.loads(last[INPUTS]) == [
            {"role": "user", "parts": [{"type": "text", "content": "hi"}]},
            {"role": "assistant", "parts": [thought, call]},
            {
                "role": "tool",
                "parts": [
                    {"type": "tool_call_response", "id": "call_add_0", "response": "3"}
                ],
            },
        ]
        assert json.loads(last[OUTPUTS]) == [
            {
                "role": "assistant",
                "parts": [{"type": "text", "content": "three"}],
                "finish_reason": "stop",
            }
        ]
        (definition,) = json.loads(first["gen_ai.tool.definitions"])
        assert definition["type"] == "function"
        assert definition["name"] == "add"
        assert definition["description"] == "Add two numbers."
        assert definition["parameters"]["required"] == ["a", "b"]
        ran = attributes(telemetry.span("execute_tool"))
        assert json.loads(ran["gen_ai.tool.call.arguments"]) == {"a": 1, "b": 2}
        assert ran["gen_ai.tool.call.result"] == '"3"'
        assert telemetry.events() == []

    async def test_request_without_tools_has_no_tool_definitions(
        self, make_client: MakeClient, telemetry: Telemetry
    ) -> None:
        client = make_client(observer=telemetry.observer(capture_content=True))
        await client.chat.send(HELLO)

        assert "gen_ai.tool.definitions" not in attributes(telemetry.span())


class TestEvents:
    """Content in an event for each call."""

    @pytest.mark.parametrize("mode", ["EVENT_ONLY", "span_and_event"])
    @pytest.mark.parametrize("stream", [False, True])
    async def test_event_belongs_to_the_span(
        self,
        server: LocalOpenRouter,
        make_client: MakeClient,
        telemetry: Telemetry,
        monkeypatch: pytest.MonkeyPatch,
        mode: str,
        stream: bool,
    ) -> None:
        if mode.isupper():
            monkeypatch.setenv(VARIABLE, mode)
            observer = telemetry.observer()
        else:
            observer = telemetry.observer(capture_content=mode)
        server.reply("hello")
        client = make_client(observer=observer)
        messages = [UserMessage("hi")]
        tools = [{"type": "openrouter:web_search"}]
        options: Any = {"messages": messages, "tools": tools, "temperature": 0.5}
        if stream:
            send: Any = client.chat.send
            async with send(model="m", stream=True, **options) as opened:
                # A change of the messages after the start is not recorded.
                messages.append(UserMessage("later"))
                await opened.collect()
        else:
            await client.chat.send(model="m", **options)

        (event,) = telemetry.events()
        context = telemetry.span().get_span_context()
        assert context is not None
        assert (event.trace_id, event.span_id) == (context.trace_id, context.span_id)
        assert event.event_name == DETAILS
        found = dict(event.attributes)
        assert found["gen_ai.operation.name"] == "chat"
        assert found["gen_ai.request.temperature"] == 0.5
        assert found["gen_ai.response.model"]
        assert found["openrouter.usage.cost"] > 0
        # Structured, not JSON.
        (sent,) = found[INPUTS]
        assert dict(sent["parts"][0]) == {"type": "text", "content": "hi"}
        (received,) = found[OUTPUTS]
        assert dict(received["parts"][0]) == {"type": "text", "content": "hello"}
        (definition,) = found["gen_ai.tool.definitions"]
        assert dict(definition) == {
            "type": "openrouter:web_search",
            "name": "openrouter:web_search",
        }
        in_span = {INPUTS, OUTPUTS} & attributes(telemetry.span()).keys()
        assert len(in_span) == (0 if mode == "EVENT_ONLY" else 2)

    async def test_failed_call_has_an_event_without_outputs(
        self, server: LocalOpenRouter, make_client: MakeClient, telemetry: Telemetry
    ) -> None:
        server.reply(error_reply(400, "secret text"))
        client = make_client(observer=telemetry.observer(capture_content="event_only"))
        with pytest.raises(BadRequestError):
            await client.chat.send(HELLO)

        (event,) = telemetry.events()
        assert event.attributes["error.type"] == "BadRequestError"
        assert INPUTS in event.attributes
        assert OUTPUTS not in event.attributes
        assert "secret text" not in str(dict(event.attributes))

    async def test_calls_have_no_event_by_default(
        self, make_client: MakeClient, telemetry: Telemetry
    ) -> None:
        await make_client(observer=telemetry.observer()).chat.send(HELLO)

        assert telemetry.events() == []

    async def test_span_that_is_not_sampled_has_an_event(
        self, make_client: MakeClient, telemetry: Telemetry
    ) -> None:
        observer = OpenTelemetry(
            logger_provider=telemetry.loggers, capture_content="span_and_event"
        )
        await make_client(observer=observer).chat.send(HELLO)

        (event,) = telemetry.events()
        assert INPUTS in event.attributes

    async def test_old_api_has_no_events(
        self, telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(spans, "_HAS_EVENTS", False)

        with pytest.raises(ConfigurationError, match=r"opentelemetry-api 1\.38"):
            telemetry.observer(capture_content="event_only")


class TestModes:
    """The values that choose where content is recorded."""

    def test_unknown_argument_is_rejected(self, telemetry: Telemetry) -> None:
        with pytest.raises(ConfigurationError, match="capture_content='all'"):
            telemetry.observer(capture_content="all")

    async def test_unknown_value_of_the_environment_captures_nothing(
        self,
        make_client: MakeClient,
        telemetry: Telemetry,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        monkeypatch.setenv(VARIABLE, "true")
        with caplog.at_level(logging.WARNING):
            observer = telemetry.observer()
        await make_client(observer=observer).chat.send(HELLO)

        assert "Unknown value 'true'" in caplog.text
        assert INPUTS not in attributes(telemetry.span())
        assert telemetry.events() == []

    @pytest.mark.parametrize("given", [False, "no_content"])
    async def test_argument_precedes_the_environment(
        self, telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch, given: Any
    ) -> None:
        monkeypatch.setenv(VARIABLE, "SPAN_AND_EVENT")
        observer = telemetry.observer(capture_content=given)

        assert (observer.content_in_spans, observer.events) == (False, None)


class TestParts:
    """Parts of messages, without the data of media."""

    @pytest.mark.parametrize(
        ("part", "expected"),
        [
            (
                ImagePart.from_bytes(SECRET, "image/png"),
                {**BLOB, "modality": "image", "mime_type": "image/png"},
            ),
            (
                ImagePart.from_url("https://a/b.png"),
                {"type": "uri", "modality": "image", "uri": "https://a/b.png"},
            ),
            (
                {"type": "image_url", "image_url": "https://a/b.png"},
                {"type": "uri", "modality": "image", "uri": "https://a/b.png"},
            ),
            (
                AudioPart.from_bytes(SECRET, "wav"),
                {**BLOB, "modality": "audio", "mime_type": "audio/wav"},
            ),
            (
                VideoPart.from_bytes(SECRET),
                {**BLOB, "modality": "video", "mime_type": "video/mp4"},
            ),
            (
                VideoPart("https://a/b.mp4", type="input_video"),
                {"type": "uri", "modality": "video", "uri": "https://a/b.mp4"},
            ),
            (
                FilePart.from_bytes(SECRET, "a.pdf"),
                {**BLOB, "modality": "document", "mime_type": "application/pdf"},
            ),
            (
                FilePart({"file_id": "f1"}),
                {"type": "file", "modality": "document", "file_id": "f1"},
            ),
            (
                {"type": "input_audio", "input_audio": {"data": None}},
                {
                    "type": "blob",
                    "modality": "audio",
                    "mime_type": None,
                    "size_bytes": 0,
                },
            ),
            (
                {"type": "new", "url": "data:a/b;base64,aGlkZGVu", "list": [1, "x"]},
                {"type": "new", "url": "data:a/b (6 bytes)", "list": [1, "x"]},
            ),
            ({"type": "text"}, {"type": "text", "content": ""}),
            ("loose", {"type": "unknown", "content": "loose"}),
        ],
    )
    def test_part_of_a_user(self, part: Any, expected: dict[str, Any]) -> None:
        assert parts({"role": "user", "content": [part]}) == [expected]
        assert result_content([part]) == [expected]

    def test_message_of_an_assistant_has_all_its_parts(self) -> None:
        message: Any = AssistantMessage(
            "text",
            name="Ann",
            reasoning_content="hm",
            refusal="no",
            images=[{"type": "image_url", "image_url": {"url": "https://a"}}],
            audio={"data": "aGlkZGVu", "transcript": "said"},
            tool_calls=[
                {"id": "1", "type": "function", "function": {"arguments": "{"}},
                {"id": "2", "type": "function", "function": {"arguments": {"a": 1}}},
            ],
        )
        (recorded,) = request_content({"messages": [message]})["input_messages"]

        assert (recorded["role"], recorded["name"]) == ("assistant", "Ann")
        assert recorded["parts"] == [
            {"type": "reasoning", "content": "hm"},
            {"type": "text", "content": "text"},
            {"type": "refusal", "content": "no"},
            {"type": "uri", "modality": "image", "uri": "https://a"},
            {**BLOB, "modality": "audio", "mime_type": None},
            {"type": "text", "content": "said"},
            {"type": "tool_call", "id": "1", "name": None, "arguments": "{"},
            {"type": "tool_call", "id": "2", "name": None, "arguments": {"a": 1}},
        ]

    def test_prompt_is_a_message_of_the_user(self) -> None:
        (recorded,) = request_content({"prompt": "hi"})["input_messages"]

        assert recorded == {
            "role": "user",
            "parts": [{"type": "text", "content": "hi"}],
        }

    async def test_images_of_a_response_are_cut(
        self, server: LocalOpenRouter, make_client: MakeClient, telemetry: Telemetry
    ) -> None:
        body = completion("look")
        url = "data:image/png;base64,aGlkZGVu"
        image = {"type": "image_url", "image_url": {"url": url}}
        body["choices"][0]["message"]["images"] = [image]
        body["choices"][0]["finish_reason"] = None
        server.reply(Reply(json=body))
        client = make_client(observer=telemetry.observer(capture_content=True))
        await client.chat.send(HELLO)

        (output,) = json.loads(attributes(telemetry.span())[OUTPUTS])
        assert output["parts"][1] == {
            **BLOB,
            "modality": "image",
            "mime_type": "image/png",
        }
        assert output["finish_reason"] == "error"

    async def test_data_of_a_tool_result_is_cut(
        self, server: LocalOpenRouter, make_client: MakeClient, telemetry: Telemetry
    ) -> None:
        @tool
        async def draw() -> list[Any]:
            """Draw."""
            return [ImagePart.from_bytes(SECRET)]

        server.reply(call_of("draw", {})).then("done")
        client = make_client(observer=telemetry.observer(capture_content=True))
        await client.chat.run_tools(messages=HELLO.messages, tools=[draw])

        recorded = "".join(span.to_json() for span in telemetry.spans(""))
        assert "image/png" in recorded
        assert "aGlkZGVu" not in recorded
