"""The bytes of each format, for events and chunks that are built by hand."""

import json
from collections.abc import Mapping
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ui_stream_rules import UIStreamRules, read_events

from openrouter_async import (
    Annotation,
    ChatResponse,
    Choice,
    ImagePart,
    Message,
    ToolArgumentsError,
    ToolCall,
)
from openrouter_async.protocol.response_objects import read_chunk
from openrouter_async.relay import (
    AISDKFormat,
    OpenAIFormat,
    PlainTextFormat,
    PublicError,
    RelayFormat,
    SSEFormat,
)
from openrouter_async.tools import (
    CitationReceived,
    ImageReceived,
    ReasoningDelta,
    TextDelta,
    ToolCallArguments,
    ToolCallFinished,
    ToolCallStarted,
    ToolEvent,
    ToolResult,
    TurnFinished,
)
from openrouter_async.types import ToolCallFunction

FORMATS: dict[str, type[Any]] = {
    "sse": SSEFormat,
    "ai-sdk": AISDKFormat,
    "openai": OpenAIFormat,
    "text": PlainTextFormat,
}
PNG = "data:image/png;base64,iVBORw0KGgo="
IMAGE: Any = {"type": "image_url", "image_url": {"url": PNG}}
BUSY = PublicError(
    "rate_limited", "Too busy.", status=429, retryable=True, retry_after=2.5
)


def response(finish_reason: str | None = "stop", text: str = "") -> ChatResponse:
    choice = Choice(index=0, finish_reason=finish_reason, message=Message(content=text))
    return ChatResponse(choices=[choice])


def call(call_id: str, name: str, arguments: str) -> ToolCall:
    return ToolCall(call_id, function=ToolCallFunction(name, arguments))


def succeeded(made: ToolCall, content: Any, value: Any, turn: int = 1) -> ToolResult:
    return ToolResult(made, content, value, None, turn)


def write(
    format_: RelayFormat,
    events: list[ToolEvent],
    end: ChatResponse | PublicError | None = None,
    usage: Mapping[str, Any] | None = None,
) -> str:
    written = format_.begin() + b"".join(format_.event(each) for each in events)
    if isinstance(end, PublicError):
        return (written + (format_.error(end) or b"")).decode()
    return (written + format_.end(end or response(), usage)).decode()


ADD = call("call_1", "add", '{"a": 1}')
SHOUT = call("call_2", "shout", '{"word": "hi"}')
TEXT: list[ToolEvent] = [
    TextDelta("Hé", 1),
    TextDelta('l\n"o"', 1),
    TurnFinished(1, response()),
]
REASONING: list[ToolEvent] = [
    ReasoningDelta("Hm", 1),
    ReasoningDelta("m", 1),
    TextDelta("Yes", 1),
    TurnFinished(1, response()),
]
TWO_TURNS: list[ToolEvent] = [
    TextDelta("Wait.", 1),
    ToolCallStarted(0, "add", 1, "call_1"),
    ToolCallArguments(0, '{"a":', 1),
    ToolCallStarted(1, "shout", 1, "call_2"),
    ToolCallArguments(1, '{"word": "hi"}', 1),
    ToolCallArguments(0, " 1}", 1),
    ToolCallFinished(0, ADD, 1),
    ToolCallFinished(1, SHOUT, 1),
    succeeded(SHOUT, "HI", "HI"),
    succeeded(ADD, '{"sum":1}', {"sum": 1}),
    TurnFinished(1, response("tool_calls")),
    TextDelta("1, HI", 2),
    TurnFinished(2, response()),
]
SOURCES: list[ToolEvent] = [
    TextDelta("As ", 1),
    CitationReceived(
        Annotation(
            type="url_citation", url_citation={"url": "https://a.test/", "title": "A"}
        ),
        1,
    ),
    TextDelta("written", 1),
    ImageReceived(IMAGE, 1),
    TextDelta(".", 1),
    TurnFinished(1, response()),
]
SCENARIOS: dict[str, tuple[list[ToolEvent], ChatResponse | PublicError]] = {
    "text": (TEXT, response()),
    "reasoning": (REASONING, response("length")),
    "two turns": (TWO_TURNS, response()),
    "sources": (SOURCES, response()),
    "empty": ([TurnFinished(1, response(None))], response(None)),
    "error first": ([], BUSY),
    "error in text": (TEXT[:1], BUSY),
    "error in reasoning": (REASONING[:1], BUSY),
    "error in arguments": (TWO_TURNS[1:3], BUSY),
}

