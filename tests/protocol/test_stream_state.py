"""StreamState: the chunk or the error of each event, and the end of a stream."""

import json
import traceback
from typing import Any

import pytest

from openrouter_async.errors import (
    APIError,
    BadGatewayError,
    BadRequestError,
    MalformedResponseError,
    RateLimitError,
    StreamInterruptedError,
)
from openrouter_async.protocol.headers import Secret
from openrouter_async.protocol.response_objects import read_response
from openrouter_async.protocol.stream_state import (
    DONE,
    StreamState,
    is_relevant,
    is_whole,
)
from openrouter_async.sse import ServerSentEvent
from openrouter_async.types import Attempt, Exchange

WALL_TIME = 1_800_000_000.0
KEY = "sk-or-v1-0123456789abcdef"


def new_state(**options: Any) -> StreamState:
    http = Exchange(status=200, attempts=[Attempt(status=200)])
    return StreamState(http, wall_time=lambda: WALL_TIME, **options)


def event(data: Any) -> ServerSentEvent:
    return ServerSentEvent(data=data if isinstance(data, str) else json.dumps(data))


def content(text: str, finish_reason: str | None = None) -> ServerSentEvent:
    """An event whose only choice has this text."""
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish_reason}
    return event({"id": "gen-1", "choices": [choice]})


def test_event_becomes_a_chunk_and_is_accumulated() -> None:
    state = new_state()

    chunks = [state.feed(content("hel")), state.feed(content("lo", "stop"))]

    assert [chunk and chunk.text for chunk in chunks] == ["hel", "lo"]
    assert state.partial is not None
    assert (state.partial.text, state.partial.http) == ("hello", state.http)
    assert state.response.text == "hello"
    assert state.response.finish_reason == "stop"
    assert state.response.http is state.http


def test_partial_is_none_until_a_choice_was_received() -> None:
    state = new_state()
    before = state.partial
    state.feed(event({"id": "gen-1", "choices": []}))
    without_choice = state.partial
    state.feed(content("x"))

    assert (before, without_choice) == (None, None)
    assert state.partial is not None


def test_generation_id_is_that_of_the_first_chunk() -> None:
    state = new_state()

    state.feed(content("hello"))

    assert state.http.generation_id == "gen-1"


def test_generation_id_of_the_headers_is_kept() -> None:
    state = new_state()
    state.http.generation_id = "gen-header"

    state.feed(content("hello"))

    assert state.http.generation_id == "gen-header"


@pytest.mark.parametrize(
    ("delta", "token"),
    [
        ({"role": "assistant", "content": ""}, False),
        ({"content": "x"}, True),
        ({"reasoning": "x"}, True),
        ({"tool_calls": [{"index": 0}]}, True),
        ({"function_call": {"name": "f", "arguments": ""}}, True),
        ({"thinking": "x"}, True),
        ({"function_call": None, "thinking": ""}, False),
    ],
)
def test_first_token_is_recognized(delta: dict[str, Any], token: bool) -> None:
    calls: list[str] = []
    state = new_state(on_first_token=lambda: calls.append("token"))

    state.feed(event({"choices": [{"delta": delta}]}))
    state.feed(event({"choices": [{"delta": delta}]}))

    assert calls == ["token"] * token
    assert state.token_seen is token


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("[1]", "must be a JSON object"),
        ("null", "must be a JSON object"),
        ("{", "JSON"),
    ],
)
def test_event_that_is_not_an_object_is_malformed(data: str, message: str) -> None:
    state = new_state()
    state.http.generation_id = "gen-1"
    state.feed(content("hel"))

    with pytest.raises(MalformedResponseError, match=message) as caught:
        state.feed(event(data))

    assert caught.value.http is state.http
    assert caught.value.generation_id == "gen-1"
    assert caught.value.partial is not None
    assert caught.value.partial.text == "hel"


