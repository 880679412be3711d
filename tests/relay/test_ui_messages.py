import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openrouter_async import (
    AssistantMessage,
    AudioPart,
    DeveloperMessage,
    FilePart,
    ImagePart,
    SystemMessage,
    TextPart,
    ToolResponseMessage,
    UserMessage,
    VideoPart,
)
from openrouter_async.relay import read_ui_messages

PNG = "data:image/png;base64,iVBORw0KGgo="
STEP = {"type": "step-start"}


def text(value: str) -> dict[str, Any]:
    return {"type": "text", "text": value}


def file(media_type: str, url: str, **more: Any) -> dict[str, Any]:
    return {"type": "file", "mediaType": media_type, "url": url, **more}


def body(*parts: Any, role: str = "user", **more: Any) -> dict[str, Any]:
    """Return a body of one message, as `useChat` posts it."""
    message = {"id": "m1", "role": role, "parts": [*parts]}
    return {
        "id": "chat",
        "messages": [message],
        "trigger": "submit-message",
        "messageId": None,
        **more,
    }


def finished(call_id: str, output: Any = "ok", **more: Any) -> dict[str, Any]:
    return {
        "type": "dynamic-tool",
        "toolName": "add",
        "toolCallId": call_id,
        "state": "output-available",
        "input": {"a": 1},
        "output": output,
        **more,
    }


def sent_call(call_id: str, arguments: str = '{"a":1}') -> dict[str, Any]:
    function = {"name": "add", "arguments": arguments}
    return {"id": call_id, "type": "function", "function": function}


def test_single_text_is_sent_as_a_string() -> None:
    assert read_ui_messages(body(text("Hi"))) == [UserMessage("Hi")]


def test_several_texts_stay_parts() -> None:
    assert read_ui_messages(body(text("a"), text("b"))) == [
        UserMessage([TextPart("a"), TextPart("b")])
    ]


def test_files_become_parts_of_their_kind() -> None:
    (message,) = read_ui_messages(
        body(
            file("image/png", PNG),
            file("audio/mpeg", "data:audio/mpeg;base64,AA=="),
            file("Audio/WAV; codecs=1", "data:audio/wav;base64,AB=="),
            file("video/mp4", "data:video/mp4;base64,AC=="),
            file("application/pdf", "data:application/pdf;base64,AD==", filename="a"),
            file("text/csv", "DATA:text/csv,x"),
        )
    )

    assert message == UserMessage(
        [
            ImagePart(PNG),
            AudioPart({"data": "AA==", "format": "mp3"}),
            AudioPart({"data": "AB==", "format": "wav"}),
            VideoPart("data:video/mp4;base64,AC=="),
            FilePart.from_url("data:application/pdf;base64,AD==", filename="a"),
            FilePart.from_url("DATA:text/csv,x"),
        ]
    )


def test_parts_that_are_no_content_are_ignored() -> None:
    ignored: list[Any] = [
        {"type": "reasoning", "text": "hm"},
        STEP,
        {"type": "source-url", "sourceId": "1", "url": "https://a.test/"},
        {"type": "data-weather", "data": {}},
    ]

    assert read_ui_messages(body(*ignored, text("Hi"))) == [UserMessage("Hi")]
    both = body(*ignored, text("Hi"), role="assistant")
    assert read_ui_messages(both) == [AssistantMessage("Hi")]


def test_messages_without_content_are_left_out() -> None:
    empty = body(STEP)["messages"][0]
    full = body(text("Hi"))["messages"][0]

    assert read_ui_messages({"messages": [empty, full, empty]}) == [UserMessage("Hi")]


def test_steps_with_calls_become_messages_and_results() -> None:
    parts = [
        STEP,
        text("Let me see."),
        finished("1", {"sum": 1}),
        finished("2", "two", type="tool-add", toolName=None),
        STEP,
        finished("3", state="output-error", errorText="broken", input=None),
        STEP,
        text("Done"),
        text("."),
    ]

    assert read_ui_messages(body(*parts, role="assistant")) == [
        AssistantMessage("Let me see.", tool_calls=[sent_call("1"), sent_call("2")]),
        ToolResponseMessage('{"sum":1}', tool_call_id="1"),
        ToolResponseMessage("two", tool_call_id="2"),
        AssistantMessage(tool_calls=[sent_call("3", "{}")]),
        ToolResponseMessage('{"error":"broken"}', tool_call_id="3"),
        AssistantMessage([TextPart("Done"), TextPart(".")]),
    ]


@pytest.mark.parametrize("state", ["input-streaming", "input-available", "later"])
def test_call_without_a_result_is_left_out(state: str) -> None:
    parts = (text("Hi"), finished("1", state=state))

    assert read_ui_messages(body(*parts, role="assistant")) == [AssistantMessage("Hi")]


def test_call_without_an_output_has_a_null_result() -> None:
    part = finished("1")
    del part["output"]
    (_, result) = read_ui_messages(body(part, role="assistant"))

    assert result == ToolResponseMessage("null", tool_call_id="1")


def test_images_of_the_assistant_are_sent_back_and_other_files_are_not() -> None:
    parts = (file("image/png", PNG), file("text/csv", "data:,x"))

    assert read_ui_messages(body(*parts, role="assistant")) == [
        AssistantMessage(images=[{"type": "image_url", "image_url": {"url": PNG}}])
    ]