SSE_FAILURE = (
    "event: failure\n"
    'data: {"code":"rate_limited","message":"Too busy.","retryable":true,'
    '"retry_after":2.5}\n\n'
)
SSE_DONE = 'event: done\ndata: {"finish_reason":"stop","usage":null}\n\n'
GOLDEN_SSE = {
    "text": f'data: {{"text":"Hé"}}\n\ndata: {{"text":"l\\n\\"o\\""}}\n\n{SSE_DONE}',
    "reasoning": (
        'data: {"reasoning":"Hm"}\n\ndata: {"reasoning":"m"}\n\ndata: {"text":"Yes"}\n\n'
        'event: done\ndata: {"finish_reason":"length","usage":null}\n\n'
    ),
    "two turns": (
        'data: {"text":"Wait."}\n\n'
        'data: {"tool":"add","id":"call_1"}\n\n'
        'data: {"tool":"shout","id":"call_2"}\n\n'
        f'data: {{"text":"1, HI"}}\n\n{SSE_DONE}'
    ),
    "sources": (
        'data: {"text":"As "}\n\ndata: {"text":"written"}\n\ndata: {"text":"."}\n\n'
        f"{SSE_DONE}"
    ),
    "empty": 'event: done\ndata: {"finish_reason":null,"usage":null}\n\n',
    "error first": SSE_FAILURE,
    "error in text": f'data: {{"text":"Hé"}}\n\n{SSE_FAILURE}',
    "error in reasoning": f'data: {{"reasoning":"Hm"}}\n\n{SSE_FAILURE}',
    "error in arguments": f'data: {{"tool":"add","id":"call_1"}}\n\n{SSE_FAILURE}',
}

GOLDEN_TEXT = {
    "text": 'Hél\n"o"',
    "reasoning": "Yes",
    "two turns": "Wait.1, HI",
    "sources": "As written.",
    "empty": "",
    "error first": "",
    "error in text": "Hé",
    "error in reasoning": "",
    "error in arguments": "",
}


def sse(*objects: str) -> str:
    return "".join(f"data: {each}\n\n" for each in objects)


