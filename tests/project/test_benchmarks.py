"""The inputs of the benchmarks, and the framing of the benchmark server."""

import json
import sys
from pathlib import Path

import pytest

# `benchmarks` is not installed, and plain `pytest` does not add the root to the path.
sys.path.append(str(Path(__file__).parents[2]))

from benchmarks import inputs, server
from benchmarks.handwritten import Handwritten


def test_inputs_are_the_same_in_every_run() -> None:
    assert inputs.text_stream(50) == inputs.text_stream(50)
    assert inputs.fold_stream(200) == inputs.fold_stream(200)
    assert inputs.completion() == inputs.completion()
    assert inputs.turns() == inputs.turns()


def test_text_events_are_320_to_340_bytes_long() -> None:
    events = inputs.text_events(1000)

    assert len(events) == 1000
    assert {len(event) for event in events} == set(range(320, 341))


def test_chunk_has_the_keys_of_recorded_traffic_in_order() -> None:
    chunk = json.loads(inputs.text_events(1)[0].removeprefix(b"data: "))

    assert list(chunk) == [
        "id",
        "object",
        "created",
        "model",
        "provider",
        "choices",
    ]
    assert list(chunk["choices"][0]) == [
        "index",
        "delta",
        "finish_reason",
        "native_finish_reason",
    ]
    assert chunk["choices"][0]["delta"].keys() == {"role", "content"}


def test_text_stream_ends_with_finish_reason_and_usage() -> None:
    events = inputs.text_stream(1000)
    *_, text, finish, usage = (json.loads(event[6:]) for event in events)

    assert len(events) == 1000
    assert text["choices"][0]["finish_reason"] is None
    assert finish["choices"][0]["finish_reason"] == "stop"
    assert usage["usage"]["total_tokens"] == 1013


def test_fold_stream_has_signed_reasoning_and_eight_tool_calls() -> None:
    events = inputs.fold_stream(1000)
    signatures = 0
    arguments: dict[int, str] = {}
    for event in events:
        delta = json.loads(event[6:])["choices"][0]["delta"]
        for detail in delta.get("reasoning_details", []):
            signatures += "signature" in detail
        for call in delta.get("tool_calls", []):
            index = call["index"]
            arguments[index] = arguments.get(index, "") + call["function"]["arguments"]

    assert len(events) == 1000
    assert signatures == 1
    assert [len(json.loads(text)["keys"]) for text in arguments.values()] == [10] * 8
    assert all(length > 0 for length in inputs.fold_lengths(events))


def test_giant_event_and_completion_have_exact_sizes() -> None:
    assert len(inputs.giant_event(inputs.MIB)) == inputs.MIB
    assert len(inputs.completion()) == inputs.KIB
    assert len(inputs.completion_text()) > 100


def test_request_has_fifty_messages_with_tools_and_routing() -> None:
    body = json.loads(Handwritten.encoder()())

    roles = [message["role"] for message in body["messages"]]
    assert len(roles) == 50
    assert set(roles) == {"system", "user", "assistant", "tool"}
    assert len(body["tools"]) == 8
    assert body["provider"]["allow_fallbacks"] is False


@pytest.mark.parametrize(
    "scenario",
    ["completion", "text-100-20-1000", "fold-100", "giant-4096-1024-60", "hold"],
)
def test_server_writes_a_valid_chunked_body(scenario: str) -> None:
    plan = server.plan(scenario)
    sent = b"".join(plan.writes) + plan.held
    head, _, rest = sent.partition(b"\r\n\r\n")
    body = b""
    length = -1
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        length = int(size, 16)
        body += rest[:length]
        assert rest[length : length + 2] == b"\r\n"
        rest = rest[length + 2 :]

    assert length == 0
    assert b"Transfer-Encoding: chunked" in head
    assert json.loads(body) if scenario == "completion" else body.endswith(inputs.DONE)


def test_batch_in_the_scenario_is_the_number_of_events_per_write() -> None:
    plan = server.plan("text-100-20-1000")

    assert [write.count(b"\ndata: {") for write in plan.writes] == [20] * 5
    assert plan.pause_us == 1000