@pytest.mark.parametrize(
    "data",
    [
        {"error": {"code": 502, "message": "Gone"}},
        {"choices": [{"delta": {}, "error": {"code": 502, "message": "Gone"}}]},
    ],
)
def test_error_event_raises_its_class_with_the_partial_response(data: Any) -> None:
    state = new_state()
    state.feed(content("hel"))

    with pytest.raises(BadGatewayError, match="Gone") as caught:
        state.feed(event(data))

    assert caught.value.partial is not None
    assert caught.value.partial.text == "hel"
    assert caught.value.http is state.http


def test_first_event_that_is_an_error_has_its_own_id() -> None:
    state = new_state()

    with pytest.raises(RateLimitError) as caught:
        state.feed(event({"id": "gen-7", "error": {"code": 429, "message": "Slow"}}))

    assert caught.value.generation_id == "gen-7"
    assert caught.value.partial is None


def test_retry_after_of_an_error_event_may_be_a_date() -> None:
    state = new_state()
    headers = {"Retry-After": "Fri, 15 Jan 2027 08:00:10 GMT"}
    error = {"code": 429, "message": "Slow", "metadata": {"headers": headers}}

    with pytest.raises(RateLimitError) as caught:
        state.feed(event({"error": error}))

    assert caught.value.retry_after == 10.0


def test_error_in_the_last_chunk_takes_precedence_over_its_finish_reason() -> None:
    choice: dict[str, Any] = {
        "delta": {},
        "finish_reason": "error",
        "native_finish_reason": "OVERLOAD",
    }
    state = new_state()

    with pytest.raises(APIError, match="OVERLOAD"):
        state.feed(event({"choices": [choice]}))


@pytest.mark.parametrize(
    "data",
    [
        {"error": {"code": 400, "message": f"Bad key {KEY}"}},
        {"choices": [{"delta": {}, "error": {"code": 400, "message": f"No {KEY}"}}]},
    ],
)
def test_key_echoed_by_an_error_event_is_masked(data: Any) -> None:
    """Neither the error nor the local variables of its traceback hold the key."""
    state = new_state(key=Secret(f"Bearer {KEY}"))

    with pytest.raises(APIError) as caught:
        state.feed(event(data))

    trace = traceback.TracebackException.from_exception(
        caught.value, capture_locals=True
    )
    # The first frame is this test, whose parameter has the key.
    frames = [*trace.stack][1:]
    assert frames
    assert KEY not in repr([frame.locals for frame in frames])
    assert KEY not in repr(caught.value.body)


def test_done_is_the_end() -> None:
    state = new_state()
    state.feed(content("hello"))

    assert state.feed(event(DONE)) is None
    state.end()
    assert state.done


def test_finish_reason_is_an_end() -> None:
    state = new_state()
    state.feed(content("hello", "stop"))
    finished, done = state.finished, state.done

    state.end()

    assert (finished, done, state.done) == (True, False, True)


@pytest.mark.parametrize("finish_reason", [None, ""])
def test_body_that_ends_early_is_interrupted(finish_reason: str | None) -> None:
    """Some providers send an empty finish reason in every chunk."""
    state = new_state()
    state.feed(content("hel", finish_reason))

    with pytest.raises(StreamInterruptedError) as caught:
        state.end()

    assert caught.value.partial is not None
    assert caught.value.partial.text == "hel"
    assert caught.value.http is state.http


def test_completion_sent_for_a_stream_request_is_one_chunk() -> None:
    raw = {
        "id": "gen-1",
        "object": "chat.completion",
        "model": "m",
        "new": [1],
        "choices": [
            {
                "index": 0,
                "finish_reason": "tool_calls",
                "message": {
                    "role": "assistant",
                    "content": "hello",
                    "tool_calls": [
                        {
                            "index": 0,
                            "id": "c",
                            "type": "function",
                            "function": {"name": "f", "arguments": "{}"},
                        }
                    ],
                },
            },
            "odd",
        ],
        "usage": {"cost": 0.5},
    }
    state = new_state()

    state.feed_whole(read_response(raw))

    chunk, response = state.first, state.response
    assert chunk is not None
    assert (chunk.object, chunk.text) == ("chat.completion.chunk", "hello")
    assert chunk.choices[0].finish_reason == "tool_calls"
    assert chunk.raw["new"] == [1]
    assert (response.text, response.usage.cost, response.model) == ("hello", 0.5, "m")
    assert response.tool_calls[0].function.name == "f"
    assert raw["object"] == "chat.completion"
    assert (state.finished, state.done) == (True, True)