UI_START = ('{"type":"start"}', '{"type":"start-step"}')
UI_END = (
    '{"type":"finish-step"}',
    '{"type":"finish","finishReason":"stop"}',
    "[DONE]",
)
UI_FAILURE = ('{"type":"error","errorText":"Too busy."}', "[DONE]")
GOLDEN_AI_SDK = {
    "text": sse(
        *UI_START,
        '{"type":"text-start","id":"1"}',
        '{"type":"text-delta","id":"1","delta":"Hé"}',
        '{"type":"text-delta","id":"1","delta":"l\\n\\"o\\""}',
        '{"type":"text-end","id":"1"}',
        *UI_END,
    ),
    "reasoning": sse(
        *UI_START,
        '{"type":"reasoning-start","id":"1"}',
        '{"type":"reasoning-delta","id":"1","delta":"Hm"}',
        '{"type":"reasoning-delta","id":"1","delta":"m"}',
        '{"type":"reasoning-end","id":"1"}',
        '{"type":"text-start","id":"2"}',
        '{"type":"text-delta","id":"2","delta":"Yes"}',
        '{"type":"text-end","id":"2"}',
        '{"type":"finish-step"}',
        '{"type":"finish","finishReason":"length"}',
        "[DONE]",
    ),
    "two turns": sse(
        *UI_START,
        '{"type":"text-start","id":"1"}',
        '{"type":"text-delta","id":"1","delta":"Wait."}',
        '{"type":"text-end","id":"1"}',
        '{"type":"tool-input-start","toolCallId":"call_1","toolName":"add","dynamic":true}',
        '{"type":"tool-input-delta","toolCallId":"call_1","inputTextDelta":"{\\"a\\":"}',
        '{"type":"tool-input-start","toolCallId":"call_2","toolName":"shout","dynamic":true}',
        '{"type":"tool-input-delta","toolCallId":"call_2","inputTextDelta":"{\\"word\\": \\"hi\\"}"}',
        '{"type":"tool-input-delta","toolCallId":"call_1","inputTextDelta":" 1}"}',
        '{"type":"tool-input-available","toolCallId":"call_1","toolName":"add","input":{"a":1},"dynamic":true}',
        '{"type":"tool-input-available","toolCallId":"call_2","toolName":"shout","input":{"word":"hi"},"dynamic":true}',
        '{"type":"tool-output-available","toolCallId":"call_2","output":"HI","dynamic":true}',
        '{"type":"tool-output-available","toolCallId":"call_1","output":{"sum":1},"dynamic":true}',
        '{"type":"finish-step"}',
        '{"type":"start-step"}',
        '{"type":"text-start","id":"2"}',
        '{"type":"text-delta","id":"2","delta":"1, HI"}',
        '{"type":"text-end","id":"2"}',
        *UI_END,
    ),
    "sources": sse(
        *UI_START,
        '{"type":"text-start","id":"1"}',
        '{"type":"text-delta","id":"1","delta":"As "}',
        '{"type":"source-url","sourceId":"1","url":"https://a.test/","title":"A"}',
        '{"type":"text-delta","id":"1","delta":"written"}',
        '{"type":"text-end","id":"1"}',
        f'{{"type":"file","url":"{PNG}","mediaType":"image/png"}}',
        '{"type":"text-start","id":"2"}',
        '{"type":"text-delta","id":"2","delta":"."}',
        '{"type":"text-end","id":"2"}',
        *UI_END,
    ),
    "empty": sse(
        *UI_START,
        '{"type":"finish-step"}',
        '{"type":"finish","finishReason":"other"}',
        "[DONE]",
    ),
    "error first": sse('{"type":"start"}', *UI_FAILURE),
    "error in text": sse(
        *UI_START,
        '{"type":"text-start","id":"1"}',
        '{"type":"text-delta","id":"1","delta":"Hé"}',
        '{"type":"text-end","id":"1"}',
        *UI_FAILURE,
    ),
    "error in reasoning": sse(
        *UI_START,
        '{"type":"reasoning-start","id":"1"}',
        '{"type":"reasoning-delta","id":"1","delta":"Hm"}',
        '{"type":"reasoning-end","id":"1"}',
        *UI_FAILURE,
    ),
    "error in arguments": sse(
        *UI_START,
        '{"type":"tool-input-start","toolCallId":"call_1","toolName":"add","dynamic":true}',
        '{"type":"tool-input-delta","toolCallId":"call_1","inputTextDelta":"{\\"a\\":"}',
        *UI_FAILURE,
    ),
}

HEAD = '"id":"chatcmpl","object":"chat.completion.chunk","created":0,"model":""'


def run_chunk(delta: str, finish: str = "null") -> str:
    return (
        f'{{{HEAD},"choices":[{{"index":0,"delta":{delta},"finish_reason":{finish}}}]}}'
    )