def test_nothing_but_messages_is_read() -> None:
    fields: dict[str, Any] = {
        "model": "expensive/model",
        "tools": [],
        "max_tokens": 10**9,
    }

    assert read_ui_messages(body(text("Hi"), **fields)) == [UserMessage("Hi")]


@pytest.mark.parametrize(
    ("role", "message"),
    [("system", SystemMessage("ab")), ("developer", DeveloperMessage("ab"))],
)
def test_instructions_are_read_only_if_their_role_is_named(
    role: str, message: Any
) -> None:
    instructions = body(text("a"), text("b"), file("image/png", PNG), role=role)
    both = {"messages": [*instructions["messages"], *body(text("Hi"))["messages"]]}

    assert read_ui_messages(both) == [UserMessage("Hi")]
    assert read_ui_messages(both, roles=("user", role)) == [message, UserMessage("Hi")]


def test_urls_of_the_network_are_read_only_if_their_scheme_is_named() -> None:
    remote = body(file("image/png", "https://a.test/x.png"))

    with pytest.raises(ValueError, match=r"\$\.messages\[0\]\.parts\[0\]\.url: .*data"):
        read_ui_messages(remote)
    assert read_ui_messages(remote, url_schemes=("data", "https")) == [
        UserMessage([ImagePart("https://a.test/x.png")])
    ]


def test_size_of_all_texts_is_limited() -> None:
    assert read_ui_messages(body(text("x" * 90)), limit_bytes=100)
    for large in (
        body(text("x" * 50), text("x" * 51)),
        body(finished("1", ["x" * 100]), role="assistant"),
        body(file("image/png", PNG + "A" * 100)),
    ):
        with pytest.raises(ValueError, match="more than 100 bytes in total"):
            read_ui_messages(large, limit_bytes=100)


def deep() -> Any:
    value: Any = 1
    for _ in range(100_000):
        value = [value]
    return value


MESSAGE = "$.messages[0]"
PART = f"{MESSAGE}.parts[0]"
MALFORMED: dict[str, tuple[Any, str]] = {
    "a list": ([], "$"),
    "nothing": ({}, "$.messages"),
    "no messages": ({"messages": []}, "$.messages"),
    "messages of other roles": (body(text("x"), role="system"), "$.messages"),
    "a text as messages": ({"messages": "Hi"}, "$.messages"),
    "a text as message": ({"messages": ["Hi"]}, MESSAGE),
    "no role": ({"messages": [{"parts": []}]}, f"{MESSAGE}.role"),
    "content in place of parts": (
        {"messages": [{"role": "user", "content": "Hi"}]},
        f"{MESSAGE}.parts",
    ),
    "a text as part": (body("Hi"), PART),
    "no type": (body({"text": "Hi"}), f"{PART}.type"),
    "a number as text": (body({"type": "text", "text": 1}), f"{PART}.text"),
    "no media type": (body({"type": "file", "url": PNG}), f"{PART}.mediaType"),
    "no url": (body({"type": "file", "mediaType": "image/png"}), f"{PART}.url"),
    "a path as url": (body(file("image/png", "/etc/passwd")), f"{PART}.url"),
    "a file url": (body(file("image/png", "file:///etc/passwd")), f"{PART}.url"),
    "audio that is not base64": (body(file("audio/wav", "data:,x")), f"{PART}.url"),
    "a number as file name": (
        body(file("text/csv", "data:,x", filename=1)),
        f"{PART}.filename",
    ),
    "an invalid tool name": (
        body(finished("1", toolName="a b"), role="assistant"),
        PART,
    ),
    "no tool name": (
        body(finished("1", toolName=None), role="assistant"),
        f"{PART}.toolName",
    ),
    "no state": (body(finished("1", state=None), role="assistant"), f"{PART}.state"),
    "no call id": (body(finished(""), role="assistant"), f"{PART}.toolCallId"),
    "the same call id": (
        body(finished("1"), finished("1"), role="assistant"),
        f"{MESSAGE}.parts[1].toolCallId",
    ),
    "no error text": (
        body(finished("1", state="output-error"), role="assistant"),
        f"{PART}.errorText",
    ),
    "a deep output": (body(finished("1", deep()), role="assistant"), PART),
    "a number that is not finite": (
        body(finished("1", input={"a": float("nan")}), role="assistant"),
        PART,
    ),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_body_is_rejected_with_its_path(name: str) -> None:
    malformed, path = MALFORMED[name]
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the text is compared
        read_ui_messages(malformed)

    assert str(caught.value).startswith(f"Invalid request at {path}: ")


def test_unknown_role_is_rejected_if_it_is_named() -> None:
    with pytest.raises(ValueError, match="unknown role"):
        read_ui_messages(body(text("x"), role="robot"), roles=("robot",))


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["type", "text", "url", "mediaType", "state", "toolCallId", "toolName"]
            ),
            inner
            | st.sampled_from(
                ["text", "file", "dynamic-tool", "tool-x", "output-available", PNG]
            ),
        )
    ),
    max_leaves=10,
)


@given(
    parts=json_values | st.lists(json_values),
    role=st.sampled_from(["user", "assistant", "system"]) | json_values,
)
def test_any_json_is_read_or_rejected_with_a_value_error(parts: Any, role: Any) -> None:
    try:
        messages = read_ui_messages({"messages": [{"role": role, "parts": parts}]})
    except ValueError as error:
        assert str(error).startswith("Invalid request at $.messages")  # noqa: PT017 - both ends are correct
    else:
        assert messages
        assert json.dumps([repr(each) for each in messages])