@pytest.mark.parametrize("raw", [{}, {"choices": None}, {"choices": []}, {"id": "x"}])
def test_completion_without_choices_is_a_chunk_without_choices(
    raw: dict[str, Any],
) -> None:
    state = new_state()

    state.feed_whole(read_response(raw))

    assert state.first is not None
    assert state.first.choices == []
    assert state.first.raw == {**raw, "object": "chat.completion.chunk"}


# --- ends, heartbeats and events of other names ----------------------------------


@pytest.mark.parametrize("reason", ["", " ", "null", "None", "NULL"])
def test_finish_reason_without_a_meaning_is_not_an_end(reason: str) -> None:
    state = new_state()
    state.feed(content("half", reason))

    with pytest.raises(StreamInterruptedError) as caught:
        state.end()

    assert caught.value.partial is not None
    assert caught.value.partial.text == "half"


@pytest.mark.parametrize("error", [{}, "", None, [], 0, False])
@pytest.mark.parametrize("in_choice", [False, True])
def test_empty_error_is_neither_an_error_nor_an_end(
    error: object, *, in_choice: bool
) -> None:
    state = new_state()
    choice: dict[str, Any] = {"index": 0, "delta": {"content": "half"}}
    body: dict[str, Any] = {"id": "gen-1", "choices": [choice]}
    (choice if in_choice else body)["error"] = error

    chunk = state.feed(event(body))

    assert chunk is not None
    assert chunk.text == "half"
    with pytest.raises(StreamInterruptedError):
        state.end()


@pytest.mark.parametrize("data", ["", " ", "\n", "\t\n "])
def test_blank_data_is_skipped(data: str) -> None:
    state = new_state()
    state.feed(content("hel"))

    assert state.feed(event(data)) is None
    assert state.feed(data.encode()) is None
    assert not state.done
    assert not is_relevant(event(data))
    assert not is_relevant(data.encode())
    state.feed(content("lo"))
    assert state.partial is not None
    assert state.partial.text == "hello"


@pytest.mark.parametrize(
    "data", ["[DONE]", "[DONE] ", " [DONE]", "\t[DONE]\n", '"[DONE]"']
)
@pytest.mark.parametrize("name", ["message", "done"])
def test_done_with_blanks_or_under_another_name_is_the_end(
    data: str, name: str
) -> None:
    state = new_state()
    state.feed(content("hello"))

    assert state.feed(ServerSentEvent(name, data)) is None
    assert state.done
    assert is_relevant(ServerSentEvent(name, data))


@pytest.mark.parametrize(
    "data",
    ["ping", "{", "[1]", "{}", '{"id": "job-1", "model": "x"}', '{"choices": null}'],
)
def test_event_of_another_name_is_skipped(data: str) -> None:
    state = new_state()
    named = ServerSentEvent("progress", data)

    assert state.feed(named) is None
    assert not is_relevant(named)
    state.feed(content("hello", "stop"))
    assert state.response.id == "gen-1"
    assert state.response.model is None
    assert "model" not in state.response.raw


def test_event_of_another_name_with_choices_is_a_chunk() -> None:
    state = new_state()

    chunk = state.feed(ServerSentEvent("completion.chunk", content("hello").data))

    assert chunk is not None
    assert chunk.text == "hello"


@pytest.mark.parametrize("name", ["message", "update", ""])
def test_error_in_an_event_of_any_name_is_raised(name: str) -> None:
    state = new_state()
    state.feed(content("so far"))

    with pytest.raises(RateLimitError, match="Wait") as caught:
        state.feed(
            ServerSentEvent(name, '{"error": {"code": 429, "message": "Wait."}}')
        )

    assert caught.value.partial is not None
    assert caught.value.partial.text == "so far"