RUN_STOP = (run_chunk("{}", '"stop"'), "[DONE]")
OPENAI_FAILURE = (
    '{"error":{"message":"Too busy.","type":"rate_limited","code":"rate_limited","param":null}}',
    "[DONE]",
)
GOLDEN_OPENAI = {
    "text": sse(
        run_chunk('{"role":"assistant","content":"Hé"}'),
        run_chunk('{"content":"l\\n\\"o\\""}'),
        *RUN_STOP,
    ),
    "reasoning": sse(
        run_chunk('{"role":"assistant","content":"Yes"}'),
        run_chunk("{}", '"length"'),
        "[DONE]",
    ),
    "two turns": sse(
        run_chunk('{"role":"assistant","content":"Wait."}'),
        run_chunk('{"content":"1, HI"}'),
        *RUN_STOP,
    ),
    "sources": sse(
        run_chunk('{"role":"assistant","content":"As "}'),
        run_chunk('{"content":"written"}'),
        run_chunk('{"content":"."}'),
        *RUN_STOP,
    ),
    "empty": sse("[DONE]"),
    "error first": sse(*OPENAI_FAILURE),
    "error in text": sse(
        run_chunk('{"role":"assistant","content":"Hé"}'), *OPENAI_FAILURE
    ),
    "error in reasoning": sse(*OPENAI_FAILURE),
    "error in arguments": sse(*OPENAI_FAILURE),
}
GOLDEN = {
    "sse": GOLDEN_SSE,
    "text": GOLDEN_TEXT,
    "ai-sdk": GOLDEN_AI_SDK,
    "openai": GOLDEN_OPENAI,
}


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("name", GOLDEN)
def test_events_have_exactly_these_bytes(name: str, scenario: str) -> None:
    assert write(FORMATS[name](), *SCENARIOS[scenario]) == GOLDEN[name][scenario]


@pytest.mark.parametrize("name", ["sse", "ai-sdk", "openai"])
def test_event_streams_have_headers_against_buffering(name: str) -> None:
    headers = FORMATS[name]().headers

    assert headers["Content-Type"] == "text/event-stream; charset=utf-8"
    assert headers["Cache-Control"] == "no-cache, no-transform"
    assert headers["X-Accel-Buffering"] == "no"
    assert "Connection" not in headers


def test_text_cannot_express_an_error() -> None:
    text: RelayFormat = PlainTextFormat()

    assert text.error(BUSY) is None
    assert text.headers["Content-Type"] == "text/plain; charset=utf-8"


def test_half_a_surrogate_pair_is_sent_by_every_format() -> None:
    events: list[ToolEvent] = [TextDelta("\ud83d", 1)]

    assert write(PlainTextFormat(), events) == "?"
    for name in ("sse", "ai-sdk", "openai"):
        assert r'"\ud83d"' in write(FORMATS[name](), events)


@pytest.mark.parametrize(
    ("name", "sent"),
    [
        ("sse", '{"finish_reason":"stop","usage":{"tokens":3}}'),
        ("ai-sdk", '"finishReason":"stop","messageMetadata":{"usage":{"tokens":3}}}'),
        ("openai", f'{{{HEAD},"choices":[],"usage":{{"tokens":3}}}}'),
        ("text", ""),
    ],
)
def test_usage_is_sent_at_the_end_if_it_is_given(name: str, sent: str) -> None:
    assert sent in write(FORMATS[name](), TEXT, usage={"tokens": 3})
    assert "tokens" not in write(FORMATS[name](), TEXT)


class TestOpenAIChunks:
    """Chunks of a stream, which are passed on."""

    RAW: ClassVar[dict[str, Any]] = {
        "id": "gen-1-a",
        "object": "chat.completion.chunk",
        "created": 7,
        "model": "a/b",
        "provider": "Somebody",
        "user_id": "user_1",
        "openrouter_metadata": {"x": 1},
        "debug": {"x": 1},
        "usage": {"cost": 1},
        "system_fingerprint": "fp",
        "choices": [{"index": 0, "delta": {"content": "hi"}, "finish_reason": None}],
    }

    def test_private_members_are_left_out(self) -> None:
        written = OpenAIFormat("chatcmpl-1").chunk(read_chunk(self.RAW))

        assert written.decode() == sse(
            '{"id":"chatcmpl-1","object":"chat.completion.chunk","created":7,'
            '"model":"a/b","system_fingerprint":"fp",'
            '"choices":[{"index":0,"delta":{"content":"hi"},"finish_reason":null}]}'
        )

    def test_chunk_with_usage_only_is_left_out(self) -> None:
        assert OpenAIFormat().chunk(read_chunk({**self.RAW, "choices": []})) == b""

    def test_usage_has_the_head_of_the_stream(self) -> None:
        made = OpenAIFormat("chatcmpl-1")
        made.chunk(read_chunk(self.RAW))

        assert made.end(response(), {"tokens": 3}).decode() == sse(
            '{"id":"chatcmpl-1","object":"chat.completion.chunk","created":7,'
            '"model":"a/b","choices":[],"usage":{"tokens":3}}',
            "[DONE]",
        )

    def test_chunk_without_model_and_time_keeps_those_before(self) -> None:
        made = OpenAIFormat("chatcmpl-1", created=5)
        made.chunk(read_chunk({"choices": [{"delta": {}}]}))

        assert '"created":5,"model":""' in made.end(response(), {}).decode()


class TestAISDK:
    """Rarer events, and orders that no model should produce."""

    def events(self, *events: ToolEvent, end: Any = None) -> list[dict[str, Any]]:
        made = AISDKFormat("msg_1")
        written = made.begin() + b"".join(made.event(each) for each in events)
        return read_events(written + made.end(end or response(), None))

    def only(self, kind: str, *events: ToolEvent) -> list[dict[str, Any]]:
        return [each for each in self.events(*events) if each["type"] == kind]

    def test_message_id_is_in_the_first_event(self) -> None:
        assert self.events()[0] == {"type": "start", "messageId": "msg_1"}

    @pytest.mark.parametrize(
        ("reason", "sent"),
        [
            ("content_filter", "content-filter"),
            ("tool_calls", "tool-calls"),
            ("error", "error"),
            ("banana", "other"),
        ],
    )
    def test_finish_reason_is_spelled_as_the_client_knows_it(
        self, reason: str, sent: str
    ) -> None:
        assert self.events(end=response(reason))[-1]["finishReason"] == sent

    @pytest.mark.parametrize(
        ("content", "value", "output"),
        [
            ("null", None, None),
            ("3", "3", "3"),
            ("3", 3, 3),
            ("not JSON", object(), "not JSON"),
            ([ImagePart(PNG)], ImagePart(PNG), [{"type": "image_url"}]),
        ],
    )
    def test_output_is_the_value_of_the_tool(
        self, content: Any, value: Any, output: Any
    ) -> None:
        events = (ToolCallFinished(0, ADD, 1), succeeded(ADD, content, value))
        (sent,) = self.only("tool-output-available", *events)

        if isinstance(output, list):
            assert sent["output"][0]["image_url"] == {"url": PNG}
        else:
            assert sent["output"] == output

    def test_error_of_a_tool_does_not_quote_the_exception(self) -> None:
        failed = ToolResult(ADD, '{"error":"x"}', None, ValueError("secret"), 1)
        wrong = ToolArgumentsError("secret", call=SHOUT, path="$", errors=["secret"])
        invalid = ToolResult(SHOUT, '{"error":"x"}', None, wrong, 1)

        sent = self.only("tool-output-error", failed, invalid)
        assert [each["errorText"] for each in sent] == [
            "The tool failed.",
            "The arguments are invalid.",
        ]

    def test_arguments_that_are_not_json_are_an_input_error(self) -> None:
        broken = call("call_1", "add", '{"a"')
        (sent,) = self.only("tool-input-error", ToolCallFinished(0, broken, 1))

        assert (sent["input"], sent["toolName"]) == ('{"a"', "add")

    def test_empty_arguments_are_an_empty_object(self) -> None:
        empty = call("call_1", "add", " ")
        (sent,) = self.only("tool-input-available", ToolCallFinished(0, empty, 1))

        assert sent["input"] == {}

    def test_call_keeps_the_id_of_its_start(self) -> None:
        """The result names the call by its final id."""
        renamed = call("call_9", "add", "{}")
        events = (
            ToolCallStarted(0, "add", 1, "call_1"),
            ToolCallFinished(0, renamed, 1),
            succeeded(renamed, "1", 1),
        )
        ids = {each.get("toolCallId") for each in self.events(*events)} - {None}

        assert ids == {"call_1"}

    def test_calls_without_an_id_get_different_ones(self) -> None:
        events = [ToolCallStarted(index, "add", 1, "") for index in range(3)]
        sent = self.only("tool-input-start", *events)

        assert [each["toolCallId"] for each in sent] == ["call", "call_2", "call_3"]

    def test_result_of_an_unknown_call_is_preceded_by_its_input(self) -> None:
        kinds = [each["type"] for each in self.events(succeeded(ADD, "1", 1))]

        assert kinds[2:4] == ["tool-input-available", "tool-output-available"]

    def test_second_result_of_a_call_is_left_out(self) -> None:
        result = succeeded(ADD, "1", 1)

        assert len(self.only("tool-output-available", result, result)) == 1

    def test_arguments_after_the_end_of_a_call_are_left_out(self) -> None:
        late = ToolCallArguments(0, "x", 1)

        assert self.only("tool-input-delta", ToolCallFinished(0, ADD, 1), late) == []

    def test_second_start_of_a_call_is_left_out(self) -> None:
        started = ToolCallStarted(0, "add", 1, "call_1")

        assert len(self.only("tool-input-start", started, started)) == 1

    @pytest.mark.parametrize(
        ("url", "media_type"),
        [
            ("data:image/webp;base64,AA", "image/webp"),
            ("data:,AA", "image/png"),
            ("https://a.test/x", "image/png"),
        ],
    )
    def test_media_type_of_an_image_is_read_from_its_url(
        self, url: str, media_type: str
    ) -> None:
        (sent,) = self.only("file", ImageReceived({"image_url": {"url": url}}, 1))

        assert sent["mediaType"] == media_type

    def test_source_without_a_url_is_left_out(self) -> None:
        odd: Any = {"image_url": "x"}
        events = (CitationReceived(Annotation(type="file"), 1), ImageReceived(odd, 1))

        assert [each["type"] for each in self.events(*events)] == ["start", "finish"]

    def test_source_without_a_title_has_none(self) -> None:
        annotation = Annotation(url_citation={"url": "https://a.test/"})
        (sent,) = self.only("source-url", CitationReceived(annotation, 1))

        assert "title" not in sent