@pytest.mark.parametrize(
    ("data", "status", "message"),
    [
        ('{"code": 502, "message": "Gone."}', 502, "Gone."),
        ('{"code": 502, "msg": "Gone."}', 502, "Gone."),
        ('{"error": {"code": 502, "message": "Gone."}}', 502, "Gone."),
        ('{"type": "overloaded_error", "message": "Busy."}', 529, "Busy."),
        ('[{"error": {"code": 502, "message": "Gone."}}]', 502, "Gone."),
        ('"Gone."', 500, "Gone."),
        ("Gone.", 500, "Gone."),
        ("{Gone", 500, "{Gone"),
        ("", 500, "the server sent no message"),
        ("null", 500, "the server sent no message"),
    ],
)
def test_event_named_error_is_an_error_whatever_its_data(
    data: str, status: int, message: str
) -> None:
    state = new_state()
    state.feed(content("so far"))

    with pytest.raises(APIError) as caught:
        state.feed(ServerSentEvent("error", data))

    assert caught.value.status_code == status
    assert caught.value.message == message
    assert caught.value.partial is not None
    assert caught.value.partial.text == "so far"
    assert is_relevant(ServerSentEvent("error", data))


@pytest.mark.parametrize("name", ["ERROR", "Error ", " error"])
def test_name_of_an_error_event_has_any_case(name: str) -> None:
    received = ServerSentEvent(name, '{"code": 502, "message": "Gone."}')

    with pytest.raises(APIError, match=r"Gone\."):
        new_state().feed(received)
    assert is_relevant(received)


def test_choices_of_an_event_named_error_are_kept() -> None:
    state = new_state()

    with pytest.raises(APIError) as caught:
        state.feed(ServerSentEvent("error", content("last words").data))

    assert caught.value.partial is not None
    assert caught.value.partial.text == "last words"


@pytest.mark.parametrize(
    "body",
    [
        {
            "choices": None,
            "error_message": "Too long.",
            "error_type": "BadRequestError",
        },
        {"detail": "Too long.", "code": "context_length_exceeded"},
        {"errors": [{"message": "Too long."}], "status": 400},
        {"message": "Too long.", "code": 400},
        {"msg": "Too long.", "code": "invalid_request_error"},
        {"object": "error", "message": "Too long.", "code": "400"},
        {"success": False, "message": "Too long.", "type": "invalid_request_error"},
        {"choices": [], "errorMessage": "Too long.", "statusCode": 400},
        [{"error": {"code": 400, "message": "Too long."}}],
        {"error": True, "message": "Too long.", "code": 400},
    ],
)
def test_error_without_an_envelope_is_raised(body: object) -> None:
    with pytest.raises(BadRequestError, match=r"Too long\."):
        new_state().feed(event(body))


@pytest.mark.parametrize(
    "body",
    [
        {"id": "gen-1", "usage": {"total_tokens": 5}, "choices": []},
        {"message": "ok", "code": 0, "choices": []},
        {"message": "ok", "code": "200"},
        {"msg": "ok", "code": 0},
        {"message": "working on it"},
        {"detail": "", "errors": [], "error_message": None},
        {"code": 400},
    ],
)
def test_event_without_choices_may_be_no_error(body: object) -> None:
    chunk = new_state().feed(event(body))

    assert chunk is not None
    assert chunk.choices == []


@pytest.mark.parametrize(
    ("data", "whole"),
    [
        ('{"a": 1}', True),
        ("[1]", True),
        ("[DONE] ", True),
        ('{"a": 1', False),
        ("[DON", False),
        ("12", False),
        ("", False),
    ],
)
def test_event_is_whole_if_its_data_is_complete(data: str, *, whole: bool) -> None:
    assert is_whole(event(data)) is whole


def test_error_in_a_line_without_data_needs_no_envelope() -> None:
    assert is_relevant(ServerSentEvent("", '{"message": "No.", "code": 403}'))
    assert not is_relevant(ServerSentEvent("", "{not json"))
    assert not is_relevant(ServerSentEvent("x", '{"message": "No.", "code": 403}'))