turns = st.integers(1, 3)
indexes = st.integers(0, 2)
ids = st.sampled_from(["", "a", "b", "a_2"])
calls = st.builds(
    call, ids, st.sampled_from(["f", "g"]), st.sampled_from(["", "{}", "{", "[1]"])
)
tool_events: st.SearchStrategy[ToolEvent] = st.one_of(
    st.builds(TextDelta, st.text(), turns),
    st.builds(ReasoningDelta, st.text(), turns),
    st.builds(ToolCallStarted, indexes, st.just("f"), turns, ids),
    st.builds(ToolCallArguments, indexes, st.text(), turns),
    st.builds(ToolCallFinished, indexes, calls, turns),
    st.builds(succeeded, calls, st.just("x"), st.sampled_from([None, 1, "x"]), turns),
    st.builds(
        ToolResult, calls, st.just("x"), st.none(), st.just(ValueError("x")), turns
    ),
    st.builds(
        CitationReceived,
        st.builds(Annotation, url_citation=st.just({"url": "https://a.test/"})),
        turns,
    ),
    st.builds(ImageReceived, st.just(IMAGE), turns),
    st.builds(TurnFinished, turns, st.just(response())),
)


@given(
    events=st.lists(tool_events, max_size=20),
    end=st.sampled_from([response(), response("odd"), BUSY]),
)
def test_any_order_of_events_is_a_valid_ui_message_stream(
    events: list[ToolEvent], end: ChatResponse | PublicError
) -> None:
    UIStreamRules().accept(read_events(write(AISDKFormat(), events, end).encode()))


@given(events=st.lists(tool_events, max_size=20))
def test_any_text_is_one_line_of_json_in_an_event(events: list[ToolEvent]) -> None:
    written = write(SSEFormat(), events)
    lines = [line for line in written.split("\n") if line.startswith("data: ")]
    texts = [json.loads(line[6:]).get("text", "") for line in lines]

    assert written.count("\n\n") == len(lines)
    assert "".join(texts) == "".join(
        each.text for each in events if isinstance(each, TextDelta)
    )
